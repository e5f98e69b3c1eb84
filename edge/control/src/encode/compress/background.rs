//! Background pass after a switch: missing deltas, and recompression of variants and deltas at the best level.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use devanture_base::fair::{Lane, Lanes, Share, Shares};
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use devanture_serve::live::DictionaryMiss;
use devanture_store::blobs::{Blobs, Form, Key, Quality, VariantInfo};
use devanture_store::catalog::{Catalog, Change, Check, Commit};
use devanture_store::records::{DictionariesRecord, Levels, VersionRecord, pointer};
use devanture_store::{blobs, catalog, records};
use futures_util::future::Either;
use futures_util::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::encode::{SMALL_BYTES_MAX, encode};
use super::large::LARGE_BYTES_MIN;
use super::pool::Pool;
use super::{lacking_forms, large, quick_file, small};
use crate::encode::{Dictionaries, Priority};
use crate::ledger::{Error, SystemWrite, commit_system, unless_conflict, update};

/// Versions queued for the pass; further versions are found at the next start.
const VERSIONS_MAX: u64 = 1_024;
/// Requested deltas queued apart from versions, so that requests of strangers delay no switch; further requests are
/// dropped.
const WISHES_MAX: usize = 64;
/// Files recompressed sequentially before the next group is examined.
const FILES_OF_GROUP: usize = 256;

/// Background pass, on its own threads.
#[derive(Clone)]
pub struct Background(Option<Arc<Started>>);

struct Started {
    entry: QueueEntry,
    best: Arc<AtomicBool>,
    stop: CancellationToken,
}

/// Dependencies of the pass.
pub struct BackgroundParts {
    /// Store.
    pub blobs: Arc<dyn Blobs>,
    /// Live versions.
    pub catalog: Arc<dyn Catalog>,
    /// Low-priority threads.
    pub threads: usize,
    /// Receives every improved version.
    pub remade: broadcast::Sender<VersionId>,
    /// True to recompress at the best level.
    pub best: bool,
    /// Longest compressed file.
    pub file_bytes_max: u64,
    /// True while memory is short, which suspends compression.
    pub memory_is_short: watch::Receiver<bool>,
    /// Maker of deltas with the dictionary misses of browsers, if enabled.
    pub dictionaries: Option<(Arc<Dictionaries>, mpsc::Receiver<DictionaryMiss>)>,
}

struct Remaker {
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    pool: Arc<Pool>,
    remade: broadcast::Sender<VersionId>,
    best: Arc<AtomicBool>,
    file_bytes_max: u64,
    dictionaries: Option<Arc<Dictionaries>>,
}

