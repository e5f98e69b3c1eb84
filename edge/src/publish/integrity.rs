//! Pages with the hashes of what they load, for the environments that want them: stored beside the files of a version,
//! whose manifest, and so its id, stays as it came.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::Integrity;
use devanture_config::text::counted;
use devanture_config::{Digest, Manifest, Sha256};
use devanture_site::answers::{Bounds, ManifestSite, ModuleFinder, Modules, SameForAll};
use devanture_site::integrity::{ModuleHashes, PageAssets, ScriptAddress, script_addresses};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};

use crate::blobs::Key;
use crate::catalog::integrity_pages::IntegrityPages;
use crate::catalog::records::DecodedFile;
use crate::encode::{self, Given, Work, is_html};
use crate::ledger::Error;
use crate::version::RuleFiles;

/// Stands for the environments that have no table of their own.
const OTHERS: &str = "";
/// Pages that are made at once: more than are worked at, so that the disk is busy meanwhile.
const PAGES_AT_ONCE: usize = 8;

/// A page that is looked at.
struct Page {
    path: BundlePath,
    entry: FileEntry,
    assets: PageAssets,
}

/// What pages load in one environment.
#[derive(PartialEq)]
struct Loads {
    /// The files that the tags of each page name, by their content.
    files: Vec<Vec<Option<(Digest, u64)>>>,
    /// The modules that each page reaches by imports; `None` of more than its import map may hold.
    modules: Vec<Option<Modules>>,
    /// Pages whose own `Content-Security-Policy` refuses an import map.
    refusing: usize,
}

/// A script whose imports are wanted, by a thread that may wait for them.
struct Wanted {
    blob: Digest,
    size: u64,
    answer: oneshot::Sender<Vec<ScriptAddress>>,
}

/// What came of the pages, for the report of the push.
#[derive(Default)]
struct Outcome {
    made: usize,
    /// Pages beyond a limit.
    left_out: usize,
    /// Pages that reach too many modules.
    too_many: usize,
    /// Pages whose own policy refuses an import map.
    refusing: usize,
}

impl Outcome {
    fn text(&self) -> String {
        let mut text = format!("hashes in {}", counted(self.made, "page"));
        for (count, why) in [
            (self.left_out, "without (integrity_page_bytes_max, integrity_pages_max)"),
            (self.too_many, "without: too many modules (integrity_map_bytes_max, integrity_modules_max)"),
            (self.refusing, "with a Content-Security-Policy that refuses an import map: their imports have no hash"),
        ] {
            if count > 0 {
                text.push_str(&format!("; {} {why}", counted(count, "page")));
            }
        }
        text
    }
}

/// The environments that want hashes: the names of their tables.
fn tables(manifest: &Manifest) -> Vec<String> {
    let own = manifest.env.keys().map(|name| name.as_str().to_owned());
    let is_on = |table: &String| !matches!(manifest.serving_for(table).integrity, None | Some(Integrity::Off));
    own.chain([OTHERS.to_owned()]).filter(is_on).collect()
}

/// Makes the pages with hashes of a bundle, and adds them to `given`. Returns what the push reports about it.
///
/// # Errors
/// Where the store fails.
pub(super) async fn add(work: &Work<'_>, given: &mut Given, limits: &Limits) -> Result<Option<String>, Error> {
    let tables = tables(work.manifest);
    if tables.is_empty() {
        return Ok(None);
    }
    let mut manifest = work.manifest.clone();
    for (path, file) in &given.decoded {
        let entry = FileEntry { hash: file.hash, size: file.size, media_type: None };
        manifest.files.entry(path.clone()).or_insert(entry);
    }
    let (pages, left_out) = pages(work, &manifest, limits).await?;
    let (pages, loads) = found(work, manifest, tables, limits, pages).await?;
    let hashes = hashes(work, &loads).await?;
    let mut outcome = Outcome { left_out, ..Outcome::default() };
    let mut made: BTreeMap<BundlePath, FileEntry> = BTreeMap::new();
    let mut groups: Vec<(Loads, IntegrityPages)> = Vec::new();
    for (table, loads) in loads {
        if let Some((_, group)) = groups.iter_mut().find(|(known, _)| *known == loads) {
            group.tables.insert(table);
            continue;
        }
        let mut group = IntegrityPages { tables: BTreeSet::from([table]), ..IntegrityPages::default() };
        outcome.refusing = outcome.refusing.saturating_add(loads.refusing);
        // Collected before they run, as a closure in the stream would keep the future from being `Send`.
        let all = pages.iter().zip(&loads.files).zip(&loads.modules);
        let all: Vec<_> =
            all.map(|((page, files), modules)| hashed(work, page, files, modules.as_ref(), &hashes)).collect();
        let all: Vec<Hashed> = stream::iter(all).buffered(PAGES_AT_ONCE).try_collect().await?;
        for (page, hashed) in pages.iter().zip(all) {
            let (file, map) = match hashed {
                Hashed::As(file, map) => (file, map),
                Hashed::TooMany => {
                    outcome.too_many = outcome.too_many.saturating_add(1);
                    continue;
                }
                Hashed::Unfit => {
                    outcome.left_out = outcome.left_out.saturating_add(1);
                    continue;
                }
            };
            // Of several environments, each page has its own bytes: a name of its own, too.
            let name = format!("{}/{}", groups.len(), page.path).parse().ok();
            let entry = FileEntry { hash: file.hash, size: file.size, media_type: page.entry.media_type.clone() };
            made.extend(name.filter(|_| file.hash != page.entry.hash).map(|name| (name, entry)));
            group.maps.extend(map.map(|map| (page.path.clone(), map)));
            group.pages.insert(page.path.clone(), file);
        }
        groups.push((loads, group));
    }
    given.integrity = groups.into_iter().map(|(_, group)| group).collect();
    outcome.made = made.len();
    compress(work, made).await?;
    Ok(Some(outcome.text()))
}

