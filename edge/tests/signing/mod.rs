//! Signatures of versions: an environment with required signatures lets no other version go live, by any path, and the
//! environment's log records the live versions.
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
