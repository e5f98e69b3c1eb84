//! Starts the generation of deltas, and the background pass after a switch, to which serving threads report dictionary
//! misses.

use std::sync::Arc;

use devanture_config::VersionId;
use devanture_config::edge_toml::EdgeFile;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc};

use super::memory;
use super::sole_work::SoleWork;
use super::stores::{Stores, cores};
use devanture_control::encode::{Background, BackgroundParts, Dictionaries};
use devanture_control::ledger::{Task, task_done};
use devanture_serve::live::{DictionaryMiss, DictionaryMisses, Live, Loader};
use devanture_store::blobs::{Pace, scrub};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Catalog};
use devanture_store::records;

/// The loader of versions with their dictionaries, the generator of deltas, and the dictionary misses of browsers.
pub(super) struct BuildInputs {
    pub(super) loader: Loader,
    /// `None` if dictionaries are off.
    pub(super) dictionaries: Option<Arc<Dictionaries>>,
    pub(super) reported_misses: mpsc::Receiver<DictionaryMiss>,
}

impl BuildInputs {
    /// Creates the parts on `stores`.
    pub(super) fn of(file: &EdgeFile, stores: &Stores, control: &Runtime) -> Self {
        let (blobs, catalog) = (Arc::clone(&stores.blobs), Arc::clone(&stores.catalog));
        let loader = Loader::new(Arc::clone(&blobs), Arc::clone(&catalog), &memory::bounded(&file.limits));
        let loader = loader.on_runtime(control.handle().clone());
        let (misses, reported_misses) = DictionaryMisses::channel(file.limits.on_demand_deltas_per_minute_max);
        let loader = match file.compress.dictionaries {
            true => loader.with_dictionaries(file.compress.dictionary_days, misses),
            false => loader.without_dictionaries(),
        };
        let dictionaries = Dictionaries::new(blobs, catalog, &file.compress, &file.limits, loader.rule_memory());
        Self { loader, dictionaries, reported_misses }
    }
}

/// Starts the periodic verification of all stored files and the catalog, if configured.
pub(super) fn start_scrub(file: &EdgeFile, sole: &SoleWork, stores: &Stores) {
    let pace = Pace { days: file.retention.scrub_days, bytes_per_second_max: file.limits.scrub_bytes_per_second_max };
    if pace.days > 0 {
        let (blobs, catalog) = (Arc::clone(&stores.blobs), Arc::clone(&stores.catalog));
        sole.spawn(async move {
            let done = |part: u8| {
                let catalog = Arc::clone(&catalog);
                async move {
                    if part == 0 {
                        check_pages(&*catalog, pace.bytes_per_second_max).await;
                    }
                    task_done(&*catalog, Task::Scrub).await;
                }
            };
            scrub(&*blobs, pace, done).await;
        });
    }
}

/// Verifies the catalog, once per pass over the stored files. The catalog's own monitoring reports damage.
async fn check_pages(catalog: &dyn Catalog, bytes_per_second_max: u64) {
    match catalog.check_pages(bytes_per_second_max).await {
        Ok(()) | Err(catalog::Error::Damaged { .. } | catalog::Error::HandedOver) => {}
        Err(error) => tracing::warn!(%error, "the pages of the catalog cannot be checked"),
    }
}

/// Starts the background pass, including work left by an earlier process: quick variants and deltas of the live
/// versions.
pub(super) fn start(
    file: &EdgeFile,
    control: &Runtime,
    (stores, live, loader): (&Stores, &Live, &Loader),
    remade: broadcast::Sender<VersionId>,
    dictionaries: &Option<Arc<Dictionaries>>,
    reported_misses: mpsc::Receiver<DictionaryMiss>,
) -> Background {
    let threads = if file.compress.threads == 0 { (cores() / 2).max(1) } else { file.compress.threads };
    let _inside = control.enter();
    let dictionaries = dictionaries.as_ref().map(|dictionaries| (Arc::clone(dictionaries), reported_misses));
    let blobs = Arc::clone(&stores.blobs);
    let catalog = Arc::clone(&stores.catalog);
    let best = file.compress.background;
    let file_bytes_max = file.limits.compress_file_bytes_max;
    let memory_is_short = loader.memory_is_short();
    let parts =
        BackgroundParts { blobs, catalog, threads, remade, best, file_bytes_max, memory_is_short, dictionaries };
    let background = Background::start(parts);
    control.spawn(enqueue_live(background.clone(), Arc::clone(&stores.catalog), live.clone()));
    background
}

/// Enqueues all live versions after their load, which has priority on the disk.
pub(super) async fn enqueue_live(background: Background, catalog: Arc<dyn Catalog>, live: Live) {
    live.loaded().await;
    let mut pointers = Scan::new(&*catalog, records::LIVE_PREFIX);
    loop {
        let (key, record) = match pointers.next().await {
            Ok(Some(next)) => next,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "what an earlier process left to compress is not known");
                return;
            }
        };
        // The load has reported an unreadable pointer already.
        let Ok(pointer) = records::read::<records::LivePointer>(&key, &record) else { continue };
        let mut parts = key.split('/').skip(1);
        if let (Some(Ok(app)), Some(Ok(name))) = (parts.next().map(str::parse), parts.next().map(str::parse)) {
            for version in pointer.versions() {
                background.enqueue_in_turn(&app, &name, version).await;
            }
        }
    }
}
