//! The path of a socket in the data folder, which the next edge binds again while this one may still be there.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use devanture_base::durable;

/// What tells a file from the next one of its name: the device, the inode, which may be lent again, and the time.
type Identity = (u64, u64, i64, i64);

/// A path that this edge bound.
pub(crate) struct OwnSocket {
    path: PathBuf,
    /// `None` where it could not be bound.
    own: Option<Identity>,
}

impl OwnSocket {
    /// A path that was bound just now.
    pub(crate) fn bound(path: PathBuf) -> Self {
        Self { own: identity(&path), path }
    }

    /// Removes it, unless another edge has bound it since.
    pub(crate) fn remove(&self) {
        if self.own.is_some() && identity(&self.path) == self.own {
            durable::remove_file(&self.path).ok();
        }
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_that_another_edge_bound_since_is_left_and_the_own_one_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let first = UnixListener::bind(&path).unwrap();
        let own = OwnSocket::bound(path.clone());
        std::fs::remove_file(&path).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        let next = OwnSocket::bound(path.clone());
        own.remove();
        assert!(path.exists());
        drop((first, second));
        own.remove();
        assert!(path.exists());
        next.remove();
        assert!(!path.exists());
        // One that was never bound has nothing to remove.
        let never = OwnSocket::bound(path.clone());
        let _another = UnixListener::bind(&path).unwrap();
        never.remove();
        assert!(path.exists());
    }
}
