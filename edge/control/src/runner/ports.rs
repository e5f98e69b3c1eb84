//! Free ports of the loopback address for instances.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use parking_lot::Mutex;

/// Ports that are not given out again, the last ones that were: who got one may not have bound it yet.
const RECENT_MAX: usize = 512;
/// Most attempts to draw a free port.
const TRIES_MAX: usize = 64;

/// Gives out ports.
#[derive(Debug, Default)]
pub(super) struct Ports {
    recent: Mutex<VecDeque<u16>>,
}

impl Ports {
    /// A port that nobody listens on now and that was not given out lately.
    pub(super) fn free(&self) -> io::Result<u16> {
        let mut recent = self.recent.lock();
        // Those that were drawn and are not fit stay bound meanwhile: the system gives others.
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
