//! Asks the edge about what is kept: deletions, having them back, collections.

use std::time::Duration;

use devanture_config::PlaceName;
use devanture_config::api::{
    CollectReport, DeleteReport, DeletedThing, PlaceDeleteReport, UndeleteReport, UndeleteRequest,
};
use devanture_config::digest::IdPrefix;
use reqwest::Method;

use super::{ANSWER_TIME_MAX, Edge, Link, Refusal};
use crate::exit::Failure;

/// Longest time for a collection, which may wait for one that is under way.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(3_600);

impl Edge {
    /// Deletes a version.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn delete_version(&self, id: &IdPrefix) -> Result<DeleteReport, Failure> {
        let request = self.request(Method::DELETE, &["versions", &id.to_string()], &[]);
        self.once(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// Deletes the app, or one environment of it; with `dry_run` the edge only says what would go.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn delete_place(
        &self,
        environment: Option<&PlaceName>,
        dry_run: bool,
    ) -> Result<PlaceDeleteReport, Failure> {
        let segments = environment.map_or_else(Vec::new, |name| vec!["environments", name.as_str()]);
        let query: &[_] = if dry_run { &[("dry_run", "true")] } else { &[] };
        let request = self.request(Method::DELETE, &segments, query);
        self.once(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// What of the app was deleted and can be had back.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn deleted(&self) -> Result<Vec<DeletedThing>, Failure> {
        self.get(&["deleted"], &[]).await
    }

    /// Has back what was deleted.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn undelete(&self, request: &UndeleteRequest) -> Result<UndeleteReport, Failure> {
        self.post(&["undelete"], request).await
    }
}

impl Link {
    /// Collects on the whole edge what nothing refers to.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn collect(&self, dry_run: bool, force: bool) -> Result<CollectReport, Failure> {
        let flags = [("dry_run", dry_run), ("force", force)];
        let query: Vec<_> = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (name, "true")).collect();
        let request = self.request_at(Method::POST, &["gc"], &query).timeout(COLLECT_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }
}
