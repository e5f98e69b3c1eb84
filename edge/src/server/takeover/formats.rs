//! The formats that an edge reads: an older program would answer 503 for versions stored by a later release.

use devanture_config::manifest;
use serde::{Deserialize, Serialize};

use devanture_serve::live::Live;
use devanture_store::records;

/// The highest formats that an edge reads. A release that reports none reads the first formats.
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
    /// The formats of the running program, which are also the highest formats stored by the program.
    pub(super) const OWN: Self = Self { manifests: manifest::FORMAT, records: records::FORMAT };

    /// Returns the reason why an edge with these formats cannot serve the current versions, if any.
    pub(super) async fn lacking(self, live: &Live) -> Option<String> {
        const ADVICE: &str = "start the release that runs, or a later one";
        if self.records < Self::OWN.records {
            let (read, stored) = (self.records, Self::OWN.records);
            return Some(format!("its records have format {stored}, and the new edge reads {read} at most: {ADVICE}"));
        }
        // An edge with the same format of manifests can load all versions loaded here.
        if self.manifests >= Self::OWN.manifests {
            return None;
        }
        let beyond = live.beyond_format(self.manifests).await?;
        Some(format!("{beyond}, and the new edge reads format {} at most: {ADVICE}", self.manifests))
    }
}
