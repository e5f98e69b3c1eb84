//! The client of an edge: requests and their answers, uploads, streams of events, trusted certificates, and the keys
//! that sign versions.

mod blobs;
mod buildkite_agent;
pub(crate) mod client;
pub(crate) mod credential;
pub(crate) mod deploy;
pub(crate) mod device;
pub(crate) mod events;
mod http;
mod identity;
pub(crate) mod person;
pub(crate) mod session_store;
pub(crate) mod signing;
mod taken;
mod token_life;
pub(crate) mod trust;
