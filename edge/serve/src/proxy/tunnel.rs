//! Tunnels to instances of other nodes, which another room opens.
//!
//! A tunnel ends at an instance of the node that it leads to and at nothing else, so that none leads on to a third
//! node.

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
    /// A connection to an instance of `run`, whose bytes pass unread.
    ///
    /// # Errors
    /// Where its node cannot be reached, or does not have it any more.
    async fn open(&self, run: &RunId, to: &NodeInstance) -> io::Result<TlsStream<TcpStream>>;
}

/// What opens tunnels, once the node is in a cluster.
pub(super) type Opener = Arc<OnceLock<Arc<dyn Tunnels>>>;

/// Opens a tunnel to an instance.
pub(super) async fn open(opener: &Opener, run: &RunId, to: &NodeInstance) -> io::Result<TlsStream<TcpStream>> {
    match opener.get() {
        Some(tunnels) => tunnels.open(run, to).await,
        None => Err(io::ErrorKind::NotConnected.into()),
    }
}
