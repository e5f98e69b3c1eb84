//! Recent traffic of an environment's versions, for charts.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// `GET /v1/apps/{app}/environments/{env}/traffic`: the traffic within a time range, in steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Start of the first step, in milliseconds since 1970 UTC.
    pub from_ms: u64,
    /// Exclusive end of the range.
    pub to_ms: u64,
    /// Step in seconds: the requested step, or the shortest step stored for the range.
    pub step_s: u64,
    /// Steps with requests, the oldest first.
    pub points: Vec<TrafficPoint>,
    /// Switches within the range, the oldest first.
    pub switches: Vec<TrafficSwitch>,
    /// Silent nodes of the cluster, with missing requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Traffic within a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficPoint {
    /// Start, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Traffic by answering version.
    pub versions: Vec<VersionTraffic>,
}

/// Traffic of one version within a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionTraffic {
    /// Id; the first 12 characters for a version no longer stored.
    pub version: String,
    /// Requests.
    pub requests: u64,
    /// Requests with a status of 500 or above.
    pub errors: u64,
    /// Requests with a 4xx status.
    pub client_errors: u64,
    /// Sent bytes of the bodies.
    pub bytes: u64,
    /// Bytes saved by deltas.
    pub bytes_saved: u64,
    /// Latency of the responses.
    pub latency_ms: Latency,
}

/// Latency of responses in milliseconds, as exact as the buckets of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Switch to a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficSwitch {
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The version.
    pub version: VersionId,
    /// The deploy.
    pub deploy: String,
}
