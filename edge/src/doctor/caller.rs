//! The user that calls `doctor`: the edge's own, root, or another one, for whom some files are closed.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

/// The user that calls, as far as it concerns the data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// The edge's own user, or root, or a user who may write to the data folder.
    Own,
    /// Another user: what it may not read or do says nothing about the edge.
    Other {
        /// The owner of the data folder, where that can be seen.
        owner: Option<u32>,
    },
}

impl Caller {
    /// The caller, seen from `data_dir`. Of a folder that is missing, everybody counts as its owner.
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

    /// What to do where this user may not look.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Other { owner: Some(owner) } => {
                format!("call this as the user of the edge (uid {owner} has its data folder), or as root")
            }
            Self::Own | Self::Other { owner: None } => "call this as the user of the edge, or as root".to_owned(),
        }
    }
}

/// A group may share the folder, as on volumes of Kubernetes.
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
