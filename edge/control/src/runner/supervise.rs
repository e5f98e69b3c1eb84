//! Supervision of groups: set-up, start of missing instances, end of unneeded instances.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use devanture_config::site_toml::{Kind, Server};
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::capacity::Need;
use super::counts::{Count, Counts, are_elsewhere};
use super::error::Error;
use super::follow::pin_time;
use super::group::{self, Fate, Group, Inner};
use super::instance;
use super::instance_handle::Slot;
use super::request::{GroupRequest, run_of};
use super::shared::{Report, Shared, ms};
use super::sole;
use devanture_serve::proxy::{RunId, RunNow, RunState};

/// Interval of checks for idle previews and waiting requests.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// Time for which requests to a failed backend are refused before a restart.
const REFUSED: Duration = Duration::from_secs(1);

impl Shared {
    /// Returns the requested group, created if absent; `rely` is recorded before the group could end.
    pub(super) fn group(
        self: &Arc<Self>,
        request: GroupRequest,
        rely: impl FnOnce(&mut Inner),
    ) -> Result<Arc<Group>, Error> {
        self.check(request.trusted)?;
        let mut groups = self.groups.lock();
        if self.stop.is_cancelled() {
            return Err(Error::Ended);
        }
        for group in groups.iter().filter(|group| group.id == request.id) {
            let mut inner = group.inner();
            if !inner.is_stopping {
                rely(&mut inner);
                drop(inner);
                group.notify();
                return Ok(Arc::clone(group));
            }
        }
        let GroupRequest { id, version, managed, settings_place, .. } = request;
        let group = Arc::new(Group::new(id, version, managed, settings_place));
        rely(&mut group.inner());
        groups.push(Arc::clone(&group));
        drop(groups);
        self.publish(&group.id);
        self.runtime.spawn(Arc::clone(self).supervise(Arc::clone(&group)));
        Ok(group)
    }

    /// Returns the groups of an environment that are not ending.
    pub(super) fn groups_of(&self, app: &AppName, place: &str) -> Vec<Arc<Group>> {
        let groups = self.groups.lock();
        let here = groups.iter().filter(|group| group.id.app == *app && group.id.place == place);
        here.filter(|group| !group.inner().is_stopping).cloned().collect()
    }

    /// Publishes the members of a run to pools.
    pub(super) fn publish(&self, id: &RunId) {
        let _one_at_a_time = self.publishing.lock();
        if self.standstill.has_left() {
            // The next edge has set the members.
            return;
        }
        let of_id: Vec<Arc<Group>> = {
            let groups = self.groups.lock();
            groups.iter().filter(|group| group.id == *id).cloned().collect()
        };
        self.set_run(id, group::now_of(&of_id));
    }

    pub(in crate::runner) fn set_run(&self, id: &RunId, now: Option<RunNow>) {
        self.registry.run(id, now.clone());
        // The predecessor follows during its drain.
        self.published.send((id.clone(), now)).ok();
    }

