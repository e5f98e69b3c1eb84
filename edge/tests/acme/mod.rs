//! Certificates by ACME: a running edge, and Debian's `pebble` as the authority, with real validation.
//!
//! `pebble` resolves every name to 127.0.0.1 by a DNS server of this process (`dns`), and reaches the edge through
//! doors (`door`) that a test can shut. The edge reaches `pebble` through another door.

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
