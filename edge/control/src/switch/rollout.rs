//! Rollout to one node first: the local node serves and watches the new version before the pointer moves for all.
//!
//! Nothing is committed until then: if errors rise or the process ends, every node serves the previous version.

use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::problem::{Code, Problem};
use futures_util::FutureExt as _;

use super::intent::Intent;
use super::rise::{BadAnswers, requests, summary};
use super::steps::{StepReporter, Steps};
use super::switcher::Switcher;
use super::watch::{Ended, WatchedFor, Watching};
use crate::ledger::Error;
use devanture_base::clock;
use devanture_serve::live::{Current, LoadTarget, ServedFirst};
use devanture_serve::version::Version;
use devanture_store::records::LivePointer;

/// Name of the step.
const STEP: &str = "first";
/// Most watches of a rollout, if the live version changes during each.
const TRIES_MAX: usize = 3;

/// Outcome of the watch on the first node.
enum First {
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
                First::Passed(first) => return Ok(Some(first)),
                First::NotLoaded => return Ok(None),
                // The old version was served again, so the observations are void.
                First::Elsewhere => {}
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
    ) -> Result<(First, String), Error> {
        // Signers set during the preparation or the watch end the rollout.
        self.check_signed(intent).await?;
        let (app, environment) = (intent.app.as_str(), intent.environment.as_str());
        let span = Duration::from_secs(self.watcher.settings().before_s);
        let before = self.loader.tallies().recent(app, environment, span, &pointer.version);
        let Some(first) = self.go_first(intent, version).await? else {
            return Ok((First::NotLoaded, "what is live is not loaded here".to_owned()));
        };
        self.loader.tallies().switched(app, environment, intent.version);
        let mut bad = BadAnswers::after(self.served_before(intent, pointer.version).await);
        let began = Instant::now();
        let ended = self.look((intent, WatchedFor::First(&first)), watching, before, reporter, &mut bad).await;
        let problem = match ended {
            Ok(Ended::Well(after)) if after.requests < self.watcher.settings().requests_min => {
                return Ok((First::Passed(first), format!("{}: {}: too few to tell", self.node, requests(after))));
            }
            Ok(Ended::Well(after)) => {
                return Ok((First::Passed(first), format!("{}: {}", self.node, summary(before, after))));
            }
            Ok(Ended::Elsewhere) => {
                return Ok((First::Elsewhere, "something else went live, or other settings".to_owned()));
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
