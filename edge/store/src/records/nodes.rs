//! Keys of nodes' records, which depend on leases: one for each live node.

/// The prefix of the records of nodes.
pub const NODES_PREFIX: &str = "nodes/";

/// The key of the record of a node.
pub fn node_key(node: &str) -> String {
    format!("{NODES_PREFIX}{node}")
}
