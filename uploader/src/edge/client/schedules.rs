//! Requests about schedules, and runs of a schedule.

use devanture_config::PlaceName;
use devanture_config::api::{ScheduleList, ScheduleStatus};
use devanture_config::site_toml::ScheduleName;
use reqwest::Method;

use super::{ANSWER_TIME_MAX, DRY_RUN, Edge, Refusal};
use crate::output::exit::Failure;

impl Edge {
    /// The schedules of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn schedules(&self, env: &PlaceName) -> Result<ScheduleList, Failure> {
        self.get(&["environments", env.as_str(), "schedules"], &[]).await
    }

    /// Runs a schedule now; with `dry_run` the edge only reports the effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn run_schedule(
        &self,
        env: &PlaceName,
        name: &ScheduleName,
        dry_run: bool,
    ) -> Result<ScheduleStatus, Failure> {
        let query: &[_] = if dry_run { &DRY_RUN } else { &[] };
        let segments = ["environments", env.as_str(), "schedules", name.as_str(), "run"];
        // Sent once, as the outcome of a lost request is unknown.
        let request = self.request(Method::POST, &segments, query).timeout(ANSWER_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }
}
