//! Measures folders with untrusted content: any depth, any size, with links and hard links.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use serde::{Deserialize, Serialize};

/// Flags for opening a folder: never through a link.
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Maximum measured depth of folders.
pub const MEASURED_DEPTH_MAX: usize = 128;
/// Maximum inspected names, of any owner.
const NAMES_MAX: u64 = 100_000_000;
/// Number of names between two pauses for other work.
const NAMES_AT_ONCE: u64 = 2_048;
/// Length of a pause as a multiple of the work before.
const REST: u32 = 3;

/// Folder to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredFolder {
    /// Path.
    pub path: String,
    /// Owner of the counted files, in a shared folder; `None` counts all files.
    pub owner: Option<u32>,
}

/// Measured content of folders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files, folders and links.
    pub files: u64,
    /// True if the measurement is incomplete: too many files, or folders too deep.
    pub is_partial: bool,
    /// True if some folders are too deep.
    #[serde(default)]
    pub is_too_deep: bool,
}

/// Running counts and limits.
pub(super) struct Count {
    pub(super) measured: Measured,
    files_max: u64,
    /// Inspected names, of any owner.
    looked: u64,
    /// Files with several names.
    seen: HashSet<(u64, u64)>,
    owner: Option<u32>,
    begun: Instant,
}

impl Count {
    pub(super) fn new(files_max: u64) -> Self {
        let measured = Measured::default();
        Self { measured, files_max, looked: 0, seen: HashSet::new(), owner: None, begun: Instant::now() }
    }

    /// Adds the content of a folder; a missing folder is empty. `is_allowed` accepts owners of folders to inspect, and
    /// `rest` pauses.
    pub(super) fn add(&mut self, folder: &MeasuredFolder, is_allowed: impl Fn(u32) -> bool, rest: impl Fn(Duration)) {
        let Ok(top) = openat(CWD, Path::new(&folder.path), FOLDER, Mode::empty()) else { return };
        let Ok(found) = fstat(&top) else { return };
        if folder.owner.is_none() && !is_allowed(found.st_uid) {
            return;
        }
        self.owner = folder.owner;
        let device = found.st_dev;
        let Ok(names) = Dir::read_from(&top) else { return };
        let mut open = vec![(top, names)];
        loop {
            let is_deepest = open.len() >= MEASURED_DEPTH_MAX;
            let Some((parent, names)) = open.last_mut() else { return };
            let Some(Ok(entry)) = names.next() else {
                open.pop();
                continue;
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(found) = statat(parent.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if !self.count(&found) {
                return;
            }
            self.looked += 1;
            if self.looked > NAMES_MAX {
                self.measured.is_partial = true;
                return;
            }
            if self.looked.is_multiple_of(NAMES_AT_ONCE) {
                rest(self.begun.elapsed() * REST);
                self.begun = Instant::now();
            }
            let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if !is_folder || found.st_dev != device {
                continue;
            }
            if is_deepest {
                (self.measured.is_partial, self.measured.is_too_deep) = (true, true);
            } else if let Some(next) = opened(parent, name) {
                open.push(next);
            }
        }
    }

    /// Counts one name; returns true if there is room for more.
    fn count(&mut self, found: &Stat) -> bool {
        if self.owner.is_some_and(|owner| owner != found.st_uid) {
            return true;
        }
        let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        self.measured.files += 1;
        if is_folder || found.st_nlink == 1 || self.seen.insert((found.st_dev, found.st_ino)) {
            let blocks = u64::try_from(found.st_blocks).unwrap_or(0);
            self.measured.bytes = self.measured.bytes.saturating_add(blocks.saturating_mul(512));
        }
        let is_full = self.measured.files > self.files_max;
        self.measured.is_partial |= is_full;
        !is_full
    }
}

fn opened(parent: &OwnedFd, name: &CStr) -> Option<(OwnedFd, Dir)> {
    let folder = openat(parent, name, FOLDER, Mode::empty()).ok()?;
    let names = Dir::read_from(&folder).ok()?;
    Some((folder, names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn measured(path: &Path, owner: Option<u32>, files_max: u64) -> Measured {
        let mut count = Count::new(files_max);
        count.add(&MeasuredFolder { path: path.display().to_string(), owner }, |_| true, |_| {});
        count.measured
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
    fn everything_in_a_folder_counts_once_and_nothing_beside_it() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = folder.path();
        fs::write(other.path().join("large"), vec![1; 1 << 20]).unwrap();
        assert_eq!(measured(path, None, 100), Measured::default());
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(path.join("a/b/file"), path.join("same")).unwrap();
        symlink(other.path(), path.join("link")).unwrap();
        let found = measured(path, None, 100);
        assert_eq!((found.files, found.is_partial), (5, false));
        assert!((100_000..200_000).contains(&found.bytes), "{found:?}");
        // A hole takes no space.
        fs::File::create(path.join("hole")).unwrap().set_len(1 << 40).unwrap();
        assert!(measured(path, None, 100).bytes < 200_000);
        assert_eq!(measured(path, Some(u32::MAX - 1), 100), Measured::default(), "nothing is that user's");
        let too_many = measured(path, None, 3);
        assert!(too_many.is_partial && !too_many.is_too_deep);
        assert_eq!(measured(&path.join("missing"), None, 3), Measured::default());
    }

    #[test]
    fn folders_that_are_too_deep_are_not_looked_into_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().to_owned();
        for _ in 0..MEASURED_DEPTH_MAX + 5 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        let found = measured(folder.path(), None, 10_000);
        assert!(found.is_partial && found.is_too_deep && found.files >= 128, "{found:?}");
    }

    #[test]
    fn a_folder_of_somebody_else_is_not_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        let mut count = Count::new(10);
        let own = MeasuredFolder { path: folder.path().display().to_string(), owner: None };
        count.add(&own, |_| false, |_| {});
        assert_eq!(count.measured, Measured::default());
    }
}
