//! Records of what is live in an environment, and whether it is paused.

use devanture_config::api::{CookieName, Percent};
use devanture_config::site_toml::RoutePath;
use devanture_config::{AppName, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::halves_begun::HalvesBegun;
use super::pinned::PinsRecord;
use super::words::StoredScope;
use crate::catalog::LIVE_PREFIX;

/// `live/{app}/{env}`: what is live in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePointer {
    /// The version.
    pub version: VersionId,
    /// The revision of the environment's settings that it is served with.
    pub settings: u64,
    /// When it went live, in milliseconds since 1970 UTC; never less than that of the pointer it replaced.
    pub switched_ms: u64,
    /// The deploy that made it live.
    pub deploy: String,
    /// When the push of this version began, as pushes are numbered: an older push does not take
    /// over from it.
    pub begun: u64,
    /// The entry of the history that going back starts from.
    pub position: String,
    /// When the pushes of its halves began, if they came from different pushes; else `begun` is that of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves_begun: Option<HalvesBegun>,
    /// The version that a share of the visitors gets instead. Releases that do not know it serve all of them the live
    /// version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryRecord>,
    /// What holds visitors on the version of their first page; `None` where the live version holds nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<PinsRecord>,
}

impl LivePointer {
    /// The latest `Last-Modified` that visitors have, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn last_modified_ms(&self) -> u64 {
        self.canary.as_ref().map_or(self.switched_ms, |canary| canary.last_modified_ms().max(self.switched_ms))
    }

    /// The versions that visitors get.
    pub fn versions(&self) -> impl Iterator<Item = VersionId> {
        std::iter::once(self.version).chain(self.canary.iter().map(|canary| canary.version))
    }

    /// When the pushes of its halves began.
    #[must_use]
    pub fn halves(&self) -> HalvesBegun {
        self.halves_begun.unwrap_or_else(|| HalvesBegun::both(self.begun))
    }

    /// The pointer of an environment where nothing says what is live.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            // No stored version has it: not even an empty manifest has no bytes.
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

    /// Whether it says what is live. It does not if the record and all of the history are damaged.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !self.deploy.is_empty()
    }
}

/// The part of a live pointer that a canary is: what begins, steps and ends it is a commit of the pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryRecord {
    /// The version.
    pub version: VersionId,
    /// The share of the visitors.
    pub share: Percent,
    /// The deploy that began it, by which visitors are drawn.
    pub deploy: String,
    /// When it began, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// When it last got another share, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stepped_ms: Option<u64>,
    /// Who began it.
    pub who: String,
    /// What they might do then; `None` in what an earlier release began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_with: Option<BegunWith>,
    /// The cookie that tells visitors apart, where it is the site's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
    /// The steps that it takes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<StoredPlan>,
    /// When it takes the next one, in milliseconds since 1970 UTC; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
}

/// The steps that a canary takes by itself. The API has checked them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredPlan {
    /// The shares in per cent, rising; 100 finishes.
    pub shares: Vec<u8>,
    /// Seconds of one step.
    pub every_s: u64,
}

impl StoredPlan {
    /// The per cents after `share`; `None` where it has no more steps.
    #[must_use]
    pub fn after(&self, share: Percent) -> Option<u8> {
        self.shares.iter().copied().find(|next| *next > share.percent())
    }
}

/// The rights of an actor when their canary began: its steps, which the edge takes by itself, have no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunWith {
    /// The one app that they act in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The one environment that they act in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Their scope.
    pub scope: StoredScope,
    /// Whether it was a session that was not confirmed.
    pub unconfirmed: bool,
}

impl CanaryRecord {
    /// The `Last-Modified` of its version, in milliseconds since 1970 UTC: visitors who come from the live version have
    /// an earlier one.
    #[must_use]
    pub fn last_modified_ms(&self) -> u64 {
        self.stepped_ms.unwrap_or(self.since_ms)
    }

    /// Whether its next step is due. One that is further off than a step lasts was set by a clock that was ahead.
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
    /// The time since which it is, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// The name of the token that said it last.
    pub who: String,
    /// The message for visitors, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Paths that go on answering.
    #[serde(default)]
    pub allow: Vec<RoutePath>,
    /// Seconds after which visitors should come again (`Retry-After`).
    pub retry_after_s: u64,
}

/// The key of an environment's pause.
#[must_use]
pub fn paused_key(app: &AppName, environment: &PlaceName) -> String {
    format!("paused/{app}/{environment}")
}
