//! The messages of the HTTP API, as both sides write and read them.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, VersionId};
use crate::expiry::Expiry;
pub use crate::keeping::{
    CollectReport, CollectedEnvironment, CollectedVersion, DeletedThing, PlaceDeleteReport, UndeleteReport,
    UndeleteRequest, WhyCollected,
};
pub use crate::logs::{LogLine, LogLost};
use crate::manifest::Manifest;
use crate::names::{AppName, PlaceName};
use crate::problem::Problem;
pub use crate::settings::{
    SettingName, SettingStatus, SettingWanted, SettingsDifference, SettingsList, SettingsPatch, SettingsReport,
};
pub use crate::team::{
    AliasList, AliasRequest, Amount, ChangeKind, DeployProblem, Diff, DiffSide, FileChange, FileChanges, Lock,
    LockReport, LockRequest, PlaceStatus, ServingChange, VisitorLoad,
};
pub use crate::upkeep::{
    DeleteReport, Pause, PauseReport, PauseRequest, RestoreReport, WithdrawReport, WithdrawRequest, WithdrawnList,
    WithdrawnPath,
};
pub use crate::who::{
    AccountInfo, AccountList, AccountName, AccountRequest, AuditEntry, AuditLog, By, LoggedIn, LoginRequest,
    PasswordRequest, RefreshRequest, Secret, TokenInfo, TokenList, lifetime_s,
};

/// What a token may do; each scope holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See.
    Read,
    /// Store versions, and make them live where the token applies.
    Push,
    /// Take a version from one environment to another.
    Promote,
    /// Everything, and making tokens.
    Admin,
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "push" => Ok(Self::Push),
            "promote" => Ok(Self::Promote),
            "admin" => Ok(Self::Admin),
            _ => Err(format!("`{text}` is not a scope: read, push, promote or admin")),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Push => "push",
            Self::Promote => "promote",
            Self::Admin => "admin",
        })
    }
}

/// Where a bundle comes from, for the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// What the person said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether the tree held changes that no commit has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// The CI system that pushed it, such as `github`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<String>,
    /// Where that system shows the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// `POST /v1/apps/{app}/environments/{env}/deploys` as `application/json`: begins a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginDeploy {
    /// What is to be stored.
    pub manifest: Manifest,
    /// Where it comes from.
    #[serde(default)]
    pub source: Source,
    /// How it is to end.
    #[serde(default)]
    pub options: DeployOptions,
}

/// How a push is to end.
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
    /// When that alias ends: as before where nothing is said, and never for one that is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_expires: Option<Expiry>,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Watch the environment for so many seconds after the switch, and undo it when errors rise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
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

/// Where a version can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urls {
    /// The environment.
    pub live: String,
    /// The version alone.
    pub preview: String,
    /// The alias, where one was pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Under way.
    Started,
    /// Done.
    Done,
    /// Not needed.
    Skipped,
    /// It stopped the deploy.
    Failed,
}

/// One step of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `scan`, `diff`, `upload`, `verify`, `compress`, `prepare`, `smoke`, `switch`, `watch`.
    pub name: String,
    /// How it ended.
    pub state: StepState,
    /// What there is to say, such as `12 files, 31 variants`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub ms: u64,
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
    /// What was live before, where something was.
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
    /// How the environment is locked, where that kept the version from going live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
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

/// `POST /v1/apps/{app}/environments/{env}/switch`: makes a stored version live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// The version's id or an unambiguous prefix of it.
    pub version: String,
    /// Only if this version is live now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Let a fingerprinted name have other content than it had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_refingerprint: bool,
    /// Do it though the environment is locked; whoever locked it may, and an admin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Watch the environment for so many seconds after the switch, and undo it when errors rise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
}

/// `POST /v1/apps/{app}/environments/{env}/rollback`: makes an earlier version live again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// Which; the one live before the current one where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Do it though the environment is locked; whoever locked it may, and an admin.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Watch the environment for so many seconds after the switch, and undo it when errors rise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// Let the settings that it was live with last hold again, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_settings: bool,
}

