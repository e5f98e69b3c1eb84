//! The dictionaries of a version (RFC 9842): deltas of its files, files that browsers keep as dictionaries, and offers
//! of further dictionaries by pages. Lost data is left out and fails no load.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::heap::{HeapBytes, allocated};
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{Digest, Manifest, Sha256};
use devanture_site::decide::OwnPath;
use devanture_site::negotiate::Coding;
use devanture_site::{dictionary, target};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use metrics::counter;

use super::head_fields::HeadFields;
use super::loader::{AtHand, Error, Loader};
use super::{KeptFiles, Representation, ServedFile, ServedRoute, Source, choices_of};
use devanture_store::blobs::{self, DeltaForm, DeltaInfo, Key};
use devanture_store::records::{DictionariesRecord, PagesDictionary};

/// The media type of a pure dictionary.
const DICTIONARY_TYPE: &str = "application/octet-stream";
/// Bytes at the beginning of a delta that name its form and its dictionary, and a few more.
const DELTA_HEAD_BYTES: usize = 64;

/// The dictionaries and deltas of a file.
pub struct FileDictionaries {
    /// The file's content.
    pub blob: Digest,
    /// The numbers of representations that are deltas, by both hashes of the dictionary of each, in order.
    deltas: Box<[(Sha256, Digest, usize)]>,
    /// First copy of the representations, if pages offer the file as a dictionary: as many again, in the same order,
    /// with the fields of a dictionary.
    offered_from: Option<usize>,
}

impl HeapBytes for FileDictionaries {
    fn heap_bytes(&self) -> usize {
        allocated(size_of_val::<[(Sha256, Digest, usize)]>(&self.deltas))
    }
}

impl FileDictionaries {
    /// The numbers of the representations made with a dictionary, in any environment. The version in a place decides
    /// which deltas its visitors may learn of.
    pub(super) fn deltas(&self, sha256: Sha256) -> impl Iterator<Item = (&Digest, usize)> + Clone {
        let first = self.deltas.partition_point(|(known, ..)| *known < sha256);
        let known = self.deltas.get(first..).unwrap_or_default();
        known
            .iter()
            .take_while(move |(known, ..)| *known == sha256)
            .map(|(_, dictionary, number)| (dictionary, *number))
    }

    /// The number of the representation to send in place of `number` to a browser that fetches the file as a
    /// dictionary, if pages offer the file.
    #[must_use]
    pub fn as_dictionary(&self, number: usize) -> Option<usize> {
        self.offered_from.map(|from| from.saturating_add(number))
    }
}

/// Fields about dictionaries in the heads of one version.
#[derive(Default)]
pub(super) struct DictionaryFields {
    /// `Use-As-Dictionary` of files that browsers keep by themselves.
    used: HashMap<String, HeaderValue>,
    /// `Link` of pages.
    pub(super) link: Option<HeaderValue>,
    /// `Cache-Control` of the pages' shared dictionary.
    kept: Option<HeaderValue>,
    /// `Cache-Control` of a file fetched as a dictionary at its own address: fresh for the lifetime of the dictionary
    /// (RFC 9842 §2.2.1), private to the browser, which still revalidates before each use (`Vary: *`).
    offered: Option<HeaderValue>,
}

impl DictionaryFields {
    /// Computes the fields from the record, and from the files that rules let browsers keep. A file behind one of
    /// `routes` is not offered.
    pub(super) fn new(
        manifest: &Manifest,
        record: Option<&DictionariesRecord>,
        kept: &KeptFiles,
        seconds: u64,
        routes: &[ServedRoute],
    ) -> Self {
        let Some(record) = record else { return Self::default() };
        let (linked, pages) = if seconds == 0 { (&[][..], None) } else { (kept.linked(), kept.pages()) };
        let is_routed = |path: &BundlePath| routes.iter().any(|route| route.declared.path.takes(&format!("/{path}")));
        let sha256 = |path: &BundlePath| record.files.get(&manifest.files.get(path)?.hash);
        let files = linked.iter().filter(|path| !is_routed(path) && sha256(path).is_some());
        // The dictionary's path is answered before any route.
        let pages = pages.map(|pages| OwnPath::of_dictionary(pages.sha256));
        let link = link(files, pages);
        let cache_control = HeaderValue::try_from(format!("public, max-age={seconds}, immutable")).ok();
        let offered = HeaderValue::try_from(format!("max-age={seconds}, s-maxage=0")).ok();
        Self { used: used(manifest, record, kept), link, kept: cache_control, offered }
    }

    /// `Use-As-Dictionary` of the file at `path`.
    pub(super) fn used(&self, path: &BundlePath) -> Option<&HeaderValue> {
        self.used.get(path.as_str())
    }
}

