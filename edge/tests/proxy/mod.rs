//! Proxy between real clients and real backends on loopback: some use hyper, some plain sockets.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod dns;
pub(crate) mod dns_server;
mod fastcgi;
mod fastcgi_garbage;
mod faults;
mod garbage;
mod http2;
mod http2_grpc;
mod http2_wire;
mod pools;
mod safety;
mod sockets;
mod streaming;
mod support;
mod transparency;
mod websocket;
