//! How an instance is attached to the edge: its terminal, and the orders for it.

use bytes::Bytes;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// An instance whose input is the edge's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The size of its terminal; without one, its input and outputs are pipes.
    pub terminal: Option<WindowSize>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A signal that somebody passes on to an instance.
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

/// An order for an attached instance.
#[derive(Debug)]
pub(super) enum AttachedOrder {
    /// Input; empty at its end.
    Input(Bytes),
    Resize(WindowSize),
    Signal(PassedSignal),
}
