//! Responses to visitors, over sockets: every case is sent over HTTP/1.1, HTTP/2 and HTTP/3 to the same edge.
//!
//! The pure functions have tables of tests in `src/site`; the tests here check the responses on the wire. A table line
//! ends with the relevant section of RFC 9110, or with the name of another document.

#![allow(
    clippy::print_stderr,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod bodies;
mod client;
mod conditional;
mod docs;
pub(crate) mod lint;
mod methods;
mod negotiation;
mod own_headers;
mod profiles;
mod ranges;
mod resumption;
pub(crate) mod site;
mod target;
