//! Instances of an environment on all nodes of a cluster: this node's, and what it asks of the others.

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

/// Pause between two looks at the instances of all nodes.
const LOOK: Duration = Duration::from_secs(1);
/// Time that another node gets for a change of its instances beside what these may take to be healthy: to hear of the
/// commit, and for a change that is under way there.
const MORE_TIME: Duration = Duration::from_secs(60);
/// Ends of an instance after which a new backend has failed: one that ends once may come back.
const FAILURES: u64 = 2;

/// An app, and an environment or alias of it.
type PlaceOf<'p> = (&'p AppName, &'p PlaceName);

impl Instances {
    /// The instances of a place on this node.
    ///
    /// # Errors
    /// `runner_off`.
    pub(crate) fn instances_here(&self, (app, environment): PlaceOf<'_>) -> Result<Vec<InstanceStatus>, Error> {
        Ok(self.runner()?.instances(app, environment.as_str()))
    }

    /// Instances of this node that listen on all addresses of the machine.
    pub(crate) fn all_open_ports(&self) -> Vec<OpenPort> {
        self.runner.as_ref().map_or_else(Vec::new, Runner::open_ports)
    }

    /// Those of a place, by their names.
    pub(crate) fn open_ports(&self, app: &AppName, environment: &PlaceName) -> Vec<String> {
        let all = self.all_open_ports().into_iter();
        let own = all.filter(|open| open.app == *app && open.place == environment.as_str());
        own.map(|open| open.instance).collect()
    }

    /// Has this node follow the counts of instances, and waits until new ones are healthy.
    ///
    /// # Errors
    /// `runner_off`; what the new instances failed of.
    pub(crate) async fn rescale_here(&self, (app, environment): PlaceOf<'_>) -> Result<(), Error> {
        Ok(self.runner()?.rescale(app, environment.as_str(), &|_line| {}).await?)
    }

    /// Restarts the instances of this node, one after the other.
    ///
    /// # Errors
    /// `runner_off`; what a new instance failed of.
    pub(crate) async fn restart_here(
        &self,
        (app, environment): PlaceOf<'_>,
        process: Option<&ProcessName>,
    ) -> Result<(), Error> {
        Ok(self.runner()?.restart(app, environment.as_str(), process, &|_line| {}).await?)
    }

    /// The instances of a place on all nodes that answer, by process, node and number; and whether all nodes did.
    pub(crate) async fn instances_everywhere(&self, place: PlaceOf<'_>) -> Result<(Vec<InstanceStatus>, bool), Error> {
        let mut found = self.instances_here(place)?;
        let Some(nodes) = &self.nodes else { return Ok((found, true)) };
        let elsewhere = nodes.instances(&self.request(place, InstancesAction::List)).await;
        let elsewhere = elsewhere.map_err(cluster::Error::into_problem)?;
        let have_answered = elsewhere.iter().all(Option::is_some);
        found.extend(elsewhere.into_iter().flatten().flatten());
        // Those of a node are in their order already.
        found.sort_by(|a, b| (&a.process, &a.node).cmp(&(&b.process, &b.node)));
        Ok((found, have_answered))
    }

    /// Waits until all instances of `web` of a version that is live have failed since the call, on whichever nodes they
    /// run, and says how the last one did; returns nothing once the version is no longer live.
    ///
    /// # Errors
    /// `runner_off`; where the catalog cannot be read.
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
            // Each of them is looked at, so that its restarts count from the first look on.
            let failed = web.iter().map(has_failed).filter(|has_failed| *has_failed).count();
            if let Some(last) = web.last().filter(|_| have_answered && failed == web.len()) {
                let why = last.detail.as_deref().unwrap_or("it ended");
                return Ok(Some(format!("all new instances failed; {}/{} {why}", last.node, last.name)));
            }
            sleep(LOOK).await;
        }
        Ok(None)
    }

    /// Has all nodes follow the counts of instances; returns the names of those that are not waited for.
    pub(crate) async fn rescale_everywhere(&self, place: PlaceOf<'_>) -> Result<Vec<String>, Error> {
        let elsewhere = self.change_elsewhere(place, InstancesAction::Rescale);
        // None of them is left alone with it: what it comes to may have to be undone.
        let (here, elsewhere) = tokio::join!(self.rescale_here(place), elsewhere);
        here.and(elsewhere)
    }

    /// Restarts the instances of all nodes, one after the other; returns the names of the nodes that are not waited
    /// for.
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
