//! What a catalog knows of itself: the revision that it can be read at, and its connection to where records come from.

use std::time::Duration;

use super::Revision;

/// The state of a catalog on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogState {
    /// The last commit that can be read here.
    pub revision: Revision,
    /// The time since etcd answered last; `None` for a catalog on this machine, and before the first answer.
    pub age: Option<Duration>,
    /// How often a connection to etcd was lost or left since the start.
    pub reconnects: u64,
    /// Whether commits of other nodes arrive here now. Always so for a catalog on this machine.
    pub is_connected: bool,
    /// Whether a page of the file on this machine is known to be damaged.
    pub is_damaged: bool,
    /// Whether records are read here while nothing can be written to the disk of this machine.
    pub is_unwritable: bool,
}

/// What a copy of a catalog has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// The last commit is not whole, and the one before it is. A loss of power during a commit leaves that.
    LastCommitLost,
    /// Everything.
    Whole,
}

impl CatalogState {
    /// That of a catalog which nobody else writes to.
    #[must_use]
    pub const fn local(revision: Revision) -> Self {
        Self { revision, age: None, reconnects: 0, is_connected: true, is_damaged: false, is_unwritable: false }
    }
}
