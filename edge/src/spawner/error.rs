//! Errors of orders to the spawner.

use std::io;

/// An error of an order to the spawner.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The spawner cannot be started, or reached.
    #[error("the spawner cannot be started: {0}")]
    Start(#[source] io::Error),
    /// The peer of the socket is not a spawner of this version.
    #[error("the spawner speaks another protocol")]
    Protocol,
    /// The spawner does not start this instance.
    #[error("the spawner refuses: {0}")]
    Refused(String),
    /// The order is too long, or has texts that are no UTF-8.
    #[error("the order cannot be sent: {0}")]
    Order(String),
    /// The spawner was ended, or died before it had started the instance.
    #[error("the spawner is gone")]
    Gone,
}
