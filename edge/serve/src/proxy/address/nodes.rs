//! Listeners of the other nodes of a cluster, closed to every route: the API and the node listener of a node trust the
//! cluster's network.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{is_local, is_own, plain};

/// The listeners that a node of the cluster reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeListeners {
    /// Address at which other nodes reach the node.
    pub advertise: SocketAddr,
    /// The addresses of the node's listeners; `None` from the previous release, which reports none.
    pub listens: Option<Vec<SocketAddr>>,
}

/// The listeners of all other live nodes, updated as nodes join and leave. Clones share the listeners.
#[derive(Debug, Clone, Default)]
pub struct OtherNodes(Arc<ArcSwap<Listening>>);

#[derive(Debug, Default)]
struct Listening {
    /// Every address of the other nodes with every port of the same node.
    addresses: BTreeSet<(IpAddr, u16)>,
    /// Bound addresses of nodes on the local machine.
    here: Vec<SocketAddr>,
}

impl OtherNodes {
    /// Sets the listeners of the other nodes. A node without reported listeners is assumed to use `own_ports`, the
    /// ports of the local node.
    pub fn set(&self, nodes: &[NodeListeners], own_ports: &[u16]) {
        let mut listening = Listening::default();
        for NodeListeners { advertise, listens } in nodes {
            let bound = listens.as_deref().unwrap_or_default();
            let of_node = plain(advertise.ip());
            // A listener bound to the unspecified address answers at every address of its machine. Known addresses of
            // the machine are the advertised address and the bound addresses, except loopback, which each machine has.
            let is_elsewhere = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
            let ips = bound.iter().map(|listener| plain(listener.ip())).filter(is_elsewhere).chain([of_node]);
            let ports: Vec<u16> = match listens {
                Some(_) => bound.iter().map(SocketAddr::port).collect(),
                None => own_ports.to_vec(),
            };
            for ip in ips {
                listening.addresses.extend(ports.iter().chain([&advertise.port()]).map(|port| (ip, *port)));
            }
            if of_node.is_loopback() || is_local(of_node) {
                listening.here.extend(bound);
            }
        }
        self.0.store(Arc::new(listening));
    }

    /// Returns true if a connection to `address` would end at a listener of another node.
    pub(super) fn listen_at(&self, address: SocketAddr) -> bool {
        let listening = self.0.load();
        listening.addresses.contains(&(plain(address.ip()), address.port()))
            || listening.here.iter().any(|listener| is_own(*listener, address))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Endpoint, Policy, Reason};
    use super::*;

    fn node(advertise: &str, listens: Option<&[&str]>) -> NodeListeners {
        let listens = listens.map(|all| all.iter().map(|address| address.parse().unwrap()).collect());
        NodeListeners { advertise: advertise.parse().unwrap(), listens }
    }

    fn policy(nodes: &[NodeListeners]) -> Policy {
        let policy = Policy { allow: ["0.0.0.0/0".parse().unwrap()].into(), trusted: true, ..Policy::default() };
        policy.nodes.set(nodes, &[443, 8_444]);
        policy
    }

    fn is_refused(policy: &Policy, address: &str) -> bool {
        let permitted = policy.permits(address.parse().unwrap());
        permitted.is_err_and(|refusal| refusal.reason == Reason::Node)
    }

    #[test]
    fn the_listeners_of_another_node_are_never_permitted() {
        // The addresses are reserved for documentation, so that no machine has the addresses.
        let listens = ["0.0.0.0:443", "192.0.2.21:8444", "127.0.0.1:9100", "[::]:8445"];
        let policy = policy(&[node("198.51.100.21:8445", Some(&listens))]);
        for refused in [
            "198.51.100.21:8445",
            "198.51.100.21:443",
            "198.51.100.21:8444",
            "192.0.2.21:8444",
            "192.0.2.21:443",
            "[::ffff:198.51.100.21]:8444",
            "[64:ff9b::198.51.100.21]:8444",
        ] {
            assert!(is_refused(&policy, refused), "{refused}");
        }
        // The node's machine may have backends, another machine has no listener, and loopback there is not loopback
        // here.
        for other in ["198.51.100.21:3000", "198.51.100.22:8444", "127.0.0.1:9100", "127.0.0.1:443"] {
            assert!(!is_refused(&policy, other), "{other}");
        }
        assert!(policy.permits("127.0.0.1:9100".parse().unwrap()).is_ok());
        let text = policy.permits("198.51.100.21:443".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(text, "198.51.100.21:443 is a listener of another node of the cluster, which no route may reach");
    }

    #[test]
    fn a_node_on_this_machine_is_refused_at_every_address_that_leads_to_it() {
        let policy = policy(&[node("127.0.0.1:8445", Some(&["0.0.0.0:9443", "127.0.0.2:9444"]))]);
        for refused in ["127.0.0.1:8445", "127.0.0.1:9443", "127.9.9.9:9443", "[::1]:9443", "127.0.0.2:9444"] {
            assert!(is_refused(&policy, refused), "{refused}");
        }
        for other in ["127.0.0.1:443", "127.0.0.3:9444", "198.51.100.1:9443", "127.0.0.1:3000"] {
            assert!(!is_refused(&policy, other), "{other}");
        }
    }

    #[test]
    fn a_node_of_the_release_before_is_taken_to_listen_as_this_one() {
        let policy = policy(&[node("198.51.100.21:8445", None)]);
        for refused in ["198.51.100.21:8445", "198.51.100.21:443", "198.51.100.21:8444"] {
            assert!(is_refused(&policy, refused), "{refused}");
        }
        assert!(!is_refused(&policy, "198.51.100.21:3000"));
    }

    #[test]
    fn nodes_come_and_go_and_no_instance_leads_to_one() {
        let first = policy(&[]);
        let later = first.clone();
        let (address, instance) = ("127.0.0.1:9443".parse().unwrap(), Endpoint::Tcp(([127, 0, 0, 1], 9_443).into()));
        assert!(later.permits(address).is_ok() && later.permits_instance(&instance).is_ok());
        first.nodes.set(&[node("127.0.0.1:8445", Some(&["127.0.0.1:9443"]))], &[]);
        assert!(later.permits(address).is_err() && later.permits_instance(&instance).is_err());
        first.nodes.set(&[], &[]);
        assert!(later.permits(address).is_ok() && later.permits_instance(&instance).is_ok());
    }
}
