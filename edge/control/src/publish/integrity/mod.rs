//! Pages with integrity hashes of their loads, for environments that require hashes. Pages are stored beside the files
//! of a version; the manifest, and so the version id, stays unchanged.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::Integrity;
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, Manifest, Sha256, VersionId};
use devanture_serve::version::{RuleFiles, RuleReader};
use devanture_site::answers::{Bounds, ManifestSite, ModuleFinder, Modules, SameForAll, Steps, TooMany};
use devanture_site::integrity::{ModuleHashes, PageAssets, ScriptAddress, script_addresses};
use devanture_store::blobs::Key;
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, DecodedFile, LivePointer, VersionRecord};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};

use crate::encode::{self, Given, Work, is_html, sha256};
use crate::ledger::{Error, Lease, Ledger};
use crate::switch::StepReporter;

/// Name of the environments without their own table.
const OTHERS: &str = "";
/// Pages made concurrently, more than worker threads, to keep the disk busy.
const PAGES_AT_ONCE: usize = 8;
/// Pages between two progress reports.
const PAGES_A_REPORT: usize = 250;
/// Most groups of environments with differing pages: the version's record names every page of each group.
const GROUPS_MAX: usize = 16;

/// Outcome for the report of the push.
#[derive(Default)]
struct PageCounts {
    made: usize,
    /// Pages beyond a limit.
    left_out: usize,
    /// Pages whose hashes would have no effect.
    unfit: usize,
    /// Pages that load or reach too many files.
    too_many: usize,
    /// Pages whose own policy forbids an import map.
    refusing: usize,
    /// Environments left out after the step budget was exhausted.
    tables: usize,
    /// Environments beyond the limit of groups.
    differing: usize,
}

impl PageCounts {
    fn text(&self) -> String {
        let mut text = format!("hashes in {}", counted(self.made, "page"));
        for (count, why) in [
            (self.left_out, "without (integrity_page_bytes_max, integrity_pages_max, integrity_memory_bytes_max)"),
            (self.unfit, "without: `devanture check` says why"),
            (
                self.too_many,
                "without: too many modules (integrity_map_bytes_max, integrity_modules_max, integrity_steps_max)",
            ),
            (self.refusing, "without, with a Content-Security-Policy that refuses an import map"),
        ] {
            if count > 0 {
                text.push_str(&format!("; {} {why}", counted(count, "page")));
            }
        }
        if self.tables > 0 {
            text.push_str(&format!("; {} without (integrity_steps_max)", counted(self.tables, "environment")));
        }
        if self.differing > 0 {
            let environments = counted(self.differing, "environment");
            text.push_str(&format!("; {environments} without: pages may differ between {GROUPS_MAX} at most"));
        }
        text
    }
}

/// Returns the tables of the environments that require hashes.
fn tables(manifest: &Manifest) -> Vec<String> {
    let own = manifest.env.keys().map(|name| name.as_str().to_owned());
    let is_on = |table: &String| !matches!(manifest.serving_for(table).integrity, None | Some(Integrity::Off));
    // Environments without a table first, since `prod` is mostly among them.
    [OTHERS.to_owned()].into_iter().chain(own).filter(is_on).collect()
}

/// Result of adding pages with hashes to a bundle.
#[derive(Default)]
pub(super) struct AddedPages {
    /// Report line of the push.
    pub(super) report: Option<String>,
    /// Protects pages of an earlier push, whose record may be deleted before the new record is written.
    pub(super) lease: Option<Lease>,
}

