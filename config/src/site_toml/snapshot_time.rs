//! Time of automatic snapshots of the persistent folder.

use serde::{Deserialize, Serialize};

/// Words of `snapshot` below `[server]`.
pub(super) const SNAPSHOT_TIMES: &[(&str, SnapshotTime)] = &[("before-release", SnapshotTime::BeforeRelease)];

/// Time of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotTime {
    /// Before the command `release` of a push, or at its place; rollbacks make no snapshot.
    BeforeRelease,
}
