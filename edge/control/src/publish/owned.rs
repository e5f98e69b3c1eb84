//! Blobs sent by an app, and files of incoming archives. Only own blobs are reported to an app as present.
//!
//! Equal bytes of two apps share a file, but neither app learns of the other. A blob belongs to an app if contained in
//! a stored or restorable version of the app, or if sent by the app to the current process, or to an earlier process
//! that recorded the blob (`sent.rs`).
//!
//! The set of an app reflects the last commit on its versions by any node of the cluster. A version stored by another
//! node is added at the next use of the set; a set that may have lost a version is read again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use devanture_base::clock;
use devanture_base::fair::Lane;
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, Manifest, VersionId};
use devanture_store::blobs::{Blobs, ManifestTurns};
use devanture_store::catalog::Catalog;
use devanture_store::catalog::scan::Scan;
use devanture_store::records::follow::FollowedChange;
use devanture_store::records::gone::GoneVersion;
use devanture_store::records::sent::SentRecord;
use devanture_store::records::table::RecordKind;
use devanture_store::records::{gone, sent};
use devanture_store::{blobs, records};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::archive::Count;
use crate::ledger::Error;

/// Blobs of an app, in one table, since an app may have sent some hundred thousand blobs.
#[derive(Default)]
struct AppBlobs {
    sent: HashMap<Digest, SentBlob>,
    /// Stored versions included in the table, so that no manifest is read twice.
    versions: HashSet<VersionId>,
}

/// Blob sent by an app.
#[derive(Clone, Copy)]
struct SentBlob {
    /// Time of sending, in milliseconds since 1970; 0 for blobs known from versions.
    at_ms: u64,
    /// Time since a stored version has contained the blob, so that its variants were made or found useless;
    /// [`NOT_STORED`] without a stored version.
    stored_ms: u64,
    bytes: u64,
}

/// Marks a blob outside all stored versions.
const NOT_STORED: u64 = u64::MAX;

impl SentBlob {
    const fn is_stored(&self) -> bool {
        self.stored_ms != NOT_STORED
    }
}

impl AppBlobs {
    fn contains(&self, digest: &Digest) -> bool {
        self.sent.contains_key(digest)
    }

    fn is_stored(&self, digest: &Digest) -> bool {
        self.sent.get(digest).is_some_and(SentBlob::is_stored)
    }

    /// Records a sent blob; facts from versions stay.
    fn add_sent(&mut self, digest: Digest, at_ms: u64, bytes: u64) {
        let new = SentBlob { at_ms, stored_ms: NOT_STORED, bytes };
        let known = self.sent.entry(digest).or_insert(new);
        (known.at_ms, known.bytes) = (at_ms, bytes);
    }

    /// Records all blobs of a stored or restorable version.
    fn add_version(&mut self, version: VersionId, manifest: &Manifest, is_gone: bool) {
        match is_gone {
            true => manifest.blobs().for_each(|(digest, bytes)| self.add_sent(digest, 0, bytes)),
            false => self.add_stored(version, manifest, 0),
        }
    }

    /// Records all blobs of a stored version, sent at `at_ms`.
    fn add_stored(&mut self, version: VersionId, manifest: &Manifest, at_ms: u64) {
        self.versions.insert(version);
        let stored = manifest.blobs().map(|(digest, bytes)| (digest, SentBlob { at_ms, stored_ms: at_ms, bytes }));
        self.sent.extend(stored);
    }
}

type Set = Arc<Mutex<AppBlobs>>;

/// Blobs sent by an app.
pub(super) struct SentBlobs(Set);

impl SentBlobs {
    /// Returns true if the app has sent a blob.
    pub(super) fn contains(&self, blob: &Digest) -> bool {
        self.0.lock().contains(blob)
    }
}

/// State of an app with pushes since the start of the process.
#[derive(Default)]
struct AppState {
    /// Filled once. The sets of other apps stay available meanwhile, so a long history delays no other app.
    set: OnceCell<Set>,
    /// Versions stored since the set was begun, and not yet in the set. Most apps push to one node at a time, so
    /// manifests are read only at the local use of the set.
    unread: Mutex<HashSet<VersionId>>,
}

