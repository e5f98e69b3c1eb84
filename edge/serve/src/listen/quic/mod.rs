//! HTTP/3: QUIC on one UDP socket of each thread, by quinn-proto, with the engine on top.
//!
//! All sockets have one address. The system delivers a packet to the socket of the thread whose number is in the
//! packet's connection id (`sockets`, `ids`), so that a connection stays with its thread even if the peer's address
//! changes.
//!
//! * `udp`: packets in batches, many of one size at once in both directions;
//! * `endpoint`: dispatch of packets to connections; `listener`: new connections, within the limits, until the drain;
//! * `transport`: one QUIC connection, with timers, output, and the validated address of the peer;
//! * `farewell`: the closing state of a connection, until the peer knows;
//! * `streams`: bytes between QUIC streams and the engine; `unread`: received and unread pieces; `drive`: the engine's
//!   turns and the clocks of HTTP;
//! * `forward`: packets of the predecessor process, which still has connections;
//! * `settings`: the QUIC settings derived from the limits.
//!
//! Handshake rations, permits, drains and shares of the thread are the same as for TCP.

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
