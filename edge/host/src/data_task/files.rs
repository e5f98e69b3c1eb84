//! Files of an environment by descriptors, without following links, so that a concurrent change of the tree leads
//! nowhere else. Runs as the environment's user in a separate process.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use devanture_config::problem::Code;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, mkdirat, openat, statat};
use rustix::io::Errno;

use super::order::Failure;

/// Maximum depth of archived or unpacked folders.
pub(super) const DEPTH_MAX: usize = 64;
/// Maximum bytes of a path below the folder.
pub(super) const PATH_BYTES_MAX: usize = 4_000;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A pipe that replaces a file meanwhile is opened without waiting, and then refused.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Entry found by a walk.
pub(super) struct Entry<'e> {
    /// Parent folder.
    pub(super) parent: BorrowedFd<'e>,
    pub(super) name: &'e CStr,
    /// Path below the walked folder.
    pub(super) path: &'e Path,
    pub(super) kind: FileType,
    pub(super) stat: &'e Stat,
}

impl Entry<'_> {
    /// Returns the bytes of a file, including holes.
    pub(super) fn bytes(&self) -> u64 {
        match self.kind {
            FileType::RegularFile => u64::try_from(self.stat.st_size).unwrap_or(0),
            _ => 0,
        }
    }

    /// Returns the modification time in milliseconds since 1970 UTC.
    pub(super) fn modified_ms(&self) -> u64 {
        u64::try_from(self.stat.st_mtime).unwrap_or(0).saturating_mul(1_000)
    }
}

/// Opens a folder, not a link.
pub(super) fn folder(path: &Path) -> Result<OwnedFd, Failure> {
    openat(CWD, path, FOLDER, Mode::empty()).map_err(|error| io_failure("opening", path, error))
}

/// Opens a subfolder.
pub(super) fn folder_in(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(parent, name, FOLDER, Mode::empty())
}

/// Opens a file for reading; `None` if the entry is no longer a file.
pub(super) fn read(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<File>> {
    let file = match openat(parent, name, READ, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NOTDIR) => return Ok(None),
        opened => File::from(opened?),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Creates a new file.
pub(super) fn create(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    Ok(openat(parent, name, NEW, Mode::RUSR | Mode::WUSR)?.into())
}

/// Opens a subfolder, creating a missing folder; also returns true if created.
pub(super) fn make_folder(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<(OwnedFd, bool)> {
    let made = match mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => false,
        made => made.map(|()| true)?,
    };
    Ok((folder_in(parent, name)?, made))
}

/// Returns the names in a folder.
///
/// # Errors
/// Fails if the folder is unreadable, or has more than `max` names.
pub(super) fn names(folder: BorrowedFd<'_>, max: u64) -> io::Result<Vec<CString>> {
    let names = first_names(folder, max.saturating_add(1))?;
    match u64::try_from(names.len()).is_ok_and(|count| count <= max) {
        true => Ok(names),
        false => Err(io::Error::new(io::ErrorKind::QuotaExceeded, "there are too many names in a folder")),
    }
}

/// Returns at most `count_max` names in a folder.
fn first_names(folder: BorrowedFd<'_>, count_max: u64) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        if u64::try_from(names.len()).unwrap_or(u64::MAX) >= count_max {
            break;
        }
        names.push(entry.file_name().to_owned());
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

/// Calls `with` for every entry below a folder, by name, each folder before its content; other file systems are
/// skipped.
///
/// # Errors
/// `persist_full` after `files_max` entries if there are more, and for folders too deep or paths too long; errors of
/// `with`.
pub(super) fn walk(
    root: &OwnedFd,
    files_max: u64,
    mut with: impl FnMut(&Entry<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let read = |folder: BorrowedFd<'_>| {
        first_names(folder, files_max.saturating_add(1)).map_err(|error| Failure::io("reading", "a folder", &error))
    };
    let device = rustix::fs::fstat(root).map_err(|error| io_failure("looking at", Path::new("."), error))?.st_dev;
    let top = root.try_clone().map_err(|error| Failure::io("opening", "the folder", &error))?;
    let mut open = vec![(read(top.as_fd())?, top, Path::new("").to_owned())];
    let mut count = 0_u64;
    while let Some((names, folder, at)) = open.last_mut() {
        let Some(name) = names.pop() else {
            open.pop();
            continue;
        };
        // An entry removed meanwhile is skipped.
        let Ok(stat) = statat(folder.as_fd(), name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let path = at.join(OsStr::from_bytes(name.to_bytes()));
        count = count.saturating_add(1);
        if count > files_max || path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(too_much(files_max));
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        with(&Entry { parent: folder.as_fd(), name: &name, path: &path, kind, stat: &stat })?;
        if kind != FileType::Directory || stat.st_dev != device {
            continue;
        }
        let inner = match folder_in(folder.as_fd(), OsStr::from_bytes(name.to_bytes())) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            opened => opened.map_err(|error| io_failure("opening", &path, error))?,
        };
        if open.len() >= DEPTH_MAX {
            return Err(too_much(files_max));
        }
        open.push((read(inner.as_fd())?, inner, path));
    }
    Ok(())
}

fn too_much(files_max: u64) -> Failure {
    let detail = format!(
        "There are more than {files_max} files and folders, folders deeper than {DEPTH_MAX}, or paths longer than \
         {PATH_BYTES_MAX} bytes."
    );
    Failure::new(Code::PersistFull, detail)
}

/// Creates a failure for a path below the folder.
pub(super) fn io_failure(doing: &str, path: &Path, error: Errno) -> Failure {
    Failure::io(doing, &path.to_string_lossy(), &error.into())
}
