//! Loads a version: reads and checks every byte to serve, and prepares every head.

use std::collections::BTreeMap;
use std::sync::Arc;

use devanture_config::heap::{HeapBytes, allocated};
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{
    CORS_ORIGINS_MAX, NotFound, RouteTo, SERVER_UPSTREAM, Serving, Upstream, sort_routes,
};
use devanture_config::{Digest, Manifest, Sha256};
use devanture_site::negotiate::Coding;
use devanture_site::precompressed::compressed_path;
use devanture_site::{cache, fingerprint};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;

use super::content_type::media_type;
use super::damage;
use super::deltas::DictionaryFields;
use super::field_list::FieldPool;
use super::head::MissHead;
use super::head_fields::HeadFields;
use super::loader::{AtHand, Error, LoadRequest, Loader, text_value};
use super::prefetch::{Prefetched, prefetch};
use super::version_field::VersionField;
use super::{
    Charge, Content, DamagedFile, Fill, Representation, Residency, RuleFiles, ServedFile, ServedRoute, ServedUpstream,
    Source,
};
use super::{alone, bytes_of, choices_of, indexes, integrity};
use devanture_store::blobs::{self, Blobs, Form, Key, VariantInfo};

/// Files read at once during the load of a version.
const READS_AT_ONCE: usize = 16;
/// Files prepared and charged together: the memory of so many files exists twice, and of so many more is read ahead.
const FILES_AT_ONCE: usize = 256;
/// Estimated memory of a version's handle on held bytes, which encodings of one file may share.
const HANDLE_BYTES: usize = 16;
/// Estimated memory of the reader of a stored file.
const STORED_FILE_BYTES: usize = 288;
/// Estimated bytes in memory for each byte of manifest JSON, for the parts that are not measured.
const BYTES_BY_TEXT: usize = 4;

/// The files of a version, the files left out, and the hash and number of the pages' shared dictionary.
type Loaded = (Box<[ServedFile]>, Box<[DamagedFile]>, Option<(Sha256, u32)>);

/// Loads a version.
///
/// # Errors
/// [`Error`], including a blob whose bytes do not match its digest.
pub async fn load(blobs: &dyn Blobs, mut request: LoadRequest) -> Result<Content, Error> {
    let (memory, claim) = request.memory.clone();
    let charge = Arc::new(memory.charge(claim));
    let rule_files = RuleFiles::read(blobs, &request.manifest, &request.rule_reader).await?;
    let rule_files = alone::leave_out_unserved(&mut request, rule_files).await.map_err(|_panicked| Error::Panicked)?;
    let siblings = siblings(&request);
    let manifest = alone::with_decoded(&request);
    let html_handling = manifest.html_handling_in(&request.serving);
    let indexes = indexes::of(&request, &manifest, html_handling).await?;
    let (manifest, lost_pages) = integrity::with_pages(blobs, &mut request, manifest).await?;
    // The last reference to the manifest: each file entry is freed as soon as loaded.
    request.manifest = Arc::new(Manifest { format: manifest.format, ..Manifest::of_files(BTreeMap::new()) });
    if let Some(record) = &mut request.dictionaries
        && let Some(pages) = &record.pages
        && blobs.size(Key::Blob(pages.blob)).await?.is_none()
    {
        // A lost dictionary is not offered.
        record.pages = None;
    }
    let (serving, record) = (&request.serving, request.dictionaries.as_ref());
    let compiled = rule_files.compiled(&manifest, serving, request.rules_max, record).await;
    let (rules, kept) = compiled.map_err(|_panicked| Error::Panicked)?;
    charge.grow(bytes_of(rules.heap_bytes() + backends_bytes(serving) + size_of::<Content>()))?;
    if kept.is_cut() {
        tracing::warn!(app = %request.app, version = %request.id, "too many rules say how long files are kept to be compared \
            with all of them: no file is announced as a dictionary by itself");
    }
    let (upstreams, routes) = backends(serving);
    let dictionary_fields = DictionaryFields::new(&manifest, record, &kept, request.dictionary_seconds, &routes);
    let managed = manifest.managed_in(serving).map(Arc::new);
    let scripts = managed.as_ref().and_then(|managed| managed.scripts.as_deref());
    charge.grow(bytes_of(scripts.map_or(0, |scripts| size_of_val(scripts) + scripts.heap_bytes())))?;
    let fields = FieldPool::default();
    let (request, memory, pool) = (&request, &memory, &fields);
    let loader = Loader {
        blobs,
        memory,
        request,
        siblings,
        fields: pool,
        dictionary_fields: &dictionary_fields,
        prefetched: Mutex::default(),
        takes_over: request.known.as_ref().is_none_or(|known| known.rotted() == 0),
    };
    let (files, damaged, pages) = loader.files(manifest, &charge).await?;
    charge.grow(bytes_of(fields.heap_bytes()))?;
    let content = Content {
        id: request.id,
        app: request.app.clone(),
        format: request.manifest.format,
        setting: request.setting,
        indexes,
        residency: residency(request, &files),
        files,
        damaged,
        mistake: request.mistake.clone(),
        lost_pages,
        pages,
        cors: cors(serving),
        html_handling,
        not_found: serving.not_found.unwrap_or(NotFound::Page404),
        pin_idle_s: serving.pin_idle_s(),
        public_source: serving.public_source.unwrap_or(false),
        status_page: serving.status_page.unwrap_or(false),
        takes_reports: !request.integrity.pages.is_empty(),
        upstreams,
        smoke: serving.smoke.clone().unwrap_or_default(),
        rules,
        routes,
        managed,
        reach: request.reach,
        edge_admin: request.edge_admin,
        stored_ms: request.stored_ms,
        header: VersionField::new(text_value(&request.id.short()), Arc::clone(&charge)),
        miss: MissHead::new(fields.into_fields()),
        charge,
    };
    damage::log(&content);
    Ok(content)
}

