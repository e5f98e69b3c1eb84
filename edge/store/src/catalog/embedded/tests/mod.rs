//! Tests of the built-in catalog: the conformance list, a second process, a failing disk, a killed process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tempfile::TempDir;

mod faults;
mod unwritten;

pub(super) use self::faults::{FailingFile, Faults};
use super::RedbCatalog;
use super::file::CatalogFile;
use crate::catalog::conformance::{Harness, conformance};
use crate::catalog::{Catalog, Change, Check, Commit, Error};
use devanture_base::durable::Step;

struct InAFolder {
    folder: TempDir,
    catalog: Arc<RedbCatalog>,
}

fn path_in(folder: &TempDir) -> PathBuf {
    folder.path().join("catalog.redb")
}

#[async_trait]
impl Harness for InAFolder {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(RedbCatalog::open(&path_in(&folder)).unwrap());
        Self { folder, catalog }
    }

    fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::clone(&self.catalog) as Arc<dyn Catalog>
    }

    async fn restart(self) -> Self {
        let Self { folder, catalog } = self;
        drop(Arc::into_inner(catalog).unwrap());
        let catalog = Arc::new(RedbCatalog::open(&path_in(&folder)).unwrap());
        Self { folder, catalog }
    }
}

conformance!(InAFolder);

fn number(n: usize) -> Commit {
    // Several pages each, so that commits grow the file.
    let value: Arc<[u8]> = format!("{n:08}").repeat(1_000).into_bytes().into();
    Commit {
        checks: vec![],
        changes: vec![Change::Put("last".to_owned(), value.clone()), Change::Put(format!("n/{n:08}"), value)],
    }
}

#[test]
fn a_catalog_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _file = CatalogFile::open(&path_in(&folder)).unwrap();
    for name in ["catalog.redb", "catalog.lock"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_second_opening_names_the_first_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = CatalogFile::open(&path_in(&folder)).unwrap();
    let error = CatalogFile::open(&path_in(&folder)).err().unwrap();
    let pid = std::process::id();
    assert!(matches!(&error, Error::Locked { holder: Some(holder), .. } if *holder == pid), "{error:?}");
    assert!(error.to_string().ends_with(&format!("open (process {pid})")), "{error}");
    drop(first);
    CatalogFile::open(&path_in(&folder)).unwrap();
}

#[test]
fn a_file_that_is_locked_by_a_tool_is_reported_too() {
    let folder = tempfile::tempdir().unwrap();
    drop(CatalogFile::open(&path_in(&folder)).unwrap());
    let tool = redb::Database::open(path_in(&folder)).unwrap();
    assert!(matches!(CatalogFile::open(&path_in(&folder)), Err(Error::Locked { holder: None, .. })));
    drop(tool);
}

#[test]
fn what_a_creation_left_half_done_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("catalog.new");
    devanture_base::durable::write_file(&half, &[0; 10_000], 0o600).unwrap();
    CatalogFile::open(&path_in(&folder)).unwrap().commit(&number(1)).unwrap();
    assert!(!half.exists());
}

#[test]
fn a_file_that_is_no_catalog_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [b"".as_slice(), b"no catalog", &[0; 10_000]] {
        devanture_base::durable::write_file(&path_in(&folder), bytes, 0o600).unwrap();
        assert!(matches!(CatalogFile::open(&path_in(&folder)), Err(Error::Store(_))));
    }
}

#[expect(clippy::disallowed_methods, reason = "over the file itself, as `cp` does")]
#[tokio::test]
async fn a_file_that_is_copied_over_an_open_catalog_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    let overwrite = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
    let catalog = RedbCatalog::open(&path).unwrap();
    catalog.commit(number(1)).await.unwrap();
    let backup = std::fs::read(&path).unwrap();
    catalog.commit(number(2)).await.unwrap();
    let ours = std::fs::read(&path).unwrap();

    for theirs in [&backup[..], &ours[..ours.len() / 2], b"", &[ours.as_slice(), b"more"].concat()] {
        overwrite(theirs);
        assert!(matches!(catalog.check_in_place(), Err(Error::Replaced { .. })), "{} bytes", theirs.len());
        assert!(matches!(catalog.commit(number(3)).await, Err(Error::Replaced { .. })));
        assert!(std::fs::read(&path).unwrap() == theirs);
    }
    overwrite(&ours);
    catalog.check_in_place().unwrap();
    catalog.commit(number(3)).await.unwrap();

    overwrite(&backup);
    drop(catalog);
    assert!(std::fs::read(&path).unwrap() == backup, "closing wrote to it");
}

