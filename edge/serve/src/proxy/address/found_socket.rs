//! A Unix socket that stays open from the check of its path to the connection.
//!
//! A user with write access to the folder of a socket can replace the socket by a link at any moment. A path resolved a
//! second time may therefore lead to another file, for example to the edge's own socket, which admits every client
//! without authentication. So the path is resolved once, and the check and the connection use the resolved file.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::UnixStream;

/// The file that a path resolved to.
pub(crate) struct FoundSocket {
    /// The path.
    path: PathBuf,
    /// The path with all links resolved.
    leads_to: PathBuf,
    /// The device number and the inode of the file.
    id: (u64, u64),
    /// Keeps the file open, whatever happens to the path.
    file: OwnedFd,
}

impl FoundSocket {
    /// Resolves `path`.
    ///
    /// # Errors
    /// Fails if no file exists, or if the system does not show the opened file, as without `/proc`.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        // `O_PATH` does not open the socket, but only refers to the file.
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let leads_to = fs::read_link(shown(&file))?;
        let status = rustix::fs::fstat(&file)?;
        Ok(Self { path: path.to_owned(), leads_to, id: (status.st_dev, status.st_ino), file })
    }

    /// Returns the path before resolution.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path with all links resolved.
    pub(super) fn leads_to(&self) -> &Path {
        &self.leads_to
    }

    /// Returns true if `other` resolves to the same file now.
    pub(super) fn is_at(&self, other: &Path) -> bool {
        fs::metadata(other).is_ok_and(|other| (other.dev(), other.ino()) == self.id)
    }

    /// Connects to the socket.
    ///
    /// # Errors
    /// Errors of the system.
    pub(crate) async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(shown(&self.file)).await
    }
}

/// Returns the link in `/proc` by which the system shows an open file.
fn shown(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn what_was_found_is_connected_to_whatever_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        let (first, other) = (UnixListener::bind(at("first")).unwrap(), UnixListener::bind(at("other")).unwrap());
        symlink(at("first"), at("link")).unwrap();
        let found = FoundSocket::at(&at("link")).unwrap();
        assert_eq!(found.leads_to(), at("first"));
        assert!(found.is_at(&at("first")) && found.is_at(&at("link")) && !found.is_at(&at("other")));
        rustix::fs::rename(at("first"), at("moved")).unwrap();
        symlink(at("other"), at("first")).unwrap();
        found.connect().await.unwrap();
        other.set_nonblocking(true).unwrap();
        assert!(first.accept().is_ok() && other.accept().is_err());
        assert!(!found.is_at(&at("link")));
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(FoundSocket::at(&folder.path().join("none")).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert!(FoundSocket::at(folder.path()).unwrap().connect().await.is_err());
    }
}
