//! Push: begin, steps, and end.

use serde::{Deserialize, Serialize};

use super::collaboration::{Lock, PlaceStatus};
use super::history::{DeployKind, DeployProblem, Outcome, Source};
use super::maintenance::Pause;
use super::rollout::Rollout;
use super::steps::{Step, Urls};
use super::switching::SwitchReport;
use crate::digest::{Digest, VersionId};
use crate::manifest::halves::Half;
use crate::manifest::{BadManifest, IncomingManifest, Manifest};
use crate::names::{AppName, HostPattern, PlaceName};
use crate::problem::Problem;
use crate::signing::SignatureText;
use crate::site_toml::Image;
use crate::text::Expiry;

/// `POST /v1/apps/{app}/environments/{env}/deploys` as `application/json`: begins a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginDeploy {
    /// Manifest to store.
    pub manifest: Manifest,
    /// Origin of the bundle.
    #[serde(default)]
    pub source: Source,
    /// Options.
    #[serde(default)]
    pub options: DeployOptions,
}

/// [`BeginDeploy`] with an unread manifest; see [`IncomingManifest`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncomingDeploy {
    /// Manifest to store.
    pub manifest: IncomingManifest,
    /// Origin of the bundle.
    #[serde(default)]
    pub source: Source,
    /// Options.
    #[serde(default)]
    pub options: DeployOptions,
}

impl IncomingDeploy {
    /// Reads the manifest.
    ///
    /// # Errors
    /// As [`IncomingManifest::read`].
    pub fn read(self, settings_bytes_max: u64) -> Result<BeginDeploy, BadManifest> {
        let Self { manifest, source, options } = self;
        Ok(BeginDeploy { manifest: manifest.read(settings_bytes_max)?, source, options })
    }
}

/// Options of a push.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line, and none excludes another")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeployOptions {
    /// Store the version and its preview, without a change of the live pointer.
    pub no_switch: bool,
    /// Go live even if a newer push went live in the meantime.
    pub force: bool,
    /// Live version required for the version to go live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Accept warnings.
    pub allow_warnings: bool,
    /// Accept changed content under a fingerprinted name.
    pub allow_refingerprint: bool,
    /// Point this alias at the version, and leave the live version unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<PlaceName>,
    /// Expiry of the alias: unchanged by default, and never for a new alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_expires: Option<Expiry>,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Seconds of watching after the switch; a rise of errors undoes the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// Rollout over the nodes of a cluster.
    #[serde(skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// Reason, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Signatures of the version, in the format of `ssh-keygen -Y sign`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureText>,
    /// Pushed half; the other half comes from the live version, or from `with`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Half>,
    /// Version that provides the other half, by id or prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

/// Response to [`BeginDeploy`]: 201.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployBegun {
    /// Id of the deploy, for `finish`.
    pub deploy: String,
    /// Id of the version.
    pub version: VersionId,
    /// Blobs never sent by this app, each once.
    pub missing: Vec<Digest>,
    /// Live version; for a push to an alias, the alias's current target.
    pub live: Option<VersionId>,
    /// Limits of a request with many blobs; absent if the edge accepts no batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BlobBatchLimits>,
    /// For a push of one half: the version that provides the other half, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
    /// Image that the tag in the manifest resolves to; the version refers to this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// Limits of a request with many blobs ([`crate::blob_batch`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobBatchLimits {
    /// Maximum number of blobs.
    pub blobs_max: u64,
    /// Maximum bytes of all blobs together.
    pub bytes_max: u64,
}

/// Response to a request with many blobs: 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobsStored {
    /// Stored blobs, in the order of arrival.
    pub stored: Vec<Digest>,
}

/// Response to [`BeginDeploy`] with `dry_run`: the push to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployPrediction {
    /// Always true.
    pub dry_run: bool,
    /// Id of the version.
    pub version: VersionId,
    /// Blobs never sent by this app, each once.
    pub missing: Vec<Digest>,
    /// Live version; for a push to an alias, the alias's current target.
    pub live: Option<VersionId>,
    /// For a push of one half: the version that provides the other half, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
}

/// Totals of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// Files of the version.
    pub total: u64,
    /// Files with bytes never sent by the app before.
    pub new: u64,
}

/// Totals of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteCounts {
    /// Bytes of the version's files.
    pub total: u64,
    /// Bytes of the sent blobs.
    pub sent: u64,
}