/// Copies that arrive between two writes of a commit, or during a sync.
#[test]
fn a_file_that_is_copied_over_the_catalog_in_the_middle_of_a_commit_is_not_taken_for_ours() {
    for nth in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let (path, faults) = (path_in(&folder), Faults::none());
        let file = CatalogFile::open_failing(&path, &faults).unwrap();
        file.commit(&number(1)).unwrap();
        let backup = std::fs::read(&path).unwrap();
        file.commit(&number(2)).unwrap();
        faults.copy_over(nth, &path, &backup);
        drop(file.commit(&number(3)));
        if !faults.fired.load(Ordering::SeqCst) {
            assert!(nth > 2, "a commit writes and syncs");
            break;
        }
        assert!(matches!(file.check_in_place(), Err(Error::Replaced { .. })), "write {nth}");
        assert!(matches!(file.commit(&number(4)), Err(Error::Replaced { .. })), "write {nth}");
        drop(file);
        assert!(std::fs::read(&path).unwrap()[..320] == backup[..320], "write {nth}: its head was written over");
    }
}

#[tokio::test]
async fn a_catalog_that_is_handed_over_is_read_on_follows_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let old = RedbCatalog::open(&path_in(&folder)).unwrap();
    old.commit(number(1)).await.unwrap();
    let all = async |catalog: &RedbCatalog| catalog.list("", None, false, 100).await.unwrap();
    let before = all(&old).await;
    old.hand_over().await.unwrap();
    assert!(matches!(old.commit(number(2)).await, Err(Error::HandedOver)));
    assert!(matches!(old.hand_over().await, Err(Error::HandedOver)));
    assert_eq!(all(&old).await, before);

    let new = RedbCatalog::open(&path_in(&folder)).unwrap();
    let (mut made, mut followed) = (new.watch(), old.watch());
    for commit in [number(2), Commit { checks: vec![], changes: vec![Change::Delete("last".to_owned())] }] {
        new.commit(commit).await.unwrap();
        let committed = made.recv().await.unwrap();
        old.follow(committed.clone()).await.unwrap();
        assert_eq!(followed.recv().await.unwrap(), committed);
        assert_eq!(all(&old).await, all(&new).await);
    }
    assert!(matches!(old.take_back().await, Err(Error::Locked { .. })));
    drop(new);
    old.take_back().await.unwrap();
    old.check_in_place().unwrap();
    assert_eq!(old.commit(number(3)).await.unwrap(), 4);
    assert_eq!(all(&old).await.len(), 4);
    assert!(!path_in(&folder).with_extension("handed").exists());
}

#[tokio::test]
async fn what_the_next_process_committed_before_it_died_is_heard_of_when_the_catalog_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let old = RedbCatalog::open(&path_in(&folder)).unwrap();
    old.commit(number(1)).await.unwrap();
    old.commit(number(2)).await.unwrap();
    let mut followed = old.watch();
    old.hand_over().await.unwrap();
    let new = RedbCatalog::open(&path_in(&folder)).unwrap();
    new.commit(number(3)).await.unwrap();
    let gone = format!("n/{:08}", 1);
    new.commit(Commit { checks: vec![], changes: vec![Change::Delete(gone.clone())] }).await.unwrap();
    drop(new);
    old.take_back().await.unwrap();
    let missed = followed.try_recv().unwrap();
    let keys: Vec<&str> = missed.changes.iter().map(crate::catalog::overtaken::key_of).collect();
    assert_eq!((missed.revision, keys), (4, vec![gone.as_str(), "last", "n/00000003"]));
    assert!(matches!(missed.changes[0], Change::Delete(_)));
    assert_eq!(old.state().revision, 4);
    old.commit(number(5)).await.unwrap();
    assert_eq!(followed.try_recv().unwrap().revision, 5);
}

