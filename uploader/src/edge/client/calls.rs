//! The requests to an edge, a function for each.

use std::time::Duration;

use devanture_config::api::{
    AliasList, AliasRequest, AppUsage, BeginDeploy, DeployBegun, DeployPrediction, DeployStatus, DesiredState,
    DevelopmentSettings, Diff, History, HostnameList, HostnameRemoved, HostnameRequest, HostnameSet, IntegrityReports,
    LockReport, LockRequest, MemberRequest, PauseReport, PauseRequest, PlaceStatus, PromoteRequest, RestoreReport,
    RollbackRequest, SettingsList, SettingsPatch, SettingsReport, Status, Step, SwitchReport, SwitchRequest,
    UpstreamReport, UpstreamsReport, WithdrawReport, WithdrawRequest,
};
use devanture_config::site_toml::{UpstreamName, UpstreamUrl};
use devanture_config::{HostPattern, PlaceName};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::instances::INSTANCES_TIME_MAX;
use super::{ANSWER_TIME_MAX, DRY_RUN, Edge, Refusal, encoded, silent};
use crate::output::exit::Failure;

/// Longest time to send a manifest and get the list of missing blobs.
pub(super) const BEGIN_TIME_MAX: Duration = Duration::from_secs(600);

impl Edge {
    /// Begins a push. Returns the blobs that the edge lacks.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn begin(&self, environment: &PlaceName, begin: &BeginDeploy) -> Result<DeployBegun, Failure> {
        // Encoded once, for any number of attempts.
        let body = bytes::Bytes::from(encoded(begin)?);
        let segments = ["environments", environment.as_str(), "deploys"];
        self.repeated(|| {
            self.request(Method::POST, &segments, &[])
                .header(CONTENT_TYPE, "application/json")
                .timeout(BEGIN_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Predicts [`Edge::begin`], including refusals, without a push. Sent once, since no change waits for the answer.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn predict_push(
        &self,
        environment: &PlaceName,
        begin: &BeginDeploy,
    ) -> Result<DeployPrediction, Failure> {
        let request = self.request(Method::POST, &["environments", environment.as_str(), "deploys"], &DRY_RUN);
        let request = request.header(CONTENT_TYPE, "application/json").timeout(BEGIN_TIME_MAX).body(encoded(begin)?);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Returns the limits of the app, and its use of each.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn usage(&self) -> Result<AppUsage, Failure> {
        self.get(&["usage"], &[]).await
    }

    /// Returns browsers' reports about assets without a hash in the pages of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn integrity_reports(&self, env: &PlaceName) -> Result<IntegrityReports, Failure> {
        self.get(&["environments", env.as_str(), "integrity"], &[]).await
    }

    /// Makes a stored version live.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn switch(
        &self,
        env: &PlaceName,
        request: &SwitchRequest,
        on_step: &mut dyn FnMut(&Step),
    ) -> Result<SwitchReport, Failure> {
        self.move_live(&["environments", env.as_str(), "switch"], request, on_step).await
    }

    /// Makes an earlier version live again.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn rollback(
        &self,
        env: &PlaceName,
        request: &RollbackRequest,
        on_step: &mut dyn FnMut(&Step),
    ) -> Result<SwitchReport, Failure> {
        self.move_live(&["environments", env.as_str(), "rollback"], request, on_step).await
    }

    /// Makes the live version of a different environment live here.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn promote(
        &self,
        to: &PlaceName,
        request: &PromoteRequest,
        on_step: &mut dyn FnMut(&Step),
    ) -> Result<SwitchReport, Failure> {
        self.move_live(&["environments", to.as_str(), "promote"], request, on_step).await
    }

