//! Source of a backend's settings and secrets.

use std::collections::BTreeMap;

use async_trait::async_trait;
use devanture_config::AppName;

/// Provides settings and secrets of environments.
#[async_trait]
pub trait Variables: Send + Sync {
    /// Returns all variables of an environment for a revision of its settings, with decrypted secrets; `place` is
    /// `preview` for previews.
    ///
    /// # Errors
    /// The reason, as a sentence.
    async fn of(&self, app: &AppName, place: &str, revision: u64) -> Result<BTreeMap<String, String>, String>;
}
