//! A canary: a share of the visitors of an environment gets a new version before it is live for all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::steps::Urls;
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// Most steps of a plan.
pub const CANARY_STEPS_MAX: usize = 20;
/// Longest time of one step of a plan: a week.
pub const CANARY_STEP_S_MAX: u64 = 7 * 24 * 60 * 60;
/// Most characters of a cookie's name.
const COOKIE_CHARACTERS_MAX: usize = 64;

/// A share of visitors: a whole number of per cent from 1 to 99.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

/// Why a number is no [`Percent`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a canary gets from 1 to 99 per cent of the visitors, as a whole number")]
pub struct BadPercent;

impl Percent {
    /// The number.
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

/// The name of a cookie that tells visitors apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CookieName(String);

/// Why a text is no [`CookieName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name of a cookie has 1 to 64 letters, digits, `-`, `_` or `.`")]
pub struct BadCookieName;

impl CookieName {
    /// The name.
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

/// The steps that a canary takes by itself.
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

/// Why numbers are no [`CanaryPlan`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// The time of a step.
    #[error("a step of a canary takes from 1 second to 7 days")]
    Every,
    /// The shares.
    #[error("the steps of a canary are 1 to 20 rising per cents, the first from 1 to 99, the last at most 100")]
    Shares,
}

impl CanaryPlan {
    /// These rising shares, each for so many seconds; 100 finishes.
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

    /// The first share.
    #[must_use]
    pub fn first(&self) -> Option<Percent> {
        self.shares.first().and_then(|first| (*first).try_into().ok())
    }

    /// The per cents after `share`; `None` where it has no more steps.
    #[must_use]
    pub fn after(&self, share: Percent) -> Option<u8> {
        self.shares.iter().copied().find(|next| *next > share.percent())
    }

    /// Its shares and the seconds of one step: all that it is.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, u64) {
        let Self { shares, every_s } = self;
        (shares, every_s)
    }

    /// Seconds of one step.
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

/// `PUT /v1/apps/{app}/environments/{env}/canary`: begins a canary, or changes the share of the one that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CanaryRequest {
    /// The stored version that the share of visitors gets, by its id or an unambiguous prefix; without one, the canary
    /// that runs gets another share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The share of the visitors in per cent; by default the first of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Percent>,
    /// The cookie that tells visitors apart; by default the edge sets one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
    /// The steps that it takes by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<CanaryPlan>,
    /// Only if this version is live now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_live: Option<String>,
    /// Let a fingerprinted name have other content than it had.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_refingerprint: bool,
    /// Override the lock of the environment; only its owner and an admin may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Begin without the checks of `[[smoke]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_smoke: bool,
    /// Why, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `DELETE /v1/apps/{app}/environments/{env}/canary` and `POST …/canary/finish`: ends a canary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CanaryEnd {
    /// Override the lock of the environment; only its owner and an admin may. No lock keeps anybody from an abort.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Why, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `GET /v1/apps/{app}/environments/{env}/canary`, and the answer to every change of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStatus {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The live version.
    pub live: VersionId,
    /// The canary that runs.
    pub canary: Option<Canary>,
}

/// A canary that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The version that the share of visitors gets.
    pub version: VersionId,
    /// The share of the visitors in per cent.
    pub share: Percent,
    /// When it began, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Who began it.
    pub who: String,
    /// The cookie that tells visitors apart, where it is the site's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
    /// The next step that it takes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<CanaryStep>,
    /// Where to look at the version alone.
    pub urls: Urls,
    /// What the node that answers has counted of each side.
    pub counts: CanaryCounts,
}

/// A canary, as the status of its environment says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryShare {
    /// The version.
    pub version: VersionId,
    /// The share of the visitors in per cent.
    pub share: Percent,
}

/// A step that a canary takes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// The share in per cent; 100 finishes it.
    pub percent: u8,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// The answers of both sides of a canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryCounts {
    /// Of the live version.
    pub live: SideCounts,
    /// Of the canary.
    pub canary: SideCounts,
}

/// The answers of one side of a canary, since it began or this node started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideCounts {
    /// All of them.
    pub requests: u64,
    /// Of these, with 404.
    pub not_found: u64,
    /// Of these, with a status from 500 on.
    pub server_errors: u64,
    /// Mean time until the last byte, in microseconds.
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
