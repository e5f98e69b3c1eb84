//! The files that pages load in one environment: found on a thread of its own, within the steps of the push.

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

/// The steps of a push; a look on another thread ends where the push does.
pub(super) struct StepsOfPush(pub(super) Arc<Steps>);

impl Drop for StepsOfPush {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What the looks at a version have in common.
pub(super) struct Site {
    pub(super) manifest: Manifest,
    pub(super) rules_max: usize,
    pub(super) bounds: Bounds,
    pub(super) pages: Vec<Page>,
}

/// What pages load in one environment.
pub(super) struct Loads {
    /// What each page loads, or why it is served as it is.
    pub(super) pages: Vec<Result<PageLoads, Without>>,
}

/// Why a page is served as it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Without {
    /// It loads more than is looked up, or than its import map may hold.
    TooMany,
    /// Its own `Content-Security-Policy` refuses the import map that it needs.
    Policy,
}

impl From<TooMany> for Without {
    fn from(_: TooMany) -> Self {
        Self::TooMany
    }
}

/// What a page loads.
pub(super) struct PageLoads {
    /// The files that its tags name, by their content.
    pub(super) files: Vec<Option<(Digest, u64)>>,
    /// The modules that it reaches by imports.
    pub(super) modules: Modules,
    /// What tells it from all pages that become other bytes.
    pub(super) key: Digest,
}

impl Site {
    /// The bounds of the modules of a page.
    pub(super) fn bounds(limits: &Limits) -> Bounds {
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Bounds { modules_max: most(limits.integrity_modules_max), map_bytes_max: most(limits.integrity_map_bytes_max) }
    }

    /// What the pages load in the environments of a table; `None` where no steps are left.
    pub(super) async fn loads(
        self: &Arc<Self>,
        work: &Work<'_>,
        rule_reader: &RuleReader,
        table: &str,
        steps: &StepsOfPush,
    ) -> Result<Option<Loads>, Error> {
        // Read for each table again, so that nothing is held of them, nor a turn, while pages are made.
        let rule_files = RuleFiles::read(work.blobs, work.manifest, rule_reader).await.map_err(|error| {
            Problem::new(Code::BlobMissing, error.to_string()).hint("push again: it is then uploaded")
        })?;
        let (ask, mut wanted) = mpsc::channel::<Wanted>(1);
        let (site, table, steps) = (Arc::clone(self), table.to_owned(), Arc::clone(&steps.0));
        // Thousands of rules may be compiled: not on a thread that others wait for.
        let find = tokio::task::spawn_blocking(move || site.find(&rule_files, &table, &steps, &ask).ok());
        while let Some(Wanted { blob, size, answer }) = wanted.recv().await {
            // It waits for what comes, unless it ended.
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
            // Where the store failed, so does the push.
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
                return Err(Without::Policy);
            }
            let key = keys.of_page(page.entry.hash, &files, &modules);
            Ok(PageLoads { files, modules, key })
        };
        Ok(Loads { pages: self.pages.iter().map(&mut of_page).collect() })
    }
}

/// Names what pages load, so that what is equal is made once.
#[derive(Default)]
struct Keys {
    /// The keys of lists of modules, which pages share; each is held, so that no other takes its place in memory.
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
    /// What tells it from that of an environment whose pages are others.
    pub(super) fn key(&self) -> Digest {
        let keys = self.pages.iter().map(|page| page.as_ref().map_or([0; 32], |page| *page.key.as_bytes()));
        Digest::of(&keys.collect::<Vec<_>>().concat())
    }

    /// The files whose hashes are wanted.
    pub(super) fn hashed_files(&self) -> BTreeSet<(Digest, u64)> {
        let mut files: BTreeSet<(Digest, u64)> = BTreeSet::new();
        // Pages share what they reach: each list is looked at once.
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

/// A script whose imports are wanted, by a thread that may wait for them.
struct Wanted {
    blob: Digest,
    size: u64,
    answer: oneshot::Sender<Vec<ScriptAddress>>,
}

/// The addresses in a script; none of one that is too long to be read at once.
async fn script(work: &Work<'_>, blob: Digest, size: u64) -> Result<Vec<ScriptAddress>, Error> {
    if size > work.file_bytes_max {
        return Ok(Vec::new());
    }
    let bytes = work.blobs.get(Key::Blob(blob)).await?;
    Ok(work.pool.run(size, move || script_addresses(&bytes)).await.unwrap_or_default())
}
