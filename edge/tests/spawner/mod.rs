//! Spawner of instances, as a separate process: initial state, output, limits and end of instances, and no leftovers
//! after the end of any process.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod after_main;
mod beginning;
mod cgroups;
mod door;
mod ending;
mod handing_over;
mod limits;
mod orphans;
mod output;
mod private_folders;
mod private_terminals;
mod world;
