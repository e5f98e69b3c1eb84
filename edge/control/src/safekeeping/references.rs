//! References of version records: manifest and blobs of each stored or restorable version.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::api::DamagedVersion;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use serde::Deserialize;

use crate::ledger::Error;
use devanture_store::blobs::{self, Blobs, Key};
use devanture_store::catalog::Catalog;
use devanture_store::catalog::scan::Scan;
use devanture_store::records::console::console;
use devanture_store::records::gone::GONE_PREFIX;
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{self, DecodedFile, LivePointer, PagesDictionary};

/// Paths of damaged files listed per version by a report.
const FILES_SHOWN_MAX: usize = 100;
/// Damaged versions listed by a report.
const VERSIONS_SHOWN_MAX: usize = 10_000;

/// Examines files referenced by versions.
#[async_trait]
pub(super) trait Look: Send {
    /// Returns true if the file is undamaged.
    async fn look(&mut self, key: Key) -> Result<bool, Error>;

    /// Returns true if dictionaries shared by pages are examined as well, although remade if missing.
    fn looks_at_derived(&self) -> bool {
        true
    }
}

/// Source of manifests.
#[async_trait]
pub(super) trait Manifests: Sync {
    /// Returns the bytes of a manifest; `None` if missing or damaged.
    async fn canonical(&self, key: Key) -> Result<Option<Bytes>, Error>;
}

