//! Processes that do not overlap (`overlap = false`): those of one version have ended before those of the next one
//! start.
//!
//! At most one group of a place has any. What is about to be live is tried with its own where nothing stands in the
//! way, as at a first push; else the group before ends its own as soon as it is not live any more, and each that has
//! ended has the other groups of its place look whether theirs may begin. Slots are made while the list of groups is
//! locked, so that no two groups begin at once.

use std::sync::Arc;

use devanture_config::site_toml::{Kind, Process};

use super::group::{Group, Inner};
use super::instance_handle::Slot;
use super::shared::Shared;

/// Whether new instances of a process have to wait for the end of others: of the same group, whose state `inner` is, or
/// of another one of the same place.
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

/// Ends an instance, and waits until nothing of it runs.
pub(super) async fn end_first(group: &Group, old: &Slot) {
    let mut changes = group.changes();
    old.stop.cancel();
    loop {
        changes.borrow_and_update();
        if old.seen().is_over {
            return;
        }
        // It bounds its own end.
        changes.changed().await.ok();
    }
}

impl Shared {
    /// Has the groups of a place begin what has waited for the end of an instance.
    pub(super) fn sole_ended(self: &Arc<Self>, group: &Group, slot: &Slot) {
        if slot.is_web() || self.stop.is_cancelled() {
            return;
        }
        let groups = self.groups_of(&group.id.app, &group.id.place);
        groups.into_iter().for_each(|group| self.rescale_later(group));
    }
}
