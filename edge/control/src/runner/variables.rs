//! Where the settings and secrets of a backend come from.

use std::collections::BTreeMap;

use async_trait::async_trait;
use devanture_config::AppName;

/// Knows the settings and secrets of places.
#[async_trait]
pub trait Variables: Send + Sync {
    /// All variables of an environment in one revision of its settings, secrets opened; for previews `place` is
    /// `preview`.
    ///
    /// # Errors
    /// Why they cannot be read, in a sentence.
    async fn of(&self, app: &AppName, place: &str, revision: u64) -> Result<BTreeMap<String, String>, String>;
}
