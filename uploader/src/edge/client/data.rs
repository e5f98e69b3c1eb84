//! Asks the edge about the data of an environment: lists, archives, snapshots.

use std::time::Duration;

use devanture_config::PlaceName;
use devanture_config::api::{DATA_ARCHIVE_TYPE, DataList, DataReport, DataRest, SnapshotName, SnapshotRequest};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response};

use super::repeat::{BLOB_TRIES_MAX, repeat};
use super::{DRY_RUN, Edge, Refusal, encoded};
use crate::output::exit::Failure;

/// Longest work on data: an edge may take `data_task_ms_max`, and waits for current requests.
const DATA_TIME_MAX: Duration = Duration::from_secs(86_400);
/// Longest time for a list, which may cover a million files.
const LIST_TIME_MAX: Duration = Duration::from_secs(600);

/// Returns the query of a request that only reports its effect.
const fn predicting(dry_run: bool) -> &'static [(&'static str, &'static str)] {
    if dry_run { &DRY_RUN } else { &[] }
}

impl Edge {
    /// Builds a request below `data` of an environment, for the data of `node` in a cluster of several.
    fn data_request(
        &self,
        method: Method,
        (env, node): (&PlaceName, Option<&str>),
        below: &[&str],
        query: &[(&str, &str)],
    ) -> RequestBuilder {
        let query: Vec<_> = node.map(|node| ("node", node)).into_iter().chain(query.iter().copied()).collect();
        self.request(method, &[&["environments", env.as_str(), "data"], below].concat(), &query)
    }

    /// Lists files and snapshots.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn data(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        limit: Option<u64>,
    ) -> Result<DataList, Failure> {
        let limit = limit.map(|limit| limit.to_string());
        let query: Vec<(&str, &str)> = limit.iter().map(|limit| ("limit", limit.as_str())).collect();
        self.repeated(|| self.data_request(Method::GET, (env, node), &[], &query).timeout(LIST_TIME_MAX)).await
    }

    /// Begins the download of an archive of the data, or of a snapshot.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn data_archive(
        &self,
        (env, node): (&PlaceName, Option<&str>),
        snapshot: Option<&SnapshotName>,
    ) -> Result<Response, Failure> {
        let query: Vec<(&str, &str)> = snapshot.iter().map(|name| ("snapshot", name.as_str())).collect();
        let request = self.data_request(Method::GET, (env, node), &["archive"], &query).timeout(DATA_TIME_MAX);
        self.send(request).await.map_err(Refusal::into_failure)
    }

    /// Resumes the download of an archive after a broken connection. The request is repeated, since the edge may not
    /// have noticed the break yet.
    ///
    /// # Errors
    /// Like [`Self::data_archive`]; `precondition_failed` if the beginning of the archive has changed.
    pub(crate) async fn rest_of_data_archive(
        &self,
        (env, node): (&PlaceName, Option<&str>),
        snapshot: Option<&SnapshotName>,
        rest: DataRest,
    ) -> Result<Response, Failure> {
        let (from, digest) = (rest.from.to_string(), rest.digest.to_string());
        let mut query = vec![("from", from.as_str()), ("digest", digest.as_str())];
        query.extend(snapshot.map(|name| ("snapshot", name.as_str())));
        let request = || self.data_request(Method::GET, (env, node), &["archive"], &query).timeout(DATA_TIME_MAX);
        repeat(self.waits(), BLOB_TRIES_MAX, || self.send(request())).await
    }

    /// Replaces the data by an archive.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn push_data(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        is_replacing: bool,
        archive: reqwest::Body,
    ) -> Result<DataReport, Failure> {
        let query = [("replace", if is_replacing { "true" } else { "false" })];
        let request = self.data_request(Method::PUT, (env, node), &["archive"], &query);
        let request = request.header(CONTENT_TYPE, DATA_ARCHIVE_TYPE).timeout(DATA_TIME_MAX).body(archive);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Makes a snapshot; with `dry_run` the edge only reports the effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn make_snapshot(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        wanted: &SnapshotRequest,
        dry_run: bool,
    ) -> Result<DataReport, Failure> {
        let request = self.data_request(Method::POST, (env, node), &["snapshots"], predicting(dry_run));
        let request = request.header(CONTENT_TYPE, "application/json").timeout(DATA_TIME_MAX).body(encoded(wanted)?);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Replaces the data by a snapshot; with `dry_run` the edge only reports the effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn restore_snapshot(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        name: &SnapshotName,
        dry_run: bool,
    ) -> Result<DataReport, Failure> {
        let below = ["snapshots", name.as_str(), "restore"];
        let request = self.data_request(Method::POST, (env, node), &below, predicting(dry_run));
        self.once(request.timeout(DATA_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// Deletes a snapshot; with `dry_run` the edge only reports the effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn delete_snapshot(
        &self,
        env: &PlaceName,
        node: Option<&str>,
        name: &SnapshotName,
        dry_run: bool,
    ) -> Result<DataReport, Failure> {
        let below = ["snapshots", name.as_str()];
        let request = self.data_request(Method::DELETE, (env, node), &below, predicting(dry_run));
        self.once(request.timeout(LIST_TIME_MAX)).await.map_err(Refusal::into_failure)
    }
}
