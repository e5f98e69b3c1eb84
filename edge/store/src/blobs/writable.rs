//! Checks that the data folder can be written: a disk that failed, was mounted read-only or lost its folders reports
//! the failure only to writers.

use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::FreeSpace;
use super::fs::{SHARDED, TMP};
use devanture_base::durable;

/// Checks that the folders of stored files exist and can be read and written by this process. Blocks on the disk.
///
/// # Errors
/// A sentence about the first unusable folder.
pub fn check_folders(root: &Path) -> Result<(), String> {
    for name in SHARDED {
        let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        match accessat(CWD, root.join(name), access, AtFlags::EACCESS) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(format!("the folder {name} of data_dir is gone")),
            Err(errno) => return Err(format!("the folder {name} of data_dir: {}", io::Error::from(errno))),
        }
    }
    Ok(())
}

impl FreeSpace {
    /// The reason why the last check found the folder unwritable.
    #[must_use]
    pub fn unwritable(&self) -> Option<String> {
        self.unwritable.lock().clone()
    }

    /// Writes a file, looks at the folders, and reports a change. Blocks on the disk.
    pub(super) fn look_whether_writable(&self) {
        let why = self.try_to_write().err();
        let mut known = self.unwritable.lock();
        match (known.is_some(), &why) {
            (false, Some(why)) => tracing::error!(
                why,
                "the disk of data_dir cannot be written: what is live is served, and nothing can be changed; do not \
                 restart the edge before the disk works"
            ),
            (true, None) => tracing::info!("the disk of data_dir can be written again"),
            (false, None) | (true, Some(_)) => {}
        }
        *known = why;
    }

    fn try_to_write(&self) -> Result<(), String> {
        let tmp = self.folder.join(TMP);
        match durable::make_folder(&tmp).and_then(|()| durable::probe(&tmp)) {
            Ok(()) => {}
            // The shortage is reported already.
            Err(durable::Error::Full { .. }) if self.is_short() => {}
            Err(
                error @ (durable::Error::Full { .. } | durable::Error::Gone { .. } | durable::Error::Replaced { .. }),
            ) => return Err(error.to_string()),
            // For the disk, only its folder of drafts is known to have wrong rights.
            Err(durable::Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(format!("the folder {TMP} of data_dir: {source}"));
            }
            // Without the name of the file, which does not matter here.
            Err(durable::Error::Io { source, .. }) => return Err(format!("the disk of data_dir: {source}")),
        }
        check_folders(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs;
    use devanture_base::durable::fault::{Fault, arm};

    fn store() -> (tempfile::TempDir, std::sync::Arc<FreeSpace>) {
        let folder = tempfile::tempdir().unwrap();
        drop(blobs::open(folder.path().to_owned()).unwrap());
        let space = FreeSpace::new(folder.path().to_owned(), 0);
        (folder, space)
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_told_and_once_it_can_be_again_that_too() {
        let (folder, space) = store();
        let look =
            || (devanture_base::telemetry::logged(|| space.look_whether_writable()), space.unwritable().is_some());
        assert_eq!(look(), (String::new(), false));
        let broken = arm(folder.path(), Fault::Death, 0);
        let (log, is_told) = look();
        assert!(is_told && log.contains("do not restart"), "{log}");
        assert_eq!(look(), (String::new(), true), "it is said once");
        drop(broken);
        let (log, is_told) = look();
        assert!(!is_told && log.contains("can be written again"), "{log}");
    }

    #[test]
    fn a_folder_that_is_gone_is_told_and_that_of_drafts_is_made_again() {
        for (name, is_told) in SHARDED.iter().map(|name| (*name, true)).chain([(TMP, false)]) {
            let (folder, space) = store();
            std::fs::remove_dir_all(folder.path().join(name)).unwrap();
            space.look_whether_writable();
            assert_eq!(space.unwritable().is_some_and(|why| why.contains(name)), is_told, "{name}");
            assert!(is_told || folder.path().join(name).is_dir(), "{name}");
        }
    }
}