impl Background {
    /// Disables the pass: the first variants stay.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts the pass.
    #[must_use]
    pub fn start(parts: BackgroundParts) -> Self {
        let BackgroundParts { blobs, catalog, threads, remade, best, file_bytes_max, memory_is_short, dictionaries } =
            parts;
        let best = Arc::new(AtomicBool::new(best));
        let (entry, mut versions) = queue(VERSIONS_MAX);
        let (improving, mut improvable) = mpsc::channel(WISHES_MAX);
        let pool = Pool::new("compress-best", threads, Priority::Lowest).waiting_while(memory_is_short);
        let pool = Arc::new(pool);
        let (stop, (dictionaries, misses)) = (CancellationToken::new(), dictionaries.unzip());
        if let (Some(dictionaries), Some(misses)) = (&dictionaries, misses) {
            let improve = move |miss: DictionaryMiss| {
                if improving.try_send(miss).is_err() {
                    tracing::debug!("a requested delta stays at the quick level");
                }
            };
            let fulfilling = Arc::clone(dictionaries).fulfil(misses, Arc::clone(&pool), remade.clone(), improve);
            // Separate from the versions: a browser returns soon, while a version may wait long.
            tokio::spawn(stop.clone().run_until_cancelled_owned(fulfilling));
        }
        let started = Started { entry, best: Arc::clone(&best), stop: stop.clone() };
        let remaker = Remaker { blobs, catalog, pool, remade, best, file_bytes_max, dictionaries };
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                // Switches have priority over requested deltas.
                tokio::select! {
                    biased;
                    Some(WentLive { app, environment, version }) = versions.next() => {
                        remaker.live(&app, &environment, version).await;
                    }
                    Some(miss) = improvable.recv() => remaker.miss(&miss).await,
                    else => break,
                }
            }
        }));
        Self(Some(Arc::new(started)))
    }

    /// Enables or disables recompression at the best level, from the next queued version on. Returns true if just
    /// enabled: the live versions must be queued again.
    pub(crate) fn set_best(&self, best: bool) -> bool {
        self.0.as_ref().is_some_and(|started| !started.best.swap(best, Ordering::Relaxed) && best)
    }

    /// Stops the pass at any point; the next process continues.
    pub fn end(&self) {
        if let Some(started) = &self.0 {
            started.stop.cancel();
        }
    }

    /// Returns the number of queued versions.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.as_ref().map_or(0, |started| started.entry.len())
    }

    /// Queues a version gone live for the pass.
    pub fn enqueue(&self, app: &AppName, environment: &PlaceName, version: VersionId) {
        let went_live = WentLive { app: app.clone(), environment: environment.clone(), version };
        if let Some(started) = &self.0
            && started.entry.add(went_live).is_err()
        {
            tracing::warn!(
                "the queue of the background pass is full; what is left out is found again at the next start"
            );
        }
    }
}

impl Background {
    /// As [`Background::enqueue`], but waits while the queue is full.
    pub async fn enqueue_in_turn(&self, app: &AppName, environment: &PlaceName, version: VersionId) {
        let went_live = WentLive { app: app.clone(), environment: environment.clone(), version };
        if let Some(started) = &self.0 {
            started.entry.add_in_turn(went_live).await;
        }
    }
}

