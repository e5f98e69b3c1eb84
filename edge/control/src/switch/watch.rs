//! Watch of an environment after a switch, with automatic undo if errors rise.
//!
//! A watch exists only in the local process: it continues without its client, and ends with the process, which leaves
//! the live version unchanged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_base::fair::Share;
use devanture_base::telemetry::{Answers, LogWanted};
use devanture_base::{clock, telemetry};
use devanture_config::api::{LogFilter, Rollout, Source};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};
use devanture_serve::live::{Current, CurrentSettings, Load, ServedFirst};
use devanture_store::records::LivePointer;
use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::deploys::{StepReporter, Steps};
use super::intent::{CanaryMove, Intent, Move, Passes, Preconditions, Undone};
use super::rise::{BadAnswers, Rise, requests, rise, summary};
use super::swap::SwitchOutcome;
use super::switcher::Switcher;
use crate::ledger::{Actor, Condition, Error};

/// Interval of checks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Interval of progress reports.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Permit of a watched switch, and the duration.
pub(crate) struct Watching {
    span: Duration,
    _share: Share,
}

/// Precautions for making a version live.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caution {
    /// Seconds of the watch.
    pub(crate) watch_s: Option<u64>,
    pub(crate) rollout: Rollout,
}

/// Switch that may be undone.
pub(super) struct Switched {
    pub(super) app: AppName,
    pub(super) environment: PlaceName,
    pub(super) version: VersionId,
    pub(super) deploy: String,
    pub(super) actor: Actor,
}

impl Switched {
    pub(super) fn of(intent: &Intent<'_>) -> Self {
        Self {
            app: intent.app.clone(),
            environment: intent.environment.clone(),
            version: intent.version,
            deploy: intent.deploy.to_owned(),
            actor: intent.actor.clone(),
        }
    }
}

/// Subject of a watch.
#[derive(Clone, Copy)]
pub(super) enum WatchedFor<'w> {
    /// Live version of the deploy.
    Deploy,
    /// Version served by the local node first.
    First(&'w ServedFirst),
}

/// Outcome of a watch.
pub(super) enum Ended {
    /// No share has risen.
    Well(Answers),
    /// Another version went live.
    Elsewhere,
    /// The edge is stopping; the live version stays.
    Stopping,
    Rose(Rise),
}

impl Switcher {
    /// Reserves the watch of a switch before any change.
    ///
    /// # Errors
    /// `bad_request` beyond the limit, `busy` at the limit of concurrent watches.
    fn begin_watch(&self, intent: &Intent<'_>, watch_s: Option<u64>) -> Result<Option<Watching>, Error> {
        self.check_watch(watch_s)?;
        let Some(seconds) = watch_s else { return Ok(None) };
        let Intent { app, environment, .. } = intent;
        let share = self.watcher.places.take_in(app, environment.as_str()).ok_or_else(|| {
            let detail = format!("The edge watches no more switches of the app {app} now.");
            let hint =
                "try again in a moment; `watches_max` in edge.toml is the limit, and half of it for one environment";
            Problem::new(Code::Busy, detail).hint(hint)
        })?;
        Ok(Some(Watching { span: Duration::from_secs(seconds), _share: share }))
    }

    /// Checks the duration of a watch.
    ///
    /// # Errors
    /// `bad_request`.
    pub(crate) fn check_watch(&self, watch_s: Option<u64>) -> Result<(), Error> {
        let max = self.ledger.limits().watch_s_max;
        if watch_s.is_none_or(|seconds| (1..=max).contains(&seconds)) {
            return Ok(());
        }
        let detail = format!("`watch_s` is a number of seconds from 1 to {max}.");
        Err(Problem::new(Code::BadRequest, detail).hint("`watch_s_max` in edge.toml is the limit").into())
    }

    /// Makes a version live, and watches the switch if requested.
    ///
    /// # Errors
    /// As [`Switcher::make_live`], and `watch_failed` if errors rose and the switch was undone.
    pub(crate) async fn make_live_watched(
        self: &Arc<Self>,
        intent: &Intent<'_>,
        caution: Caution,
        steps: &mut Steps,
    ) -> Result<SwitchOutcome, Error> {
        let is_one_first = caution.rollout == Rollout::OneFirst;
        let first_s = is_one_first.then(|| self.watcher.settings().one_first_s);
        let watching = self.begin_watch(intent, caution.watch_s.or(first_s))?;
        let moved = self.make_live(intent, watching.as_ref().filter(|_| is_one_first), steps).boxed().await?;
        self.begin_trial(intent, &moved);
        let Some(watching) = watching.filter(|_| caution.watch_s.is_some()) else { return Ok(moved) };
        match &moved.before {
            Some(replaced) if moved.switched => {
                let reporter = steps.reporter("watch");
                let watch = async { self.watch(intent, &watching, replaced, &reporter).await };
                steps.run("watch", watch.boxed()).await?;
            }
            _ if !moved.switched => steps.skip("watch", "nothing was switched"),
            _ => steps.skip("watch", "nothing was live before, so there is nothing to go back to"),
        }
        Ok(moved)
    }

