//! Loads versions by their records, for live pointers and previews.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use devanture_config::api::Source;
use devanture_config::limits::Limits;
use devanture_config::manifest::BadManifest;
use devanture_config::{AppName, Digest, Manifest, VersionId};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::contents::{Contents, Slot, Sought};
use super::load::{Load, LoadError, LoadTurn};
use super::loading::Loading;
use super::on_demand::Queues;
use crate::version::{
    self, AppUsage, Claim, Content, DictionaryMisses, Fill, LoadRequest, Memory, PlaceContext, Relief, RuleMemory,
    Setting, TrafficUsage, Traffics, Version,
};
use devanture_base::fair::Lane;
use devanture_base::telemetry::{Tallies, resident_bytes};
use devanture_store::blobs::{Blobs, Key};
use devanture_store::catalog::Catalog;
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, DictionariesRecord, Levels, Reach, VersionRecord};

/// Default lifetime of dictionaries in browsers.
const DICTIONARY_DAYS: u64 = 30;
const SECONDS_OF_DAY: u64 = 86_400;
/// Maximum memory of the console with its files, apart from the memory of apps, which cannot displace the console.
const CONSOLE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest message about a manifest that today's checks refuse, in characters.
const MISTAKE_CHARS_MAX: usize = 400;
/// Place of the console in metrics.
const CONSOLE: &str = "console";
/// Name of the manifest table, and of the place in metrics, for previews of versions.
pub(super) const PREVIEW: &str = "preview";

/// Loads versions. Cheap to clone.
#[derive(Clone)]
pub struct Loader(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    memory: Arc<Memory>,
    memory_is_short: watch::Sender<bool>,
    memory_file_bytes_max: u64,
    rules_max: usize,
    rule_memory: Arc<RuleMemory>,
    with_dictionaries: bool,
    dictionary_seconds: Arc<AtomicU64>,
    misses: DictionaryMisses,
    tallies: Tallies,
    traffics: Arc<Traffics>,
    /// Runtime for loads; by default, the caller's.
    runtime: Option<Handle>,
    contents: Arc<Contents>,
    loading: Arc<Loading>,
    on_demand: Arc<Queues>,
    /// Number of manifests read.
    #[cfg(test)]
    manifests_read: Arc<AtomicU64>,
}

impl Loader {
    /// Loads from the given stores, within the limits.
    #[must_use]
    pub fn new(blobs: Arc<dyn Blobs>, catalog: Arc<dyn Catalog>, limits: &Limits) -> Self {
        Self(Arc::new(Parts {
            blobs,
            catalog,
            memory: Arc::new(Memory::new(limits)),
            memory_is_short: watch::Sender::new(false),
            memory_file_bytes_max: limits.memory_file_bytes_max,
            rules_max: usize::try_from(limits.rules_max).unwrap_or(usize::MAX),
            rule_memory: RuleMemory::new(limits),
            with_dictionaries: true,
            dictionary_seconds: Arc::new(AtomicU64::new(DICTIONARY_DAYS.saturating_mul(SECONDS_OF_DAY))),
            misses: DictionaryMisses::off(),
            tallies: Tallies::default(),
            traffics: Arc::new(Traffics::new(limits)),
            runtime: None,
            contents: Arc::default(),
            loading: Arc::new(Loading::new()),
            on_demand: Arc::new(Queues::new(limits)),
            #[cfg(test)]
            manifests_read: Arc::default(),
        }))
    }

