//! Schedules: commands of a backend at given times and on request, across events of the edge.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]
mod requested;
mod times;
pub(crate) mod world;
