//! Follows live versions: runs their backends, keeps replaced backends warm for a while, starts previews at their first
//! request.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, PlaceName};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use super::group::Group;
use super::place_user::PREVIEW;
use super::request::{GroupRequest, run_of};
use super::shared::{Shared, ms};
use devanture_serve::live::Current;
use devanture_serve::proxy::{RunId, RunOrigin};
use devanture_serve::version::Setting;
use devanture_store::records::follow::{Follow, FollowStep, FollowedChange, FollowedCommit};
use devanture_store::records::table::RecordKind;

/// Longest time in which a request from before a switch chooses its instance.
const SWITCH_GRACE: Duration = Duration::from_secs(1);

impl Shared {
    /// Runs the live version of every environment, and ends everything else.
    pub(super) fn reconcile_all(self: &Arc<Self>) {
        for (app, name) in self.live.environments() {
            self.reconcile(&app, &name);
        }
        let groups = self.all_groups();
        for group in groups {
            if let Ok(name) = group.id.place.parse() {
                self.reconcile(&group.id.app, &name);
            }
        }
    }

    /// Follows the catalog, and what requests ask for, until the edge ends.
    pub(super) async fn follow(self: Arc<Self>, mut follow: Follow, mut shown: Receiver<(AppName, PlaceName)>) {
        let mut elsewhere = self.registry.elsewhere_changes();
        loop {
            self.standstill.ended().await;
            tokio::select! {
                biased;
                // Later requests are for the next edge, if it comes up.
                () = self.standstill.begun() => {}
                shown = shown.recv() => match shown {
                    Ok((app, name)) => self.reconcile(&app, &name),
                    Err(RecvError::Lagged(_)) => self.reconcile_all(),
                    Err(RecvError::Closed) => return,
                },
                step = follow.next() => match step {
                    Some(FollowStep::Changes(commit)) => self.apply(&commit).await,
                    Some(FollowStep::ReadAll) => {
                        self.reconcile_all();
                        self.end_deleted_work().await;
                        self.follow_nodes().await;
                        for group in self.all_groups() {
                            self.rescale_later(group);
                        }
                    }
                    None => return,
                },
                Ok(()) = elsewhere.changed() => self.follow_elsewhere(),
                () = sleep_until_some(self.nodes.next_end()) => self.forget_nodes(),
                (id, origin) = self.registry.next_requested() => self.start_requested(id, &origin),
            }
        }
    }

    async fn apply(self: &Arc<Self>, commit: &FollowedCommit) {
        let changes = &commit.changes;
        if self.nodes.may_be_others() && changes.iter().any(|change| change.kind == RecordKind::Node) {
            self.follow_nodes().await;
        }
        if changes.iter().any(is_deletion) {
            self.end_deleted_work().await;
        }
        let mut moved: Vec<(AppName, PlaceName)> = Vec::new();
        let mut is_app = Vec::new();
        for change in changes {
            match change.kind {
                RecordKind::Version if change.value.is_none() => self.versions_changed(),
                RecordKind::LivePointer | RecordKind::Alias => moved.extend(change.place()),
                RecordKind::Scale => {
                    let groups = change.place().map(|(app, name)| self.groups_of(&app, name.as_str()));
                    groups.into_iter().flatten().for_each(|group| self.rescale_later(group));
                }
                RecordKind::DeletedApp => is_app.extend(change.app()),
                _ => {}
            }
        }
        if moved.is_empty() && is_app.is_empty() {
            return;
        }
        self.live.wait_for(commit.revision).await;
        for app in is_app {
            moved.extend(self.live.environments().into_iter().filter(|(other, _)| *other == app));
            let places = self.all_groups().into_iter().filter(|group| group.id.app == app);
            moved.extend(places.filter_map(|group| Some((app.clone(), group.id.place.parse().ok()?))));
        }
        for (app, name) in moved {
            self.reconcile(&app, &name);
        }
    }

