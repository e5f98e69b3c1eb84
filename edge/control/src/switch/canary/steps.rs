//! What canaries with a plan do by themselves: their next step when its time has come, and their end where errors rise.
//!
//! Every node compares its own answers of both versions, and every node takes the steps: the pointer moves by
//! compare-and-swap, so that the first one counts. Nothing but the pointer is remembered.

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

/// Interval of looks at canaries.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause after a step that failed.
const PAUSE: Duration = Duration::from_secs(30);
/// Lines of the access log that are looked at where errors seem to have risen.
const LINES_MAX: usize = 1_000;

type Place = (AppName, PlaceName);

/// What is compared in each environment where a canary runs.
#[derive(Default)]
pub(crate) struct Windows(HashMap<Place, Window>);

/// The answers of both versions when a step began.
struct Window {
    deploy: String,
    share: Percent,
    live: Answers,
    canary: Answers,
    /// What makes it live for all visitors: no other step is taken until that has ended.
    finishing: Option<JoinHandle<()>>,
    /// No step is taken until then.
    paused_until: Option<Instant>,
}

impl Window {
    /// Whether a step may be taken: none is under way, and none has failed a moment ago.
    fn may_step(&mut self) -> bool {
        if self.finishing.take_if(|finishing| finishing.is_finished()).is_some() {
            // It failed, or this node is about to see that the canary is over.
            self.pause();
        }
        self.finishing.is_none() && self.paused_until.is_none_or(|until| until <= Instant::now())
    }

    /// Lets no step be taken for a while. False where none was to be taken already.
    fn pause(&mut self) -> bool {
        let is_new = self.paused_until.is_none_or(|until| until <= Instant::now());
        if is_new {
            self.paused_until = Some(Instant::now() + PAUSE);
        }
        is_new
    }
}

impl Switcher {
    /// Looks at all canaries until the edge ends.
    pub async fn keep_canaries(self: Arc<Self>) {
        let mut windows = Windows::default();
        while !self.tasks.is_closed() {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look_at_canaries(&mut windows).await;
        }
    }

    /// Looks at each canary once.
    pub(crate) async fn look_at_canaries(self: &Arc<Self>, Windows(windows): &mut Windows) {
        let running = self.ledger.live.canaries();
        windows.retain(|place, _| running.iter().any(|(app, name, _)| (app, name) == (&place.0, &place.1)));
        for (app, environment, current) in running {
            let place = (app, environment);
            if let Err(Error(problem)) = self.look_at_canary(&place, &current, windows).boxed().await {
                let (app, environment) = &place;
                // An abort that fails is tried again at each look, and is logged no more often than a step.
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
        // After the comparison: the errors of a canary do not wait for a step that takes long or fails.
        if window.may_step() {
            window.finishing = self.step_by_plan(place, record).await?;
        }
        Ok(())
    }

    /// The last answers of the canary with 404, beside what the live version has at the same addresses.
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

    /// Takes the step that is due. Returns the task of the last one, which takes a while.
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
            // All of them.
            Err(_) => {
                let running = Some((record.deploy.as_str(), record.share));
                let switching = self.finish_canary(&actor, place, running, &CanaryEnd::default(), None).await;
                let Ok(switching) = switching else { return unless_over(switching.map(drop)).map(|()| None) };
                // Meanwhile other canaries have their steps.
                let place = (app.clone(), environment.clone());
                Ok(Some(self.tasks.spawn(finished(place, switching).boxed())))
            }
        }
    }
}

/// Waits for the end of a canary that all visitors get.
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

/// Acts for the one who began it, with the rights that they had then: what another place has got meanwhile, such as a
/// wildcard, the last step takes from it only if they might. What an earlier release began takes nothing.
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

/// Passes over that another node was first.
fn unless_over(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error(problem)) if matches!(problem.code, Code::NoCanary | Code::Conflict) => Ok(()),
        result => result,
    }
}
