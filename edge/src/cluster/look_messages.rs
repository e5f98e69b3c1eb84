//! Questions to another node about what it alone knows of an environment, and its answers.

use devanture_config::api::DeployEntry;
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use crate::telemetry::{TrafficRow, TrafficSpan};

/// The path of these questions.
pub(super) const LOOKS: &str = "/v1/looks";
/// A question about an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookRequest {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The question.
    pub look: Look,
}

/// The subject of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// The deploys that no history has: they are under way, or failed before there was a version.
    Deploys,
    /// What it answered within a time.
    Traffic(TrafficSpan),
}

/// What a node knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Looked {
    /// Deploys, in any order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deploys: Vec<DeployEntry>,
    /// What it answered, by step and version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficRow>,
}
