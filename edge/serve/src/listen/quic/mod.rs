//! HTTP/3: QUIC on one UDP socket of each thread, by quinn-proto, and the engine above it.
//!
//! All sockets have one address. The system gives a packet to the socket of the thread whose number is in its
//! connection id (`sockets`, `ids`), so a connection stays with its thread also when its peer's address changes.
//!
//! * `udp`: packets in batches, many of one size at once in both directions;
//! * `endpoint`: whose packet it is; `listener`: connections to come, within the limits, until the listener drains;
//! * `transport`: one connection of QUIC, its timers, what it sends, and the address that its peer has shown;
//! * `farewell`: what is left of one that is over, until its peer knows;
//! * `streams`: bytes between its streams and the engine; `unread`: what came of them and waits; `drive`: the engine's
//!   turns and the clocks of HTTP;
//! * `forward`: packets of the process that this one took over from, which still has connections;
//! * `settings`: what the limits mean for QUIC.
//!
//! Handshakes are rationed with those of TCP's kind, permits and drains are the same, and so are shares of the thread.

mod connection;
mod drive;
mod endpoint;
mod farewell;
mod forward;
mod ids;
mod listener;
mod settings;
mod sockets;
mod streams;
mod transport;
mod udp;
mod unread;

pub use forward::Predecessor;
pub use ids::Place;
pub use listener::{QuicSettings, serve};
pub use sockets::bind_all;
