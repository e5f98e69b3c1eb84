//! A push: how it begins, its steps, and how it ends.

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
    /// The manifest to store.
    pub manifest: Manifest,
    /// Where it comes from.
    #[serde(default)]
    pub source: Source,
    /// Its options.
    #[serde(default)]
    pub options: DeployOptions,
}

/// A [`BeginDeploy`] whose manifest is not read to its end; see [`IncomingManifest`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncomingDeploy {
    /// The manifest to store.
    pub manifest: IncomingManifest,
    /// Where it comes from.
    #[serde(default)]
    pub source: Source,
    /// Its options.
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
    /// Store the version and give its preview, without touching the live pointer.
    pub no_switch: bool,
    /// Go live even if a newer push did in the meantime.
    pub force: bool,
    /// Go live only if this version is live now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Let doubts pass.
    pub allow_warnings: bool,
    /// Let a fingerprinted name have other content than it had.
    pub allow_refingerprint: bool,
    /// Point this alias at the version, and leave what is live as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<PlaceName>,
    /// When that alias expires: by default unchanged, and never for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_expires: Option<Expiry>,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Watch the environment for so many seconds after the switch, and undo it when errors rise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// How it goes live on the nodes of a cluster.
    #[serde(skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// Why, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Signatures of the version, as `ssh-keygen -Y sign` writes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureText>,
    /// The half that is pushed; the version's other half is that of the live version, or of `with`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Half>,
    /// The version that gives the other half, as its id or the beginning of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

/// The answer to [`BeginDeploy`]: 201.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployBegun {
    /// The deploy's id, for `finish`.
    pub deploy: String,
    /// The version's id.
    pub version: VersionId,
    /// The blobs that this app has not sent yet, each once.
    pub missing: Vec<Digest>,
    /// The version that is live now; of a push to an alias, the version that it points at now.
    pub live: Option<VersionId>,
    /// How much one request with many blobs may carry; an edge that takes none does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BlobBatchLimits>,
    /// Of a push of one half: the version that gives the other one, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
    /// The image that the tag of the manifest's leads to: the version names this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// Limits of a request that carries many blobs ([`crate::blob_batch`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobBatchLimits {
    /// Most blobs.
    pub blobs_max: u64,
    /// Most bytes of all of them together.
    pub bytes_max: u64,
}

/// The answer to a request that carries many blobs: 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobsStored {
    /// The blobs that are stored, in the order in which they came.
    pub stored: Vec<Digest>,
}

/// The answer to [`BeginDeploy`] with `dry_run`: a push that would begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployPrediction {
    /// Always true.
    pub dry_run: bool,
    /// The version's id.
    pub version: VersionId,
    /// The blobs that this app has not sent yet, each once.
    pub missing: Vec<Digest>,
    /// The version that is live now; of a push to an alias, the version that it points at now.
    pub live: Option<VersionId>,
    /// Of a push of one half: the version that gives the other one, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
}

/// Totals of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// Files of the version.
    pub total: u64,
    /// Of these, files whose bytes the app had never sent.
    pub new: u64,
}

/// Totals of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteCounts {
    /// Bytes of the version's files.
    pub total: u64,
    /// Bytes of blobs that were sent.
    pub sent: u64,
}

/// Bytes that returning visitors load again, as they travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returning {
    /// Bytes for a browser that has files of that version as dictionaries (RFC 9842).
    pub bytes: u64,
    /// Bytes for any other.
    pub plain_bytes: u64,
}

/// The one line of `push --json`, and the last event of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployReport {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The version's id.
    pub version: VersionId,
    /// The version that was live before, if any.
    pub previous: Option<VersionId>,
    /// Where to look.
    pub urls: Urls,
    /// Files.
    pub files: FileCounts,
    /// Bytes.
    pub bytes: ByteCounts,
    /// The deploy's id; where nothing changed, that of the deploy that made the version live.
    pub deploy: Option<String>,
    /// Whether the live pointer was moved.
    pub switched: bool,
    /// The steps.
    pub steps: Vec<Step>,
    /// Paths of the version that it does not answer: it was stored before they were withdrawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<String>,
    /// The alias as it is now, where one was pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<PlaceStatus>,
    /// The lock of the environment, if it kept the version from going live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
    /// Bytes that returning visitors load again, if a version was live and dictionaries are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returning: Option<Returning>,
    /// How the environment is paused, where it is: visitors do not get the version yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Hostnames that became the environment's by this push.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<HostPattern>,
    /// The half that was pushed, where it was one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Half>,
    /// The version that gave the other half, if there was any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<VersionId>,
    /// Whether the edge had lost the manifest of the version, which the push brought back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored_manifest: bool,
    /// Whether the pusher may not make the version live there; in `prod` where an alias was pushed to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_not_switch: bool,
}

/// An event of `POST /v1/apps/{app}/deploys/{deploy}/finish`; the name is the server-sent event's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "lowercase")]
pub enum DeployEvent {
    /// A step began or ended.
    Step(Step),
    /// The deploy ended well. The last event.
    Done(Box<DeployReport>),
    /// A switch, rollback or promotion ended well. The last event, `done` by name.
    Switched(Box<SwitchReport>),
    /// The deploy failed. The last event.
    Problem(Box<Problem>),
}

/// Where a deploy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployState {
    /// Its blobs are coming in.
    Begun,
    /// Its steps are under way.
    Running,
    /// Its version is live, or was when the deploy ended.
    Live,
    /// Its version is stored and has a preview.
    Stored,
    /// A newer push was live by then; its version is stored and has a preview.
    Superseded,
    /// It failed.
    Failed,
}

impl From<Outcome> for DeployState {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            // A pause or a lock, its end, or a change of settings, left live what was.
            Outcome::Live | Outcome::Done => Self::Live,
            Outcome::Stored => Self::Stored,
            Outcome::Superseded => Self::Superseded,
            Outcome::Failed => Self::Failed,
        }
    }
}

/// `GET /v1/apps/{app}/environments/{env}/deploys`: deploys under way, and those that ended, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployList {
    /// The deploys.
    pub deploys: Vec<DeployEntry>,
    /// Nodes of the cluster that did not answer: deploys that they run are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The `before` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One deploy of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployEntry {
    /// Its id.
    pub deploy: String,
    /// Its kind.
    pub kind: DeployKind,
    /// Where it is.
    pub state: DeployState,
    /// The version's id, once it is known.
    pub version: Option<VersionId>,
    /// When it began, in milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// When it ended, in milliseconds since 1970 UTC.
    pub ended_ms: Option<u64>,
    /// The name of the token or account.
    pub who: String,
    /// The commit.
    pub commit: Option<String>,
    /// The message of the person, or the subject of the commit.
    pub message: Option<String>,
    /// Why, as far as the person said it.
    pub reason: Option<String>,
    /// The step that is under way.
    pub step: Option<String>,
    /// Its steps so far.
    pub steps: Vec<Step>,
    /// Why it failed, where it did.
    pub error: Option<DeployProblem>,
}

/// `GET /v1/apps/{app}/deploys/{deploy}`: where a deploy is.
///
/// The edge remembers the latest deploys with their report or problem; of older ones it tells what the history has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployStatus {
    /// The deploy's id.
    pub deploy: String,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Where it is.
    pub state: DeployState,
    /// The version's id, once it is known.
    pub version: Option<VersionId>,
    /// Its steps so far.
    pub steps: Vec<Step>,
    /// The report, where it ended well and is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<DeployReport>>,
    /// The problem, where it failed and is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<Problem>>,
}
