//! Walks trees filled by an untrusted user: by descriptors, without following links, with one descriptor and little
//! stack at any depth.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

/// Flags for opening a folder: never through a link.
pub(super) const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Identity of a file: device and inode.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(found: &Stat) -> Identity {
    (found.st_dev, found.st_ino)
}

pub(super) fn is_folder(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

/// Calls `with` for every entry below `path`, with the parent folder, the name and the metadata; `with` returns true to
/// descend into a folder. An inaccessible folder is skipped.
pub(super) fn walk(
    path: &Path,
    with: &mut impl FnMut(&OwnedFd, &CStr, &Stat) -> Result<bool, Errno>,
) -> Result<(), Errno> {
    let mut folder = openat(rustix::fs::CWD, path, FOLDER, Mode::empty())?;
    // Parent folders, each with the remaining subfolders.
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
            // The folder was moved, and the new parent is outside of the requested tree.
            return Err(Errno::STALE);
        }
        (folder, next) = (up, names);
    }
}

/// Calls `with` for every entry of a folder; returns the names of the folders to descend into.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn make(path: &Path) {
        super::super::make_folder(path).unwrap();
    }

    #[test]
    fn everything_is_visited_once_and_what_is_not_gone_into_hides_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for below in ["a/1/x", "a/2/y", "a/3", "b/4/z", "closed/never"] {
            make(&folder.path().join(below));
        }
        let mut visited = Vec::new();
        walk(folder.path(), &mut |_, name, found| {
            assert!(is_folder(found));
            visited.push(name.to_str().unwrap().to_owned());
            Ok(name != c"closed")
        })
        .unwrap();
        assert_eq!(visited.len(), 10, "{visited:?}");
        let visited: BTreeSet<&str> = visited.iter().map(String::as_str).collect();
        assert_eq!(visited, ["1", "2", "3", "4", "a", "b", "closed", "x", "y", "z"].into());
    }

    #[test]
    fn a_folder_that_is_moved_out_of_the_tree_meanwhile_leads_nowhere_else() {
        let parent = tempfile::tempdir().unwrap();
        let (tree, outside) = (parent.path().join("tree"), parent.path().join("outside"));
        make(&tree.join("a/inner/deep"));
        make(&outside.join("other"));
        let mut visited = Vec::new();
        let result = walk(&tree, &mut |_, name, _| {
            visited.push(name.to_str().unwrap().to_owned());
            if name == c"deep" {
                std::fs::rename(tree.join("a/inner"), outside.join("inner")).unwrap();
            }
            Ok(true)
        });
        assert_eq!(result, Err(Errno::STALE));
        assert_eq!(visited, ["a", "inner", "deep"]);
    }
}
