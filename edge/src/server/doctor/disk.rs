//! The disk of the data folder: its kind, its room, and how long it takes to keep something.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use devanture_config::limits::Limits;
use rustix::fs::{StatVfs, statfs, statvfs};

use super::finding::Finding;
use crate::blobs::durable::Draft;
use crate::blobs::{Error, FreeSpace};

const CHECK: &str = "disk";
/// Below this percentage of free bytes or inodes there is a warning.
const FREE_PERCENT_MIN: u64 = 10;
/// Files that are written and synced to measure the disk …
const SYNCS: usize = 5;
/// … of so many bytes, as a small record has.
const SYNC_BYTES: usize = 4_096;
/// A disk that takes longer to keep a small file makes pushes slow.
const SYNC_MAX: Duration = Duration::from_millis(50);
/// What to do where bytes or inodes run out.
const MAKE_ROOM: &str = "enlarge the disk or keep less: docs/runbooks/disk.md";

/// What kinds of file systems are good for.
enum Kind {
    Good(&'static str),
    /// What it keeps may be lost.
    Lost(&'static str),
    /// It is on another machine, whose promises about syncing and locking differ.
    Remote(&'static str),
    Unknown,
}

/// The kind of a file system by its number (statfs(2)).
const fn kind(number: u64) -> Kind {
    match number {
        0xef53 => Kind::Good("ext4"),
        0x5846_5342 => Kind::Good("xfs"),
        0x9123_683e => Kind::Good("btrfs"),
        0x2fc1_2fc1 => Kind::Good("zfs"),
        0xf2f5_2010 => Kind::Good("f2fs"),
        0x0102_1994 => Kind::Lost("tmpfs"),
        0x794c_7630 => Kind::Lost("overlayfs"),
        0x6969 => Kind::Remote("nfs"),
        0xff53_4d42 | 0xfe53_4d42 => Kind::Remote("cifs"),
        0x6573_5546 => Kind::Remote("fuse"),
        0x0102_1997 => Kind::Remote("9p"),
        _ => Kind::Unknown,
    }
}

/// Looks at the disk of `data_dir`. Blocks on the disk.
pub(super) fn look(data_dir: &Path, limits: &Limits) -> Vec<Finding> {
    let folder = existing(data_dir);
    let mut found = vec![of_kind(&folder)];
    match statvfs(&folder) {
        Ok(stat) => found.extend([room(&folder, &stat, limits), inodes(&stat)]),
        Err(error) => {
            let what = format!("{}: {error}", folder.display());
            found.push(Finding::fail(CHECK, what, "see whether the disk is mounted"));
        }
    }
    found.push(match data_dir.try_exists() {
        Ok(false) => Finding::ok(CHECK, format!("{} is made at the first start", data_dir.display())),
        // Where it cannot be seen, it cannot be written to either, which says why.
        Ok(true) | Err(_) => syncs(data_dir),
    });
    found
}

/// The folder, or the nearest one around it that exists.
fn existing(folder: &Path) -> PathBuf {
    let exists = |path: &&Path| path.as_os_str().is_empty() || path.exists();
    let nearest = folder.ancestors().find(exists).unwrap_or(folder);
    if nearest.as_os_str().is_empty() { PathBuf::from(".") } else { nearest.to_owned() }
}

fn of_kind(folder: &Path) -> Finding {
    let number = statfs(folder).ok().and_then(|stat| u64::try_from(stat.f_type).ok()).unwrap_or_default();
    match kind(number) {
        Kind::Good(name) => Finding::ok(CHECK, format!("the file system is {name}")),
        Kind::Lost(name) => Finding::warn(
            CHECK,
            format!("the file system is {name}, and ends with the machine or the container"),
            "put data_dir on a disk or a volume",
        ),
        Kind::Remote(name) => Finding::warn(
            CHECK,
            format!("the file system is {name}: what was synced may be lost, and locks may not hold"),
            "put data_dir on a local disk; in a cluster, the bucket holds the files",
        ),
        Kind::Unknown => Finding::ok(CHECK, format!("the file system has the number {number:#x}")),
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(100)
}

fn room(folder: &Path, stat: &StatVfs, limits: &Limits) -> Finding {
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let percent = percent(stat.f_bavail, stat.f_blocks);
    let what = format!("{} MiB, {percent} %, are free", free >> 20);
    // The edge decides by the same look whether it takes new files.
    match FreeSpace::new(folder.to_owned(), limits.disk_free_bytes_min).check() {
        Err(Error::Short { .. }) => Finding::fail(CHECK, format!("{what}: new files are refused"), MAKE_ROOM),
        _ if percent < FREE_PERCENT_MIN => Finding::warn(CHECK, what, MAKE_ROOM),
        _ => Finding::ok(CHECK, what),
    }
}

fn inodes(stat: &StatVfs) -> Finding {
    // Some file systems, such as btrfs, have no number of them.
    if stat.f_files == 0 {
        return Finding::ok(CHECK, "the number of files has no limit");
    }
    let percent = percent(stat.f_favail, stat.f_files);
    let what = format!("{} more files, {percent} % of the inodes, have room", stat.f_favail);
    let advice = "each file takes up to five inodes: keep fewer versions, or make the file system with more";
    match percent {
        0 => Finding::fail(CHECK, what, advice),
        1..FREE_PERCENT_MIN => Finding::warn(CHECK, what, advice),
        _ => Finding::ok(CHECK, what),
    }
}

/// Measures how long a small file takes until it is on stable storage; nothing of it stays.
fn syncs(data_dir: &Path) -> Finding {
    // What a kill leaves there is removed at the next start.
    let tmp = data_dir.join("tmp");
    let folder = if tmp.is_dir() { tmp } else { data_dir.to_owned() };
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let began = Instant::now();
        let kept = Draft::create(&folder).and_then(|mut draft| {
            draft.write(&[0; SYNC_BYTES])?;
            draft.sync()
        });
        if let Err(error) = kept {
            return unwritable(&error);
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times.get(SYNCS / 2).copied().unwrap_or_default();
    let slowest = times.last().copied().unwrap_or_default();
    let what = format!(
        "keeping a small file takes {:.1} ms, {:.1} ms at most of {SYNCS}",
        median.as_secs_f64() * 1_000.0,
        slowest.as_secs_f64() * 1_000.0
    );
    match median > SYNC_MAX {
        true => Finding::warn(CHECK, what, "pushes wait for that; use a disk with fast syncs, such as an SSD"),
        false => Finding::ok(CHECK, what),
    }
}

/// That nothing can be written; only where permission lacks is another user the remedy.
fn unwritable(error: &Error) -> Finding {
    let advice = match error {
        Error::Full { .. } => MAKE_ROOM,
        Error::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            "call this as the user of the edge; it needs to write there"
        }
        _ => "see how the disk is mounted, and what the kernel's log says about it",
    };
    Finding::fail(CHECK, format!("nothing can be written: {error}"), advice)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_folder_is_looked_at_before_it_is_made_and_stays_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("a/data");
        let found = look(&data, &Limits::default());
        assert!(found.iter().any(|finding| finding.found.contains("at the first start")), "{found:?}");
        assert!(!data.exists());
        let found = look(parent.path(), &Limits::default());
        assert!(found.iter().any(|finding| finding.found.starts_with("keeping a small file takes")), "{found:?}");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_disk_with_less_than_is_to_stay_free_fails() {
        let folder = tempfile::tempdir().unwrap();
        let (stat, limits) = (statvfs(folder.path()).unwrap(), Limits::default());
        let short = StatVfs { f_bavail: stat.f_blocks / 20, ..stat };
        assert_eq!(room(folder.path(), &short, &limits).level, Level::Warn);
        let full = StatVfs { f_files: 100, f_favail: 0, ..stat };
        assert_eq!(inodes(&full).level, Level::Fail);
        let few = StatVfs { f_files: 100, f_favail: 5, ..stat };
        assert_eq!(inodes(&few).level, Level::Warn);
        let uncounted = StatVfs { f_files: 0, f_favail: 0, ..stat };
        assert_eq!(inodes(&uncounted).level, Level::Ok);
    }

    #[test]
    fn advice_for_a_failed_write_is_about_its_cause() {
        let io = |kind: ErrorKind| Error::Io { doing: "creating", path: "data".to_owned(), source: kind.into() };
        for (error, words) in [
            (Error::Full { path: "data".to_owned() }, "enlarge the disk"),
            (io(ErrorKind::PermissionDenied), "the user of the edge"),
            (io(ErrorKind::ReadOnlyFilesystem), "mounted"),
        ] {
            let found = unwritable(&error);
            assert_eq!((found.level, found.advice.unwrap().contains(words)), (Level::Fail, true), "{error}");
        }
    }

    #[test]
    fn file_systems_that_lose_what_was_kept_are_known() {
        assert!(matches!(kind(0xef53), Kind::Good("ext4")));
        assert!(matches!(kind(0x0102_1994), Kind::Lost("tmpfs")));
        assert!(matches!(kind(0x6969), Kind::Remote("nfs")));
        assert!(matches!(kind(1), Kind::Unknown));
    }
}
