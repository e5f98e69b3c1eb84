//! Instances of other nodes, as reported by the nodes: pool members for requests that find no instance on the local
//! node.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::address::{Endpoint, NodeInstance};
use super::run::{RunId, RunMember, RunNow};

/// A process of another node, through which the node's instances are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeProcess {
    /// The name of the node.
    pub node: String,
    /// Address at which other nodes reach the node.
    pub advertise: SocketAddr,
    /// Process number of the node: a new process gets new connections.
    pub process: u64,
}

/// Instances of a run, by node.
type ByNode = BTreeMap<String, Vec<RunMember>>;

/// The instances of all other nodes.
pub(super) struct Elsewhere {
    runs: RwLock<HashMap<RunId, ByNode>>,
    changed: watch::Sender<u64>,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { runs: RwLock::default(), changed: watch::Sender::new(0) }
    }
}

impl Elsewhere {
    /// Sets a node's instances of a run; an empty list removes the entry.
    pub(super) fn set(&self, from: &NodeProcess, id: &RunId, members: &[RunMember]) {
        let reached = |member: &RunMember| RunMember {
            endpoint: Endpoint::Node(NodeInstance {
                node: from.node.clone(),
                advertise: from.advertise,
                process: from.process,
                instance: Box::new(member.endpoint.clone()),
            }),
            is_draining: member.is_draining,
            // The other node checks the owner.
            uid: None,
            scripts: member.scripts.clone(),
        };
        if members.is_empty() {
            self.forget(&from.node, id);
            return;
        }
        let members = members.iter().map(reached).collect();
        self.runs.write().entry(id.clone()).or_default().insert(from.node.clone(), members);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Removes a node's instances of a run.
    pub(super) fn forget(&self, node: &str, id: &RunId) {
        let mut runs = self.runs.write();
        if let Some(by_node) = runs.get_mut(id) {
            by_node.remove(node);
            if by_node.is_empty() {
                runs.remove(id);
            }
        }
        drop(runs);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns the runs with instances on a node.
    pub(super) fn of_node(&self, node: &str) -> Vec<RunId> {
        let runs = self.runs.read();
        runs.iter().filter(|(_, by_node)| by_node.contains_key(node)).map(|(id, _)| id.clone()).collect()
    }

    /// Adds the instances of other nodes to local instances.
    pub(super) fn add_to(&self, id: &RunId, now: &mut RunNow) {
        if let Some(by_node) = self.runs.read().get(id) {
            now.members.extend(by_node.values().flatten().cloned());
        }
    }

    pub(super) fn has(&self, id: &RunId) -> bool {
        self.runs.read().contains_key(id)
    }

    /// Returns the number of instances of a run that get requests.
    pub(super) fn count(&self, id: &RunId) -> usize {
        let runs = self.runs.read();
        let members = runs.get(id).into_iter().flat_map(BTreeMap::values).flatten();
        members.filter(|member| !member.is_draining).count()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
