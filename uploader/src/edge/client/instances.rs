//! Asks the edge about the instances of a backend.

use std::time::Duration;

use devanture_config::PlaceName;
use devanture_config::api::{InstanceList, RestartRequest, ScaleRequest};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;

use super::{ANSWER_TIME_MAX, Edge, Refusal, encoded};
use crate::output::exit::Failure;

/// Longest time until instances are in the wanted state: each may take its `start_ms`, one after the other.
pub(super) const INSTANCES_TIME_MAX: Duration = Duration::from_secs(3_600);

impl Edge {
    /// The instances of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn instances(&self, env: &PlaceName) -> Result<InstanceList, Failure> {
        self.get(&["environments", env.as_str(), "instances"], &[]).await
    }

    /// Sets the number of instances of a process; with `dry_run` the edge only reports the effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn scale(
        &self,
        env: &PlaceName,
        wanted: &ScaleRequest,
        dry_run: bool,
    ) -> Result<InstanceList, Failure> {
        self.change(Method::PATCH, &["environments", env.as_str(), "instances"], wanted, dry_run).await
    }

    /// Restarts instances; with `dry_run` the edge only lists them.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn restart(
        &self,
        env: &PlaceName,
        wanted: &RestartRequest,
        dry_run: bool,
    ) -> Result<InstanceList, Failure> {
        self.change(Method::POST, &["environments", env.as_str(), "instances", "restart"], wanted, dry_run).await
    }

    /// Sends a change once, as the outcome of a lost request is unknown.
    async fn change(
        &self,
        method: Method,
        segments: &[&str],
        wanted: &impl Serialize,
        dry_run: bool,
    ) -> Result<InstanceList, Failure> {
        let (query, time_max): (&[_], _) = match dry_run {
            true => (&[("dry_run", "true")], ANSWER_TIME_MAX),
            false => (&[], INSTANCES_TIME_MAX),
        };
        let request = self.request(method, segments, query).header(CONTENT_TYPE, "application/json");
        self.once(request.timeout(time_max).body(encoded(wanted)?)).await.map_err(Refusal::into_failure)
    }
}
