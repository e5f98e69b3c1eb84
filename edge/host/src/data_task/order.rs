//! What the edge and the process that works on an environment's data send each other.

use std::path::PathBuf;

use devanture_config::api::{DataRest, SnapshotName};
use devanture_config::problem::Code;
use serde::{Deserialize, Serialize};

/// The variable with the order of the process.
pub const ORDER: &str = "DEVANTURE_DATA_ORDER";
/// The subcommand of the process.
pub const SUBCOMMAND: &str = "data-task";

/// Bounds of one piece of work.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Bounds {
    /// Files, folders and links of the folder, or of an archive.
    pub files_max: u64,
    /// Bytes of all files together, with their holes.
    pub bytes_max: u64,
    /// Snapshots of the environment.
    pub snapshots_max: u64,
    /// Bytes of all snapshots of the environment together.
    pub snapshot_bytes_max: u64,
    /// Age of a snapshot that the edge made itself, in milliseconds.
    pub snapshot_age_ms_max: u64,
    /// Bytes of the disk that stay free.
    pub disk_free_bytes_min: u64,
}

/// An order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The folder that stays.
    pub data: PathBuf,
    /// The folder of its snapshots.
    pub snapshots: PathBuf,
    /// The time, in milliseconds since 1970 UTC.
    pub now_ms: u64,
    /// Its limits.
    pub bounds: Bounds,
    /// The work.
    pub work: Work,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Lists files, at most so many, and snapshots.
    List {
        /// Files that are listed.
        entries_max: u64,
    },
    /// Writes an archive of the folder, or the rest of it, to the standard output.
    Pull {
        /// The part that the receiver lacks; `None` for all of it.
        rest: Option<DataRest>,
    },
    /// Writes the archive of a snapshot, or the rest of it, to the standard output.
    PullSnapshot {
        /// The snapshot.
        name: SnapshotName,
        /// The part that the receiver lacks; `None` for all of it.
        rest: Option<DataRest>,
    },
    /// Makes a snapshot, for which those that the edge made itself give way where it may replace them.
    Snapshot {
        /// Its name.
        name: SnapshotName,
        /// Whether snapshots that the edge made itself may give way to it.
        may_replace: bool,
    },
    /// Unpacks the archive that comes over a socket into the draft.
    Receive {
        /// The path of the socket.
        socket: PathBuf,
    },
    /// Unpacks a snapshot into the draft.
    Unpack {
        /// The snapshot.
        name: SnapshotName,
    },
    /// Makes a snapshot of the folder, unless it is empty, and puts the draft in its place.
    Replace {
        /// The name of the snapshot of the folder as it was.
        before: SnapshotName,
    },
    /// Makes good a replacement that was cut off.
    Recover,
    /// Removes a snapshot.
    Remove {
        /// The snapshot.
        name: SnapshotName,
    },
}

/// Why the work was not done.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// The code of the problem.
    pub code: Code,
    /// A sentence for a person.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// A failure of the system while something was done at a path.
    pub(crate) fn io(doing: &str, path: &str, error: &std::io::Error) -> Self {
        let is_full = matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::FileTooLarge
        );
        let code = if is_full { Code::DiskFull } else { Code::Internal };
        Self::new(code, format!("{doing} {path} failed: {error}"))
    }
}
