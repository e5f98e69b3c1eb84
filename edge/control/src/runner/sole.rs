//! Non-overlapping processes (`overlap = false`): those of one version end before those of the next start.
//!
//! At most one group of an environment has such processes. The next live version is tried with its own if no other
//! group has any, as at a first push; otherwise the previous group ends its own once no longer live, and each end makes
//! the other groups of the environment check again. Slots are created under the lock of the group list, so that no two
//! groups begin at once.

use std::sync::Arc;

use devanture_config::site_toml::{Kind, Process};

use super::group::{Group, Inner};
use super::instance_handle::Slot;
use super::shared::Shared;

/// Returns true if new instances of a process must wait for the end of instances of the same group, with the state
/// `inner`, or of another group of the environment.
pub(super) fn is_waiting((group, inner): (&Group, &Inner), groups: &[Arc<Group>], process: &Process) -> bool {
    if process.kind == Kind::Web {
        return false;
    }
    let is_other = |other: &&Arc<Group>| {
        !std::ptr::eq(other.as_ref(), group) && other.id.app == group.id.app && other.id.place == group.id.place
    };
    let is_same = |slot: &Arc<Slot>| slot.process.name == process.name;
    let stands_in_the_way = |slot: &Arc<Slot>| match process.overlap {
        true => is_same(slot) && !slot.process.overlap,
        false => !slot.is_web() && (is_same(slot) || !slot.process.overlap),
    };
    let is_ending = |slot: &Arc<Slot>| is_same(slot) && !slot.process.overlap && !slot.is_wanted();
    inner.slots.iter().any(is_ending)
        || groups.iter().filter(is_other).any(|other| other.inner().slots.iter().any(stands_in_the_way))
}

/// Ends an instance, and waits until no process is left.
pub(super) async fn end_first(group: &Group, old: &Slot) {
    let mut changes = group.changes();
    old.stop.cancel();
    loop {
        changes.borrow_and_update();
        if old.seen().is_over {
            return;
        }
        // The end is bounded by the instance itself.
        changes.changed().await.ok();
    }
}

impl Shared {
    /// Makes the groups of an environment start processes that waited for the end of an instance.
    pub(super) fn sole_ended(self: &Arc<Self>, group: &Group, slot: &Slot) {
        if slot.is_web() || self.stop.is_cancelled() {
            return;
        }
        let groups = self.groups_of(&group.id.app, &group.id.place);
        groups.into_iter().for_each(|group| self.rescale_later(group));
    }
}
