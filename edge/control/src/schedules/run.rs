//! Runs claimed schedules, and records the end of runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use devanture_config::api::{RunOutcome, ScheduleRunEnd};
use devanture_config::site_toml::{Schedule, ScheduleName};
use tokio_util::sync::CancellationToken;

use super::Scheduler;
use super::claim::{Claim, ClaimOutcome};
use super::known::{Place, Waiting};
use crate::ledger::{Error, update};
use crate::runner::{Scheduled, ScheduledEnd};
use devanture_base::clock;
use devanture_base::telemetry;
use devanture_serve::live::Current;

/// Delay before retrying to record the end of a run, after an error of the catalog.
const PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of attempts to record the end of a run; an unrecorded run counts as interrupted later.
const WRITES_MAX: usize = 30;

/// Claimed run with the data to start.
pub(super) struct ClaimedRun {
    pub(super) place: Place,
    pub(super) schedule: Schedule,
    pub(super) current: Arc<Current>,
    pub(super) claim: Claim,
}

/// Permit of an environment, released on drop, also when the client of a request disconnects.
pub(super) struct Share {
    scheduler: Arc<Scheduler>,
    place: Place,
}

impl Drop for Share {
    fn drop(&mut self) {
        let schedules = &self.scheduler.state;
        schedules.shares.lock().give_back(&self.place);
        schedules.ended.notify_one();
    }
}

impl Scheduler {
    /// Starts waiting schedules within the limits.
    pub(super) fn begin_waiting(self: &Arc<Self>) {
        if self.state.is_closed.load(Ordering::Acquire) {
            return;
        }
        let waiting = self.state.known.lock().waiting(self.instances.node());
        for waiting in waiting {
            let Some(share) = self.take_share(&waiting.place) else { continue };
            self.state.known.lock().begun(&waiting.place, &waiting.name);
            let scheduler = Arc::clone(self);
            self.state.runs.spawn(async move {
                scheduler.run_waiting(&waiting).await;
                drop(share);
            });
        }
    }

    /// Takes a permit for an app, if the app and the node are below the limits.
    pub(super) fn take_share(self: &Arc<Self>, place: &Place) -> Option<Share> {
        let limits = self.ledger.limits();
        let (total_max, app_max) = (limits.scheduled_runs_max, limits.scheduled_runs_per_app_max);
        let is_taken = self.state.shares.lock().take(place, total_max, app_max);
        is_taken.then(|| Share { scheduler: Arc::clone(self), place: place.clone() })
    }

    async fn run_waiting(self: &Arc<Self>, waiting: &Waiting) {
        let Waiting { place, name, due_ms } = waiting;
        let Some((current, schedule)) = self.live_schedule(place, name) else { return };
        let claimed = self.claim_run(place, &schedule, &current, Some(*due_ms)).await;
        let known = &self.state.known;
        match claimed {
            Ok(ClaimOutcome::Run(claim)) => {
                known.lock().done(place, name, *due_ms);
                self.run_claimed(ClaimedRun { place: place.clone(), schedule, current, claim }).await;
            }
            Ok(ClaimOutcome::Done(done_ms) | ClaimOutcome::Running(done_ms)) => known.lock().done(place, name, done_ms),
            Ok(ClaimOutcome::Unsettled) => known.lock().leave(place, name, clock::now_ms()),
            Err(error) => {
                tracing::debug!(app = %place.0, environment = %place.1, schedule = %name, %error, "a schedule does not begin");
                known.lock().leave(place, name, clock::now_ms());
            }
        }
    }

    /// Returns the live version of an environment, and a schedule of the version.
    pub(super) fn live_schedule(&self, place: &Place, name: &ScheduleName) -> Option<(Arc<Current>, Schedule)> {
        let current = self.scheduled(place)?;
        let managed = current.version.managed.as_ref()?;
        let schedule = managed.server.schedules.iter().find(|schedule| schedule.name == *name)?.clone();
        Some((current, schedule))
    }

