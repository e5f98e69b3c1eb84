//! Revisions that go back, as where the catalog of a cluster was restored from an earlier snapshot.
//!
//! Pointers, pauses and withdrawn paths remember the revision that they were last written by, since a watch may still
//! hold commits that were read already. After a restore, the state that is to be followed has lower revisions.

use std::sync::atomic::Ordering;

use super::follow::Follower;
use devanture_store::catalog::Revision;

impl Follower {
    /// Takes note of the revision of the next commit of the watch. Where it is not after the one before, `watched`, all
    /// revisions that are remembered are of a state that is gone. Returns whether that is so: commits in between may
    /// have been missed, so that everything is to be read again.
    pub(super) fn note_revision(&self, watched: &mut Revision, revision: Revision) -> bool {
        let went_back = revision <= *watched;
        if went_back {
            tracing::warn!(revision, before = *watched, "the catalog went back to an earlier state, which is followed");
            for place in self.live.0.hosts.load().places.values() {
                place.forget_revisions();
                self.live.withdrawn(&place.app).forget_revision();
            }
        }
        *watched = revision;
        went_back
    }

    /// Reads everything again; where the catalog cannot be read, what is live stays.
    pub(super) async fn read_again(&self) {
        if let Err(error) = self.read_all().await {
            tracing::error!(%error, "the catalog cannot be read: what is live stays");
        }
    }
}

impl super::Place {
    fn forget_revisions(&self) {
        self.pointed.store(0, Ordering::Release);
        self.pause_written.store(0, Ordering::Release);
    }
}
