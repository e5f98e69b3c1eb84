//! Attacks by a hostile backend, or by a hostile service that the edge calls.

mod hosts;
mod instances;
mod requests;
mod sockets;
