//! Which formats an edge reads: one that is started over what a later release has stored would answer 503 for it.

use devanture_config::manifest;
use serde::{Deserialize, Serialize};

use devanture_serve::live::Live;
use devanture_store::records;

/// The highest formats that an edge reads. One of a release that does not say reads the first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FormatsRead {
    manifests: u32,
    records: u32,
}

impl Default for FormatsRead {
    fn default() -> Self {
        Self { manifests: 1, records: 1 }
    }
}

impl FormatsRead {
    /// Those of this program, which are also the highest that it has stored.
    pub(super) const OWN: Self = Self { manifests: manifest::FORMAT, records: records::FORMAT };

    /// Why an edge that reads these cannot go on with what this one serves, if so.
    pub(super) async fn lacking(self, live: &Live) -> Option<String> {
        const ADVICE: &str = "start the release that runs, or a later one";
        if self.records < Self::OWN.records {
            let (read, stored) = (self.records, Self::OWN.records);
            return Some(format!("its records have format {stored}, and the new edge reads {read} at most: {ADVICE}"));
        }
        // What this program has loaded, one that reads as much loads as well.
        if self.manifests >= Self::OWN.manifests {
            return None;
        }
        let beyond = live.beyond_format(self.manifests).await?;
        Some(format!("{beyond}, and the new edge reads format {} at most: {ADVICE}", self.manifests))
    }
}
