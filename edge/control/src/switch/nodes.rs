//! Switches in a cluster: preparation by other nodes, and status of the local node.

use std::time::Duration;

use devanture_config::AppName;
use devanture_config::api::{NodeCache, NodeState, NodeStatus, NodeVersion};

use super::intent::Intent;
use super::steps::Steps;
use super::switcher::Switcher;
use crate::cluster::{self, Nodes, PrepareRequest, Prepared, Progress};
use crate::ledger::Error;

/// Most environments in a node's status.
const VERSIONS_MAX: usize = 10_000;
/// Silence of the catalog after which a node counts as cut off.
const CUT_AFTER: Duration = Duration::from_secs(5);

impl Switcher {
    /// Returns the status of the local node, with the versions of one app or of all.
    pub(crate) fn own_status(&self, app: Option<&AppName>) -> NodeStatus {
        let nodes = self.nodes.as_ref();
        let state = self.ledger.catalog.state();
        let is_cut = !state.is_connected && state.age.is_none_or(|age| age > CUT_AFTER);
        let mut environments = self.ledger.live.environments();
        environments.retain(|(owner, _)| app.is_none_or(|app| owner == app));
        environments.sort();
        let has_more = environments.len() > VERSIONS_MAX;
        environments.truncate(VERSIONS_MAX);
        let versions = environments.into_iter().filter_map(|(app, environment)| {
            let place = self.ledger.live.place(&app, &environment)?;
            let version = place.served();
            let wanted = place.wanted().filter(|wanted| Some(*wanted) != version);
            (version.is_some() || wanted.is_some()).then_some(NodeVersion { app, environment, version, wanted })
        });
        NodeStatus {
            name: self.node.clone(),
            advertise: nodes.map(|nodes| nodes.own().advertise.to_string()),
            state: if is_cut { NodeState::Cut } else { NodeState::Ready },
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            revision: Some(state.revision),
            lag: Some(0),
            catalog_age_ms: state.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            certificate_ends_s: nodes.map(Nodes::certificate_ends_s),
            cache: self.cache.as_ref().map(|cache| NodeCache { bytes: cache.bytes(), bytes_max: cache.bytes_max() }),
            versions: versions.collect(),
            has_more,
            detail: match is_cut {
                true => Some("it does not reach the catalog, and serves what it knew".to_owned()),
                false => nodes.and_then(Nodes::certificate_fault).map(|reason| {
                    format!("its changed certificate for other nodes cannot be used, and the earlier one is: {reason}")
                }),
            },
        }
    }

    /// Makes every other node prepare the version.
    pub(super) async fn prepare_elsewhere(
        &self,
        intent: &Intent<'_>,
        progress: Progress<'_>,
    ) -> Result<Option<Prepared>, Error> {
        let Some(nodes) = &self.nodes else { return Ok(None) };
        let prepared = nodes.prepare_all(&self.prepare_request(intent), progress).await;
        prepared.map(Some).map_err(cluster::Error::into_problem)
    }

    /// Makes nodes prepare the version again that have dropped the version or joined since.
    pub(super) async fn prepare_again(
        &self,
        intent: &Intent<'_>,
        prepared: Option<Prepared>,
    ) -> Result<Option<Prepared>, Error> {
        let (Some(nodes), Some(prepared)) = (&self.nodes, prepared) else { return Ok(None) };
        let prepared = nodes.prepare_again(prepared, &self.prepare_request(intent)).await;
        prepared.map(Some).map_err(cluster::Error::into_problem)
    }

    fn prepare_request(&self, intent: &Intent<'_>) -> PrepareRequest {
        PrepareRequest {
            app: intent.app.clone(),
            environment: intent.environment.clone(),
            version: intent.version,
            settings: intent.settings,
            coming: None,
            revision: self.ledger.catalog.state().revision,
        }
    }

    /// Adds the node's name to a local failure in a cluster: any node may have received the request.
    pub(crate) fn named_failure(&self, Error(problem): Error) -> Error {
        match &self.nodes {
            Some(nodes) => nodes.refused_here(problem),
            None => Error(problem),
        }
    }

    /// Returns the result of `prepare`, with node names in a cluster.
    pub(super) fn named_by_node(&self, here: String, elsewhere: Option<&Prepared>) -> String {
        match elsewhere {
            Some(elsewhere) => elsewhere.summary(&self.node, &here),
            None => here,
        }
    }

    /// Waits until every other node serves the new version, and lists nodes that do not. The version is live
    /// regardless.
    pub(super) async fn await_others(&self, intent: &Intent<'_>, elsewhere: Prepared, steps: &mut Steps) {
        match self.ledger.live_pointer(intent.app, intent.environment).await {
            Ok(Some((revision, pointer)))
                if pointer.deploy == intent.deploy
                    || pointer.canary.as_ref().is_some_and(|canary| canary.deploy == intent.deploy) =>
            {
                for node in elsewhere.switched(revision).await {
                    steps.log(&format!("{node} does not serve it yet"));
                }
            }
            // A later switch waits for the nodes itself.
            Ok(_) => {}
            Err(error) => steps.log(&format!("whether all nodes serve it is not known: {error}")),
        }
    }
}
