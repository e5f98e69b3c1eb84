//! Running pushes, latest deploys and sent blobs, changed together by collections and deletions.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devanture_base::fair::Shares;
use devanture_config::{AppName, Digest, PlaceName};
use devanture_store::blobs::Blobs;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::sent::{SENT_BLOBS_MAX, SentRecord};
use devanture_store::records::{gone, sent};
use devanture_store::{catalog, records};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::owned::ArchiveLeftovers;
use super::owned::Owned;
use super::pushes::ManifestMemory;
use super::pushes::{Push, Pushes};
use super::quota::{CountedPushes, PushRate};
use crate::ledger::{Error, Ledger, PART_CHANGES_MAX, SystemWrite, commit_in_parts, commit_system};
use crate::retention;
use crate::switch::Deploys;

/// Running pushes, latest deploys, and blobs sent by each app.
pub struct Uploads {
    pub(super) ledger: Arc<Ledger>,
    pub(super) pushes: Pushes,
    pub(super) deploys: Arc<Deploys>,
    pub(super) owned: Owned,
    /// Blobs sent and not yet recorded.
    pub(super) unwritten: Unwritten,
    /// Leftovers of failed archives.
    pub(super) leftovers: Arc<ArchiveLeftovers>,
    /// Permits of concurrent large manifests.
    pub(super) manifests_reading: Arc<Shares>,
    pub(super) manifest_memory: Arc<ManifestMemory>,
    /// Permits of concurrent batch requests.
    pub(super) batches: Arc<Shares>,
    /// Permits of concurrent single blobs; each takes memory, and then an open file.
    pub(super) receiving: Arc<Shares>,
    /// Permits of concurrent archives.
    pub(super) archives: Arc<Shares>,
    /// Pushes of each app begun within an hour.
    pub(super) push_rate: PushRate,
    /// Folder for incoming archives.
    pub(super) scratch: PathBuf,
}

impl Uploads {
    pub(super) fn new(blobs: Arc<dyn Blobs>, ledger: Arc<Ledger>, data_dir: &Path) -> Self {
        Self {
            pushes: Pushes::new(ledger.limits().pushes_max, ledger.limits().push_idle_ms_max),
            deploys: Arc::default(),
            owned: Owned::new(blobs, Arc::clone(&ledger.catalog)),
            unwritten: Unwritten::default(),
            leftovers: Arc::default(),
            manifests_reading: Shares::new(ledger.limits().manifests_reading_max),
            manifest_memory: ManifestMemory::new(ledger.limits().manifest_memory_bytes_max),
            batches: Shares::new(ledger.limits().blob_batches_max),
            receiving: Shares::new(ledger.limits().blobs_receiving_max),
            archives: Shares::new(ledger.limits().pushes_max),
            push_rate: PushRate::default(),
            scratch: scratch(data_dir),
            ledger,
        }
    }

    /// Returns the pushes begun within the hour, for the successor.
    pub fn counted_pushes(&self) -> Vec<CountedPushes> {
        self.push_rate.counted()
    }

    /// Continues the counts of the predecessor.
    pub fn go_on_counting(&self, counted: Vec<CountedPushes>) {
        self.push_rate.go_on(counted);
    }

    /// Puts back a push that lacks a blob, unless its app has ended: the next app of the same name has a new owner.
    pub(super) fn put_back(&self, push: &Arc<Push>) {
        self.pushes.put_back(Arc::clone(push));
        // Checked afterwards: an app that ends from here on forgets the push by itself.
        if self.deploys.find(&push.app, &push.id).is_none() {
            drop(self.pushes.take(&push.app, &push.id));
        }
    }

    /// Forgets everything in an app that ended with the commit `revision`; later pushes belong to the next owner.
    pub(super) async fn forget_former(&self, app: &AppName, revision: Revision) {
        self.deploys.forget_before(app, revision);
        self.pushes.forget_before(app, revision);
        self.owned.forget_app(app);
        self.leftovers.forget_app(app);
        self.unwritten.forget_app(app).await;
    }
}

impl retention::Uploads for Uploads {
    fn end_idle(&self) {
        self.pushes.forget_idle();
    }

    fn end_of(&self, app: &AppName, environment: Option<&PlaceName>) {
        self.pushes.forget_of(app, environment);
    }

    fn forget_blobs(&self, gone: &[Digest]) {
        self.owned.forget(gone);
        self.leftovers.forget(gone);
        self.unwritten.forget(gone);
    }

    fn forget_app<'a>(&'a self, app: &'a AppName) -> BoxFuture<'a, ()> {
        // No push of the app begins before the commit of its end.
        self.forget_former(app, Revision::MAX).boxed()
    }

    fn refresh<'a>(&'a self, lost: &'a HashSet<AppName>, before_ms: u64) -> BoxFuture<'a, Result<(), Error>> {
        self.owned.refresh(lost, before_ms).boxed()
    }
}

/// Returns the folder for temporary files of the edge with data in `data_dir`, emptied at every start.
fn scratch(data_dir: &Path) -> PathBuf {
    data_dir.join("tmp")
}

// Upload journal: records the blobs sent by running pushes, so that an interrupted push can resume, also in another
// process.
//
// Since a commit per blob would cost more than sending the blob, blobs are recorded in batches; the rest is recorded a
// moment after the last blob and at the end of the edge. Recorded blobs may be collected: the collection deletes the
// record before the files (`retention::collect`), and `owned.rs` checks presence before every answer.

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
    apps: Mutex<BTreeMap<AppName, BTreeMap<String, SentBatch>>>,
    came: Notify,
    /// Serializes writes, so that nothing is recorded for a push or app that has just ended.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct SentBatch {
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
    fn written(&self, app: &AppName, written: &BTreeMap<String, SentBatch>) {
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
