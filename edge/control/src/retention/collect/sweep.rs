//! Deletes unreferenced files in small batches, behind the closed gate of the leases.

use std::collections::HashSet;

use devanture_config::api::CollectStopped;
use devanture_config::{AppName, Digest};
use devanture_store::blobs::Key;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Change, Committed};
use devanture_store::records::sent::SentRecord;
use devanture_store::records::{self, sent};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::Pass;
use super::mark::Marked;
use crate::cluster::{self, GatesClosed};
use crate::ledger::{Closed, Error, SystemWrite, commit_in_parts};
use crate::retention::Retention;

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

// Gates of the leases on all nodes, closed while a collection deletes files.

/// Closed gates: no node takes a lease during their lifetime.
pub(super) struct LeaseGates<'l> {
    here: Closed<'l>,
    /// `None` on a standalone edge.
    elsewhere: Option<GatesClosed>,
}

impl LeaseGates<'_> {
    /// Returns true if a lease protects `key`.
    pub(super) fn holds(&self, key: Key) -> bool {
        self.here.holds(key) || self.elsewhere.as_ref().is_some_and(|gates| gates.holds(key))
    }

    /// Returns the second since 1970 from which on all stored files are leased, if any.
    pub(super) fn held_since_s(&self) -> Option<u64> {
        let elsewhere = self.elsewhere.as_ref().and_then(GatesClosed::held_since_s);
        [self.here.held_since_s(), elsewhere].into_iter().flatten().min()
    }

    /// Returns true while the gates are certainly closed.
    pub(super) fn are_closed(&self) -> bool {
        self.elsewhere.as_ref().is_none_or(GatesClosed::are_closed)
    }

    /// Runs `taking` while the gates are certainly closed; `None` after a timeout, with an unknown outcome.
    pub(super) async fn while_closed<T>(&self, taking: impl Future<Output = T>) -> Option<T> {
        match &self.elsewhere {
            Some(gates) => gates.while_closed(taking).await,
            None => Some(taking.await),
        }
    }

    /// Reports deleted files to other nodes, and opens the gates.
    pub(super) async fn open(self, gone: &[Digest]) {
        if let Some(gates) = self.elsewhere {
            gates.open(gone).await;
        }
    }
}

impl Retention {
    /// Closes the gates for files about to be deleted.
    ///
    /// # Errors
    /// A live node does not answer.
    pub(super) async fn close_gates(&self, keys: &[Key]) -> Result<LeaseGates<'_>, Error> {
        let here = self.ledger.leases.closed().await;
        let elsewhere = match &self.nodes {
            Some(nodes) => Some(nodes.close_gates(keys).await.map_err(cluster::Error::into_problem)?),
            None => None,
        };
        Ok(LeaseGates { here, elsewhere })
    }
}

// Stops a collection that would delete more files than an intact catalog explains.
//
// A lost catalog, or a catalog restored from an old copy, references few of the stored files. Without the check, the
// first collection would delete all other files.

impl Retention {
    /// Returns true if any record of an app or push shows that files were ever stored; an empty catalog explains no
    /// files.
    pub(super) async fn knows_files(&self) -> Result<bool, Error> {
        for prefix in ["apps/", "sent/"] {
            if !self.ledger.catalog.list(prefix, None, false, 1).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the figures of a disproportionate collection; `None` for a collection that may proceed.
    pub(super) async fn out_of_proportion(
        &self,
        pass: &Pass,
        marked: &Marked,
    ) -> Result<Option<CollectStopped>, Error> {
        if !marked.unreadable.is_empty() {
            return Ok(None);
        }
        let mut unreferenced = 0_u64;
        for first in 0..=u8::MAX {
            let listed = self.blobs.list_part(first).await?;
            let old = listed.iter().filter(|(key, _, put_s)| *put_s < pass.before_s && !marked.holds(*key));
            unreferenced = unreferenced.saturating_add(u64::try_from(old.count()).unwrap_or(u64::MAX));
        }
        let referenced = marked.count();
        let in_proportion = referenced.saturating_mul(self.ledger.limits().collect_unreferenced_percent_max) / 100;
        let always = if pass.knows_files { self.ledger.limits().collect_unreferenced_files_max } else { 0 };
        let stopped = CollectStopped { referenced, unreferenced };
        Ok((unreferenced > in_proportion.max(always)).then_some(stopped))
    }
}

// Deletes upload journals without a version within the grace period, or with purged blobs.

impl Retention {
    /// Deletes the journals that may name files deletable by the pass.
    pub(super) async fn end_old_sent(&self, pass: &Pass) -> Result<(), Error> {
        if pass.dry_run {
            return Ok(());
        }
        let mut uploads = Scan::new(&*self.ledger.catalog, sent::SENT_PREFIX);
        loop {
            let page = uploads.next_page().await?;
            if page.is_empty() {
                return Ok(());
            }
            let is_old = |key: &str, record: &_| {
                // The file system's clock may be slightly behind the clock of `at_ms`, so the same second counts too.
                // Unreadable journals are deleted.
                records::read::<SentRecord>(key, record).map_or(true, |sent| sent.at_ms / 1_000 <= pass.before_s)
            };
            let old = page.iter().filter(|(key, record)| is_old(key, record));
            let changes: Vec<Change> = old.map(|(key, _)| Change::Delete(key.clone())).collect();
            commit_in_parts(&*self.ledger.catalog, SystemWrite::Collection, changes).await?;
        }
    }

    /// Deletes the journals of an app that name one of the purged `files`: a later process must not derive from a
    /// journal that the app has sent blobs now held only by another app (law 11).
    pub(super) async fn end_sent_of(&self, app: &AppName, files: &[(Key, u64)]) -> Result<(), Error> {
        let blob = |(key, _): &(Key, u64)| match key {
            Key::Blob(digest) => Some(*digest),
            _ => None,
        };
        let purged: HashSet<Digest> = files.iter().filter_map(blob).collect();
        let mut uploads = Scan::new(&*self.ledger.catalog, sent::sent_prefix(app));
        loop {
            let page = uploads.next_page().await?;
            if page.is_empty() {
                return Ok(());
            }
            let is_purged = |key: &str, record: &_| {
                records::read::<SentRecord>(key, record)
                    .is_ok_and(|sent| sent.blobs.iter().any(|digest| purged.contains(digest)))
            };
            let ended = page.iter().filter(|(key, record)| is_purged(key, record));
            let changes: Vec<Change> = ended.map(|(key, _)| Change::Delete(key.clone())).collect();
            commit_in_parts(&*self.ledger.catalog, SystemWrite::Collection, changes).await?;
        }
    }
}
