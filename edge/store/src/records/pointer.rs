//! Reads the live pointer of an environment, even with a damaged record: then the last live version in the history.
//!
//! Requests are served by the record alone, so that such an environment stays at 503 until a push, a switch or a
//! rollback writes the record again. These operations start from the pointer read here.

use devanture_config::{AppName, PlaceName};

use super::words::{StoredKind, StoredOutcome};
use super::{history, settings};
use crate::catalog::{Catalog, Error, Record, Revision};
use crate::records::{self, HistoryEntry, LivePointer};

/// Entries read at most: failed pushes and pauses are entries too.
const ENTRIES_MAX: usize = 2_000;

/// Returns the live pointer of an environment and its revision.
///
/// # Errors
/// [`Error::Store`].
pub async fn live_pointer(
    catalog: &dyn Catalog,
    app: &AppName,
    environment: &PlaceName,
) -> Result<Option<(Revision, LivePointer)>, Error> {
    let key = records::live_key(app, environment);
    let Some(record) = catalog.get(&key).await? else { return Ok(None) };
    Ok(Some((record.revision, pointer_of(catalog, app, environment, &record).await?)))
}

/// Returns the live pointer in `record`.
///
/// # Errors
/// [`Error::Store`] if the history cannot be listed.
pub async fn pointer_of(
    catalog: &dyn Catalog,
    app: &AppName,
    environment: &PlaceName,
    record: &Record,
) -> Result<LivePointer, Error> {
    let error = match records::read(&records::live_key(app, environment), record) {
        Ok(pointer) => return Ok(pointer),
        Err(error) => error,
    };
    let found = from_history(catalog, app, environment).await?;
    tracing::error!(%app, %environment, %error, from_history = found.is_known(), "the record of what is live is damaged");
    Ok(found)
}

async fn from_history(catalog: &dyn Catalog, app: &AppName, environment: &PlaceName) -> Result<LivePointer, Error> {
    let prefix = records::history_prefix(app, environment);
    let mut changed_settings = None;
    let mut entries = history::entries(catalog, prefix).at_most(ENTRIES_MAX);
    while let Some((key, record)) = entries.next().await? {
        let Some(HistoryEntry { deploy, position }) = records::entry(&key, &record) else { continue };
        if deploy.kind == StoredKind::Settings {
            changed_settings = changed_settings.or(Some(deploy.settings));
        }
        if deploy.outcome == StoredOutcome::Live {
            return Ok(LivePointer {
                version: deploy.version,
                settings: changed_settings.unwrap_or(deploy.settings),
                switched_ms: deploy.at_ms,
                deploy: deploy.id,
                // Unknown: any push may take over.
                begun: 0,
                position,
                halves_begun: None,
                canary: None,
                pins: None,
            });
        }
    }
    Ok(LivePointer { settings: settings::newest(catalog, app, environment).await?, ..LivePointer::unknown() })
}
