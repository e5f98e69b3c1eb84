//! Loads versions by their records, for the live pointers and for previews.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use devanture_config::limits::Limits;
use devanture_config::{AppName, VersionId};

use super::{Current, CurrentSettings, Live, PreviewKey};
use crate::blobs::Blobs;
use crate::catalog::records::{self, DictionariesRecord, VersionRecord};
use crate::catalog::{self, Catalog};
use crate::telemetry::Tallies;
use crate::version::{self, LoadRequest, Memory, Setting, Version, Wishes};

/// How long browsers keep what they fetch as a dictionary, where nothing is said.
const DICTIONARY_DAYS: u64 = 30;
const SECONDS_OF_DAY: u64 = 86_400;

/// Why a version cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The app has no such version.
    #[error("the app {app} has no version {id}")]
    Unknown {
        /// The app.
        app: AppName,
        /// The version.
        id: VersionId,
    },
    /// The store failed, or the bytes are not what they say.
    #[error(transparent)]
    Version(#[from] version::Error),
}

/// Loads versions. Cheap to clone.
#[derive(Clone)]
pub struct Loader {
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    memory: Arc<Memory>,
    memory_file_bytes_max: u64,
    rules_max: usize,
    previews_max: usize,
    with_dictionaries: bool,
    dictionary_seconds: u64,
    wishes: Wishes,
    tallies: Tallies,
    /// One preview of an app is loaded at a time: a burst of requests for a new one loads it once.
    loading: Arc<Mutex<HashMap<AppName, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Loader {
    /// Loads from these stores, within these limits.
    #[must_use]
    pub fn new(blobs: Arc<dyn Blobs>, catalog: Arc<dyn Catalog>, limits: &Limits) -> Self {
        Self {
            blobs,
            catalog,
            memory: Arc::new(Memory::new(limits.memory_bytes_max)),
            memory_file_bytes_max: limits.memory_file_bytes_max,
            rules_max: usize::try_from(limits.rules_max).unwrap_or(usize::MAX),
            previews_max: usize::try_from(limits.previews_loaded_max).unwrap_or(usize::MAX),
            with_dictionaries: true,
            dictionary_seconds: DICTIONARY_DAYS.saturating_mul(SECONDS_OF_DAY),
            wishes: Wishes::off(),
            tallies: Tallies::default(),
            loading: Arc::default(),
        }
    }

    /// Loads versions without what serves as dictionaries.
    #[must_use]
    pub fn without_dictionaries(mut self) -> Self {
        self.with_dictionaries = false;
        self
    }

    /// Has what browsers are to keep as dictionaries kept for `days`, and passes on what visitors wish for.
    #[must_use]
    pub fn with_dictionaries(mut self, days: u64, wishes: Wishes) -> Self {
        self.dictionary_seconds = days.saturating_mul(SECONDS_OF_DAY);
        self.wishes = wishes;
        self
    }

    /// The counts of every place that versions are loaded for.
    #[must_use]
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    pub(super) fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// Loads a version for a place.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(
        &self,
        app: &AppName,
        id: &VersionId,
        place: &str,
        setting: Setting,
    ) -> Result<Version, LoadError> {
        self.load_as((app, id), place, setting, None).await
    }

    /// Loads a version again: what was found out of its files when it was loaded for the same place is not looked for anew.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(crate) async fn load_again(&self, known: Arc<Version>) -> Result<Version, LoadError> {
        let (app, id, place, setting) = (known.app.clone(), known.id, known.place.clone(), known.setting);
        self.load_as((&app, &id), &place, setting, Some(known)).await
    }

    async fn load_as(
        &self,
        (app, id): (&AppName, &VersionId),
        place: &str,
        setting: Setting,
        known: Option<Arc<Version>>,
    ) -> Result<Version, LoadError> {
        let key = records::version_key(app, id);
        let Some(record) = self.catalog.get(&key).await? else {
            return Err(LoadError::Unknown { app: app.clone(), id: *id });
        };
        let record: VersionRecord = records::read(&key, &record)?;
        let edge_admin = record.is_of_edge_admin();
        // Aliases and versions at their own hostnames are previews, whatever their names.
        let trusted = record.is_trusted_in(if setting == Setting::Preview { "preview" } else { place });
        let request = LoadRequest {
            app: app.clone(),
            id: *id,
            place: place.to_owned(),
            setting,
            given: record.given,
            dictionaries: self.dictionaries(app, id).await?,
            dictionary_seconds: self.dictionary_seconds,
            wishes: self.wishes.clone(),
            trusted,
            edge_admin,
            stored_ms: record.stored_ms,
            source: record.source,
            memory_file_bytes_max: self.memory_file_bytes_max,
            rules_max: self.rules_max,
            tally: self.tallies.of(app.as_str(), place),
            known,
        };
        Ok(version::load(&*self.blobs, &self.memory, request).await?)
    }

    /// What of a version serves as dictionaries; none where they are off.
    async fn dictionaries(&self, app: &AppName, id: &VersionId) -> Result<Option<DictionariesRecord>, LoadError> {
        if !self.with_dictionaries {
            return Ok(None);
        }
        let key = records::dictionaries_key(app, id);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(Some(DictionariesRecord::default())) };
        // A version that cannot say what serves as dictionaries is served all the same.
        let read = records::read(&key, &record);
        Ok(Some(read.unwrap_or_else(|error| {
            tracing::error!(%error, "a record of dictionaries cannot be read; its version is served without");
            DictionariesRecord::default()
        })))
    }

    /// The preview of a version, loaded where it is not.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn preview(&self, live: &Live, key: &PreviewKey) -> Result<Arc<Current>, LoadError> {
        if let Some(current) = live.preview(key) {
            return Ok(current);
        }
        let loading = {
            let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(loading.entry(key.app.clone()).or_default())
        };
        let _one_at_a_time = loading.lock().await;
        if let Some(current) = live.preview(key) {
            return Ok(current);
        }
        let version = self.load(&key.app, &key.id, "preview", Setting::Preview).await?;
        let stored_ms = version.stored_ms;
        let settings = CurrentSettings::Preview(live.preview_settings(&key.app));
        let current = Arc::new(Current::new(Arc::new(version), stored_ms, live.withdrawn(&key.app), settings));
        live.keep_preview(key, &current, self.previews_max);
        Ok(current)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devanture_config::api::Source;
    use devanture_config::manifest::FileEntry;
    use devanture_config::{Digest, Manifest};

    use super::*;
    use crate::blobs::{self, Key};
    use crate::catalog::{Change, Commit};

    /// Whatever let it into the store: its answers would announce one length and have another.
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
                who: String::new(),
                trusted: false,
                edge_admin: None,
                trusted_in: std::collections::BTreeSet::new(),
                source: Source::default(),
                files: 0,
                bytes: 0,
                given: BTreeMap::new(),
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
                let loaded = loader.load(&app, &id, "prod", Setting::Environment).await;
                assert_eq!(loaded.is_ok(), is_sound, "{sizes:?} {memory_file_bytes_max}: {:?}", loaded.err());
            }
        }
    }
}
