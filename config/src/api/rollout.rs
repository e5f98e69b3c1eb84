//! Order in which the nodes of a cluster switch to a version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Order in which the nodes of a cluster switch to a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rollout {
    /// All nodes at once.
    #[default]
    AllAtOnce,
    /// First the node of the push, watched for a while, then the other nodes.
    OneFirst,
}

/// Words of [`Rollout`].
pub(crate) const ROLLOUTS: &[(&str, Rollout)] =
    &[("all-at-once", Rollout::AllAtOnce), ("one-first", Rollout::OneFirst)];

/// Error for an invalid [`Rollout`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to go live: write all-at-once or one-first")]
pub struct UnknownRollout(String);

impl Rollout {
    /// Returns true for the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROLLOUTS.iter().find(|(_, rollout)| rollout == self).map_or("", |(word, _)| word))
    }
}

impl FromStr for Rollout {
    type Err = UnknownRollout;

    fn from_str(text: &str) -> Result<Self, UnknownRollout> {
        let known = ROLLOUTS.iter().find(|(word, _)| *word == text).map(|(_, rollout)| *rollout);
        known.ok_or_else(|| UnknownRollout(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_read_as_it_is_written() {
        for (word, rollout) in ROLLOUTS {
            assert_eq!((word.parse(), rollout.to_string().as_str()), (Ok(*rollout), *word));
            assert_eq!(serde_json::to_value(rollout).unwrap(), *word);
        }
        assert!("One-first".parse::<Rollout>().is_err());
    }
}
