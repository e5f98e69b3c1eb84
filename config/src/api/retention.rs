//! Retention: collections, deletions of apps, environments and versions, and how they are taken back.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, HostPattern, PlaceName};

/// Why a version goes in a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyCollected {
    /// Its app was deleted, and the time to restore it is over.
    AppDeleted,
    /// It is beyond `keep_versions` and `keep_days`, and nothing holds it.
    Retention,
    /// It was deleted, and the time to restore it is over.
    VersionDeleted,
}

/// A version that a collection takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedVersion {
    /// Its app.
    pub app: AppName,
    /// The version.
    pub version: VersionId,
    /// Why it goes.
    pub why: WhyCollected,
    /// When it was stored, in milliseconds since 1970 UTC.
    pub stored_ms: u64,
}

/// The answer to `POST /v1/gc`: what a collection took, or would take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Versions that are no longer stored.
    pub versions: Vec<CollectedVersion>,
    /// Apps that can no longer be restored.
    #[serde(default)]
    pub apps: Vec<AppName>,
    /// Environments that can no longer be restored.
    #[serde(default)]
    pub environments: Vec<CollectedEnvironment>,
    /// Blobs and manifests that were taken; they stay on the disk for `collected_hours`.
    pub files: u64,
    /// Their bytes, those of the encodings of blobs among them.
    pub bytes: u64,
    /// Files whose room is free now: collected earlier, damaged, or left over. They are not among `files`.
    #[serde(default)]
    pub removed_files: u64,
    /// Their bytes.
    #[serde(default)]
    pub removed_bytes: u64,
    /// Why no file was taken, where the collection stopped itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<CollectStopped>,
    /// Whether a limit of one pass was reached, so that the next one finds more.
    pub more: bool,
    /// Versions whose manifests cannot be read: while there are any, no blob goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<VersionId>,
    /// Its duration.
    pub ms: u64,
}

/// A collection that took no file: more were unreferenced than a catalog in order explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectStopped {
    /// Files that records refer to.
    pub referenced: u64,
    /// Files that would have been taken.
    pub unreferenced: u64,
}

/// An environment that a collection ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedEnvironment {
    /// Its app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
}

/// A deleted app, environment or version that can be restored: an entry of `GET /v1/apps/{app}/deleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedThing {
    /// The app.
    pub app: AppName,
    /// The environment, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// The version, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// When, in milliseconds since 1970 UTC.
    pub deleted_ms: u64,
    /// Restorable until, in milliseconds since 1970 UTC.
    pub until_ms: u64,
    /// The name of the token that deleted it.
    pub who: String,
}

/// The answer to `DELETE /v1/apps/{app}` and `DELETE /v1/apps/{app}/environments/{env}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceDeleteReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Restorable until, in milliseconds since 1970 UTC.
    pub until_ms: u64,
    /// Environments that stop answering.
    pub environments: Vec<PlaceName>,
    /// Hostnames of their own that stop answering, and stay theirs until then.
    pub hostnames: Vec<String>,
    /// Versions that stop answering; none if only an environment is deleted.
    pub versions: u64,
    /// Earlier versions on which visitors of these environments were held (`pin = "session"`), or are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<VersionId>,
    /// What the app holds no longer; `None` without `purge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<PurgeReport>,
}

/// What an app holds no longer after a purge. Whether another app has the same files does not show in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// Blobs and manifests of what was purged that nothing else of the app refers to.
    pub files: u64,
    /// Their bytes, without encodings.
    pub bytes: u64,
    /// What left the disk; `None` unless the credential has the scope `admin` for every app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<PurgeRemoved>,
    /// Versions whose manifests cannot be read: while there are any, no file is removed. Those of other apps are among
    /// them only where `removed` is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<VersionId>,
    /// What could not be removed yet; `None` if nothing of it is left but what others refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remains: Option<PurgeRemains>,
}

/// Files that a purge removed from the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRemoved {
    /// Blobs and manifests that no app refers to.
    pub files: u64,
    /// Their bytes, those of the encodings of blobs among them.
    pub bytes: u64,
}

/// Files that a purge could not remove yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRemains {
    /// Blobs and manifests.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why, as the end of a sentence.
    pub why: String,
}

/// `POST /v1/apps/{app}/undelete`: restores the app itself by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UndeleteRequest {
    /// An environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// A version's id, or 6 or more of its first characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The answer to [`UndeleteRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndeleteReport {
    /// Whether it was only asked what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// The version, where it is one, or the one that is live again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Hostnames that it had, and that went elsewhere meanwhile.
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
