//! Claims a due time of a schedule for this node by a commit before the command starts.

use devanture_config::api::ScheduleRun;
use devanture_config::site_toml::{Schedule, ScheduleName};
use devanture_config::{AppName, PlaceName};

use super::RunGuard;
use super::Scheduler;
use super::due::is_done;
use super::known::Place;
use crate::cluster;
use crate::ledger::{Attempts, Duty, Error, SystemWrite, commit_system, unless_conflict};
use devanture_base::clock;
use devanture_serve::live::Current;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::schedules::{RunningRecord, ScheduleRecord, StoredRunEnd, StoredSkip, schedule_key};
use devanture_store::records::{self, StoredRunOutcome, StoredSkipReason};

/// Maximum number of concurrent runs of a schedule with `overlap`, on all nodes.
const RUNS_MAX: usize = 10;

/// Result of a claim.
pub(super) enum ClaimOutcome {
    /// This node runs the command.
    Run(Claim),
    /// All due times up to this time were run or skipped.
    Done(u64),
    /// The previous run is still in progress, and the due time was skipped.
    Running(u64),
    /// Another node has just started or ended a run: check again.
    Unsettled,
}

/// Claimed run, ready to start on this node.
pub(super) struct Claim {
    pub(super) under_way: RunGuard,
    pub(super) run: ScheduleRun,
    /// Prevents other nodes from running the schedule, and from counting this run as abandoned.
    pub(super) duty: Option<Duty>,
}

impl Scheduler {
    /// Returns the record of a schedule, and the check that the record is unchanged.
    pub(super) async fn schedule_record(
        &self,
        (app, environment): &Place,
        name: &ScheduleName,
    ) -> Result<(Option<ScheduleRecord>, Check), Error> {
        let key = schedule_key(app, environment, name);
        Ok(match self.ledger.catalog.get(&key).await? {
            Some(record) => (Some(records::read(&key, &record)?), Check::At(key, record.revision)),
            None => (None, Check::Absent(key)),
        })
    }

    /// Writes the record of a schedule; false if another commit won the race.
    pub(super) async fn write_schedule(
        &self,
        (app, environment): &Place,
        name: &ScheduleName,
        record: Option<&ScheduleRecord>,
        check: Check,
    ) -> Result<bool, Error> {
        let key = schedule_key(app, environment, name);
        let change = match record {
            Some(record) => Change::Put(key, records::write(record)?),
            None => Change::Delete(key),
        };
        let commit = Commit { checks: vec![check], changes: vec![change] };
        let committed = commit_system(&*self.ledger.catalog, SystemWrite::Schedule, commit).await;
        Ok(unless_conflict(committed)?.is_some())
    }

    /// Claims the due time `due_ms` of a schedule, or a run on request for `None`.
    pub(super) async fn claim_run(
        &self,
        place: &Place,
        schedule: &Schedule,
        current: &Current,
        due_ms: Option<u64>,
    ) -> Result<ClaimOutcome, Error> {
        // Registered before the write, so readers of the record find the run in progress.
        let (under_way, mut duty) = (self.state.under_way(place), None);
        let id = &under_way.id;
        let mut attempts = Attempts::default();
        loop {
            attempts.begin(&schedule_key(&place.0, &place.1, &schedule.name))?;
            let now_ms = clock::now_ms();
            let (found, check) = self.schedule_record(place, &schedule.name).await?;
            let mut record = found.unwrap_or_default();
            if due_ms.is_some_and(|due_ms| is_done(due_ms, record.time_ms, now_ms)) {
                return Ok(ClaimOutcome::Done(record.time_ms));
            }
            self.settle_left_behind(place, &schedule.name, &mut record).await?;
            follow_expression(&mut record, schedule, current.live_since_ms());
            record.time_ms = due_ms.unwrap_or(record.time_ms);
            let runs_max = if schedule.overlap { RUNS_MAX } else { 1 };
            if record.running.len() >= runs_max {
                let time_ms = record.time_ms;
                let Some(due_ms) = due_ms else { return Ok(ClaimOutcome::Running(time_ms)) };
                record.skipped = Some(StoredSkip { due_ms, reason: StoredSkipReason::Running });
                if self.write_schedule(place, &schedule.name, Some(&record), check).await? {
                    return Ok(ClaimOutcome::Running(time_ms));
                }
                continue;
            }
            if let (Some(nodes), None) = (&self.instances.nodes, &duty) {
                let name = duty_of(place, &schedule.name, schedule.overlap.then_some(id));
                duty = nodes.take_duty(&name).await.map_err(cluster::Error::into_problem)?;
                if duty.is_none() {
                    return Ok(ClaimOutcome::Unsettled);
                }
            }
            let node = self.instances.node().to_owned();
            let run = ScheduleRun { due_ms, started_ms: now_ms, node, version: current.version.id };
            let process = self.state.process.clone();
            record.running.push(RunningRecord { id: id.clone(), process, run: run.clone().into() });
            if self.write_schedule(place, &schedule.name, Some(&record), check).await? {
                return Ok(ClaimOutcome::Run(Claim { under_way, run, duty }));
            }
        }
    }

