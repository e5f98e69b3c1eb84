//! What a new edge gets from the one that ran before it, and the wait for what a killed one still has.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::wire::{Listener, Listening};
use crate::server::stores::LOCK_TIME_MAX;

/// Longest wait for what a killed edge had: its ports and the lock of its catalog. On a busy machine the system has
/// taken more than two seconds to close it all …
pub(super) const FREE_TIME_MAX: Duration = Duration::from_secs(30);
/// … and the time between two tries.
const FREE_LOOK: Duration = Duration::from_millis(10);

/// The sockets of the running edge.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(super) sockets: Vec<(Listening, OwnedFd)>,
    /// The running edge's byte in the connection ids of QUIC.
    pub(super) generation: Option<u8>,
    /// Cancelled when the running edge has ended.
    pub(super) ended: CancellationToken,
    /// Whether an edge was killed over this data folder: what it listened on may be in use for a moment.
    pub(super) follows_a_death: bool,
}

impl Inherited {
    /// Adds sockets that the service manager opened, where no edge runs. Returns whether they were added.
    pub(crate) fn give(&mut self, given: Vec<(Listening, OwnedFd)>) -> bool {
        let is_alone = self.sockets.is_empty();
        if is_alone {
            self.sockets = given;
        }
        is_alone
    }

    /// Takes the sockets of a listener that is configured to listen on `address`: those of the same address, and for
    /// a port that the system chose, those of the same IP address.
    pub(crate) fn take<T: From<OwnedFd>>(&mut self, listener: Listener, address: SocketAddr) -> Vec<T> {
        let is_meant = |listening: &Listening| {
            let same = listening.address == address || (address.port() == 0 && listening.address.ip() == address.ip());
            listening.listener == listener && same
        };
        self.sockets.extract_if(.., |(listening, _)| is_meant(listening)).map(|(_, socket)| socket.into()).collect()
    }

    /// Binds a socket that was not inherited. After the death of an edge it waits while the address is in use: the
    /// system closes what a killed process had one after the other, and what it was starting may have copies for a
    /// moment.
    ///
    /// # Errors
    /// Those of `bind`; that the address is in use after [`FREE_TIME_MAX`].
    #[expect(clippy::disallowed_methods, reason = "at the start, before anything is served")]
    pub(crate) fn bind<T>(&self, mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let until = Instant::now() + FREE_TIME_MAX;
        loop {
            let bound = bind();
            let is_used = bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
            if !(is_used && self.follows_a_death && Instant::now() < until) {
                return bound;
            }
            std::thread::sleep(FREE_LOOK);
        }
    }

    /// Longest wait for a catalog that another process has.
    pub(super) const fn lock_time(&self) -> Duration {
        if self.follows_a_death { FREE_TIME_MAX } else { LOCK_TIME_MAX }
    }

    /// Cancelled when the running edge has ended.
    pub(crate) const fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// The running edge's byte in the connection ids of QUIC, where its sockets of HTTP/3 came as well.
    pub(crate) const fn generation(&self) -> Option<u8> {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::{Ipv4Addr, TcpListener};

    use super::super::SOCKET_NAME;
    use super::super::successor::Successor;
    use super::*;
    use devanture_serve::listen;

    #[test]
    fn what_a_killed_edge_listened_on_is_waited_for_and_what_another_program_has_is_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, held) = (listener.local_addr().unwrap(), Cell::new(Some(listener)));
        let tries = Cell::new(0);
        let bind = || {
            tries.set(tries.get() + 1);
            if tries.get() == 3 {
                held.take();
            }
            listen::bind(address, false)
        };
        let alone = Inherited::default().bind(bind);
        assert_eq!((alone.unwrap_err().kind(), tries.get()), (io::ErrorKind::AddrInUse, 1));
        let after_death = Inherited { follows_a_death: true, ..Inherited::default() };
        assert_eq!(after_death.bind(bind).unwrap().local_addr().unwrap(), address);
        assert_eq!(tries.get(), 3);
        let other = after_death.bind(|| Err::<(), _>(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_socket_that_nobody_listens_on_any_more_is_one_of_a_killed_edge() {
        let folder = tempfile::tempdir().unwrap();
        let found =
            || Successor::find(folder.path()).map(|(successor, found)| (successor.is_some(), found.follows_a_death));
        assert_eq!(found().unwrap(), (false, false));
        drop(std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap());
        assert_eq!(found().unwrap(), (false, true));
    }
}