/// The residency of `files`: a short file read from the disk was left out of memory for want of room.
fn residency(request: &LoadRequest, files: &[ServedFile]) -> Residency {
    let mut all = files.iter().flat_map(|file| &file.representations);
    let is_small = |size: u64| size <= request.memory_file_bytes_max;
    let had_part = request.fill == Fill::Ahead || request.memory.0.is_short();
    let is_lean = had_part && all.any(|one| matches!(one.bytes, Source::Stored(..)) && is_small(one.size()));
    if is_lean { Residency::Lean } else { Residency::Full }
}

/// Estimates the memory of routes, pools and smoke checks from their JSON.
fn backends_bytes(serving: &Serving) -> usize {
    let own = Serving { cache: None, headers: None, redirects: None, rewrites: None, ..serving.clone() };
    serde_json::to_vec(&own).map_or(0, |text| text.len().saturating_mul(BYTES_BY_TEXT))
}

/// Files of the bundle that are encodings of other files, by the record.
fn siblings(request: &LoadRequest) -> BTreeMap<BundlePath, FileEntry> {
    let given = request.given.iter().flat_map(|(path, forms)| forms.iter().map(move |form| (path, form)));
    let sibling = |(path, form): (&BundlePath, &Form)| {
        let sibling = compressed_path(path, form.suffix())?;
        let entry = request.manifest.files.get(&sibling)?.clone();
        Some((sibling, entry))
    };
    given.filter_map(sibling).collect()
}

/// The pools, and their routes in the order of matching.
fn backends(serving: &Serving) -> (Vec<ServedUpstream>, Vec<ServedRoute>) {
    let declared = serving.upstreams.iter().flatten();
    let mut upstreams: Vec<ServedUpstream> = declared
        .map(|(name, declared)| {
            // A bad address or certificate fails by itself where used.
            let is_usable = declared.mistakes().iter().all(|found| matches!(found.key, "ca" | "to"));
            ServedUpstream {
                name: name.clone(),
                declared: if is_usable { declared.pool() } else { Upstream::default() },
            }
        })
        .collect();
    if serving.server.is_some() && upstreams.iter().all(|upstream| upstream.name != SERVER_UPSTREAM) {
        upstreams.push(ServedUpstream { name: SERVER_UPSTREAM.to_owned(), declared: Upstream::default() });
    }
    let mut routes: Vec<ServedRoute> = Vec::new();
    for declared in serving.routes.iter().flatten() {
        let is_usable = declared.mistakes().iter().all(|found| found.key == "to");
        let name = declared.to.to_string();
        let upstream = match (upstreams.iter().position(|upstream| upstream.name == name), &declared.to) {
            (Some(number), _) if is_usable => number,
            (None, RouteTo::Address(to)) if is_usable => {
                upstreams.push(ServedUpstream { name, declared: Upstream::from(to.clone()) });
                upstreams.len() - 1
            }
            // For stored versions alone. The path still belongs to the backend, not to a file (law 9): the edge answers
            // with an error.
            _ => {
                upstreams.push(ServedUpstream { name: format!("{name}#"), declared: Upstream::default() });
                upstreams.len() - 1
            }
        };
        routes.push(ServedRoute { declared: declared.clone(), upstream });
    }
    sort_routes(&mut routes, |route| &route.declared.path);
    (upstreams, routes)
}

