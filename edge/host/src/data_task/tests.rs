//! Tests of the work on data, in separate folders.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use devanture_config::api::{DataReport, SnapshotName};
use devanture_config::problem::Code;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const BOUNDS: Bounds = Bounds {
    files_max: 100,
    bytes_max: 1 << 20,
    snapshots_max: 3,
    snapshot_bytes_max: 1 << 20,
    snapshot_age_ms_max: 1_000,
    disk_free_bytes_min: 0,
};

struct World {
    _folder: TempDir,
    order: Order,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [data, snapshots] = ["data", "snapshots"].map(|name| folder.path().join(name));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&snapshots).unwrap();
        let order = Order { data, snapshots, now_ms: 0, bounds: BOUNDS, work: Work::Pull { rest: None } };
        Self { _folder: folder, order }
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.order.data.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn archive(&self) -> Result<Vec<u8>, Failure> {
        Ok(archive::write(&self.order, Vec::new())?.0)
    }

    fn unpack(&self, archive: &[u8]) -> Result<DataReport, Failure> {
        unpack::unpack(archive, &snapshots::draft(&self.order)?, &self.order.bounds)
    }

    fn content(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.order.data.join(path)).ok()
    }

    fn left(&self) -> Vec<String> {
        let names = fs::read_dir(&self.order.snapshots).unwrap();
        let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn name(name: &str) -> SnapshotName {
    name.parse().unwrap()
}

#[test]
fn what_is_archived_comes_back_with_modes_times_and_links() {
    let world = World::new();
    world.write("a/run", "#!");
    world.write(&format!("long/{}/{}", "x".repeat(200), "y".repeat(200)), "far");
    fs::set_permissions(world.order.data.join("a/run"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("../../etc/passwd", world.order.data.join("link")).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for aged in ["a/run", "a", "long"] {
        File::open(world.order.data.join(aged)).unwrap().set_modified(long_ago).unwrap();
    }
    let archive = world.archive().unwrap();
    let report = world.unpack(&archive).unwrap();
    assert_eq!((report.files, report.bytes), (6, 5));
    world.write("later", "x");
    snapshots::replace(&world.order).unwrap();
    let run = fs::metadata(world.order.data.join("a/run")).unwrap();
    assert_eq!(run.permissions().mode() & 0o7777, 0o755, "without the bit that changes the user");
    assert_eq!(run.modified().unwrap(), long_ago);
    assert_eq!(fs::read_link(world.order.data.join("link")).unwrap(), Path::new("../../etc/passwd"));
    assert_eq!(world.content("later"), None);
    assert!(world.left().is_empty(), "{:?}", world.left());
    assert_eq!(world.archive().unwrap(), archive, "the same data is the same archive");
}

#[test]
fn a_folder_beyond_its_bounds_is_refused_before_anything_is_written() {
    let world = World::new();
    File::create(world.order.data.join("hole")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(world.archive().unwrap_err().code, Code::PersistFull);
    fs::remove_file(world.order.data.join("hole")).unwrap();
    let mut deep = world.order.data.clone();
    (0..=files::DEPTH_MAX).for_each(|_| deep.push("d"));
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(world.archive().unwrap_err().code, Code::PersistFull);
    fs::remove_dir_all(world.order.data.join("d")).unwrap();
    (0..101).for_each(|number| world.write(&number.to_string(), ""));
    assert_eq!(world.archive().unwrap_err().code, Code::PersistFull);
    assert!(world.left().is_empty());
}

#[test]
fn a_death_in_a_change_of_place_is_undone_before_and_finished_after_all_has_left() {
    let interrupted = |stage: &str, moved: &str| {
        let world = World::new();
        for name in ["a", "b"] {
            world.write(name, "old");
        }
        let snapshots = &world.order.snapshots;
        fs::create_dir(snapshots.join(stage)).unwrap();
        fs::create_dir(snapshots.join(".draft")).unwrap();
        fs::write(snapshots.join(".draft/a"), "new").unwrap();
        for name in moved.split_whitespace() {
            fs::rename(world.order.data.join(name), snapshots.join(stage).join(name)).unwrap();
        }
        assert_eq!(snapshots::check_whole(&world.order).unwrap_err().code, Code::Busy);
        snapshots::recover(&world.order).unwrap();
        snapshots::check_whole(&world.order).unwrap();
        (world.content("a"), world.content("b"), world.left())
    };
    let old = Some("old".to_owned());
    let (a, b, _) = interrupted(".out", "a");
    assert_eq!((a, b), (old.clone(), old.clone()));
    let (a, b, left) = interrupted(".old", "a b");
    assert_eq!((a.as_deref(), b, left.is_empty()), (Some("new"), None, true));
}

#[test]
fn snapshots_of_the_edge_give_way_and_those_of_persons_do_not() {
    let mut world = World::new();
    world.write("a", "1");
    for (name_of, removed) in
        [("before-a", ""), ("mine", ""), ("before-b", ""), ("before-c", "before-a"), ("ours", "before-b")]
    {
        let report = snapshots::make(&world.order, &name(name_of), true).unwrap();
        let gone: Vec<&str> = report.removed.iter().map(SnapshotName::as_str).collect();
        assert_eq!(gone.concat(), removed, "{name_of}");
    }
    snapshots::make(&world.order, &name("theirs"), true).unwrap();
    assert_eq!(snapshots::make(&world.order, &name("more"), true).unwrap_err().code, Code::TooMany);
    assert_eq!(snapshots::make(&world.order, &name("mine"), true).unwrap_err().code, Code::Conflict);
    snapshots::remove(&world.order.snapshots, &name("theirs")).unwrap();
    snapshots::make(&world.order, &name("before-old"), true).unwrap();
    snapshots::remove(&world.order.snapshots, &name("ours")).unwrap();
    // Selected by age, not by number.
    world.order.now_ms = u64::MAX;
    let report = snapshots::make(&world.order, &name("new"), true).unwrap();
    assert_eq!(report.removed, [name("before-old")]);
    world.order.bounds.snapshot_bytes_max = 10;
    assert!(snapshots::make(&world.order, &name("large"), true).is_err());
    assert_eq!(world.left(), [".partial", "mine.tar.zst", "new.tar.zst"]);
    snapshots::recover(&world.order).unwrap();
    assert_eq!(world.left(), ["mine.tar.zst", "new.tar.zst"]);
}

#[test]
fn none_gives_way_to_a_snapshot_that_may_replace_none_but_for_its_age() {
    let mut world = World::new();
    world.write("a", "1");
    for name_of in ["before-a", "mine", "before-b"] {
        snapshots::make(&world.order, &name(name_of), true).unwrap();
    }
    let refused = |world: &World| snapshots::make(&world.order, &name("ours"), false).unwrap_err().code;
    assert_eq!(refused(&world), Code::TooMany);
    world.order.bounds.snapshots_max = 9;
    let bytes: u64 = snapshots::list(&world.order.snapshots).unwrap().iter().map(|snapshot| snapshot.bytes).sum();
    world.order.bounds.snapshot_bytes_max = bytes;
    assert_eq!(refused(&world), Code::TooMany);
    snapshots::tidy(&world.order).unwrap();
    assert_eq!(world.left(), ["before-a.tar.zst", "before-b.tar.zst", "mine.tar.zst"]);
    world.order.now_ms = u64::MAX;
    let report = snapshots::make(&world.order, &name("ours"), false).unwrap();
    assert_eq!(report.removed, [name("before-a"), name("before-b")]);
}

#[test]
fn a_snapshot_that_fails_leaves_nothing_on_the_disk() {
    let mut world = World::new();
    world.write("a", "1");
    world.order.bounds.snapshot_bytes_max = 10;
    world.order.work = Work::Snapshot { name: name("large"), may_replace: true };
    assert!(task::perform(&world.order, &std::io::stdout()).is_err());
    assert!(world.left().is_empty(), "{:?}", world.left());
}

#[test]
fn a_file_that_only_begins_like_a_database_is_copied_as_it_is() {
    let world = World::new();
    let bad = format!("SQLite format 3\0{}", "x".repeat(8_000));
    world.write("bad.db", &bad);
    world.write("bad.db-wal", "gone with it");
    world.write("real.db-wal", "stays");
    let archive = world.archive().unwrap();
    world.unpack(&archive).unwrap();
    let draft = world.order.snapshots.join(".draft");
    assert_eq!(fs::read_to_string(draft.join("bad.db")).unwrap(), bad);
    assert!(draft.join("real.db-wal").exists());
}

/// Free space is also for other apps on the disk.
#[test]
fn law_11_a_database_is_not_copied_where_the_disk_has_no_room_for_it() {
    let mut world = World::new();
    world.order.bounds.bytes_max = u64::MAX;
    let path = world.order.data.join("real.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("create table one (a)").unwrap();
    assert!(world.archive().is_ok());
    File::options().write(true).open(&path).unwrap().set_len(1 << 43).unwrap();
    assert_eq!(world.archive().unwrap_err().code, Code::DiskFull);
    assert!(world.left().is_empty(), "{:?}", world.left());
}

fn packed(path: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let length = path.len().min(100);
    header.as_old_mut().name[..length].copy_from_slice(&path[..length]);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, content).unwrap();
    zstd::encode_all(&*tar.into_inner().unwrap(), 1).unwrap()
}

#[test]
fn law_11_folders_that_an_archive_only_implies_count_as_those_that_it_has() {
    let world = World::new();
    let unpack = |files: usize| {
        let mut tar = tar::Builder::new(Vec::new());
        for number in 0..files {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            tar.append_data(&mut header, format!("{number}/{}f", "d/".repeat(48)), std::io::empty()).unwrap();
        }
        world.unpack(&zstd::encode_all(&*tar.into_inner().unwrap(), 1).unwrap())
    };
    assert_eq!(unpack(2).unwrap().files, 2);
    assert_eq!(unpack(3).unwrap_err().code, Code::PersistFull);
}

fn everything_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.clone());
            if path.symlink_metadata().unwrap().is_dir() {
                open.push(path);
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_an_archive_is_put_beside_its_folder(path in "(\\.\\./|/|\\./|a/|[ab\\.]){1,12}") {
        let world = World::new();
        let before = everything_in(&world.order.data).len();
        drop(world.unpack(&packed(path.as_bytes(), b"x")));
        prop_assert_eq!(everything_in(&world.order.data).len(), before);
        for left in world.left() {
            prop_assert_eq!(left, ".draft");
        }
    }

    #[test]
    fn bytes_that_are_no_archive_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..200) {
        let world = World::new();
        prop_assert!(world.unpack(&bytes).is_err());
        // Damage in the header checksum, the frame, or the content.
        let mut archive = packed(b"a", b"hello");
        let length = archive.len();
        archive.truncate(length - 1 - at % (length - 1));
        prop_assert!(world.unpack(&archive).is_err());
    }
}