    async fn watch(
        &self,
        intent: &Intent<'_>,
        watching: &Watching,
        replaced: &LivePointer,
        reporter: &StepReporter,
    ) -> Result<((), String), Error> {
        let began = Instant::now();
        // Protects the previous version until the end of the watch.
        let _lease = self.ledger.leases.going_back(intent.app, replaced.version).await;
        // Only the replaced version is compared: a version undone a moment ago is no reference.
        let (app, environment) = (intent.app.as_str(), intent.environment.as_str());
        let span = Duration::from_secs(self.watcher.settings().before_s);
        let before = self.loader.tallies().recent(app, environment, span, &replaced.version);
        let mut bad = BadAnswers::after(self.served_before(intent, replaced.version).await);
        let ended = self.look((intent, WatchedFor::Deploy), watching, before, reporter, &mut bad).await?;
        let (outcome, result) = match ended {
            Ended::Well(after) if after.requests < self.watcher.settings().requests_min => {
                ("passed", Ok(((), format!("{}: too few to tell", requests(after)))))
            }
            Ended::Well(after) => ("passed", Ok(((), summary(before, after)))),
            Ended::Elsewhere => ("left", Ok(((), "ended: something else went live meanwhile".to_owned()))),
            Ended::Stopping => ("left", Ok(((), "ended: the edge stops".to_owned()))),
            Ended::Rose(rise) => {
                let seconds = began.elapsed().as_secs().max(1);
                let seen = format!("{rise} within {seconds} s of the switch{}", bad.listed());
                self.undo(&Switched::of(intent), replaced, "watch", &seen).await
            }
        };
        let place = (intent.app.as_str(), intent.environment.as_str());
        telemetry::count_in_place("devanture_watches_total", place, &[("outcome", outcome)], 1);
        result
    }

    /// Loads the previously served version, if possible, to look up its addresses.
    pub(super) async fn served_before(&self, intent: &Intent<'_>, version: VersionId) -> Option<Arc<Current>> {
        let (app, environment, live) = (intent.app, intent.environment, &self.ledger.live);
        let at_hand = live.place(app, environment).and_then(|place| place.loaded(&version));
        let version = match at_hand {
            Some(version) => version,
            None => self.loader.load(Load::live(app, &version, environment)).await.ok()?,
        };
        let settings = CurrentSettings::default();
        Some(Arc::new(Current::new(version, clock::now_ms(), live.withdrawn(app), settings)))
    }

    /// Returns true if the watched version is no longer served.
    async fn is_elsewhere(&self, intent: &Intent<'_>, watched: WatchedFor<'_>) -> Result<bool, Error> {
        Ok(match watched {
            WatchedFor::Deploy => {
                let live = self.ledger.live_pointer(intent.app, intent.environment).await?;
                live.is_none_or(|(_, pointer)| pointer.deploy != intent.deploy)
            }
            WatchedFor::First(first) => !first.is_served(),
        })
    }

    /// Checks until the time is over, another version is served, or errors have risen.
    pub(super) async fn look(
        &self,
        (intent, watched): (&Intent<'_>, WatchedFor<'_>),
        watching: &Watching,
        before: Answers,
        reporter: &StepReporter,
        bad: &mut BadAnswers,
    ) -> Result<Ended, Error> {
        let (app, environment) = (intent.app.as_str(), intent.environment.as_str());
        let tally = self.loader.tallies().of(app, environment);
        let at_switch = tally.answers();
        let filter = LogFilter { status: "404,5xx".parse().ok(), ..LogFilter::default() };
        let wanted = LogWanted { app: app.to_owned(), environment: environment.to_owned(), filter };
        // Without a reader, all answers count, and paths are omitted.
        let mut reader = self.watcher.access_log.read_along(wanted).ok();
        let until = tokio::time::Instant::now() + watching.span;
        let mut reported_at = Instant::now();
        let mut is_late = false;
        loop {
            let next = (tokio::time::Instant::now() + LOOK_EVERY).min(until);
            bad.read_until(&mut reader, next).await;
            let after = tally.answers().since(at_switch);
            if self.is_elsewhere(intent, watched).await? {
                return Ok(Ended::Elsewhere);
            }
            if self.tasks.is_closed() {
                return Ok(Ended::Stopping);
            }
            if let Some(rise) = rise(&self.watcher.settings(), before, bad.without_never_there(after)) {
                // Log lines arrive a moment after the counts, and are awaited once.
                if is_late || reader.is_none() || !bad.are_behind(after) {
                    return Ok(Ended::Rose(rise));
                }
                is_late = true;
            } else {
                is_late = false;
            }
            if tokio::time::Instant::now() >= until {
                return Ok(Ended::Well(after));
            }
            if reported_at.elapsed() >= REPORT_EVERY {
                reported_at = Instant::now();
                let left = until.saturating_duration_since(tokio::time::Instant::now()).as_secs();
                reporter.report(&format!("{}, {left} s to go", summary(before, after)));
            }
        }
    }

