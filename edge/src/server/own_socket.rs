//! A socket in the data folder, which the next edge binds again while this one may still be there; where it is not
//! there any more, or could not be bound, as on a disk that was read-only at the start, this edge does so.

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

/// For the owner alone.
const MODE: u32 = 0o600;
/// Time between two looks at whether it is there.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tells a file from the next one of its name: the device, the inode, which may be lent again, and the time.
type Identity = (u64, u64, i64, i64);

/// What became of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It could not be bound yet.
    Unbound,
    /// This edge bound it.
    Bound(Identity),
    /// Its edge ends, or another one has its place.
    Over,
}

/// A path that this edge binds.
pub(crate) struct OwnSocket {
    path: PathBuf,
    state: Mutex<State>,
}

impl OwnSocket {
    /// That of a path, which is not bound yet.
    pub(crate) fn at(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, state: Mutex::new(State::Unbound) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Binds it, in place of what an edge left there that was killed, or that this one took over from.
    ///
    /// # Errors
    /// Those of the system; and after [`OwnSocket::remove`].
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

    /// Whether it is there as this edge bound it, and this edge may see that.
    pub(crate) fn stands(&self) -> bool {
        matches!(*self.state.lock(), State::Bound(own) if identity(&self.path) == Some(own))
    }

    /// Binds it as soon as it does not stand and can be bound, which is tried every few seconds.
    async fn bound_again(&self, catalog: &dyn Catalog) -> UnixListener {
        loop {
            sleep(LOOK_EVERY).await;
            // An edge that took the catalog over binds it for itself; a folder in this edge's place gets nothing.
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

    /// Removes it, unless another edge has bound it since. It is not bound again.
    pub(crate) fn remove(&self) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Over);
        if matches!(before, State::Bound(own) if identity(&self.path) == Some(own)) {
            durable::remove_file(&self.path).ok();
        }
    }
}

/// Listens on an [`OwnSocket`], and goes on where that had to be bound again.
pub(crate) struct KeptListener {
    socket: Arc<OwnSocket>,
    catalog: Arc<dyn Catalog>,
    /// `None` while it could not be bound.
    listener: Option<UnixListener>,
}

impl KeptListener {
    /// Over what the socket was bound to first. Called within a runtime.
    pub(crate) fn new(
        socket: Arc<OwnSocket>,
        first: Option<net::UnixListener>,
        catalog: Arc<dyn Catalog>,
    ) -> io::Result<Self> {
        let listener = first.map(UnixListener::from_std).transpose()?;
        Ok(Self { socket, catalog, listener })
    }

    /// The next connection. Dropped before it came, nothing is lost.
    ///
    /// # Errors
    /// Those of the system, as when no descriptor is left: that passes.
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
        // One that was never bound has nothing to remove.
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