/// Makes the pages with hashes of a bundle, and adds the pages to `given`.
///
/// # Errors
/// Errors of the store.
pub(super) async fn add(
    (work, reporter): (&Work<'_>, &StepReporter),
    given: &mut Given,
    (ledger, app, version): (&Ledger, &AppName, &VersionId),
    rule_reader: &RuleReader,
) -> Result<AddedPages, Error> {
    let tables = tables(work.manifest);
    if tables.is_empty() {
        return Ok(AddedPages::default());
    }
    let key = records::version_key(app, version);
    if let Some(record) = ledger.catalog.get(&key).await? {
        let record: VersionRecord = records::read(&key, &record)?;
        if record.decoded == given.decoded
            && let Some(lease) = held_if_whole(work, ledger, &tables, &record).await?
        {
            given.integrity = record.integrity;
            let pages = given.integrity.iter().map(|group| group.pages.len()).sum::<usize>();
            let report = Some(format!("hashes in {}, as they are stored", counted(pages, "page")));
            return Ok(AddedPages { report, lease: Some(lease) });
        }
    }
    let limits = &ledger.limits();
    let mut manifest = work.manifest.clone();
    for (path, file) in &given.decoded {
        let entry = FileEntry { hash: file.hash, size: file.size, media_type: None };
        manifest.files.entry(path.clone()).or_insert(entry);
    }
    let ExaminedPages { list, left_out, unfit } = ExaminedPages::read(work, &manifest, limits).await?;
    let rules_max = usize::try_from(limits.rules_max).unwrap_or(usize::MAX);
    let site = Arc::new(PagesOfVersion { manifest, rules_max, bounds: PagesOfVersion::bounds(limits), pages: list });
    let steps = StepsOfPush(Arc::new(Steps::new(limits.integrity_steps_max)));
    let mut making = PageMaker::of(work, reporter);
    making.outcome = PageCounts { left_out, unfit, ..PageCounts::default() };
    // Sequential, so that only the loads of one environment are in memory.
    for table in tables {
        match site.loads(work, rule_reader, &table, &steps).await? {
            Some(loads) => making.add(table, &site.pages, loads).await?,
            None => making.outcome.tables = making.outcome.tables.saturating_add(1),
        }
    }
    let PageMaker { groups, made, mut outcome, .. } = making;
    given.integrity = groups.into_iter().map(|(_, group)| group).collect();
    outcome.made = made.len();
    let had = live_pages(ledger, app).await?;
    compress(work, made, &had).await?;
    Ok(AddedPages { report: Some(outcome.text()), lease: None })
}

/// Pages made so far.
struct PageMaker<'w> {
    work: &'w Work<'w>,
    reporter: &'w StepReporter,
    outcome: PageCounts,
    hashes: HashMap<Digest, Sha256>,
    /// Made pages by key of their loads.
    known: HashMap<Digest, PageOutcome>,
    made: BTreeMap<BundlePath, FileEntry>,
    groups: Vec<(Digest, IntegrityPages)>,
}

impl<'w> PageMaker<'w> {
    fn of(work: &'w Work<'w>, reporter: &'w StepReporter) -> Self {
        Self {
            work,
            reporter,
            outcome: PageCounts::default(),
            hashes: HashMap::new(),
            known: HashMap::new(),
            made: BTreeMap::new(),
            groups: Vec::new(),
        }
    }

    /// Makes the pages of the environments of a table.
    async fn add(&mut self, table: String, pages: &[ExaminedPage], loads: EnvironmentLoads) -> Result<(), Error> {
        let key = loads.key();
        if let Some((_, group)) = self.groups.iter_mut().find(|(known, _)| *known == key) {
            group.tables.insert(table);
            return Ok(());
        }
        if self.groups.len() >= GROUPS_MAX {
            self.outcome.differing = self.outcome.differing.saturating_add(1);
            return Ok(());
        }
        self.hash(&loads).await?;
        self.make(pages, &loads).await?;
        let (made, tables) = (IntegrityPages::MADE, BTreeSet::from([table]));
        let mut group = IntegrityPages { made, tables, ..IntegrityPages::default() };
        for (page, loads) in pages.iter().zip(&loads.pages) {
            let hashed = loads.as_ref().map(|loads| self.known.get(&loads.key).copied().unwrap_or(PageOutcome::Unfit));
            let (file, map) = match hashed {
                Ok(PageOutcome::As(file, map)) => (file, map),
                Ok(PageOutcome::Unfit) => {
                    self.outcome.unfit = self.outcome.unfit.saturating_add(1);
                    continue;
                }
                Err(SkipReason::TooMany) => {
                    self.outcome.too_many = self.outcome.too_many.saturating_add(1);
                    continue;
                }
                Err(SkipReason::Policy) => {
                    self.outcome.refusing = self.outcome.refusing.saturating_add(1);
                    continue;
                }
            };
            // Each group has its own bytes of a page, and so its own name.
            let name = format!("{}/{}", self.groups.len(), page.path).parse().ok();
            let entry = FileEntry { hash: file.hash, size: file.size, media_type: page.entry.media_type.clone() };
            self.made.extend(name.filter(|_| file.hash != page.entry.hash).map(|name| (name, entry)));
            group.maps.extend(map.map(|map| (page.path.clone(), map)));
            group.pages.insert(page.path.clone(), file);
        }
        self.groups.push((key, group));
        Ok(())
    }