impl AppState {
    fn note_stored(&self, version: VersionId) {
        let is_in_set = self.set.get().is_some_and(|set| set.lock().versions.contains(&version));
        if !is_in_set {
            self.unread.lock().insert(version);
        }
    }
}

/// Blobs of every app with pushes since the start of the process.
pub(crate) struct Owned {
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    by_app: Mutex<HashMap<AppName, Arc<AppState>>>,
    /// Permits for manifests in memory, separate from other permits: a caller may already hold a permit of another
    /// kind.
    pub(super) turns: ManifestTurns,
}

impl Owned {
    pub(crate) fn new(blobs: Arc<dyn Blobs>, catalog: Arc<dyn Catalog>) -> Self {
        Self { blobs, catalog, by_app: Mutex::default(), turns: ManifestTurns::new() }
    }

    async fn of(&self, app: &AppName) -> Result<Set, Error> {
        let known = {
            let mut by_app = self.by_app.lock();
            Arc::clone(by_app.entry(app.clone()).or_default())
        };
        let set = known.set.get_or_try_init(|| self.read(app)).await?;
        self.catch_up(app, &known, set).await;
        Ok(Arc::clone(set))
    }

    /// Adds the blobs of versions stored since the set was read.
    async fn catch_up(&self, app: &AppName, known: &AppState, set: &Set) {
        let unread: Vec<VersionId> = {
            let unread = known.unread.lock();
            unread.iter().copied().collect()
        };
        let lane = Lane::of(app.as_str());
        let blobs = self.blobs.of(lane);
        for id in unread {
            let (owned, at_ms) = (Arc::clone(set), clock::now_ms());
            let add = move |canonical: &[u8]| {
                let Ok(manifest) = Manifest::read(canonical) else { return };
                owned.lock().add_stored(id, &manifest, at_ms);
            };
            match self.turns.read(&*blobs, (lane, id), add).await {
                // Removed only after a complete read: the waiting caller may be dropped.
                Ok(()) | Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => {
                    known.unread.lock().remove(&id);
                }
                // Blobs of an unreadable manifest are sent again.
                Err(error) => tracing::warn!(%app, version = %id, %error, "what a version holds could not be read"),
            }
        }
    }

    async fn read(&self, app: &AppName) -> Result<Set, Error> {
        let owned = self.read_blobs(app).await?;
        self.read_sent(app, &owned).await?;
        Ok(owned)
    }

    /// Adds blobs recorded by earlier processes.
    async fn read_sent(&self, app: &AppName, owned: &Set) -> Result<(), Error> {
        let prefix = sent::sent_prefix(app);
        let mut uploads = Scan::new(&*self.catalog, prefix);
        while let Some((key, record)) = uploads.next().await? {
            // An unreadable record is ignored: its blobs are sent again.
            let Ok(sent) = records::read::<SentRecord>(&key, &record) else { continue };
            let at_ms = sent.at_ms.max(1);
            let sizes = self.blobs.sizes(sent.blobs.clone()).await?;
            let mut owned = owned.lock();
            for (digest, bytes) in sent.blobs.into_iter().zip(sizes) {
                // A blob no longer stored must be sent again, and takes no space.
                let Some(bytes) = bytes else { continue };
                owned.sent.entry(digest).or_insert(SentBlob { at_ms, stored_ms: NOT_STORED, bytes });
            }
        }
        Ok(())
    }

