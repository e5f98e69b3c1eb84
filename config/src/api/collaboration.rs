//! Collaboration: locks, aliases, and differences between two versions.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};
use crate::path::BundlePath;
use crate::text::Expiry;

/// `PUT /v1/apps/{app}/environments/{env}/lock`: prevents changes of the live version; the body is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LockRequest {
    /// Reason, shown in errors about the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Lock of an environment; also the response to `GET …/lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Time of the lock, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Name of the locking token.
    pub who: String,
    /// Reason, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Response to `PUT` and `DELETE /v1/apps/{app}/environments/{env}/lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockReport {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// App.
    pub app: AppName,
    /// Environment.
    pub environment: PlaceName,
    /// Current lock, if any.
    pub locked: Option<Lock>,
    /// True if the request changed the lock, or would in a dry run.
    pub changed: bool,
}

/// `PUT /v1/apps/{app}/aliases/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasRequest {
    /// Id of the version, or an unambiguous prefix.
    pub version: String,
    /// Expiry of the alias: unchanged by default, and never for a new alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expiry>,
}

/// Response to `PUT` and `DELETE /v1/apps/{app}/aliases/{name}` with `dry_run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasPrediction {
    /// Always true.
    pub dry_run: bool,
    /// App.
    pub app: AppName,
    /// Alias.
    pub alias: PlaceName,
    /// New target; `None` for a deletion.
    pub version: Option<VersionId>,
    /// Current target; `None` for a new alias.
    pub previous: Option<VersionId>,
    /// New expiry, in milliseconds since 1970 UTC, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// True if the request would change the alias.
    pub changed: bool,
}

/// `GET /v1/apps/{app}/aliases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasList {
    /// App.
    pub app: AppName,
    /// Aliases, in the order of their names.
    pub aliases: Vec<PlaceStatus>,
    /// `after` of the next page, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Environment or alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceStatus {
    /// Name.
    pub name: PlaceName,
    /// True for an alias.
    pub alias: bool,
    /// Target version.
    pub version: VersionId,
    /// URL for visitors.
    pub url: String,
    /// Time of the last change of the target, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub since_ms: u64,
    /// For an alias: name of the token behind the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// For an alias with an expiry: the expiry, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// `GET /v1/apps/{app}/diff?from=…&to=…`: differences between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// App.
    pub app: AppName,
    /// First side.
    pub from: DiffSide,
    /// Second side.
    pub to: DiffSide,
    /// Counts and bytes of differing files.
    pub files: FileChanges,
    /// Page of the differing files, in the order of their paths.
    pub changes: Vec<FileChange>,
    /// `after` of the next page of `changes`, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Bytes loaded by visitors.
    pub visitors: VisitorLoad,
    /// Other differences in how the version is served.
    pub serving: Vec<ServingChange>,
}

/// Side of a [`Diff`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffSide {
    /// Version as requested.
    pub named: String,
    /// Version; `None` for an environment without a live version.
    pub version: Option<VersionId>,
}

/// Number of files and their bytes.
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

/// Counts of differing files. Bytes are those of the second version; for removed files, those of the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChanges {
    /// New files.
    pub added: Amount,
    /// Files with changed content or type.
    pub changed: Amount,
    /// Removed files.
    pub removed: Amount,
    /// Unchanged files.
    pub same: Amount,
}

/// Kind of difference of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The file is new.
    Added,
    /// The content or type changed.
    Changed,
    /// The file is removed.
    Removed,
}

/// Differing file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Path in the bundle.
    pub path: BundlePath,
    /// Kind of difference.
    pub change: ChangeKind,
    /// Bytes before, unless the file is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<u64>,
    /// Bytes now, unless the file is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// True if the content changed under a fingerprinted name: browsers keep the old content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refingerprinted: bool,
}

/// Bytes loaded after a switch by a visitor of every page, as transferred to a browser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitorLoad {
    /// Loaded again by a returning visitor: new files and changed files.
    pub load: Amount,
    /// Revalidated by a returning visitor's browser: unchanged files without a fingerprinted name.
    pub revalidate: Amount,
    /// Neither loaded nor revalidated by a returning visitor's browser: unchanged fingerprinted files.
    pub keep: Amount,
    /// Loaded by a new visitor: all files.
    pub first_visit: Amount,
    /// Bytes of `load` for a browser with files of the earlier version as dictionaries (RFC 9842).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_dictionaries: Option<u64>,
}

/// Difference in how a version is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingChange {
    /// Location: `devanture.toml`, its table `[env.staging]`, or the name of a rule file.
    pub place: String,
    /// Setting: a key, for example `html_handling`, or `rules`.
    pub key: String,
    /// Value before: a word, or the number of entries of a list or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Value now.
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
