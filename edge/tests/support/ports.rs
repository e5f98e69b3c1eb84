//! Ports for programs that cannot listen on a port chosen by the system.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// First port and number of ports, below the ephemeral ports of Linux (by default from 32,768). An ephemeral port could
/// be given to a concurrent test before the program listens, or while the program restarts.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// Free loopback addresses, not reserved: another test may choose the same addresses.
pub(crate) fn chosen(count: usize) -> Vec<SocketAddr> {
    let seed = RandomState::new();
    let tried = (0_u32..).map(|number| FIRST + u16::try_from(seed.hash_one(number) % u64::from(COUNT)).unwrap());
    // All sockets stay open until the last is found, so that no port is chosen twice.
    let held = tried.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).take(count);
    let held: Vec<TcpListener> = held.collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}