/// `POST /v1/apps/{app}/environments/{env}/promote`: makes live here what is live in another environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// The other environment.
    pub from: PlaceName,
    /// Let a fingerprinted name have other content than it had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_refingerprint: bool,
    /// Do it though the environment is locked; whoever locked it may, and an admin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Go live without the checks of `[[smoke]]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Watch the environment for so many seconds after the switch, and undo it when errors rise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
}

/// The answer to a switch, a rollback and a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchReport {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// What is live now.
    pub version: VersionId,
    /// What was live before.
    pub previous: Option<VersionId>,
    /// Whether the live pointer was moved.
    pub switched: bool,
    /// Where to look.
    pub urls: Urls,
    /// The deploy's id.
    pub deploy: Option<String>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Of a rollback: how the settings differ from those that the version was live with, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsDifference>,
}

/// What made an entry of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployKind {
    /// A push.
    Push,
    /// A switch to a stored version.
    Switch,
    /// A rollback.
    Rollback,
    /// A promotion.
    Promote,
    /// The environment was paused; what is live stayed.
    Pause,
    /// A pause ended; what is live stayed.
    Resume,
    /// The environment was locked; what is live stays.
    Lock,
    /// A lock ended; what is live stayed.
    Unlock,
    /// The environment was deleted.
    Delete,
    /// The environment was had back, with what was live.
    Undelete,
    /// Settings were changed; what is live stayed.
    Settings,
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its version went live.
    Live,
    /// Its version is stored and has a preview.
    Stored,
    /// A newer push was live by then.
    Superseded,
    /// It failed.
    Failed,
    /// It was a pause or a lock, the end of one, or a change of settings.
    Done,
}

/// One attempt to make a version live, or a pause, a lock or its end, or a change of settings, as a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Its id.
    pub id: String,
    /// What made it.
    pub kind: DeployKind,
    /// The environment.
    pub environment: PlaceName,
    /// The version.
    pub version: VersionId,
    /// What was live before.
    pub previous: Option<VersionId>,
    /// The name of the token.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Where the bundle came from.
    #[serde(default)]
    pub source: Source,
    /// Its steps.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// How it ended.
    pub outcome: Outcome,
    /// The alias that it was pushed to, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<PlaceName>,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<DeployProblem>,
    /// The lines of it that matter, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// The revision of the environment's settings that holds with it; 0 where nothing was ever set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settings: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `GET /v1/apps/{app}/environments/{env}/history`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The deploys.
    pub deploys: Vec<Deploy>,
    /// Versions of these deploys that were deleted since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<VersionId>,
    /// Versions of these deploys that were collected since: nothing held them, and they were old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collected: Vec<VersionId>,
    /// What to give as `before` for the next page, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `GET /v1/apps/{app}/environments/{env}`: what is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// What is live, where something is.
    pub version: Option<VersionId>,
    /// Since when, in milliseconds since 1970 UTC.
    pub since_ms: Option<u64>,
    /// The deploy that made it live.
    pub deploy: Option<String>,
    /// Where to look.
    pub urls: Option<Urls>,
    /// Hostnames of its own.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Every environment and alias of the app, with what it points to.
    #[serde(default)]
    pub places: Vec<PlaceStatus>,
    /// How it is paused, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// How it is locked, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
    /// Whether there are more environments or aliases than `places` holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_places: bool,
}

/// `POST /v1/tokens`: makes a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it is called in the history.
    pub name: String,
    /// For this app alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// For this environment alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// What it may do.
    pub scope: Scope,
    /// How long it lives, in seconds; for ever where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// The answer to [`TokenRequest`]: the only time that the token is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// Its public id.
    pub id: String,
    /// The token.
    pub token: String,
    /// When it ends, where it does: at the latest when the one ends that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}