#[async_trait]
impl<B: Blobs + ?Sized> Manifests for B {
    async fn canonical(&self, key: Key) -> Result<Option<Bytes>, Error> {
        match self.get(key).await {
            Ok(canonical) => Ok(Some(canonical)),
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Result of an examination.
#[derive(Default)]
pub(super) struct Gone {
    pub(super) versions: u64,
    pub(super) damaged: Vec<DamagedVersion>,
}

/// Version in a record.
struct Reference {
    app: AppName,
    version: VersionId,
    is_deleted: bool,
    /// Decoded contents of files pushed only in compressed form, by the path of the plain file.
    decoded: Vec<(String, Digest)>,
}

/// Part of a version record read here.
#[derive(Deserialize)]
struct Decoded {
    #[serde(default)]
    decoded: BTreeMap<String, DecodedFile>,
    #[serde(default)]
    integrity: Vec<IntegrityPages>,
    /// Record of a restorable version.
    record: Option<Box<Self>>,
}

/// Part of a dictionary record read here.
#[derive(Deserialize)]
struct Pages {
    #[serde(default)]
    pages: Option<PagesDictionary>,
}

/// Examines each referenced file once, for all apps or one.
///
/// # Errors
/// `not_found` for an unknown app; errors of a store.
pub(super) async fn go_through(
    catalog: &dyn Catalog,
    manifests: &(impl Manifests + ?Sized),
    app: Option<&AppName>,
    look: &mut dyn Look,
) -> Result<Gone, Error> {
    let live = live_in(catalog, app).await?;
    let mut gone = Gone::default();
    // Results by file, since versions and apps share files.
    let mut looked: HashMap<Key, bool> = HashMap::new();
    for prefix in [records::VERSIONS_PREFIX, GONE_PREFIX] {
        let prefix = app.map_or_else(|| prefix.to_owned(), |app| format!("{prefix}{app}/"));
        let mut records = Scan::new(catalog, prefix);
        while let Some((key, record)) = records.next().await? {
            let Some(reference) = Reference::of(&key, &record.value) else { continue };
            gone.versions = gone.versions.saturating_add(1);
            let damage = reference.damage(catalog, manifests, look, &mut looked).await?;
            // The version may have been purged during the examination.
            if damage.is_some() && catalog.get(&key).await?.is_none() {
                continue;
            }
            if let Some(mut damage) = damage.filter(|_| gone.damaged.len() < VERSIONS_SHOWN_MAX) {
                damage.live_in = live.get(&(damage.app.clone(), damage.version)).cloned().unwrap_or_default();
                gone.damaged.push(damage);
            }
        }
    }
    match app {
        None => look_at_console(catalog, manifests, look, &mut looked).await?,
        // A misspelled app must not be reported as undamaged.
        Some(app) if gone.versions == 0 && catalog.get(&records::app_key(app)).await?.is_none() => {
            let problem = Problem::new(Code::NotFound, format!("There is no app {app}."));
            return Err(problem.hint("`devanture apps` lists those that there are").into());
        }
        Some(_) => {}
    }
    Ok(gone)
}

/// Examines the files of the console, which belongs to no app. Installing again repairs the console.
async fn look_at_console(
    catalog: &dyn Catalog,
    manifests: &(impl Manifests + ?Sized),
    look: &mut dyn Look,
    looked: &mut HashMap<Key, bool>,
) -> Result<(), Error> {
    let Some(version) = console(catalog).await?.and_then(|(_, console)| console.version) else { return Ok(()) };
    let key = Key::Manifest(version);
    let mut is_whole = once(look, looked, key).await?;
    let canonical = if is_whole { manifests.canonical(key).await? } else { None };
    for (digest, _) in canonical.iter().filter_map(|canonical| Manifest::read(canonical).ok()).flat_map(blobs_of) {
        is_whole &= once(look, looked, Key::Blob(digest)).await?;
    }
    if !is_whole {
        tracing::warn!(
            "files of the console are damaged or missing: `devanture-edge console install` stores them again"
        );
    }
    Ok(())
}

fn blobs_of(manifest: Manifest) -> Vec<(Digest, u64)> {
    manifest.blobs().collect()
}

/// Returns the environments with each live version.
async fn live_in(
    catalog: &dyn Catalog,
    app: Option<&AppName>,
) -> Result<HashMap<(AppName, VersionId), Vec<PlaceName>>, Error> {
    let mut live: HashMap<_, Vec<PlaceName>> = HashMap::new();
    let mut pointers = Scan::new(catalog, app.map_or_else(|| records::LIVE_PREFIX.to_owned(), records::live_prefix));
    while let Some((key, record)) = pointers.next().await? {
        let mut parts = key.split('/').skip(1);
        let (Some(Ok(app)), Some(Ok(name))) = (parts.next().map(str::parse), parts.next().map(str::parse)) else {
            continue;
        };
        let Ok(pointer) = records::read::<LivePointer>(&key, &record) else { continue };
        for version in pointer.versions() {
            live.entry((AppName::clone(&app), version)).or_default().push(PlaceName::clone(&name));
        }
    }
    Ok(live)
}

impl Reference {
    /// `None` for a permanently deleted version.
    fn of(key: &str, value: &[u8]) -> Option<Self> {
        let mut parts = key.split('/').skip(1);
        let (app, version) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let is_deleted = key.starts_with(GONE_PREFIX);
        // A damaged record may belong to a restorable version.
        let read = serde_json::from_slice::<Decoded>(value).ok();
        let record = match read {
            Some(Decoded { record: None, .. }) if is_deleted => return None,
            Some(Decoded { record: Some(record), .. }) => Some(*record),
            read => read,
        };
        let (decoded, integrity) = record.map(|record| (record.decoded, record.integrity)).unwrap_or_default();
        let pages = integrity.into_iter().flat_map(|group| group.pages);
        let pages = pages.map(|(path, file)| (path.to_string(), file.hash));
        let decoded = decoded.into_iter().map(|(path, file)| (path, file.hash)).chain(pages).collect();
        Some(Self { app, version, is_deleted, decoded })
    }

    /// Examines the files of the version.
    async fn damage(
        self,
        catalog: &dyn Catalog,
        manifests: &(impl Manifests + ?Sized),
        look: &mut dyn Look,
        looked: &mut HashMap<Key, bool>,
    ) -> Result<Option<DamagedVersion>, Error> {
        let key = Key::Manifest(self.version);
        let is_whole = once(look, looked, key).await?;
        let manifest = if is_whole { manifests.canonical(key).await? } else { None };
        let manifest = manifest.and_then(|canonical| Manifest::read(&canonical).ok());
        let mut damage = DamagedVersion {
            app: self.app,
            version: self.version,
            live_in: Vec::new(),
            deleted: self.is_deleted,
            manifest: manifest.is_none(),
            count: 0,
            files: Vec::new(),
        };
        let mut files = self.decoded;
        if let Some(manifest) = manifest {
            files.extend(manifest.files.iter().map(|(path, file)| (path.to_string(), file.hash)));
            let server = manifest.server.iter().flat_map(|server| &server.files);
            files.extend(server.map(|(path, file)| (format!("server/{path}"), file.hash)));
        }
        if look.looks_at_derived() {
            files.extend(pages_of(catalog, &damage.app, &damage.version).await?.map(|blob| (String::new(), blob)));
        }
        for (path, digest) in files {
            // The dictionary shared by pages is made again.
            if once(look, looked, Key::Blob(digest)).await? || path.is_empty() {
                continue;
            }
            damage.count = damage.count.saturating_add(1);
            if damage.files.len() < FILES_SHOWN_MAX {
                damage.files.push(path);
            }
        }
        Ok(Some(damage).filter(|damage| damage.manifest || damage.count > 0))
    }
}

async fn once(look: &mut dyn Look, looked: &mut HashMap<Key, bool>, key: Key) -> Result<bool, Error> {
    if let Some(is_whole) = looked.get(&key) {
        return Ok(*is_whole);
    }
    let is_whole = look.look(key).await?;
    looked.insert(key, is_whole);
    Ok(is_whole)
}

/// Returns the dictionary shared by the pages of a version, which is in no manifest.
async fn pages_of(catalog: &dyn Catalog, app: &AppName, version: &VersionId) -> Result<Option<Digest>, Error> {
    let Some(record) = catalog.get(&records::dictionaries_key(app, version)).await? else { return Ok(None) };
    let pages = serde_json::from_slice::<Pages>(&record.value).ok().and_then(|record| record.pages);
    Ok(pages.map(|pages| pages.blob))
}