    /// Refuses requests to a run that cannot start for a moment, instead of letting them wait.
    pub(super) fn refuse(self: &Arc<Self>, id: RunId) {
        {
            let _one_at_a_time = self.publishing.lock();
            if self.all_groups().iter().any(|group| group.id == id) {
                return;
            }
            self.set_run(&id, Some(RunNow { state: RunState::Refused, is_shared: false, members: Vec::new() }));
        }
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            sleep(REFUSED).await;
            shared.publish(&id);
        });
    }

    pub(super) async fn supervise(self: Arc<Self>, group: Arc<Group>) {
        let mut changes = group.changes();
        let mut backoff =
            Backoff::new(ms(self.limits.instance_restart_ms_min), ms(self.limits.instance_restart_ms_max));
        let mut try_at = Some(Instant::now()).filter(|_| !group.inner().is_stopping);
        loop {
            // No decisions during a handover.
            self.standstill.ended().await;
            if try_at.is_some_and(|at| at <= Instant::now()) {
                try_at = match self.begin(&group).await {
                    Ok(()) => None,
                    Err(error) => {
                        let (app, environment) = (&group.id.app, &group.id.place);
                        tracing::error!(%app, environment, %error, "a backend cannot be started");
                        let mut inner = group.inner();
                        // Adopted running instances continue.
                        inner.failed = Some(error).filter(|_| !inner.is_begun);
                        drop(inner);
                        Some(Instant::now() + backoff.ended(None))
                    }
                };
                group.notify();
                self.publish(&group.id);
            }
            changes.borrow_and_update();
            let was_live = group.inner().reasons.is_live;
            let fate = self.fate(&group);
            if !was_live && group.inner().reasons.is_live {
                // Non-overlapping processes may begin now.
                self.rescale_later(Arc::clone(&group));
            }
            let until = match fate {
                Fate::Ends => break,
                Fate::Stays => None,
                Fate::StaysUntil(at) => Some(at),
            };
            let lingers_until = group.end_standby_workers(Instant::now());
            let wake = [until, try_at, lingers_until].into_iter().flatten().min();
            tokio::select! {
                _ = changes.changed() => {}
                () = self.stop.cancelled() => {}
                () = sleep_until(wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600))) => {}
            }
        }
        self.end_group(&group).await;
    }

    /// Decides if a group continues; a group that ends may not be relied on from here on.
    fn fate(&self, group: &Group) -> Fate {
        let is_live = self.is_live(&group.id);
        let pin = self.pinned(&group.id).and_then(|earlier| pin_time(&earlier));
        let groups = self.groups.lock();
        let mut inner = group.inner();
        let now = Instant::now();
        // A group handed over while ending is not judged again: another group may have its id by now.
        if self.stop.is_cancelled() || inner.is_stopping {
            inner.is_stopping = true;
            return Fate::Ends;
        }
        // A completed switch may not have been announced here yet.
        inner.reasons.is_live |= is_live && inner.reasons.lingers_until.is_some();
        inner.reasons.is_pinned = pin.is_some();
        let used = || match self.registry.run_idle_ms(&group.id) {
            _ if self.registry.run_in_flight(&group.id, None) > 0 || self.registry.run_waiting(&group.id) > 0 => {
                Some(now)
            }
            Some(unused) => now.checked_sub(ms(unused)),
            None => None,
        };
        if inner.reasons.idle_until.is_some() {
            let idle = ms(self.limits.preview_idle_ms_max);
            inner.reasons.idle_until = inner.reasons.idle_until.max(used().map(|used| used + idle));
        }
        if let Some(pin) = pin.filter(|_| inner.reasons.is_warm()) {
            inner.reasons.warm_until = inner.reasons.warm_until.max(used().map(|used| used + pin));
        }
        let fate = inner.reasons.fate(now);
        if fate == Fate::Ends {
            inner.is_stopping = true;
        }
        drop(inner);
        drop(groups);
        fate
    }

    /// Returns true if a run belongs to the live version of its environment.
    pub(super) fn is_live(&self, id: &RunId) -> bool {
        let Ok(name) = id.place.parse() else { return false };
        let place = self.live.place(&id.app, &name);
        let place = place.filter(|place| place.setting == devanture_serve::version::Setting::Environment);
        let sides = place.and_then(|place| place.pointed()).map_or_else(Vec::new, |current| current.sides());
        sides.iter().any(|side| run_of(side).as_ref() == Some(id))
    }

    /// Ends all instances of a group, after releasing their waiting callers.
    async fn end_group(self: &Arc<Self>, group: &Arc<Group>) {
        let until = Instant::now() + self.drain_time(&group.managed.server);
        while !self.stop.is_cancelled()
            && self.registry.run_waiting(&group.id) > 0
            && Instant::now() < until
            && group.inner().slots.iter().any(|slot| slot.member().is_some() && !slot.kill.is_cancelled())
        {
            sleep(LOOK).await;
        }
        let mut changes = group.changes();
        // Waiting callers give up now; instances started meanwhile are stopped once no more can start.
        group.wanted_slots().iter().for_each(|slot| slot.stop.cancel());
        let _adjusting = group.adjusting.lock().await;
        group.wanted_slots().iter().for_each(|slot| slot.stop.cancel());
        loop {
            changes.borrow_and_update();
            if group.inner().slots.is_empty() {
                break;
            }
            // Each instance bounds its own end.
            changes.changed().await.ok();
        }
        {
            let mut groups = self.groups.lock();
            groups.retain(|other| !Arc::ptr_eq(other, group));
            let mut inner = group.inner();
            (inner.set_up, inner.foundation, inner.is_over) = (None, None, true);
        }
        group.notify();
        self.publish(&group.id);
        self.folders.tidy(&group.id.app).await;
    }

    /// Sets up a group if necessary, and starts its instances.
    async fn begin(self: &Arc<Self>, group: &Arc<Group>) -> Result<(), Error> {
        let known = group.inner().set_up.clone();
        if known.is_none() {
            if self.is_group_measured(group) {
                self.check_persisted(&group.id.app, &group.settings_place)?;
            }
            let set_up = self.set_up(&group.id, &group.version, &group.managed.server, &group.settings_place).await?;
            let mut inner = group.inner();
            inner.set_up = Some(Arc::new(set_up));
            inner.foundation = None;
            drop(inner);
            group.notify();
        }
        self.adjust(group).await?;
        let mut inner = group.inner();
        (inner.is_begun, inner.failed) = (true, None);
        Ok(())
    }

    /// Brings a group to its target number of instances. Returns the started instances.
    pub(super) async fn adjust(self: &Arc<Self>, group: &Arc<Group>) -> Result<Vec<Arc<Slot>>, Error> {
        let _one_at_a_time = group.adjusting.lock().await;
        let server = &group.managed.server;
        let mut counts = self.counts(group, server).await?;
        let is_for_visitors = group.inner().reasons.is_for_visitors();
        if is_for_visitors && self.registry.members_elsewhere(&group.id) == 0 {
            // Other nodes start instances for their own pinned visitors, so none are awaited here.
            for process in server.processes.iter().filter(|process| process.kind == Kind::Web) {
                if let Some(count) = counts.get_mut(&process.name).filter(|count| count.elsewhere > 0) {
                    count.own = count.own.max(1);
                }
            }
        }
        let is_set_up = {
            let mut inner = group.inner();
            inner.spreading.is_elsewhere = are_elsewhere(server, &counts);
            inner.set_up.is_some() || inner.is_begun
        };
        if !is_set_up {
            return Ok(Vec::new());
        }
        let change =
            |groups: &[Arc<Group>], inner: &mut Inner| (self.change_slots((group, groups), server, &counts, inner), ());
        let (made, ()) = self.with_room(group, Need::More, change).await?;
        for slot in &made {
            self.start(group, slot);
        }
        // The wait of requests for instances of other nodes may have changed.
        self.publish(&group.id);
        Ok(made)
    }

    /// Stops surplus instances, and creates missing ones.
    fn change_slots(
        &self,
        (group, groups): (&Group, &[Arc<Group>]),
        server: &Server,
        counts: &Counts,
        inner: &mut Inner,
    ) -> Vec<Arc<Slot>> {
        let mut made = Vec::new();
        let is_standby = inner.reasons.is_standby(Instant::now());
        inner.spreading.has_excess = false;
        for process in &server.processes {
            let is_over = !process.overlap && !inner.reasons.has_sole_processes(Instant::now());
            let count = match is_over || is_standby && process.kind != Kind::Web {
                true => Count::default(),
                false => counts.get(&process.name).copied().unwrap_or_default(),
            };
            let of = |slot: &&Arc<Slot>| slot.process.name == process.name && slot.is_wanted();
            let mut excess = inner.slots.iter().filter(of).filter(|slot| slot.number > count.own).peekable();
            if excess.peek().is_some() && !self.may_end_excess(group, process, count) {
                inner.spreading.has_excess = true;
            } else {
                excess.for_each(|slot| slot.stop.cancel());
            }
            if is_standby && !inner.reasons.is_pinned {
                // Kept for a rollback, which starts missing instances.
                continue;
            }
            if sole::is_waiting((group, inner), groups, process) {
                // Started at the end of the previous instances.
                continue;
            }
            let there: HashSet<u64> = inner.slots.iter().filter(of).map(|slot| slot.number).collect();
            for number in (1..=count.own).filter(|number| !there.contains(number)) {
                made.push(Arc::new(Slot::new(process.clone(), number)));
            }
        }
        made
    }

    fn start(self: &Arc<Self>, group: &Arc<Group>, slot: &Arc<Slot>) {
        let (shared, group) = (Arc::clone(self), Arc::clone(group));
        self.runtime.spawn(instance::keep(shared, group, Arc::clone(slot), None));
    }

    /// Replaces an instance once its successor is healthy.
    pub(super) async fn replace(
        self: &Arc<Self>,
        group: &Arc<Group>,
        old: &Arc<Slot>,
        report: Report<'_>,
    ) -> Result<(), Error> {
        let _one_at_a_time = group.adjusting.lock().await;
        if !old.is_wanted() {
            return Ok(());
        }
        let new = Arc::new(Slot::new(old.process.clone(), old.number));
        if !new.process.overlap {
            tokio::select! {
                () = sole::end_first(group, old) => {}
                // The next edge has the instance.
                () = self.standstill.left() => return Err(Error::Restarting),
            }
        }
        let change = |groups: &[Arc<Group>], inner: &mut Inner| {
            // Another version may have started its own meanwhile.
            let is_waiting = !new.process.overlap && sole::is_waiting((group, inner), groups, &new.process);
            (if is_waiting { Vec::new() } else { vec![Arc::clone(&new)] }, ())
        };
        if self.with_room(group, Need::Replacement, change).await?.0.is_empty() {
            return Err(Error::Unwanted { instance: new.name.clone() });
        }
        self.start(group, &new);
        // An already ended instance is replaced whatever the outcome.
        let given_up = GivesUp(Some(&*new).filter(|new| new.process.overlap));
        self.wait_healthy(group, std::slice::from_ref(&new), report).await?;
        given_up.keep();
        old.stop.cancel();
        Ok(())
    }
}

/// Ends a new instance unless kept: the waiting caller may be dropped at any moment.
struct GivesUp<'s>(Option<&'s Slot>);

impl GivesUp<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.stop.cancel();
        }
    }
}
