//! Exchange of identity tokens for tokens of the edge: rights by keys and claims, and attacks by strangers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]
mod claims;
mod device;
mod exchange;
mod hostile;
pub(crate) mod issuer;
mod keys;
mod oidc;
pub(crate) mod world;
