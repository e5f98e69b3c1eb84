//! Removes whole folders with untrusted contents: any depth, any number of files, with links.
//!
//! A folder within a folder is first moved up to the top, so that nothing is ever deeper than two: neither the stack,
//! nor descriptors, nor the length of a path bound what can be removed. Everything goes by descriptors and no link is
//! followed, so that a concurrent change of the tree leads nowhere else.

use std::ffi::CStr;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, FileType, Mode, chmodat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::walk::{FOLDER, is_folder, walk};
use super::{Error, Step, before, failed};

/// Most files that are looked at for those of one user.
const LOOKED_AT_MAX: usize = 1_000_000;

/// Removes a folder with all that is in it, following no link. Says whether there was one. What cannot be removed does
/// not keep the rest; whatever is left may have another place in the folder.
///
/// # Errors
/// [`Error::Io`], the first one.
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

/// Removes all that is in a folder, and leaves the folder; one that is not there is empty.
///
/// # Errors
/// [`Error::Io`], the first one; what can be removed is.
pub fn empty_folder(path: &Path) -> Result<(), Error> {
    let emptied = before(Step::Remove, path).and_then(|()| empty(path));
    match emptied {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("emptying", path)(error)),
        _ => Ok(()),
    }
}

/// Removes all that is in an open folder, and leaves the folder. Others may make files in it meanwhile.
///
/// # Errors
/// The kernel's, and [`ErrorKind::TimedOut`] where there is something left at `until`; what can be removed is.
pub fn empty_opened_folder(folder: OwnedFd, until: Instant) -> std::io::Result<()> {
    Ok(empty_until(&folder, Some(until))?)
}

/// Removes everything below a folder that belongs to a user, as far as the calling process may; a folder that is not
/// there has nothing. Folders of others are gone through, and those of other file systems are not.
///
/// # Errors
/// [`Error::Io`] where something of the user is left, or where there is too much to look at.
pub fn remove_owned(path: &Path, user: u32) -> Result<(), Error> {
    let device = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::os::unix::fs::MetadataExt::dev(&found),
        _ => return Ok(()),
    };
    before(Step::Remove, path).map_err(failed("removing from", path))?;
    loop {
        let (mut pass, mut looked_at, mut count) = (Pass::default(), 0, 0);
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
            Pass { done: 0, failed: errno } => {
                return Err(failed("removing from", path)(errno.unwrap_or(Errno::BUSY).into()));
            }
            // A list that changes while it is read may leave something out.
            Pass { .. } => {}
        }
    }
}

/// The outcome of a pass through a folder.
#[derive(Default)]
struct Pass {
    /// Names that are gone, or nearer to it.
    done: usize,
    failed: Option<Errno>,
}

impl Pass {
    fn note(&mut self, outcome: Result<(), Errno>) {
        match outcome {
            Ok(()) | Err(Errno::NOENT) => self.done += 1,
            Err(errno) => self.failed = self.failed.or(Some(errno)),
        }
    }
}

/// Removes all that is in a folder.
fn empty(path: &Path) -> std::io::Result<()> {
    Ok(empty_opened(opened(rustix::fs::CWD, path)?)?)
}

fn empty_opened(top: OwnedFd) -> Result<(), Errno> {
    empty_until(&top, None)
}

fn empty_until(top: &OwnedFd, until: Option<Instant>) -> Result<(), Errno> {
    loop {
        let mut pass = Pass::default();
        each(top, |name, kind| {
            pass.note(match kind {
                FileType::Directory => empty_child(top, name),
                _ => unlinkat(top, name, AtFlags::empty()),
            });
        })?;
        match pass {
            Pass { done: 1.., .. } if until.is_some_and(|until| Instant::now() > until) => {
                return Err(Errno::TIMEDOUT);
            }
            Pass { done: 0, failed: Some(errno) } => return Err(errno),
            Pass { done: 0, failed: None } => return Ok(()),
            // A list that changes while it is read may leave something out.
            Pass { .. } => {}
        }
    }
}

/// Removes a folder of the top's, whose own folders go up to the top.
fn empty_child(top: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let folder = opened(top.as_fd(), name)?;
    let mut pass = Pass::default();
    each(&folder, |name, kind| {
        pass.note(match kind {
            FileType::Directory => move_up(folder.as_fd(), name, top.as_fd()),
            _ => unlinkat(&folder, name, AtFlags::empty()),
        });
    })?;
    match unlinkat(top, name, AtFlags::REMOVEDIR) {
        // What is left comes with the next pass, where there was any progress.
        Err(Errno::NOTEMPTY) if pass.done > 0 => Ok(()),
        Err(errno) => Err(pass.failed.unwrap_or(errno)),
        Ok(()) => Ok(()),
    }
}

fn move_up(folder: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>) -> Result<(), Errno> {
    let up = format!(".{:016x}.tmp", rand::random::<u64>());
    match renameat(folder, name, top, up.as_str()) {
        // A folder that changes its parent is written to.
        Err(Errno::ACCESS | Errno::PERM) => {
            open_up(folder, name)?;
            renameat(folder, name, top, up.as_str())
        }
        moved => moved,
    }
}

/// Opens a folder, and has it writable where it is the own user's and is not: it gives up its files only then.
fn opened(parent: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let is_closed = |mode: u32| mode & 0o700 != 0o700;
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_closed(found.st_mode) && FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        // Where it cannot be, opening it says why.
        open_up(parent, name).ok();
    }
    openat(parent, name, FOLDER, Mode::empty())
}

/// Folders that nobody may write to give up their files only after their owner may. Root never needs that, and so
/// changes nothing by a name that somebody else could give to another folder.
fn open_up(parent: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<(), Errno> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chmodat(parent, name, Mode::RWXU, AtFlags::empty())
}

/// Calls `with` for each name in a folder, and what has it.
fn each(folder: &OwnedFd, mut with: impl FnMut(&CStr, FileType)) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say it here.
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

    /// How deep: beyond what a path may be long, what one process may have open, and what a stack bears.
    const LEVELS: usize = 20_000;

    /// A folder in a folder in a folder …
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
        // On a small stack, and all the same.
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
