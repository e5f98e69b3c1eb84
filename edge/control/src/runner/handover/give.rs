//! The side of the edge that has the instances.

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

/// Longest wait for the spawner to fall silent, then for all instances to stand still, and then for their logs.
const STANDSTILL_TIME_MAX: Duration = Duration::from_secs(10);

impl Runner {
    /// Has everything stand still, and describes it for the next edge. Requests are served all the while. Afterwards
    /// comes [`Runner::resume`] or [`Runner::leave`].
    ///
    /// # Errors
    /// [`Error::Handover`]; everything goes on then.
    pub async fn stand_still(&self) -> Result<Handover, Error> {
        let given = self.0.stand_still().await;
        if given.is_err() {
            self.resume();
        }
        given
    }

    /// Lets no work on data begin, and waits so long for what is under way. Says whether no data is being replaced
    /// then: the next edge could start instances on half of it.
    pub async fn end_data_work(&self, within: Duration) -> bool {
        self.0.data_use.end(within).await
    }

    /// Goes on: after a standstill, or with the instances of the edge before.
    pub fn resume(&self) {
        self.0.runs.resume();
        self.0.data_use.resume();
        self.0.standstill.end();
        if !self.0.standstill.has_left() {
            self.0.spawner.resume();
        }
    }

    /// Leaves what stands still to the next edge, which goes on with it. Requests for a backend that nobody runs wait
    /// if that one `starts_wanted`, by [`Runner::next_wanted`]; else they are refused. Returns whether it has them now.
    pub fn leave(&self, starts_wanted: bool) -> bool {
        let has_left = self.0.standstill.leave();
        if has_left {
            self.0.registry.hear_asks(starts_wanted);
            self.0.spawner.leave();
        }
        has_left
    }

    /// The next backend that a request is for and nobody runs. To be called once the next edge has the instances.
    pub async fn next_wanted(&self) -> (RunId, RunOrigin) {
        self.0.registry.next_requested().await
    }

    /// Has requests for a backend that nobody runs refused.
    pub fn end_wanted(&self) {
        self.0.registry.hear_asks(false);
    }

    /// Starts what a request of the edge before is for, and tells it who answers. Where the next edge has the
    /// instances, that one does.
    pub fn start_wanted(&self, id: RunId, origin: &RunOrigin) {
        if self.0.standstill.has_left() {
            return self.0.registry.ask(&id, origin);
        }
        self.0.start_requested(id.clone(), origin);
        self.0.publish(&id);
    }

    /// Notes that the edge before has ended, and with it what was under way through it.
    pub fn predecessor_ended(&self) {
        self.0.predecessor_ended.cancel();
    }

    /// What the instances were started with, as far as the next edge must have the same.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms::of(&self.0.settings, &self.0.root)
    }

    /// Sets the members of a run as the next edge has them, here and at the edge before, which may drain still.
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
        // What the spawner had said before waits for the instances that it is about. Until it is resumed it does
        // nothing: whatever is waited for from here on needs nothing of it, and not for ever.
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

    /// Describes a group once all of its instances stand still.
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
            // Its holder tries again with the next edge.
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
    /// Whether it has a process and does not stand still yet.
    fn is_moving(&self) -> bool {
        self.standing().is_none() && self.seen().pid.is_some()
    }
}

/// Where one instance is just being replaced by another of the same name: the new one stays if it is up already.
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
