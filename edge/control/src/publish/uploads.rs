//! Running pushes, latest deploys and sent blobs, changed together by collections and deletions.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::{AppName, Digest, PlaceName};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::brought::Leftovers;
use super::manifest_memory::ManifestMemory;
use super::owned::Owned;
use super::push_rate::{CountedPushes, PushRate};
use super::pushes::{Push, Pushes};
use super::sent::Unwritten;
use crate::ledger::{Error, Ledger};
use crate::retention;
use crate::switch::Deploys;
use devanture_base::fair::Shares;
use devanture_store::blobs::Blobs;
use devanture_store::catalog::Revision;

/// Running pushes, latest deploys, and blobs sent by each app.
pub struct Uploads {
    pub(super) ledger: Arc<Ledger>,
    pub(super) pushes: Pushes,
    pub(super) deploys: Arc<Deploys>,
    pub(super) owned: Owned,
    /// Blobs sent and not yet recorded.
    pub(super) unwritten: Unwritten,
    /// Leftovers of failed archives.
    pub(super) leftovers: Arc<Leftovers>,
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