    /// Runs the live version of an environment; the previous version stays warm, and older ones end.
    fn reconcile(self: &Arc<Self>, app: &AppName, name: &PlaceName) {
        let place = self.live.place(app, name).filter(|_| !self.live.is_deleted(app));
        let is_environment = place.as_ref().is_some_and(|place| place.setting == Setting::Environment);
        let current = place.as_ref().and_then(|place| place.pointed());
        if place.is_some() && current.is_none() {
            // Not loadable at present: running instances continue.
            return;
        }
        let sides = current.as_ref().filter(|_| is_environment).map_or_else(Vec::new, |current| current.sides());
        let wanted: Vec<RunId> = sides.iter().filter_map(|side| self.run_side(side)).collect();
        let pinned = place.as_ref().map_or_else(Vec::new, |place| place.all_pinned());
        let pin_of = |id: &RunId| pinned.iter().find(|earlier| run_of(earlier).as_ref() == Some(id));
        let others: Vec<Arc<Group>> =
            self.groups_of(app, name.as_str()).into_iter().filter(|group| !wanted.contains(&group.id)).collect();
        let was_live = others.iter().any(|group| group.inner().reasons.is_live);
        for group in others {
            let grace = Instant::now() + SWITCH_GRACE;
            let pin = pin_of(&group.id).and_then(|earlier| pin_time(earlier));
            {
                let mut inner = group.inner();
                let reasons = &mut inner.reasons;
                reasons.is_pinned = pin.is_some();
                if place.is_none() {
                    reasons.idle_until = None;
                }
                if std::mem::replace(&mut reasons.is_live, false) {
                    let warm = ms(group.managed.server.warm_ms.min(self.limits.instance_warm_ms_max));
                    let warm = pin.map_or(warm, |pin| pin.max(warm));
                    let until = if current.is_some() { Instant::now() + warm } else { grace };
                    reasons.warm_until = Some(until.max(grace));
                    reasons.lingers_until = None;
                } else if pin.is_none() && (was_live || place.is_none()) {
                    // Only the latest previous version stays for a rollback.
                    reasons.warm_until = reasons.warm_until.map(|until| until.min(grace));
                }
            }
            group.notify();
            self.publish(&group.id);
        }
    }

    /// Returns the earlier version of a run with pinned visitors.
    pub(super) fn pinned(&self, id: &RunId) -> Option<Arc<Current>> {
        let place = self.live.place(&id.app, &id.place.parse().ok()?)?;
        place.all_pinned().into_iter().find(|earlier| run_of(earlier).as_ref() == Some(id))
    }

    /// Runs the backend of an earlier version for its pinned visitors, until their requests cease.
    fn run_pinned(self: &Arc<Self>, id: RunId, earlier: &Current) {
        let Some((origin, pin)) = RunOrigin::of(&earlier.version).zip(pin_time(earlier)) else { return };
        let request = GroupRequest::from_origin(id.clone(), &origin, id.place.clone());
        let begun = self.group(request, |inner| {
            inner.reasons.warm_until = Some(Instant::now() + pin);
            inner.reasons.is_pinned = true;
        });
        if let Err(error) = begun {
            tracing::warn!(app = %id.app, environment = id.place, %error, "the backend of an earlier version does not run");
            self.refuse(id);
        }
    }

    /// Runs the backend of the live version or of a canary; `None` without a backend.
    fn run_side(self: &Arc<Self>, side: &Current) -> Option<RunId> {
        let id = run_of(side)?;
        let origin = RunOrigin::of(&side.version)?;
        let request = GroupRequest::from_origin(id.clone(), &origin, id.place.clone());
        let mut was_live = false;
        let begun = self.group(request, |inner| {
            was_live = inner.reasons.is_live;
            inner.reasons.is_live = true;
            inner.reasons.warm_until = None;
        });
        match begun {
            // Its processes without traffic ended when replaced, or have not begun.
            Ok(group) if !was_live => self.rescale_later(group),
            Ok(_) => {}
            Err(error) => {
                let (app, environment) = (&id.app, &id.place);
                tracing::error!(%app, environment, %error, "the backend of what is live does not run");
                self.refuse(id.clone());
            }
        }
        Some(id)
    }

