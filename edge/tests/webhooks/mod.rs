//! Webhooks: sent messages, rate limits, restarts of edges and receivers, and attacks by strangers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]
mod attempts;
mod events;
mod floods;
mod hostile;
mod kept_reach;
mod managing;
pub(crate) mod receiver;
pub(crate) mod world;