    /// Reads the blobs of the app's versions. Permits limit long manifests, which are read on blocking threads.
    async fn read_blobs(&self, app: &AppName) -> Result<Set, Error> {
        let (owned, lane) = (Set::default(), Lane::of(app.as_str()));
        let blobs = self.blobs.of(lane);
        for (prefix, is_gone) in [(records::versions_prefix(app), false), (gone::gone_prefix(app), true)] {
            let mut versions = Scan::new(&*self.catalog, prefix);
            while let Some((key, record)) = versions.next().await? {
                let Some(id) = key.rsplit('/').next().and_then(|id| id.parse().ok()) else { continue };
                // A restorable version keeps its files. A damaged record may hide a restorable version.
                if is_gone && records::read::<GoneVersion>(&key, &record).is_ok_and(|gone| gone.record.is_none()) {
                    continue;
                }
                let set = Arc::clone(&owned);
                let add = move |canonical: &[u8]| {
                    let Ok(manifest) = Manifest::read(canonical) else { return };
                    set.lock().add_version(id, &manifest, is_gone);
                };
                // Blobs of an unreadable manifest are sent again, which heals the manifest.
                self.turns.read(&*blobs, (lane, id), add).await.ok();
            }
        }
        Ok(owned)
    }

    /// Returns the blobs of `wanted` not sent by the app, or no longer stored intact.
    pub(crate) async fn missing(&self, app: &AppName, wanted: &HashMap<Digest, u64>) -> Result<HashSet<Digest>, Error> {
        let set = self.of(app).await?;
        let owned: HashSet<Digest> = {
            let set = set.lock();
            wanted.keys().filter(|digest| set.contains(digest)).copied().collect()
        };
        let mut missing: HashSet<Digest> = wanted.keys().filter(|digest| !owned.contains(digest)).copied().collect();
        // Sorted: neighbouring digests share a folder.
        let mut owned: Vec<Digest> = owned.into_iter().collect();
        owned.sort_unstable();
        let sizes = self.blobs.of(Lane::of(app.as_str())).sizes(owned.clone()).await?;
        let found = owned.into_iter().zip(sizes);
        missing.extend(found.filter(|(digest, size)| *size != wanted.get(digest).copied()).map(|(digest, _)| digest));
        Ok(missing)
    }

    /// Records sent blobs with their sizes.
    pub(crate) async fn add(
        &self,
        app: &AppName,
        blobs: impl Iterator<Item = (Digest, u64)> + Send,
    ) -> Result<(), Error> {
        let set = self.of(app).await?;
        let at_ms = clock::now_ms();
        let mut set = set.lock();
        blobs.for_each(|(digest, bytes)| set.add_sent(digest, at_ms, bytes));
        Ok(())
    }

    /// Returns the blobs sent by the app.
    pub(super) async fn sent_by(&self, app: &AppName) -> Result<SentBlobs, Error> {
        self.of(app).await.map(SentBlobs)
    }

    /// Returns the bytes of all sent blobs and of `coming`; equal blobs count once.
    pub(crate) async fn bytes_with(&self, app: &AppName, coming: &HashMap<Digest, u64>) -> Result<u64, Error> {
        let is_loaded = self.by_app.lock().get(app).is_some_and(|known| known.set.get().is_some());
        let set = match is_loaded {
            true => self.of(app).await?,
            // A query over all apps must not keep all sets in memory.
            false => self.read(app).await?,
        };
        let set = set.lock();
        let coming = coming.iter().filter(|(digest, _)| !set.contains(digest)).map(|(_, bytes)| *bytes);
        Ok(set.sent.values().map(|blob| blob.bytes).chain(coming).fold(0, u64::saturating_add))
    }

    /// Records a stored version of the app.
    pub(crate) async fn stored(&self, app: &AppName, version: VersionId, manifest: &Manifest) -> Result<(), Error> {
        // The manifest is at hand, so the version announced by the catalog need not be read.
        let known = self.by_app.lock().get(app).cloned();
        if let Some(known) = known {
            known.unread.lock().remove(&version);
        }
        let set = self.of(app).await?;
        set.lock().add_stored(version, manifest, clock::now_ms());
        Ok(())
    }

