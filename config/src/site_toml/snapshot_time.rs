//! When the edge makes a snapshot of the folder that stays by itself.

use serde::{Deserialize, Serialize};

/// The words of `snapshot` below `[server]`.
pub(super) const SNAPSHOT_TIMES: &[(&str, SnapshotTime)] = &[("before-release", SnapshotTime::BeforeRelease)];

/// When a snapshot is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotTime {
    /// Before the command `release` of a push, or where it would run; going back makes none.
    BeforeRelease,
}