impl Remaker {
    /// Makes missing variants and deltas first, then recompresses all at the best level.
    async fn live(&self, app: &AppName, environment: &PlaceName, version: VersionId) {
        let pool = &self.pool.of(app);
        // The version may have been replaced during the wait; a version that returns is queued again.
        match self.is_live(app, environment, version).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(app = %app, %error, "what is live is not known; it is remade all the same"),
        }
        match self.fill(app, version, pool).await {
            Ok(0) => {}
            Ok(variants) => {
                tracing::info!(app = %app, version = %version, variants, "missing variants were made again");
                self.announce(version);
            }
            Err(error) => tracing::warn!(app = %app, version = %version, %error, "missing variants were not made"),
        }
        if let Some(dictionaries) = &self.dictionaries {
            match dictionaries.after_switch(app, environment, version, pool).await {
                Ok(true) => self.announce(version),
                Ok(false) => {}
                Err(error) => tracing::warn!(app = %app, version = %version, %error, "deltas were not made"),
            }
        }
        if !self.is_best() {
            return;
        }
        match self.remake(app, version, pool).await {
            Ok(0) => {}
            Ok(variants) => {
                tracing::info!(version = %version, variants, "variants were remade at the best level");
                self.announce(version);
            }
            Err(error) => tracing::warn!(version = %version, %error, "variants were not remade; the first ones stay"),
        }
        let Some(dictionaries) = &self.dictionaries else { return };
        match dictionaries.improve(app, version, pool).await {
            Ok(0) => {}
            Ok(deltas) => {
                tracing::info!(app = %app, version = %version, deltas, "deltas were remade at the best level");
                self.announce(version);
            }
            Err(error) => tracing::warn!(app = %app, version = %version, %error, "deltas were not remade"),
        }
    }

    /// Makes the missing variants of a version. Returns their number.
    async fn fill(&self, app: &AppName, version: VersionId, pool: &Pool) -> Result<usize, Error> {
        let key = records::version_key(app, &version);
        let Some(stored) = self.catalog.get(&key).await? else { return Ok(0) };
        let record = records::read::<VersionRecord>(&key, &stored)?;
        let Some(manifest) = self.manifest(version).await? else { return Ok(0) };
        let key = records::dictionaries_key(app, &version);
        let dictionaries = self.catalog.get(&key).await?;
        let pages = dictionaries.and_then(|record| records::read::<DictionariesRecord>(&key, &record).ok()?.pages);
        let of_pages = match pages {
            Some(pages) => fill_file(&*self.blobs, pool, pages.blob, (pages.size, Form::ALL.to_vec())).await?,
            None => 0,
        };
        let hashed = record.hashed_pages(&manifest);
        let hashed = fill(&*self.blobs, pool, hashed, &BTreeMap::new(), self.file_bytes_max).await?;
        Ok(of_pages + hashed + fill(&*self.blobs, pool, manifest, &record.given, self.file_bytes_max).await?)
    }

    /// Reads the manifest of a version; `None` if unreadable, which serving reports.
    async fn manifest(&self, version: VersionId) -> Result<Option<Manifest>, Error> {
        let canonical = self.blobs.get(Key::Manifest(version)).await?;
        Ok(Manifest::stored(&canonical).ok())
    }

    /// Recompresses the quick variants of a version and of its hashed pages. Returns their number.
    async fn remake(&self, app: &AppName, version: VersionId, pool: &Pool) -> Result<usize, Error> {
        let Some(manifest) = self.manifest(version).await? else { return Ok(0) };
        let key = records::version_key(app, &version);
        let stored = self.catalog.get(&key).await?;
        let record = stored.map(|stored| records::read::<VersionRecord>(&key, &stored)).transpose()?;
        let is_quick = record.as_ref().is_some_and(|record| record.quick);
        let levels = Levels::of((app, version), is_quick, (&self.catalog, &self.blobs));
        let of_pages = match record.map(|record| record.hashed_pages(&manifest)) {
            Some(pages) => remake_files(&*self.blobs, pool, pages, &levels).await?,
            None => 0,
        };
        let made = of_pages + remake_files(&*self.blobs, pool, manifest, &levels).await?;
        if is_quick {
            self.note_best(&key).await?;
        }
        Ok(made)
    }

    /// Records the completed pass of a version.
    async fn note_best(&self, key: &str) -> Result<(), Error> {
        update(key, || async {
            let Some(stored) = self.catalog.get(key).await? else { return Ok(Some(())) };
            let record = VersionRecord { quick: false, ..records::read(key, &stored)? };
            let checks = vec![Check::At(key.to_owned(), stored.revision)];
            let changes = vec![Change::Put(key.to_owned(), records::write(&record)?)];
            let commit = commit_system(&*self.catalog, SystemWrite::Levels, Commit { checks, changes });
            Ok(unless_conflict(commit.await)?.map(drop))
        })
        .await
    }

    async fn is_live(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: VersionId,
    ) -> Result<bool, catalog::Error> {
        let live = pointer::live_pointer(&*self.catalog, app, environment).await?;
        Ok(live.is_some_and(|(_, pointer)| pointer.versions().any(|live| live == version)))
    }

    async fn miss(&self, miss: &DictionaryMiss) {
        let Some(dictionaries) = self.dictionaries.as_ref().filter(|_| self.is_best()) else { return };
        match dictionaries.improve_delta(miss, &self.pool.of(&miss.app)).await {
            Ok(true) => self.announce(miss.version),
            Ok(false) => {}
            Err(error) => tracing::warn!(app = %miss.app, %error, "a requested delta was not remade"),
        }
    }

    fn is_best(&self) -> bool {
        self.best.load(Ordering::Relaxed)
    }

    fn announce(&self, version: VersionId) {
        // The receiver is gone while the edge stops.
        self.remade.send(version).ok();
    }
}

