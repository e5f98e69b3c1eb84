//! What the edge and the process that works on an environment's data send each other.

use std::path::PathBuf;

use devanture_config::api::{DataRest, SnapshotName};
use devanture_config::problem::Code;
use serde::{Deserialize, Serialize};

/// The variable with the order of the process.
pub(crate) const ORDER: &str = "DEVANTURE_DATA_ORDER";
/// The subcommand of the process.
pub(crate) const SUBCOMMAND: &str = "data-task";

/// Bounds of one piece of work.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Files, folders and links of the folder, or of an archive.
    pub(crate) files_max: u64,
    /// Bytes of all files together, with their holes.
    pub(crate) bytes_max: u64,
    /// Snapshots of the environment.
    pub(crate) snapshots_max: u64,
    /// Bytes of all snapshots of the environment together.
    pub(crate) snapshot_bytes_max: u64,
    /// Age of a snapshot that the edge made itself, in milliseconds.
    pub(crate) snapshot_age_ms_max: u64,
    /// Bytes of the disk that stay free.
    pub(crate) disk_free_bytes_min: u64,
}

/// An order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The folder that stays.
    pub(crate) data: PathBuf,
    /// The folder of its snapshots.
    pub(crate) snapshots: PathBuf,
    /// The time, in milliseconds since 1970 UTC.
    pub(crate) now_ms: u64,
    pub(crate) bounds: Bounds,
    pub(crate) work: Work,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// Lists files, at most so many, and snapshots.
    List { entries_max: u64 },
    /// Writes an archive of the folder, or the rest of it, to the standard output.
    Pull { rest: Option<DataRest> },
    /// Writes the archive of a snapshot, or the rest of it, to the standard output.
    PullSnapshot { name: SnapshotName, rest: Option<DataRest> },
    /// Makes a snapshot.
    Snapshot { name: SnapshotName },
    /// Unpacks the archive that comes over a socket into the draft.
    Receive { socket: PathBuf },
    /// Unpacks a snapshot into the draft.
    Unpack { name: SnapshotName },
    /// Makes a snapshot of the folder, unless it is empty, and puts the draft in its place.
    Replace { before: SnapshotName },
    /// Makes good a replacement that was cut off.
    Recover,
    /// Removes a snapshot.
    Remove { name: SnapshotName },
}

/// Why the work was not done.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) detail: String,
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
