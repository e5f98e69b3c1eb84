//! Checks the disk of the data folder: kind, free space, and the latency of durable writes.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use devanture_config::edge_toml::BlobStore;
use devanture_config::limits::Limits;
use rustix::fs::{StatVfs, statfs, statvfs};

use super::caller::Caller;
use super::finding::Finding;
use devanture_base::durable::{Draft, Error};
use devanture_store::blobs::{self, FreeSpace};

const CHECK: &str = "disk";
/// Percentage of free bytes or inodes below which a warning is reported.
const FREE_PERCENT_MIN: u64 = 10;
/// Number of files written and synced to measure the disk.
const SYNCS: usize = 5;
/// Size of each file, as of a small record.
const SYNC_BYTES: usize = 4_096;
/// Latency of a small durable write above which pushes are slow.
const SYNC_MAX: Duration = Duration::from_millis(50);
/// Advice about missing space, for an edge with all files on the disk.
const MAKE_ROOM: &str = "`devanture gc --purge` ends what could be restored; lower keep_versions and keep_days in \
                         [retention], or enlarge the disk: docs/runbooks/disk.md";
/// Advice about missing space, for an edge with copies of a bucket on the disk.
const MAKE_ROOM_BESIDE_BUCKET: &str = "lower cache_bytes_max in [blobs], or enlarge the disk: docs/runbooks/disk.md";

/// Kind of the files in the data folder.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cache {
    /// Original files.
    None,
    /// Copies of a bucket.
    OfBucket,
}

impl Cache {
    pub(super) const fn of(store: &BlobStore) -> Self {
        match store {
            BlobStore::Folder => Self::None,
            BlobStore::S3(_) => Self::OfBucket,
        }
    }

    /// Returns advice about missing space.
    const fn make_room(self) -> &'static str {
        match self {
            Self::None => MAKE_ROOM,
            Self::OfBucket => MAKE_ROOM_BESIDE_BUCKET,
        }
    }
}