/// What the pages load in each environment.
async fn found(
    work: &Work<'_>,
    manifest: Manifest,
    tables: Vec<String>,
    limits: &Limits,
    pages: Vec<Page>,
) -> Result<(Vec<Page>, Vec<(String, Loads)>), Error> {
    let rule_files = RuleFiles::read(work.blobs, work.manifest)
        .await
        .map_err(|error| Problem::new(Code::BlobMissing, error.to_string()).hint("push again: it is then uploaded"))?;
    let rules_max = usize::try_from(limits.rules_max).unwrap_or(usize::MAX);
    let bounds = Bounds {
        modules_max: usize::try_from(limits.integrity_modules_max).unwrap_or(usize::MAX),
        map_bytes_max: usize::try_from(limits.integrity_map_bytes_max).unwrap_or(usize::MAX),
    };
    let (ask, mut wanted) = mpsc::channel::<Wanted>(1);
    // Thousands of rules may be compiled: not on a thread that others wait for.
    let find = tokio::task::spawn_blocking(move || {
        let loads = tables.into_iter().map(|table| {
            let site = (&manifest, table.as_str());
            let loads = loads(site, (&rule_files, rules_max), bounds, &pages, &ask);
            (table, loads)
        });
        let loads: Vec<_> = loads.collect();
        (pages, loads)
    });
    while let Some(Wanted { blob, size, answer }) = wanted.recv().await {
        // It waits for what comes, unless it ended.
        answer.send(script(work, blob, size).await?).ok();
    }
    find.await.map_err(|error| {
        tracing::error!(%error, "the files that pages load could not be found");
        Problem::new(Code::Internal, "The files that pages load could not be found.").into()
    })
}

/// The addresses in a script; none of one that is too long to be read at once.
async fn script(work: &Work<'_>, blob: Digest, size: u64) -> Result<Vec<ScriptAddress>, Error> {
    if size > work.file_bytes_max {
        return Ok(Vec::new());
    }
    let bytes = work.blobs.get(Key::Blob(blob)).await?;
    Ok(work.pool.run(size, move || script_addresses(&bytes)).await.unwrap_or_default())
}

/// The hashes of the modules that a page reaches.
fn module_hashes(modules: &Modules, hashes: &HashMap<Digest, Sha256>) -> ModuleHashes {
    let mut all = ModuleHashes::default();
    for module in modules.iter() {
        if let Some(hash) = hashes.get(&module.hash) {
            all.add(&module.address, hash);
        }
    }
    all
}

/// The pages that are looked at, and how many more there are.
async fn pages(work: &Work<'_>, manifest: &Manifest, limits: &Limits) -> Result<(Vec<Page>, usize), Error> {
    let pages_max = usize::try_from(limits.integrity_pages_max).unwrap_or(usize::MAX);
    let (mut pages, mut left_out) = (Vec::new(), 0_usize);
    let all = manifest.files.iter().filter(|(path, entry)| !path.is_private() && is_html(path, entry));
    for (path, entry) in all {
        let mut assets = None;
        if entry.size <= limits.integrity_page_bytes_max && pages.len() < pages_max {
            let bytes = work.blobs.get(Key::Blob(entry.hash)).await?;
            assets = work.pool.run(entry.size, move || PageAssets::read(&bytes)).await.flatten();
        }
        match assets {
            Some(assets) => pages.push(Page { path: path.clone(), entry: entry.clone(), assets }),
            None => left_out = left_out.saturating_add(1),
        }
    }
    Ok((pages, left_out))
}

