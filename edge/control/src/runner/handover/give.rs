//! Handover, on the side of the predecessor edge.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::handed::{Handed, HandedGroup, HandedInstance, HandedPhase, Handover, Terms};
use crate::runner::error::Error;
use crate::runner::group::Group;
use crate::runner::handle::{HELD_LINGERS, Runner};
use crate::runner::instance_handle::Slot;
use crate::runner::shared::Shared;
use devanture_host::spawner::SpawnError;
use devanture_serve::proxy::{RunId, RunNow, RunOrigin};

/// Longest wait for the silence of the spawner, then for the pause of all instances, and then for their logs.
const STANDSTILL_TIME_MAX: Duration = Duration::from_secs(10);

impl Runner {
    /// Pauses the supervision of all instances, and describes the instances for the next edge. Requests are still
    /// served. [`Runner::resume`] or [`Runner::leave`] follows.
    ///
    /// # Errors
    /// [`Error::Handover`]; the supervision continues.
    pub async fn stand_still(&self) -> Result<Handover, Error> {
        let given = self.0.stand_still().await;
        if given.is_err() {
            self.resume();
        }
        given
    }

    /// Blocks new data tasks, and waits up to `within` for running tasks. Returns true if no data is being replaced at
    /// the end: otherwise the next edge could start instances on partial data.
    pub async fn end_data_work(&self, within: Duration) -> bool {
        self.0.data_use.end(within).await
    }

    /// Continues, after a pause or with adopted instances.
    pub fn resume(&self) {
        self.0.runs.resume();
        self.0.data_use.resume();
        self.0.standstill.end();
        if !self.0.standstill.has_left() {
            self.0.spawner.resume();
        }
    }

    /// Leaves paused instances to the next edge, which continues. Requests for a backend without instances wait if the
    /// next edge `starts_wanted`, by [`Runner::next_wanted`]; otherwise requests are refused. Returns true if the next
    /// edge has the instances.
    pub fn leave(&self, starts_wanted: bool) -> bool {
        let has_left = self.0.standstill.leave();
        if has_left {
            self.0.registry.hear_asks(starts_wanted);
            self.0.spawner.leave();
        }
        has_left
    }

    /// Returns the next backend with a request and without instances. Called once the next edge has the instances.
    pub async fn next_wanted(&self) -> (RunId, RunOrigin) {
        self.0.registry.next_requested().await
    }

    /// Makes requests for backends without instances be refused.
    pub fn end_wanted(&self) {
        self.0.registry.hear_asks(false);
    }

    /// Starts the backend of a predecessor's request, and reports the members. If the next edge has the instances, the
    /// next edge starts the backend.
    pub fn start_wanted(&self, id: RunId, origin: &RunOrigin) {
        if self.0.standstill.has_left() {
            return self.0.registry.ask(&id, origin);
        }
        self.0.start_requested(id.clone(), origin);
        self.0.publish(&id);
    }

    /// Records that the predecessor has ended, together with its open requests.
    pub fn predecessor_ended(&self) {
        self.0.predecessor_ended.cancel();
    }

    /// Returns the start conditions of the instances that the next edge must share.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms::of(&self.0.settings, &self.0.root)
    }

    /// Sets the members of a run to those of the next edge, locally and at a still draining predecessor.
    pub fn follow_next(&self, id: &RunId, now: Option<RunNow>) {
        if self.0.standstill.has_left() {
            self.0.set_run(id, now);
        }
    }
}

impl Shared {
    async fn stand_still(&self) -> Result<Handover, Error> {
        let failed = |error: SpawnError| Error::Handover(error.to_string());
        let late = |_elapsed| Error::Handover("the spawner did not answer".to_owned());
        let connection = timeout(STANDSTILL_TIME_MAX, self.spawner.pause()).await.map_err(late)?.map_err(failed)?;
        // Earlier messages of the spawner stay queued for their instances. Until resumed, the spawner does nothing: the
        // following waits need nothing of the spawner, and are bounded.
        self.standstill.begin();
        let until = Instant::now() + STANDSTILL_TIME_MAX;
        let mut groups = Vec::new();
        for group in self.all_groups() {
            groups.push(self.describe(&group, until).await?);
        }
        let unwritten = |_elapsed| Error::Handover("the logs of instances could not be written".to_owned());
        timeout(STANDSTILL_TIME_MAX, self.logs.flush()).await.map_err(unwritten)?;
        let lock = self.users.copy_lock().map_err(|error| Error::Handover(error.to_string()))?;
        let handed = Handed {
            terms: Terms::of(&self.settings, &self.root),
            spawner: connection.state,
            groups,
            temporary_folders: self.temporary_folders.emptied(),
            has_claim: lock.is_some(),
        };
        let descriptors: Vec<OwnedFd> = [Some(connection.socket), lock].into_iter().flatten().collect();
        Ok(Handover { handed, descriptors })
    }

    /// Describes a group once all its instances are paused.
    async fn describe(&self, group: &Arc<Group>, until: Instant) -> Result<HandedGroup, Error> {
        let mut changes = group.changes();
        let instances = loop {
            changes.borrow_and_update();
            let slots = group.slots();
            let Some(moving) = slots.iter().find(|slot| slot.is_moving()) else {
                break only_one_of_each(slots.iter().filter_map(|slot| slot.standing()).collect());
            };
            if timeout_at(until, changes.changed()).await.is_err() {
                let Group { id, .. } = &**group;
                let why = format!("{} of {} in {} did not come to a standstill", moving.name, id.app, id.place);
                return Err(Error::Handover(why));
            }
        };
        let inner = group.inner();
        let (reasons, now) = (&inner.reasons, Instant::now());
        let left_ms = |until: Option<Instant>| {
            let left = until?.saturating_duration_since(now);
            u64::try_from(left.as_millis()).ok()
        };
        let lingers_until = match reasons.held {
            0 => reasons.lingers_until,
            // Its holder retries with the next edge.
            _ => reasons.lingers_until.max(Some(now + HELD_LINGERS)),
        };
        let (uid, code) = inner.rests_on();
        Ok(HandedGroup {
            id: group.id.clone(),
            version: group.version,
            managed: (*group.managed).clone(),
            settings_place: group.settings_place.clone(),
            is_live: reasons.is_live,
            lingers_ms: left_ms(lingers_until),
            warm_ms: left_ms(reasons.warm_until),
            idle_ms: left_ms(reasons.idle_until),
            is_stopping: inner.is_stopping,
            uid,
            code,
            instances,
        })
    }
}

impl Slot {
    /// Returns true if the instance has a process and is not yet paused.
    fn is_moving(&self) -> bool {
        self.standing().is_none() && self.seen().pid.is_some()
    }
}

/// Selects one of two instances of the same name during a replacement: the new instance if already healthy.
fn only_one_of_each(mut instances: Vec<HandedInstance>) -> Vec<HandedInstance> {
    let order = |one: &HandedInstance| (one.phase == HandedPhase::Up, one.serial);
    let best: Vec<Option<(bool, u64)>> = instances
        .iter()
        .map(|one| {
            let same = instances.iter().filter(|other| other.process == one.process && other.number == one.number);
            same.filter(|other| other.is_wanted).map(order).max()
        })
        .collect();
    for (instance, best) in instances.iter_mut().zip(best) {
        instance.is_wanted &= best == Some(order(instance));
    }
    instances
}
