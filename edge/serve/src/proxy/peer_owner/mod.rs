//! The owner of the other end of a TCP connection to an instance of this machine.
//!
//! Ports are the machine's: an app may take one that an instance of another app closes for a moment, and keep the
//! connections that it accepted there after it has given the port back. Who listens on a port therefore says nothing
//! about a connection that is there already. The kernel looks up the process behind each new one, before a byte is
//! sent on it.

mod sock_diag;
mod tables;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// The states of a socket as `tcp(7)` numbers them, of those that matter here.
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const LISTEN: u8 = 10;

/// Addresses at which nothing but what listens on all of a machine takes connections: the last one of loopback, and one
/// that leads nowhere (RFC 6666).
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 255, 255, 254)), IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1))];

/// Why nothing is sent on a connection.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The process that had the other end has closed it.
    #[error("it closed the connection at once")]
    Closed,
    /// Another user's process has the other end.
    #[error("a process of somebody else listens there")]
    Foreign,
    /// The system could not be asked.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No process has the other end, as far as the system shows.
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

/// A socket, as the system shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SocketInfo {
    state: u8,
    /// Its user, once a process has it.
    uid: u32,
    /// 0 if no process has it: none has accepted it yet, or the one that had it closed it.
    inode: u64,
}

/// Who has a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// There is no such socket, or none that the system shows here.
    Absent,
    /// Its process has closed it. What that process sent before may still be on its way.
    Closed,
    /// It waits to be accepted, in the queue of a socket that listens.
    Queued,
    /// A process of this user has it.
    User(u32),
}

impl Owner {
    /// The owner of what the system shows in answer to a question about one connection.
    fn of_connection(found: Option<SocketInfo>) -> Self {
        match found {
            // Where there is no such connection, the kernel shows the socket that would accept it.
            None | Some(SocketInfo { state: LISTEN, .. }) => Self::Absent,
            Some(SocketInfo { inode: 0, state: ESTABLISHED | SYN_RECV, .. }) => Self::Queued,
            Some(SocketInfo { inode: 0, .. }) => Self::Closed,
            Some(found) => Self::User(found.uid),
        }
    }

    /// The owner of what it shows in answer to a question about what listens.
    fn of_listener(found: Option<SocketInfo>) -> Self {
        match found {
            Some(SocketInfo { state: LISTEN, uid, .. }) => Self::User(uid),
            _ => Self::Absent,
        }
    }

    /// Passes where a socket of this owner may be that of an instance of the user `uid`.
    ///
    /// Without a user of its own, an instance is a process of the edge's user, or a container behind a port of
    /// the engine, which is root and may lead what comes to another network, where no socket of it shows.
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

/// The two ends of a connection that this process has made.
#[derive(Debug, Clone, Copy)]
struct Ends {
    own: SocketAddr,
    peer: SocketAddr,
}

/// One socket: its own address, and that of its peer, whose port is 0 for a socket that listens.
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

    /// What the system shows of a socket of this connection.
    async fn find(self, name: SocketName) -> io::Result<Option<SocketInfo>> {
        // A few microseconds each, without waiting: the kernel answers within the call that asks.
        if let Ok(found) = sock_diag::find(name) {
            // That there is none is also what a kernel says that cannot be asked; but such a one misses our end too.
            if found.is_some() || sock_diag::find(self.own_end()).is_ok_and(|own| own.is_some()) {
                return Ok(found);
            }
        }
        // The tables have a line for each socket of the machine.
        let read = tokio::task::spawn_blocking(move || tables::find(name)).await;
        read.map_err(io::Error::other)?
    }
}

/// An address without a scope, and of version 4 where it is one: the tables of the system know no others.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Checks that the other end of `stream`, which nothing was sent on, is an instance's of the user `uid`; of the edge's
/// own user, or of none that shows, if it has no user of its own.
///
/// # Errors
/// Where it is somebody else's, or nobody's.
pub async fn check_peer(stream: &TcpStream, uid: Option<u32>) -> Result<(), PeerError> {
    let ends = Ends::of(stream)?;
    let owner = Owner::of_connection(ends.find(ends.other_end()).await?);
    if owner != Owner::Queued {
        return owner.check(uid);
    }
    // It is in the queue of the one socket that listens there, and is gone with it.
    Owner::of_listener(ends.find(ends.listener()).await?).check(uid)?;
    // Unless somebody else accepted it between the two looks, and let the port go. What still waits was waiting there
    // when the listener was looked up.
    match Owner::of_connection(ends.find(ends.other_end()).await?) {
        Owner::Queued => Ok(()),
        owner => owner.check(uid),
    }
}

/// Whether what listens on a port of this machine takes connections to all of its addresses, and not to 127.0.0.1
/// alone, and is a process of the user `uid`; of any, where instances have none of their own.
pub async fn is_open(port: u16, uid: Option<u32>) -> bool {
    let listener = |ip: IpAddr| SocketName { local: SocketAddr::new(ip, port), remote: SocketAddr::new(ip, 0) };
    let is_its = move |found: Option<SocketInfo>| match Owner::of_listener(found) {
        Owner::User(found) => uid.is_none_or(|uid| uid == found),
        Owner::Absent | Owner::Closed | Owner::Queued => false,
    };
    let elsewhere = ELSEWHERE.map(listener);
    // A kernel that cannot be asked shows none anywhere.
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

    /// What each way of asking says of both ends and of what listens.
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

    /// Who accepts a connection has it for good: who listens there afterwards says nothing about it.
    #[tokio::test]
    async fn a_connection_is_of_who_accepted_it_also_after_the_port_was_let_go() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let port = listener.local_addr().unwrap().port();
            let to = if address == "[::1]:0" { "::1" } else { "127.0.0.1" };
            let stream = TcpStream::connect((to, port)).await.unwrap();
            let ends = Ends::of(&stream).unwrap();
            let user = Owner::User(own());
            // That somebody listens is enough: nobody has to accept.
            assert_eq!(owners(ends), [[user, Owner::Queued, user]; 2], "{address}");
            assert!(check_peer(&stream, Some(own())).await.is_ok() && check_peer(&stream, None).await.is_ok());
            assert!(is_foreign(&check_peer(&stream, Some(own() + 1)).await), "{address}");
            let (accepted, _) = listener.accept().await.unwrap();
            drop(listener);
            assert_eq!(owners(ends), [[user, user, Owner::Absent]; 2], "{address}");
            assert!(check_peer(&stream, Some(own())).await.is_ok() && check_peer(&stream, None).await.is_ok());
            assert!(is_foreign(&check_peer(&stream, Some(own() + 1)).await), "{address}");
            drop(accepted);
            // What it sent before it closed is not to be taken for an answer.
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
        // FIN_WAIT1, FIN_WAIT2, TIME_WAIT: its process sent what it had to say, and is gone.
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
