//! Switches in a cluster: preparation by other nodes, status of the local node, and a rollout to one node first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_base::clock;
use devanture_config::AppName;
use devanture_config::api::{NodeCache, NodeState, NodeStatus, NodeVersion};
use devanture_config::problem::{Code, Problem};
use devanture_serve::live::{Current, LoadTarget, ServedFirst};
use devanture_serve::version::Version;
use devanture_store::records::LivePointer;
use futures_util::FutureExt as _;

use super::deploys::{StepReporter, Steps};
use super::intent::Intent;
use super::rise::{BadAnswers, requests, summary};
use super::switcher::Switcher;
use super::watch::{Ended, WatchedFor, Watching};
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

// Rollout to one node first: the local node serves and watches the new version before the pointer moves for all.
//
// Nothing is committed until then: if errors rise or the process ends, every node serves the previous version.

/// Name of the step.
const STEP: &str = "first";
/// Most watches of a rollout, if the live version changes during each.
const TRIES_MAX: usize = 3;

/// Outcome of the watch on the first node.
enum FirstNodeOutcome {
    Passed(ServedFirst),
    /// No previous version is loaded here.
    NotLoaded,
    /// The pointer has moved.
    Elsewhere,
}

impl Switcher {
    /// Serves and watches a version locally, while `others` nodes hold the version ready. The version is served until
    /// the result is dropped; `None` without a version to compare with.
    ///
    /// # Errors
    /// `watch_failed` for risen errors; `restarting` at the end of the edge.
    pub(super) async fn serve_first(
        &self,
        intent: &Intent<'_>,
        version: &Arc<Version>,
        (watching, others): (&Watching, usize),
        steps: &mut Steps,
    ) -> Result<Option<ServedFirst>, Error> {
        if others == 0 {
            steps.skip(STEP, "no other node is there");
            return Ok(None);
        }
        for _ in 0..TRIES_MAX {
            let (live, is_same) = self.replaced(intent).await?;
            if is_same {
                return Ok(None);
            }
            let Some((_, pointer)) = live.filter(|(_, pointer)| pointer.is_known()) else {
                steps.skip(STEP, "nothing was live before, so there is nothing to go back to");
                return Ok(None);
            };
            let reporter = steps.reporter(STEP);
            let first = async { self.watch_first(intent, version, &pointer, watching, &reporter).await };
            match steps.run(STEP, first.boxed()).await? {
                FirstNodeOutcome::Passed(first) => return Ok(Some(first)),
                FirstNodeOutcome::NotLoaded => return Ok(None),
                // The old version was served again, so the observations are void.
                FirstNodeOutcome::Elsewhere => {}
            }
        }
        let detail =
            format!("What is live in {} changed again and again while one node was watched.", intent.environment);
        Err(Problem::new(Code::LiveMoved, detail).hint("look at `devanture status`, then decide").into())
    }

    async fn watch_first(
        &self,
        intent: &Intent<'_>,
        version: &Arc<Version>,
        pointer: &LivePointer,
        watching: &Watching,
        reporter: &StepReporter,
    ) -> Result<(FirstNodeOutcome, String), Error> {
        // Signers set during the preparation or the watch end the rollout.
        self.check_signed(intent).await?;
        let (app, environment) = (intent.app.as_str(), intent.environment.as_str());
        let span = Duration::from_secs(self.watcher.settings().before_s);
        let before = self.loader.tallies().recent(app, environment, span, &pointer.version);
        let Some(first) = self.go_first(intent, version).await? else {
            return Ok((FirstNodeOutcome::NotLoaded, "what is live is not loaded here".to_owned()));
        };
        self.loader.tallies().switched(app, environment, intent.version);
        let mut bad = BadAnswers::after(self.served_before(intent, pointer.version).await);
        let began = Instant::now();
        let ended = self.look((intent, WatchedFor::First(&first)), watching, before, reporter, &mut bad).await;
        let problem = match ended {
            Ok(Ended::Well(after)) if after.requests < self.watcher.settings().requests_min => {
                return Ok((
                    FirstNodeOutcome::Passed(first),
                    format!("{}: {}: too few to tell", self.node, requests(after)),
                ));
            }
            Ok(Ended::Well(after)) => {
                return Ok((FirstNodeOutcome::Passed(first), format!("{}: {}", self.node, summary(before, after))));
            }
            Ok(Ended::Elsewhere) => {
                return Ok((FirstNodeOutcome::Elsewhere, "something else went live, or other settings".to_owned()));
            }
            Ok(Ended::Stopping) => {
                let detail = format!("{} stops; {} is live as it was.", self.node, pointer.version.short());
                Problem::new(Code::Restarting, detail).hint("push again").into()
            }
            Ok(Ended::Rose(rise)) => {
                let seconds = began.elapsed().as_secs().max(1);
                let seen = format!("{rise} within {seconds} s on {}{}", self.node, bad.listed());
                failed(intent, pointer, &seen)
            }
            Err(error) => error,
        };
        drop(first);
        self.loader.tallies().switched(app, environment, pointer.version);
        Err(problem)
    }

    /// Serves a version as the switch would; `None` without a loaded previous version.
    async fn go_first(&self, intent: &Intent<'_>, version: &Arc<Version>) -> Result<Option<ServedFirst>, Error> {
        let live = &self.ledger.live;
        let target = LoadTarget::Environment(intent.app.clone(), intent.environment.clone());
        self.loader.load_target(live, &target).await;
        let Some(place) = live.place(intent.app, intent.environment) else { return Ok(None) };
        let settings =
            self.environments.settings.settings_to_be(intent.app, intent.environment, intent.settings).await?;
        let withdrawn = live.withdrawn(intent.app);
        let pointer = self.ledger.live_pointer(intent.app, intent.environment).await?;
        let pins = self.pins(intent, pointer.as_ref().map(|(_, pointer)| pointer)).await?;
        let next = Current::new(Arc::clone(version), clock::now_ms(), withdrawn, settings).pinning(pins);
        let first = live.serve_first(&place, Arc::new(next));
        // Signers may have been set since the check, when the version was not yet served here.
        self.loader.forget_unsigned(live, &place).await;
        Ok(first)
    }
}

fn failed(intent: &Intent<'_>, pointer: &LivePointer, seen: &str) -> Error {
    let (to, live) = (intent.version.short(), pointer.version.short());
    let detail = format!("{seen}. No other node was switched to {to}; {live} is live on all of them.");
    let hint = "look at `devanture logs`, and at the preview of the version; fix it and push again";
    Problem::new(Code::WatchFailed, detail).hint(hint).into()
}
