//! What the versions of an environment answered lately, for charts.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// `GET /v1/apps/{app}/environments/{env}/traffic`: what was answered within a time, in steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The beginning of the first step, in milliseconds since 1970 UTC.
    pub from_ms: u64,
    /// The end of the time, which is not in it.
    pub to_ms: u64,
    /// The step in seconds: the one that was wanted, or the shortest one that is kept for this time.
    pub step_s: u64,
    /// Steps with requests, the oldest first.
    pub points: Vec<TrafficPoint>,
    /// Versions that went live within the time, the oldest first.
    pub switches: Vec<TrafficSwitch>,
    /// Nodes of the cluster that did not answer: their requests are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What was answered within a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficPoint {
    /// Its beginning, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// By the version that answered.
    pub versions: Vec<VersionTraffic>,
}

/// What one version answered within a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionTraffic {
    /// Its id; the first 12 characters of one that is not stored any more.
    pub version: String,
    /// Requests.
    pub requests: u64,
    /// Of these, those that were answered with a status from 500 on.
    pub errors: u64,
    /// Of these, those that were answered with a status of 4xx.
    pub client_errors: u64,
    /// Bytes of the bodies that were sent.
    pub bytes: u64,
    /// Bytes that deltas saved.
    pub bytes_saved: u64,
    /// How long the answers took.
    pub latency_ms: Latency,
}

/// How long answers took, in milliseconds, as exactly as the buckets of the metrics are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
}

/// A version that went live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficSwitch {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The version.
    pub version: VersionId,
    /// The deploy.
    pub deploy: String,
}