/// `Use-As-Dictionary` of files that browsers keep by themselves.
fn used(manifest: &Manifest, record: &DictionariesRecord, kept: &KeptFiles) -> HashMap<String, HeaderValue> {
    let value = |path: &str, pattern: String| {
        let sha256 = record.files.get(&manifest.files.get(path)?.hash)?;
        let value = HeaderValue::try_from(dictionary::use_as(&pattern, &name(sha256))).ok()?;
        Some((path.to_owned(), value))
    };
    kept.announced_by_themselves(manifest).patterns().filter_map(|(path, pattern)| value(path, pattern)).collect()
}

/// Dictionaries offered by pages: files under names that could change, and the shared dictionary.
fn link<'m>(files: impl Iterator<Item = &'m BundlePath>, pages: Option<String>) -> Option<HeaderValue> {
    // At their own addresses: a browser's present copy is revalidated, and not loaded a second time.
    let files = files.map(|path| target::encode_path(&format!("/{path}")));
    let links = files.chain(pages).map(|address| format!("<{address}>; rel=\"compression-dictionary\""));
    let links = links.collect::<Vec<_>>().join(", ");
    if links.is_empty() { None } else { HeaderValue::try_from(links).ok() }
}

/// The beginning of a SHA-256.
fn name(sha256: &Sha256) -> String {
    let mut name = sha256.to_string();
    name.truncate(dictionary::ID_CHARS);
    name
}

/// The encoding of a delta's form.
const fn delta_coding(form: DeltaForm) -> Coding {
    match form {
        DeltaForm::Dcb => Coding::Dcb,
        DeltaForm::Dcz => Coding::Dcz,
    }
}

/// A delta is damaged, and not served.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DamagedDelta(String);

