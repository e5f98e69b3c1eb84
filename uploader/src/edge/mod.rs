//! Speaks with an edge: requests and their answers, uploads, streams of events, and whom the client trusts.

mod blobs;
pub(crate) mod client;
pub(crate) mod credential;
pub(crate) mod deploy;
pub(crate) mod events;
mod identity;
pub(crate) mod session_store;
pub(crate) mod trust;