    /// Number of manifests read.
    #[cfg(test)]
    pub(super) fn manifests_read(&self) -> u64 {
        self.0.manifests_read.load(Ordering::Relaxed)
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Loads versions without dictionaries.
    #[must_use]
    pub fn without_dictionaries(self) -> Self {
        self.with(|parts| parts.with_dictionaries = false)
    }

    /// Sets the lifetime of dictionaries in browsers to `days`, and reports dictionaries of visitors for which deltas
    /// are missing.
    #[must_use]
    pub fn with_dictionaries(self, days: u64, misses: DictionaryMisses) -> Self {
        self.set_dictionary_days(days);
        self.with(|parts| parts.misses = misses)
    }

    /// Changes the days for which browsers keep dictionaries of versions loaded from now on.
    pub fn set_dictionary_days(&self, days: u64) {
        self.0.dictionary_seconds.store(days.saturating_mul(SECONDS_OF_DAY), Ordering::Relaxed);
    }

    /// Loads versions on `runtime` instead of the caller's.
    #[must_use]
    pub fn on_runtime(self, runtime: Handle) -> Self {
        self.with(|parts| parts.runtime = Some(runtime))
    }

    /// Counters of every place with a loaded version.
    #[must_use]
    pub fn tallies(&self) -> &Tallies {
        &self.0.tallies
    }

    /// Current traffic of an app's visitors.
    #[must_use]
    pub fn traffic(&self, app: &AppName) -> TrafficUsage {
        self.0.traffics.usage(app)
    }

    /// Sets the traffic limits; see [`Traffics::set_limits`].
    pub fn set_limits(&self, limits: &Limits) {
        self.0.traffics.set_limits(limits);
    }

    /// Memory of the loaded versions of each app.
    #[must_use]
    pub fn memory_usage(&self) -> Vec<(AppName, AppUsage)> {
        self.0.memory.usage()
    }

    /// Bytes of all loaded versions.
    #[must_use]
    pub fn loaded_bytes(&self) -> u64 {
        self.0.memory.loaded_bytes()
    }

    /// Bytes and limit of each part of the memory: [`Memory::file_bytes`], [`Memory::loaded_bytes`] with
    /// [`Memory::loaded_bytes_max`], and the process.
    pub(super) fn memory_parts(&self) -> [(&'static str, (u64, u64)); 3] {
        let memory = &self.0.memory;
        let loaded = (memory.loaded_bytes(), memory.loaded_bytes_max());
        let process = (resident_bytes().unwrap_or_default(), memory.process_bytes_max());
        [("loaded", loaded), ("files", memory.file_bytes()), ("process", process)]
    }

    /// Memory for rules during their parsing.
    pub fn rule_memory(&self) -> &Arc<RuleMemory> {
        &self.0.rule_memory
    }

    /// Memory of loaded content.
    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// A receiver of the state "process memory is short".
    #[must_use]
    pub fn memory_is_short(&self) -> watch::Receiver<bool> {
        self.0.memory_is_short.subscribe()
    }

    /// Reports to all receivers whether process memory is short.
    pub(super) fn say_short(&self, is_short: bool) {
        self.0.memory_is_short.send_replace(is_short);
    }

    /// Returns true beyond a part of the budget; see [`Memory::is_beyond`].
    pub(super) fn is_beyond(&self, parts: u64) -> bool {
        self.0.memory.is_beyond(parts)
    }

    pub(super) fn blobs(&self) -> &Arc<dyn Blobs> {
        &self.0.blobs
    }

    pub(super) fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.0.catalog
    }

    pub(super) fn queues(&self) -> &Arc<Queues> {
        &self.0.on_demand
    }

    pub(super) fn relieve_by(&self, relief: Box<dyn Relief>) {
        self.0.memory.relieve_by(relief);
    }

    pub(super) fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        match &self.0.runtime {
            Some(runtime) => runtime.spawn(work),
            None => tokio::spawn(work),
        }
    }

