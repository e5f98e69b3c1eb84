//! The owner of the peer socket of a TCP connection to an instance on the machine.
//!
//! Ports belong to the machine: an app may bind a port that another app's instance has just closed, and keep the
//! accepted connections after releasing the port. So the current listener of a port proves nothing about an existing
//! connection. For each new connection, the kernel is asked for the process of the peer before a byte is sent.

mod sock_diag;
mod tables;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// Relevant socket states, as numbered by `tcp(7)`.
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const LISTEN: u8 = 10;

/// Addresses at which only a listener on all addresses of a machine accepts connections: the last loopback address, and
/// a discard-only address (RFC 6666).
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 255, 255, 254)), IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1))];

/// Reason to send nothing on a connection.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The peer's process has closed the connection.
    #[error("it closed the connection at once")]
    Closed,
    /// The peer belongs to another user's process.
    #[error("a process of somebody else listens there")]
    Foreign,
    /// The system could not be asked.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The system shows no process for the peer.
    #[error("whose process listens there could not be found out")]
    Unknown,
}

impl From<PeerError> for io::Error {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Closed => Self::new(io::ErrorKind::ConnectionAborted, error),
            PeerError::Foreign => Self::new(io::ErrorKind::PermissionDenied, error),
            PeerError::Io(error) => error,
            PeerError::Unknown => Self::new(io::ErrorKind::NotConnected, error),
        }
    }
}

/// A socket, as reported by the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SocketInfo {
    state: u8,
    /// The user of the socket's process.
    uid: u32,
    /// 0 without a process: not yet accepted, or closed by the process.
    inode: u64,
}

/// Owner of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// No socket exists, or the system shows none.
    Absent,
    /// The process has closed the socket. Bytes sent before the close may still arrive.
    Closed,
    /// The connection is in the accept queue of a listener.
    Queued,
    /// A process of the user owns the socket.
    User(u32),
}

impl Owner {
    /// Returns the owner from a lookup of one connection.
    fn of_connection(found: Option<SocketInfo>) -> Self {
        match found {
            // Without the connection, the kernel returns the listener that would accept the connection.
            None | Some(SocketInfo { state: LISTEN, .. }) => Self::Absent,
            Some(SocketInfo { inode: 0, state: ESTABLISHED | SYN_RECV, .. }) => Self::Queued,
            Some(SocketInfo { inode: 0, .. }) => Self::Closed,
            Some(found) => Self::User(found.uid),
        }
    }

    /// Returns the owner from a lookup of a listener.
    fn of_listener(found: Option<SocketInfo>) -> Self {
        match found {
            Some(SocketInfo { state: LISTEN, uid, .. }) => Self::User(uid),
            _ => Self::Absent,
        }
    }

    /// Succeeds if a socket of the owner may belong to an instance of the user `uid`.
    ///
    /// Without a `uid`, an instance is a process of the edge's user, or a container behind a port of the engine, which
    /// is root and may forward connections to another network, where the system shows no socket.
    fn check(self, uid: Option<u32>) -> Result<(), PeerError> {
        let is_of_edge = |found: u32| found == 0 || found == rustix::process::geteuid().as_raw();
        match (self, uid) {
            (Self::User(found), Some(uid)) if found == uid => Ok(()),
            (Self::User(found), None) if is_of_edge(found) => Ok(()),
            (Self::Absent, None) => Ok(()),
            (Self::User(_), _) => Err(PeerError::Foreign),
            (Self::Closed, _) => Err(PeerError::Closed),
            (Self::Absent | Self::Queued, _) => Err(PeerError::Unknown),
        }
    }
}

/// The two ends of a connection made by the edge.
#[derive(Debug, Clone, Copy)]
struct Ends {
    own: SocketAddr,
    peer: SocketAddr,
}

/// A socket's local and remote address; the remote port is 0 for a listener.
#[derive(Debug, Clone, Copy)]
struct SocketName {
    local: SocketAddr,
    remote: SocketAddr,
}