/// Suitability of a kind of file system.
enum Kind {
    Good(&'static str),
    /// Files may be lost.
    Lost(&'static str),
    /// The files are on another machine, with different guarantees about syncing and locking.
    Remote(&'static str),
    Unknown,
}

/// Returns the kind of a file system by its number (statfs(2)).
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

/// Checks the disk of `data_dir`. Blocks on the disk.
pub(super) fn look(data_dir: &Path, limits: &Limits, cache: Cache, caller: &Caller) -> Vec<Finding> {
    let mut found = look_around(data_dir, limits, cache);
    found.push(match data_dir.try_exists() {
        Ok(false) => Finding::ok(CHECK, format!("{} is made at the first start", data_dir.display())),
        // An invisible folder is not writable either, and the error of the write tells the reason.
        Ok(true) | Err(_) => syncs(data_dir, cache, caller),
    });
    if let Some(why) = folders(data_dir, caller) {
        found.push(why);
    }
    found
}

/// Reports a missing or unusable folder of stored files. Without the layout number, the folders do not exist yet;
/// folders of another user may be hidden.
fn folders(data_dir: &Path, caller: &Caller) -> Option<Finding> {
    if caller.is_other() || !data_dir.join("format").exists() {
        return None;
    }
    let why = blobs::check_folders(data_dir).err()?;
    let advice =
        "give it back to the user of the edge, mount it, or restore a backup: docs/runbooks/disk-unwritable.md";
    Some(Finding::fail(CHECK, why, advice))
}

/// Checks the disk of `folder`, or of its nearest existing parent, without a write.
pub(super) fn look_around(folder: &Path, limits: &Limits, cache: Cache) -> Vec<Finding> {
    let folder = existing(folder);
    let mut found = vec![of_kind(&folder)];
    match statvfs(&folder) {
        Ok(stat) => found.extend([room(&folder, &stat, limits, cache), inodes(&stat)]),
        Err(error) => {
            let what = format!("{}: {error}", folder.display());
            found.push(Finding::fail(CHECK, what, "see whether the disk is mounted"));
        }
    }
    found
}

/// Returns the folder, or its nearest existing parent.
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

fn room(folder: &Path, stat: &StatVfs, limits: &Limits, cache: Cache) -> Finding {
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let percent = percent(stat.f_bavail, stat.f_blocks);
    let what = format!("{} MiB, {percent} %, are free", free >> 20);
    // The edge decides by the same check to accept new files.
    match FreeSpace::new(folder.to_owned(), limits.disk_free_bytes_min).check() {
        Err(blobs::Error::Short { .. }) => {
            Finding::fail(CHECK, format!("{what}: new files are refused"), cache.make_room())
        }
        _ if percent < FREE_PERCENT_MIN => Finding::warn(CHECK, what, cache.make_room()),
        _ => Finding::ok(CHECK, what),
    }
}

fn inodes(stat: &StatVfs) -> Finding {
    // Some file systems, such as btrfs, have no limit of inodes.
    if stat.f_files == 0 {
        return Finding::ok(CHECK, "the number of files has no limit");
    }
    let percent = percent(stat.f_favail, stat.f_files);
    let what = format!("{} more files, {percent} % of the inodes, have room", stat.f_favail);
    let advice =
        "each file takes up to five inodes: lower keep_versions in [retention], or make the file system with more";
    match percent {
        0 => Finding::fail(CHECK, what, advice),
        1..FREE_PERCENT_MIN => Finding::warn(CHECK, what, advice),
        _ => Finding::ok(CHECK, what),
    }
}

/// Measures the time for a small durable write; the file is removed.
fn syncs(data_dir: &Path, cache: Cache, caller: &Caller) -> Finding {
    // The next start removes files left by a kill.
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
            return unwritable(&error, cache, caller);
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

/// Reports that no file can be written; another user is the remedy only for missing permissions.
fn unwritable(error: &Error, cache: Cache, caller: &Caller) -> Finding {
    let is_denied = matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied);
    if is_denied && caller.is_other() {
        return Finding::warn(CHECK, format!("this user cannot measure how fast it is: {error}"), caller.advice());
    }
    let advice = match error {
        Error::Full { .. } => cache.make_room(),
        Error::Io { .. } if is_denied => "the user of the edge needs to write there; call this as that user",
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
        let look = |folder: &Path| look(folder, &Limits::default(), Cache::None, &Caller::Own);
        let found = look(&data);
        assert!(found.iter().any(|finding| finding.found.contains("at the first start")), "{found:?}");
        assert!(!data.exists());
        let found = look(parent.path());
        assert!(found.iter().any(|finding| finding.found.starts_with("keeping a small file takes")), "{found:?}");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_of_stored_files_that_is_gone_fails() {
        let data = tempfile::tempdir().unwrap();
        assert!(folders(data.path(), &Caller::Own).is_none(), "none is made yet");
        drop(blobs::open(data.path().to_owned()).unwrap());
        assert!(folders(data.path(), &Caller::Own).is_none());
        std::fs::remove_dir(data.path().join("blobs")).unwrap();
        let found = folders(data.path(), &Caller::Own).unwrap();
        assert_eq!((found.level, found.found.as_str()), (Level::Fail, "the folder blobs of data_dir is gone"));
    }

    #[test]
    fn a_disk_with_less_than_is_to_stay_free_fails() {
        let folder = tempfile::tempdir().unwrap();
        let (stat, limits) = (statvfs(folder.path()).unwrap(), Limits::default());
        let short = StatVfs { f_bavail: stat.f_blocks / 20, ..stat };
        let found = room(folder.path(), &short, &limits, Cache::None);
        assert_eq!((found.level, found.advice.unwrap().contains("devanture gc --purge")), (Level::Warn, true));
        let found = room(folder.path(), &short, &limits, Cache::OfBucket);
        assert!(found.advice.unwrap().starts_with("lower cache_bytes_max"));
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
            (Error::Full { path: "data".to_owned() }, "devanture gc --purge"),
            (io(ErrorKind::PermissionDenied), "the user of the edge"),
            (io(ErrorKind::ReadOnlyFilesystem), "mounted"),
        ] {
            let found = unwritable(&error, Cache::None, &Caller::Own);
            assert_eq!((found.level, found.advice.unwrap().contains(words)), (Level::Fail, true), "{error}");
        }
        let other = Caller::Other { owner: Some(997) };
        let found = unwritable(&io(ErrorKind::PermissionDenied), Cache::None, &other);
        assert_eq!((found.level, found.advice.unwrap().contains("uid 997")), (Level::Warn, true));
        assert_eq!(unwritable(&io(ErrorKind::ReadOnlyFilesystem), Cache::None, &other).level, Level::Fail);
    }

    #[test]
    fn the_keys_that_advice_names_are_keys_of_edge_toml() {
        let text = "data_dir = \"data\"\ndomain = \"a.test\"\npreview_domain = \"a.test\"\n[listen]\nhttps = \"127.0.0.1:0\"\n\
                    admin = \"127.0.0.1:0\"\n[tls]\nmode = \"self-signed\"\n[retention]\nkeep_versions = 2\nkeep_days = 1\n\
                    [blobs]\nkind = \"s3\"\nbucket = \"files\"\ncache_bytes_max = 1_000_000_000\n";
        let file = devanture_config::edge_toml::EdgeFile::parse("edge.toml", text).unwrap();
        assert!(matches!(Cache::of(&file.storage.blobs), Cache::OfBucket));
        for key in ["keep_versions", "keep_days"] {
            assert!(MAKE_ROOM.contains(key), "{key}");
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