    /// Takes note of a commit, by whichever node. One of this node's own pushes drops nothing, so that the next one
    /// need not read every manifest of the app again.
    pub(super) fn note_commit(&self, changes: &[FollowedChange]) {
        let is_stored = |change: &&FollowedChange| change.kind == RecordKind::Version && change.value.is_some();
        let stored = changes.iter().filter(is_stored).filter_map(version_of);
        let stored: HashSet<(AppName, VersionId)> = stored.collect();
        for change in changes {
            let is_end = match change.kind {
                RecordKind::Version => change.value.is_none(),
                kind => kind == RecordKind::GoneVersion,
            };
            // Where it is stored again, what said that it was gone goes.
            let ended = version_of(change).filter(|ended| is_end && !stored.contains(ended));
            if let Some((app, _)) = ended {
                self.forget_app(&app);
            }
        }
        for (app, version) in stored {
            let known = self.by_app.lock().get(&app).cloned();
            if let Some(known) = known {
                known.note_stored(version);
            }
        }
    }

    /// Removes blobs no longer stored, for every app.
    pub(crate) fn forget(&self, gone: &[Digest]) {
        for set in self.loaded() {
            let mut set = set.1.lock();
            for digest in gone {
                set.sent.remove(digest);
            }
        }
    }

    /// Forgets a deleted app.
    pub(crate) fn forget_app(&self, app: &AppName) {
        self.by_app.lock().remove(app);
    }

    /// Forgets all apps; sets are read again at the next use.
    pub(crate) fn forget_all(&self) {
        self.by_app.lock().clear();
    }

    /// Returns the loaded apps and their sets.
    fn loaded(&self) -> Vec<(AppName, Set)> {
        let by_app = self.by_app.lock();
        by_app.iter().filter_map(|(app, known)| Some((app.clone(), Arc::clone(known.set.get()?)))).collect()
    }

    /// Removes stale blobs from the apps in `lost` and from apps with old uploads outside all versions: blobs sent
    /// before `before_ms`, and in no stored or restorable version. An app must not learn that another app still holds a
    /// blob.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn refresh(&self, lost: &HashSet<AppName>, before_ms: u64) -> Result<(), Error> {
        for (app, set) in self.loaded() {
            let has_stale = {
                let set = set.lock();
                let is_old = |blob: &SentBlob| (1..before_ms).contains(&blob.at_ms);
                set.sent.values().any(|blob| is_old(blob) && !blob.is_stored())
            };
            if !has_stale && !lost.contains(&app) {
                continue;
            }
            let held = self.read_blobs(&app).await?;
            let (held, mut set) = (held.lock(), set.lock());
            // Blobs sent or stored since are missing from lists read earlier.
            set.sent.retain(|digest, blob| {
                let is_new = blob.at_ms >= before_ms;
                if !is_new {
                    // From now on known from a version; the end of the version adds its app to `lost`.
                    blob.at_ms = 0;
                }
                if blob.is_stored() && blob.stored_ms < before_ms && !held.is_stored(digest) {
                    blob.stored_ms = NOT_STORED;
                }
                is_new || held.contains(digest)
            });
        }
        Ok(())
    }

    /// Returns the blobs of `manifest` in no stored version of the app.
    pub(crate) async fn fresh(&self, app: &AppName, manifest: &Manifest) -> Result<HashSet<Digest>, Error> {
        let set = self.of(app).await?;
        let set = set.lock();
        Ok(manifest.files.values().map(|file| file.hash).filter(|digest| !set.is_stored(digest)).collect())
    }
}

/// The app and the version of a record that is of a version.
fn version_of(change: &FollowedChange) -> Option<(AppName, VersionId)> {
    let (app, version) = change.name().split_once('/')?;
    Some((app.parse().ok()?, version.parse().ok()?))
}

// Files of incoming and failed archives. Files are stored before the archive is accepted; files of a refused archive
// stay until a collection. Their bytes are bounded per app by the app's storage limit, over all its archives.

/// Most recorded files of an app, since each costs memory, however short.
const LEFTOVER_FILES_MAX: usize = 1_000_000;

/// Files of failed and incoming archives, by app.
#[derive(Default)]
pub(super) struct ArchiveLeftovers(Mutex<HashMap<AppName, LeftoverFiles>>);