impl Loader<'_> {
    fn record(&self) -> Option<&DictionariesRecord> {
        self.request.dictionaries.as_ref()
    }

    /// Returns true if deltas of a file may exist, now or later: such a file has `Vary` from the beginning.
    pub(super) fn may_have_deltas(&self, size: u64, media_type: &HeaderValue) -> bool {
        let is_worth_it = |media_type| dictionary::is_worth_a_delta(size, media_type);
        self.record().is_some() && media_type.to_str().is_ok_and(is_worth_it)
    }

    /// Adds the deltas of a file to its representations, and a copy of all representations if pages offer the file.
    pub(super) async fn add_deltas(
        &self,
        path: &str,
        entry: &FileEntry,
        heads: &HeadFields<'_>,
        representations: &mut Vec<Representation>,
    ) -> Option<Box<FileDictionaries>> {
        let record = self.record()?;
        let mut deltas = Vec::new();
        if heads.may_have_deltas && !record.deltas_from.is_empty() {
            for (info, at_hand, bytes) in self.deltas(entry.hash, record).await {
                deltas.push((info.sha256, info.dictionary, representations.len()));
                representations.push(heads.representation(&at_hand, bytes));
            }
        }
        deltas.sort_unstable();
        let is_linked = record.linked.iter().any(|linked| linked.as_str() == path);
        let sha256 = record.files.get(&entry.hash).filter(|_| is_linked && !heads.fingerprinted);
        let offered_from = sha256.map(|sha256| {
            let from = representations.len();
            let used = dictionary::use_as(&dictionary::exact_pattern(path), &name(sha256));
            let again = self.offered_as(&used, heads, representations);
            representations.extend(again);
            from
        });
        let is_any = heads.may_have_deltas || offered_from.is_some();
        is_any.then(|| Box::new(FileDictionaries { blob: entry.hash, deltas: deltas.into(), offered_from }))
    }

    /// The same bytes with the fields of a dictionary, as offered by pages.
    fn offered_as(&self, used: &str, heads: &HeadFields<'_>, of: &[Representation]) -> Vec<Representation> {
        let used = HeaderValue::try_from(used).ok();
        let heads = HeadFields { used: used.as_ref(), offered: self.dictionary_fields.offered.as_ref(), ..*heads };
        of.iter().map(|representation| heads.again(representation)).collect()
    }

    /// The valid deltas of a blob made with dictionaries of the same app: visitors must not learn of another app's.
    async fn deltas(&self, blob: Digest, record: &DictionariesRecord) -> Vec<(DeltaInfo, AtHand, Source)> {
        let prefetched = self.prefetched.lock().deltas_of(&blob);
        let listed = match prefetched {
            Some(listed) => listed,
            None => self.blobs.deltas(blob).await.unwrap_or_else(|error| {
                tracing::warn!(%blob, %error, "the deltas of a file cannot be listed and are left out");
                Vec::new()
            }),
        };
        let mut found = Vec::new();
        let is_of_app = |info: &DeltaInfo| record.deltas_from.values().any(|from| from.contains(&info.dictionary));
        for info in listed.into_iter().filter(is_of_app) {
            let key = Key::Delta(blob, info.dictionary, info.form);
            let at_hand = AtHand { coding: delta_coding(info.form), size: info.size, hash: info.hash, key };
            match self.delta_body(&at_hand, &info).await {
                Ok(bytes) => found.push((info, at_hand, bytes)),
                Err(damaged) => {
                    counter!("devanture_deltas_left_out_total", "reason" => "damaged").increment(1);
                    tracing::warn!(%blob, form = info.form.suffix(), "a delta is left out: {damaged}");
                }
            }
        }
        found
    }

    /// The bytes of a delta: held in memory if room remains beside the bytes that every visitor needs, otherwise read
    /// from the disk while being sent.
    async fn delta_body(&self, at_hand: &AtHand, info: &DeltaInfo) -> Result<Source, DamagedDelta> {
        let bytes = self.delta_source(at_hand).await?;
        let (size, begin) = match &bytes {
            Source::Memory(bytes) => (u64::try_from(bytes.len()).unwrap_or(u64::MAX), bytes.clone()),
            Source::Stored(file, _) => {
                let (size, file) = (file.size(), Arc::clone(file));
                let read = tokio::task::spawn_blocking(move || file.read_at(0, DELTA_HEAD_BYTES)).await;
                let read = read.map_err(std::io::Error::other).flatten();
                (size, read.map_err(|error| DamagedDelta(error.to_string()))?)
            }
        };
        // The head announces the listed length.
        if size != info.size {
            return Err(DamagedDelta("it has another length than is listed".to_owned()));
        }
        match names_dictionary(&begin, info) {
            true => Ok(bytes),
            false => Err(DamagedDelta("it names another dictionary".to_owned())),
        }
    }

    async fn delta_source(&self, at_hand: &AtHand) -> Result<Source, DamagedDelta> {
        let damaged = |error: blobs::Error| DamagedDelta(error.to_string());
        if let Some(bytes) = self.memory.share(at_hand.hash) {
            return Ok(Source::Memory(bytes));
        }
        let is_short = at_hand.size <= self.request.memory_file_bytes_max;
        if let Some(room) = is_short.then(|| self.memory.room_to_spare(at_hand.size)).flatten() {
            let bytes = self.blobs.get(at_hand.key).await.map_err(damaged)?;
            return Ok(Source::Memory(self.memory.hold(at_hand.hash, bytes, room)));
        }
        Ok(Source::Stored(self.blobs.open(at_hand.key).await.map_err(damaged)?, 0))
    }

    /// The pages' shared dictionary, as a file that no path of the bundle leads to.
    pub(super) async fn pages_dictionary(&self, pages: &PagesDictionary) -> Option<ServedFile> {
        let entry = FileEntry { hash: pages.blob, size: pages.size, media_type: None };
        let path = OwnPath::of_dictionary(pages.sha256);
        let path = path.trim_start_matches('/').to_owned();
        let loaded = async { self.loaded(&path, &entry, self.made(entry.hash).await?).await };
        let loaded = loaded.await.map_err(|error: Error| {
            tracing::warn!(blob = %pages.blob, %error, "the dictionary of pages is left out");
        });
        let media_type = HeaderValue::from_static(DICTIONARY_TYPE);
        let used = HeaderValue::try_from(dictionary::use_as_for_documents(&name(&pages.sha256))).ok();
        let (_, loaded) = loaded.ok()?;
        let heads = HeadFields {
            media_type: &media_type,
            fingerprinted: true,
            choice: loaded.len() > 1,
            may_have_deltas: true,
            used: used.as_ref(),
            kept: self.dictionary_fields.kept.as_ref(),
            offered: None,
            policy: None,
            link: None,
            version: self,
        };
        let mut representations: Vec<Representation> =
            loaded.into_iter().map(|(at_hand, bytes)| heads.representation(&at_hand, bytes)).collect();
        let choices = choices_of(&representations);
        let dictionaries = self.add_deltas(&path, &entry, &heads, &mut representations).await;
        Some(ServedFile {
            path: path.into(),
            content_type: self.fields.field(CONTENT_TYPE, media_type),
            fingerprinted: false,
            is_page: false,
            map_hash: None,
            choices,
            representations: representations.into(),
            dictionaries,
        })
    }
}

/// Returns true if a delta begins with the header of its form and with the listed dictionary.
fn names_dictionary(bytes: &[u8], info: &DeltaInfo) -> bool {
    bytes.strip_prefix(info.form.magic()).is_some_and(|rest| rest.starts_with(info.sha256.as_bytes()))
}