    pub(super) fn rescale_later(self: &Arc<Self>, group: Arc<Group>) {
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            if let Err(error) = shared.adjust(&group).await {
                let (app, environment) = (&group.id.app, &group.id.place);
                tracing::warn!(%app, environment, %error, "the number of instances stays as it was");
            }
        });
    }

    /// Starts instances for a request to a run without members.
    pub(super) fn start_requested(self: &Arc<Self>, id: RunId, origin: &RunOrigin) {
        let is_running = self.groups_of(&id.app, &id.place).iter().any(|group| group.id == id);
        if origin.setting == Setting::Environment {
            match id.place.parse() {
                Ok(name) if !is_running && self.is_live(&id) => self.reconcile(&id.app, &name),
                _ if !is_running => match self.pinned(&id) {
                    Some(earlier) => self.run_pinned(id, &earlier),
                    None => self.refuse(id),
                },
                _ => {}
            }
            return;
        }
        if !is_running && !self.make_room(&id.app) {
            self.refuse(id);
            return;
        }
        let idle = ms(self.limits.preview_idle_ms_max);
        let request = GroupRequest::from_origin(id.clone(), origin, PREVIEW.to_owned());
        let begun = self.group(request, |inner| inner.reasons.idle_until = Some(Instant::now() + idle));
        if let Err(error) = begun {
            tracing::warn!(app = %id.app, environment = id.place, %error, "the backend of a preview does not run");
            self.refuse(id);
        }
    }

    /// Ends previews to make room for another preview of `app`: first its own, by longest inactivity. Busy previews of
    /// another app end only if the app has more than half of all. Returns true if there is room.
    fn make_room(&self, app: &AppName) -> bool {
        let max = usize::try_from(self.limits.previews_running_max).unwrap_or(usize::MAX);
        if max == 0 {
            return false;
        }
        let all = self.all_groups().into_iter().filter(|group| group.settings_place == PREVIEW);
        let (ending, mut running): (Vec<_>, Vec<_>) = all.partition(|group| group.inner().is_stopping);
        running.retain(|group| group.inner().reasons.is_preview());
        if ending.len() >= max {
            // Ending previews still have processes, up to the limit. An app's own previews are killed at once, as are
            // those of an app with more than half: otherwise all others would wait as long as these previews like.
            let of_apps = counts_of_apps(&ending);
            let has_most = |other: &AppName| of_apps.get(other).is_some_and(|count| count.saturating_mul(2) > max);
            let (killed, others): (Vec<_>, Vec<_>) =
                ending.into_iter().partition(|group| group.id.app == *app || has_most(&group.id.app));
            killed.iter().flat_map(|group| group.slots()).for_each(|slot| slot.kill.cancel());
            if others.len() >= max {
                return false;
            }
        }
        let is_busy = |id: &RunId| self.registry.run_in_flight(id, None) > 0 || self.registry.run_waiting(id) > 0;
        let order = |group: &Arc<Group>| {
            let unused = self.registry.run_idle_ms(&group.id).unwrap_or(u64::MAX);
            (group.id.app != *app, is_busy(&group.id), std::cmp::Reverse(unused))
        };
        let too_many = (running.len() + 1).saturating_sub(max);
        // Visitors with open requests cannot hold more than half of the places for one app.
        let of_apps = counts_of_apps(&running);
        let is_beyond_share = |other: &AppName| of_apps.get(other).is_some_and(|count| *count > max.div_ceil(2));
        running.retain(|group| group.id.app == *app || !is_busy(&group.id) || is_beyond_share(&group.id.app));
        running.sort_by_cached_key(order);
        if running.len() < too_many {
            return false;
        }
        for group in running.iter().take(too_many) {
            group.inner().reasons.idle_until = None;
            group.notify();
        }
        true
    }

    pub(super) fn all_groups(&self) -> Vec<Arc<Group>> {
        self.groups.lock().clone()
    }
}

/// Counts the groups of each app.
fn counts_of_apps(groups: &[Arc<Group>]) -> HashMap<AppName, usize> {
    let mut counts = HashMap::new();
    for group in groups {
        *counts.entry(group.id.app.clone()).or_default() += 1;
    }
    counts
}

/// Whether a change says that an app or an environment was deleted.
fn is_deletion(change: &FollowedChange) -> bool {
    change.value.is_some() && matches!(change.kind, RecordKind::DeletedApp | RecordKind::DeletedEnvironment)
}

/// Returns the time for which a backend runs without requests of pinned visitors.
pub(super) fn pin_time(earlier: &Current) -> Option<Duration> {
    Some(Duration::from_secs(earlier.version.pin_idle_s?.into()))
}

/// Sleeps until the given time; forever without one.
async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
