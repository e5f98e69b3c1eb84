//! Sockets and HTTP on them, with every limit of a connection; independent of apps, paths and files.
//!
//! [`bind_all`] opens one socket per serving thread, and [`serve`] takes connections from one socket on one thread
//! until it drains. A connection goes through `serve` (accepted, counted), the handshake of [`crate::tls`] (rationed by
//! `handshakes`), `connection` (HTTP/1.1 or HTTP/2, by the engine, which `engine` drives with the clocks of `watch`),
//! and never leaves its thread. HTTP/3 has a room of its own within this one ([`quic`]), with the same limits, drains
//! and shares of the thread.

mod activity;
mod connection;
mod draining;
mod engine;
mod handshakes;
mod limits;
mod open_connections;
pub mod quic;
mod response_memory;
mod serve;
mod service;
mod socket;
mod watch;

#[cfg(test)]
mod tests;

pub use draining::{Drain, DrainOrder, Drained, drain_time};
pub use limits::{ConnectionLimits, LIMITS_APPLIED};
pub use response_memory::{ResponseMemory, keep_response_memory};
pub use serve::{Peer, Protocol, Settings, serve};
pub use service::{Awaited, NoOutcome, Services};
pub use socket::{BACKLOG, UDP_RECEIVE_BUFFER_BYTES, bind, bind_all, try_bind};
