//! Deletes unreferenced files in small batches, behind the closed gate of the leases.

use devanture_config::Digest;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::Pass;
use super::mark::Marked;
use crate::ledger::Error;
use crate::retention::Retention;
use devanture_store::blobs::Key;
use devanture_store::catalog::Committed;

/// Files per batch; pushes get their turn between batches.
const BATCH: usize = 32;
/// Files per batch in a bucket, where each needs several requests.
const BATCH_SHARED: usize = 8;

impl Retention {
    /// Returns the batch size.
    pub(super) const fn batch(&self) -> usize {
        if self.nodes.is_some() { BATCH_SHARED } else { BATCH }
    }

    /// Sweeps; `watch` reports commits since before the read of `marked`.
    pub(super) async fn sweep(
        &self,
        pass: &mut Pass,
        mut marked: Marked,
        mut watch: Receiver<Committed>,
    ) -> Result<(), Error> {
        for first in 0..=u8::MAX {
            if !marked.unreadable.is_empty() {
                break;
            }
            let listed = self.blobs.list_part(first).await?;
            let old = listed.into_iter().filter(|(key, _, put_s)| *put_s < pass.before_s && !marked.holds(*key));
            let old: Vec<(Key, u64)> = old.map(|(key, length, _)| (key, length)).collect();
            for batch in old.chunks(self.batch()) {
                if pass.files_left == 0 {
                    pass.report.more = true;
                    return Ok(());
                }
                let most = usize::try_from(pass.files_left).unwrap_or(usize::MAX);
                let batch = batch.get(..most.min(batch.len())).unwrap_or(batch);
                if !self.sweep_batch(pass, &mut marked, &mut watch, batch).await? {
                    pass.report.more = true;
                    return Ok(());
                }
            }
        }
        pass.report.unreadable = marked.unreadable;
        Ok(())
    }

    /// Deletes the unprotected files of a batch. Returns false if concurrent commits are unknown, or the gates may open
    /// before the rest is deleted.
    pub(super) async fn sweep_batch(
        &self,
        pass: &mut Pass,
        marked: &mut Marked,
        watch: &mut Receiver<Committed>,
        batch: &[(Key, u64)],
    ) -> Result<bool, Error> {
        let keys: Vec<Key> = batch.iter().map(|(key, _)| *key).collect();
        let closed = self.close_gates(&keys).await?;
        // The holder of an ended lease committed before its end, and a commit is announced before its return.
        loop {
            match watch.try_recv() {
                Ok(committed) => {
                    for change in committed.changes.iter() {
                        self.mark_change(marked, change).await?;
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                Err(TryRecvError::Lagged(_)) => return Ok(false),
            }
        }
        if !marked.unreadable.is_empty() {
            return Ok(true);
        }
        let before_s = pass.before_s.min(closed.held_since_s().unwrap_or(u64::MAX));
        let mut gone: Vec<Digest> = Vec::new();
        let mut outcome = Ok(true);
        for (key, length) in batch {
            if marked.holds(*key) || closed.holds(*key) {
                continue;
            }
            if !closed.are_closed() {
                outcome = Ok(false);
                break;
            }
            let taken = closed.while_closed(self.take(pass, (*key, *length), before_s)).await;
            if let (Key::Blob(digest), Some(Ok(Some(_)) | Err(_)) | None) = (key, &taken) {
                // A file may be gone even if its deletion failed or was abandoned.
                gone.push(*digest);
            }
            let Some(taken) = taken else {
                tracing::warn!(%key, "a deletion took too long, and is done again by the next collection");
                outcome = Ok(false);
                break;
            };
            match taken {
                Ok(Some(freed)) => {
                    pass.files_left = pass.files_left.saturating_sub(1);
                    pass.report.files = pass.report.files.saturating_add(1);
                    pass.report.bytes = pass.report.bytes.saturating_add(freed);
                }
                Ok(None) => {}
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if !pass.dry_run && !gone.is_empty() {
            // Before the gate opens, so that no answer reports a deleted blob as present.
            self.uploads.forget_blobs(&gone);
        }
        closed.open(if pass.dry_run { &[] } else { &gone }).await;
        outcome
    }

    /// Deletes a file, and returns the bytes of the file and its derived files; in a dry run, returns the bytes only.
    /// `None` if the file stays.
    async fn take(&self, pass: &Pass, (key, length): (Key, u64), before_s: u64) -> Result<Option<u64>, Error> {
        if !pass.dry_run {
            return Ok(self.blobs.delete_put_before(key, before_s, pass.is_for_good).await?);
        }
        let Key::Blob(digest) = key else { return Ok(Some(length)) };
        let variants = self.blobs.stored_variants(digest).await?.into_iter().map(|variant| variant.size);
        let deltas = self.blobs.deltas(digest).await?.into_iter().map(|delta| delta.size);
        Ok(Some(variants.chain(deltas).fold(length, u64::saturating_add)))
    }
}
