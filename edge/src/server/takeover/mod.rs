//! Takes over from a running edge: its listening sockets and the catalog change hands over a Unix socket in the data
//! folder, so that no connection is refused.
//!
//! The new edge (`successor`) connects, gets the sockets, and has the old one (`predecessor`) release the catalog. It
//! loads what is live, serves, and says so; only then the old one drains. Where it ends before it serves, the old one
//! takes the catalog back and goes on: so also where it cannot load what the old one serves, as when a manifest was
//! damaged on the disk while its version was in memory. One that does not read the format of what is stored gets
//! nothing at all. What the new one commits while the old one drains reaches the old one's connections too, and a
//! backend that one of their requests is for, and that nobody runs yet, is started by the new one. Readers of the log
//! come to the new one, which shows them what the old one still answers.
//!
//! The old one may drain for long, and others may take over meanwhile: each passes on to the one before what it gets
//! from the one behind it, and so ends after the one before.

mod arrival;
mod before;
mod formats;
mod inherited;
mod predecessor;
mod successor;
mod wire;

pub(super) use arrival::Arrival;
pub(super) use before::Before;
pub(super) use inherited::Inherited;
pub(super) use predecessor::{Handover, HandoverParts};
pub(super) use successor::{Running, probe};
pub(super) use wire::{Listener, Listening};

/// The name of the socket in the data folder.
pub(super) const SOCKET_NAME: &str = "takeover.sock";
