//! Removes whole folders with untrusted content: any depth, any number of files, with links.
//!
//! A nested folder is first moved to the top, so that the tree is never deeper than two: neither the stack, nor
//! descriptors, nor the length of a path bound the removal. All access is by descriptors without following links, so
//! that a concurrent change of the tree leads nowhere else.

use std::ffi::CStr;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, FileType, Mode, chmodat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::walk::{FOLDER, is_folder, walk};
use super::{Error, Step, before, failed};

/// Maximum number of files inspected for the files of one user.
const LOOKED_AT_MAX: usize = 1_000_000;

/// Removes a folder with all content, without following links. Returns true if the folder existed. Entries that cannot
/// be removed do not stop the removal of the rest; remaining entries may have moved within the folder.
///
/// # Errors
/// [`Error::Io`], the first error.
pub fn remove_folder(path: &Path) -> Result<bool, Error> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("looking at", path)(error)),
    };
    let removed = before(Step::Remove, path).and_then(|()| match found.is_dir() {
        true => empty(path).and_then(|()| std::fs::remove_dir(path)),
        false => std::fs::remove_file(path),
    });
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("removing", path)(error)),
        _ => Ok(true),
    }
}

/// Removes all content of a folder and keeps the folder; a missing folder counts as empty.
///
/// # Errors
/// [`Error::Io`], the first error; all removable content is removed.
pub fn empty_folder(path: &Path) -> Result<(), Error> {
    let emptied = before(Step::Remove, path).and_then(|()| empty(path));
    match emptied {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("emptying", path)(error)),
        _ => Ok(()),
    }
}

/// Removes all content of an open folder and keeps the folder. Other processes may create files meanwhile.
///
/// # Errors
/// Errors of the kernel, and [`ErrorKind::TimedOut`] if content is left at `until`; all removable content is removed.
pub fn empty_opened_folder(folder: OwnedFd, until: Instant) -> std::io::Result<()> {
    Ok(empty_until(&folder, Some(until))?)
}

/// Removes all entries of a user below a folder, as far as the calling process may; a missing folder has no entries.
/// Folders of other users are searched; other file systems are not.
///
/// # Errors
/// [`Error::Io`] if entries of the user remain, or if there are too many entries to inspect.
pub fn remove_owned(path: &Path, user: u32) -> Result<(), Error> {
    let device = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::os::unix::fs::MetadataExt::dev(&found),
        _ => return Ok(()),
    };
    before(Step::Remove, path).map_err(failed("removing from", path))?;
    loop {
        let (mut pass, mut looked_at, mut count) = (PassOutcome::default(), 0, 0);
        let walked = walk(path, &mut |folder, name, found| {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return Err(Errno::TOOBIG);
            }
            if found.st_uid != user {
                return Ok(found.st_dev == device);
            }
            count += 1;
            pass.note(match is_folder(found) {
                true => opened(folder.as_fd(), name)
                    .and_then(empty_opened)
                    .and_then(|()| unlinkat(folder, name, AtFlags::REMOVEDIR)),
                false => unlinkat(folder, name, AtFlags::empty()),
            });
            Ok(false)
        });
        walked.map_err(|errno| failed("looking through", path)(errno.into()))?;
        match pass {
            _ if count == 0 => return Ok(()),
            PassOutcome { done: 0, failed: errno } => {
                return Err(failed("removing from", path)(errno.unwrap_or(Errno::BUSY).into()));
            }
            // Listing a folder during changes may omit entries.
            PassOutcome { .. } => {}
        }
    }
}

/// Outcome of a pass through a folder.
#[derive(Default)]
struct PassOutcome {
    /// Number of entries removed or moved up.
    done: usize,
    failed: Option<Errno>,
}

impl PassOutcome {
    fn note(&mut self, outcome: Result<(), Errno>) {
        match outcome {
            Ok(()) | Err(Errno::NOENT) => self.done += 1,
            Err(errno) => self.failed = self.failed.or(Some(errno)),
        }
    }
}

/// Removes all content of a folder.
fn empty(path: &Path) -> std::io::Result<()> {
    Ok(empty_opened(opened(rustix::fs::CWD, path)?)?)
}

fn empty_opened(top: OwnedFd) -> Result<(), Errno> {
    empty_until(&top, None)
}

