//! What an app itself has sent: nothing else is ever reported to it as present.
//!
//! Equal bytes of two apps are one file on disk, but neither learns it: a blob counts as an app's own when one of its
//! versions holds it that are stored or can be restored, or when it was sent by this app: to this process, or to an
//! earlier one that wrote it down (`sent.rs`).
//!
//! The set of an app is as of the last commit that touched its versions, by whichever node of a cluster: a version that
//! another node stored is added when the set is next wanted, and a set that may have lost one is read again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use devanture_config::{AppName, Digest, Manifest, VersionId};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::ledger::Error;
use devanture_base::clock;
use devanture_base::fair::Lane;
use devanture_store::blobs::{self, Blobs, ManifestTurns};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Catalog, Change};
use devanture_store::records;
use devanture_store::records::gone::{self, GoneVersion};
use devanture_store::records::sent::{self, SentRecord};

/// The blobs of one app. One table, as an app may have sent some hundred thousand of them.
#[derive(Default)]
struct AppBlobs {
    sent: HashMap<Digest, SentBlob>,
    /// The stored versions whose blobs are among these, so that no manifest is read twice.
    versions: HashSet<VersionId>,
}

/// A blob that an app has sent.
#[derive(Clone, Copy)]
struct SentBlob {
    /// When, in milliseconds since 1970; 0 for what was known from the app's versions.
    at_ms: u64,
    /// Since when a stored version of the app holds it, so that variants of it were made, or were tried and not worth
    /// keeping; [`NOT_STORED`] while none does.
    stored_ms: u64,
    bytes: u64,
}

/// Of what no stored version holds.
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

    /// Notes that it was sent; what is known of its versions stays.
    fn add_sent(&mut self, digest: Digest, at_ms: u64, bytes: u64) {
        let new = SentBlob { at_ms, stored_ms: NOT_STORED, bytes };
        let known = self.sent.entry(digest).or_insert(new);
        (known.at_ms, known.bytes) = (at_ms, bytes);
    }

    /// Notes that a version has all blobs of a manifest, be it one that is stored or one that can be restored.
    fn add_version(&mut self, version: VersionId, manifest: &Manifest, is_gone: bool) {
        match is_gone {
            true => manifest.blobs().for_each(|(digest, bytes)| self.add_sent(digest, 0, bytes)),
            false => self.add_stored(version, manifest, 0),
        }
    }

    /// Notes that a stored version has all blobs of its manifest, each of which was sent by then.
    fn add_stored(&mut self, version: VersionId, manifest: &Manifest, at_ms: u64) {
        self.versions.insert(version);
        let stored = manifest.blobs().map(|(digest, bytes)| (digest, SentBlob { at_ms, stored_ms: at_ms, bytes }));
        self.sent.extend(stored);
    }
}

type Set = Arc<Mutex<AppBlobs>>;

/// The blobs that one app has sent.
pub(super) struct SentBlobs(Set);

impl SentBlobs {
    /// Whether it has sent a blob.
    pub(super) fn contains(&self, blob: &Digest) -> bool {
        self.0.lock().contains(blob)
    }
}

/// What is known of an app that has pushed since the start.
#[derive(Default)]
struct Known {
    /// Filled once, while those of other apps are at hand: a long history keeps nobody else waiting.
    set: OnceCell<Set>,
    /// Versions that were stored since the set was begun, and are not in it. Most apps push to one node at a time, so
    /// their manifests are read only when the set is wanted here.
    unread: Mutex<HashSet<VersionId>>,
}

impl Known {
    fn note_stored(&self, version: VersionId) {
        let is_in_set = self.set.get().is_some_and(|set| set.lock().versions.contains(&version));
        if !is_in_set {
            self.unread.lock().insert(version);
        }
    }
}

/// The blobs of every app that has pushed since the start.
pub(crate) struct Owned {
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    by_app: Mutex<HashMap<AppName, Arc<Known>>>,
    /// Turns to have manifests in memory, of their own kind: a caller may have one of another kind.
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

