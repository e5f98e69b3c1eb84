//! What a process of an environment's user does with the data of the environment, that is the folder that `persist` of
//! `devanture.toml` names: lists it, writes and unpacks archives, makes snapshots, puts one folder in another's place.
//!
//! The edge itself never touches what tenants write: it starts such a process with an [`Order`], as an instance that
//! ends by itself. Names are resolved folder by folder, and links are never followed.

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
