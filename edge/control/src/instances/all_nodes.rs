//! Instances of an environment on all nodes of a cluster: the instances of this node, and requests to the other nodes.

use std::collections::HashMap;
use std::time::Duration;

use devanture_config::api::{InstanceState, InstanceStatus};
use devanture_config::site_toml::{Kind, ProcessName};
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use tokio::time::sleep;

use super::Instances;
use crate::cluster::{self, InstancesAction, InstancesRequest, Nodes};
use crate::ledger::Error;
use crate::runner::{OpenPort, Runner};

/// Interval between polls of the instances on all nodes.
const LOOK: Duration = Duration::from_secs(1);
/// Extra time for another node to change its instances, beyond the time for instances to become healthy: covers the
/// delivery of the commit and a change in progress on the other node.
const MORE_TIME: Duration = Duration::from_secs(60);
/// Exits of an instance after which a new backend counts as failed: after a single exit, an instance may recover.
const FAILURES: u64 = 2;

/// App, and an environment or alias of the app.
type PlaceOf<'p> = (&'p AppName, &'p PlaceName);

impl Instances {
    /// Returns the instances of a place on this node.
    ///
    /// # Errors
    /// `runner_off`.
    pub(crate) fn instances_here(&self, (app, environment): PlaceOf<'_>) -> Result<Vec<InstanceStatus>, Error> {
        Ok(self.runner()?.instances(app, environment.as_str()))
    }

    /// Returns the instances of this node with a listener on all addresses of the machine.
    pub(crate) fn all_open_ports(&self) -> Vec<OpenPort> {
        self.runner.as_ref().map_or_else(Vec::new, Runner::open_ports)
    }

    /// Returns the names of the instances of a place with a listener on all addresses of the machine.
    pub(crate) fn open_ports(&self, app: &AppName, environment: &PlaceName) -> Vec<String> {
        let all = self.all_open_ports().into_iter();
        let own = all.filter(|open| open.app == *app && open.place == environment.as_str());
        own.map(|open| open.instance).collect()
    }

    /// Applies the instance counts on this node, and waits until new instances are healthy.
    ///
    /// # Errors
    /// `runner_off`; the failure of new instances.
    pub(crate) async fn rescale_here(&self, (app, environment): PlaceOf<'_>) -> Result<(), Error> {
        Ok(self.runner()?.rescale(app, environment.as_str(), &|_line| {}).await?)
    }

    /// Restarts the instances of this node in sequence.
    ///
    /// # Errors
    /// `runner_off`; the failure of a new instance.
    pub(crate) async fn restart_here(
        &self,
        (app, environment): PlaceOf<'_>,
        process: Option<&ProcessName>,
    ) -> Result<(), Error> {
        Ok(self.runner()?.restart(app, environment.as_str(), process, &|_line| {}).await?)
    }

    /// Returns the instances of a place on all responding nodes, by process, node and number; the flag is true if all
    /// nodes responded.
    pub(crate) async fn instances_everywhere(&self, place: PlaceOf<'_>) -> Result<(Vec<InstanceStatus>, bool), Error> {
        let mut found = self.instances_here(place)?;
        let Some(nodes) = &self.nodes else { return Ok((found, true)) };
        let elsewhere = nodes.instances(&self.request(place, InstancesAction::List)).await;
        let elsewhere = elsewhere.map_err(cluster::Error::into_problem)?;
        let have_answered = elsewhere.iter().all(Option::is_some);
        found.extend(elsewhere.into_iter().flatten().flatten());
        // The instances of each node are already in order.
        found.sort_by(|a, b| (&a.process, &a.node).cmp(&(&b.process, &b.node)));
        Ok((found, have_answered))
    }

    /// Waits until all `web` instances of a live version, on all nodes, have failed since the call. Returns the reason
    /// of the last failure, or `None` once the version is no longer live.
    ///
    /// # Errors
    /// `runner_off`; errors of the catalog.
    pub(crate) async fn failure(
        &self,
        place: PlaceOf<'_>,
        version: VersionId,
        digest: Digest,
    ) -> Result<Option<String>, Error> {
        let (app, environment) = place;
        if self.nodes.is_none() {
            return Ok(self.runner()?.failure(app, environment.as_str(), digest).await);
        }
        let mut before: HashMap<(String, String), u64> = HashMap::new();
        while self.ledger.served(app, environment)?.id == version {
            let (mut web, have_answered) = self.instances_everywhere(place).await?;
            let is_new = |one: &InstanceStatus| {
                let is_left = matches!(one.state, InstanceState::Warm | InstanceState::Stopping);
                one.kind == Kind::Web && one.version == version && !is_left
            };
            web.retain(is_new);
            let has_failed = |one: &InstanceStatus| {
                let before = before.entry((one.node.clone(), one.name.clone())).or_insert(one.restarts);
                one.state != InstanceState::Healthy && one.restarts.saturating_sub(*before) >= FAILURES
            };
            // All instances are visited, so the restart count of each instance starts with the first poll.
            let failed = web.iter().map(has_failed).filter(|has_failed| *has_failed).count();
            if let Some(last) = web.last().filter(|_| have_answered && failed == web.len()) {
                let why = last.detail.as_deref().unwrap_or("it ended");
                return Ok(Some(format!("all new instances failed; {}/{} {why}", last.node, last.name)));
            }
            sleep(LOOK).await;
        }
        Ok(None)
    }

    /// Applies the instance counts on all nodes; returns the names of nodes not waited for.
    pub(crate) async fn rescale_everywhere(&self, place: PlaceOf<'_>) -> Result<Vec<String>, Error> {
        let elsewhere = self.change_elsewhere(place, InstancesAction::Rescale);
        // Both run to completion, even if either fails: the caller may have to undo the change on all nodes.
        let (here, elsewhere) = tokio::join!(self.rescale_here(place), elsewhere);
        here.and(elsewhere)
    }

    /// Restarts the instances of all nodes in sequence; returns the names of nodes not waited for.
    pub(crate) async fn restart_everywhere(
        &self,
        place: PlaceOf<'_>,
        process: Option<&ProcessName>,
    ) -> Result<Vec<String>, Error> {
        self.restart_here(place, process).await?;
        self.change_elsewhere(place, InstancesAction::Restart(process.cloned())).await
    }

    async fn change_elsewhere(&self, place: PlaceOf<'_>, action: InstancesAction) -> Result<Vec<String>, Error> {
        let Some(nodes) = &self.nodes else { return Ok(Vec::new()) };
        let one_by_one = matches!(action, InstancesAction::Restart(_));
        let time = self.runner()?.change_time(place.0, place.1.as_str(), one_by_one).await?;
        let request = self.request(place, action);
        let changed = Nodes::change_instances(nodes, &request, one_by_one, time.saturating_add(MORE_TIME)).await;
        changed.map_err(cluster::Error::into_problem)
    }

    fn request(&self, (app, environment): PlaceOf<'_>, action: InstancesAction) -> InstancesRequest {
        let revision = self.ledger.catalog.state().revision;
        InstancesRequest { app: app.clone(), environment: environment.clone(), revision, action }
    }
}