/// Bytes loaded again by returning visitors, as transferred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returning {
    /// Bytes for a browser with files of the previous version as dictionaries (RFC 9842).
    pub bytes: u64,
    /// Bytes for other browsers.
    pub plain_bytes: u64,
}

/// Output line of `push --json`, and last event of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployReport {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Id of the version.
    pub version: VersionId,
    /// Previous live version, if any.
    pub previous: Option<VersionId>,
    /// URLs for visitors.
    pub urls: Urls,
    /// Files.
    pub files: FileCounts,
    /// Bytes.
    pub bytes: ByteCounts,
    /// Id of the deploy; for an unchanged live version, id of the deploy that made the version live.
    pub deploy: Option<String>,
    /// True if the live pointer moved.
    pub switched: bool,
    /// The steps.
    pub steps: Vec<Step>,
    /// Paths of the version that are no longer served: withdrawn after the version was stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<String>,
    /// Current alias, for a push to an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<PlaceStatus>,
    /// Lock of the environment, if the lock kept the version from going live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
    /// Bytes loaded again by returning visitors, if a version was live and dictionaries are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returning: Option<Returning>,
    /// Pause of the environment, if paused: visitors do not get the version yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Hostnames assigned to the environment by this push.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<HostPattern>,
    /// Pushed half, for a push of one half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Half>,
    /// Version that provided the other half, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
    /// True if the push restored the version's manifest, lost by the edge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored_manifest: bool,
    /// True if the pusher is not allowed to make the version live in the environment; for a push to an alias, in
    /// `prod`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_not_switch: bool,
}

/// Event of `POST /v1/apps/{app}/deploys/{deploy}/finish`; the name is the server-sent event's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "lowercase")]
pub enum DeployEvent {
    /// A step began or ended.
    Step(Step),
    /// The deploy succeeded. The last event.
    Done(Box<DeployReport>),
    /// A switch, rollback or promotion succeeded. The last event, named `done`.
    Switched(Box<SwitchReport>),
    /// The deploy failed. The last event.
    Problem(Box<Problem>),
}

/// State of a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployState {
    /// The upload of blobs is under way.
    Begun,
    /// The steps are under way.
    Running,
    /// The version is live, or was live at the end of the deploy.
    Live,
    /// The version is stored and has a preview.
    Stored,
    /// A newer push was already live; the version is stored and has a preview.
    Superseded,
    /// The deploy failed.
    Failed,
}

impl From<Outcome> for DeployState {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            // A pause or a lock, the end of a pause or a lock, and a change of settings leave the live version
            // unchanged.
            Outcome::Live | Outcome::Done => Self::Live,
            Outcome::Stored => Self::Stored,
            Outcome::Superseded => Self::Superseded,
            Outcome::Failed => Self::Failed,
        }
    }
}

/// `GET /v1/apps/{app}/environments/{env}/deploys`: deploys under way and ended deploys, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployList {
    /// The deploys.
    pub deploys: Vec<DeployEntry>,
    /// Silent nodes of the cluster; the list lacks deploys run by these nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// `before` of the next page, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Deploy of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployEntry {
    /// Id.
    pub deploy: String,
    /// Kind.
    pub kind: DeployKind,
    /// State.
    pub state: DeployState,
    /// Id of the version, once known.
    pub version: Option<VersionId>,
    /// Start time, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// End time, in milliseconds since 1970 UTC.
    pub ended_ms: Option<u64>,
    /// Name of the token or account.
    pub who: String,
    /// The commit.
    pub commit: Option<String>,
    /// Message of the person, or subject of the commit.
    pub message: Option<String>,
    /// Reason, if given.
    pub reason: Option<String>,
    /// Step under way.
    pub step: Option<String>,
    /// Steps so far.
    pub steps: Vec<Step>,
    /// Reason of the failure, if failed.
    pub error: Option<DeployProblem>,
}

/// `GET /v1/apps/{app}/deploys/{deploy}`: the state of a deploy.
///
/// The edge remembers the latest deploys with their report or problem; older deploys come from the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployStatus {
    /// Id of the deploy.
    pub deploy: String,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// State.
    pub state: DeployState,
    /// Id of the version, once known.
    pub version: Option<VersionId>,
    /// Steps so far.
    pub steps: Vec<Step>,
    /// Report, if the deploy succeeded and is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<DeployReport>>,
    /// Problem, if the deploy failed and is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<Problem>>,
}
