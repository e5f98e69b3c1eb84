//! Revisions that go back, for example after a cluster's catalog was restored from a snapshot.
//!
//! Pointers, pauses and withdrawn paths store the revision of their last write, since a watch may still hold commits
//! that were already read. After a restore, the state to follow has lower revisions.

use std::sync::atomic::Ordering;

use super::follow::Follower;
use devanture_store::catalog::Revision;

impl Follower {
    /// Records the revision of the watch's next commit. A revision not above the last one, `watched`, means that all
    /// stored revisions belong to a lost state. Returns true in this case: commits in between may have been missed, so
    /// the whole catalog must be read again.
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

    /// Reads the whole catalog again; if the catalog cannot be read, the live versions stay.
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
