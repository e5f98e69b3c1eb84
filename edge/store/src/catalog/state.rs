//! The state of a catalog: the readable revision, and the connection to the source of records.

use std::time::Duration;

use super::Revision;

/// The state of a catalog on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogState {
    /// The last commit that can be read here.
    pub revision: Revision,
    /// The time since etcd's last answer; `None` for a catalog on this machine, and before the first answer.
    pub age: Option<Duration>,
    /// Number of connections to etcd that were lost or left since the start.
    pub reconnects: u64,
    /// Set while commits of other nodes arrive here. Always set for a catalog on this machine.
    pub is_connected: bool,
    /// Set if a page of the file on this machine is known to be damaged.
    pub is_damaged: bool,
    /// Set if records are readable while the disk of this machine cannot be written.
    pub is_unwritable: bool,
}

/// The condition of a copy of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// The last commit is damaged, and the previous one is whole. The result of a power loss during a commit.
    LastCommitLost,
    /// All commits are whole.
    Whole,
}

impl CatalogState {
    /// Returns the state of a catalog with a single writer.
    #[must_use]
    pub const fn local(revision: Revision) -> Self {
        Self { revision, age: None, reconnects: 0, is_connected: true, is_damaged: false, is_unwritable: false }
    }
}
