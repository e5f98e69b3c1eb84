//! Pages with integrity hashes of their loads, for environments that require hashes. Pages are stored beside the files
//! of a version; the manifest, and so the version id, stays unchanged.

mod loads;
mod pages;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::Integrity;
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, Manifest, Sha256, VersionId};
use devanture_site::answers::{Modules, Steps};
use devanture_site::integrity::ModuleHashes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::encode::{self, Given, Work, sha256};
use crate::ledger::{Error, Lease, Ledger};
use crate::switch::StepReporter;
use devanture_serve::version::RuleReader;
use devanture_store::blobs::Key;
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, DecodedFile, VersionRecord};
use loads::{Loads, PageLoads, Site, SkipReason, StepsOfPush};
use pages::{Page, Pages};
use stored::live_pages;

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
struct Outcome {
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

impl Outcome {
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
pub(super) struct Added {
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
) -> Result<Added, Error> {
    let tables = tables(work.manifest);
    if tables.is_empty() {
        return Ok(Added::default());
    }
    let key = records::version_key(app, version);
    if let Some(record) = ledger.catalog.get(&key).await? {
        let record: VersionRecord = records::read(&key, &record)?;
        if record.decoded == given.decoded
            && let Some(lease) = stored::held_if_whole(work, ledger, &tables, &record).await?
        {
            given.integrity = record.integrity;
            let pages = given.integrity.iter().map(|group| group.pages.len()).sum::<usize>();
            let report = Some(format!("hashes in {}, as they are stored", counted(pages, "page")));
            return Ok(Added { report, lease: Some(lease) });
        }
    }
    let limits = &ledger.limits();
    let mut manifest = work.manifest.clone();
    for (path, file) in &given.decoded {
        let entry = FileEntry { hash: file.hash, size: file.size, media_type: None };
        manifest.files.entry(path.clone()).or_insert(entry);
    }
    let Pages { list, left_out, unfit } = Pages::read(work, &manifest, limits).await?;
    let rules_max = usize::try_from(limits.rules_max).unwrap_or(usize::MAX);
    let site = Arc::new(Site { manifest, rules_max, bounds: Site::bounds(limits), pages: list });
    let steps = StepsOfPush(Arc::new(Steps::new(limits.integrity_steps_max)));
    let mut making = Making::of(work, reporter);
    making.outcome = Outcome { left_out, unfit, ..Outcome::default() };
    // Sequential, so that only the loads of one environment are in memory.
    for table in tables {
        match site.loads(work, rule_reader, &table, &steps).await? {
            Some(loads) => making.add(table, &site.pages, loads).await?,
            None => making.outcome.tables = making.outcome.tables.saturating_add(1),
        }
    }
    let Making { groups, made, mut outcome, .. } = making;
    given.integrity = groups.into_iter().map(|(_, group)| group).collect();
    outcome.made = made.len();
    let had = live_pages(ledger, app).await?;
    compress(work, made, &had).await?;
    Ok(Added { report: Some(outcome.text()), lease: None })
}

/// Pages made so far.
struct Making<'w> {
    work: &'w Work<'w>,
    reporter: &'w StepReporter,
    outcome: Outcome,
    hashes: HashMap<Digest, Sha256>,
    /// Made pages by key of their loads.
    known: HashMap<Digest, Hashed>,
    made: BTreeMap<BundlePath, FileEntry>,
    groups: Vec<(Digest, IntegrityPages)>,
}

impl<'w> Making<'w> {
    fn of(work: &'w Work<'w>, reporter: &'w StepReporter) -> Self {
        Self {
            work,
            reporter,
            outcome: Outcome::default(),
            hashes: HashMap::new(),
            known: HashMap::new(),
            made: BTreeMap::new(),
            groups: Vec::new(),
        }
    }

    /// Makes the pages of the environments of a table.
    async fn add(&mut self, table: String, pages: &[Page], loads: Loads) -> Result<(), Error> {
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
            let hashed = loads.as_ref().map(|loads| self.known.get(&loads.key).copied().unwrap_or(Hashed::Unfit));
            let (file, map) = match hashed {
                Ok(Hashed::As(file, map)) => (file, map),
                Ok(Hashed::Unfit) => {
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
    async fn hash(&mut self, loads: &Loads) -> Result<(), Error> {
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
    async fn make(&mut self, pages: &[Page], loads: &Loads) -> Result<(), Error> {
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
enum Hashed {
    /// Served as the given file, with the hash of its import map.
    As(DecodedFile, Option<Sha256>),
    /// Hashes cannot be inserted.
    Unfit,
}

/// Stores a page with its hashes, and records its source.
async fn hashed(
    work: &Work<'_>,
    page: &Page,
    loads: &PageLoads,
    known: &HashMap<Digest, Sha256>,
) -> Result<(Digest, Hashed), Error> {
    let hashes: Vec<Option<Sha256>> = loads.files.iter().map(|file| known.get(&(*file)?.0).copied()).collect();
    let modules = module_hashes(&loads.modules, known);
    let own = DecodedFile { hash: page.entry.hash, size: page.entry.size };
    if hashes.iter().all(Option::is_none) && modules.is_empty() {
        return Ok((loads.key, Hashed::As(own, None)));
    }
    let bytes = work.blobs.get(Key::Blob(own.hash)).await?;
    let assets = Arc::clone(&page.assets);
    let make = move || {
        let page = assets.with_hashes(&bytes, &hashes, &modules)?;
        let map = page.map.map(|text| sha256(&text));
        Some((Bytes::from(page.html), map))
    };
    let Some((made, map)) = work.pool.run(own.size, make).await.flatten() else {
        return Ok((loads.key, Hashed::Unfit));
    };
    let file = DecodedFile { hash: Digest::of(&made), size: u64::try_from(made.len()).unwrap_or(u64::MAX) };
    if file != own {
        work.blobs.put(Key::Blob(file.hash), made).await?;
    }
    Ok((loads.key, Hashed::As(file, map)))
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
