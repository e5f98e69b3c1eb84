//! Ports for programs that take none of the system's choice.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where such ports begin, and how many there are: below those that Linux gives out by itself (from 32,768 on, by
/// default). One of these would be given to a test beside it as soon as it is free, before its program listens there,
/// or while that one restarts.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// Addresses of loopback that are free. Nobody is given them, though another test may choose the same.
pub(crate) fn chosen(count: usize) -> Vec<SocketAddr> {
    let seed = RandomState::new();
    let tried = (0_u32..).map(|number| FIRST + u16::try_from(seed.hash_one(number) % u64::from(COUNT)).unwrap());
    // Held until all are found, so that none comes twice.
    let held = tried.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).take(count);
    let held: Vec<TcpListener> = held.collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}
