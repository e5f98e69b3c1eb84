//! The console of an edge, as `devanture-edge console` installs it.

use serde::{Deserialize, Serialize};

use crate::{Digest, VersionId};

/// `GET /v1/console`, and the answer to an installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleStatus {
    /// The console that is stored; `None` where there is none, or it was removed.
    pub installed: Option<ConsoleInstalled>,
    /// Whether this node serves it.
    pub served: bool,
}

/// A console that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleInstalled {
    /// The id of its bundle.
    pub version: VersionId,
    /// The BLAKE3 of the package that it came in.
    pub package: Digest,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it was installed, in milliseconds since 1970 UTC.
    pub installed_ms: u64,
    /// Who installed it.
    pub who: String,
}
