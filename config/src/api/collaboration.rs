//! Collaboration: locks, aliases, and what differs between two versions.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};
use crate::path::BundlePath;
use crate::text::Expiry;

/// `PUT /v1/apps/{app}/environments/{env}/lock`: what is live stays; the body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LockRequest {
    /// The reason, shown to anyone who finds the environment locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A lock of an environment; also the answer to `GET …/lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The time since which it is, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// The name of the token that locked it.
    pub who: String,
    /// Why, where something was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to `PUT` and `DELETE /v1/apps/{app}/environments/{env}/lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockReport {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Its lock now, if any.
    pub locked: Option<Lock>,
    /// Whether anything was changed, or would be.
    pub changed: bool,
}

/// `PUT /v1/apps/{app}/aliases/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasRequest {
    /// The version's id or an unambiguous prefix of it.
    pub version: String,
    /// When the alias expires: by default unchanged, and never for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expiry>,
}

/// The answer to `PUT` and `DELETE /v1/apps/{app}/aliases/{name}` with `dry_run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasPrediction {
    /// Always true.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The alias.
    pub alias: PlaceName,
    /// The version that it would point to; `None` if it would be deleted.
    pub version: Option<VersionId>,
    /// The version that it points to now; `None` for a new alias.
    pub previous: Option<VersionId>,
    /// When it would expire, in milliseconds since 1970 UTC, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Whether anything would change.
    pub changed: bool,
}

/// `GET /v1/apps/{app}/aliases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasList {
    /// The app.
    pub app: AppName,
    /// The aliases, in the order of their names.
    pub aliases: Vec<PlaceStatus>,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One environment or alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceStatus {
    /// Its name.
    pub name: PlaceName,
    /// Whether it is an alias.
    pub alias: bool,
    /// The version that it points to.
    pub version: VersionId,
    /// Where to look.
    pub url: String,
    /// The time since which it points there, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub since_ms: u64,
    /// For an alias: the name of the token that set it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// For an alias that ends by itself: when, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// `GET /v1/apps/{app}/diff?from=…&to=…`: what differs between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The app.
    pub app: AppName,
    /// The first side.
    pub from: DiffSide,
    /// The second side.
    pub to: DiffSide,
    /// Numbers of differing files and bytes.
    pub files: FileChanges,
    /// A page of the files that differ, in the order of their paths.
    pub changes: Vec<FileChange>,
    /// The `after` of the next page of `changes`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Bytes that visitors load.
    pub visitors: VisitorLoad,
    /// The other differences in how the version is served.
    pub serving: Vec<ServingChange>,
}

/// One side of a [`Diff`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffSide {
    /// As it was asked for.
    pub named: String,
    /// The version; `None` for an environment where nothing is live.
    pub version: Option<VersionId>,
}

/// A number of files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// Adds a file.
    pub fn add(&mut self, bytes: u64) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Numbers of differing files, with their bytes in the second version (in the first one, for those that
/// are removed).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChanges {
    /// Files that are new.
    pub added: Amount,
    /// Files with other content, or of another type.
    pub changed: Amount,
    /// Files that are gone.
    pub removed: Amount,
    /// Files that are the same.
    pub same: Amount,
}

/// The difference of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It has other content, or another type.
    Changed,
    /// It is gone.
    Removed,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path in the bundle.
    pub path: BundlePath,
    /// The difference.
    pub change: ChangeKind,
    /// Its bytes before, where it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<u64>,
    /// Its bytes now, where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether a fingerprinted name now stands for other content: browsers that have the old one keep it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refingerprinted: bool,
}

/// Bytes that a switch makes visitors load who visit everything, as they travel to a browser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitorLoad {
    /// Loaded again by a returning visitor: new files, and those with other content.
    pub load: Amount,
    /// Revalidated by a returning visitor's browser: unchanged files under names that could change.
    pub revalidate: Amount,
    /// Not even revalidated by a returning visitor's browser: unchanged fingerprinted files.
    pub keep: Amount,
    /// Loaded by a new visitor: everything.
    pub first_visit: Amount,
    /// The bytes of `load` where a browser has files of the earlier version as dictionaries (RFC 9842).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_dictionaries: Option<u64>,
}

/// A difference in how a version is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingChange {
    /// Where it stands: `devanture.toml`, `[env.staging]` of it, or the name of a rule file.
    pub place: String,
    /// The setting: a key such as `html_handling`, or `rules`.
    pub key: String,
    /// The value before: a word, or the number of entries of a list or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_take_no_unknown_member() {
        assert_eq!(serde_json::from_str::<LockRequest>("{}").unwrap(), LockRequest::default());
        let text = r#"{"version":"4f2a91","expires":"14d"}"#;
        let request: AliasRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.expires, Some(Expiry::In(1_209_600)));
        for bad in [r#"{"version":"4f2a91","expires":"soon"}"#, r#"{"version":"4f2a91","ends":"14d"}"#, "{}"] {
            serde_json::from_str::<AliasRequest>(bad).unwrap_err();
        }
        serde_json::from_str::<LockRequest>(r#"{"message":"x"}"#).unwrap_err();
    }

    #[test]
    fn a_place_of_an_older_edge_is_still_read() {
        let id = "0".repeat(64);
        let old = format!(r#"{{"name":"main","alias":true,"version":"{id}","url":"https://x"}}"#);
        let place: PlaceStatus = serde_json::from_str(&old).unwrap();
        assert_eq!((place.expires_ms, place.since_ms), (None, 0));
    }
}
