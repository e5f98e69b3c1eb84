//! HTTP/3 against a running edge: server rules of RFC 9114 and RFC 9204 as raw frames over QUIC, several independent
//! clients, a network that loses packets and moves clients, backends, and switches and floods under load.
//!
//! The engine's unit tests in `src/engine/http3` have the whole table without a transport; the tests here check the
//! codes on the wire. `http` tests the meaning of requests, each over all three protocols.

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
