//! Deployments by a team, over the API of a running edge.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod accepted;
mod apps;
pub(crate) mod backend;
mod backends;
mod bad_input;
mod blob_batches;
mod deploys;
mod dry_runs;
mod envs;
pub(crate) mod gate;
mod integrity;
mod keep;
mod keep_deleted;
mod logs;
mod pins;
mod proxied;
mod query;
mod reasons;
mod resume;
mod status_page;
mod team;
mod traffic;
mod watch;
mod who;
