//! Records of the dictionaries for compression of a version's files.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, PlaceName, Sha256, VersionId};
use serde::{Deserialize, Serialize};

/// `dictionaries/{app}/{id}`: the dictionaries of a stored version (RFC 9842). Stored beside the manifest, so that the
/// id of a version does not depend on them, and removed with the version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DictionariesRecord {
    /// The SHA-256 of publicly readable files that can be dictionaries, by their BLAKE3.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<Digest, Sha256>,
    /// The dictionaries of the files' deltas, by the environment of the visitors who have the dictionaries: own files,
    /// and files of versions that were live there. Previews have the dictionaries of `preview`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deltas_from: BTreeMap<PlaceName, BTreeSet<Digest>>,
    /// Paths of files under names without a content hash, which browsers keep for no longer than a load: pages offer
    /// these files as dictionaries, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linked: Vec<BundlePath>,
    /// The shared dictionary of the pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PagesDictionary>,
    /// The paths of the pages in the shared dictionary: once a page is not publicly readable, the dictionary is not
    /// used any more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pages_of: BTreeSet<BundlePath>,
}

impl DictionariesRecord {
    /// Returns true if the dictionary is a file of the version or the shared dictionary of its pages.
    #[must_use]
    pub fn is_own(&self, dictionary: &Digest) -> bool {
        self.files.contains_key(dictionary) || self.pages.is_some_and(|pages| pages.blob == *dictionary)
    }

    /// Returns the dictionaries of deltas, of all environments.
    pub fn all_from(&self) -> impl Iterator<Item = &Digest> {
        self.deltas_from.values().flatten()
    }

    /// Returns the dictionaries of the deltas that may be sent in an environment, or in a preview for `None`. A
    /// dictionary of a different environment must not show: a delta confirms a guess at content that was never live
    /// here.
    #[must_use]
    pub fn from_in(&self, environment: Option<&PlaceName>) -> BTreeSet<Digest> {
        let of_environment = environment.and_then(|environment| self.deltas_from.get(environment));
        let own = self.all_from().filter(|dictionary| self.is_own(dictionary));
        own.chain(of_environment.into_iter().flatten()).copied().collect()
    }

    /// Adds dictionaries that visitors of an environment have.
    pub fn add_from(&mut self, environment: &PlaceName, dictionaries: impl IntoIterator<Item = Digest>) {
        let mut dictionaries = dictionaries.into_iter().peekable();
        if dictionaries.peek().is_some() {
            self.deltas_from.entry(environment.clone()).or_default().extend(dictionaries);
        }
    }
}

/// A dictionary made of publicly readable pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesDictionary {
    /// The blob, which the record keeps alive.
    pub blob: Digest,
    /// The SHA-256.
    pub sha256: Sha256,
    /// The length in bytes.
    pub size: u64,
}

/// Records of dictionaries that are read at once: a record may have some megabytes.
pub const DICTIONARIES_AT_ONCE: usize = 16;

/// The prefix of all dictionaries.
pub const DICTIONARIES_PREFIX: &str = "dictionaries/";

/// The prefix of an app's dictionaries.
#[must_use]
pub fn dictionaries_prefix(app: &AppName) -> String {
    format!("{DICTIONARIES_PREFIX}{app}/")
}

/// Returns the key of a version's dictionaries.
#[must_use]
pub fn dictionaries_key(app: &AppName, version: &VersionId) -> String {
    format!("{DICTIONARIES_PREFIX}{app}/{version}")
}