async fn remake_files(
    blobs: &dyn Blobs,
    pool: &Pool,
    manifest: Manifest,
    levels: &Levels,
) -> Result<usize, blobs::Error> {
    let mut digests: Vec<Digest> = manifest.files.into_values().map(|file| file.hash).collect();
    digests.sort_unstable();
    digests.dedup();
    let mut variants = 0;
    // Grouped, since the futures of a hundred thousand files take more memory than all their other data.
    for group in digests.chunks(FILES_OF_GROUP) {
        let files: Vec<_> = group.iter().map(|digest| remake_file(blobs, pool, *digest, levels)).collect();
        let made: Vec<usize> = stream::iter(files).buffer_unordered(pool.threads()).try_collect().await?;
        variants += made.iter().sum::<usize>();
    }
    Ok(variants)
}

async fn remake_file(blobs: &dyn Blobs, pool: &Pool, digest: Digest, levels: &Levels) -> Result<usize, blobs::Error> {
    let stored = blobs.stored_variants(digest).await?.into_iter();
    let (kept, others): (Vec<_>, Vec<_>) = stored.partition(|variant| variant.form.is_kept_quick());
    let quick = if kept.is_empty() || levels.are_best(&digest).await {
        others.into_iter().filter(|variant| variant.quality == Quality::Quick).collect()
    } else {
        // Recompressed even if another app's pass has already done so: the duration must not reveal other apps.
        kept
    };
    if quick.is_empty() {
        return Ok(0);
    }
    let size = blobs.size(Key::Blob(digest)).await?.unwrap_or_default();
    if size > LARGE_BYTES_MIN {
        return remake_large(blobs, pool, digest, quick).await;
    }
    let bytes = blobs.get(Key::Blob(digest)).await?;
    let mut made = Vec::with_capacity(quick.len());
    for variant in quick {
        let plain = bytes.clone();
        let encoded = pool.run(size, move || encode(&plain, variant.form, Quality::Best)).await.flatten();
        let smaller = encoded.filter(|encoded| (encoded.len() as u64) < variant.size);
        let bytes = match smaller {
            Some(encoded) => encoded.into(),
            // The quick variant is smaller: the best level keeps a copy, to avoid further attempts.
            None => blobs.get(Key::Variant(digest, variant.form)).await?,
        };
        let form = variant.form.encoding();
        counter!("devanture_variants_made_total", "form" => form.suffix(), "quality" => "best").increment(1);
        made.push((form, Quality::Best, bytes));
    }
    let count = made.len();
    blobs.put_variants(digest, made).await?;
    Ok(count)
}

/// As `remake_file`, for a large file, one variant at a time.
async fn remake_large(
    blobs: &dyn Blobs,
    pool: &Pool,
    digest: Digest,
    quick: Vec<VariantInfo>,
) -> Result<usize, blobs::Error> {
    let count = quick.len();
    for VariantInfo { form, size, .. } in quick {
        let bytes = match large::encode(blobs, pool, digest, form, (Quality::Best, size.saturating_sub(1))).await? {
            Some(encoded) => encoded,
            None => blobs.get(Key::Variant(digest, form)).await?,
        };
        let form = form.encoding();
        counter!("devanture_variants_made_total", "form" => form.suffix(), "quality" => "best").increment(1);
        blobs.put_variants(digest, vec![(form, Quality::Best, bytes)]).await?;
    }
    Ok(count)
}

// Queue of versions for the background pass: versions of an app in order, and apps in turns (law 11).

/// Version gone live in an environment.
pub(super) struct WentLive {
    pub(super) app: AppName,
    pub(super) environment: PlaceName,
    pub(super) version: VersionId,
}

/// Sending end; the receiving end ends with the sending end.
pub(super) struct QueueEntry(Arc<PassQueue>);

/// Receiving end.
pub(super) struct QueueExit(Arc<PassQueue>);

struct PassQueue {
    waiting: Mutex<WaitingVersions>,
    count: AtomicUsize,
    /// Limits the queued versions, with room for other apps.
    shares: Arc<Shares>,
    came: Notify,
    left: Notify,
}

#[derive(Default)]
struct WaitingVersions {
    lanes: Lanes<(WentLive, Share)>,
    ended: bool,
}

