//! The record of the console: a bundle of no app.

use devanture_config::{Digest, VersionId};
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Error, Record};
use crate::records;

/// The key of the record.
pub const CONSOLE_KEY: &str = "console";

/// `console`: the console that was installed, or removed, last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleRecord {
    /// The BLAKE3 of its package. Of a console that was removed, too: a start does not install the same one again.
    pub package: Digest,
    /// Its bundle; `None` once it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it was installed or removed, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Who did.
    pub who: String,
}

/// Reads the record.
///
/// # Errors
/// Those of the catalog.
pub async fn console(catalog: &dyn Catalog) -> Result<Option<(Record, ConsoleRecord)>, Error> {
    let Some(record) = catalog.get(CONSOLE_KEY).await? else { return Ok(None) };
    let read = records::read(CONSOLE_KEY, &record)?;
    Ok(Some((record, read)))
}
