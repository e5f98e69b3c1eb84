//! Goes through trees that somebody who is not trusted has filled: by descriptors, by no link, with one descriptor and
//! little stack however deep they are.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

/// Flags to open a folder: never by a link.
pub(super) const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The identity of a file: device and inode.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(found: &Stat) -> Identity {
    (found.st_dev, found.st_ino)
}

pub(super) fn is_folder(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

/// Calls `with` for everything below `path`, by the folder that it is in, its name and what it is; `with` says whether
/// a folder is gone into. One that may not be entered is left out.
pub(super) fn walk(
    path: &Path,
    with: &mut impl FnMut(&OwnedFd, &CStr, &Stat) -> Result<bool, Errno>,
) -> Result<(), Errno> {
    let mut folder = openat(rustix::fs::CWD, path, FOLDER, Mode::empty())?;
    // The folders above, each with the ones in it that are still to come.
    let mut above: Vec<(Identity, Vec<CString>)> = Vec::new();
    let mut next = list(&folder, with)?;
    loop {
        if let Some(name) = next.pop() {
            let inner = match openat(&folder, name.as_c_str(), FOLDER, Mode::empty()) {
                Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                opened => opened?,
            };
            above.push((identity(&fstat(&folder)?), std::mem::take(&mut next)));
            next = list(&inner, with)?;
            folder = inner;
            continue;
        }
        let Some((parent, names)) = above.pop() else { return Ok(()) };
        let up = openat(&folder, c"..", FOLDER, Mode::empty())?;
        if identity(&fstat(&up)?) != parent {
            // Somebody moved it, and what is above it now was not asked for.
            return Err(Errno::STALE);
        }
        (folder, next) = (up, names);
    }
}

/// Calls `with` for everything in a folder; gives the names of the folders that are gone into.
fn list(
    folder: &OwnedFd,
    with: &mut impl FnMut(&OwnedFd, &CStr, &Stat) -> Result<bool, Errno>,
) -> Result<Vec<CString>, Errno> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            found => found?,
        };
        if with(folder, name, &found)? && is_folder(&found) {
            folders.push(name.to_owned());
        }
    }
    Ok(folders)
}
