//! A socket in the data folder. A successor binds the path again while the edge may still be running; if the socket
//! disappears, or could not be bound at the start because the disk was read-only, the edge binds the socket again.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use super::data_socket;
use devanture_base::durable;
use devanture_store::catalog::Catalog;

/// Access only for the owner.
const MODE: u32 = 0o600;
/// Interval of checks that the socket exists.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Identity of a file in contrast to a later file of the same name: the device, the inode, which may be reused, and the
/// time.
type Identity = (u64, u64, i64, i64);

/// State of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not bound yet.
    Unbound,
    /// Bound by the edge.
    Bound(Identity),
    /// The edge ends, or a successor has bound the path.
    Over,
}

/// A path that the edge binds.
pub(crate) struct OwnSocket {
    path: PathBuf,
    state: Mutex<State>,
}

impl OwnSocket {
    /// Creates the unbound socket of a path.
    pub(crate) fn at(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, state: Mutex::new(State::Unbound) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Binds the socket, replacing the socket of a killed edge or of the predecessor.
    ///
    /// # Errors
    /// Errors of the system, or a call after [`OwnSocket::remove`].
    pub(crate) fn bind(&self) -> io::Result<net::UnixListener> {
        let mut state = self.state.lock();
        if *state == State::Over {
            return Err(io::Error::other("its edge ends"));
        }
        durable::remove_file(&self.path).ok();
        let listener = data_socket::bind(&self.path)?;
        std::fs::set_permissions(&self.path, Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        *state = identity(&self.path).map_or(State::Unbound, State::Bound);
        Ok(listener)
    }

    /// Returns true if the socket exists as bound by the edge, and is visible to the edge.
    pub(crate) fn stands(&self) -> bool {
        matches!(*self.state.lock(), State::Bound(own) if identity(&self.path) == Some(own))
    }

    /// Waits until the socket is missing and can be bound, with an attempt every few seconds.
    async fn bound_again(&self, catalog: &dyn Catalog) -> UnixListener {
        loop {
            sleep(LOOK_EVERY).await;
            // A successor with the catalog binds the socket itself; a replaced data folder gets no socket.
            if self.stands() || catalog.check_in_place().is_err() {
                continue;
            }
            match self.bind().and_then(UnixListener::from_std) {
                Ok(listener) => {
                    tracing::info!(path = %self.path.display(), "the socket in the data folder was opened again");
                    return listener;
                }
                Err(error) => tracing::debug!(path = %self.path.display(), %error, "the socket cannot be opened yet"),
            }
        }
    }

    /// Removes the socket, unless a successor has bound the path since. The socket is not bound again.
    pub(crate) fn remove(&self) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Over);
        if matches!(before, State::Bound(own) if identity(&self.path) == Some(own)) {
            durable::remove_file(&self.path).ok();
        }
    }
}

/// A listener on an [`OwnSocket`] that continues after the socket is bound again.
pub(crate) struct KeptListener {
    socket: Arc<OwnSocket>,
    catalog: Arc<dyn Catalog>,
    /// `None` until the socket is bound.
    listener: Option<UnixListener>,
}

impl KeptListener {
    /// Creates a listener with the first bound socket. Must be called within a runtime.
    pub(crate) fn new(
        socket: Arc<OwnSocket>,
        first: Option<net::UnixListener>,
        catalog: Arc<dyn Catalog>,
    ) -> io::Result<Self> {
        let listener = first.map(UnixListener::from_std).transpose()?;
        Ok(Self { socket, catalog, listener })
    }

    /// Accepts the next connection. Cancel safe.
    ///
    /// # Errors
    /// Errors of the system, which may be temporary, for example a lack of descriptors.
    pub(crate) async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            let come = async {
                match &self.listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            let again = tokio::select! {
                come = come => return come.map(|(stream, _)| stream),
                again = self.socket.bound_again(&*self.catalog) => again,
            };
            self.listener = Some(again);
        }
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use devanture_store::catalog;

    #[test]
    fn a_socket_that_another_edge_bound_since_is_left_and_the_own_one_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (own, next) = (OwnSocket::at(path.clone()), OwnSocket::at(path.clone()));
        let _first = own.bind().unwrap();
        assert!(own.stands());
        let _second = next.bind().unwrap();
        assert!(!own.stands() && next.stands());
        own.remove();
        assert!(path.exists());
        // A socket that was never bound leaves no file to remove.
        OwnSocket::at(path.clone()).remove();
        assert!(path.exists());
        next.remove();
        assert!(!path.exists());
        assert!(next.bind().is_err(), "its edge ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_does_not_stand_is_bound_again_while_its_edge_has_the_catalog() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let below = folder.path().join("below");
        let socket = OwnSocket::at(below.join("control.sock"));
        assert!(socket.bind().is_err(), "as on a disk that cannot be written: there is no such folder");
        let again = async || timeout(3 * LOOK_EVERY, socket.bound_again(&*catalog)).await.ok();
        assert!(again().await.is_none());
        std::fs::create_dir(&below).unwrap();
        let _listener = again().await.unwrap();
        assert!(socket.stands() && again().await.is_none());
        std::fs::remove_file(socket.path()).unwrap();
        let _listener = again().await.unwrap();
        std::fs::remove_file(socket.path()).unwrap();
        catalog.hand_over().await.unwrap();
        assert!(again().await.is_none(), "the next edge has the catalog, and binds it for itself");
    }
}