/// Files of an app.
#[derive(Default)]
struct LeftoverFiles {
    sizes: HashMap<Digest, u64>,
    /// Total size.
    bytes: u64,
}

impl LeftoverFiles {
    fn remove(&mut self, blob: &Digest) {
        let bytes = self.sizes.remove(blob).unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Removes files sent by the app meanwhile.
    fn remove_sent(&mut self, sent: &SentBlobs) {
        self.sizes.retain(|blob, _| !sent.contains(blob));
        self.bytes = self.sizes.values().copied().fold(0, u64::saturating_add);
    }
}

impl ArchiveLeftovers {
    /// Removes blobs no longer stored.
    pub(super) fn forget(&self, gone: &[Digest]) {
        self.0.lock().retain(|_, files| {
            gone.iter().for_each(|blob| files.remove(blob));
            !files.sizes.is_empty()
        });
    }

    /// Removes all files of an app.
    pub(super) fn forget_app(&self, app: &AppName) {
        self.0.lock().remove(app);
    }
}

/// Files of an incoming archive, left over if dropped before [`StagedArchive::taken`].
pub(super) struct StagedArchive {
    app: AppName,
    /// Storage limit of the app in bytes; 0 is no limit and disables counting.
    max: u64,
    sent: SentBlobs,
    leftovers: Arc<ArchiveLeftovers>,
    /// Received files not sent by the app before.
    blobs: Vec<Digest>,
}

impl StagedArchive {
    /// Starts to count files for an app with a storage limit of `max` bytes.
    ///
    /// # Errors
    /// `storage_full` if failed and incoming archives already reach the limit; errors of reading the app's sent blobs.
    pub(super) async fn begin(
        (owned, leftovers): (&Owned, &Arc<ArchiveLeftovers>),
        app: &AppName,
        max: u64,
    ) -> Result<Self, Error> {
        let sent = owned.sent_by(app).await?;
        let (bytes, count) = leftovers.0.lock().get_mut(app).map_or((0, 0), |files| {
            files.remove_sent(&sent);
            (files.bytes, files.sizes.len())
        });
        let leftovers = Arc::clone(leftovers);
        let brought = Self { app: app.clone(), max, sent, leftovers, blobs: Vec::new() };
        if max > 0 && (bytes >= max || count >= LEFTOVER_FILES_MAX) { Err(brought.full(bytes)) } else { Ok(brought) }
    }

    /// Accepts the archive as a push; the app owns its files from now on.
    pub(super) fn taken(self) {
        let mut leftovers = self.leftovers.0.lock();
        if let Some(files) = leftovers.get_mut(&self.app) {
            self.blobs.iter().for_each(|blob| files.remove(blob));
        }
    }

    fn full(&self, bytes: u64) -> Error {
        let (app, came, max) = (&self.app, counted(bytes, "byte"), self.max);
        let detail =
            format!("{came} came in archives of the app {app} that failed or still come in; {max} are allowed.");
        Problem::new(Code::StorageFull, detail)
            .hint("push by `devanture push` until a collection has taken them (`grace_ms_max`)")
            .limit("stored_bytes_per_app_max", max, bytes)
            .into()
    }
}

impl Count for StagedArchive {
    fn count(&mut self, blob: Digest, bytes: u64) -> Result<(), Error> {
        if self.max == 0 || self.sent.contains(&blob) {
            return Ok(());
        }
        self.blobs.push(blob);
        let (bytes, count) = {
            let mut leftovers = self.leftovers.0.lock();
            let files = leftovers.entry(self.app.clone()).or_default();
            if files.sizes.insert(blob, bytes).is_some() {
                return Ok(());
            }
            files.bytes = files.bytes.saturating_add(bytes);
            (files.bytes, files.sizes.len())
        };
        if bytes <= self.max && count <= LEFTOVER_FILES_MAX { Ok(()) } else { Err(self.full(bytes)) }
    }
}
