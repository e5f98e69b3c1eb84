//! Unix: modes, inodes and `openat`.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// Returns true if the owner may run the file.
pub(crate) fn may_run(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

/// Returns true if the file is a program, and not a link.
pub fn is_program(path: &Path) -> bool {
    let found = path.symlink_metadata();
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Returns the device, the inode and the time of the inode's last change, which differ for a replaced file.
pub(crate) fn identity(metadata: &Metadata) -> (u64, u64, i64, i64) {
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

const FOLDER: OFlags = LOOK.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// Opening a file in a folder does not require the right to list the folder.
#[cfg(any(target_os = "android", target_os = "linux"))]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const LOOK: OFlags = OFlags::RDONLY;
/// A pipe without a writer must not be waited for.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// An open folder: entries are opened through the descriptor, independent of later changes of the path.
#[derive(Debug, Clone)]
pub(crate) struct OpenFolder(Arc<OwnedFd>);

impl OpenFolder {
    /// Opens the folder at `path`, which contains no link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(openat(CWD, path, FOLDER, Mode::empty())?)))
    }

    /// Opens a folder beneath this one, by plain names.
    pub(crate) fn folder(&self, relative: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(descend(&self.0, relative, FOLDER)?)))
    }

    /// Opens a file beneath this folder, by plain names, for reading.
    pub(crate) fn file(&self, relative: &Path) -> io::Result<File> {
        descend(&self.0, relative, FILE).map(File::from)
    }
}

/// Opens `relative` without following links: by one call if the system supports that, else component by component.
fn descend(root: &OwnedFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        use rustix::fs::{ResolveFlags, openat2};
        use rustix::io::Errno;
        let resolve = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
        match openat2(root, relative, flags, Mode::empty(), resolve) {
            // Linux has the call since 5.6, and sandboxes may forbid calls that they do not know.
            Err(Errno::NOSYS | Errno::PERM) => {}
            // A concurrent rename makes the kernel give up rather than return a wrong file.
            Err(Errno::AGAIN) => {}
            opened => return Ok(opened?),
        }
    }
    by_components(root, relative, flags)
}

fn by_components(root: &OwnedFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut names: Vec<&OsStr> = relative.iter().collect();
    let last = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
    let mut folder: Option<OwnedFd> = None;
    for name in names {
        let within = folder.as_ref().unwrap_or(root).as_fd();
        folder = Some(openat(within, name, FOLDER, Mode::empty())?);
    }
    Ok(openat(folder.as_ref().unwrap_or(root), last, flags, Mode::empty())?)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_lies_beneath_a_folder_is_opened_by_components_as_by_one_call() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/deep")).unwrap();
        std::fs::write(folder.path().join("a/b"), "").unwrap();
        symlink("b", folder.path().join("a/link")).unwrap();
        symlink("a", folder.path().join("way")).unwrap();
        let root = OpenFolder::open(folder.path()).unwrap();
        assert!(by_components(&root.0, Path::new("a/b"), FILE).is_ok() && root.file(Path::new("a/b")).is_ok());
        for refused in ["a/link", "way/b", "a/b/c", "a/missing"] {
            assert!(by_components(&root.0, Path::new(refused), FILE).is_err(), "{refused}");
            assert!(root.file(Path::new(refused)).is_err(), "{refused}");
        }
    }
}