fn empty_until(top: &OwnedFd, until: Option<Instant>) -> Result<(), Errno> {
    loop {
        let mut pass = PassOutcome::default();
        each(top, |name, kind| {
            pass.note(match kind {
                FileType::Directory => empty_child(top, name),
                _ => unlinkat(top, name, AtFlags::empty()),
            });
        })?;
        match pass {
            PassOutcome { done: 1.., .. } if until.is_some_and(|until| Instant::now() > until) => {
                return Err(Errno::TIMEDOUT);
            }
            PassOutcome { done: 0, failed: Some(errno) } => return Err(errno),
            PassOutcome { done: 0, failed: None } => return Ok(()),
            // Listing a folder during changes may omit entries.
            PassOutcome { .. } => {}
        }
    }
}

/// Removes a folder of the top level, after moving nested folders to the top.
fn empty_child(top: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let folder = opened(top.as_fd(), name)?;
    let mut pass = PassOutcome::default();
    each(&folder, |name, kind| {
        pass.note(match kind {
            FileType::Directory => move_up(folder.as_fd(), name, top.as_fd()),
            _ => unlinkat(&folder, name, AtFlags::empty()),
        });
    })?;
    match unlinkat(top, name, AtFlags::REMOVEDIR) {
        // The rest follows in the next pass, if there was any progress.
        Err(Errno::NOTEMPTY) if pass.done > 0 => Ok(()),
        Err(errno) => Err(pass.failed.unwrap_or(errno)),
        Ok(()) => Ok(()),
    }
}

fn move_up(folder: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>) -> Result<(), Errno> {
    let up = format!(".{:016x}.tmp", rand::random::<u64>());
    match renameat(folder, name, top, up.as_str()) {
        // Moving a folder writes to the folder itself.
        Err(Errno::ACCESS | Errno::PERM) => {
            open_up(folder, name)?;
            renameat(folder, name, top, up.as_str())
        }
        moved => moved,
    }
}

/// Opens a folder, after making an unwritable folder of the process's own user writable: only then the files can be
/// removed.
fn opened(parent: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let is_closed = |mode: u32| mode & 0o700 != 0o700;
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_closed(found.st_mode) && FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        // If the mode cannot be changed, opening the folder reports the reason.
        open_up(parent, name).ok();
    }
    openat(parent, name, FOLDER, Mode::empty())
}

/// Makes a folder writable for the owner, as required for removing files. Root never needs write permission, and so
/// changes no mode by a name that another user could give to a different folder.
fn open_up(parent: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<(), Errno> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chmodat(parent, name, Mode::RWXU, AtFlags::empty())
}

/// Calls `with` for each name in a folder with the file type.
fn each(folder: &OwnedFd, mut with: impl FnMut(&CStr, FileType)) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not report the type here.
            FileType::Unknown => statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode)),
            known => known,
        };
        with(name, kind);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{DirBuilderExt as _, symlink};

    /// Depth beyond the limits of paths, of open descriptors and of the stack.
    const LEVELS: usize = 20_000;

    /// Creates nested folders.
    fn deep(top: &Path, levels: usize) {
        let mut folder = opened(rustix::fs::CWD, top).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&folder, "deeper", Mode::RWXU).unwrap();
            folder = openat(&folder, "deeper", FOLDER, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_folder_is_removed_however_deep_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::DirBuilder::new().create(&tree).unwrap();
        deep(&tree, LEVELS);
        // On a small stack.
        let removed = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || remove_folder(&tree).unwrap());
        assert!(removed.unwrap().join().unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_is_removed_however_much_is_in_it_and_links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, tree) = (folder.path().join("kept"), folder.path().join("tree"));
        let make = |path: &Path, mode: u32| std::fs::DirBuilder::new().mode(mode).create(path).unwrap();
        make(&kept, 0o700);
        std::fs::File::create(kept.join("file")).unwrap();
        make(&tree, 0o700);
        for number in 0..300 {
            let one = tree.join(number.to_string());
            make(&one, 0o700);
            std::fs::File::create(one.join("file")).unwrap();
            symlink(&kept, one.join("link")).unwrap();
            make(&one.join("inner"), 0o700);
            make(&one.join("inner/closed"), 0o000);
        }
        symlink(&kept, tree.join("link")).unwrap();
        assert!(remove_folder(&tree).unwrap() && !tree.exists());
        let link = folder.path().join("link");
        symlink(&kept, &link).unwrap();
        assert!(remove_folder(&link).unwrap());
        assert!(kept.join("file").exists());
    }
}
