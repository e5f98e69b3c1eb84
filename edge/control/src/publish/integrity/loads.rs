//! Files loaded by pages in an environment, found on a separate thread within the step budget of the push.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use devanture_config::limits::Limits;
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use devanture_config::{Digest, Manifest};
use devanture_site::answers::{Bounds, ManifestSite, ModuleFinder, Modules, SameForAll, Steps, TooMany};
use devanture_site::integrity::{ScriptAddress, script_addresses};
use tokio::sync::{mpsc, oneshot};

use super::pages::Page;
use crate::encode::Work;
use crate::ledger::Error;
use devanture_serve::version::{RuleFiles, RuleReader};
use devanture_store::blobs::Key;

/// Step budget of a push; a thread stops with its push.
pub(super) struct StepsOfPush(pub(super) Arc<Steps>);

impl Drop for StepsOfPush {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Data shared by all environments of a version.
pub(super) struct Site {
    pub(super) manifest: Manifest,
    pub(super) rules_max: usize,
    pub(super) bounds: Bounds,
    pub(super) pages: Vec<Page>,
}

/// Loads of all pages in an environment.
pub(super) struct Loads {
    /// Loads of each page, or the reason for leaving the page unchanged.
    pub(super) pages: Vec<Result<PageLoads, SkipReason>>,
}

/// Reason for leaving a page unchanged.
#[derive(Debug, Clone, Copy)]
pub(super) enum SkipReason {
    /// The page loads more files than are examined, or than its import map may hold.
    TooMany,
    /// The page's own `Content-Security-Policy` forbids the needed import map.
    Policy,
}

impl From<TooMany> for SkipReason {
    fn from(_: TooMany) -> Self {
        Self::TooMany
    }
}

/// Loads of a page.
pub(super) struct PageLoads {
    /// Files named by tags, by content.
    pub(super) files: Vec<Option<(Digest, u64)>>,
    /// Modules reached by imports.
    pub(super) modules: Modules,
    /// Identifies pages with equal results.
    pub(super) key: Digest,
}

impl Site {
    /// Returns the bounds on modules of a page.
    pub(super) fn bounds(limits: &Limits) -> Bounds {
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Bounds { modules_max: most(limits.integrity_modules_max), map_bytes_max: most(limits.integrity_map_bytes_max) }
    }

    /// Finds the loads of pages in the environments of a table; `None` if the step budget is exhausted.
    pub(super) async fn loads(
        self: &Arc<Self>,
        work: &Work<'_>,
        rule_reader: &RuleReader,
        table: &str,
        steps: &StepsOfPush,
    ) -> Result<Option<Loads>, Error> {
        // Read again for each table, so that making pages holds neither rules nor a permit.
        let rule_files = RuleFiles::read(work.blobs, work.manifest, rule_reader).await.map_err(|error| {
            Problem::new(Code::BlobMissing, error.to_string()).hint("push again: it is then uploaded")
        })?;
        let (ask, mut wanted) = mpsc::channel::<Wanted>(1);
        let (site, table, steps) = (Arc::clone(self), table.to_owned(), Arc::clone(&steps.0));
        // Runs on a blocking thread: thousands of rules may be compiled.
        let find = tokio::task::spawn_blocking(move || site.find(&rule_files, &table, &steps, &ask).ok());
        while let Some(Wanted { blob, size, answer }) = wanted.recv().await {
            // The finder waits for each reply, unless stopped.
            answer.send(script(work, blob, size).await?).ok();
        }
        find.await.map_err(|error| {
            tracing::error!(%error, "the files that pages load could not be found");
            Problem::new(Code::Internal, "The files that pages load could not be found.").into()
        })
    }