    /// The live version, and the nodes of a cluster.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn status(&self, env: &PlaceName) -> Result<Status, Failure> {
        self.get(&["environments", env.as_str()], &[("nodes", "true")]).await
    }

    /// Returns the live version, requested once, for a failure that must be reported within `time_max`.
    pub(crate) async fn status_within(&self, env: &PlaceName, time_max: Duration) -> Result<Status, Failure> {
        self.get_within(&["environments", env.as_str()], time_max).await
    }

    /// Returns the state of a deploy, requested once.
    pub(crate) async fn deploy_within(&self, deploy: &str, time_max: Duration) -> Result<DeployStatus, Failure> {
        self.get_within(&["deploys", deploy], time_max).await
    }

    /// Requests once. The renewal of a login, and the takeover by a new edge, count towards the time.
    async fn get_within<T: DeserializeOwned>(&self, segments: &[&str], time_max: Duration) -> Result<T, Failure> {
        let answer = tokio::time::timeout(time_max, self.once(self.request(Method::GET, segments, &[]))).await;
        answer.map_err(|_late| silent())?.map_err(Refusal::into_failure)
    }

    /// The history, newest first.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn history(&self, env: &PlaceName, query: &[(&str, &str)]) -> Result<History, Failure> {
        self.get(&["environments", env.as_str(), "history"], query).await
    }

    /// A page of the aliases.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn aliases(&self, query: &[(&str, &str)]) -> Result<AliasList, Failure> {
        self.get(&["aliases"], query).await
    }

    /// The differences of two versions.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn diff(&self, query: &[(&str, &str)]) -> Result<Diff, Failure> {
        self.get(&["diff"], query).await
    }

    /// Locks an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn lock(&self, env: &PlaceName, request: &LockRequest) -> Result<LockReport, Failure> {
        let body = bytes::Bytes::from(encoded(request)?);
        let segments = ["environments", env.as_str(), "lock"];
        self.repeated(|| {
            self.request(Method::PUT, &segments, &[])
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Ends a lock.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn unlock(&self, env: &PlaceName) -> Result<LockReport, Failure> {
        let request = self.request(Method::DELETE, &["environments", env.as_str(), "lock"], &[]);
        self.once(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// Points an alias to a version.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn set_alias(&self, name: &PlaceName, request: &AliasRequest) -> Result<PlaceStatus, Failure> {
        let body = bytes::Bytes::from(encoded(request)?);
        self.repeated(|| {
            self.request(Method::PUT, &["aliases", name.as_str()], &[])
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Deletes an alias.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn delete_alias(&self, name: &PlaceName) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, &["aliases", name.as_str()], &[]).timeout(ANSWER_TIME_MAX);
        self.send(request).await.map(drop).map_err(Refusal::into_failure)
    }

    /// The hostnames of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn hostnames(&self, env: &PlaceName) -> Result<HostnameList, Failure> {
        let segments = ["environments", env.as_str(), "hostnames"];
        let mut list: HostnameList = self.get(&segments, &[]).await?;
        while let Some(after) = list.next.take() {
            let mut more: HostnameList = self.get(&segments, &[("after", &after)]).await?;
            list.hostnames.append(&mut more.hostnames);
            list.next = more.next;
        }
        Ok(list)
    }

    /// Gives a hostname to an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn add_hostname(
        &self,
        env: &PlaceName,
        name: &HostPattern,
        request: &HostnameRequest,
        query: &[(&str, &str)],
    ) -> Result<HostnameSet, Failure> {
        let body = bytes::Bytes::from(encoded(request)?);
        self.repeated(|| {
            self.request(Method::PUT, &["environments", env.as_str(), "hostnames", name.as_str()], query)
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Takes a hostname from an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn remove_hostname(
        &self,
        env: &PlaceName,
        name: &HostPattern,
        query: &[(&str, &str)],
    ) -> Result<HostnameRemoved, Failure> {
        let segments = ["environments", env.as_str(), "hostnames", name.as_str()];
        let request = self.request(Method::DELETE, &segments, query).timeout(ANSWER_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// The upstreams of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn upstreams(&self, env: &PlaceName) -> Result<UpstreamsReport, Failure> {
        self.get(&["environments", env.as_str(), "upstreams"], &[]).await
    }

    /// Sets the state of a member of an upstream, or removes the member. Repeating the call changes nothing.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn set_member(
        &self,
        env: &PlaceName,
        (name, address): (&UpstreamName, &UpstreamUrl),
        desired: DesiredState,
        query: &[(&str, &str)],
    ) -> Result<UpstreamReport, Failure> {
        let address = address.to_string();
        let segments = ["environments", env.as_str(), "upstreams", name.as_str(), "members", &address];
        if desired == DesiredState::Out {
            return self.repeated(|| self.request(Method::DELETE, &segments, query).timeout(ANSWER_TIME_MAX)).await;
        }
        let body = bytes::Bytes::from(encoded(&MemberRequest { desired })?);
        self.repeated(|| {
            self.request(Method::PUT, &segments, query)
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// The settings of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn settings(&self, env: &PlaceName) -> Result<SettingsList, Failure> {
        self.get(&["environments", env.as_str(), "settings"], &[]).await
    }

    /// Returns the settings of an environment that are marked for development.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn development_settings(&self, env: &PlaceName) -> Result<DevelopmentSettings, Failure> {
        self.get(&["environments", env.as_str(), "settings", "development"], &[]).await
    }

    /// Changes the settings of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn change_settings(
        &self,
        env: &PlaceName,
        patch: &SettingsPatch,
        query: &[(&str, &str)],
    ) -> Result<SettingsReport, Failure> {
        let body = bytes::Bytes::from(encoded(patch)?);
        // Repeating the change has no further effect.
        self.repeated(|| {
            self.request(Method::PATCH, &["environments", env.as_str(), "settings"], query)
                .header(CONTENT_TYPE, "application/json")
                .timeout(INSTANCES_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Pauses an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn pause(&self, env: &PlaceName, request: &PauseRequest) -> Result<PauseReport, Failure> {
        self.post(&["environments", env.as_str(), "pause"], request).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn resume(&self, env: &PlaceName) -> Result<PauseReport, Failure> {
        self.post(&["environments", env.as_str(), "resume"], &serde_json::json!({})).await
    }

    /// Withdraws a path.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn withdraw(&self, request: &WithdrawRequest) -> Result<WithdrawReport, Failure> {
        self.post(&["withdrawn"], request).await
    }

    /// Takes a withdrawal back; with `dry_run` the edge only reports the paths that would answer again.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn restore(&self, path: &str, dry_run: bool) -> Result<RestoreReport, Failure> {
        let mut query = vec![("path", path)];
        query.extend(DRY_RUN.into_iter().filter(|_| dry_run));
        let request = self.request(Method::DELETE, &["withdrawn"], &query);
        self.once(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)
    }
}
