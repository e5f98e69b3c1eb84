//! Follows the live versions and the clock: known schedules, and due times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::site_toml::{Schedule, ScheduleName};
use devanture_config::{AppName, PlaceName};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;

use super::Scheduler;
use super::claim::follow_expression;
use super::due::is_done;
use super::known::{KnownSchedule, Place};
use crate::ledger::{Error, update};
use devanture_base::clock;
use devanture_serve::live::Current;
use devanture_serve::version::Setting;
use devanture_store::catalog::Check;
use devanture_store::records::follow::{Follow, FollowStep, FollowedCommit};
use devanture_store::records::schedules::{ScheduleRecord, StoredSkip, names_of, schedules_prefix};
use devanture_store::records::table::{FollowedBy, RecordKind};
use devanture_store::records::{self, StoredSkipReason};

/// Interval of clock checks, so a change of the clock is noticed soon.
const TICK: Duration = Duration::from_secs(1);
/// Number of clock checks between checks for abandoned runs.
const TICKS_OF_LEFT_BEHIND: u64 = 3;
/// Threshold for a step back of the clock, in milliseconds.
const SET_BACK_MS: u64 = 2_000;

impl Scheduler {
    /// Runs the schedules of live versions until the edge ends. Returns at once on a node without a runner.
    pub async fn keep_running_schedules(self: Arc<Self>) {
        if self.instances.runner.is_none() {
            return;
        }
        self.state.runtime.set(Handle::current()).ok();
        let mut follow = Follow::new(&*self.ledger.catalog, FollowedBy::Schedules).begun();
        let mut shown = self.ledger.live.shown();
        self.ledger.live.loaded().await;
        self.refresh_all().await;
        let (mut last_ms, mut ticks) = (clock::now_ms(), 0_u64);
        loop {
            let is_idle = self.state.known.lock().is_empty();
            tokio::select! {
                step = follow.next() => match step {
                    Some(FollowStep::Changes(commit)) => self.follow_commit(&commit).await,
                    Some(FollowStep::ReadAll) => self.refresh_all().await,
                    None => return,
                },
                shown = shown.recv() => match shown {
                    Ok(place) => self.refresh(&place).await,
                    Err(RecvError::Lagged(_)) => follow.read_again(),
                    Err(RecvError::Closed) => return,
                },
                () = self.state.ended.notified() => {}
                () = tokio::time::sleep(TICK), if !is_idle => {
                    ticks = ticks.wrapping_add(1);
                    if ticks.is_multiple_of(TICKS_OF_LEFT_BEHIND) {
                        self.settle_all_left_behind().await;
                    }
                }
            }
            let now_ms = clock::now_ms();
            if now_ms.saturating_add(SET_BACK_MS) < last_ms {
                self.state.known.lock().look_at_all();
            }
            last_ms = now_ms;
            self.look_at_clock(now_ms).await;
            self.begin_waiting();
        }
    }

    /// Returns the live version of an environment, if the schedules run there.
    pub(super) fn scheduled(&self, (app, environment): &Place) -> Option<Arc<Current>> {
        let live = &self.ledger.live;
        let place = live.place(app, environment).filter(|place| place.setting == Setting::Environment)?;
        if live.is_deleted(app) { None } else { place.current() }
    }

    fn is_paused(&self, (app, environment): &Place) -> bool {
        self.ledger.live.place(app, environment).is_some_and(|place| place.paused().is_some())
    }

    async fn follow_commit(&self, commit: &FollowedCommit) {
        let mut places: Vec<Place> = Vec::new();
        let mut is_live_awaited = false;
        for change in &commit.changes {
            match change.kind {
                RecordKind::LivePointer => {
                    places.extend(change.place());
                    is_live_awaited = true;
                }
                RecordKind::DeletedApp => {
                    let Some(app) = change.app() else { continue };
                    places.extend(self.ledger.live.environments().into_iter().filter(|(other, _)| *other == app));
                    is_live_awaited = true;
                }
                RecordKind::Schedule => {
                    if let (Some((app, environment, name)), Some(value)) = (names_of(&change.key), &change.value)
                        && let Ok(record) = serde_json::from_slice::<ScheduleRecord>(value)
                    {
                        self.note_record(&(app, environment), &name, &record);
                    }
                }
                _ => {}
            }
        }
        if is_live_awaited {
            self.ledger.live.wait_for(commit.revision).await;
        }
        for place in places {
            self.refresh(&place).await;
        }
    }

    fn note_record(&self, place: &Place, name: &ScheduleName, record: &ScheduleRecord) {
        let mut known = self.state.known.lock();
        known.done(place, name, record.time_ms);
        known.has_others(place, name, self.has_others(record));
    }

    fn has_others(&self, record: &ScheduleRecord) -> bool {
        record.running.iter().any(|running| running.process != self.state.process)
    }

    async fn refresh_all(&self) {
        let mut places = self.ledger.live.environments();
        places.extend(self.state.known.lock().places());
        places.sort();
        places.dedup();
        for place in places {
            self.refresh(&place).await;
        }
    }

