//! State that a new edge inherits from its predecessor, and the wait for resources of a killed predecessor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::wire::{Listener, Listening};
use crate::server::stores::LOCK_TIME_MAX;

/// Longest wait for the resources of a killed edge: its ports and the lock of its catalog. On a busy machine, the
/// system took more than two seconds to close all.
pub(super) const FREE_TIME_MAX: Duration = Duration::from_secs(30);
/// Pause between attempts.
const FREE_LOOK: Duration = Duration::from_millis(10);

/// The sockets of the running edge.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(super) sockets: Vec<(Listening, OwnedFd)>,
    /// The generation byte of the running edge in the connection ids of QUIC.
    pub(super) generation: Option<u8>,
    /// Cancelled when the running edge has ended.
    pub(super) ended: CancellationToken,
    /// True if an edge of the data folder was killed: its addresses may still be in use for a moment.
    pub(super) follows_a_death: bool,
}

impl Inherited {
    /// Adds sockets opened by the service manager, if no edge runs. Returns true if the sockets were added.
    pub(crate) fn give(&mut self, given: Vec<(Listening, OwnedFd)>) -> bool {
        let is_alone = self.sockets.is_empty();
        if is_alone {
            self.sockets = given;
        }
        is_alone
    }

    /// Takes the sockets of a listener configured for `address`: sockets with the same address, or, for a system-chosen
    /// port, with the same IP address.
    pub(crate) fn take<T: From<OwnedFd>>(&mut self, listener: Listener, address: SocketAddr) -> Vec<T> {
        let is_meant = |listening: &Listening| {
            let same = listening.address == address || (address.port() == 0 && listening.address.ip() == address.ip());
            listening.listener == listener && same
        };
        self.sockets.extract_if(.., |(listening, _)| is_meant(listening)).map(|(_, socket)| socket.into()).collect()
    }

    /// Binds a socket that was not inherited. After the death of an edge, waits while the address is in use: the system
    /// closes the resources of a killed process one after another, and child processes may have copies for a moment.
    ///
    /// # Errors
    /// Errors of `bind`; an address in use only after [`FREE_TIME_MAX`].
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

    /// Returns the longest wait for a catalog locked by another process.
    pub(super) const fn lock_time(&self) -> Duration {
        if self.follows_a_death { FREE_TIME_MAX } else { LOCK_TIME_MAX }
    }

    /// Returns a token cancelled when the running edge has ended.
    pub(crate) const fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Returns the generation byte of the running edge in the connection ids of QUIC, if its HTTP/3 sockets were
    /// inherited.
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
