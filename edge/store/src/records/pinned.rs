//! The part of a live pointer that says on which earlier versions visitors are held.

use devanture_config::VersionId;
use serde::{Deserialize, Serialize};

use devanture_base::clock;

/// The earlier versions that visitors are held on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinsRecord {
    /// Versions that were live before, the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<VersionId>,
    /// When what visitors get last changed, in milliseconds since 1970 UTC; later with each change, whatever the clocks
    /// say. A cookie says it as well, so that a node can tell one that was given by a node which knows more.
    #[serde(default)]
    pub since_ms: u64,
}

impl PinsRecord {
    /// These versions from now on, in place of `before`.
    #[must_use]
    pub fn after(before: Option<&Self>, earlier: Vec<VersionId>) -> Self {
        let since_ms = before.map_or(0, |before| before.since_ms.saturating_add(1));
        Self { earlier, since_ms: clock::now_ms().max(since_ms) }
    }

    /// The same versions, where something else of what visitors get changes now.
    #[must_use]
    pub fn changed(&self) -> Self {
        Self::after(Some(self), self.earlier.clone())
    }
}