    /// Computes the SHA-256 of each loaded file, except files too long to be read at once.
    async fn hash(&mut self, loads: &EnvironmentLoads) -> Result<(), Error> {
        let work = self.work;
        for (blob, size) in loads.hashed_files() {
            if size > work.file_bytes_max || self.hashes.contains_key(&blob) {
                continue;
            }
            let bytes = work.blobs.get(Key::Blob(blob)).await?;
            let hash = work.pool.run(size, move || sha256(&bytes)).await;
            self.hashes.extend(hash.map(|hash| (blob, hash)));
        }
        Ok(())
    }

    /// Makes the pages not yet made.
    async fn make(&mut self, pages: &[ExaminedPage], loads: &EnvironmentLoads) -> Result<(), Error> {
        let (work, hashes) = (self.work, &self.hashes);
        let mut seen: HashSet<Digest> = HashSet::new();
        let all = pages.iter().zip(&loads.pages).filter_map(|(page, loads)| Some((page, loads.as_ref().ok()?)));
        let new = all.filter(|(_, loads)| !self.known.contains_key(&loads.key) && seen.insert(loads.key));
        // Collected before running: a closure in the stream would make the future `!Send`.
        let new: Vec<_> = new.map(|(page, loads)| hashed(work, page, loads, hashes)).collect();
        let total = new.len();
        let mut made = stream::iter(new).buffered(PAGES_AT_ONCE);
        let mut count: usize = 0;
        while let Some(page) = made.try_next().await? {
            self.known.extend([page]);
            count = count.saturating_add(1);
            if count.is_multiple_of(PAGES_A_REPORT) && count < total {
                self.reporter.report(&format!("hashes in {count} of {}", counted(total, "page")));
            }
        }
        Ok(())
    }
}

/// Returns the hashes of modules reached by a page.
fn module_hashes(modules: &Modules, hashes: &HashMap<Digest, Sha256>) -> ModuleHashes {
    let mut all = ModuleHashes::default();
    for module in modules.iter() {
        if let Some(hash) = hashes.get(&module.hash) {
            all.add(&module.address, hash);
        }
    }
    all
}

/// Outcome of a page.
#[derive(Clone, Copy)]
enum PageOutcome {
    /// Served as the given file, with the hash of its import map.
    As(DecodedFile, Option<Sha256>),
    /// Hashes cannot be inserted.
    Unfit,
}

/// Stores a page with its hashes, and records its source.
async fn hashed(
    work: &Work<'_>,
    page: &ExaminedPage,
    loads: &PageLoads,
    known: &HashMap<Digest, Sha256>,
) -> Result<(Digest, PageOutcome), Error> {
    let hashes: Vec<Option<Sha256>> = loads.files.iter().map(|file| known.get(&(*file)?.0).copied()).collect();
    let modules = module_hashes(&loads.modules, known);
    let own = DecodedFile { hash: page.entry.hash, size: page.entry.size };
    if hashes.iter().all(Option::is_none) && modules.is_empty() {
        return Ok((loads.key, PageOutcome::As(own, None)));
    }
    let bytes = work.blobs.get(Key::Blob(own.hash)).await?;
    let assets = Arc::clone(&page.assets);
    let make = move || {
        let page = assets.with_hashes(&bytes, &hashes, &modules)?;
        let map = page.map.map(|text| sha256(&text));
        Some((Bytes::from(page.html), map))
    };
    let Some((made, map)) = work.pool.run(own.size, make).await.flatten() else {
        return Ok((loads.key, PageOutcome::Unfit));
    };
    let file = DecodedFile { hash: Digest::of(&made), size: u64::try_from(made.len()).unwrap_or(u64::MAX) };
    if file != own {
        work.blobs.put(Key::Blob(file.hash), made).await?;
    }
    Ok((loads.key, PageOutcome::As(file, map)))
}

/// Makes quick variants of new pages, except those in `had`.
async fn compress(work: &Work<'_>, made: BTreeMap<BundlePath, FileEntry>, had: &HashSet<Digest>) -> Result<(), Error> {
    let fresh: HashSet<Digest> = made.values().map(|entry| entry.hash).filter(|hash| !had.contains(hash)).collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let manifest = Manifest::of_files(made);
    let pages = Work { manifest: &manifest, fresh: &fresh, ..*work };
    encode::quick(&pages).await.map(drop)
}

// Files loaded by pages in an environment, found on a separate thread within the step budget of the push.

/// Step budget of a push; a thread stops with its push.
struct StepsOfPush(Arc<Steps>);

