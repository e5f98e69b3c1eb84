//! Work of an environment user's process on the environment's data, the folder named by `persist` in `devanture.toml`:
//! lists the folder, writes and unpacks archives, makes snapshots, and replaces the folder by a draft.
//!
//! The edge itself never touches files written by tenants: the edge starts a process with an [`Order`], as an instance
//! that ends by itself. Names are resolved folder by folder, and links are never followed.

mod archive;
mod files;
mod order;
mod rest;
mod snapshots;
mod sqlite;
mod task;
mod unpack;

#[cfg(test)]
mod tests;

pub use order::{Bounds, Failure, ORDER, Order, SUBCOMMAND, Work};
pub use task::{LISTENING, run};
