//! The records of instances: how many there are to be, and which user id an app's have, with their keys.

use std::collections::BTreeMap;

use devanture_config::AppName;
use devanture_config::site_toml::ProcessName;
use serde::{Deserialize, Serialize};

/// The prefix of how many instances the API wishes.
pub const SCALE_PREFIX: &str = "scale/";
/// The prefix of the user ids of apps.
pub const UIDS_PREFIX: &str = "uids/";

/// The next number of a user id: a [`UidRecord`].
pub const UID_NEXT_KEY: &str = "uids-next";

/// `scale/{app}/{env}`: how many instances the API wishes; what the version says holds for every other process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleRecord {
    /// By process.
    pub processes: BTreeMap<ProcessName, u64>,
}

/// `uids/{app}`: the two user ids that the instances of an app have, as the number of their pair in the range of
/// `edge.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UidRecord {
    /// From 0 on.
    pub number: u32,
}

/// The key of how many instances the API wishes.
#[must_use]
pub fn scale_key(app: &AppName, place: &str) -> String {
    format!("{SCALE_PREFIX}{app}/{place}")
}

/// The key of an app's user id.
#[must_use]
pub fn uid_key(app: &AppName) -> String {
    format!("{UIDS_PREFIX}{app}")
}