impl Drop for StepsOfPush {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Data shared by all environments of a version.
struct PagesOfVersion {
    manifest: Manifest,
    rules_max: usize,
    bounds: Bounds,
    pages: Vec<ExaminedPage>,
}

/// Loads of all pages in an environment.
struct EnvironmentLoads {
    /// Loads of each page, or the reason for leaving the page unchanged.
    pages: Vec<Result<PageLoads, SkipReason>>,
}

/// Reason for leaving a page unchanged.
#[derive(Debug, Clone, Copy)]
enum SkipReason {
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
struct PageLoads {
    /// Files named by tags, by content.
    files: Vec<Option<(Digest, u64)>>,
    /// Modules reached by imports.
    modules: Modules,
    /// Identifies pages with equal results.
    key: Digest,
}

impl PagesOfVersion {
    /// Returns the bounds on modules of a page.
    fn bounds(limits: &Limits) -> Bounds {
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Bounds { modules_max: most(limits.integrity_modules_max), map_bytes_max: most(limits.integrity_map_bytes_max) }
    }

    /// Finds the loads of pages in the environments of a table; `None` if the step budget is exhausted.
    async fn loads(
        self: &Arc<Self>,
        work: &Work<'_>,
        rule_reader: &RuleReader,
        table: &str,
        steps: &StepsOfPush,
    ) -> Result<Option<EnvironmentLoads>, Error> {
        // Read again for each table, so that making pages holds neither rules nor a permit.
        let rule_files = RuleFiles::read(work.blobs, work.manifest, rule_reader).await.map_err(|error| {
            Problem::new(Code::BlobMissing, error.to_string()).hint("push again: it is then uploaded")
        })?;
        let (ask, mut wanted) = mpsc::channel::<ScriptRequest>(1);
        let (site, table, steps) = (Arc::clone(self), table.to_owned(), Arc::clone(&steps.0));
        // Runs on a blocking thread: thousands of rules may be compiled.
        let find = tokio::task::spawn_blocking(move || site.find(&rule_files, &table, &steps, &ask).ok());
        while let Some(ScriptRequest { blob, size, answer }) = wanted.recv().await {
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
        ask: &mpsc::Sender<ScriptRequest>,
    ) -> Result<EnvironmentLoads, TooMany> {
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
            let wanted =
                manifest.files.get(path).map(|entry| ScriptRequest { blob: entry.hash, size: entry.size, answer });
            let is_asked = wanted.is_some_and(|wanted| ask.blocking_send(wanted).is_ok());
            // A failure of the store also fails the push.
            is_asked.then(|| addresses.blocking_recv().ok()).flatten().unwrap_or_default()
        };
        let mut finder = ModuleFinder::new(&same, self.bounds);
        let mut keys = LoadKeys::default();
        let mut of_page = |page: &ExaminedPage| {
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
        Ok(EnvironmentLoads { pages: self.pages.iter().map(&mut of_page).collect() })
    }
}

/// Computes keys of loads, so that equal pages are made once.
#[derive(Default)]
struct LoadKeys {
    /// Keys of module lists, shared by pages; each list is kept alive, so that its memory address stays unique.
    lists: HashMap<*const (), (Modules, Digest)>,
}

impl LoadKeys {
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

impl EnvironmentLoads {
    /// Returns a key that differs for environments with different pages.
    fn key(&self) -> Digest {
        let keys = self.pages.iter().map(|page| page.as_ref().map_or([0; 32], |page| *page.key.as_bytes()));
        Digest::of(&keys.collect::<Vec<_>>().concat())
    }

