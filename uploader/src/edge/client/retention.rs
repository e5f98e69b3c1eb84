//! Requests about retention: deletions, restores, collections.

use std::time::Duration;

use devanture_config::api::{
    CollectReport, DeleteReport, DeletedThing, PlaceDeleteReport, UndeleteReport, UndeleteRequest,
};
use devanture_config::{IdPrefix, PlaceName};
use reqwest::Method;

use super::{ANSWER_TIME_MAX, Edge, Link, Refusal};
use crate::output::exit::Failure;

/// Longest time for a collection, which may wait for a running one, and for a purge for instances: `purge_wait_ms_max`
/// of the edge, an hour at most.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(2 * 3_600);

/// Returns the set flags of a query.
fn set(flags: &[(&'static str, bool)]) -> Vec<(&'static str, &'static str)> {
    flags.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (*name, "true")).collect()
}

/// Returns the longest time for a deletion: a purge waits for a running collection.
const fn time_max(purge: bool) -> Duration {
    if purge { COLLECT_TIME_MAX } else { ANSWER_TIME_MAX }
}

impl Edge {
    /// Deletes a version; with `dry_run` the edge only reports the effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn delete_version(
        &self,
        id: &IdPrefix,
        dry_run: bool,
        purge: bool,
    ) -> Result<DeleteReport, Failure> {
        let query = set(&[("dry_run", dry_run), ("purge", purge)]);
        let request = self.request(Method::DELETE, &["versions", &id.to_string()], &query);
        self.once(request.timeout(time_max(purge))).await.map_err(Refusal::into_failure)
    }

    /// Deletes the app, or one environment of it; with `dry_run` the edge only reports the effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn delete_place(
        &self,
        environment: Option<&PlaceName>,
        dry_run: bool,
        purge: bool,
    ) -> Result<PlaceDeleteReport, Failure> {
        let segments = environment.map_or_else(Vec::new, |name| vec!["environments", name.as_str()]);
        let query = set(&[("dry_run", dry_run), ("purge", purge)]);
        let request = self.request(Method::DELETE, &segments, &query);
        self.once(request.timeout(time_max(purge))).await.map_err(Refusal::into_failure)
    }

    /// Returns the deleted objects of the app that can be restored.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn deleted(&self) -> Result<Vec<DeletedThing>, Failure> {
        self.get(&["deleted"], &[]).await
    }

    /// Restores a deleted object.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn undelete(&self, request: &UndeleteRequest) -> Result<UndeleteReport, Failure> {
        self.post(&["undelete"], request).await
    }
}

impl Link {
    /// Collects unreferenced files on the whole edge.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn collect(&self, dry_run: bool, force: bool, purge: bool) -> Result<CollectReport, Failure> {
        let query = set(&[("dry_run", dry_run), ("force", force), ("purge", purge)]);
        let request = self.request_at(Method::POST, &["gc"], &query).timeout(COLLECT_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::limits::TABLE;

    use super::*;

    #[test]
    fn a_purge_is_waited_for_longer_than_the_edge_may_wait_for_instances() {
        let limit = TABLE.iter().find(|limit| limit.name == "purge_wait_ms_max").unwrap();
        assert!(time_max(true) > Duration::from_millis(limit.range.1));
        assert_eq!(time_max(false), ANSWER_TIME_MAX);
    }
}