/// After a failed sync a system reads back unwritten bytes, and the next sync does not report them.
#[test]
fn law_2_what_was_committed_as_a_sync_failed_is_written_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let (path, faults) = (path_in(&folder), Faults::none());
    let file = CatalogFile::open_failing(&path, &faults).unwrap();
    file.commit(&number(1)).unwrap();
    let written = devanture_base::durable::fault::arm(&path, devanture_base::durable::fault::Fault::None, 0);
    file.commit(&number(2)).unwrap();
    assert!(written.steps().is_empty(), "no sync failed");
    faults.syncs.store(1, Ordering::SeqCst);
    let made = file.commit(&number(3));
    assert!(matches!(made, Ok(3) | Err(Error::Store(_))), "{made:?}");
    assert_eq!(file.get("n/00000003").unwrap().is_some(), made.is_ok());
    let steps = written.steps();
    assert_eq!((steps.first(), steps.last()), (Some(&Step::Write), Some(&Step::SyncFile)), "{steps:?}");
    drop(written);
    file.commit(&number(4)).unwrap();
}

#[tokio::test]
async fn a_commit_that_cannot_be_brought_to_the_disk_is_undecided_until_it_can_and_is_then_announced() {
    let folder = tempfile::tempdir().unwrap();
    let (path, faults) = (path_in(&folder), Faults::none());
    let file = CatalogFile::open_failing(&path, &faults).unwrap();
    let last = file.revision().unwrap();
    let catalog = RedbCatalog::of(file, last);
    let mut watch = catalog.watch();
    catalog.commit(number(1)).await.unwrap();
    let broken = devanture_base::durable::fault::arm(&path, devanture_base::durable::fault::Fault::Death, 0);
    // Only the sync of this file fails: reads then return the written bytes.
    faults.syncs.store(1, Ordering::SeqCst);
    let undecided = catalog.commit(number(2)).await;
    assert!(matches!(undecided, Err(Error::Undecided { .. })), "{undecided:?}");
    // No commit is built upon the undecided one meanwhile.
    assert!(catalog.commit(number(3)).await.is_err());
    assert_eq!(watch.try_recv().unwrap().revision, 1);
    assert!(watch.try_recv().is_err());
    drop(broken);
    let is_made = catalog.get("n/00000002").await.unwrap().is_some();
    catalog.commit(number(4)).await.unwrap();
    let announced: Vec<u64> = std::iter::from_fn(|| watch.try_recv().ok()).map(|one| one.revision).collect();
    assert_eq!(announced, if is_made { vec![2, 3] } else { vec![2] });
}

#[test]
fn a_disk_that_goes_on_failing_is_told_once_and_not_by_each_try() {
    let folder = tempfile::tempdir().unwrap();
    let (path, faults) = (path_in(&folder), Faults::none());
    let file = CatalogFile::open_failing(&path, &faults).unwrap();
    file.commit(&number(1)).unwrap();
    let broken = devanture_base::durable::fault::arm(&path, devanture_base::durable::fault::Fault::Refused(5), 0);
    faults.syncs.store(1, Ordering::SeqCst);
    let log = devanture_base::telemetry::logged(|| {
        for _ in 0..5 {
            assert!(file.commit(&number(2)).is_err());
        }
    });
    for line in ["a commit failed", "all of it is written once more"] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
    drop(broken);
    file.commit(&number(4)).unwrap();
}

/// The served state follows the watch, and `status` reads: after a rollback, both must agree.
#[tokio::test]
async fn readers_and_watchers_agree_on_a_commit_of_unknown_outcome_while_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, faults) = (path_in(&folder), Faults::none());
    let catalog = RedbCatalog::of(CatalogFile::open_failing(&path, &faults).unwrap(), 0);
    catalog.commit(number(1)).await.unwrap();
    let mut watch = catalog.watch();
    let broken = devanture_base::durable::fault::arm(&path, devanture_base::durable::fault::Fault::Death, 0);
    faults.errno.store(5, Ordering::SeqCst);
    faults.syncs.store(1_000, Ordering::SeqCst);
    assert!(catalog.commit(number(2)).await.is_err());
    assert!(catalog.commit(number(3)).await.is_err(), "which finds out what can be");
    let is_read = catalog.get("n/00000002").await.unwrap().is_some();
    assert_eq!(watch.try_recv().is_ok(), is_read);
    drop(broken);
}

