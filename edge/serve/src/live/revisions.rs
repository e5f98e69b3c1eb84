//! Revisions that go back, for example after a cluster's catalog was restored from a snapshot.
//!
//! Pointers, pauses and withdrawn paths store the revision of their last write, since a watch may still hold commits
//! that were already read. After a restore, the state to follow has lower revisions.

use std::sync::atomic::Ordering;

use super::follow::Follower;

impl Follower {
    /// Forgets all revisions that are remembered, where they are of a state that is gone.
    pub(super) fn forget_revisions(&self) {
        for place in self.live.0.hosts.load().places.values() {
            place.forget_revisions();
            self.live.withdrawn(&place.app).forget_revision();
        }
    }
}

impl super::Place {
    fn forget_revisions(&self) {
        self.pointed.store(0, Ordering::Release);
        self.pause_written.store(0, Ordering::Release);
    }
}
