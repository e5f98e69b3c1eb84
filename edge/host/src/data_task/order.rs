//! Messages between the edge and the process that works on an environment's data.

use std::path::PathBuf;

use devanture_config::api::{DataRest, SnapshotName};
use devanture_config::problem::Code;
use serde::{Deserialize, Serialize};

/// Variable with the order for the process.
pub const ORDER: &str = "DEVANTURE_DATA_ORDER";
/// Subcommand of the process.
pub const SUBCOMMAND: &str = "data-task";

/// Limits of one task.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Bounds {
    /// Files, folders and links of the folder, or of an archive.
    pub files_max: u64,
    /// Bytes of all files together, including holes.
    pub bytes_max: u64,
    /// Snapshots of the environment.
    pub snapshots_max: u64,
    /// Bytes of all snapshots of the environment together.
    pub snapshot_bytes_max: u64,
    /// Age of an automatic snapshot of the edge, in milliseconds.
    pub snapshot_age_ms_max: u64,
    /// Minimum free bytes of the disk.
    pub disk_free_bytes_min: u64,
}

/// Order for the process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Persistent folder.
    pub data: PathBuf,
    /// Folder of the snapshots.
    pub snapshots: PathBuf,
    /// Current time in milliseconds since 1970 UTC.
    pub now_ms: u64,
    /// Limits.
    pub bounds: Bounds,
    /// Task.
    pub work: Work,
}

/// Task of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Lists files up to a maximum, and snapshots.
    List {
        /// Maximum listed files.
        entries_max: u64,
    },
    /// Writes an archive of the folder, or its rest, to standard output.
    Pull {
        /// Part that the receiver lacks; `None` for the whole archive.
        rest: Option<DataRest>,
    },
    /// Writes the archive of a snapshot, or its rest, to standard output.
    PullSnapshot {
        /// Snapshot name.
        name: SnapshotName,
        /// Part that the receiver lacks; `None` for the whole archive.
        rest: Option<DataRest>,
    },
    /// Makes a snapshot; automatic snapshots make room if permitted.
    Snapshot {
        /// Snapshot name.
        name: SnapshotName,
        /// True if automatic snapshots may be removed for the snapshot.
        may_replace: bool,
    },
    /// Unpacks an archive received over a socket into the draft.
    Receive {
        /// Path of the socket.
        socket: PathBuf,
    },
    /// Unpacks a snapshot into the draft.
    Unpack {
        /// Snapshot name.
        name: SnapshotName,
    },
    /// Makes a snapshot of a non-empty folder, and replaces the folder's content by the draft.
    Replace {
        /// Name of the snapshot of the previous content.
        before: SnapshotName,
    },
    /// Completes or reverts an interrupted replacement.
    Recover,
    /// Removes a snapshot.
    Remove {
        /// Snapshot name.
        name: SnapshotName,
    },
}

/// Failure of a task.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// Code of the problem.
    pub code: Code,
    /// Message for people.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// Creates a failure from a system error at a path.
    pub(crate) fn io(doing: &str, path: &str, error: &std::io::Error) -> Self {
        let is_full = matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::FileTooLarge
        );
        let code = if is_full { Code::DiskFull } else { Code::Internal };
        Self::new(code, format!("{doing} {path} failed: {error}"))
    }
}
