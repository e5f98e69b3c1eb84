//! The maker of deltas: its stores and limits, and what a pass over a version works with.

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

/// Files that are looked up or read at once.
pub(super) const FILES_AT_ONCE: usize = 8;

/// Finds out what serves as dictionaries, and makes deltas.
pub struct Dictionaries {
    pub(super) blobs: Arc<dyn Blobs>,
    /// Turns to read manifests.
    pub(super) manifests: ManifestTurns,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) days: AtomicU64,
    pub(super) versions: AtomicUsize,
    pub(super) limits: Limits,
    /// The memory for rules while they are read.
    pub(super) rule_memory: Arc<RuleMemory>,
    /// The dictionaries of places that browsers came to lately with one that there was no delta for.
    pub(super) by_place: Mutex<HashMap<PlaceKey, KnownDictionaries>>,
    /// Records that were written: what was read before may lack some.
    pub(super) writes: AtomicU64,
    pub(super) tried: Mutex<Tried>,
    pub(super) known_sides: Mutex<KnownSides>,
}

/// One pass over a version.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'p> {
    /// The app.
    pub(crate) app: &'p AppName,
    /// Where it goes live, or went.
    pub(crate) environment: &'p PlaceName,
    /// The version.
    pub(crate) version: VersionId,
    /// Its files.
    pub(crate) manifest: &'p Arc<Manifest>,
    /// Its encodings that came with it, and its pages with hashes.
    pub(crate) given: &'p Given,
    /// Where it is done.
    pub(crate) pool: &'p Pool,
    /// Whether a push waits for it.
    pub(crate) is_before_switch: bool,
    /// The end of it.
    pub(crate) deadline: Option<Instant>,
}

/// The result of a pass.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// The dictionaries of the version.
    pub(crate) record: DictionariesRecord,
    /// Deltas that were made.
    pub(crate) deltas: usize,
}

impl Dictionaries {
    /// Works on these stores; `None` where dictionaries are off.
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

    /// Changes how far passes to come look back.
    pub(crate) fn set(&self, settings: &Compress) {
        self.days.store(settings.dictionary_days, Ordering::Relaxed);
        self.versions.store(settings.dictionary_versions, Ordering::Relaxed);
    }

    /// A manifest; `None` if it cannot be read, which is reported where it is served.
    ///
    /// Its turn is over once it is read: a pass has those of earlier versions in memory beside its own, and would wait
    /// for further turns with some in hand.
    pub(super) async fn manifest(&self, app: &AppName, version: VersionId) -> Result<Option<Arc<Manifest>>, Error> {
        let read = |canonical: &[u8]| Manifest::stored(canonical).ok().map(Arc::new);
        Ok(self.manifests.read(&*self.blobs, (Lane::of(app.as_str()), version), read).await?)
    }

    /// The levels at which the files of a version are served; `is_quick` is that of its record.
    pub(super) fn levels(&self, app: &AppName, version: VersionId, is_quick: bool) -> Levels {
        Levels::of((app, version), is_quick, (&self.catalog, &self.blobs))
    }

    /// The bytes of a file of `size` bytes as they travel at best to a browser that has nothing.
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
