//! Internal addresses, closed to every upstream: the ports of managed instances, which trust only the edge, and the
//! endpoints of the edge's stores, which trust the edge's network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::RwLock;

use super::{Class, class, is_local, plain};

/// An address of a store endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreAddress {
    /// The address.
    pub address: SocketAddr,
    /// True if the address belongs to a name that may be a service of the open internet, such as a cloud bucket: public
    /// addresses of a cloud service are shared with strangers and reachable without the edge.
    pub may_be_public: bool,
}

/// The internal addresses, updated while the edge runs. Clones share the addresses.
#[derive(Debug, Clone, Default)]
pub struct InternalAddresses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Number of instances by port of the machine.
    ports: RwLock<BTreeMap<u16, usize>>,
    stores: ArcSwap<Stores>,
}

#[derive(Debug, Default)]
struct Stores {
    /// Ports of stores on the machine, which may answer at each address of the machine.
    here: BTreeSet<u16>,
    elsewhere: BTreeSet<(IpAddr, u16)>,
}

/// The reserved port of an instance. Dropping the value releases the port.
#[derive(Debug)]
#[must_use]
pub struct InstancePort {
    shared: Arc<Shared>,
    port: u16,
}

impl InternalAddresses {
    /// Reserves a port of the machine for an instance.
    pub fn take_port(&self, port: u16) -> InstancePort {
        *self.0.ports.write().entry(port).or_default() += 1;
        InstancePort { shared: Arc::clone(&self.0), port }
    }

    /// Sets the current addresses of the stores.
    pub fn set_stores(&self, addresses: &[StoreAddress]) {
        let mut stores = Stores::default();
        for StoreAddress { address, may_be_public } in addresses {
            let (ip, port) = (plain(address.ip()), address.port());
            if ip.is_loopback() || is_local(ip) {
                stores.here.insert(port);
            } else if !may_be_public || class(ip) != Class::Public {
                stores.elsewhere.insert((ip, port));
            }
        }
        self.0.stores.store(Arc::new(stores));
    }

    /// Returns true if a connection to `address` would end at an instance or a store.
    pub(super) fn are_at(&self, address: SocketAddr) -> bool {
        let (ip, port) = (plain(address.ip()), address.port());
        let stores = self.0.stores.load();
        if stores.elsewhere.contains(&(ip, port)) {
            return true;
        }
        // An instance may listen at all addresses of the machine, whatever address the edge connects to.
        let is_here = stores.here.contains(&port) || self.0.ports.read().contains_key(&port);
        is_here && (ip.is_loopback() || ip.is_unspecified() || is_local(ip))
    }
}

impl Drop for InstancePort {
    fn drop(&mut self) {
        let mut ports = self.shared.ports.write();
        if let Some(count) = ports.get_mut(&self.port) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                ports.remove(&self.port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Endpoint, Policy, Reason};
    use super::*;

    /// Returns the policy of an admin of every app on an edge that allows everything.
    fn policy() -> Policy {
        let allow = ["0.0.0.0/0", "::/0"].map(|block| block.parse().unwrap()).into();
        Policy { allow, trusted: true, ..Policy::default() }
    }

    fn reason(policy: &Policy, address: &str) -> Option<Reason> {
        policy.permits(address.parse().unwrap()).err().map(|refusal| refusal.reason)
    }

    /// Law 11.
    #[test]
    fn law_11_the_port_of_an_instance_belongs_to_nobody_for_as_long_as_it_runs() {
        let policy = policy();
        let (one, same) = (policy.internal.take_port(40_001), policy.clone().internal.take_port(40_001));
        for address in ["127.0.0.1:40001", "127.9.9.9:40001", "[::1]:40001", "[::ffff:127.0.0.1]:40001"] {
            assert_eq!(reason(&policy, address), Some(Reason::Internal), "{address}");
        }
        // Another machine, and another port.
        assert_eq!((reason(&policy, "198.51.100.1:40001"), reason(&policy, "127.0.0.1:40002")), (None, None));
        // The edge itself reaches the instance.
        assert!(policy.permits_instance(&Endpoint::Tcp(([127, 0, 0, 1], 40_001).into())).is_ok());
        // A stranger, who may not reach the machine, does not learn which ports are instances.
        let stranger = Policy { allow: [].into(), trusted: false, ..policy.clone() };
        assert_eq!(reason(&stranger, "127.0.0.1:40001"), reason(&stranger, "127.0.0.1:40002"));
        drop(one);
        assert_eq!(reason(&policy, "127.0.0.1:40001"), Some(Reason::Internal), "the other instance has it");
        drop(same);
        assert_eq!(reason(&policy, "127.0.0.1:40001"), None);
    }

    #[test]
    fn the_endpoints_of_the_stores_belong_to_nobody() {
        let policy = policy();
        let of = |address: &str, may_be_public| StoreAddress { address: address.parse().unwrap(), may_be_public };
        policy.internal.set_stores(&[
            of("127.0.0.1:2379", false),
            of("10.77.0.11:2379", false),
            of("8.8.8.8:2379", false),
            of("10.77.0.12:9000", true),
            of("8.8.4.4:443", true),
        ]);
        for address in [
            "127.0.0.1:2379",
            "127.3.2.1:2379",
            "[::1]:2379",
            "10.77.0.11:2379",
            "[::ffff:10.77.0.11]:2379",
            "[64:ff9b::10.77.0.11]:2379",
            "8.8.8.8:2379",
            "10.77.0.12:9000",
        ] {
            assert_eq!(reason(&policy, address), Some(Reason::Internal), "{address}");
        }
        for address in ["10.77.0.11:2380", "10.77.0.12:2379", "8.8.4.4:443", "127.0.0.1:9000"] {
            assert_eq!(reason(&policy, address), None, "{address}");
        }
        let text = policy.permits("10.77.0.11:2379".parse().unwrap()).unwrap_err().to_string();
        assert!(text.ends_with("of an instance or a store of the edge, which no route may reach"), "{text}");
        policy.internal.set_stores(&[]);
        assert_eq!(reason(&policy, "10.77.0.11:2379"), None);
    }
}
