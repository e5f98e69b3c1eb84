//! The record of the console: a bundle without an app.

use devanture_config::{Digest, VersionId};
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Error, Record};
use crate::records;

/// The key of the record.
pub const CONSOLE_KEY: &str = "console";

/// `console`: the last console that was installed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleRecord {
    /// The BLAKE3 of the package. Kept for a removed console, too: a start does not install the same package again.
    pub package: Digest,
    /// The bundle; `None` after a removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Number of files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Time of the installation or removal, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The name of the actor.
    pub who: String,
}

/// Reads the record.
///
/// # Errors
/// Errors of the catalog.
pub async fn console(catalog: &dyn Catalog) -> Result<Option<(Record, ConsoleRecord)>, Error> {
    let Some(record) = catalog.get(CONSOLE_KEY).await? else { return Ok(None) };
    let read = records::read(CONSOLE_KEY, &record)?;
    Ok(Some((record, read)))
}
