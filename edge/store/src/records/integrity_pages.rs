//! Pages of a version with the hashes of their assets, as named in the version's record.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{Digest, Manifest, Sha256};
use serde::{Deserialize, Serialize};

use super::apps::{DecodedFile, VersionRecord};

/// The media type of the pages.
const HTML: &str = "text/html";

/// Pages with the hashes of their assets, for some environments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrityPages {
    /// The revision of the code that made the pages: [`Self::MADE`] of that edge.
    #[serde(default)]
    pub made: u32,
    /// The environments: the names of their tables, or an empty name for all without a table.
    pub tables: BTreeSet<String>,
    /// All processed pages; a page without hashes is the file of the bundle.
    pub pages: BTreeMap<BundlePath, DecodedFile>,
    /// The SHA-256 of the text of the import maps, for pages with hashes in an import map.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub maps: BTreeMap<BundlePath, Sha256>,
}

impl VersionRecord {
    /// Returns the pages with hashes of all environments that are not files of `manifest`, as files of a manifest.
    #[must_use]
    pub fn hashed_pages(&self, manifest: &Manifest) -> Manifest {
        let own: HashSet<Digest> = manifest.files.values().map(|file| file.hash).collect();
        let mut pages = BTreeMap::new();
        for (number, group) in self.integrity.iter().enumerate() {
            for (path, page) in group.pages.iter().filter(|(_, page)| !own.contains(&page.hash)) {
                let entry = FileEntry { hash: page.hash, size: page.size, media_type: Some(HTML.to_owned()) };
                pages.extend(format!("{number}/{path}").parse().ok().map(|path: BundlePath| (path, entry)));
            }
        }
        Manifest::of_files(pages)
    }

    /// Returns the pages with hashes of an environment or preview, by the name of its table in `manifest`.
    #[must_use]
    pub fn integrity_in(&self, manifest: &Manifest, table: &str) -> IntegrityPages {
        IntegrityPages::of_table(&self.integrity, manifest, table)
    }
}

impl IntegrityPages {
    /// The revision of this code; changed if the same page becomes different bytes than before.
    pub const MADE: u32 = 2;

    /// Returns the pages of an environment or preview from `all`, by the name of its table in `manifest`.
    #[must_use]
    pub fn of_table(all: &[Self], manifest: &Manifest, table: &str) -> Self {
        let has_own = manifest.env.keys().any(|name| name.as_str() == table);
        let table = if has_own { table } else { "" };
        all.iter().find(|group| group.tables.contains(table)).cloned().unwrap_or_default()
    }
}