    fn find(
        &self,
        rule_files: &RuleFiles,
        table: &str,
        steps: &Steps,
        ask: &mpsc::Sender<Wanted>,
    ) -> Result<Loads, TooMany> {
        if !steps.are_left() {
            return Err(TooMany);
        }
        let manifest = &self.manifest;
        let serving = manifest.serving_for(table);
        let rules = rule_files.rules(&serving, manifest.rules_in(&serving), self.rules_max);
        let restricted = rule_files.restricted(manifest, self.rules_max);
        let site = ManifestSite::new(manifest, table, rules, restricted.as_ref());
        let same = SameForAll::new(&site, steps)?;
        let mut read = |path: &BundlePath| {
            let (answer, addresses) = oneshot::channel();
            let wanted = manifest.files.get(path).map(|entry| Wanted { blob: entry.hash, size: entry.size, answer });
            let is_asked = wanted.is_some_and(|wanted| ask.blocking_send(wanted).is_ok());
            // A failure of the store also fails the push.
            is_asked.then(|| addresses.blocking_recv().ok()).flatten().unwrap_or_default()
        };
        let mut finder = ModuleFinder::new(&same, self.bounds);
        let mut keys = Keys::default();
        let mut of_page = |page: &Page| {
            let assets = &page.assets;
            let mut files = Vec::with_capacity(assets.tags().len());
            for asset in assets.tags() {
                let entry = same.file(&page.path, asset)?.and_then(|file| manifest.files.get(file));
                files.push(entry.map(|entry| (entry.hash, entry.size)));
            }
            let mut modules = Modules::default();
            if assets.takes_map() || assets.refuses_inline() {
                modules = finder.of_page(&page.path, assets, &mut read)?;
            }
            if !modules.is_empty() && assets.refuses_inline() {
                return Err(SkipReason::Policy);
            }
            let key = keys.of_page(page.entry.hash, &files, &modules);
            Ok(PageLoads { files, modules, key })
        };
        Ok(Loads { pages: self.pages.iter().map(&mut of_page).collect() })
    }
}

/// Computes keys of loads, so that equal pages are made once.
#[derive(Default)]
struct Keys {
    /// Keys of module lists, shared by pages; each list is kept alive, so that its memory address stays unique.
    lists: HashMap<*const (), (Modules, Digest)>,
}

impl Keys {
    fn of_page(&mut self, blob: Digest, files: &[Option<(Digest, u64)>], modules: &Modules) -> Digest {
        let known = self.lists.entry(Arc::as_ptr(modules).cast());
        let (_, of_modules) = known.or_insert_with(|| (Arc::clone(modules), of_modules(modules)));
        let mut bytes = [*blob.as_bytes(), *of_modules.as_bytes()].concat();
        for file in files {
            bytes.extend_from_slice(file.map(|(hash, _)| *hash.as_bytes()).unwrap_or_default().as_slice());
        }
        Digest::of(&bytes)
    }
}

fn of_modules(modules: &Modules) -> Digest {
    let mut bytes = Vec::new();
    for module in modules.iter() {
        bytes.extend_from_slice(module.hash.as_bytes());
        bytes.extend_from_slice(module.address.as_bytes());
    }
    Digest::of(&bytes)
}

impl Loads {
    /// Returns a key that differs for environments with different pages.
    pub(super) fn key(&self) -> Digest {
        let keys = self.pages.iter().map(|page| page.as_ref().map_or([0; 32], |page| *page.key.as_bytes()));
        Digest::of(&keys.collect::<Vec<_>>().concat())
    }

    /// Returns the files whose hashes are needed.
    pub(super) fn hashed_files(&self) -> BTreeSet<(Digest, u64)> {
        let mut files: BTreeSet<(Digest, u64)> = BTreeSet::new();
        // Pages share module lists: each list is visited once.
        let mut seen: HashSet<*const ()> = HashSet::new();
        for PageLoads { files: own, modules, .. } in self.pages.iter().flatten() {
            files.extend(own.iter().flatten());
            if seen.insert(Arc::as_ptr(modules).cast()) {
                files.extend(modules.iter().map(|module| (module.hash, module.size)));
            }
        }
        files
    }
}

/// Script whose imports the finder thread waits for.
struct Wanted {
    blob: Digest,
    size: u64,
    answer: oneshot::Sender<Vec<ScriptAddress>>,
}

/// Returns the addresses in a script; empty for a script too long to be read at once.
async fn script(work: &Work<'_>, blob: Digest, size: u64) -> Result<Vec<ScriptAddress>, Error> {
    if size > work.file_bytes_max {
        return Ok(Vec::new());
    }
    let bytes = work.blobs.get(Key::Blob(blob)).await?;
    Ok(work.pool.run(size, move || script_addresses(&bytes)).await.unwrap_or_default())
}
