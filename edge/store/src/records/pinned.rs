//! The part of a live pointer with the earlier versions to which visitors are pinned.

use devanture_config::VersionId;
use serde::{Deserialize, Serialize};

use devanture_base::clock;

/// The earlier versions to which visitors are pinned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinsRecord {
    /// Previously live versions, latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<VersionId>,
    /// Time of the last change of the versions that visitors get, in milliseconds since 1970 UTC; increased by each
    /// change, even if clocks go back. Cookies contain the time, too, so that a node can detect a cookie from a node
    /// with newer knowledge.
    #[serde(default)]
    pub since_ms: u64,
}

impl PinsRecord {
    /// Returns the pins of these versions, in place of `before`.
    #[must_use]
    pub fn after(before: Option<&Self>, earlier: Vec<VersionId>) -> Self {
        let since_ms = before.map_or(0, |before| before.since_ms.saturating_add(1));
        Self { earlier, since_ms: clock::now_ms().max(since_ms) }
    }

    /// Returns the same versions, for a different change of the versions that visitors get.
    #[must_use]
    pub fn changed(&self) -> Self {
        Self::after(Some(self), self.earlier.clone())
    }
}