/// The origins of `cors`; the text of an origin is always a valid value.
fn cors(serving: &Serving) -> Vec<HeaderValue> {
    let origins = serving.cors.iter().flatten().take(CORS_ORIGINS_MAX);
    origins.filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok()).collect()
}

impl Loader<'_> {
    /// Loads every public file, and then the pages' shared dictionary.
    async fn files(&self, manifest: Arc<Manifest>, charge: &Charge) -> Result<Loaded, Error> {
        // Exact capacity: a growing list exists twice for a moment, and half of its memory may be unused.
        let count = manifest.files.keys().filter(|path| !path.is_private()).count();
        let mut files: Vec<ServedFile> = Vec::with_capacity(count.saturating_add(1));
        let mut damaged = Vec::new();
        // Private files are never read, since no request can reach a private file.
        let mut public = Arc::unwrap_or_clone(manifest).files.into_iter().filter(|(path, _)| !path.is_private());
        // Collected before running, since a closure in the stream would make the future not `Send`; in groups, since
        // the futures of a hundred thousand files need more memory than the files.
        let mut next = || public.by_ref().take(FILES_AT_ONCE).collect::<Vec<_>>();
        let mut some = next();
        let mut prefetched = self.prefetched(&some).await;
        while !some.is_empty() {
            *self.prefetched.lock() = prefetched;
            let following = next();
            let loads: Vec<_> = some.iter().map(|(path, entry)| self.file(path, entry)).collect();
            let first = files.len();
            let load = async {
                let mut loading = stream::iter(loads).buffered(READS_AT_ONCE);
                while let Some(file) = loading.try_next().await? {
                    files.push(file);
                }
                Ok::<(), Error>(())
            };
            // The disk is read for the next group while the heads of the present group are made.
            let (loaded, ahead) = tokio::join!(load, self.prefetched(&following));
            loaded?;
            let new = files.get(first..).unwrap_or_default();
            damaged.extend(damage::damaged(&some, new));
            let taken = new.iter().map(|file| size_of::<ServedFile>() + file.heap_bytes()).sum();
            charge.grow(bytes_of(taken))?;
            (some, prefetched) = (following, ahead);
        }
        let pages = match self.request.dictionaries.as_ref().and_then(|record| record.pages) {
            Some(pages) => self.pages_dictionary(&pages).await.map(|file| (pages.sha256, file)),
            None => None,
        };
        let pages = pages.and_then(|(sha256, file)| {
            let number = u32::try_from(files.len()).ok()?;
            files.push(file);
            Some((sha256, number))
        });
        Ok((files.into(), damaged.into(), pages))
    }

    /// Data that the files of a group need, read ahead.
    async fn prefetched(&self, group: &[(BundlePath, FileEntry)]) -> Prefetched {
        let entries = group.iter().map(|(_, entry)| entry);
        let with_deltas = self.request.dictionaries.as_ref().is_some_and(|record| !record.deltas_from.is_empty());
        prefetch(self.blobs, (self.memory, self.request.fill), entries, self.request.memory_file_bytes_max, with_deltas)
            .await
    }

    async fn file(&self, path: &BundlePath, entry: &FileEntry) -> Result<ServedFile, Error> {
        // Yields between files that are already in memory: without the call, a large version would block the thread.
        tokio::task::consume_budget().await;
        let (body, loaded) = match self.bytes_of(path, entry).await {
            Ok(loaded) => loaded,
            Err(error) if self.request.leaves_out_damaged && damage::is_damage(&error) => {
                return Ok(self.without_bytes(path, entry));
            }
            Err(error) => return Err(error),
        };
        let media_type = match self.known(path.as_str()) {
            Some(known) => known.content_type.value().clone(),
            None => media_type(path, entry, &body).await,
        };
        let content_type = self.fields.field(CONTENT_TYPE, media_type);
        let media_type = content_type.value();
        let fingerprinted = fingerprint::is_fingerprinted(path.as_str());
        let is_page = cache::is_page(path.as_str(), media_type.as_bytes());
        let choice = loaded.len() > 1;
        let policy = integrity::policy(self.request, path);
        let map_hash = integrity::map_hash(self.request, path);
        let heads = HeadFields {
            media_type,
            fingerprinted,
            choice,
            may_have_deltas: self.may_have_deltas(entry.size, media_type),
            used: self.dictionary_fields.used(path),
            kept: None,
            offered: None,
            policy: policy.as_ref(),
            link: self.dictionary_fields.link.as_ref().filter(|_| cache::is_page("", media_type.as_bytes())),
            version: self,
        };
        // Allocated exactly: a collect in place would keep the allocation of the elements twice as large.
        let mut representations: Vec<Representation> = Vec::with_capacity(loaded.len());
        representations.extend(loaded.into_iter().map(|(at_hand, bytes)| heads.representation(&at_hand, bytes)));
        let choices = choices_of(&representations);
        let dictionaries = self.add_deltas(path.as_str(), entry, &heads, &mut representations).await;
        let (path, representations) = (path.as_str().into(), representations.into());
        Ok(ServedFile { path, content_type, fingerprinted, is_page, map_hash, choices, representations, dictionaries })
    }

    /// A file of the previous load: of the same version, and so with the same content.
    pub(super) fn known(&self, path: &str) -> Option<&ServedFile> {
        let known = self.request.known.as_ref().filter(|known| known.id == self.request.id)?;
        known.file(known.indexes.paths.exact(path)?).filter(|file| *file.path == *path)
    }

    /// The encodings of a file: encodings from the bundle first, then encodings made by the store.
    pub(super) async fn encodings(&self, path: &BundlePath, entry: &FileEntry) -> Result<Vec<AtHand>, Error> {
        let mut found: Vec<AtHand> = Vec::new();
        for form in self.request.given.get(path).into_iter().flatten() {
            let sibling = compressed_path(path, form.suffix());
            if let Some(sibling) = sibling.and_then(|sibling| self.siblings.get(&sibling)) {
                let key = Key::Blob(sibling.hash);
                found.push(AtHand { coding: coding(*form), size: sibling.size, hash: sibling.hash, key });
            }
        }
        let came: Vec<Coding> = found.iter().map(|given| given.coding).collect();
        let made = self.made(entry.hash).await?.into_iter();
        found.extend(made.filter(|made| !came.contains(&made.coding)));
        Ok(found)
    }

    /// The encodings of a blob made by the store.
    pub(super) async fn made(&self, blob: Digest) -> Result<Vec<AtHand>, Error> {
        let at_hand = |variant: VariantInfo| {
            let VariantInfo { form, size, hash, .. } = variant;
            AtHand { coding: coding(form), size, hash, key: Key::Variant(blob, form) }
        };
        let prefetched = self.prefetched.lock().variants_of(&blob);
        let made = match prefetched {
            Some(made) => made,
            None => match self.blobs.stored_variants(blob).await {
                // An unreadable variant costs bytes on the wire, and no page. The folder is named in the log and in
                // readiness: a line for each file would flood the log.
                Err(blobs::Error::Disk(error)) if error.is_unreadable() => {
                    tracing::debug!(%blob, %error, "a file is served as it came");
                    Vec::new()
                }
                made => made?,
            },
        };
        Ok(self.request.levels.served(&blob, made).await.into_iter().map(at_hand).collect())
    }
}

impl HeapBytes for ServedFile {
    fn heap_bytes(&self) -> usize {
        let dictionaries =
            self.dictionaries.as_ref().map_or(0, |own| allocated(size_of_val(&**own)) + own.heap_bytes());
        let map_hash =
            self.map_hash.as_ref().map_or(0, |hash| allocated(size_of_val(&**hash)) + allocated(hash.0.len()));
        self.path.heap_bytes() + map_hash + self.representations.heap_bytes() + dictionaries
    }
}

impl HeapBytes for Representation {
    fn heap_bytes(&self) -> usize {
        match &self.bytes {
            // The bytes and their holder are counted by the holder.
            Source::Memory(_) => HANDLE_BYTES,
            Source::Stored(file, 0) => STORED_FILE_BYTES.saturating_add(file.held_bytes()),
            // Counted with the encoding at the start of the file.
            Source::Stored(..) => HANDLE_BYTES,
        }
    }
}

/// The encoding of a form.
const fn coding(form: Form) -> Coding {
    match form {
        Form::Br | Form::BrQuick => Coding::Br,
        Form::Gz | Form::GzQuick => Coding::Gzip,
        Form::Zst | Form::ZstQuick => Coding::Zstd,
    }
}
