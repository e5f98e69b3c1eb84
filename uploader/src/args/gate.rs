//! Flags of every command that makes a version live: checks before the switch, and the watch after it.

use std::str::FromStr;

use clap::Args;
use devanture_config::api::Rollout;
use devanture_config::site_toml::SiteFile;

/// Flags of every command that makes a version live.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct GateArgs {
    /// Skip the checks of [[smoke]]; the history records it
    #[arg(long)]
    pub(crate) no_smoke: bool,
    /// Watch the switch for this time, such as 60s or 5m, and undo it when 5xx or 404 rise
    #[arg(long, value_name = "TIME")]
    pub(crate) watch: Option<Seconds>,
    /// On a cluster, all-at-once or one-first: one node, watched for the time of --watch or 30s, before the others
    #[arg(long, value_name = "HOW")]
    pub(crate) rollout: Option<Rollout>,
    /// Why, for the history; at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

impl GateArgs {
    /// Returns the seconds for which the switch is watched.
    pub(crate) fn watch_s(&self) -> Option<u64> {
        self.watch.map(|seconds| seconds.0)
    }

    /// Returns the order in which the nodes of a cluster switch; the command line overrides `devanture.toml`.
    pub(crate) fn rollout(&self, site: &SiteFile) -> Rollout {
        self.rollout.or(site.rollout).unwrap_or_default()
    }
}

/// A time in whole seconds: `60s`, `5m`, `1h`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u64);

/// The reason why a text is not such a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: write 60s, 5m or 1h")]
pub(crate) struct BadSeconds(String);

impl FromStr for Seconds {
    type Err = BadSeconds;

    fn from_str(text: &str) -> Result<Self, BadSeconds> {
        let units = [("s", 1), ("m", 60), ("h", 3_600)];
        let (number, unit) =
            units.into_iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit))).unwrap_or((text, 1));
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let seconds = number.parse::<u64>().ok().filter(|_| is_number).and_then(|number| number.checked_mul(unit));
        seconds.filter(|seconds| *seconds > 0).map(Self).ok_or_else(|| BadSeconds(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_perhaps_a_unit() {
        for (text, seconds) in [("60s", 60), ("5m", 300), ("1h", 3_600), ("90", 90)] {
            assert_eq!(text.parse(), Ok(Seconds(seconds)));
        }
        for bad in ["", "s", "0", "0s", "-1s", "1d", "1.5m", " 1s", "99999999999999999999", "18446744073709551615h"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
    }
}
