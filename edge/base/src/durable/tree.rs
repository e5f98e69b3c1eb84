//! Whole folders with modes, owners and links, as the runner lays them out: created under a temporary name, synced at
//! once, then renamed.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

use super::{Error, Step, before, failed, folder_of, sync_folder};

/// Owner of a file or folder; `None` keeps the current owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
}

impl Owner {
    fn own(self, path: &Path) -> Result<(), Error> {
        if self == Self::default() {
            return Ok(());
        }
        chown(path, self.uid, self.gid).map_err(failed("giving away", path))
    }
}

/// Creates the folder `path` in an existing parent, or sets the mode and owner of an existing folder.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`], also for a different entry with the name.
pub fn make_folder_as(path: &Path, mode: u32, owner: Owner) -> Result<(), Error> {
    let made = before(Step::Folder, path).and_then(|()| DirBuilder::new().mode(0o700).create(path));
    let is_new = match made {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // A link is not followed: otherwise a user who can place a link would choose the folder to give away.
            let found = std::fs::symlink_metadata(path).map_err(failed("looking at", path))?;
            if !found.is_dir() {
                return Err(failed("making the folder", path)(ErrorKind::NotADirectory.into()));
            }
            false
        }
        Err(error) => return Err(failed("making the folder", path)(error)),
    };
    owner.own(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("setting the mode of", path))?;
    if is_new { sync_folder(folder_of(path)) } else { Ok(()) }
}

/// Creates a file with the output of `fill`. Durable after [`sync_file_system`].
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn new_file(
    path: &Path,
    mode: u32,
    owner: Owner,
    fill: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), Error> {
    let made = before(Step::Create, path)
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(super::FILE_MODE).open(path));
    let mut file = made.map_err(failed("creating", path))?;
    before(Step::Write, path).and_then(|()| fill(&mut file)).map_err(failed("writing", path))?;
    owner.own(path)?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed("setting the mode of", path))
}

/// Creates a hard link on the same file system; returns true on success. Durable after [`sync_file_system`].
#[must_use]
pub fn link_file(from: &Path, to: &Path) -> bool {
    before(Step::Create, to).and_then(|()| std::fs::hard_link(from, to)).is_ok()
}

/// Creates a symbolic link at `path`. Durable after [`sync_file_system`].
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn link_to(target: &Path, path: &Path) -> Result<(), Error> {
    before(Step::Create, path).and_then(|()| symlink(target, path)).map_err(failed("linking", path))
}

/// Syncs all writes to the file system of `folder`.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_file_system(folder: &Path) -> Result<(), Error> {
    before(Step::SyncFile, folder)
        .and_then(|()| File::open(folder))
        .and_then(|opened| rustix::fs::syncfs(opened).map_err(std::io::Error::from))
        .map_err(failed("syncing", folder))
}

/// Moves a folder to an unused name on the same file system, durably.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn move_folder(from: &Path, to: &Path) -> Result<(), Error> {
    before(Step::Rename, to).and_then(|()| std::fs::rename(from, to)).map_err(failed("renaming to", to))?;
    sync_folder(folder_of(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_tree_that_nobody_may_write_to_is_made_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("new"), folder.path().join("tree"));
        make_folder_as(&from, 0o700, Owner::default()).unwrap();
        make_folder_as(&from.join("bin"), 0o700, Owner::default()).unwrap();
        let tool = from.join("bin/tool");
        new_file(&tool, 0o555, Owner::default(), |file| file.write_all(b"#!/bin/sh\n")).unwrap();
        assert!(link_file(&tool, &from.join("same")));
        assert!(!link_file(&from.join("missing"), &from.join("other")));
        link_to(Path::new("bin/tool"), &from.join("link")).unwrap();
        make_folder_as(&from.join("bin"), 0o555, Owner::default()).unwrap();
        sync_file_system(&from).unwrap();
        move_folder(&from, &to).unwrap();
        let of = |name: &str| std::fs::metadata(to.join(name)).unwrap();
        assert_eq!((of("bin").mode() & 0o777, of("bin/tool").mode() & 0o777), (0o555, 0o555));
        assert_eq!(of("same").ino(), of("link").ino());
        assert!(super::super::remove_folder(&to).unwrap() && !to.exists());
        assert!(!super::super::remove_folder(&to).unwrap());
    }

    #[test]
    fn law_6_a_folder_is_synced_into_its_parent_and_a_tree_before_its_name() {
        use crate::durable::fault::{Fault, arm};
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("new"), folder.path().join("tree"));
        let log = arm(folder.path(), Fault::None, 0);
        make_folder_as(&from, 0o700, Owner::default()).unwrap();
        make_folder_as(&from, 0o755, Owner::default()).unwrap();
        sync_file_system(&from).unwrap();
        move_folder(&from, &to).unwrap();
        assert_eq!(
            log.steps(),
            [Step::Folder, Step::SyncFolder, Step::Folder, Step::SyncFile, Step::Rename, Step::SyncFolder]
        );
        drop(log);
        let armed = arm(folder.path(), Fault::Full, 0);
        assert!(matches!(sync_file_system(&to), Err(Error::Full { .. })) && armed.fired());
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        make_folder_as(&kept, 0o700, Owner::default()).unwrap();
        let tree = folder.path().join("tree");
        make_folder_as(&tree, 0o700, Owner::default()).unwrap();
        link_to(&kept, &tree.join("link")).unwrap();
        assert!(make_folder_as(&tree.join("link"), 0o777, Owner::default()).is_err());
        super::super::remove_folder(&tree).unwrap();
        assert!(kept.is_dir());
    }
}
