//! Certificates by ACME: a running edge, and Debian's `pebble` as the authority, which really looks for the proofs.
//!
//! `pebble` finds every name at 127.0.0.1 by a DNS server of this process (`dns`), and comes to the edge through doors
//! (`door`) that a test can shut; the edge comes to `pebble` through another one.

#![allow(
    clippy::print_stderr,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod cluster;
mod dns;
mod door;
mod fake;
mod hostile;
mod issuing;
mod pebble;
mod renewing;
mod tls;
mod trouble;
mod world;
