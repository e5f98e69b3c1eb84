//! Container image backends: fetched, run, switched, refused and removed; with a real podman and a real registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

pub(crate) mod engine;
pub(crate) mod image;
mod living;
mod private;
mod refusing;
