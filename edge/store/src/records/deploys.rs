//! Records of the deploys of an environment that ended.

use devanture_config::api::Deploy;
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use super::values::read;
use crate::catalog::Record;

/// `history/{app}/{env}/{number}`: a deploy that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The deploy.
    pub deploy: Deploy,
    /// Where a rollback that comes after this entry starts from: the entry itself, or the one that it went back to.
    pub position: String,
}

/// An entry of a history; `None`, and an error in the log, if it is damaged: it costs nothing but itself.
#[must_use]
pub fn entry(key: &str, record: &Record) -> Option<HistoryEntry> {
    read(key, record).inspect_err(|error| tracing::error!(%error, "an entry of a history is passed over")).ok()
}

/// The prefix of the histories of an app's environments.
#[must_use]
pub fn histories_prefix(app: &AppName) -> String {
    format!("history/{app}/")
}

/// The prefix of an environment's history.
#[must_use]
pub fn history_prefix(app: &AppName, environment: &PlaceName) -> String {
    format!("history/{app}/{environment}/")
}

/// The key of an entry of the history; `number` grows from entry to entry.
#[must_use]
pub fn history_key(app: &AppName, environment: &PlaceName, number: u64) -> String {
    format!("history/{app}/{environment}/{number:016}")
}