    /// Marks runs of terminated edge processes as interrupted. Returns true if there were any.
    pub(super) async fn settle_left_behind(
        &self,
        place: &Place,
        name: &ScheduleName,
        record: &mut ScheduleRecord,
    ) -> Result<bool, Error> {
        let mut left = Vec::new();
        for running in std::mem::take(&mut record.running) {
            match self.is_running(place, name, &running).await? {
                true => record.running.push(running),
                false => left.push(running.run),
            }
        }
        let has_left = !left.is_empty();
        for run in left {
            let detail = Some("the edge ended during it".to_owned());
            let (ended_ms, outcome) = (clock::now_ms(), StoredRunOutcome::Interrupted);
            record.last = Some(StoredRunEnd { run, ended_ms, outcome, exit_code: None, detail });
        }
        Ok(has_left)
    }

    /// Returns true if a run is in progress, as far as this node knows.
    async fn is_running(&self, place: &Place, name: &ScheduleName, running: &RunningRecord) -> Result<bool, Error> {
        if running.process == self.state.process {
            return Ok(self.state.stops.lock().contains_key(&running.id));
        }
        let Some(nodes) = &self.instances.nodes else { return Ok(false) };
        for id in [None, Some(&running.id)] {
            if nodes.is_duty_taken(&duty_of(place, name, id)).await.map_err(cluster::Error::into_problem)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Resets a record to the expression of a schedule, if different: due times then count from the switch to the live
/// version. Returns false for an unchanged expression. All writers of the record call this function, because a run on
/// request may precede the first record of the schedule.
pub(super) fn follow_expression(record: &mut ScheduleRecord, schedule: &Schedule, since_ms: u64) -> bool {
    let (cron, zone) = (schedule.cron.as_str(), schedule.zone.as_str());
    let is_other = record.cron != cron || record.zone != zone;
    if is_other {
        (record.cron, record.zone) = (cron.to_owned(), zone.to_owned());
        record.time_ms = record.time_ms.max(since_ms);
    }
    is_other
}

/// Returns the duty of the node with a run: a single duty for all runs, or a duty per run if runs may overlap.
fn duty_of((app, environment): &(AppName, PlaceName), name: &ScheduleName, id: Option<&String>) -> String {
    match id {
        Some(id) => format!("schedule/{app}/{environment}/{name}/{id}"),
        None => format!("schedule/{app}/{environment}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_an_expression_count_from_when_it_went_live() {
        let schedule = Schedule {
            name: "digest".parse().unwrap(),
            command: vec!["digest".to_owned()],
            cron: "0 8 * * *".parse().unwrap(),
            zone: "UTC".parse().unwrap(),
            missed: Default::default(),
            overlap: false,
            timeout_ms: None,
        };
        let mut record = ScheduleRecord::default();
        assert!(follow_expression(&mut record, &schedule, 5_000));
        assert_eq!((record.cron.as_str(), record.zone.as_str(), record.time_ms), ("0 8 * * *", "UTC", 5_000));
        assert!(!follow_expression(&mut record, &schedule, 9_000) && record.time_ms == 5_000);
        let other = Schedule { cron: "0 9 * * *".parse().unwrap(), ..schedule };
        assert!(follow_expression(&mut record, &other, 9_000) && record.time_ms == 9_000);
    }
}