    /// Adds what versions hold that were stored since the set was read.
    async fn catch_up(&self, app: &AppName, known: &Known, set: &Set) {
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
                // Taken out only when it was read: the caller that waits for this may go away.
                Ok(()) | Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => {
                    known.unread.lock().remove(&id);
                }
                // Until it can be read its blobs are sent again.
                Err(error) => tracing::warn!(%app, version = %id, %error, "what a version holds could not be read"),
            }
        }
    }

    async fn read(&self, app: &AppName) -> Result<Set, Error> {
        let owned = self.read_blobs(app).await?;
        self.read_sent(app, &owned).await?;
        Ok(owned)
    }

    /// Adds what earlier processes wrote down that the app has sent.
    async fn read_sent(&self, app: &AppName, owned: &Set) -> Result<(), Error> {
        let prefix = sent::sent_prefix(app);
        let mut uploads = Scan::new(&*self.catalog, prefix);
        while let Some((key, record)) = uploads.next().await? {
            // What cannot be read says nothing: its blobs are sent again.
            let Ok(sent) = records::read::<SentRecord>(&key, &record) else { continue };
            let at_ms = sent.at_ms.max(1);
            let sizes = self.blobs.sizes(sent.blobs.clone()).await?;
            let mut owned = owned.lock();
            for (digest, bytes) in sent.blobs.into_iter().zip(sizes) {
                // What is no longer stored has to be sent again, and takes no room.
                let Some(bytes) = bytes else { continue };
                owned.sent.entry(digest).or_insert(SentBlob { at_ms, stored_ms: NOT_STORED, bytes });
            }
        }
        Ok(())
    }

    /// What versions of the app hold. Long manifests are read in turns, on threads that may block.
    async fn read_blobs(&self, app: &AppName) -> Result<Set, Error> {
        let (owned, lane) = (Set::default(), Lane::of(app.as_str()));
        let blobs = self.blobs.of(lane);
        for (prefix, is_gone) in [(records::versions_prefix(app), false), (gone::gone_prefix(app), true)] {
            let mut versions = Scan::new(&*self.catalog, prefix);
            while let Some((key, record)) = versions.next().await? {
                let Some(id) = key.rsplit('/').next().and_then(|id| id.parse().ok()) else { continue };
                // Of what is gone, what can be restored has its files. A damaged record may have said so.
                if is_gone && records::read::<GoneVersion>(&key, &record).is_ok_and(|gone| gone.record.is_none()) {
                    continue;
                }
                let set = Arc::clone(&owned);
                let add = move |canonical: &[u8]| {
                    let Ok(manifest) = Manifest::read(canonical) else { return };
                    set.lock().add_version(id, &manifest, is_gone);
                };
                // A manifest that cannot be read owns nothing: its blobs are sent again, which heals them.
                self.turns.read(&*blobs, (lane, id), add).await.ok();
            }
        }
        Ok(owned)
    }

    /// Those of `wanted` that the app has not sent, or that are no longer stored as they should be.
    pub(crate) async fn missing(&self, app: &AppName, wanted: &HashMap<Digest, u64>) -> Result<HashSet<Digest>, Error> {
        let set = self.of(app).await?;
        let owned: HashSet<Digest> = {
            let set = set.lock();
            wanted.keys().filter(|digest| set.contains(digest)).copied().collect()
        };
        let mut missing: HashSet<Digest> = wanted.keys().filter(|digest| !owned.contains(digest)).copied().collect();
        // Neighbours lie in one folder.
        let mut owned: Vec<Digest> = owned.into_iter().collect();
        owned.sort_unstable();
        let sizes = self.blobs.of(Lane::of(app.as_str())).sizes(owned.clone()).await?;
        let found = owned.into_iter().zip(sizes);
        missing.extend(found.filter(|(digest, size)| *size != wanted.get(digest).copied()).map(|(digest, _)| digest));
        Ok(missing)
    }

    /// Notes that the app has sent blobs, each with its size.
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

    /// What the app has sent.
    pub(super) async fn sent_by(&self, app: &AppName) -> Result<SentBlobs, Error> {
        self.of(app).await.map(SentBlobs)
    }

    /// Bytes of all that the app has sent, and of what it is going to send, equal blobs once.
    pub(crate) async fn bytes_with(&self, app: &AppName, coming: &HashMap<Digest, u64>) -> Result<u64, Error> {
        let is_loaded = self.by_app.lock().get(app).is_some_and(|known| known.set.get().is_some());
        let set = match is_loaded {
            true => self.of(app).await?,
            // To ask what every app uses must not hold all of that in memory.
            false => self.read(app).await?,
        };
        let set = set.lock();
        let coming = coming.iter().filter(|(digest, _)| !set.contains(digest)).map(|(_, bytes)| *bytes);
        Ok(set.sent.values().map(|blob| blob.bytes).chain(coming).fold(0, u64::saturating_add))
    }

    /// Notes that a version of the app is stored.
    pub(crate) async fn stored(&self, app: &AppName, version: VersionId, manifest: &Manifest) -> Result<(), Error> {
        // Its manifest is at hand: it is not read for what the catalog has announced meanwhile.
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
    pub(super) fn note_commit(&self, changes: &[Change]) {
        let stored = changes.iter().filter_map(|change| match change {
            Change::Put(key, _) => version_at(records::VERSIONS_PREFIX, key),
            Change::Delete(_) => None,
        });
        let stored: HashSet<(AppName, VersionId)> = stored.collect();
        for change in changes {
            let ended = match change {
                Change::Delete(key) => {
                    version_at(records::VERSIONS_PREFIX, key).or_else(|| version_at(gone::GONE_PREFIX, key))
                }
                Change::Put(key, _) => version_at(gone::GONE_PREFIX, key),
            };
            // Where it is stored again, what said that it was gone goes.
            if let Some(ended) = ended.filter(|ended| !stored.contains(ended)) {
                self.forget_app(&ended.0);
            }
        }
        for (app, version) in stored {
            let known = self.by_app.lock().get(&app).cloned();
            if let Some(known) = known {
                known.note_stored(version);
            }
        }
    }

    /// Forgets blobs that are no longer stored, for every app.
    pub(crate) fn forget(&self, gone: &[Digest]) {
        for set in self.loaded() {
            let mut set = set.1.lock();
            for digest in gone {
                set.sent.remove(digest);
            }
        }
    }

    /// Forgets what an app has sent, since it is there no more.
    pub(crate) fn forget_app(&self, app: &AppName) {
        self.by_app.lock().remove(app);
    }

    /// Forgets what every app has sent; it is read again from the records when it is wanted.
    pub(crate) fn forget_all(&self) {
        self.by_app.lock().clear();
    }

    /// The apps that have pushed since the start, and what they sent.
    fn loaded(&self) -> Vec<(AppName, Set)> {
        let by_app = self.by_app.lock();
        by_app.iter().filter_map(|(app, known)| Some((app.clone(), Arc::clone(known.set.get()?)))).collect()
    }

    /// Takes from the apps in `lost`, and from those with old uploads that became no version, what no version of theirs
    /// holds any more, be it one that can be restored, and was sent before `before_ms`: an app does not learn that
    /// another one still holds it.
    ///
    /// # Errors
    /// Where the catalog fails.
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
            // What was sent or stored since is in no list that was read before.
            set.sent.retain(|digest, blob| {
                let is_new = blob.at_ms >= before_ms;
                if !is_new {
                    // From now on known from a version, whose app is in `lost` when it ends.
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

    /// The blobs of `manifest` that no stored version of the app holds yet.
    pub(crate) async fn fresh(&self, app: &AppName, manifest: &Manifest) -> Result<HashSet<Digest>, Error> {
        let set = self.of(app).await?;
        let set = set.lock();
        Ok(manifest.files.values().map(|file| file.hash).filter(|digest| !set.is_stored(digest)).collect())
    }
}

/// The app and the version of the record at `key`, below `prefix`.
fn version_at(prefix: &str, key: &str) -> Option<(AppName, VersionId)> {
    let (app, version) = key.strip_prefix(prefix)?.split_once('/')?;
    Some((app.parse().ok()?, version.parse().ok()?))
}
