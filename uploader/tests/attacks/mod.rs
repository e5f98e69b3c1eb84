//! The author of a pull request as an attacker of the person or the CI that pushes with the command line.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]
#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

mod dev;
mod files;
mod git;
mod terminal;