impl Ends {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self { own: plain(stream.local_addr()?), peer: plain(stream.peer_addr()?) })
    }

    const fn own_end(self) -> SocketName {
        SocketName { local: self.own, remote: self.peer }
    }

    const fn other_end(self) -> SocketName {
        SocketName { local: self.peer, remote: self.own }
    }

    const fn listener(self) -> SocketName {
        SocketName { local: self.peer, remote: SocketAddr::new(self.own.ip(), 0) }
    }

    /// Looks up a socket of the connection.
    async fn find(self, name: SocketName) -> io::Result<Option<SocketInfo>> {
        // A few microseconds each, without waiting: the kernel answers within the system call.
        if let Ok(found) = sock_diag::find(name) {
            // A kernel without `sock_diag` also finds no socket; but such a kernel does not find the local end either.
            if found.is_some() || sock_diag::find(self.own_end()).is_ok_and(|own| own.is_some()) {
                return Ok(found);
            }
        }
        // The tables have a line for each socket of the machine.
        let read = tokio::task::spawn_blocking(move || tables::find(name)).await;
        read.map_err(io::Error::other)?
    }
}

/// Returns the address without a scope, and as IPv4 if mapped: the system's tables have no other forms.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Checks that the peer of `stream`, before the first sent byte, belongs to an instance of the user `uid`; without a
/// `uid`, to the edge's own user or to no visible process.
///
/// # Errors
/// The peer belongs to another user, or to no process.
pub async fn check_peer(stream: &TcpStream, uid: Option<u32>) -> Result<(), PeerError> {
    let ends = Ends::of(stream)?;
    let owner = Owner::of_connection(ends.find(ends.other_end()).await?);
    if owner != Owner::Queued {
        return owner.check(uid);
    }
    // The connection is in the queue of the only listener, and ends with the listener.
    Owner::of_listener(ends.find(ends.listener()).await?).check(uid)?;
    // Another process may have accepted the connection between the two lookups and released the port. A connection
    // still queued was in the queue at the lookup of the listener.
    match Owner::of_connection(ends.find(ends.other_end()).await?) {
        Owner::Queued => Ok(()),
        owner => owner.check(uid),
    }
}