    /// Reloads the schedules of the live version of an environment.
    async fn refresh(&self, place: &Place) {
        if let Err(error) = self.try_refresh(place).await {
            tracing::warn!(app = %place.0, environment = %place.1, %error, "the records of schedules cannot be read");
        }
    }

    async fn try_refresh(&self, place: &Place) -> Result<(), Error> {
        let (app, environment) = place;
        let Some(current) = self.scheduled(place) else {
            let is_gone =
                self.ledger.live.is_deleted(app) || self.ledger.live_pointer(app, environment).await?.is_none();
            if is_gone {
                self.state.known.lock().set(place.clone(), BTreeMap::new());
                let stops = self.state.stops.lock();
                stops.values().filter(|(of, _)| of == place).for_each(|(_, stop)| stop.cancel());
            }
            return Ok(());
        };
        let schedules = current.version.managed.as_ref().map_or(&[][..], |managed| &managed.server.schedules);
        let mut known = BTreeMap::new();
        for schedule in schedules {
            let record = self.noted(place, schedule, current.live_since_ms()).await?;
            let before = self.state.known.lock().get(place, &schedule.name).cloned();
            let left = before.as_ref().and_then(|before| before.left);
            let waiting = before.and_then(|before| before.waiting).filter(|waiting| *waiting > record.time_ms);
            let one = KnownSchedule {
                schedule: schedule.clone(),
                done_ms: record.time_ms,
                look_ms: 0,
                waiting,
                left,
                has_others: self.has_others(&record),
            };
            known.insert(schedule.name.clone(), one);
        }
        self.remove_others(place, &known).await?;
        self.state.known.lock().set(place.clone(), known);
        Ok(())
    }

    /// Returns the record of a schedule with `since_ms` as the time of the switch.
    async fn noted(&self, place: &Place, schedule: &Schedule, since_ms: u64) -> Result<ScheduleRecord, Error> {
        update(schedule.name.as_str(), || async {
            let (found, check) = self.schedule_record(place, &schedule.name).await?;
            let mut record = found.unwrap_or_default();
            let is_left = self.settle_left_behind(place, &schedule.name, &mut record).await?;
            let is_other = follow_expression(&mut record, schedule, since_ms);
            let is_written =
                (!is_other && !is_left) || self.write_schedule(place, &schedule.name, Some(&record), check).await?;
            Ok::<_, Error>(is_written.then_some(record))
        })
        .await
    }

    /// Removes the records of schedules outside the live version: a later rollback must not count missed due times.
    async fn remove_others(&self, place: &Place, known: &BTreeMap<ScheduleName, KnownSchedule>) -> Result<(), Error> {
        let prefix = schedules_prefix(&place.0, &place.1);
        for (key, record) in self.ledger.catalog.list(&prefix, None, false, usize::MAX).await? {
            let Some((_, _, name)) = names_of(&key).filter(|(_, _, name)| !known.contains_key(name)) else { continue };
            let check = Check::At(key.clone(), record.revision);
            let mut record: ScheduleRecord = records::read(&key, &record)?;
            self.settle_left_behind(place, &name, &mut record).await?;
            if record.running.is_empty() {
                self.write_schedule(place, &name, None, check).await?;
            }
        }
        Ok(())
    }

    /// Finds due schedules.
    async fn look_at_clock(&self, now_ms: u64) {
        let is_alone = self.instances.nodes.is_none();
        let mut missed = Vec::new();
        for (place, one) in self.state.known.lock().due_for_a_look(now_ms) {
            if self.is_paused(place) {
                continue;
            }
            if let Some(at) = one.look(now_ms, is_alone) {
                missed.push((place.clone(), one.schedule.name.clone(), at));
            }
        }
        for (place, name, due_ms) in missed {
            if let Err(error) = self.pass_over(&place, &name, due_ms, now_ms).await {
                tracing::debug!(app = %place.0, environment = %place.1, schedule = %name, %error, "a missed time cannot be noted");
            }
        }
    }

    async fn pass_over(&self, place: &Place, name: &ScheduleName, due_ms: u64, now_ms: u64) -> Result<(), Error> {
        let (found, check) = self.schedule_record(place, name).await?;
        let mut record = found.unwrap_or_default();
        if !is_done(due_ms, record.time_ms, now_ms) {
            record.time_ms = due_ms;
            record.skipped = Some(StoredSkip { due_ms, reason: StoredSkipReason::Missed });
            // After a lost race, the commit of the other node is followed.
            self.write_schedule(place, name, Some(&record), check).await?;
        }
        self.state.known.lock().done(place, name, record.time_ms);
        Ok(())
    }

    /// Marks runs of other, terminated edge processes as interrupted.
    async fn settle_all_left_behind(&self) {
        let others: Vec<((AppName, PlaceName), ScheduleName)> = self.state.known.lock().with_others();
        for (place, name) in others {
            let settled = async {
                let (Some(mut record), check) = self.schedule_record(&place, &name).await? else { return Ok(()) };
                if self.settle_left_behind(&place, &name, &mut record).await? {
                    self.write_schedule(&place, &name, Some(&record), check).await?;
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = settled.await {
                tracing::debug!(app = %place.0, environment = %place.1, schedule = %name, %error, "a run that was left behind cannot be noted");
            }
        }
    }
}
