//! Console of an edge, installed by `devanture-edge console`.

use serde::{Deserialize, Serialize};

use crate::{Digest, VersionId};

/// `GET /v1/console`, and the response to an installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleStatus {
    /// Stored console; `None` if never installed or removed.
    pub installed: Option<ConsoleInstalled>,
    /// True if this node serves the console.
    pub served: bool,
}

/// Stored console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleInstalled {
    /// Id of the bundle.
    pub version: VersionId,
    /// BLAKE3 of the package.
    pub package: Digest,
    /// Number of files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Time of the installation, in milliseconds since 1970 UTC.
    pub installed_ms: u64,
    /// Author of the installation.
    pub who: String,
}