/// Returns true if the listener on a port of the machine accepts connections to all addresses rather than only
/// 127.0.0.1, and belongs to the user `uid`; without a `uid`, to any user.
pub async fn is_open(port: u16, uid: Option<u32>) -> bool {
    let listener = |ip: IpAddr| SocketName { local: SocketAddr::new(ip, port), remote: SocketAddr::new(ip, 0) };
    let is_its = move |found: Option<SocketInfo>| match Owner::of_listener(found) {
        Owner::User(found) => uid.is_none_or(|uid| uid == found),
        Owner::Absent | Owner::Closed | Owner::Queued => false,
    };
    let elsewhere = ELSEWHERE.map(listener);
    // A kernel without `sock_diag` finds no listener anywhere.
    if sock_diag::find(listener(Ipv4Addr::LOCALHOST.into())).is_ok_and(|found| found.is_some()) {
        return elsewhere.into_iter().any(|name| sock_diag::find(name).is_ok_and(is_its));
    }
    let look = move || elsewhere.into_iter().any(|name| tables::find(name).is_ok_and(is_its));
    tokio::task::spawn_blocking(look).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn is_foreign(checked: &Result<(), PeerError>) -> bool {
        matches!(checked, Err(PeerError::Foreign))
    }

    /// Returns the result of both lookup methods for both ends and the listener.
    fn owners(ends: Ends) -> [[Owner; 3]; 2] {
        let ask = |find: fn(SocketName) -> io::Result<Option<SocketInfo>>| {
            [
                Owner::of_connection(find(ends.own_end()).unwrap()),
                Owner::of_connection(find(ends.other_end()).unwrap()),
                Owner::of_listener(find(ends.listener()).unwrap()),
            ]
        };
        [ask(sock_diag::find), ask(tables::find)]
    }

    /// The acceptor of a connection owns the connection for good, whatever process listens afterwards.
    #[tokio::test]
    async fn a_connection_is_of_who_accepted_it_also_after_the_port_was_let_go() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let port = listener.local_addr().unwrap().port();
            let to = if address == "[::1]:0" { "::1" } else { "127.0.0.1" };
            let stream = TcpStream::connect((to, port)).await.unwrap();
            let ends = Ends::of(&stream).unwrap();
            let user = Owner::User(own());
            // A listener is enough: no accept is required.
            assert_eq!(owners(ends), [[user, Owner::Queued, user]; 2], "{address}");
            assert!(check_peer(&stream, Some(own())).await.is_ok() && check_peer(&stream, None).await.is_ok());
            assert!(is_foreign(&check_peer(&stream, Some(own() + 1)).await), "{address}");
            let (accepted, _) = listener.accept().await.unwrap();
            drop(listener);
            assert_eq!(owners(ends), [[user, user, Owner::Absent]; 2], "{address}");
            assert!(check_peer(&stream, Some(own())).await.is_ok() && check_peer(&stream, None).await.is_ok());
            assert!(is_foreign(&check_peer(&stream, Some(own() + 1)).await), "{address}");
            drop(accepted);
            // Bytes sent before the close must not be taken for a response.
            for uid in [Some(own()), None] {
                assert!(matches!(check_peer(&stream, uid).await, Err(PeerError::Closed)), "{address}");
            }
        }
    }

    #[tokio::test]
    async fn what_listens_on_all_addresses_is_told_from_what_listens_on_one() {
        for (address, expected) in
            [("127.0.0.1:0", false), ("[::1]:0", false), ("0.0.0.0:0", true), ("[::]:0", true), ("127.0.0.2:0", false)]
        {
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let port = listener.local_addr().unwrap().port();
            assert_eq!(is_open(port, Some(own())).await, expected, "{address}");
            assert_eq!(is_open(port, None).await, expected, "{address}");
            assert!(!is_open(port, Some(own() + 1)).await, "{address}");
            for find in [sock_diag::find as fn(_) -> _, tables::find] {
                let name = |ip: IpAddr| SocketName { local: SocketAddr::new(ip, port), remote: SocketAddr::new(ip, 0) };
                let is_open = ELSEWHERE.into_iter().any(|ip| find(name(ip)).is_ok_and(|found| found.is_some()));
                assert_eq!(is_open, expected, "{address}");
            }
        }
    }

    #[test]
    fn a_socket_that_no_process_has_is_queued_only_where_it_is_open() {
        let of = |state, inode| Owner::of_connection(Some(SocketInfo { state, uid: 7, inode }));
        assert_eq!((of(ESTABLISHED, 0), of(SYN_RECV, 0)), (Owner::Queued, Owner::Queued));
        assert_eq!(of(ESTABLISHED, 1), Owner::User(7));
        // FIN_WAIT1, FIN_WAIT2, TIME_WAIT: the process has sent all bytes and closed.
        assert!([4, 5, 6].into_iter().all(|state| of(state, 0) == Owner::Closed));
        assert_eq!((of(LISTEN, 1), Owner::of_connection(None)), (Owner::Absent, Owner::Absent));
    }

    #[test]
    fn what_does_not_show_is_none_of_a_user_but_may_be_a_container() {
        assert!(matches!(Owner::Absent.check(Some(7)), Err(PeerError::Unknown)));
        assert!(Owner::Absent.check(None).is_ok());
        assert!(Owner::User(0).check(None).is_ok() && is_foreign(&Owner::User(0).check(Some(7))));
        assert!(is_foreign(&Owner::User(own() + 1).check(None)));
    }
}
