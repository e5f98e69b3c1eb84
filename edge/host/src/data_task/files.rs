//! The files of an environment, by descriptors: no link is followed, so that a change of the tree meanwhile leads
//! nowhere else. It runs as the environment's own user, in a process of its own.

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

/// Greatest depth of folders that is archived or unpacked.
pub(super) const DEPTH_MAX: usize = 64;
/// Most bytes of a path below the folder.
pub(super) const PATH_BYTES_MAX: usize = 4_000;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A pipe that takes the place of a file meanwhile is opened without a wait, and refused then.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One entry, as a walk found it.
pub(super) struct Entry<'e> {
    /// The folder that it is in.
    pub(super) parent: BorrowedFd<'e>,
    pub(super) name: &'e CStr,
    /// Its path below the folder that was walked.
    pub(super) path: &'e Path,
    pub(super) kind: FileType,
    pub(super) stat: &'e Stat,
}

impl Entry<'_> {
    /// Bytes of a file, with its holes.
    pub(super) fn bytes(&self) -> u64 {
        match self.kind {
            FileType::RegularFile => u64::try_from(self.stat.st_size).unwrap_or(0),
            _ => 0,
        }
    }

    /// The time of the last change, in milliseconds since 1970 UTC.
    pub(super) fn modified_ms(&self) -> u64 {
        u64::try_from(self.stat.st_mtime).unwrap_or(0).saturating_mul(1_000)
    }
}

/// Opens a folder that is no link.
pub(super) fn folder(path: &Path) -> Result<OwnedFd, Failure> {
    openat(CWD, path, FOLDER, Mode::empty()).map_err(|error| io_failure("opening", path, error))
}

/// Opens a folder within another one.
pub(super) fn folder_in(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(parent, name, FOLDER, Mode::empty())
}

/// Opens a file for reading; `None` where it is none any more.
pub(super) fn read(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<File>> {
    let file = match openat(parent, name, READ, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NOTDIR) => return Ok(None),
        opened => File::from(opened?),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Creates a file that is not there yet.
pub(super) fn create(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    Ok(openat(parent, name, NEW, Mode::RUSR | Mode::WUSR)?.into())
}

/// Opens a folder within another one, made where it is not there; says whether it was made.
pub(super) fn make_folder(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<(OwnedFd, bool)> {
    let made = match mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => false,
        made => made.map(|()| true)?,
    };
    Ok((folder_in(parent, name)?, made))
}

/// The names in a folder.
///
/// # Errors
/// Where it cannot be read, or has more than `max`.
pub(super) fn names(folder: BorrowedFd<'_>, max: u64) -> io::Result<Vec<CString>> {
    let names = first_names(folder, max.saturating_add(1))?;
    match u64::try_from(names.len()).is_ok_and(|count| count <= max) {
        true => Ok(names),
        false => Err(io::Error::new(io::ErrorKind::QuotaExceeded, "there are too many names in a folder")),
    }
}

/// Names in a folder, up to `count_max` of them.
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

/// Calls `with` for everything below a folder, by name, each folder before what it holds, and other file systems left
/// out.
///
/// # Errors
/// `persist_full` after `files_max` entries where there are more, and for folders too deep or paths too long; what
/// `with` fails of.
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
        // What is gone meanwhile is no part of it.
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

/// A failure at a path below the folder.
pub(super) fn io_failure(doing: &str, path: &Path, error: Errno) -> Failure {
    Failure::io(doing, &path.to_string_lossy(), &error.into())
}
