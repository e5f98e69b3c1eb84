//! Questions to another node about what it alone knows of an environment, and its answers.

use devanture_config::api::{DeployEntry, IntegrityReport};
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use devanture_base::telemetry::{TrafficRow, TrafficSpan};

/// The path of these questions.
pub(super) const ENVIRONMENT_QUERIES: &str = "/v1/environment-queries";
/// A question about an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentQuery {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Its subject.
    pub subject: QuerySubject,
}

/// The subject of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySubject {
    /// The deploys that are under way or failed, which a history may not have.
    Deploys,
    /// What browsers reported about what pages load without a hash.
    Integrity,
    /// What it answered within a time.
    Traffic(TrafficSpan),
}

/// What a node knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvironmentReport {
    /// Deploys, in any order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deploys: Vec<DeployEntry>,
    /// What browsers reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub integrity: Vec<IntegrityReport>,
    /// What it answered, by step and version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficRow>,
}
