//! Canary: a share of an environment's visitors gets a new version before all visitors do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::steps::Urls;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// Maximum number of steps of a plan.
pub const CANARY_STEPS_MAX: usize = 20;
/// Maximum time of one step of a plan: a week.
pub const CANARY_STEP_S_MAX: u64 = 7 * 24 * 60 * 60;
/// Maximum number of characters of a cookie name.
const COOKIE_CHARACTERS_MAX: usize = 64;

/// Share of visitors: a whole number of per cent from 1 to 99.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

/// Error for a number outside [`Percent`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a canary gets from 1 to 99 per cent of the visitors, as a whole number")]
pub struct BadPercent;

impl Percent {
    /// Returns the number.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Percent {
    type Error = BadPercent;

    fn try_from(percent: u8) -> Result<Self, BadPercent> {
        if (1..=99).contains(&percent) { Ok(Self(percent)) } else { Err(BadPercent) }
    }
}

impl From<Percent> for u8 {
    fn from(share: Percent) -> Self {
        share.0
    }
}

impl FromStr for Percent {
    type Err = BadPercent;

    fn from_str(text: &str) -> Result<Self, BadPercent> {
        let percent: u8 = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_not_a_number| BadPercent)?;
        percent.try_into()
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// Name of the cookie that distinguishes visitors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CookieName(String);

/// Error for an invalid [`CookieName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name of a cookie has 1 to 64 letters, digits, `-`, `_` or `.`")]
pub struct BadCookieName;

impl CookieName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CookieName {
    type Error = BadCookieName;

    fn try_from(name: String) -> Result<Self, BadCookieName> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = (1..=COOKIE_CHARACTERS_MAX).contains(&name.len()) && name.bytes().all(is_known);
        if is_name { Ok(Self(name)) } else { Err(BadCookieName) }
    }
}

impl From<CookieName> for String {
    fn from(name: CookieName) -> Self {
        name.0
    }
}

impl FromStr for CookieName {
    type Err = BadCookieName;

    fn from_str(text: &str) -> Result<Self, BadCookieName> {
        text.to_owned().try_into()
    }
}

/// Automatic steps of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedPlan")]
pub struct CanaryPlan {
    shares: Vec<u8>,
    every_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedPlan {
    shares: Vec<u8>,
    every_s: u64,
}

/// Error for an invalid [`CanaryPlan`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// Invalid time of a step.
    #[error("a step of a canary takes from 1 second to 7 days")]
    Every,
    /// Invalid shares.
    #[error("the steps of a canary are 1 to 20 rising per cents, the first from 1 to 99, the last at most 100")]
    Shares,
}

impl CanaryPlan {
    /// Makes a plan of rising shares, each for `every_s` seconds; a share of 100 finishes the canary.
    ///
    /// # Errors
    /// [`BadPlan`].
    pub fn new(shares: Vec<u8>, every_s: u64) -> Result<Self, BadPlan> {
        let is_rising = shares.is_sorted_by(|before, after| before < after);
        let is_within = shares.first().is_some_and(|first| (1..=99).contains(first))
            && shares.last().is_some_and(|last| *last <= 100)
            && shares.len() <= CANARY_STEPS_MAX;
        if !is_rising || !is_within {
            return Err(BadPlan::Shares);
        }
        if !(1..=CANARY_STEP_S_MAX).contains(&every_s) {
            return Err(BadPlan::Every);
        }
        Ok(Self { shares, every_s })
    }

    /// Returns the first share.
    #[must_use]
    pub fn first(&self) -> Option<Percent> {
        self.shares.first().and_then(|first| (*first).try_into().ok())
    }

    /// Returns the per cents after `share`; `None` after the last step.
    #[must_use]
    pub fn after(&self, share: Percent) -> Option<u8> {
        self.shares.iter().copied().find(|next| *next > share.percent())
    }

    /// Splits the plan into the shares and the seconds of one step.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, u64) {
        let Self { shares, every_s } = self;
        (shares, every_s)
    }

    /// Returns the seconds of one step.
    #[must_use]
    pub const fn every_s(&self) -> u64 {
        self.every_s
    }
}

impl TryFrom<UncheckedPlan> for CanaryPlan {
    type Error = BadPlan;

    fn try_from(plan: UncheckedPlan) -> Result<Self, BadPlan> {
        Self::new(plan.shares, plan.every_s)
    }
}