    /// Loads a version. The load runs to completion even if the caller is dropped.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self, load: Load) -> Result<Arc<Version>, LoadError> {
        self.load_knowing(load, None).await
    }

    /// Loads a version again for the same place, with the media types of the first load. The content changes only after
    /// [`Loader::outdate`]. A version loaded ahead of requests keeps that state unless `is_wanted`.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load_again(&self, known: Arc<Version>, is_wanted: bool) -> Result<Arc<Version>, LoadError> {
        let load = Load {
            app: known.app.clone(),
            id: known.id,
            place: known.place.clone(),
            setting: known.setting,
            // The replaced load is live already: better variants are not worth an eviction of earlier versions.
            claim: Claim::Other,
            fill: if known.is_lean() && !is_wanted { Fill::Ahead } else { Fill::Requested },
            leaves_out_damaged: true,
            // Reloads of all apps run one after the other.
            turn: LoadTurn::AtOnce,
        };
        self.load_knowing(load, Some(known)).await
    }

    /// Makes the next loads of a version read variants and deltas again.
    pub fn outdate(&self, id: &VersionId) {
        self.0.contents.outdate(id);
    }

    async fn load_knowing(&self, load: Load, known: Option<Arc<Version>>) -> Result<Arc<Version>, LoadError> {
        let loader = self.clone();
        let loading = self.spawn(async move { loader.loaded(load, known).await });
        loading.await.map_err(|_panicked| version::Error::Panicked)?
    }

    async fn loaded(&self, load: Load, known: Option<Arc<Version>>) -> Result<Arc<Version>, LoadError> {
        let (app, id) = (&load.app, &load.id);
        let key = records::version_key(app, id);
        let Some(record) = self.0.catalog.get(&key).await? else {
            return Err(LoadError::Unknown { app: app.clone(), id: *id });
        };
        let record: VersionRecord = records::read(&key, &record)?;
        let dictionaries = self.dictionaries(&load.app, &load.id).await?;
        let of_visitors = dictionaries.as_ref().map(|dictionaries| match load.setting {
            Setting::Environment => dictionaries.from_in(load.place.parse().ok().as_ref()),
            Setting::Preview => dictionaries.from_in(None),
        });
        let content = self.content(&load, &record, dictionaries, known).await?;
        let served = PlaceContext {
            place: load.place.clone(),
            source: record.source.into(),
            misses: self.0.misses.clone(),
            dictionaries: of_visitors.unwrap_or_default().into_iter().collect(),
            tally: self.0.tallies.of(app.as_str(), &load.place),
            traffic: self.0.traffics.of(app),
            claim: load.claim,
        };
        Ok(Arc::new(Version::new(content, served).map_err(version::Error::from)?))
    }

    /// The content of a version for a place: a loaded one if another place has the same content.
    async fn content(
        &self,
        load: &Load,
        record: &VersionRecord,
        dictionaries: Option<DictionariesRecord>,
        known: Option<Arc<Version>>,
    ) -> Result<Arc<Content>, LoadError> {
        let table = if load.setting == Setting::Preview { PREVIEW } else { &load.place };
        let (reach, edge_admin) = (record.reach_in(table), record.is_of_edge_admin());
        let of_files = (&record.given, &record.decoded, &record.integrity);
        let recorded =
            serde_json::to_vec(&(of_files, record.quick, reach, edge_admin, record.stored_ms, &dictionaries));
        let recorded = Digest::of(&recorded.unwrap_or_default());
        let sought = Sought { version: (&load.app, &load.id), table, setting: load.setting, recorded };
        let loaded = |slot: &Slot| slot.lock().upgrade().filter(|c| load.leaves_out_damaged || c.is_whole());
        let at_hand = || loaded(&self.0.contents.known(&sought)?);
        if let Some(content) = at_hand() {
            return Ok(content);
        }
        let blobs = self.0.blobs.of(Lane::of(load.app.as_str()));
        let _permit = self.0.loading.begin(&*blobs, load).await.map_err(version::Error::from)?;
        // Another load may have finished during the wait.
        if let Some(content) = at_hand() {
            return Ok(content);
        }
        let (manifest, mistake) = self.manifest_and_mistake(load.id).await?;
        let serving = manifest.serving_for(table);
        let slot = self.0.contents.slot(&sought, &manifest, &serving);
        if let Some(content) = loaded(&slot) {
            return Ok(content);
        }
        let integrity = record.integrity_in(&manifest, table);
        let request = LoadRequest {
            app: load.app.clone(),
            id: load.id,
            manifest,
            serving,
            setting: load.setting,
            given: record.given.clone(),
            decoded: record.decoded.clone(),
            integrity,
            levels: Levels::of((&load.app, load.id), record.quick, (&self.0.catalog, &self.0.blobs)),
            reach,
            edge_admin,
            stored_ms: record.stored_ms,
            dictionaries,
            dictionary_seconds: self.0.dictionary_seconds.load(Ordering::Relaxed),
            memory_file_bytes_max: self.0.memory_file_bytes_max,
            rules_max: self.0.rules_max,
            rule_reader: self.0.rule_memory.reader(&load.app, table),
            memory: (self.0.memory.of(&load.app), load.claim),
            fill: load.fill,
            known,
            leaves_out_damaged: load.leaves_out_damaged,
            mistake,
        };
        let content = Arc::new(version::load(&*blobs, request).await?);
        *slot.lock() = Arc::downgrade(&content);
        Ok(content)
    }

    /// Loads the console, stored at `stored_ms`, with every file in memory.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load_console(&self, id: VersionId, stored_ms: u64) -> Result<Arc<Version>, LoadError> {
        let (app, manifest) = (AppName::console(), self.manifest(id).await?);
        let limits = Limits {
            app_memory_bytes_max: CONSOLE_BYTES_MAX,
            loaded_memory_bytes_max: CONSOLE_BYTES_MAX,
            memory_bytes_max: CONSOLE_BYTES_MAX,
            ..Limits::default()
        };
        let request = LoadRequest {
            app: app.clone(),
            id,
            serving: manifest.base.clone(),
            manifest,
            setting: Setting::Preview,
            given: BTreeMap::new(),
            decoded: BTreeMap::new(),
            integrity: IntegrityPages::default(),
            levels: Levels::default(),
            reach: Reach::Public,
            edge_admin: false,
            stored_ms,
            dictionaries: None,
            dictionary_seconds: 0,
            memory_file_bytes_max: CONSOLE_BYTES_MAX,
            rules_max: 0,
            rule_reader: self.0.rule_memory.reader(&app, CONSOLE),
            memory: (Memory::new(&limits).of(&app), Claim::Live),
            fill: Fill::Requested,
            known: None,
            leaves_out_damaged: false,
            mistake: None,
        };
        let content = Arc::new(version::load(&*self.0.blobs.of(Lane::EDGE), request).await?);
        let served = PlaceContext {
            place: CONSOLE.to_owned(),
            source: Source::default(),
            misses: DictionaryMisses::off(),
            dictionaries: Box::default(),
            tally: self.0.tallies.of(app.as_str(), CONSOLE),
            traffic: self.0.traffics.of(&app),
            claim: Claim::Live,
        };
        Ok(Arc::new(Version::new(content, served).map_err(version::Error::from)?))
    }

    pub(super) async fn manifest(&self, id: VersionId) -> Result<Arc<Manifest>, LoadError> {
        Ok(self.manifest_and_mistake(id).await?.0)
    }

    /// The manifest, with the message of today's checks, if refused: a version accepted by an earlier release is still
    /// served.
    async fn manifest_and_mistake(&self, id: VersionId) -> Result<(Arc<Manifest>, Option<Box<str>>), LoadError> {
        let canonical = self.0.blobs.get(Key::Manifest(id)).await.map_err(version::Error::from)?;
        #[cfg(test)]
        self.0.manifests_read.fetch_add(1, Ordering::Relaxed);
        let read = move || -> Result<_, BadManifest> {
            let manifest = Manifest::stored(&canonical)?;
            // Short enough for a line of the readiness report.
            let line = |bad: BadManifest| -> String {
                bad.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MISTAKE_CHARS_MAX).collect()
            };
            let mistake = manifest.check().err().map(|bad| line(bad).into_boxed_str());
            Ok((Arc::new(manifest), mistake))
        };
        // On a blocking thread, since a manifest may list a hundred thousand files.
        let read = tokio::task::spawn_blocking(read).await.map_err(|_panicked| version::Error::Panicked)?;
        Ok(read.map_err(version::Error::from)?)
    }

    /// Files of a version that serve as dictionaries; `None` if dictionaries are off.
    async fn dictionaries(&self, app: &AppName, id: &VersionId) -> Result<Option<DictionariesRecord>, LoadError> {
        if !self.0.with_dictionaries {
            return Ok(None);
        }
        let key = records::dictionaries_key(app, id);
        let Some(record) = self.0.catalog.get(&key).await? else { return Ok(Some(DictionariesRecord::default())) };
        // An unreadable dictionaries record must not keep the version from being served.
        let read = records::read(&key, &record);
        Ok(Some(read.unwrap_or_else(|error| {
            tracing::error!(%error, "a record of dictionaries cannot be read; its version is served without");
            DictionariesRecord::default()
        })))
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::PlaceName;
    use devanture_config::manifest::FileEntry;

    use super::*;
    use devanture_store::catalog::{Change, Commit};
    use devanture_store::{blobs, catalog};

    /// Such a version in the store, for any reason, would announce a wrong `Content-Length`.
    #[tokio::test]
    async fn a_version_whose_files_have_other_lengths_than_its_manifest_says_is_not_loaded() {
        const BYTES: &[u8] = b"2,200 bytes";
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let blobs = blobs::open(folder.path().to_owned()).unwrap();
        let hash = Digest::of(BYTES);
        blobs.put(Key::Blob(hash), BYTES.into()).await.unwrap();
        let app: AppName = "shop".parse().unwrap();
        let stored = async |sizes: &[u64]| {
            let file = |(number, size): (usize, &u64)| {
                (format!("{number}.txt").parse().unwrap(), FileEntry { hash, size: *size, media_type: None })
            };
            let manifest = Manifest::of_files(sizes.iter().enumerate().map(file).collect());
            blobs.put(Key::Manifest(manifest.id()), manifest.canonical().into()).await.unwrap();
            let record = VersionRecord {
                stored_ms: 0,
                again_ms: None,
                who: String::new(),
                trusted: false,
                edge_admin: None,
                trusted_in: std::collections::BTreeSet::new(),
                reach: None,
                source: records::StoredSource::default(),
                files: 0,
                bytes: 0,
                given: BTreeMap::new(),
                decoded: BTreeMap::new(),
                integrity: Vec::new(),
                quick: false,
            };
            let put = Change::Put(records::version_key(&app, &manifest.id()), records::write(&record).unwrap());
            catalog.commit(Commit { checks: Vec::new(), changes: vec![put] }).await.unwrap();
            manifest.id()
        };
        // Held in memory, and read from the disk.
        for memory_file_bytes_max in [1_000_000, 0] {
            let limits = Limits { memory_file_bytes_max, ..Limits::default() };
            let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &limits);
            for (sizes, is_sound) in [(&[11, 11][..], true), (&[10], false), (&[6_600], false), (&[11, 6_600], false)] {
                let id = stored(sizes).await;
                let loaded = loader.load(Load::live(&app, &id, &PlaceName::prod())).await;
                assert_eq!(loaded.is_ok(), is_sound, "{sizes:?} {memory_file_bytes_max}: {:?}", loaded.err());
            }
        }
    }
}
