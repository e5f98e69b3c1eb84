//! Signatures of versions: an environment that wants them lets nothing else go live, by whatever way, and its log says
//! what was live.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod hostile;
mod live_log;
mod replaced;
mod switching;
mod unsigned;
pub(crate) mod world;
