//! Sockets and HTTP on them, with every limit of a connection; independent of apps, paths and files.
//!
//! [`bind_all`] opens one socket per serving thread, and [`serve`] takes connections from one socket on one thread
//! until it drains. A connection goes through `serve` (accepted, counted), the handshake of [`crate::tls`] (rationed by
//! `handshakes`), `connection` (HTTP/1.1 or HTTP/2, by the engine, which `engine` drives, or by hyper, with the clocks
//! of `watch`), and never leaves its thread. HTTP/3 has a room of its own within this one ([`quic`]), with the same
//! limits, drains and shares of the thread. What hyper writes for HTTP/2 is collected per turn by `coalesce`.

mod answer;
mod coalesce;
mod connection;
mod draining;
mod engine;
mod handshakes;
mod interim_stream;
mod limits;
mod open_connections;
mod preface;
pub mod quic;
mod request_body;
mod request_validation;
mod response_memory;
mod serve;
mod service;
mod socket;
mod unsent;
mod watch;
mod write_through;

#[cfg(test)]
mod tests;

pub use draining::{Drain, DrainOrder, Drained, drain_time};
pub use limits::{ConnectionLimits, LIMITS_APPLIED};
pub use request_body::RequestBody;
pub use response_memory::{ResponseMemory, keep_response_memory};
pub use serve::{Peer, Protocol, Settings, serve};
pub use service::{Answers, NoEngine, WithEngine};
pub use socket::{BACKLOG, UDP_RECEIVE_BUFFER_BYTES, bind, bind_all, try_bind};
