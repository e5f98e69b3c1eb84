//! Retention: collections, and deletions and restorations of apps, environments and versions.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, HostPattern, PlaceName};

/// Reason for which a collection removes a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyCollected {
    /// The app was deleted, and the time for a restoration is over.
    AppDeleted,
    /// The version is beyond `keep_versions` and `keep_days`, and unreferenced.
    Retention,
    /// The version was deleted, and the time for a restoration is over.
    VersionDeleted,
}

/// Version removed by a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedVersion {
    /// App.
    pub app: AppName,
    /// The version.
    pub version: VersionId,
    /// Reason.
    pub why: WhyCollected,
    /// Upload time, in milliseconds since 1970 UTC.
    pub stored_ms: u64,
}

/// Response to `POST /v1/gc`: the outcome of a collection, or its preview.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectReport {
    /// True for a dry run.
    pub dry_run: bool,
    /// Versions no longer stored.
    pub versions: Vec<CollectedVersion>,
    /// Apps no longer restorable.
    #[serde(default)]
    pub apps: Vec<AppName>,
    /// Environments no longer restorable.
    #[serde(default)]
    pub environments: Vec<CollectedEnvironment>,
    /// Collected blobs and manifests; the files stay on the disk for `collected_hours`.
    pub files: u64,
    /// Bytes of these files, including encodings of blobs.
    pub bytes: u64,
    /// Files removed from the disk: collected earlier, damaged, or left over. Not included in `files`.
    #[serde(default)]
    pub removed_files: u64,
    /// Bytes of the removed files.
    #[serde(default)]
    pub removed_bytes: u64,
    /// Reason for which the collection stopped itself and collected no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<CollectStopped>,
    /// True if a limit of one pass was reached, so the next pass finds more.
    pub more: bool,
    /// Versions with unreadable manifests, which keep every blob from collection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<VersionId>,
    /// Duration.
    pub ms: u64,
}

/// Collection stopped before any file: more files were unreferenced than a consistent catalog explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectStopped {
    /// Files referenced by records.
    pub referenced: u64,
    /// Files for collection.
    pub unreferenced: u64,
}

/// Environment ended by a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedEnvironment {
    /// App.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
}

/// Restorable app, environment or version: an entry of `GET /v1/apps/{app}/deleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedThing {
    /// The app.
    pub app: AppName,
    /// Environment, for an environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Version, for a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Time of the deletion, in milliseconds since 1970 UTC.
    pub deleted_ms: u64,
    /// Restorable until, in milliseconds since 1970 UTC.
    pub until_ms: u64,
    /// Name of the token behind the deletion.
    pub who: String,
}

/// Response to `DELETE /v1/apps/{app}` and `DELETE /v1/apps/{app}/environments/{env}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceDeleteReport {
    /// True for a dry run.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Environment, for an environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Restorable until, in milliseconds since 1970 UTC.
    pub until_ms: u64,
    /// Environments no longer served.
    pub environments: Vec<PlaceName>,
    /// Custom hostnames no longer served, and reserved for their environments until `until_ms`.
    pub hostnames: Vec<String>,
    /// Number of versions no longer served; 0 for the deletion of an environment.
    pub versions: u64,
    /// Earlier versions with visitors pinned in these environments (`pin = "session"`), now or before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<VersionId>,
    /// Files no longer held by the app; `None` without `purge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<PurgeReport>,
}

/// Files no longer held by an app after a purge. Identical files of other apps remain undisclosed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// Purged blobs and manifests that the rest of the app does not refer to.
    pub files: u64,
    /// Bytes of these files, without encodings.
    pub bytes: u64,
    /// Files removed from the disk; `None` unless the credential has the scope `admin` for every app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<PurgeRemoved>,
    /// Versions with unreadable manifests, which prevent every removal of files. Versions of other apps are included
    /// only together with `removed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<VersionId>,
    /// Files not yet removable; `None` if the remaining files are all referenced by other apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remains: Option<PurgeRemains>,
}

/// Files removed from the disk by a purge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRemoved {
    /// Blobs and manifests without a reference from any app.
    pub files: u64,
    /// Bytes of these files, including encodings of blobs.
    pub bytes: u64,
}

/// Files not yet removable by a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRemains {
    /// Blobs and manifests.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Reason, as the end of a sentence.
    pub why: String,
}

/// `POST /v1/apps/{app}/undelete`: restores the app by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UndeleteRequest {
    /// Environment to restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Version to restore, by id or at least 6 leading characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Response to [`UndeleteRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndeleteReport {
    /// True for a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Environment, for an environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Restored version, or the version live again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Earlier hostnames, assigned to another environment in the meantime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_hostnames: Vec<HostPattern>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_had_back_is_one_thing() {
        assert_eq!(serde_json::from_str::<UndeleteRequest>("{}").unwrap(), UndeleteRequest::default());
        let wanted: UndeleteRequest = serde_json::from_str(r#"{"environment":"staging"}"#).unwrap();
        assert_eq!(wanted.environment.unwrap().as_str(), "staging");
        serde_json::from_str::<UndeleteRequest>(r#"{"app":"shop"}"#).unwrap_err();
    }

    #[test]
    fn why_a_version_goes_is_a_word() {
        assert_eq!(serde_json::to_string(&WhyCollected::VersionDeleted).unwrap(), "\"version_deleted\"");
    }
}
