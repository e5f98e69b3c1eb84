//! HTTP/3 against a running edge: what RFC 9114 and RFC 9204 say of a server as raw frames over QUIC, clients of
//! several makers, a network that loses packets and moves clients, backends, and switches and floods under load.
//!
//! The engine has the whole table without a transport, in `src/engine/http3`; here it is seen that its codes arrive.
//! What requests mean over any protocol is in `http`, which sends each over all three.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

mod clients;
mod floods;
mod frames;
mod later;
mod network;
mod proxied;
mod switches;
mod wire;