#[tokio::test]
async fn a_page_that_was_overwritten_is_an_error_and_no_panic() {
    const PAGE_BYTES: usize = 4_096;
    let folder = tempfile::tempdir().unwrap();
    let catalog = RedbCatalog::open(&path_in(&folder)).unwrap();
    for n in 0..4 {
        catalog.commit(number(n)).await.unwrap();
    }
    drop(catalog);
    let written = std::fs::read(path_in(&folder)).unwrap();
    let mut refused = 0;
    let pages = written.chunks(PAGE_BYTES).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    for (page, _) in pages {
        let mut bytes = written.clone();
        bytes[page * PAGE_BYTES..][..PAGE_BYTES].fill(0xff);
        devanture_base::durable::write_file(&path_in(&folder), &bytes, 0o600).unwrap();
        let found = match RedbCatalog::open(&path_in(&folder)) {
            Ok(catalog) => catalog.list("", None, false, 100).await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(found, Ok(()) | Err(Error::Damaged { .. } | Error::Store(_))), "page {page}: {found:?}");
        refused += usize::from(found.is_err());
    }
    assert!(refused > 0);
}

#[test]
fn law_3_a_full_disk_at_any_write_of_a_commit_leaves_all_of_it_or_nothing_and_the_catalog_usable() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let file = CatalogFile::open_failing(&path_in(&folder), &faults).unwrap();
    let mut last = file.commit(&number(0)).unwrap();
    let (mut refused, mut done) = (0, 1);
    for nth in 0.. {
        faults.after(nth, false);
        let result = file.commit(&number(nth + 1));
        let fired = faults.fired.load(Ordering::SeqCst);
        faults.after(usize::MAX, false);
        match &result {
            Ok(revision) => {
                assert!(*revision > last);
                last = *revision;
                done += 1;
            }
            Err(Error::Full) => refused += 1,
            Err(other) => panic!("write {nth}: {other:?}"),
        }
        // Both records of the commit, or neither.
        let record = file.get("last").unwrap().unwrap();
        assert_eq!(record.revision, last, "write {nth}");
        assert_eq!(file.get(&format!("n/{:08}", nth + 1)).unwrap().is_some(), result.is_ok(), "write {nth}");
        assert_eq!(file.list("n/", None, false, 1_000).unwrap().len(), done, "write {nth}");
        if !fired {
            break;
        }
    }
    assert!(refused > 0);
    drop(file);
    assert_eq!(CatalogFile::open(&path_in(&folder)).unwrap().get("last").unwrap().unwrap().revision, last);
}

#[test]
fn a_disk_that_stays_broken_loses_nothing_and_is_used_again_when_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let file = CatalogFile::open_failing(&path_in(&folder), &faults).unwrap();
    let first = file.commit(&number(1)).unwrap();
    faults.after(0, true);
    for _ in 0..3 {
        assert!(matches!(file.commit(&number(2)), Err(Error::Full)));
        assert_eq!(file.get("last").unwrap().unwrap().revision, first, "records are read on");
    }
    faults.after(usize::MAX, false);
    assert_eq!(file.get("last").unwrap().unwrap().revision, first);
    assert!(file.commit(&number(2)).unwrap() > first);
}

/// A file system of fixed size; only root may create one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(folder))
    }

    fn remount(&self, options: &str) {
        let remount = ["-o", &format!("remount,{options}")];
        assert!(Command::new("mount").args(remount).arg(self.0.path()).status().unwrap().success(), "{options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().unwrap();
    }
}

#[tokio::test]
async fn law_3_a_really_full_disk_refuses_commits_and_still_reads() {
    let Some(disk) = SmallDisk::mount("4m") else {
        eprintln!("skipped: only root may mount a small file system");
        return;
    };
    let catalog = RedbCatalog::open(&path_in(&disk.0)).unwrap();
    let mut watch = catalog.watch();
    let mut done = 0;
    let full = loop {
        match catalog.commit(number(done)).await {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
        assert!(done < 10_000);
    };
    assert!(matches!(full, Error::Full), "{full:?}");
    assert!(matches!(catalog.commit(number(done)).await, Err(Error::Full)));
    assert_eq!(catalog.list("n/", None, false, usize::MAX).await.unwrap().len(), done);
    assert_eq!(std::iter::from_fn(|| watch.try_recv().ok()).count(), done);
    // With room again, here on a larger disk, commits succeed.
    disk.remount("size=16m");
    catalog.commit(number(done)).await.unwrap();
    let nothing_lost = catalog.list("n/", None, true, 1).await.unwrap();
    assert_eq!(nothing_lost[0].0, format!("n/{done:08}"));
}

/// Fills a disk to its last byte.
fn fill(disk: &SmallDisk, name: &str) {
    let mut file = std::fs::File::options().create_new(true).write(true).open(disk.0.path().join(name)).unwrap();
    for length in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![1; length]).is_ok() {}
    }
}

