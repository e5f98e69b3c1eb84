//! Writes down what pushes under way have sent, so that an interrupted one continues where it was, also in another
//! process.
//!
//! A commit for each blob would cost more than sending it, so they are written some at a time, and what is left of them
//! a moment after the last one and when the edge ends. What is written holds no blob: the collection forgets it before
//! it takes the files (`retention::collect`), and `owned.rs` checks whether they are stored before an answer says so.

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

/// Blobs of a push that are written down at once; those of one request with many of them are, however many they are.
const BLOBS_AT_ONCE: usize = 64;
/// Bytes of a push after which its blobs are written down, however few they are.
const BYTES_AT_ONCE: u64 = 16 * 1_024 * 1_024;
/// After how long the rest is written down.
const REST_AFTER: Duration = Duration::from_secs(1);

/// What came in and is not written down yet.
#[derive(Default)]
pub(super) struct Unwritten {
    /// By app, then by the id of the push.
    apps: Mutex<BTreeMap<AppName, BTreeMap<String, Batch>>>,
    came: Notify,
    /// One writes at a time, so that nothing is written of what was just ended.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Batch {
    /// No later than any of the blobs was put.
    at_ms: u64,
    bytes: u64,
    blobs: Vec<Digest>,
}

impl Unwritten {
    /// Notes blobs. Returns whether there is enough to be written.
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

    /// Takes out what was written; what came since stays for the next time.
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

    /// Forgets blobs that are no longer stored, for every app.
    pub(super) fn forget(&self, gone: &[Digest]) {
        for batch in self.apps.lock().values_mut().flat_map(BTreeMap::values_mut) {
            batch.blobs.retain(|digest| !gone.contains(digest));
        }
    }

    /// Forgets what an app has sent, since it is there no more; nothing of it is being written when this returns.
    pub(super) async fn forget_app(&self, app: &AppName) {
        let _turn = self.turn.lock().await;
        self.apps.lock().remove(app);
    }
}

impl Uploads {
    /// Notes that blobs came in for a push, and writes down what has come together.
    pub(super) async fn note_sent(&self, push: &Push, blobs: &[(Digest, u64)], at_ms: u64) {
        if self.unwritten.note(push, blobs, at_ms) {
            self.write_sent_of(&push.app).await;
        }
    }

    /// Writes down what is left a moment after it came, for as long as the process lives.
    pub async fn keep_writing_sent(self: Arc<Self>) {
        loop {
            self.unwritten.came.notified().await;
            tokio::time::sleep(REST_AFTER).await;
            self.write_sent().await;
        }
    }

    /// Writes down all that pushes under way have sent.
    pub async fn write_sent(&self) {
        let apps: Vec<AppName> = self.unwritten.apps.lock().keys().cloned().collect();
        for app in apps {
            self.write_sent_of(&app).await;
        }
    }

    /// What cannot be written now is written with what comes next: a push does not fail for it.
    async fn write_sent_of(&self, app: &AppName) {
        if let Err(error) = self.try_write_sent(app).await {
            tracing::warn!(%app, %error, "what a push has sent could not be written down");
        }
    }

    async fn try_write_sent(&self, app: &AppName) -> Result<(), Error> {
        let _turn = self.unwritten.turn.lock().await;
        // It is taken out only when it is written: the caller that waits for this may go away.
        let Some(pushes) = self.unwritten.apps.lock().get(app).cloned() else { return Ok(()) };
        // The records of an app that was deleted end with it, and then its name is somebody else's.
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

    /// Ends what says of blobs that they were sent, now that a version holds them: for this push, and for earlier ones
    /// that it continued.
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
