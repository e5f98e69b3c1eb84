//! Attachment of an instance to the edge: terminal, and orders.

use bytes::Bytes;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// Attachment of an instance's input to the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Size of the terminal; without a terminal, input and outputs are pipes.
    pub terminal: Option<WindowSize>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Signal passed on to an instance for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassedSignal {
    /// SIGHUP.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTERM.
    Terminate,
}

impl From<PassedSignal> for Signal {
    fn from(signal: PassedSignal) -> Self {
        match signal {
            PassedSignal::Hangup => Self::HUP,
            PassedSignal::Interrupt => Self::INT,
            PassedSignal::Quit => Self::QUIT,
            PassedSignal::Terminate => Self::TERM,
        }
    }
}

/// Order for an attached instance.
#[derive(Debug)]
pub(super) enum AttachedOrder {
    /// Input; empty for the end of input.
    Input(Bytes),
    Resize(WindowSize),
    Signal(PassedSignal),
}
