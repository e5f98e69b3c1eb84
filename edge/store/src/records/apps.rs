//! Records of apps, of their stored versions, and of their withdrawn paths.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::deploys::StoredSource;
use super::integrity_pages::IntegrityPages;
use super::values::read;
use crate::blobs::Form;
use crate::catalog::Record;

/// `apps/{app}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// Time of creation, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// The name of the creating token.
    pub who: String,
}

impl AppRecord {
    /// Returns the time of creation of the app, in milliseconds since 1970 UTC; 0 if the record is damaged.
    #[must_use]
    pub fn made_ms(key: &str, record: &Record) -> u64 {
        read::<Self>(key, record).map_or(0, |made| made.created_ms)
    }
}

/// The prefix of all apps.
pub const APPS_PREFIX: &str = "apps/";

/// The key of an app's record.
#[must_use]
pub fn app_key(app: &AppName) -> String {
    format!("{APPS_PREFIX}{app}")
}

/// `versions/{app}/{id}`: a stored version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Time of storing, in milliseconds since 1970 UTC: the first time, for a version that was removed and stored again
    /// while paths were withdrawn.
    pub stored_ms: u64,
    /// Time of the last storing, if later than `stored_ms`: the age of the version counts from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_ms: Option<u64>,
    /// The name of the token that stored the version.
    pub who: String,
    /// Set if that token had the scope `admin` for every environment: the version's hostnames need no proof.
    pub trusted: bool,
    /// Set if that token belonged to an admin of every app: the backend may run as the edge's own user. `None` for
    /// versions stored before the member existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_admin: Option<bool>,
    /// Environments in which the version is trusted, since an admin of the environment stored the version.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub trusted_in: BTreeSet<PlaceName>,
    /// The allowed addresses. `None` for versions stored before the member existed: these reach private addresses where
    /// they are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
    /// The origin of the bundle.
    pub source: StoredSource,
    /// Files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files with precompressed encodings in the bundle, and the encodings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub given: BTreeMap<BundlePath, Vec<Form>>,
    /// Decoded content of files that came only compressed, by the path of the plain file; `given` has the encodings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decoded: BTreeMap<BundlePath, DecodedFile>,
    /// Pages with the hashes of their assets, for the environments with that setting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub integrity: Vec<IntegrityPages>,
    /// Set until the files are compressed at the best level, which happens once the version is live. Unset for versions
    /// stored before the member existed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick: bool,
}

impl VersionRecord {
    /// Returns the time of the last storing, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn stored_last_ms(&self) -> u64 {
        self.again_ms.unwrap_or(self.stored_ms)
    }

    /// Returns true if an admin of every app stored the version.
    #[must_use]
    pub fn is_of_edge_admin(&self) -> bool {
        self.edge_admin.unwrap_or(self.trusted)
    }

    /// Returns true if an admin of this environment stored the version; `preview` stands for aliases and versions at
    /// their own hostnames.
    #[must_use]
    pub fn is_trusted_in(&self, place: &str) -> bool {
        self.trusted || self.trusted_in.iter().any(|environment| environment.as_str() == place)
    }

    /// Returns the allowed addresses in an environment; `place` is as for [`VersionRecord::is_trusted_in`].
    #[must_use]
    pub fn reach_in(&self, place: &str) -> Reach {
        match self.reach {
            Some(reach) => reach,
            None if !self.is_trusted_in(place) => Reach::Public,
            None if self.is_vouched() => Reach::Private,
            None => Reach::Kept,
        }
    }

    /// Returns true if an admin of every app vouches for the addresses.
    #[must_use]
    pub fn is_vouched(&self) -> bool {
        match self.reach {
            Some(reach) => reach == Reach::Private,
            None => self.trusted && self.edge_admin == Some(true),
        }
    }

    /// Returns the allowed addresses after the version is stored again, by a token that vouches for the addresses or
    /// not.
    #[must_use]
    pub fn reach_stored_again(&self, vouched: bool) -> Reach {
        match self.is_vouched() || vouched {
            true => Reach::Private,
            // Trust of some environments alone may be the trust of all now.
            false if self.trusted && self.has_kept_reach() => Reach::Kept,
            false => Reach::Public,
        }
    }

    /// Returns true if an admin of the app alone once allowed private addresses.
    #[must_use]
    pub fn has_kept_reach(&self) -> bool {
        match self.reach {
            Some(reach) => reach == Reach::Kept,
            None => !self.is_vouched() && (self.trusted || !self.trusted_in.is_empty()),
        }
    }
}

