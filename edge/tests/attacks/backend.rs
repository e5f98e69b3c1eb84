//! A hostile backend, or a hostile service that the edge asks.

mod hosts;
mod instances;
mod requests;
mod sockets;
