//! Arguments of `canary`, and the flags of `push` and `switch` that begin a canary.

use std::str::FromStr;

use clap::Args;
use devanture_config::api::{BadPlan, CanaryPlan, CookieName, Percent};

use super::gate::{BadSeconds, Seconds};

pub(super) const EXAMPLES: &str = "\
Examples:
  devanture push --canary 10              a tenth of the visitors gets it
  devanture switch 4f2a91 --canary 10     … or a version that the edge has already
  devanture canary                        both versions, and how they answer
  devanture canary 25                     a quarter of the visitors
  devanture canary finish                 all of them: it is live
  devanture canary abort                  none of them: what was live stays
  devanture push --auto 5,25,50,100 --every 10m
                                          it takes these steps, or aborts when errors rise
  devanture canary --json | jq .canary.counts";

/// Seconds of a step, by default.
const EVERY_S: u64 = 300;

/// The time of a step, with its unit: a number alone may be meant in minutes, and would be over in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepTime(Seconds);

/// The reason why a text is not a [`StepTime`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadStepTime {
    #[error(transparent)]
    NoTime(#[from] BadSeconds),
    #[error("`{0}` has no unit: write {0}s, {0}m or {0}h")]
    NoUnit(String),
}

impl FromStr for StepTime {
    type Err = BadStepTime;

    fn from_str(text: &str) -> Result<Self, BadStepTime> {
        let seconds = text.parse()?;
        match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Err(BadStepTime::NoUnit(text.to_owned())),
            false => Ok(Self(seconds)),
        }
    }
}

/// The action of `canary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CanaryAction {
    Abort,
    Finish,
    Percent(Percent),
    Status,
}

/// The reason why a text is not a [`CanaryAction`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write a share of the visitors from 1 to 99, finish, abort or status")]
pub(crate) struct BadAction;

impl FromStr for CanaryAction {
    type Err = BadAction;

    fn from_str(text: &str) -> Result<Self, BadAction> {
        match text {
            "abort" => Ok(Self::Abort),
            "finish" => Ok(Self::Finish),
            "status" => Ok(Self::Status),
            share => share.parse().map(Self::Percent).map_err(|_not_a_share| BadAction),
        }
    }
}

/// Arguments of `canary`.
#[derive(Debug, Args)]
pub(crate) struct CanaryArgs {
    /// Percent of the visitors from 1 to 99, finish, abort or status
    #[arg(value_name = "SHARE|finish|abort|status", default_value = "status")]
    pub(crate) action: CanaryAction,
    /// The automatic steps.
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Override the lock of the environment, as its owner or an admin
    #[arg(long)]
    pub(crate) force: bool,
    /// Why, for the history; at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Steps that a canary takes by itself.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlanArgs {
    /// Shares that the canary gets one after the other; it aborts when 5xx or 404 rise
    #[arg(long, value_name = "SHARES", value_delimiter = ',')]
    pub(crate) auto: Vec<u8>,
    /// Time of each step of --auto, such as 10m; by default 5m
    #[arg(long, value_name = "TIME", requires = "auto")]
    pub(crate) every: Option<StepTime>,
}

impl PlanArgs {
    /// Returns the plan, if any.
    pub(crate) fn plan(&self) -> Result<Option<CanaryPlan>, BadPlan> {
        if self.auto.is_empty() {
            return Ok(None);
        }
        CanaryPlan::new(self.auto.clone(), self.every.map_or(EVERY_S, |every| every.0.0)).map(Some)
    }
}

/// Flags of `push` and `switch` that begin a canary.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NewCanaryArgs {
    /// Give it to this share of the visitors, in per cent, beside what is live
    #[arg(long, value_name = "SHARE", conflicts_with = "watch")]
    pub(crate) canary: Option<Percent>,
    /// The automatic steps.
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Tell the visitors of the canary apart by this cookie of the site
    #[arg(long, value_name = "NAME")]
    pub(crate) canary_cookie: Option<CookieName>,
}

impl NewCanaryArgs {
    /// Returns true if a canary begins.
    pub(crate) fn is_wanted(&self) -> bool {
        self.canary.is_some() || !self.plan.auto.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_step_has_a_unit() {
        assert_eq!("10m".parse(), Ok(StepTime(Seconds(600))));
        assert_eq!("10".parse::<StepTime>().unwrap_err().to_string(), "`10` has no unit: write 10s, 10m or 10h");
        assert!("0s".parse::<StepTime>().is_err() && "x".parse::<StepTime>().is_err());
    }

    #[test]
    fn an_action_is_a_share_or_a_word() {
        let share = |percent: u8| CanaryAction::Percent(percent.try_into().unwrap());
        for (text, expected) in [
            ("25", Some(share(25))),
            ("50%", Some(share(50))),
            ("finish", Some(CanaryAction::Finish)),
            ("abort", Some(CanaryAction::Abort)),
            ("status", Some(CanaryAction::Status)),
            ("100", None),
            ("0", None),
            ("stop", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