/// The addresses that a stored version may reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Private ones too, from the time when an admin of the app could allow them: versions that were live then stay
    /// served.
    Kept,
    /// Private ones too: an admin of every app vouches for the addresses.
    Private,
    /// Public ones, and the addresses of `[upstreams] allow`.
    #[default]
    Public,
}

impl Reach {
    /// Returns the reach of a newly stored version: by an admin of every app, with a guarantee for the addresses, or by
    /// any other token.
    #[must_use]
    pub const fn of(vouched: bool) -> Self {
        if vouched { Self::Private } else { Self::Public }
    }

    /// Returns true if private addresses are included.
    #[must_use]
    pub const fn is_private(self) -> bool {
        matches!(self, Self::Kept | Self::Private)
    }
}

/// A plain file outside of any manifest, with its compressed form in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodedFile {
    /// The blob.
    pub hash: Digest,
    /// The length in bytes.
    pub size: u64,
}

/// The prefix of stored versions.
pub const VERSIONS_PREFIX: &str = "versions/";

/// The prefix of an app's versions.
#[must_use]
pub fn versions_prefix(app: &AppName) -> String {
    format!("{VERSIONS_PREFIX}{app}/")
}

/// The key of a version's record.
#[must_use]
pub fn version_key(app: &AppName, id: &VersionId) -> String {
    format!("{VERSIONS_PREFIX}{app}/{id}")
}

/// `withdrawn/{app}`: paths that versions stored until then do not answer any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnRecord {
    /// The entries by path, decoded and in normal form, with a leading slash.
    pub paths: BTreeMap<String, WithdrawnEntry>,
}

/// One path of a [`WithdrawnRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnEntry {
    /// Time of the withdrawal, in milliseconds since 1970 UTC; not before the storing time of any version of that
    /// moment.
    pub at_ms: u64,
    /// The name of the token that withdrew the path.
    pub who: String,
}

/// Returns the key of an app's withdrawn paths.
#[must_use]
pub fn withdrawn_key(app: &AppName) -> String {
    format!("withdrawn/{app}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_admin_of_one_app_reaches_nothing_private_but_by_what_was_stored_before() {
        let all = json!({ "stored_ms": 1, "who": "ada", "trusted": true, "source": {}, "files": 1, "bytes": 0 });
        let of = |other: serde_json::Value| -> VersionRecord {
            let mut all = all.clone();
            all.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
            serde_json::from_value(all).unwrap()
        };
        let staging = json!({ "trusted": false, "edge_admin": false, "trusted_in": ["staging"] });
        for (record, in_prod, in_staging, is_vouched, has_kept) in [
            (json!({ "edge_admin": false, "reach": "public" }), Reach::Public, Reach::Public, false, false),
            (json!({ "edge_admin": false, "reach": "private" }), Reach::Private, Reach::Private, true, false),
            (json!({ "edge_admin": true, "reach": "public" }), Reach::Public, Reach::Public, false, false),
            (json!({ "edge_admin": true, "reach": "kept" }), Reach::Kept, Reach::Kept, false, true),
            // Records of earlier releases.
            (json!({}), Reach::Kept, Reach::Kept, false, true),
            (json!({ "edge_admin": false }), Reach::Kept, Reach::Kept, false, true),
            (json!({ "edge_admin": true }), Reach::Private, Reach::Private, true, false),
            (json!({ "trusted": false, "edge_admin": true }), Reach::Public, Reach::Public, false, false),
            (staging, Reach::Public, Reach::Kept, false, true),
        ] {
            let found = of(record.clone());
            assert_eq!((found.reach_in("prod"), found.reach_in("staging")), (in_prod, in_staging), "{record}");
            assert_eq!((found.is_vouched(), found.has_kept_reach()), (is_vouched, has_kept), "{record}");
            // Stored again, a version reaches no more than before, unless the token may allow it.
            assert_eq!(found.reach_stored_again(false) == Reach::Private, is_vouched, "{record}");
            assert_eq!(found.reach_stored_again(true), Reach::Private, "{record}");
        }
        assert_eq!(of(json!({})).reach_stored_again(false), Reach::Kept);
        let of_staging = of(json!({ "trusted": false, "trusted_in": ["staging"] }));
        assert_eq!(of_staging.reach_stored_again(false), Reach::Public);
    }
}
