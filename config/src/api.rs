//! The messages of the HTTP API, as both sides write and read them.

use serde::{Deserialize, Serialize};

pub use crate::deploy::{
    BeginDeploy, ByteCounts, DeployBegun, DeployEvent, DeployOptions, DeployReport, DeployState, DeployStatus,
    FileCounts, IncomingDeploy, Returning, Source, Step, StepState, Urls,
};
use crate::digest::VersionId;
pub use crate::keeping::{
    CollectReport, CollectStopped, CollectedEnvironment, CollectedVersion, DeletedThing, PlaceDeleteReport,
    PurgeRemains, PurgeReport, UndeleteReport, UndeleteRequest, WhyCollected,
};
pub use crate::logs::{LogLine, LogLost};
use crate::names::{AppName, PlaceName};
use crate::parts::Parts;
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
pub use crate::upstreams::{Backend, MemberReport, MemberRequest, MemberWish, UpstreamReport, UpstreamsReport};
pub use crate::who::{
    AccountInfo, AccountList, AccountName, AccountRequest, AuditEntry, AuditLog, By, LoggedIn, LoginRequest,
    PasswordRequest, RefreshRequest, Secret, TokenInfo, TokenList, lifetime_s,
};

/// A scope of tokens; each includes those before it.
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
    /// Override the lock of the environment; only its owner and an admin may.
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
    /// The version; by default the one that was live before the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Override the lock of the environment; only its owner and an admin may.
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
    /// Override the lock of the environment; only its owner and an admin may.
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
    /// The live version.
    pub version: VersionId,
    /// The version that was live before.
    pub previous: Option<VersionId>,
    /// Whether the live pointer was moved.
    pub switched: bool,
    /// Where to look.
    pub urls: Urls,
    /// The deploy's id.
    pub deploy: Option<String>,
    /// Duration in milliseconds.
    pub ms: u64,
    /// The steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Of a rollback: how the settings differ from those that the version was live with, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsDifference>,
    /// How the environment is paused, where it is: visitors do not get the version yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
}

/// The kind of an entry of the history.
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
    /// The environment was restored, with the version that was live.
    Undelete,
    /// Settings were changed; what is live stayed.
    Settings,
}

/// The outcome of a deploy.
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
    /// Its kind.
    pub kind: DeployKind,
    /// The environment.
    pub environment: PlaceName,
    /// The version.
    pub version: VersionId,
    /// The version that was live before.
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
    /// Its outcome.
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
    /// Why the edge went back by itself, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_back: Option<String>,
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
    /// The `before` of the next page, if there is one.
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
    /// The live version, if any.
    pub version: Option<VersionId>,
    /// The time since which it is, in milliseconds since 1970 UTC.
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
    /// Its pause, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Its lock, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
    /// The damage of the live version, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<Damage>,
    /// Secrets of the environment whose key is not at hand: no instance can start with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_secrets: Vec<SettingName>,
    /// Whether there are more environments or aliases than `places` holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_places: bool,
    /// Why the edge went back to this version by itself, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_back: Option<String>,
    /// The parts of the live version, if one is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
}

/// Damage of a live version on the disk of the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The version that should be live, if the record that names it can be read.
    pub version: Option<VersionId>,
    /// Number of its files that are damaged or missing: their paths answer 503 until they are stored again.
    pub count: u64,
    /// Paths of these files, a hundred at most; with `error`, the rule file that the version is not served without.
    pub files: Vec<String>,
    /// Why the version could not be loaded at all, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `POST /v1/tokens`: makes a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name in the history.
    pub name: String,
    /// For this app alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// For this environment alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// Lifetime in seconds; unlimited by default.
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
