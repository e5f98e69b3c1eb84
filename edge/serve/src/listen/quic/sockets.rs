//! UDP sockets: one for each thread, on one address, with a filter that steers packets to their threads.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use super::ids::{ID_BYTES, THREAD_AT};
use crate::listen::socket::{UDP_RECEIVE_BUFFER_BYTES, bind_each};

/// Size of the system's send buffer.
const SEND_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// Opens `count` UDP sockets on one address, one for each serving thread, in the order of the threads' numbers.
///
/// # Errors
/// Errors of the system; for example, the address is in use, possibly by another edge of the same user.
pub fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let sockets = bind_each(address, count, bind, UdpSocket::local_addr)?;
    if count <= 1 {
        return Ok(sockets);
    }
    if let Some(first) = sockets.first() {
        steer(first, count)?;
    }
    Ok(sockets)
}

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(reuse_port)?;
    socket.set_nonblocking(true)?;
    // As large as the system allows.
    socket.set_recv_buffer_size(usize::try_from(UDP_RECEIVE_BUFFER_BYTES).unwrap_or(usize::MAX))?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes the system deliver a packet to the socket whose number is in the packet's connection id. The filter applies to
/// all sockets of the address, which are numbered in the order of the binds.
fn steer(socket: &UdpSocket, count: usize) -> io::Result<()> {
    /// Load byte, jump if bits set, jump, modulo, and return: classic BPF, as in bpf(4) of the BSDs.
    const LOAD: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const JUMP: u16 = 0x05;
    const REMAINDER: u16 = 0x94;
    const RETURN: u16 = 0x16;
    /// The first bit of a header tells its form (RFC 9000 §17). The receiver's id follows the version and the id's
    /// length in a long header, and follows immediately in a short header.
    const LONG_FORM: u32 = 0x80;
    const LONG_ID_AT: usize = 6;
    const SHORT_ID_AT: usize = 1;
    const _: () = assert!(THREAD_AT < ID_BYTES);
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_SET, 0, 2, LONG_FORM),
        step(LOAD, 0, 0, number(LONG_ID_AT + THREAD_AT)),
        step(JUMP, 0, 0, 1),
        step(LOAD, 0, 0, number(SHORT_ID_AT + THREAD_AT)),
        step(REMAINDER, 0, 0, number(count)),
        step(RETURN, 0, 0, 0),
    ];
    let len = u16::try_from(steps.len()).unwrap_or(u16::MAX);
    let program = sock_fprog { len, filter: steps.as_mut_ptr() };
    setsockopt(socket, sockopt::AttachReusePortCbpf, &program).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_go_to_the_thread_that_their_connection_id_names() {
        let sockets = bind_all("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for byte in 0..60_u8 {
            let long = [0xc3, 0, 0, 0, 1, 10, byte, 1, 2, 3];
            let short = [0x41, byte, 1, 2, 3, 4, 5, 6, 7, 8];
            for packet in [long, short] {
                client.send_to(&packet, address).unwrap();
                let mut read = [0; 64];
                let (count, _) = sockets[usize::from(byte % 3)].recv_from(&mut read).unwrap();
                assert_eq!(read[..count], packet);
            }
        }
        // A packet too short for an id is not a QUIC packet.
        client.send_to(&[0xc3, 1], address).unwrap();
        assert_eq!(sockets[0].recv_from(&mut [0; 8]).unwrap().0, 2);
    }

    #[test]
    fn another_process_does_not_get_the_address() {
        let sockets = bind_all("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = sockets[0].local_addr().unwrap();
        for count in [1, 2] {
            assert_eq!(bind_all(address, count).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        drop(sockets);
        assert_eq!(bind_all(address, 2).unwrap().len(), 2);
    }
}
