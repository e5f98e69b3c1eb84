//! Free loopback ports for instances.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use parking_lot::Mutex;

/// Recently assigned ports, not assigned again: the owner may not have bound the port yet.
const RECENT_MAX: usize = 512;
/// Most attempts to find a free port.
const TRIES_MAX: usize = 64;

/// Assigns ports.
#[derive(Debug, Default)]
pub(super) struct Ports {
    recent: Mutex<VecDeque<u16>>,
}

impl Ports {
    /// Returns a port without a listener, not recently assigned.
    pub(super) fn free(&self) -> io::Result<u16> {
        let mut recent = self.recent.lock();
        // Unsuitable ports stay bound during the search, so that the system yields others.
        let mut held = Vec::new();
        for _ in 0..TRIES_MAX {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            if !recent.contains(&port) {
                if recent.len() >= RECENT_MAX {
                    recent.pop_front();
                }
                recent.push_back(port);
                return Ok(port);
            }
            held.push(listener);
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_port_is_free_and_not_given_out_twice() {
        let ports = Ports::default();
        let given: Vec<u16> = (0..100).map(|_| ports.free().unwrap()).collect();
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
        assert!(given.iter().any(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()));
    }
}
