//! Revisions that go back, as where the catalog of a cluster was restored from an earlier snapshot.
//!
//! Pointers, pauses and withdrawn paths remember the revision that they were last written by, since a watch may still hold
//! commits that were read already. After a restore, the state that is to be followed has lower revisions.

use std::sync::atomic::Ordering;

use super::follow::Follower;
use crate::catalog::Revision;

impl Follower {
    /// Takes note of the revision of the next commit of the watch. Where it is not after the one before, `watched`, all
    /// revisions that are remembered are of a state that is gone.
    pub(super) fn note_revision(&self, watched: &mut Revision, revision: Revision) {
        if revision <= *watched {
            tracing::warn!(revision, before = *watched, "the catalog went back to an earlier state, which is followed");
            for place in self.live.0.hosts.load().places.values() {
                place.forget_revisions();
                self.live.withdrawn(&place.app).forget_revision();
            }
        }
        *watched = revision;
    }
}

impl super::Place {
    fn forget_revisions(&self) {
        self.pointed.store(0, Ordering::Release);
        self.pause_written.store(0, Ordering::Release);
    }
}
