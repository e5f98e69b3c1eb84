//! How much an app uses of the limits that the edge sets for one app.

use serde::{Deserialize, Serialize};

use crate::names::AppName;

/// `GET /v1/apps/{app}/usage`: the limits of one app, and what it uses of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppUsage {
    /// The app.
    pub app: AppName,
    /// The limits, always in the same order.
    pub limits: Vec<LimitUsage>,
}

/// One limit of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUsage {
    /// Its key in `[limits]` of `edge.toml`.
    pub name: String,
    /// What the app uses, in the unit of the limit; absent where it is only measured because of a limit, and there is
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// What it may use; absent where there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// Whether the limit was set for this app alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}
