//! Lists the schedules of an environment, and runs a schedule on request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use devanture_config::api::{ScheduleList, ScheduleRun, ScheduleRunEnd, ScheduleSkip, ScheduleStatus};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{Schedule, ScheduleName};
use devanture_config::{AppName, PlaceName};

use super::Scheduler;
use super::claim::ClaimOutcome;
use super::due::{NextAction, due};
use super::known::Place;
use super::run::ClaimedRun;
use crate::ledger::{Action, Actor, AuditEvent, Error};
use devanture_base::clock;

impl Scheduler {
    /// Returns the schedules of the live version of an environment.
    ///
    /// # Errors
    /// `not_found` for an unknown app, `runner_off`.
    pub async fn schedules(&self, app: &AppName, environment: &PlaceName) -> Result<ScheduleList, Error> {
        self.ledger.must_exist(app).await?;
        self.instances.runner()?;
        let place = (app.clone(), environment.clone());
        let mut schedules = Vec::new();
        let current = self.scheduled(&place);
        let managed = current.as_ref().and_then(|current| current.version.managed.as_ref());
        for schedule in managed.iter().flat_map(|managed| &managed.server.schedules) {
            schedules.push(self.schedule_status(&place, schedule).await?);
        }
        Ok(ScheduleList { schedules, paused: self.pauses.paused(app, environment).await?.is_some() })
    }

    async fn schedule_status(&self, place: &Place, schedule: &Schedule) -> Result<ScheduleStatus, Error> {
        let record = self.schedule_record(place, &schedule.name).await?.0.unwrap_or_default();
        let now_ms = clock::now_ms();
        let is_same = record.cron == schedule.cron.as_str() && record.zone == schedule.zone.as_str();
        let done_ms = if is_same { record.time_ms } else { now_ms };
        let next_ms = match due(schedule, done_ms, now_ms) {
            NextAction::Now(at) | NextAction::At(at) => Some(at),
            NextAction::Missed(at) => schedule.cron.next_after(&schedule.zone, at.max(now_ms)),
            NextAction::Never => None,
        };
        Ok(ScheduleStatus {
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            zone: schedule.zone.clone(),
            command: schedule.command.clone(),
            missed: schedule.missed,
            overlap: schedule.overlap,
            timeout_ms: self.schedule_ms_max(schedule),
            next_ms,
            running: record.running.into_iter().map(|running| running.run.into()).collect(),
            last: record.last.map(ScheduleRunEnd::from),
            skipped: record.skipped.map(ScheduleSkip::from),
        })
    }

    /// Runs a schedule now, on this node, in addition to the due times. Returns once the command has started; with
    /// `dry_run`, only reports the status of the schedule.
    ///
    /// # Errors
    /// `not_found` for a schedule outside the live version; `busy` if the schedule is running already, or the number of
    /// running commands is at the limit.
    pub async fn run_schedule(
        self: &Arc<Self>,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        name: &ScheduleName,
        dry_run: bool,
    ) -> Result<ScheduleStatus, Error> {
        self.ledger.must_exist(app).await?;
        self.instances.runner()?;
        let place = (app.clone(), environment.clone());
        let Some((current, schedule)) = self.live_schedule(&place, name) else {
            let detail = format!("What is live in {environment} of {app} has no schedule `{name}`.");
            return Err(Problem::new(Code::NotFound, detail).hint("`devanture schedules` lists them").into());
        };
        if dry_run {
            return self.schedule_status(&place, &schedule).await;
        }
        let Some(runtime) = self.state.runtime.get().filter(|_| !self.state.is_closed.load(Ordering::Acquire)) else {
            return Err(crate::runner::Error::Ended.into());
        };
        let Some(share) = self.take_share(&place) else {
            let hint = "`scheduled_runs_per_app_max` and `scheduled_runs_max` in edge.toml are the limits";
            return Err(busy("As many commands of schedules run as may.", hint));
        };
        let claimed = async {
            let event = AuditEvent::of(Action::RunSchedule).place(app, environment).what(name.as_str());
            self.ledger.record(actor, event).await?;
            self.claim_run(&place, &schedule, &current, None).await
        };
        let ClaimOutcome::Run(claim) = claimed.await? else {
            let hint = "wait for its end, see `devanture schedules`";
            return Err(busy(&format!("The schedule {name} runs already."), hint));
        };
        let run: ScheduleRun = claim.run.clone();
        let scheduler = Arc::clone(self);
        let beginning = ClaimedRun { place: place.clone(), schedule: schedule.clone(), current, claim };
        self.state.runs.spawn_on(
            async move {
                scheduler.run_claimed(beginning).await;
                drop(share);
            },
            runtime,
        );
        let status = self.schedule_status(&place, &schedule).await?;
        // The run may have ended already.
        let running = if status.running.contains(&run) { status.running } else { vec![run] };
        Ok(ScheduleStatus { running, ..status })
    }
}

fn busy(detail: &str, hint: &str) -> Error {
    Problem::new(Code::Busy, detail).hint(hint).into()
}
