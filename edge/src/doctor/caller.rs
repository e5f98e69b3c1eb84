//! The user that calls `doctor`: the edge's own user, root, or another user without access to some files.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

/// The calling user, in relation to the data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// The edge's own user, root, or a user with write access to the data folder.
    Own,
    /// Another user, whose missing rights are no fault of the edge.
    Other {
        /// The owner of the data folder, if visible.
        owner: Option<u32>,
    },
}

impl Caller {
    /// Determines the caller for `data_dir`. Without the folder, every user counts as the owner.
    pub(super) fn of(data_dir: &Path) -> Self {
        let own = rustix::process::geteuid();
        if own.is_root() {
            return Self::Own;
        }
        match std::fs::metadata(data_dir) {
            Ok(found) if found.uid() != own.as_raw() && !is_writable(data_dir) => {
                Self::Other { owner: Some(found.uid()) }
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Self::Other { owner: None },
            Ok(_) | Err(_) => Self::Own,
        }
    }

    pub(super) const fn is_other(&self) -> bool {
        matches!(self, Self::Other { .. })
    }

    /// Returns advice for a check that the user may not run.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Other { owner: Some(owner) } => {
                format!("call this as the user of the edge (uid {owner} has its data folder), or as root")
            }
            Self::Own | Self::Other { owner: None } => "call this as the user of the edge, or as root".to_owned(),
        }
    }
}

/// Returns true if the user may write: a group may share the folder, as on volumes of Kubernetes.
fn is_writable(folder: &Path) -> bool {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_the_data_folder_and_the_one_who_makes_it_are_no_other_user() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Caller::of(folder.path()), Caller::Own);
        assert_eq!(Caller::of(&folder.path().join("none/data")), Caller::Own);
        assert!(Caller::Other { owner: Some(997) }.advice().contains("uid 997"));
    }
}
