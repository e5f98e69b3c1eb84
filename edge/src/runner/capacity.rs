//! Room for instances: how many there may be of all apps together, and what an app can spare before it is refused more.

use std::sync::Arc;
use std::time::Duration;

use devanture_config::AppName;
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::group::{Fate, Group, Inner};
use super::instance_handle::Slot;
use super::shared::Shared;
use super::supervise::LOOK;

/// Longest wait for the capacity of ending instances.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(10);

impl Shared {
    /// Adds instances to a group, or begins to end some, by `change`, which gives those that are new; where there would
    /// be more than `max` then, those that end and are warm among them, what the app can spare goes first.
    pub(super) async fn with_room<T>(
        &self,
        group: &Group,
        max: u64,
        mut change: impl FnMut(&[Arc<Group>], &mut Inner) -> (Vec<Arc<Slot>>, T),
    ) -> Result<(Vec<Arc<Slot>>, T), Error> {
        let until = Instant::now() + ROOM_WAIT_MAX;
        let mut has_asked = false;
        loop {
            {
                // Others count with these.
                let groups = self.groups.lock();
                let others = groups.iter().filter(|other| !std::ptr::eq(other.as_ref(), group));
                let others: usize = others.map(|other| other.inner().slots.len()).sum();
                let mut inner = group.inner();
                if inner.is_stopping {
                    return Err(Error::Ended);
                }
                let (made, more) = change(groups.as_slice(), &mut inner);
                let wanted = others.saturating_add(inner.slots.len()).saturating_add(made.len());
                let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
                if made.is_empty() || wanted <= max {
                    inner.slots.extend(made.iter().cloned());
                    return Ok((made, more));
                }
                if Instant::now() >= until || (has_asked && !has_spare(&groups, &group.id.app, &inner, group)) {
                    return Err(Error::TooMany { wanted, max, setting: "instances_total_max" });
                }
            }
            self.spare(group);
            has_asked = true;
            sleep(LOOK).await;
        }
    }

    /// Ends what an app has for a rollback alone, and at once what it has that ends already.
    fn spare(&self, group: &Group) {
        for other in self.all_groups().into_iter().filter(|other| other.id.app == group.id.app) {
            let is_warm = {
                let mut inner = other.inner();
                let is_ending = |slot: &&Arc<Slot>| !slot.is_wanted();
                inner.slots.iter().filter(is_ending).for_each(|slot| slot.kill.cancel());
                let is_warm = inner.reasons.is_warm() && !inner.is_stopping;
                if is_warm {
                    (inner.reasons.warm_until, inner.reasons.lingers_until) = (None, None);
                }
                is_warm
            };
            if is_warm {
                other.notify();
            }
        }
    }
}

/// Whether something of an app is about to make room.
fn has_spare(groups: &[Arc<Group>], app: &AppName, own: &Inner, group: &Group) -> bool {
    let ends = |inner: &Inner| inner.is_stopping || inner.slots.iter().any(|slot| !slot.is_wanted());
    let others = groups.iter().filter(|other| other.id.app == *app && !std::ptr::eq(other.as_ref(), group));
    let mut others = others.map(|other| other.inner());
    // One that was warm until just now has no reason any more, and nobody who looks after it may know yet.
    ends(own) || others.any(|inner| ends(&inner) || inner.reasons.fate(Instant::now()) == Fate::Ends)
}