    /// Runs a claimed due time to completion, in the folder of the version that was live at the start.
    pub(super) async fn run_claimed(&self, beginning: ClaimedRun) {
        let ClaimedRun { place, schedule, current, claim } = beginning;
        let Claim { under_way, run, duty } = claim;
        let (id, stop, kill) = (&under_way.id, under_way.stop.clone(), CancellationToken::new());
        let lost = async {
            match &duty {
                Some(duty) => duty.lost().await,
                None => std::future::pending().await,
            }
        };
        let running = self.run_command(&place, &schedule, &current, (stop, kill.clone()));
        tokio::pin!(running);
        let end = tokio::select! {
            end = &mut running => end,
            // Another node may start the next run from now on.
            () = lost => {
                kill.cancel();
                running.await
            }
        };
        let (outcome, exit_code, detail) = match end {
            ScheduledEnd::Exited(0) => (RunOutcome::Succeeded, Some(0), None),
            ScheduledEnd::Exited(code) => (RunOutcome::Failed, Some(code), None),
            ScheduledEnd::Failed(reason) => (RunOutcome::Failed, None, Some(reason)),
            ScheduledEnd::Interrupted => (RunOutcome::Interrupted, None, None),
            ScheduledEnd::TimedOut => (RunOutcome::TimedOut, None, None),
        };
        let labels = [("outcome", outcome.word())];
        telemetry::count_in_place("devanture_schedule_runs_total", (place.0.as_str(), place.1.as_str()), &labels, 1);
        let ended = ScheduleRunEnd { run, ended_ms: clock::now_ms(), outcome, exit_code, detail };
        for _ in 0..WRITES_MAX {
            match self.write_end(&place, &schedule.name, id, &ended).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(app = %place.0, environment = %place.1, schedule = %schedule.name, %error, "the end of a run cannot be written");
                    if self.state.is_closed.load(Ordering::Acquire) {
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // Up to this line, the run counted as in progress.
        drop((under_way, duty));
    }

    async fn run_command(
        &self,
        (app, environment): &Place,
        schedule: &Schedule,
        current: &Current,
        (stop, kill): (CancellationToken, CancellationToken),
    ) -> ScheduledEnd {
        let Some(managed) = current.version.managed.as_deref().cloned() else { return ScheduledEnd::Interrupted };
        let settings = current.settings.load().revision;
        let wanted = self.instances.wanted((app, environment), current.version.id, managed, settings).await;
        let (wanted, runner) = match wanted.and_then(|wanted| Ok((wanted, self.instances.runner()?))) {
            Ok(both) => both,
            Err(Error(problem)) => return ScheduledEnd::Failed(problem.detail),
        };
        let time_max = Duration::from_millis(self.schedule_ms_max(schedule));
        let name = format!("schedule.{}", schedule.name);
        let command = schedule.command.clone();
        runner.run_scheduled(&wanted, Scheduled { name, command, time_max, stop, kill }).await
    }

    /// Returns the maximum duration of a run, in milliseconds.
    pub(super) fn schedule_ms_max(&self, schedule: &Schedule) -> u64 {
        let max = self.ledger.limits().schedule_ms_max;
        schedule.timeout_ms.map_or(max, |own| own.min(max))
    }

    async fn write_end(
        &self,
        place: &Place,
        name: &ScheduleName,
        id: &str,
        ended: &ScheduleRunEnd,
    ) -> Result<(), Error> {
        update(name.as_str(), || async {
            let (found, check) = self.schedule_record(place, name).await?;
            // The environment was purged, or another node has marked the run as interrupted.
            let Some(mut record) = found.filter(|record| record.running.iter().any(|running| running.id == id)) else {
                return Ok(Some(()));
            };
            record.running.retain(|running| running.id != id);
            record.last = Some(ended.clone().into());
            // A new live version may lack the schedule.
            let is_over = record.running.is_empty()
                && self.scheduled(place).is_some()
                && self.live_schedule(place, name).is_none();
            let record = (!is_over).then_some(&record);
            Ok(self.write_schedule(place, name, record, check).await?.then_some(()))
        })
        .await
    }
}
