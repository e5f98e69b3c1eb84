//! Use of an app's limits.

use serde::{Deserialize, Serialize};

use crate::names::AppName;

/// `GET /v1/apps/{app}/usage`: the limits of one app, and the use of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppUsage {
    /// The app.
    pub app: AppName,
    /// Limits, always in the same order.
    pub limits: Vec<LimitUsage>,
}

/// Limit of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUsage {
    /// Key in `[limits]` of `edge.toml`.
    pub name: String,
    /// Current use, in the unit of the limit; absent if measured only under a limit, and unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Maximum; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// True for a limit set for this app.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}
