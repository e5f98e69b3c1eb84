//! Asks the edge about the data of an environment: lists, archives, snapshots.

use std::time::Duration;

use devanture_config::PlaceName;
use devanture_config::api::{DATA_ARCHIVE_TYPE, DataList, DataReport, SnapshotName, SnapshotRequest};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};

use super::{DRY_RUN, Edge, Refusal, encoded};
use crate::output::exit::Failure;

/// Longest work on data: an edge may take `data_task_ms_max`, and waits for requests under way.
const DATA_TIME_MAX: Duration = Duration::from_secs(86_400);
/// Longest time for a list, which may have to look at a million files.
const LIST_TIME_MAX: Duration = Duration::from_secs(600);

/// The query of a request about a node.
type Query<'q> = Vec<(&'q str, &'q str)>;

fn query<'q>(node: Option<&'q str>, more: &[(&'q str, &'q str)]) -> Query<'q> {
    node.map(|node| ("node", node)).into_iter().chain(more.iter().copied()).collect()
}

impl Edge {
    /// Lists files and snapshots.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn data(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        limit: Option<u64>,
    ) -> Result<DataList, Failure> {
        let limit = limit.map(|limit| limit.to_string());
        let more: Vec<(&str, &str)> = limit.iter().map(|limit| ("limit", limit.as_str())).collect();
        let query = query(node, &more);
        let segments = ["environments", env.as_str(), "data"];
        self.repeated(|| self.request(Method::GET, &segments, &query).timeout(LIST_TIME_MAX)).await
    }

    /// Begins to read an archive of the data, or of a snapshot.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn data_archive(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Response, Failure> {
        let more: Vec<(&str, &str)> = snapshot.iter().map(|name| ("snapshot", name.as_str())).collect();
        let request =
            self.request(Method::GET, &["environments", env.as_str(), "data", "archive"], &query(node, &more));
        self.send(request.timeout(DATA_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// Replaces the data by an archive.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn push_data(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        is_replacing: bool,
        archive: reqwest::Body,
    ) -> Result<DataReport, Failure> {
        let more = [("replace", if is_replacing { "true" } else { "false" })];
        let request =
            self.request(Method::PUT, &["environments", env.as_str(), "data", "archive"], &query(node, &more));
        let request = request.header(CONTENT_TYPE, DATA_ARCHIVE_TYPE).timeout(DATA_TIME_MAX).body(archive);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Makes a snapshot.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn make_snapshot(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        wanted: &SnapshotRequest,
        dry_run: bool,
    ) -> Result<DataReport, Failure> {
        let query = query(node, if dry_run { &DRY_RUN } else { &[] });
        let request = self.request(Method::POST, &["environments", env.as_str(), "data", "snapshots"], &query);
        let request = request.header(CONTENT_TYPE, "application/json").timeout(DATA_TIME_MAX).body(encoded(wanted)?);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Replaces the data by a snapshot.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn restore_snapshot(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        name: &SnapshotName,
        dry_run: bool,
    ) -> Result<DataReport, Failure> {
        let segments = ["environments", env.as_str(), "data", "snapshots", name.as_str(), "restore"];
        let query = query(node, if dry_run { &DRY_RUN } else { &[] });
        let request = self.request(Method::POST, &segments, &query).timeout(DATA_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// As the edge says, or `unreachable`.
    pub(crate) async fn delete_snapshot(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        name: &SnapshotName,
        dry_run: bool,
    ) -> Result<DataReport, Failure> {
        let segments = ["environments", env.as_str(), "data", "snapshots", name.as_str()];
        let query = query(node, if dry_run { &DRY_RUN } else { &[] });
        let request = self.request(Method::DELETE, &segments, &query).timeout(LIST_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }
}
