//! Looks up one TCP socket in the kernel, by `sock_diag(7)`.
//!
//! An exact query is a lookup in the hash tables used for each packet, independent of the number of sockets.

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use super::{SocketInfo, SocketName};

/// Maximum size of an answer: one socket without optional attributes takes some 130 bytes.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Matches any socket with the addresses.
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// Returns the kernel's entry of a socket; without the socket, the listener that would accept a connection from the
/// peer.
pub(super) fn find(name: SocketName) -> io::Result<Option<SocketInfo>> {
    let question = question(name);
    // A new socket per query: no socket retains the answer to an earlier query, and no thread holds a socket forever.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
    send(&socket, &question, SendFlags::empty())?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    let (count, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    answer.get(..count).map_or_else(|| Err(io::ErrorKind::InvalidData.into()), understand)
}

fn question(SocketName { local, remote }: SocketName) -> Vec<u8> {
    let socket_id = SocketId {
        source_port: local.port(),
        destination_port: remote.port(),
        source_address: local.ip(),
        destination_address: remote.ip(),
        interface_id: 0,
        cookie: ANY_COOKIE,
    };
    let request = InetRequest {
        family: if matches!(local, SocketAddr::V4(_)) { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id,
    };
    let payload = NetlinkPayload::InnerMessage(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn understand(answer: &[u8]) -> io::Result<Option<SocketInfo>> {
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(answer).map_err(io::Error::other)?;
    match message.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            let found = found.header;
            Ok(Some(SocketInfo { state: found.state, uid: found.uid, inode: found.inode.into() }))
        }
        NetlinkPayload::Error(error) if error.raw_code() == -Errno::NOENT.raw_os_error() => Ok(None),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
