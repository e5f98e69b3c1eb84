//! Errors of orders to the spawner.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Error of an order to the spawner.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The spawner cannot be started or reached.
    #[error("the spawner cannot be started: {0}")]
    Start(#[source] io::Error),
    /// The peer of the socket is not a spawner of this version.
    #[error("the spawner speaks another protocol")]
    Protocol,
    /// The spawner refuses to start the instance.
    #[error("the spawner refuses: {0}")]
    Refused(String),
    /// The machine has no terminal left for the instance.
    #[error("the machine has no terminal left: its programs have as many open as its kernel allows")]
    NoTerminalLeft,
    /// The order is too long, or contains invalid UTF-8.
    #[error("the order cannot be sent: {0}")]
    Order(String),
    /// The spawner ended or died before starting the instance.
    #[error("the spawner is gone")]
    Gone,
}

/// Reason for refusing to start an instance, as sent to the edge.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    reason: String,
    /// True if the machine has no terminal left. Not sent by spawners of earlier releases.
    #[serde(default)]
    no_terminal_left: bool,
}

impl Refusal {
    /// Creates the refusal for a lack of terminals.
    pub(super) fn no_terminal_left() -> Self {
        Self { reason: SpawnError::NoTerminalLeft.to_string(), no_terminal_left: true }
    }

    /// Creates the refusal for a failed input or terminal.
    pub(super) fn unattached(error: impl fmt::Display) -> Self {
        format!("its input cannot be attached: {error}").into()
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { reason, no_terminal_left: false }
    }
}

impl From<Refusal> for SpawnError {
    fn from(Refusal { reason, no_terminal_left }: Refusal) -> Self {
        match no_terminal_left {
            true => Self::NoTerminalLeft,
            false => Self::Refused(reason),
        }
    }
}