/// Returns a queue of at most `count_max` versions.
pub(super) fn queue(count_max: u64) -> (QueueEntry, QueueExit) {
    let queue = Arc::new(PassQueue {
        waiting: Mutex::default(),
        count: AtomicUsize::new(0),
        shares: Shares::new(count_max),
        came: Notify::new(),
        left: Notify::new(),
    });
    (QueueEntry(Arc::clone(&queue)), QueueExit(queue))
}

impl QueueEntry {
    /// Returns the number of queued versions.
    pub(super) fn len(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Adds a version; returns the version if the queue is full.
    pub(super) fn add(&self, version: WentLive) -> Result<(), WentLive> {
        let queue = &*self.0;
        let Some(share) = queue.shares.take(&version.app) else { return Err(version) };
        queue.count.fetch_add(1, Ordering::Relaxed);
        // All versions have equal cost as far as known; threads are shared by bytes later.
        queue.waiting.lock().lanes.push(Lane::of(version.app.as_str()), 1, (version, share));
        queue.came.notify_one();
        Ok(())
    }

    /// Adds a version as soon as there is room.
    pub(super) async fn add_in_turn(&self, mut version: WentLive) {
        loop {
            let left = self.0.left.notified();
            match self.add(version) {
                Ok(()) => return,
                Err(back) => version = back,
            }
            left.await;
        }
    }
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        self.0.waiting.lock().ended = true;
        self.0.came.notify_one();
    }
}

impl QueueExit {
    /// Returns the next version; `None` after the end.
    pub(super) async fn next(&mut self) -> Option<WentLive> {
        loop {
            let (next, ended) = {
                let mut waiting = self.0.waiting.lock();
                (waiting.lanes.take_next(), waiting.ended)
            };
            match next {
                Some((version, share)) => {
                    drop(share);
                    self.0.count.fetch_sub(1, Ordering::Relaxed);
                    self.0.left.notify_waiters();
                    return Some(version);
                }
                None if ended => return None,
                None => self.0.came.notified().await,
            }
        }
    }
}

// Makes missing variants of a live version again, for example after a restoration without variants.

/// Makes quick variants of files with missing variants. Returns their number.
///
/// # Errors
/// Errors of the store. Damaged files are skipped.
pub(super) async fn fill(
    blobs: &dyn Blobs,
    pool: &Pool,
    manifest: Manifest,
    given: &BTreeMap<BundlePath, Vec<Form>>,
    file_bytes_max: u64,
) -> Result<usize, Error> {
    let mut files = lacking_forms(&manifest, given, |_| true);
    // Freed early: the work is long and does not need the manifest.
    drop(manifest);
    files.retain(|_, (size, _)| *size <= file_bytes_max);
    let lacking = blobs.lacking_variants(files.keys().copied().collect()).await?;
    let lacking = lacking.into_iter().filter_map(|digest| Some((digest, files.remove(&digest)?)));
    let (small, large): (Vec<_>, Vec<_>) = lacking.partition(|(_, (size, _))| *size <= SMALL_BYTES_MAX);
    let large = large.into_iter().map(|(digest, wanted)| Either::Left(make(blobs, pool, digest, wanted)));
    let small = small::groups(small).into_iter().map(|group| Either::Right(small::fill(blobs, pool, group)));
    let files: Vec<_> = large.chain(small).collect();
    let made: Vec<usize> = stream::iter(files).buffer_unordered(pool.threads()).try_collect().await?;
    Ok(made.iter().sum())
}

/// Makes the missing variants of a blob. Returns their number.
///
/// # Errors
/// As [`fill`].
pub(super) async fn fill_file(
    blobs: &dyn Blobs,
    pool: &Pool,
    digest: Digest,
    wanted: (u64, Vec<Form>),
) -> Result<usize, Error> {
    match blobs.lacks_variants(digest).await? {
        true => make(blobs, pool, digest, wanted).await,
        false => Ok(0),
    }
}