    /// Undoes the switch if the watched version is still live. `by` and `seen` describe the observer and the
    /// observation.
    pub(super) async fn undo(
        &self,
        watched: &Switched,
        replaced: &LivePointer,
        by: &str,
        seen: &str,
    ) -> (&'static str, Result<((), String), Error>) {
        let begun = self.ledger.tick();
        let deploy = format!("{begun:x}");
        let source = Source { message: Some(format!("Undone by the {by}: {seen}.")), ..Source::default() };
        let intent = Intent {
            app: &watched.app,
            environment: &watched.environment,
            version: replaced.version,
            movement: Move::Rollback { position: Some(replaced.position.clone()) },
            deploy: &deploy,
            begun,
            actor: &watched.actor,
            source: &source,
            log: &[],
            expected: Preconditions {
                version: None,
                condition: &Condition::default(),
                undone: Some(Undone { deploy: &watched.deploy, why: seen }),
            },
            passes: Passes { newer_pushes: true, fingerprints: true, lock: true, smoke: true },
            settings: None,
            half: None,
            brought: (None, None),
            reason: None,
            canary: CanaryMove::None,
        };
        let (from, to) = (watched.version.short(), replaced.version.short());
        tracing::warn!(app = %watched.app, environment = %watched.environment, version = %watched.version, seen, "a switch is undone");
        match self.make_live(&intent, None, &mut Steps::new(None)).boxed().await {
            Ok(_) => {
                let detail = format!("{seen}. The switch to {from} was undone; {to} is live again.");
                let hint = "look at `devanture logs`, and at the preview of the version; fix it and push again";
                ("undone", Err(Problem::new(Code::WatchFailed, detail).hint(hint).into()))
            }
            Err(Error(problem)) if problem.code == Code::LiveMoved => {
                ("left", Ok(((), format!("{seen}, but something else went live meanwhile and is left alone"))))
            }
            Err(Error(problem)) => {
                let why = format!("{} [{}]", problem.detail, problem.code.as_str());
                let detail = format!("{seen}, and the switch to {from} could not be undone, so it is live: {why}");
                let goes_back = format!("`devanture rollback {to}` goes back, or push something better");
                // Neither the undo nor a rollback returns to an unsigned version; the signature must be added first.
                let hint = match problem.hint.filter(|_| problem.code == Code::NotSigned) {
                    Some(signs) => format!("{signs}; then {goes_back}"),
                    None => goes_back,
                };
                ("failed", Err(Problem::new(Code::WatchFailed, detail).hint(hint).into()))
            }
        }
    }
}

// Automatic undo of a switch if all its started instances fail soon afterwards.
//
// Like a watch, a trial exists only in the local process. A trial runs beside the caller of the switch, and ends with
// the process.

/// Longest delay of a trial's end at the stop of the edge.
const STOP_LOOK: Duration = Duration::from_millis(500);

impl Switcher {
    /// Starts the trial of a switch, if a previous version exists.
    pub(super) fn begin_trial(self: &Arc<Self>, intent: &Intent<'_>, moved: &SwitchOutcome) {
        // A rollback is a deliberate choice of version, and is not undone.
        let span = Duration::from_millis(self.ledger.limits().instance_trial_ms);
        if intent.movement.is_rollback()
            || !moved.switched
            || self.environments.instances.runner_if_any().is_none()
            || span.is_zero()
        {
            return;
        }
        let Some(replaced) = moved.before.clone() else { return };
        let (this, switched) = (Arc::clone(self), Switched::of(intent));
        self.tasks.spawn(async move {
            if let Err(error) = this.try_instances(&switched, &replaced, span).boxed().await {
                let (app, environment) = (&switched.app, &switched.environment);
                tracing::warn!(%app, %environment, %error, "the new instances are not watched any longer");
            }
        });
    }

    async fn try_instances(&self, switched: &Switched, replaced: &LivePointer, span: Duration) -> Result<(), Error> {
        let until = tokio::time::Instant::now() + span;
        let (app, environment) = (&switched.app, &switched.environment);
        let Some(managed) = self.environments.instances.managed_in((app, environment), switched.version).await? else {
            return Ok(());
        };
        let before = self.environments.instances.managed_in((app, environment), replaced.version).await?;
        if before.is_some_and(|before| before.digest == managed.digest) {
            // Instances from before the switch: an undo would change nothing.
            return Ok(());
        }
        let failure = self.environments.instances.failure((app, environment), switched.version, managed.digest);
        let mut failure = std::pin::pin!(failure);
        let why = loop {
            if tokio::time::Instant::now() >= until || self.tasks.is_closed() {
                return Ok(());
            }
            if let Ok(ended) = timeout(STOP_LOOK, &mut failure).await {
                break ended;
            }
        };
        let Some(why) = why? else { return Ok(()) };
        if let (_, Err(Error(problem))) = self.undo(switched, replaced, "edge", &why).await {
            tracing::error!(%app, %environment, detail = problem.detail, "the new instances failed");
        }
        Ok(())
    }
}
