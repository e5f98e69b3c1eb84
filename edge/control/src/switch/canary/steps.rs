//! Automation of canaries with a plan: due steps, and abort on risen errors.
//!
//! Every node compares its own answers of both versions, and every node takes the steps: since the pointer moves by
//! compare-and-swap, the first step counts. Only the pointer is persistent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{CanaryEnd, CanaryRequest, DeployProblem, LogFilter, Percent, Scope};
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ledger::{Actor, Error};
use crate::switch::rise::{BadAnswers, rise};
use crate::switch::stored::Switching;
use crate::switch::switcher::Switcher;
use devanture_base::clock;
use devanture_base::telemetry::{self, Answers, LogWanted};
use devanture_serve::live::Current;
use devanture_store::records::{BegunWith, CanaryRecord};

/// Interval of checks of canaries.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause after a failed step.
const PAUSE: Duration = Duration::from_secs(30);
/// Log lines examined when errors seem to have risen.
const LINES_MAX: usize = 1_000;

type Place = (AppName, PlaceName);

/// Comparison state of each environment with a canary.
#[derive(Default)]
pub(crate) struct Windows(HashMap<Place, Window>);

/// Answers of both versions at the beginning of a step.
struct Window {
    deploy: String,
    share: Percent,
    live: Answers,
    canary: Answers,
    /// Task that makes the canary live for all visitors; no other step runs before its end.
    finishing: Option<JoinHandle<()>>,
    /// End of the pause of steps.
    paused_until: Option<Instant>,
}

impl Window {
    /// Returns true if a step may be taken: none is running, and none has just failed.
    fn may_step(&mut self) -> bool {
        if self.finishing.take_if(|finishing| finishing.is_finished()).is_some() {
            // The task failed, or the node is about to see the end of the canary.
            self.pause();
        }
        self.finishing.is_none() && self.paused_until.is_none_or(|until| until <= Instant::now())
    }

    /// Pauses steps for a while. Returns false if already paused.
    fn pause(&mut self) -> bool {
        let is_new = self.paused_until.is_none_or(|until| until <= Instant::now());
        if is_new {
            self.paused_until = Some(Instant::now() + PAUSE);
        }
        is_new
    }
}

impl Switcher {
    /// Checks all canaries until the edge ends.
    pub async fn keep_canaries(self: Arc<Self>) {
        let mut windows = Windows::default();
        while !self.tasks.is_closed() {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look_at_canaries(&mut windows).await;
        }
    }

    /// Checks each canary once.
    pub(crate) async fn look_at_canaries(self: &Arc<Self>, Windows(windows): &mut Windows) {
        let running = self.ledger.live.canaries();
        windows.retain(|place, _| running.iter().any(|(app, name, _)| (app, name) == (&place.0, &place.1)));
        for (app, environment, current) in running {
            let place = (app, environment);
            if let Err(Error(problem)) = self.look_at_canary(&place, &current, windows).boxed().await {
                let (app, environment) = &place;
                // A failed abort is repeated at each check, but logged no more often than a step.
                if windows.get_mut(&place).is_none_or(Window::pause) {
                    tracing::warn!(%app, %environment, detail = problem.detail, "a canary stays as it is");
                }
            }
        }
    }

    async fn look_at_canary(
        self: &Arc<Self>,
        place: &Place,
        current: &Arc<Current>,
        windows: &mut HashMap<Place, Window>,
    ) -> Result<(), Error> {
        let (Some(canary), Some(live_side)) = (&current.canary, &current.side) else { return Ok(()) };
        let Some(side) = &canary.next.side else { return Ok(()) };
        let record = &canary.record;
        let (live, answers) = (live_side.answers(), side.answers());
        let begins = || Window {
            deploy: record.deploy.clone(),
            share: record.share,
            live,
            canary: answers,
            finishing: None,
            paused_until: None,
        };
        let window = windows.entry(place.clone()).or_insert_with(begins);
        if window.deploy != record.deploy {
            *window = begins();
        } else if window.share != record.share {
            *window = Window { finishing: window.finishing.take(), ..begins() };
        }
        if record.plan.is_none() {
            return Ok(());
        }
        let (before, after) = (live.since(window.live), answers.since(window.canary));
        let settings = self.watcher.settings();
        let rise = rise(&settings, before, after)
            .and_then(|_| rise(&settings, before, self.remembered(place, current, record).without_never_there(after)));
        if let Some(rise) = rise {
            let detail = format!("{rise}, compared with the live version. All visitors get that again.");
            return self.abort_by_rule(place, record, detail).await;
        }
        // After the comparison: errors of a canary must not wait for a slow or failing step.
        if window.may_step() {
            window.finishing = self.step_by_plan(place, record).await?;
        }
        Ok(())
    }