    /// Returns the files whose hashes are needed.
    fn hashed_files(&self) -> BTreeSet<(Digest, u64)> {
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
struct ScriptRequest {
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

// Pages of a bundle that get hashes, and their loads: read once, within a bound on memory.

/// Examined page.
struct ExaminedPage {
    path: BundlePath,
    entry: FileEntry,
    /// Loads, shared by pages with equal bytes.
    assets: Arc<PageAssets>,
}

/// Pages, and the number of pages served unchanged.
#[derive(Default)]
struct ExaminedPages {
    list: Vec<ExaminedPage>,
    /// Pages beyond a limit.
    left_out: usize,
    /// Pages whose hashes would have no effect.
    unfit: usize,
}

/// Result of reading a page.
#[derive(Clone)]
enum PageRead {
    Fit(Arc<PageAssets>),
    LeftOut,
    Unfit,
}

impl ExaminedPages {
    /// Reads the pages of a manifest.
    async fn read(work: &Work<'_>, manifest: &Manifest, limits: &Limits) -> Result<Self, Error> {
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let (pages_max, memory_max) = (most(limits.integrity_pages_max), most(limits.integrity_memory_bytes_max));
        let mut pages = Self::default();
        let mut known: HashMap<Digest, PageRead> = HashMap::new();
        let mut memory_bytes = 0_usize;
        let all = manifest.files.iter().filter(|(path, entry)| !path.is_private() && is_html(path, entry));
        for (path, entry) in all {
            if entry.size > limits.integrity_page_bytes_max || pages.list.len() >= pages_max {
                pages.left_out = pages.left_out.saturating_add(1);
                continue;
            }
            let read = match known.get(&entry.hash) {
                Some(known) => known.clone(),
                None => {
                    let mut read = read(work, entry).await?;
                    if let PageRead::Fit(assets) = &read {
                        let bytes = memory_bytes.saturating_add(assets.memory_bytes());
                        if bytes > memory_max {
                            read = PageRead::LeftOut;
                        } else {
                            memory_bytes = bytes;
                        }
                    }
                    known.insert(entry.hash, read.clone());
                    read
                }
            };
            match read {
                PageRead::Fit(assets) => {
                    pages.list.push(ExaminedPage { path: path.clone(), entry: entry.clone(), assets });
                }
                PageRead::LeftOut => pages.left_out = pages.left_out.saturating_add(1),
                PageRead::Unfit => pages.unfit = pages.unfit.saturating_add(1),
            }
        }
        Ok(pages)
    }
}

async fn read(work: &Work<'_>, entry: &FileEntry) -> Result<PageRead, Error> {
    let bytes = work.blobs.get(Key::Blob(entry.hash)).await?;
    let assets = work.pool.run(entry.size, move || PageAssets::read(&bytes)).await.flatten();
    Ok(match assets {
        Some(assets) if assets.unfit().is_some() => PageRead::Unfit,
        Some(assets) => PageRead::Fit(Arc::new(assets)),
        None => PageRead::LeftOut,
    })
}

// Pages with hashes from an earlier push of the same version.

/// Takes a lease of the pages in a record, if the record has all pages of the version for the environments, made as
/// today, and all are stored. The pages depend on the version alone, so a further push can reuse the pages.
async fn held_if_whole(
    work: &Work<'_>,
    ledger: &Ledger,
    tables: &[String],
    record: &VersionRecord,
) -> Result<Option<Lease>, Error> {
    let made: BTreeSet<&String> = record.integrity.iter().flat_map(|group| &group.tables).collect();
    let wanted: BTreeSet<&String> = tables.iter().collect();
    let has_all = |group: &IntegrityPages| {
        let mut pages = work.manifest.files.iter().filter(|(path, entry)| !path.is_private() && is_html(path, entry));
        group.made == IntegrityPages::MADE
            && pages.all(|(path, _)| group.pages.contains_key(path))
            && record.decoded.keys().filter(|path| is_page(path.as_str())).all(|path| group.pages.contains_key(path))
    };
    if made != wanted || !record.integrity.iter().all(has_all) {
        return Ok(None);
    }
    let pages = record.integrity.iter().flat_map(|group| group.pages.values());
    let pages: Vec<(Digest, u64)> = pages.map(|page| (page.hash, page.size)).collect();
    let hashes: Vec<Digest> = pages.iter().map(|(hash, _)| *hash).collect();
    // Taken before the look-up: present pages stay from here on.
    let lease = ledger.leases.blobs(hashes.clone()).await;
    let sizes = work.blobs.sizes(hashes).await?;
    let are_stored =
        sizes.len() == pages.len() && pages.iter().zip(sizes).all(|((_, size), stored)| stored == Some(*size));
    Ok(are_stored.then_some(lease))
}

/// Returns true if a decoded file may be a page; decoded files have no media type.
fn is_page(path: &str) -> bool {
    devanture_site::media::is_html(path, None)
}

/// Returns the pages with hashes of an app's live versions. Their variants were already made or found useless.
async fn live_pages(ledger: &Ledger, app: &AppName) -> Result<HashSet<Digest>, Error> {
    let mut pages = HashSet::new();
    for (key, pointer) in ledger.catalog.list(&records::live_prefix(app), None, false, usize::MAX).await? {
        for version in records::read::<LivePointer>(&key, &pointer)?.versions() {
            let key = records::version_key(app, &version);
            let Some(record) = ledger.catalog.get(&key).await? else { continue };
            let record = records::read::<VersionRecord>(&key, &record)?;
            pages.extend(record.integrity.iter().flat_map(|group| group.pages.values()).map(|page| page.hash));
        }
    }
    Ok(pages)
}
