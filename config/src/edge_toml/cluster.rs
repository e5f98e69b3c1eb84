//! `node` and `[cluster]`: name of the edge, and address for other nodes.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::identity::NodeIdentity;
use super::net::ListenAddress;
use super::required;
use super::storage::{BlobStore, CatalogStore, Storage};
use crate::parsing::reader::Table;

/// Default name of a node.
pub const NODE: &str = "node-1";
/// Seconds until a silent node counts as gone.
pub const LEASE_S: u64 = 10;
/// Maximum bytes of a node's name.
const NODE_BYTES_MAX: usize = 63;

/// Cluster of this edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Address of this node for other nodes.
    pub advertise: SocketAddr,
    /// Listening address for other nodes.
    pub listen: SocketAddr,
    /// Folder of the node's certificate and the cluster's CA, relative to `edge.toml`; by default in the data folder.
    pub folder: Option<PathBuf>,
    /// Seconds until a silent node counts as gone.
    pub lease_s: u64,
}

/// Reads `node`.
pub(super) fn node(root: &Table<'_, '_>, identity: &NodeIdentity) -> String {
    let written = root.string("node");
    let node = identity.node.clone().or(written).unwrap_or_else(|| NODE.to_owned());
    // A DNS label, since other nodes check the name in the certificate; not a number, which would be an address.
    let is_name = (1..=NODE_BYTES_MAX).contains(&node.len())
        && node.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !node.starts_with('-')
        && !node.ends_with('-')
        && !node.bytes().all(|b| b.is_ascii_digit());
    if !is_name {
        let message = format!("`node` must be 1 to {NODE_BYTES_MAX} letters, digits and -, with a letter in it");
        root.mistake("node", message, Some("node = \"edge-1\""));
    }
    node
}

/// Reads `[cluster]`, and checks that the stores are shared with the other nodes.
pub(super) fn cluster(root: &Table<'_, '_>, storage: Option<&Storage>, identity: &NodeIdentity) -> Option<Cluster> {
    let cluster = root.table("cluster").and_then(|table| table_of_cluster(&table, identity));
    // Errors of the stores were reported before.
    let storage = storage?;
    let is_shared = matches!(storage.catalog, CatalogStore::Etcd(_));
    if is_shared && !root.has("cluster") {
        let hint = "add [cluster] with advertise = \"10.0.0.21:8445\", the address of this node for the others";
        root.mistake("catalog", "the catalog is in etcd, but there is no table `[cluster]`", Some(hint));
    }
    if is_shared && !root.has("node") && identity.node.is_none() {
        root.mistake("catalog", "the catalog is in etcd, but this node has no name", Some("add node = \"edge-1\""));
    }
    if is_shared && storage.blobs == BlobStore::Folder {
        let hint = "add [blobs] with kind = \"s3\" and bucket = \"…\"";
        root.mistake("catalog", "the catalog is in etcd, but files are in a folder of this node alone", Some(hint));
    }
    if root.has("cluster") && !is_shared {
        let hint = "add [catalog] with kind = \"etcd\"";
        root.mistake("cluster", "`[cluster]` needs a catalog that all nodes share", Some(hint));
    }
    cluster
}

fn table_of_cluster(table: &Table<'_, '_>, identity: &NodeIdentity) -> Option<Cluster> {
    let socket = |ListenAddress(address)| address;
    let written = table.parsed("advertise").map(socket);
    let advertise = match identity.advertise {
        Some(_) => identity.address(table),
        None => required(table, "advertise", written, "\"10.0.0.21:8445\""),
    };
    let listen = table.parsed("listen").map(socket);
    let folder = table.string("folder").map(PathBuf::from);
    let lease_s = table.integer("lease_s", 2..=300).unwrap_or(LEASE_S);
    table.finish();
    let advertise: SocketAddr = advertise?;
    if advertise.ip().is_unspecified() {
        let message = format!("`cluster.advertise`: other nodes cannot reach {advertise}");
        table.mistake("advertise", message, Some("name an address of this machine; `listen` may be 0.0.0.0"));
    }
    Some(Cluster { advertise, listen: listen.unwrap_or(advertise), folder, lease_s })
}
