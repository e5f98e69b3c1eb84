//! Maker of deltas: stores, limits, and the context of a pass.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use devanture_config::edge_toml::Compress;
use devanture_config::limits::Limits;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::earlier::KnownSides;
use super::making::Tried;
use super::record::{KnownDictionaries, PlaceKey};
use crate::encode::compress::{Given, Pool};
use crate::encode::wire_size::Siblings;
use crate::ledger::Error;
use devanture_base::fair::Lane;
use devanture_serve::version::RuleMemory;
use devanture_store::blobs::{Blobs, ManifestTurns};
use devanture_store::catalog::Catalog;
use devanture_store::records::{DictionariesRecord, Levels};

/// Concurrent look-ups or reads of files.
pub(super) const FILES_AT_ONCE: usize = 8;

/// Determines dictionaries, and makes deltas.
pub struct Dictionaries {
    pub(super) blobs: Arc<dyn Blobs>,
    /// Permits to read manifests.
    pub(super) manifests: ManifestTurns,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) days: AtomicU64,
    pub(super) versions: AtomicUsize,
    pub(super) limits: Limits,
    /// Memory for rules while read.
    pub(super) rule_memory: Arc<RuleMemory>,
    /// Dictionaries of environments and previews with recent dictionary misses.
    pub(super) by_place: Mutex<HashMap<PlaceKey, KnownDictionaries>>,
    /// Counter of written records: results read before a write may be incomplete.
    pub(super) writes: AtomicU64,
    pub(super) tried: Mutex<Tried>,
    pub(super) known_sides: Mutex<KnownSides>,
}

/// Pass over a version.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'p> {
    /// App.
    pub(crate) app: &'p AppName,
    /// Environment of the switch.
    pub(crate) environment: &'p PlaceName,
    /// Version.
    pub(crate) version: VersionId,
    /// Files.
    pub(crate) manifest: &'p Arc<Manifest>,
    /// Included encodings, and hashed pages.
    pub(crate) given: &'p Given,
    /// Thread pool.
    pub(crate) pool: &'p Pool,
    /// True if a push waits for the pass.
    pub(crate) is_before_switch: bool,
    /// Deadline.
    pub(crate) deadline: Option<Instant>,
}

/// Result of a pass.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Dictionaries of the version.
    pub(crate) record: DictionariesRecord,
    /// Number of new deltas.
    pub(crate) deltas: usize,
}

impl Dictionaries {
    /// Works on the stores; `None` if dictionaries are disabled.
    #[must_use]
    pub fn new(
        blobs: Arc<dyn Blobs>,
        catalog: Arc<dyn Catalog>,
        settings: &Compress,
        limits: &Limits,
        rule_memory: &Arc<RuleMemory>,
    ) -> Option<Arc<Self>> {
        settings.dictionaries.then(|| {
            Arc::new(Self {
                blobs,
                manifests: ManifestTurns::new(),
                catalog,
                days: AtomicU64::new(settings.dictionary_days),
                versions: AtomicUsize::new(settings.dictionary_versions),
                limits: limits.clone(),
                rule_memory: Arc::clone(rule_memory),
                by_place: Mutex::default(),
                writes: AtomicU64::new(0),
                tried: Mutex::default(),
                known_sides: Mutex::default(),
            })
        })
    }

    /// Changes the number of earlier versions considered by future passes.
    pub(crate) fn set(&self, settings: &Compress) {
        self.days.store(settings.dictionary_days, Ordering::Relaxed);
        self.versions.store(settings.dictionary_versions, Ordering::Relaxed);
    }

    /// Reads a manifest; `None` if unreadable, which serving reports.
    ///
    /// The permit is released after reading: a pass holds manifests of earlier versions together with its own, and
    /// could deadlock if they held permits.
    pub(super) async fn manifest(&self, app: &AppName, version: VersionId) -> Result<Option<Arc<Manifest>>, Error> {
        let read = |canonical: &[u8]| Manifest::stored(canonical).ok().map(Arc::new);
        Ok(self.manifests.read(&*self.blobs, (Lane::of(app.as_str()), version), read).await?)
    }

    /// Returns the levels at which a version's files are served; `is_quick` is from the version's record.
    pub(super) fn levels(&self, app: &AppName, version: VersionId, is_quick: bool) -> Levels {
        Levels::of((app, version), is_quick, (&self.catalog, &self.blobs))
    }

    /// Returns the smallest transfer size of a file of `size` bytes for a browser without dictionaries.
    pub(super) async fn travelling(&self, siblings: &Siblings, blob: Digest, size: u64) -> Result<u64, Error> {
        let variants = siblings.served(&blob, self.blobs.stored_variants(blob).await?).await;
        let encoded = variants.iter().map(|variant| variant.size).chain(siblings.shortest(blob));
        Ok(encoded.fold(size, u64::min))
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::manifest::FileEntry;
    use futures_util::poll;

    use super::*;
    use devanture_store::blobs::{Key, LONG_MANIFESTS_AT_ONCE};
    use devanture_store::{blobs, catalog};

    #[tokio::test]
    async fn law_11_manifests_are_read_in_turns_and_a_pass_has_as_many_as_it_wants() {
        let folder = tempfile::tempdir().unwrap();
        let (blobs, catalog) =
            (blobs::open(folder.path().to_owned()).unwrap(), catalog::open(&folder.path().join("a.redb")).unwrap());
        let (settings, limits, app) = (Compress::default(), Limits::default(), "shop".parse().unwrap());
        let memory = RuleMemory::new(&limits);
        let dictionaries = Dictionaries::new(Arc::clone(&blobs), catalog, &settings, &limits, &memory).unwrap();
        let file = |number: u16| {
            let entry = FileEntry { hash: Digest::of(&number.to_be_bytes()), size: 2, media_type: None };
            (format!("{number}.txt").parse().unwrap(), entry)
        };
        let long = Manifest::of_files((0..1_000).map(file).collect());
        let id = long.id();
        blobs.put(Key::Manifest(id), long.canonical().into()).await.unwrap();
        let (turns, mut turns_held, mut manifests) = (&dictionaries.manifests, Vec::new(), Vec::new());
        for _ in 0..LONG_MANIFESTS_AT_ONCE {
            turns_held.push(turns.take(&*blobs, Lane::of("greedy"), &[id]).await.unwrap());
        }
        let mut read = Box::pin(dictionaries.manifest(&app, id));
        while turns.waiting() == 0 {
            assert!(poll!(&mut read).is_pending());
            tokio::task::yield_now().await;
        }
        turns_held.clear();
        manifests.push(read.await.unwrap().unwrap());
        for _ in 0..2 * LONG_MANIFESTS_AT_ONCE {
            manifests.push(dictionaries.manifest(&app, id).await.unwrap().unwrap());
        }
        assert!(manifests.iter().all(|manifest| **manifest == long));
    }
}