/// What pages load in one environment.
fn loads(
    (manifest, table): (&Manifest, &str),
    (rule_files, rules_max): (&RuleFiles, usize),
    bounds: Bounds,
    pages: &[Page],
    ask: &mpsc::Sender<Wanted>,
) -> Loads {
    let serving = manifest.serving_for(table);
    let rules = rule_files.rules(&serving, manifest.rules_in(&serving), rules_max);
    let restricted = rule_files.restricted(manifest, rules_max);
    let site = ManifestSite::new(manifest, table, rules, restricted.as_ref());
    let same = SameForAll::new(&site);
    let file = |page: &Page, asset| {
        let entry = manifest.files.get(same.file(&page.path, asset)?)?;
        Some((entry.hash, entry.size))
    };
    let files = pages.iter().map(|page| page.assets.tags().iter().map(|asset| file(page, asset)).collect()).collect();
    let mut read = |path: &BundlePath| {
        let (answer, addresses) = oneshot::channel();
        let wanted = manifest.files.get(path).map(|entry| Wanted { blob: entry.hash, size: entry.size, answer });
        let is_asked = wanted.is_some_and(|wanted| ask.blocking_send(wanted).is_ok());
        // Where the store failed, so does the push.
        is_asked.then(|| addresses.blocking_recv().ok()).flatten().unwrap_or_default()
    };
    let mut finder = ModuleFinder::new(&same, bounds);
    let mut refusing = 0_usize;
    let modules = pages.iter().map(|page| {
        let assets = &page.assets;
        if !assets.takes_map() && !assets.refuses_inline() {
            return Some(Arc::default());
        }
        let modules = finder.of_page(&page.path, assets, &mut read).ok()?;
        if modules.is_empty() || !assets.refuses_inline() {
            return Some(modules);
        }
        refusing = refusing.saturating_add(1);
        Some(Arc::default())
    });
    let modules = modules.collect();
    Loads { files, modules, refusing }
}

/// The SHA-256 of each file that a page loads; not of one that is too long to be read at once.
async fn hashes(work: &Work<'_>, loads: &[(String, Loads)]) -> Result<HashMap<Digest, Sha256>, Error> {
    let files = hashed_files(loads).into_iter().filter(|(_, size)| *size <= work.file_bytes_max);
    let mut hashes = HashMap::new();
    for (blob, size) in files {
        let bytes = work.blobs.get(Key::Blob(blob)).await?;
        hashes.extend(work.pool.run(size, move || sha256(&bytes)).await.flatten().map(|hash| (blob, hash)));
    }
    Ok(hashes)
}

/// The files whose hashes are wanted.
fn hashed_files(loads: &[(String, Loads)]) -> BTreeSet<(Digest, u64)> {
    let mut files: BTreeSet<(Digest, u64)> = BTreeSet::new();
    // Pages share what they reach: each list is looked at once.
    let mut seen: HashSet<*const ()> = HashSet::new();
    for (_, loads) in loads {
        files.extend(loads.files.iter().flatten().flatten());
        for modules in loads.modules.iter().flatten().filter(|modules| seen.insert(Arc::as_ptr(modules).cast())) {
            files.extend(modules.iter().map(|module| (module.hash, module.size)));
        }
    }
    files
}

fn sha256(bytes: &[u8]) -> Option<Sha256> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    <[u8; 32]>::try_from(digest.as_ref()).ok().map(Sha256::from)
}

/// What came of a page.
enum Hashed {
    /// It is served as this file, with the hash of its import map.
    As(DecodedFile, Option<Sha256>),
    /// It reaches more modules than its import map may hold.
    TooMany,
    /// The hashes cannot be put into it.
    Unfit,
}

/// Stores a page with its hashes.
async fn hashed(
    work: &Work<'_>,
    page: &Page,
    files: &[Option<(Digest, u64)>],
    modules: Option<&Modules>,
    known: &HashMap<Digest, Sha256>,
) -> Result<Hashed, Error> {
    let Some(modules) = modules else { return Ok(Hashed::TooMany) };
    let hashes: Vec<Option<Sha256>> = files.iter().map(|file| known.get(&(*file)?.0).copied()).collect();
    let modules = module_hashes(modules, known);
    let own = DecodedFile { hash: page.entry.hash, size: page.entry.size };
    if hashes.iter().all(Option::is_none) && modules.is_empty() {
        return Ok(Hashed::As(own, None));
    }
    let bytes = work.blobs.get(Key::Blob(own.hash)).await?;
    let assets = page.assets.clone();
    let make = move || {
        let page = assets.with_hashes(&bytes, &hashes, &modules)?;
        let map = page.map.map(|text| sha256(&text));
        Some((Bytes::from(page.html), map.flatten()))
    };
    let Some((made, map)) = work.pool.run(own.size, make).await.flatten() else { return Ok(Hashed::Unfit) };
    let file = DecodedFile { hash: Digest::of(&made), size: u64::try_from(made.len()).unwrap_or(u64::MAX) };
    if file != own {
        work.blobs.put(Key::Blob(file.hash), made).await?;
    }
    Ok(Hashed::As(file, map))
}

/// Makes the quick variants of what was made.
async fn compress(work: &Work<'_>, made: BTreeMap<BundlePath, FileEntry>) -> Result<(), Error> {
    if made.is_empty() {
        return Ok(());
    }
    let fresh: HashSet<Digest> = made.values().map(|entry| entry.hash).collect();
    let manifest = Manifest::of_files(made);
    let pages = Work { manifest: &manifest, fresh: &fresh, ..*work };
    encode::quick(&pages).await.map(drop)
}
