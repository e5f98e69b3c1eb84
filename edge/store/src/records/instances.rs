//! Records of instances: their wanted numbers, and their user ids, with the keys.

use std::collections::BTreeMap;

use devanture_config::AppName;
use devanture_config::site_toml::{Instances, ProcessName};
use serde::{Deserialize, Serialize};

/// The prefix of instance counts set by the API.
pub const SCALE_PREFIX: &str = "scale/";
/// The prefix of the user ids of environments.
pub const UIDS_PREFIX: &str = "uids/";
/// The prefix of numbers that can be assigned again.
pub const FREE_UIDS_PREFIX: &str = "uids-free/";
/// The next number of a user id: a [`NextUidRecord`].
pub const UID_NEXT_KEY: &str = "uids-next";

/// `scale/{app}/{env}`: instance counts set by the API; all other processes have the count of the version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleRecord {
    /// By process.
    pub processes: BTreeMap<ProcessName, Instances>,
}

/// `uids/{app}/{env}`: the user id of the instances of an environment, or of the app's previews (`preview`), as a
/// number in the range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UidRecord {
    /// From 0 on.
    pub number: u32,
    /// The app's pair from the time before each environment had an id: files may still belong to the pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<u32>,
}

/// `uids/{app}`, from earlier releases: the pair of numbers 2 n and 2 n + 1, one for all environments of the app and
/// one for its previews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UidPairRecord {
    /// From 0 on.
    pub number: u32,
}

/// `uids-next`: the lowest number never assigned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextUidRecord {
    /// The next number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
    /// The next pair of numbers, from earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
}

impl NextUidRecord {
    /// The next number, also after pairs were given.
    #[must_use]
    pub fn next(self) -> u32 {
        self.next.unwrap_or_else(|| self.number.unwrap_or(0).saturating_mul(2))
    }
}

/// `uids-free/{number}`: a number of an ended environment, without any file or process left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeUidRecord {
    /// Time of the release, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// Returns the key of the instance counts set by the API.
#[must_use]
pub fn scale_key(app: &AppName, place: &str) -> String {
    format!("{SCALE_PREFIX}{app}/{place}")
}

/// The prefix of the user ids of an app.
#[must_use]
pub fn uids_prefix(app: &AppName) -> String {
    format!("{UIDS_PREFIX}{app}/")
}

/// The key of the user id of an environment, or of the previews of an app.
#[must_use]
pub fn uid_key(app: &AppName, place: &str) -> String {
    format!("{UIDS_PREFIX}{app}/{place}")
}

/// Returns the key of an app's pair of user ids.
#[must_use]
pub fn uid_pair_key(app: &AppName) -> String {
    format!("{UIDS_PREFIX}{app}")
}

/// Returns the key for a number that can be assigned again.
#[must_use]
pub fn free_uid_key(number: u32) -> String {
    format!("{FREE_UIDS_PREFIX}{number:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_comes_after_the_pairs_of_earlier_versions() {
        let next = |text: &str| serde_json::from_str::<NextUidRecord>(text).unwrap().next();
        assert_eq!((next("{}"), next(r#"{"number":3}"#), next(r#"{"next":7}"#)), (0, 6, 7));
    }
}
