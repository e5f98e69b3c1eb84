//! What a visitor gets, over sockets: every case is sent over HTTP/1.1, HTTP/2 and HTTP/3 to the same running edge.
//!
//! The pure functions have their own tables in `src/site`; here it is seen that what they decide arrives. A line of a
//! table ends with the section of RFC 9110 that it is for, or with another document's name.

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
