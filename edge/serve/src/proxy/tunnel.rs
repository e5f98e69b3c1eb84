//! Interface to tunnels to instances of other nodes, implemented outside of the proxy.
//!
//! A tunnel ends at an instance of the target node, so that no tunnel leads on to a third node.

use std::io;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::address::NodeInstance;
use super::run::RunId;

/// Opens connections to instances of other nodes.
#[async_trait]
pub trait Tunnels: Send + Sync {
    /// Opens a connection to an instance of `run`, which forwards bytes unread.
    ///
    /// # Errors
    /// Fails if the node cannot be reached, or no longer has the instance.
    async fn open(&self, run: &RunId, to: &NodeInstance) -> io::Result<TlsStream<TcpStream>>;
}

/// The opener of tunnels, set once the node is in a cluster.
pub(super) type Opener = Arc<OnceLock<Arc<dyn Tunnels>>>;

/// Opens a tunnel to an instance.
pub(super) async fn open(opener: &Opener, run: &RunId, to: &NodeInstance) -> io::Result<TlsStream<TcpStream>> {
    match opener.get() {
        Some(tunnels) => tunnels.open(run, to).await,
        None => Err(io::ErrorKind::NotConnected.into()),
    }
}
