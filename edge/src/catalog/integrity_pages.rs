//! Pages of a version with the hashes of what they load, as its record names them.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::Manifest;
use devanture_config::path::BundlePath;
use serde::{Deserialize, Serialize};

use super::records::{DecodedFile, VersionRecord};

/// Pages with the hashes of what they load, as they are in some environments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrityPages {
    /// The environments: the names of their tables, or an empty one for all that have no table.
    pub tables: BTreeSet<String>,
    /// Every page that was looked at; one that has no hash is the file of the bundle.
    pub pages: BTreeMap<BundlePath, DecodedFile>,
}

impl VersionRecord {
    /// The pages with hashes of an environment or preview, by the name of its table in `manifest`.
    #[must_use]
    pub fn integrity_in(&self, manifest: &Manifest, table: &str) -> BTreeMap<BundlePath, DecodedFile> {
        let has_own = manifest.env.keys().any(|name| name.as_str() == table);
        let table = if has_own { table } else { "" };
        let found = self.integrity.iter().find(|group| group.tables.contains(table));
        found.map(|group| group.pages.clone()).unwrap_or_default()
    }
}
