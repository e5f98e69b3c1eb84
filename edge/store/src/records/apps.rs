//! Records of apps, of their stored versions, and of the paths that were withdrawn of them.

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
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// The name of the token that made it.
    pub who: String,
}

impl AppRecord {
    /// When the app was made whose record this is, in milliseconds since 1970 UTC; 0 if it is damaged.
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
    /// When it was stored, in milliseconds since 1970 UTC: for the first time, if it was gone since and paths were
    /// withdrawn meanwhile.
    pub stored_ms: u64,
    /// When it was stored again, if that is not `stored_ms`: its age counts from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_ms: Option<u64>,
    /// The name of the token that stored it.
    pub who: String,
    /// Whether that token had the scope `admin` for every environment: the version's hostnames need no proof.
    pub trusted: bool,
    /// Whether that token was an admin's of every app: its backend may run as the edge's own user. Versions that were
    /// stored before there was this member say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_admin: Option<bool>,
    /// The environments whose own admins stored it: it is trusted there and nowhere else.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub trusted_in: BTreeSet<PlaceName>,
    /// Which addresses it may reach. Versions that were stored before there was this member say nothing: they reach
    /// private ones where they are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
    /// Where the bundle came from.
    pub source: StoredSource,
    /// Files.
    pub files: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Files that came with encodings of themselves beside them, and which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub given: BTreeMap<BundlePath, Vec<Form>>,
    /// Decoded content of files that came compressed without their plain file, by the path of the latter; `given` has
    /// their forms.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decoded: BTreeMap<BundlePath, DecodedFile>,
    /// Pages with the hashes of what they load, for the environments that want them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub integrity: Vec<IntegrityPages>,
    /// Whether its files have not had their pass at the best level yet, which comes when the version is live. Versions
    /// that were stored before there was this member count as if they had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quick: bool,
}

impl VersionRecord {
    /// When it was stored last, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn stored_last_ms(&self) -> u64 {
        self.again_ms.unwrap_or(self.stored_ms)
    }

    /// Whether an admin of every app stored it.
    #[must_use]
    pub fn is_of_edge_admin(&self) -> bool {
        self.edge_admin.unwrap_or(self.trusted)
    }

    /// Whether an admin of this environment stored it; `preview` stands for aliases and versions at their own
    /// hostnames.
    #[must_use]
    pub fn is_trusted_in(&self, place: &str) -> bool {
        self.trusted || self.trusted_in.iter().any(|environment| environment.as_str() == place)
    }

    /// Which addresses it may reach where it is served; `place` is as for [`VersionRecord::is_trusted_in`].
    #[must_use]
    pub fn reach_in(&self, place: &str) -> Reach {
        match self.reach {
            Some(reach) => reach,
            None if !self.is_trusted_in(place) => Reach::Public,
            None if self.is_vouched() => Reach::Private,
            None => Reach::Kept,
        }
    }

    /// Whether an admin of every app vouches for its addresses.
    #[must_use]
    pub fn is_vouched(&self) -> bool {
        match self.reach {
            Some(reach) => reach == Reach::Private,
            None => self.trusted && self.edge_admin == Some(true),
        }
    }

    /// What it may reach once somebody has stored it again, who vouches for its addresses or not.
    #[must_use]
    pub fn reach_stored_again(&self, vouched: bool) -> Reach {
        match self.is_vouched() || vouched {
            true => Reach::Private,
            // The trust of some environments alone may be that of all now.
            false if self.trusted && self.has_kept_reach() => Reach::Kept,
            false => Reach::Public,
        }
    }

    /// Whether an admin of its app alone once let its addresses be private.
    #[must_use]
    pub fn has_kept_reach(&self) -> bool {
        match self.reach {
            Some(reach) => reach == Reach::Kept,
            None => !self.is_vouched() && (self.trusted || !self.trusted_in.is_empty()),
        }
    }
}

/// The addresses that what somebody has stored may reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Private ones too, as when an admin of its app could allow that: what was live then stays served.
    Kept,
    /// Private ones too: an admin of every app vouches for them.
    Private,
    /// Public ones, and those of `[upstreams] allow`.
    #[default]
    Public,
}

impl Reach {
    /// That of what is stored now: by an admin of every app, who vouches for its addresses, or by anybody else.
    #[must_use]
    pub const fn of(vouched: bool) -> Self {
        if vouched { Self::Private } else { Self::Public }
    }

    /// Whether it holds private addresses.
    #[must_use]
    pub const fn is_private(self) -> bool {
        matches!(self, Self::Kept | Self::Private)
    }
}

/// A plain file that is in no manifest: its compressed form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodedFile {
    /// The blob.
    pub hash: Digest,
    /// Its length in bytes.
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

/// `withdrawn/{app}`: paths that no version stored until then answers any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnRecord {
    /// By the path, decoded and in its normal form, with its leading slash.
    pub paths: BTreeMap<String, WithdrawnEntry>,
}

/// One path of a [`WithdrawnRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnEntry {
    /// When, in milliseconds since 1970 UTC; never less than a version of that moment was stored at.
    pub at_ms: u64,
    /// The name of the token that withdrew it.
    pub who: String,
}

/// The key of what was withdrawn of an app.
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
            // Those of before.
            (json!({}), Reach::Kept, Reach::Kept, false, true),
            (json!({ "edge_admin": false }), Reach::Kept, Reach::Kept, false, true),
            (json!({ "edge_admin": true }), Reach::Private, Reach::Private, true, false),
            (json!({ "trusted": false, "edge_admin": true }), Reach::Public, Reach::Public, false, false),
            (staging, Reach::Public, Reach::Kept, false, true),
        ] {
            let found = of(record.clone());
            assert_eq!((found.reach_in("prod"), found.reach_in("staging")), (in_prod, in_staging), "{record}");
            assert_eq!((found.is_vouched(), found.has_kept_reach()), (is_vouched, has_kept), "{record}");
            // Stored again, it reaches no more than before, unless by somebody who may let it.
            assert_eq!(found.reach_stored_again(false) == Reach::Private, is_vouched, "{record}");
            assert_eq!(found.reach_stored_again(true), Reach::Private, "{record}");
        }
        assert_eq!(of(json!({})).reach_stored_again(false), Reach::Kept);
        let of_staging = of(json!({ "trusted": false, "trusted_in": ["staging"] }));
        assert_eq!(of_staging.reach_stored_again(false), Reach::Public);
    }
}