    /// Returns the canary's last answers with 404, compared with the live version at the same addresses.
    fn remembered(&self, (app, environment): &Place, live: &Arc<Current>, record: &CanaryRecord) -> BadAnswers {
        let filter = LogFilter { status: "404".parse().ok(), ..LogFilter::default() };
        let wanted = LogWanted { app: app.to_string(), environment: environment.to_string(), filter };
        let canary = record.version.short();
        let mut bad = BadAnswers::after(Some(Arc::clone(live)));
        for line in self.watcher.access_log.remembered(&wanted, LINES_MAX) {
            if line.version.as_deref() == Some(canary.as_str()) {
                bad.count(&line);
            }
        }
        bad
    }

    async fn abort_by_rule(
        &self,
        (app, environment): &Place,
        record: &CanaryRecord,
        detail: String,
    ) -> Result<(), Error> {
        let problem = DeployProblem { code: Code::WatchFailed, detail: detail.clone() };
        let running = Some((record.deploy.as_str(), record.share));
        let ended = self.end_canary(&actor(record), (app, environment), running, (Some(problem), None)).await;
        if ended.is_ok() {
            tracing::warn!(%app, %environment, version = %record.version, detail, "a canary was aborted");
            count((app, environment), "aborted");
        }
        unless_over(ended)
    }

    /// Takes a due step. Returns the task of the last step, which takes a while.
    async fn step_by_plan(
        self: &Arc<Self>,
        (app, environment): &Place,
        record: &CanaryRecord,
    ) -> Result<Option<JoinHandle<()>>, Error> {
        if !record.is_due(clock::now_ms()) {
            return Ok(None);
        }
        let Some(percent) = record.plan.as_ref().and_then(|plan| plan.after(record.share)) else { return Ok(None) };
        let (actor, place) = (actor(record), (app, environment));
        match Percent::try_from(percent) {
            Ok(share) => {
                let (running, request) = ((record.deploy.as_str(), record.share), CanaryRequest::default());
                unless_over(self.change_canary(&actor, place, Some(running), share, &request).await).map(|()| None)
            }
            // The last step, for all visitors.
            Err(_) => {
                let running = Some((record.deploy.as_str(), record.share));
                let switching = self.finish_canary(&actor, place, running, &CanaryEnd::default(), None).await;
                let Ok(switching) = switching else { return unless_over(switching.map(drop)).map(|()| None) };
                // Detached, so that other canaries can step meanwhile.
                let place = (app.clone(), environment.clone());
                Ok(Some(self.tasks.spawn(finished(place, switching).boxed())))
            }
        }
    }
}

/// Waits for the switch of all visitors to the canary.
async fn finished((app, environment): Place, switching: Switching) {
    match switching.await.map(|result| result.map_err(|error| unless_over(Err(error)))) {
        Ok(Ok(_)) => count((&app, &environment), "finished"),
        Ok(Err(Err(Error(problem)))) => {
            tracing::warn!(%app, %environment, detail = problem.detail, "a canary stays as it is");
        }
        // Another node was first, or the edge ends.
        Ok(Err(Ok(()))) | Err(_) => {}
    }
}

/// Returns the actor who began the canary, with the rights of that time: the last step takes a hostname gained
/// meanwhile by another environment, for example by a wildcard, only within those rights. A canary of an earlier
/// release takes none.
fn actor(record: &CanaryRecord) -> Actor {
    let name = record.who.clone();
    match record.begun_with.clone() {
        Some(BegunWith { app, environment, scope, unconfirmed }) => {
            Actor { name, app, environment, scope: scope.into(), unconfirmed, ..Actor::local() }
        }
        None => Actor { name, scope: Scope::Read, unconfirmed: true, ..Actor::local() },
    }
}

fn count((app, environment): (&AppName, &PlaceName), outcome: &'static str) {
    let place = (app.as_str(), environment.as_str());
    telemetry::count_in_place("devanture_canaries_total", place, &[("outcome", outcome)], 1);
}

/// Ignores a step already taken by another node.
fn unless_over(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error(problem)) if matches!(problem.code, Code::NoCanary | Code::Conflict) => Ok(()),
        result => result,
    }
}
