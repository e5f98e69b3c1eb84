//! Schedules: commands of a backend at their times, on request, and through whatever happens to the edge meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]
mod requested;
mod times;
pub(crate) mod world;
