//! Backends of versions as instances: started, switched, drained, restarted, ended; with real processes in real pools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod failing;
mod handing_over;
mod living;
mod logging;
mod php;
mod previews;
mod switching;
mod world;
