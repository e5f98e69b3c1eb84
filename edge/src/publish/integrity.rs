//! Pages with the hashes of what they load, for the environments that want them: stored beside the files of a version,
//! whose manifest, and so its id, stays as it came.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::Integrity;
use devanture_config::text::counted;
use devanture_config::{Digest, Manifest, Sha256};
use devanture_site::answers::{ManifestSite, SameForAll};
use devanture_site::integrity::PageAssets;

use crate::blobs::Key;
use crate::catalog::integrity_pages::IntegrityPages;
use crate::catalog::records::DecodedFile;
use crate::encode::{self, Given, Work, is_html};
use crate::ledger::Error;
use crate::version::RuleFiles;

/// Stands for the environments that have no table of their own.
const OTHERS: &str = "";

/// A page that is looked at.
struct Page {
    path: BundlePath,
    entry: FileEntry,
    assets: PageAssets,
}

/// The files that the tags of each page load, by their content.
type Loads = Vec<Vec<Option<(Digest, u64)>>>;

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
    let (pages, mut left_out) = pages(work, &manifest, limits).await?;
    let rule_files = RuleFiles::read(work.blobs, work.manifest)
        .await
        .map_err(|error| Problem::new(Code::BlobMissing, error.to_string()).hint("push again: it is then uploaded"))?;
    let rules_max = usize::try_from(limits.rules_max).unwrap_or(usize::MAX);
    // Thousands of rules may be compiled: not on a thread that others wait for.
    let find = move || {
        let loads = tables.into_iter().map(|table| {
            let loads = loads(&manifest, &table, &rule_files, rules_max, &pages);
            (table, loads)
        });
        let loads: Vec<_> = loads.collect();
        (pages, loads)
    };
    let (pages, loads) = tokio::task::spawn_blocking(find).await.map_err(|error| {
        tracing::error!(%error, "the files that pages load could not be found");
        Problem::new(Code::Internal, "The files that pages load could not be found.")
    })?;
    let hashes = hashes(work, &loads).await?;
    let mut made: BTreeMap<BundlePath, FileEntry> = BTreeMap::new();
    let mut groups: Vec<(Loads, IntegrityPages)> = Vec::new();
    for (table, loads) in loads {
        if let Some((_, group)) = groups.iter_mut().find(|(known, _)| *known == loads) {
            group.tables.insert(table);
            continue;
        }
        let mut group = IntegrityPages { tables: BTreeSet::from([table]), pages: BTreeMap::new() };
        for (page, loads) in pages.iter().zip(&loads) {
            let hashes = loads.iter().map(|file| hashes.get(&(*file)?.0).copied()).collect();
            match hashed(work, page, hashes).await? {
                Some(file) => {
                    // Of several environments, each page has its own bytes: a name of its own, too.
                    let name = format!("{}/{}", groups.len(), page.path).parse().ok();
                    let entry =
                        FileEntry { hash: file.hash, size: file.size, media_type: page.entry.media_type.clone() };
                    made.extend(name.filter(|_| file.hash != page.entry.hash).map(|name| (name, entry)));
                    group.pages.insert(page.path.clone(), file);
                }
                None => left_out = left_out.saturating_add(1),
            }
        }
        groups.push((loads, group));
    }
    given.integrity = groups.into_iter().map(|(_, group)| group).collect();
    let count = made.len();
    compress(work, made).await?;
    let detail = format!("hashes in {}", counted(count, "page"));
    Ok(Some(match left_out {
        0 => detail,
        left => format!("{detail}; {} without (integrity_page_bytes_max, integrity_pages_max)", counted(left, "page")),
    }))
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

/// The files that pages load in one environment.
fn loads(manifest: &Manifest, table: &str, rule_files: &RuleFiles, rules_max: usize, pages: &[Page]) -> Loads {
    let serving = manifest.serving_for(table);
    let rules = rule_files.rules(&serving, manifest.rules_in(&serving), rules_max);
    let restricted = rule_files.restricted(manifest, rules_max);
    let site = ManifestSite::new(manifest, table, rules, restricted.as_ref());
    let same = SameForAll::new(&site);
    let file = |page: &Page, asset| {
        let entry = manifest.files.get(same.file(&page.path, asset)?)?;
        Some((entry.hash, entry.size))
    };
    pages.iter().map(|page| page.assets.tags().iter().map(|asset| file(page, asset)).collect()).collect()
}

/// The SHA-256 of each file that a page loads; not of one that is too long to be read at once.
async fn hashes(work: &Work<'_>, loads: &[(String, Loads)]) -> Result<HashMap<Digest, Sha256>, Error> {
    let mut hashes = HashMap::new();
    let files: BTreeSet<(Digest, u64)> =
        loads.iter().flat_map(|(_, loads)| loads.iter().flatten().flatten().copied()).collect();
    for (blob, size) in files.into_iter().filter(|(_, size)| *size <= work.file_bytes_max) {
        let bytes = work.blobs.get(Key::Blob(blob)).await?;
        hashes.extend(work.pool.run(size, move || sha256(&bytes)).await.flatten().map(|hash| (blob, hash)));
    }
    Ok(hashes)
}

fn sha256(bytes: &[u8]) -> Option<Sha256> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    <[u8; 32]>::try_from(digest.as_ref()).ok().map(Sha256::from)
}

/// Stores a page with its hashes; `None` where they cannot be put into it.
async fn hashed(work: &Work<'_>, page: &Page, hashes: Vec<Option<Sha256>>) -> Result<Option<DecodedFile>, Error> {
    let own = DecodedFile { hash: page.entry.hash, size: page.entry.size };
    if hashes.iter().all(Option::is_none) {
        return Ok(Some(own));
    }
    let bytes = work.blobs.get(Key::Blob(own.hash)).await?;
    let assets = page.assets.clone();
    let made = work.pool.run(own.size, move || assets.with_hashes(&bytes, &hashes)).await.flatten();
    let Some(made) = made.map(Bytes::from) else { return Ok(None) };
    let file = DecodedFile { hash: Digest::of(&made), size: u64::try_from(made.len()).unwrap_or(u64::MAX) };
    if file != own {
        work.blobs.put(Key::Blob(file.hash), made).await?;
    }
    Ok(Some(file))
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
