//! Gives the files of one user in a tree to another user.
//!
//! The tree was filled by the first user and is untrusted: all access is by descriptors without following links, and
//! only entries of the first user change hands. A file with a name outside of the tree stays unchanged, since the owner
//! there would lose the file.

use std::collections::HashMap;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Stat, Uid, chownat, fchown, fstat, openat};

use super::walk::{FOLDER, Identity, identity, is_folder, walk};
use super::{Error, Step, before, failed};

/// Gives the folder `path`, and all content owned by the user `from`, to the user and group `to`. Returns the number of
/// files left unchanged because of names elsewhere. The tree must not change meanwhile.
///
/// # Errors
/// [`Error::Io`]; entries changed before the error stay changed.
pub fn reown(path: &Path, from: u32, to: u32) -> Result<u64, Error> {
    before(Step::Rename, path).map_err(failed("giving away", path))?;
    let mut linked: HashMap<Identity, u64> = HashMap::new();
    let counted = walk(path, &mut |_folder, _name, found| {
        if found.st_uid == from && is_linked(found) {
            *linked.entry(identity(found)).or_default() += 1;
        }
        Ok(true)
    });
    counted.map_err(|errno| failed("looking through", path)(errno.into()))?;
    let mut left = 0;
    let (user, group) = (Some(Uid::from_raw(to)), Some(Gid::from_raw(to)));
    let given = walk(path, &mut |folder, name, found| {
        if found.st_uid != from {
            return Ok(true);
        }
        #[allow(clippy::useless_conversion, reason = "the count has 32 bits on other architectures")]
        let links = u64::from(found.st_nlink);
        if is_linked(found) && linked.get(&identity(found)).copied().unwrap_or(0) < links {
            left += 1;
            return Ok(true);
        }
        chownat(folder, name, user, group, AtFlags::SYMLINK_NOFOLLOW).map(|()| true)
    });
    given.map_err(|errno| failed("giving away", path)(errno.into()))?;
    // Last, so that an interrupted walk is recognisable by the folder's owner and starts again.
    let folder = openat(rustix::fs::CWD, path, FOLDER, Mode::empty());
    let given = folder.and_then(|folder| match fstat(&folder)?.st_uid == from {
        true => fchown(&folder, user, group),
        false => Ok(()),
    });
    given.map_err(|errno| failed("giving away", path)(errno.into()))?;
    Ok(left)
}

/// Returns true if a file may have further names. Folders have one.
fn is_linked(found: &Stat) -> bool {
    !is_folder(found) && found.st_nlink > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown, lchown, symlink};

    const FROM: u32 = 2_100_000_101;
    const TO: u32 = 2_100_000_102;

    fn make(path: &Path) {
        std::fs::DirBuilder::new().mode(0o700).create(path).unwrap();
        chown(path, Some(FROM), Some(FROM)).unwrap();
    }

    fn file(path: &Path, owner: u32) {
        std::fs::File::create(path).unwrap();
        chown(path, Some(owner), Some(owner)).unwrap();
    }

    fn owner(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().uid()
    }

    #[test]
    fn what_belongs_to_a_user_changes_hands_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
        make(&tree);
        make(&outside);
        file(&outside.join("file"), FROM);
        make(&tree.join("deep"));
        make(&tree.join("deep/deeper"));
        file(&tree.join("deep/deeper/own"), FROM);
        file(&tree.join("deep/other"), 0);
        // A file with two names in the tree, and a file with a name outside of the tree.
        std::fs::hard_link(tree.join("deep/deeper/own"), tree.join("same")).unwrap();
        std::fs::hard_link(outside.join("file"), tree.join("shared")).unwrap();
        symlink(outside.join("file"), tree.join("link")).unwrap();
        lchown(tree.join("link"), Some(FROM), Some(FROM)).unwrap();
        symlink(&outside, tree.join("way")).unwrap();
        assert_eq!(reown(&tree, FROM, TO).unwrap(), 1);
        let of = |name: &str| owner(&tree.join(name));
        assert_eq!((owner(&tree), of("deep"), of("deep/deeper"), of("deep/deeper/own")), (TO, TO, TO, TO));
        assert_eq!((of("same"), of("link"), of("deep/other"), of("shared")), (TO, TO, 0, FROM));
        assert_eq!((owner(&outside), owner(&outside.join("file"))), (FROM, FROM));
    }

    #[test]
    fn a_tree_of_any_depth_changes_hands() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        make(&tree);
        let mut inner = openat(rustix::fs::CWD, &tree, FOLDER, Mode::empty()).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&inner, "deeper", Mode::RWXU).unwrap();
            chownat(&inner, "deeper", Some(Uid::from_raw(FROM)), None, AtFlags::empty()).unwrap();
            inner = openat(&inner, "deeper", FOLDER, Mode::empty()).unwrap();
        }
        let path = tree.clone();
        let given = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || reown(&path, FROM, TO).unwrap());
        assert_eq!(given.unwrap().join().unwrap(), 0);
        assert_eq!(fstat(&inner).unwrap().st_uid, TO);
        super::super::remove_folder(&tree).unwrap();
    }
}
