//! Takeover from a running edge: the listening sockets and the catalog are handed over through a Unix socket in the
//! data folder, so that no connection is refused.
//!
//! The new edge (`successor`) connects, gets the sockets, and makes the running edge (`predecessor`) release the
//! catalog. The successor loads the live versions, serves, and reports; only then the predecessor drains. If the
//! successor ends before serving, the predecessor takes the catalog back and continues; the same applies if the
//! successor cannot load a version that the predecessor serves, for example because a manifest was damaged on the disk
//! while its version was in memory. A successor that cannot read the stored formats gets neither sockets nor catalog.
//! Commits of the successor during the drain reach the predecessor's connections too, and the successor starts backends
//! needed by requests to the predecessor. Log readers connect to the successor, which also shows the requests that the
//! predecessor still answers.
//!
//! A drain may take long, and further edges may take over meanwhile: each edge forwards messages from its successor to
//! its predecessor, and so ends after its predecessor.

mod arrival;
mod before;
mod formats;
mod inherited;
mod predecessor;
mod successor;
mod wire;

pub(super) use arrival::Arrival;
pub(super) use before::PredecessorHandle;
pub(super) use inherited::Inherited;
pub(super) use predecessor::{Handover, HandoverParts};
pub(super) use successor::{Running, probe};
pub(super) use wire::{Listener, Listening};

/// The name of the socket in the data folder.
pub(super) const SOCKET_NAME: &str = "takeover.sock";