/// Makes the variants of a blob.
async fn make(blobs: &dyn Blobs, pool: &Pool, digest: Digest, wanted: (u64, Vec<Form>)) -> Result<usize, Error> {
    match quick_file(blobs, pool, digest, wanted).await {
        Ok(0) => {
            // Recorded as not worth keeping, to avoid further attempts at each start.
            blobs.put_variants(digest, Vec::new()).await?;
            Ok(0)
        }
        Ok(made) => Ok(made),
        Err(error) => {
            tracing::debug!(blob = %digest, %error, "a file whose variants are missing cannot be read");
            Ok(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use devanture_config::manifest::FileEntry;

    use super::*;

    async fn stored(blobs: &dyn Blobs, text: &str) -> VersionId {
        let bytes = Bytes::from(text.repeat(1_000));
        let (hash, size) = (Digest::of(&bytes), bytes.len() as u64);
        let quick = encode(&bytes, Form::Gz, Quality::Quick).unwrap();
        blobs.put(Key::Blob(hash), bytes).await.unwrap();
        blobs.put_variants(hash, vec![(Form::Gz, Quality::Quick, quick.into())]).await.unwrap();
        let files = [("app.js".parse().unwrap(), FileEntry { hash, size, media_type: None })].into();
        let manifest = Manifest::of_files(files);
        blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await.unwrap();
        manifest.id()
    }

    #[tokio::test]
    async fn what_was_replaced_before_its_turn_came_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs::open(folder.path().to_owned()).unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let (app, prod) = ("shop".parse().unwrap(), PlaceName::prod());
        let replaced = stored(&*blobs, "const before = 1;\n").await;
        let live = stored(&*blobs, "const after = 2;\n").await;
        let pointer = records::LivePointer {
            version: live,
            settings: 0,
            switched_ms: 0,
            deploy: String::new(),
            begun: 0,
            position: String::new(),
            halves_begun: None,
            canary: None,
            pins: None,
        };
        let change = Change::Put(records::live_key(&app, &prod), records::write(&pointer).unwrap());
        catalog.commit(Commit { checks: Vec::new(), changes: vec![change] }).await.unwrap();
        let remade = broadcast::Sender::new(8);
        let mut announced = remade.subscribe();
        let parts = BackgroundParts {
            blobs,
            catalog,
            threads: 1,
            remade,
            best: true,
            file_bytes_max: 1_000_000,
            memory_is_short: watch::channel(false).1,
            dictionaries: None,
        };
        let background = Background::start(parts);
        for version in [replaced, live, replaced] {
            background.enqueue(&app, &prod, version);
        }
        // The pass ends with its senders, and reports no further version.
        drop(background);
        assert_eq!(announced.recv().await.unwrap(), live);
        assert!(announced.recv().await.is_err());
    }

    fn version(app: &str, number: usize) -> WentLive {
        let (app, environment) = (app.parse().unwrap(), PlaceName::prod());
        WentLive { app, environment, version: VersionId::of(&number.to_le_bytes()) }
    }

    #[tokio::test]
    async fn law_11_a_version_waits_for_one_of_another_app_and_not_for_all_of_them() {
        let (entry, mut exit) = queue(8);
        let greedy = (0..10).filter(|number| entry.add(version("greedy", *number)).is_ok()).count();
        assert_eq!((greedy, entry.len()), (4, 4), "half of the room is for others");
        for app in ["modest", "other"] {
            assert!(entry.add(version(app, 0)).is_ok());
        }
        let mut order = Vec::new();
        for _ in 0..6 {
            order.push(exit.next().await.unwrap().app.to_string());
        }
        assert_eq!(order[..3], ["greedy", "modest", "other"]);
        assert_eq!(entry.len(), 0);
        // A waiting version gets its room, and the end still follows.
        let (entry, mut exit) = queue(2);
        assert!(entry.add(version("shop", 1)).is_ok() && entry.add(version("shop", 2)).is_err());
        let adding = tokio::spawn(async move { entry.add_in_turn(version("shop", 2)).await });
        assert_eq!(exit.next().await.unwrap().version, version("shop", 1).version);
        assert_eq!(exit.next().await.unwrap().version, version("shop", 2).version);
        adding.await.unwrap();
        assert!(exit.next().await.is_none());
    }
}
