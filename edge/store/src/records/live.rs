//! Records of the live version of an environment, and of its pause.

use devanture_config::api::{CookieName, Percent};
use devanture_config::site_toml::RoutePath;
use devanture_config::{AppName, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::halves_begun::HalvesBegun;
use super::pinned::PinsRecord;
use super::words::StoredScope;
use crate::catalog::LIVE_PREFIX;

/// `live/{app}/{env}`: the live version of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePointer {
    /// The version.
    pub version: VersionId,
    /// The revision of the environment's settings with which the version is served.
    pub settings: u64,
    /// Time of the switch, in milliseconds since 1970 UTC; never less than the time of the replaced pointer.
    pub switched_ms: u64,
    /// The deploy that made the version live.
    pub deploy: String,
    /// The number of this version's push: an older push does not replace it.
    pub begun: u64,
    /// The history entry from which a rollback starts.
    pub position: String,
    /// The starts of the pushes of the halves, if they came from different pushes; otherwise `begun` applies to both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves_begun: Option<HalvesBegun>,
    /// The version that a share of the visitors gets instead. Releases without this member serve all visitors the live
    /// version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryRecord>,
    /// The pins that hold visitors on the version of their first page; `None` if the live version pins no visitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<PinsRecord>,
}

impl LivePointer {
    /// Returns the latest `Last-Modified` that visitors have, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn last_modified_ms(&self) -> u64 {
        self.canary.as_ref().map_or(self.switched_ms, |canary| canary.last_modified_ms().max(self.switched_ms))
    }

    /// Returns the versions that visitors get.
    pub fn versions(&self) -> impl Iterator<Item = VersionId> {
        std::iter::once(self.version).chain(self.canary.iter().map(|canary| canary.version))
    }

    /// Returns the starts of the pushes of the halves.
    #[must_use]
    pub fn halves(&self) -> HalvesBegun {
        self.halves_begun.unwrap_or_else(|| HalvesBegun::both(self.begun))
    }

    /// Returns the pointer of an environment without any record of its live version.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            // No stored version has this id: even an empty manifest has bytes.
            version: VersionId::of(b""),
            settings: 0,
            switched_ms: 0,
            deploy: String::new(),
            begun: 0,
            position: String::new(),
            halves_begun: None,
            canary: None,
            pins: None,
        }
    }

    /// Returns true if the pointer names a live version; false if the record and all of the history are damaged.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !self.deploy.is_empty()
    }
}

/// The canary part of a live pointer: the start, each step and the end of a canary are commits of the pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryRecord {
    /// The version.
    pub version: VersionId,
    /// The share of the visitors.
    pub share: Percent,
    /// The deploy that began the canary, by which visitors are drawn.
    pub deploy: String,
    /// Time of the start, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Time of the last change of the share, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stepped_ms: Option<u64>,
    /// The name of the starting actor.
    pub who: String,
    /// The rights of the actor at that time; `None` for canaries of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_with: Option<BegunWith>,
    /// The cookie that distinguishes visitors, if it is the site's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
    /// The automatic steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<StoredPlan>,
    /// Time of the next step, in milliseconds since 1970 UTC; `None` without a next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
}

/// The automatic steps of a canary, checked by the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredPlan {
    /// The shares in per cent, rising; 100 finishes.
    pub shares: Vec<u8>,
    /// Seconds of one step.
    pub every_s: u64,
}

impl StoredPlan {
    /// Returns the percentage after `share`; `None` after the last step.
    #[must_use]
    pub fn after(&self, share: Percent) -> Option<u8> {
        self.shares.iter().copied().find(|next| *next > share.percent())
    }
}

/// The rights of the actor at the start of the canary: the automatic steps have these rights only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunWith {
    /// The only app of the actor, if limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The only environment of the actor, if limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// The scope.
    pub scope: StoredScope,
    /// Set for a session that was not confirmed.
    pub unconfirmed: bool,
}

impl CanaryRecord {
    /// Returns the `Last-Modified` of the canary's version, in milliseconds since 1970 UTC: visitors from the live
    /// version have an earlier value.
    #[must_use]
    pub fn last_modified_ms(&self) -> u64 {
        self.stepped_ms.unwrap_or(self.since_ms)
    }

    /// Returns true if the next step is due. A step that is further off than the duration of a step was set by a clock
    /// that was ahead.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let every_ms = self.plan.as_ref().map_or(0, |plan| plan.every_s.saturating_mul(1_000));
        self.next_ms.is_some_and(|next_ms| next_ms <= now_ms || next_ms - now_ms > every_ms)
    }
}

/// The key of a live pointer.
#[must_use]
pub fn live_key(app: &AppName, environment: &PlaceName) -> String {
    format!("{LIVE_PREFIX}{app}/{environment}")
}

/// The prefix of an app's live pointers.
#[must_use]
pub fn live_prefix(app: &AppName) -> String {
    format!("{LIVE_PREFIX}{app}/")
}

/// `paused/{app}/{env}`: a pause of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRecord {
    /// Time of the start, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// The name of the last token that set the pause.
    pub who: String,
    /// The message for visitors, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Paths that are still served.
    #[serde(default)]
    pub allow: Vec<RoutePath>,
    /// Seconds after which visitors should retry (`Retry-After`).
    pub retry_after_s: u64,
}

/// The key of an environment's pause.
#[must_use]
pub fn paused_key(app: &AppName, environment: &PlaceName) -> String {
    format!("paused/{app}/{environment}")
}
