//! Upload journal: records the blobs sent by running pushes, so that an interrupted push can resume, also in another
//! process.
//!
//! Since a commit per blob would cost more than sending the blob, blobs are recorded in batches; the rest is recorded a
//! moment after the last blob and at the end of the edge. Recorded blobs may be collected: the collection deletes the
//! record before the files (`retention::collect`), and `owned.rs` checks presence before every answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::{AppName, Digest};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::pushes::Push;
use super::uploads::Uploads;
use crate::ledger::{Error, PART_CHANGES_MAX, SystemWrite, commit_in_parts, commit_system};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Change, Check, Commit};
use devanture_store::records::sent::{self, SENT_BLOBS_MAX, SentRecord};
use devanture_store::records::{self, gone};

/// Blobs of a push recorded at once; blobs of one batch request are always recorded together.
const BLOBS_AT_ONCE: usize = 64;
/// Bytes of a push after which its blobs are recorded, whatever their number.
const BYTES_AT_ONCE: u64 = 16 * 1_024 * 1_024;
/// Delay before the rest is recorded.
const REST_AFTER: Duration = Duration::from_secs(1);

/// Received blobs not yet recorded.
#[derive(Default)]
pub(super) struct Unwritten {
    /// By app and push id.
    apps: Mutex<BTreeMap<AppName, BTreeMap<String, Batch>>>,
    came: Notify,
    /// Serializes writes, so that nothing is recorded for a push or app that has just ended.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Batch {
    /// Never after any of the blobs was stored.
    at_ms: u64,
    bytes: u64,
    blobs: Vec<Digest>,
}

impl Unwritten {
    /// Adds blobs. Returns true once enough have accumulated for a write.
    fn note(&self, push: &Push, blobs: &[(Digest, u64)], at_ms: u64) -> bool {
        let mut apps = self.apps.lock();
        let batch = apps.entry(push.app.clone()).or_default().entry(push.id.clone()).or_default();
        batch.at_ms = if batch.blobs.is_empty() { at_ms } else { batch.at_ms.min(at_ms) };
        for (digest, size) in blobs {
            batch.bytes = batch.bytes.saturating_add(*size);
            batch.blobs.push(*digest);
        }
        self.came.notify_one();
        batch.blobs.len() >= BLOBS_AT_ONCE || batch.bytes >= BYTES_AT_ONCE
    }

    /// Removes the written blobs; blobs added since stay.
    fn written(&self, app: &AppName, written: &BTreeMap<String, Batch>) {
        let mut apps = self.apps.lock();
        let Some(pushes) = apps.get_mut(app) else { return };
        pushes.retain(|id, batch| {
            let Some(done) = written.get(id) else { return true };
            let blobs: HashSet<&Digest> = done.blobs.iter().collect();
            batch.blobs.retain(|digest| !blobs.contains(digest));
            batch.bytes = batch.bytes.saturating_sub(done.bytes);
            !batch.blobs.is_empty()
        });
        if pushes.is_empty() {
            apps.remove(app);
        }
    }

    /// Removes blobs no longer stored, for every app.
    pub(super) fn forget(&self, gone: &[Digest]) {
        for batch in self.apps.lock().values_mut().flat_map(BTreeMap::values_mut) {
            batch.blobs.retain(|digest| !gone.contains(digest));
        }
    }

    /// Removes the blobs of a deleted app; no write for the app is running on return.
    pub(super) async fn forget_app(&self, app: &AppName) {
        let _turn = self.turn.lock().await;
        self.apps.lock().remove(app);
    }
}

impl Uploads {
    /// Adds received blobs of a push, and records a full batch.
    pub(super) async fn note_sent(&self, push: &Push, blobs: &[(Digest, u64)], at_ms: u64) {
        if self.unwritten.note(push, blobs, at_ms) {
            self.write_sent_of(&push.app).await;
        }
    }

    /// Records the rest of each batch after a delay, for the lifetime of the process.
    pub async fn keep_writing_sent(self: Arc<Self>) {
        loop {
            self.unwritten.came.notified().await;
            tokio::time::sleep(REST_AFTER).await;
            self.write_sent().await;
        }
    }

    /// Records all blobs sent by running pushes.
    pub async fn write_sent(&self) {
        let apps: Vec<AppName> = self.unwritten.apps.lock().keys().cloned().collect();
        for app in apps {
            self.write_sent_of(&app).await;
        }
    }

    /// Records the blobs of an app. Failed writes are repeated with later blobs; a push does not fail for them.
    async fn write_sent_of(&self, app: &AppName) {
        if let Err(error) = self.try_write_sent(app).await {
            tracing::warn!(%app, %error, "what a push has sent could not be written down");
        }
    }

    async fn try_write_sent(&self, app: &AppName) -> Result<(), Error> {
        let _turn = self.unwritten.turn.lock().await;
        // Removed only after a complete write: the waiting caller may be dropped.
        let Some(pushes) = self.unwritten.apps.lock().get(app).cloned() else { return Ok(()) };
        // The records end with the app; its name may then belong to a new owner.
        let check = Check::Absent(gone::deleted_app_key(app));
        let mut changes = Vec::new();
        for (id, batch) in &pushes {
            for blobs in batch.blobs.chunks(SENT_BLOBS_MAX) {
                let record = SentRecord { at_ms: batch.at_ms, blobs: blobs.to_vec() };
                changes.push(Change::Put(sent::sent_key(app, id, self.ledger.tick()), records::write(&record)?));
            }
        }
        for part in changes.chunks(PART_CHANGES_MAX) {
            let commit = Commit { checks: vec![check.clone()], changes: part.to_vec() };
            match commit_system(&*self.ledger.catalog, SystemWrite::Sent, commit).await {
                Ok(_) | Err(catalog::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.unwritten.written(app, &pushes);
        Ok(())
    }

    /// Deletes the journal of a push, and of earlier pushes continued by the push, once a version holds the blobs.
    pub(super) async fn end_sent(&self, push: &Push) {
        if let Err(error) = self.try_end_sent(push).await {
            tracing::warn!(app = %push.app, %error, "what a push has sent stays written down until it is collected");
        }
    }

    async fn try_end_sent(&self, push: &Push) -> Result<(), Error> {
        let _turn = self.unwritten.turn.lock().await;
        if let Some(pushes) = self.unwritten.apps.lock().get_mut(&push.app) {
            pushes.remove(&push.id);
        }
        let prefix = sent::sent_prefix(&push.app);
        let mut held: HashSet<Digest> = HashSet::new();
        let mut uploads = Scan::new(&*self.ledger.catalog, prefix);
        loop {
            let page = uploads.next_page().await?;
            if page.is_empty() {
                return Ok(());
            }
            if held.is_empty() {
                held.extend(push.manifest.blobs().map(|(digest, _)| digest));
            }
            let is_held = |key: &str, record: &_| {
                let sent = records::read::<SentRecord>(key, record);
                sent.is_ok_and(|sent| sent.blobs.iter().all(|digest| held.contains(digest)))
            };
            let ended = page.iter().filter(|(key, record)| is_held(key, record));
            let changes: Vec<Change> = ended.map(|(key, _)| Change::Delete(key.clone())).collect();
            commit_in_parts(&*self.ledger.catalog, SystemWrite::Sent, changes).await?;
        }
    }
}