/// `PUT /v1/apps/{app}/environments/{env}/canary`: begins a canary, or changes the share of the running canary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CanaryRequest {
    /// Stored version for the share of visitors, by id or unambiguous prefix; if absent, the running canary gets a new
    /// share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Share of the visitors in per cent; by default the first share of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Percent>,
    /// Cookie that distinguishes visitors; by default a cookie set by the edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
    /// Automatic steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<CanaryPlan>,
    /// Live version required for the request to succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Accept changed content under a fingerprinted name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_refingerprint: bool,
    /// Override the lock of the environment; reserved for the lock's owner and admins.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Begin without the checks of `[[smoke]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Reason, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `DELETE /v1/apps/{app}/environments/{env}/canary` and `POST …/canary/finish`: ends a canary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CanaryEnd {
    /// Override the lock of the environment; reserved for the lock's owner and admins. An abort ignores locks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Reason, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `GET /v1/apps/{app}/environments/{env}/canary`, and the response to every change of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStatus {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Live version.
    pub live: VersionId,
    /// Running canary.
    pub canary: Option<Canary>,
}

/// Running canary of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Version for the share of visitors.
    pub version: VersionId,
    /// Share of the visitors in per cent.
    pub share: Percent,
    /// Start time, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Author.
    pub who: String,
    /// Cookie that distinguishes visitors, if set by the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
    /// Next automatic step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<CanaryStep>,
    /// URLs that show the version alone.
    pub urls: Urls,
    /// Responses of each side, counted by the answering node.
    pub counts: CanaryCounts,
}

/// Canary in the status of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryShare {
    /// Version.
    pub version: VersionId,
    /// Share of the visitors in per cent.
    pub share: Percent,
}

/// Automatic step of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// Share in per cent; 100 finishes the canary.
    pub percent: u8,
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// Responses of both sides of a canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryCounts {
    /// Live version.
    pub live: SideCounts,
    /// Canary.
    pub canary: SideCounts,
}

/// Responses of one side of a canary, since the start of the canary or of this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideCounts {
    /// All responses.
    pub requests: u64,
    /// Responses with status 404.
    pub not_found: u64,
    /// Responses with a status of 500 or above.
    pub server_errors: u64,
    /// Mean time to the last byte, in microseconds.
    pub mean_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_whole_number_from_1_to_99() {
        for (text, expected) in [("1", Some(1)), ("25%", Some(25)), ("99", Some(99)), ("0", None), ("100", None)] {
            assert_eq!(text.parse::<Percent>().ok().map(Percent::percent), expected, "{text}");
        }
        for text in ["0.5", "-1", "256", "", "ten"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Percent>("100").is_err());
        assert_eq!(serde_json::to_string(&Percent(7)).unwrap(), "7");
    }

    #[test]
    fn the_steps_of_a_plan_rise() {
        let plan = CanaryPlan::new(vec![5, 25, 100], 300).unwrap();
        let share = |percent: u8| Percent::try_from(percent).unwrap();
        assert_eq!(plan.first(), Some(share(5)));
        assert_eq!(plan.after(share(5)), Some(25));
        // A person may have taken a step in between.
        assert_eq!(plan.after(share(30)), Some(100));
        assert_eq!(CanaryPlan::new(vec![5, 25], 1).unwrap().after(share(25)), None);
        for shares in [vec![], vec![0, 5], vec![100], vec![5, 5], vec![25, 5], vec![5, 101], (1..=21).collect()] {
            assert_eq!(CanaryPlan::new(shares.clone(), 300), Err(BadPlan::Shares), "{shares:?}");
        }
        for every_s in [0, CANARY_STEP_S_MAX + 1] {
            assert_eq!(CanaryPlan::new(vec![5], every_s), Err(BadPlan::Every));
        }
        assert!(serde_json::from_str::<CanaryPlan>(r#"{"shares":[9,5],"every_s":1}"#).is_err());
    }

    #[test]
    fn the_name_of_a_cookie_is_short_and_plain() {
        assert_eq!("session_id".parse::<CookieName>().unwrap().as_str(), "session_id");
        for name in ["", "a b", "a=b", "a;b", &"x".repeat(65)] {
            assert!(name.parse::<CookieName>().is_err(), "{name}");
        }
    }
}
