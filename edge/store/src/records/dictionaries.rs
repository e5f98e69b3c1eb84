//! Records of the dictionaries that a version's files are compressed with.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, PlaceName, Sha256, VersionId};
use serde::{Deserialize, Serialize};

/// `dictionaries/{app}/{id}`: what of a stored version serves as dictionaries (RFC 9842). It stands beside the
/// manifest, so that the id of a version depends on none of it, and goes with the version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DictionariesRecord {
    /// The SHA-256 of those of its files that anyone may read and that may serve, by their BLAKE3.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<Digest, Sha256>,
    /// The dictionaries that deltas of its files were made with, by the environment whose visitors have them: its own
    /// files, and those of versions that were live there. Previews have those of `preview`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deltas_from: BTreeMap<PlaceName, BTreeSet<Digest>>,
    /// Files under names that could change, which browsers keep for no longer than a load: pages offer them to be
    /// fetched as dictionaries, in this order. Their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linked: Vec<BundlePath>,
    /// The dictionary that its pages share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PagesDictionary>,
    /// The paths of the pages that it was made of: once one of them may not be read by anyone, it serves no more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pages_of: BTreeSet<BundlePath>,
}

impl DictionariesRecord {
    /// Whether a file of the version itself, or what its pages share, is this dictionary.
    #[must_use]
    pub fn is_own(&self, dictionary: &Digest) -> bool {
        self.files.contains_key(dictionary) || self.pages.is_some_and(|pages| pages.blob == *dictionary)
    }

    /// The dictionaries that deltas were made with, of all environments.
    pub fn all_from(&self) -> impl Iterator<Item = &Digest> {
        self.deltas_from.values().flatten()
    }

    /// The dictionaries that deltas may be sent for in an environment, or in a preview where that is `None`. A
    /// dictionary of another environment must not show: a delta confirms the guess at a content that was never live
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

/// A dictionary that is made of pages that anyone may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesDictionary {
    /// Its blob, which the record holds.
    pub blob: Digest,
    /// Its SHA-256.
    pub sha256: Sha256,
    /// Its length in bytes.
    pub size: u64,
}

/// Records of dictionaries that are read at once: one may have some megabytes.
pub const DICTIONARIES_AT_ONCE: usize = 16;

/// The prefix of all dictionaries.
pub const DICTIONARIES_PREFIX: &str = "dictionaries/";

/// The prefix of an app's dictionaries.
#[must_use]
pub fn dictionaries_prefix(app: &AppName) -> String {
    format!("{DICTIONARIES_PREFIX}{app}/")
}

/// The key of what of a version serves as dictionaries.
#[must_use]
pub fn dictionaries_key(app: &AppName, version: &VersionId) -> String {
    format!("{DICTIONARIES_PREFIX}{app}/{version}")
}