#[tokio::test]
async fn law_3_a_full_disk_takes_commits_that_free_it() {
    let Some(disk) = SmallDisk::mount("8m") else {
        eprintln!("skipped: only root may mount a small file system");
        return;
    };
    let catalog = RedbCatalog::open_with_reserve(&path_in(&disk.0)).unwrap();
    let reserve = path_in(&disk.0).with_extension("reserve");
    for n in 0..20 {
        catalog.commit(number(n)).await.unwrap();
    }
    fill(&disk, "other");
    let mut done = 20;
    while catalog.commit(number(done)).await.is_ok() {
        done += 1;
    }
    let delete = |n: usize| Commit { checks: vec![], changes: vec![Change::Delete(format!("n/{n:08}"))] };
    for n in 0..done {
        catalog.commit_reserved(delete(n)).await.unwrap();
        // A different program takes the released space.
        fill(&disk, &format!("other-{n}"));
    }
    assert!(catalog.list("n/", None, false, 1).await.unwrap().is_empty());
    let left = std::fs::metadata(&reserve).unwrap().len();
    assert!(left > 0, "pages of earlier commits are used again");
    drop(catalog);
    // A second start finds the rest of the reserve, and fills it if there is room.
    for entry in std::fs::read_dir(disk.0.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("other") {
            std::fs::remove_file(path).unwrap();
        }
    }
    RedbCatalog::open_with_reserve(&path_in(&disk.0)).unwrap().commit(number(0)).await.unwrap();
    assert!(std::fs::metadata(&reserve).unwrap().len() > left);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_half_commit_and_no_lost_turn() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Arc::new(RedbCatalog::open(&path_in(&folder)).unwrap());
    let mut watch = catalog.watch();
    for n in 0..10 {
        let catalog = Arc::clone(&catalog);
        let task = tokio::spawn(async move { catalog.commit(number(n)).await });
        tokio::task::yield_now().await;
        task.abort();
    }
    let last = catalog.commit(number(100)).await.unwrap();
    let committed: Vec<_> = std::iter::from_fn(|| watch.try_recv().ok()).collect();
    assert_eq!(committed.last().unwrap().revision, last);
    assert_eq!(catalog.list("n/", None, false, 100).await.unwrap().len(), committed.len());
}

const CHILD: &str = "DEVANTURE_TEST_COMMITS_IN";

/// Not a test, but the process that the next test kills.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let file = CatalogFile::open(Path::new(&path)).unwrap();
    for n in 0.. {
        let changes = vec![Change::Put(format!("n/{n:08}"), n.to_string().into_bytes().into())];
        file.commit(&Commit { checks: vec![Check::Absent(format!("n/{n:08}"))], changes }).unwrap();
        println!("\ncommitted {n}");
    }
}

#[test]
fn law_2_what_was_committed_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut printed = 0;
    for round in 1..=3 {
        let path = folder.path().join(format!("{round}.redb"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::child_that_commits_until_it_is_killed"), "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = None;
        let number = |line: &str| line.strip_prefix("committed ")?.parse::<usize>().ok();
        while last < Some(round * 40) {
            last = number(&lines.next().unwrap().unwrap()).or(last);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Lines printed between the last read line and the kill count too.
        let last = lines.map_while(Result::ok).filter_map(|line| number(&line)).last().or(last).unwrap();
        let file = CatalogFile::open(&path).unwrap();
        let records = file.list("n/", None, false, usize::MAX).unwrap();
        // All printed commits, and at most the one in progress.
        assert!((last + 1..=last + 2).contains(&records.len()), "{last} {}", records.len());
        let revision = file.commit(&Commit::default()).unwrap();
        assert!(revision > records.last().unwrap().1.revision);
        printed += last;
    }
    assert!(printed > 0);
}
