//! Queries to another node about its local state of an environment, and the answers.

use devanture_config::api::{DeployEntry, IntegrityReport};
use devanture_config::{AppName, PlaceName};
use serde::{Deserialize, Serialize};

use devanture_base::telemetry::{TrafficRow, TrafficSpan};

/// Path of the queries.
pub(super) const ENVIRONMENT_QUERIES: &str = "/v1/environment-queries";
/// Query about an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentQuery {
    /// App.
    pub app: AppName,
    /// Environment.
    pub environment: PlaceName,
    /// Subject.
    pub subject: QuerySubject,
}

/// Subject of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySubject {
    /// Running and failed deploys, possibly outside the history.
    Deploys,
    /// Browser reports about files loaded without a hash.
    Integrity,
    /// Traffic of a time span.
    Traffic(TrafficSpan),
}

/// State known to a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvironmentReport {
    /// Deploys, in any order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deploys: Vec<DeployEntry>,
    /// Browser reports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub integrity: Vec<IntegrityReport>,
    /// Traffic by step and version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficRow>,
}
