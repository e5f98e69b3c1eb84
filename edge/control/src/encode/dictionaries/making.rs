//! Makes deltas: selection, order, limits.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, Manifest, Sha256, VersionId};
use futures_util::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use tokio::time::Instant;

use super::deadline::is_over;
use super::earlier::EarlierVersion;
use super::linked_assets::{Named, Places};
use super::maker::{Dictionaries, FILES_AT_ONCE};
use super::pair::{Earlier, File, Likeness};
use super::public::is_html;
use crate::encode::compress::{Pool, delta, length_of};
use crate::encode::wire_size::Siblings;
use crate::ledger::Error;
use devanture_serve::version::KeptFiles;
use devanture_store::blobs::{self, DeltaForm, DeltaInfo, Key, NewDelta, Quality};
use devanture_store::records::{DictionariesRecord, PagesDictionary};

/// Remembered pairs that were tried in vain.
const TRIED_MAX: usize = 65_536;
/// Pairs looked up per pass.
const PAIRS_MAX: usize = 4_096;
/// Bytes of deltas in memory before they are stored.
const ENCODED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files whose predecessors are searched without yielding.
const FILES_IN_A_ROW: usize = 128;

/// Pairs of file and dictionary with too little in common.
#[derive(Default)]
pub(super) struct Tried(HashSet<(Digest, Digest)>);

/// Deltas to be stored, grouped by file, since each write costs the disk the same.
#[derive(Default)]
struct Encoded {
    by_blob: BTreeMap<Digest, Vec<NewDelta>>,
    bytes: u64,
}

impl Encoded {
    fn add(&mut self, blob: Digest, deltas: Vec<NewDelta>) {
        self.bytes = self.bytes.saturating_add(bytes_of(&deltas));
        self.by_blob.entry(blob).or_default().extend(deltas);
    }
}

fn bytes_of(deltas: &[NewDelta]) -> u64 {
    deltas.iter().map(|delta| delta.bytes.len() as u64).sum()
}

/// File with a dictionary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    /// File.
    pub(super) blob: Digest,
    /// Dictionary.
    pub(super) dictionary: Digest,
    /// SHA-256 of the dictionary.
    pub(super) sha256: Sha256,
    /// Transfer size of the file for a browser without dictionaries.
    pub(super) plain: u64,
    /// Estimated saving.
    gain: u64,
}

impl Pair {
    /// Returns a pair requested by a browser.
    pub(crate) const fn wanted(blob: Digest, dictionary: Digest, sha256: Sha256, plain: u64) -> Self {
        Self { blob, dictionary, sha256, plain, gain: plain }
    }
}

/// Reason for examining a pair.
pub(super) struct Likely {
    /// SHA-256 of the dictionary.
    sha256: Sha256,
    /// Estimated saving in hundredths of the file.
    percent: u64,
    /// Bytes of the file.
    size: u64,
}

/// Pairs by file and dictionary.
pub(super) type LikelyPairs = BTreeMap<(Digest, Digest), Likely>;

impl Dictionaries {
    /// Returns the pairs useful for `files` to visitors of earlier versions.
    pub(super) async fn likely(
        &self,
        files: &[(&BundlePath, &FileEntry)],
        named: &Named,
        earlier: &[Arc<EarlierVersion>],
        pages: Option<PagesDictionary>,
        deadline: Option<Instant>,
    ) -> LikelyPairs {
        let contents: Vec<HashSet<Digest>> =
            earlier.iter().map(|side| side.manifest.files.values().map(|entry| entry.hash).collect()).collect();
        let last = contents.first();
        let indexes: Vec<Earlier<'_>> = earlier.iter().map(|side| side.index()).collect();
        let mut likely = LikelyPairs::new();
        let is_kept = earlier.first().is_some_and(|side| side.kept.pages() == pages);
        let places = named.places();
        for (number, (path, entry)) in files.iter().enumerate() {
            if number % FILES_IN_A_ROW == 0 {
                if is_over(deadline) {
                    break;
                }
                // Yields to other tasks during versions of many thousands of files.
                tokio::task::yield_now().await;
            }
            // Files of the previous live version already have their other deltas, made when new.
            let is_fresh = last.is_none_or(|last| !last.contains(&entry.hash));
            if let Some(pages) = pages.filter(|_| is_html(path, entry) && (is_fresh || !is_kept)) {
                let (sha256, percent) = (pages.sha256, Likeness::Entry.percent());
                likely.insert((entry.hash, pages.blob), Likely { sha256, percent, size: entry.size });
            }
            if !is_fresh {
                continue;
            }
            let file = File { path, hash: entry.hash };
            for (rank, ((side, content), index)) in (1_u64..).zip(earlier.iter().zip(&contents).zip(&indexes)) {
                if content.contains(&entry.hash) {
                    continue;
                }
                let found = match is_html(path, entry) {
                    true => {
                        let pages = side.kept.pages_found_again();
                        pages.map(|pages| (pages.blob, pages.sha256, Likeness::Entry)).into_iter().collect()
                    }
                    false => side.predecessors(index, file, &places),
                };
                for (dictionary, sha256, likeness) in found {
                    let (percent, size) = (likeness.percent() / rank, entry.size);
                    let known = likely.entry((entry.hash, dictionary)).or_insert(Likely { sha256, percent, size });
                    known.percent = known.percent.max(percent);
                }
            }
        }
        likely
    }

    /// Returns the files offered as dictionaries by pages, each paired with itself. A client that received a file as a
    /// delta revalidates with the delta's tag, and with the file as dictionary. The ordinary form has another tag and
    /// would be sent whole; an empty delta takes a few bytes, and has its own tag from then on.
    pub(super) async fn with_themselves(
        &self,
        manifest: &Manifest,
        siblings: &Siblings,
        (record, kept): (&DictionariesRecord, &KeptFiles),
        own: &DictionariesRecord,
    ) -> Result<Vec<Pair>, Error> {
        let mut pairs = Vec::new();
        for entry in kept.linked().iter().filter_map(|path| manifest.files.get(path)) {
            let Some(sha256) = record.files.get(&entry.hash) else { continue };
            let is_there = own.all_from().any(|from| *from == entry.hash)
                && self.blobs.deltas(entry.hash).await?.iter().any(|delta| delta.dictionary == entry.hash);
            if !is_there && !self.was_tried(entry.hash, entry.hash) {
                let plain = self.travelling(siblings, entry.hash, entry.size).await?;
                pairs.push(Pair::wanted(entry.hash, entry.hash, *sha256, plain));
            }
        }
        Ok(pairs)
    }

    /// Returns the likely pairs neither made nor tried in vain, by estimated saving.
    pub(super) async fn worthwhile(
        &self,
        likely: LikelyPairs,
        siblings: &Siblings,
        earlier: &[Arc<EarlierVersion>],
        own: &DictionariesRecord,
        deadline: Option<Instant>,
    ) -> Result<Vec<Pair>, Error> {
        let mut likely: Vec<_> = likely.into_iter().collect();
        likely.sort_by_key(|(key, why)| (std::cmp::Reverse(why.size.saturating_mul(why.percent)), *key));
        likely.truncate(PAIRS_MAX);
        // Made even if present from another app: the duration must not reveal other apps (`compress`).
        let from = earlier.iter().flat_map(|side| side.record.all_from()).chain(own.all_from());
        let from: HashSet<Digest> = from.copied().collect();
        let lookups: Vec<_> = likely
            .into_iter()
            .filter(|((blob, dictionary), _)| !self.was_tried(*blob, *dictionary))
            .map(|((blob, dictionary), Likely { sha256, percent, size })| {
                let from = &from;
                async move {
                    if is_over(deadline) {
                        return Ok(None);
                    }
                    let is_there = from.contains(&dictionary)
                        && self.blobs.deltas(blob).await?.iter().any(|delta| delta.dictionary == dictionary);
                    if is_there {
                        return Ok(None);
                    }
                    let plain = self.travelling(siblings, blob, size).await?;
                    let gain = plain.saturating_mul(percent) / 100;
                    Ok::<_, Error>(Some(Pair { blob, dictionary, sha256, plain, gain }))
                }
            })
            .collect();
        let found: Vec<Option<Pair>> = stream::iter(lookups).buffer_unordered(FILES_AT_ONCE).try_collect().await?;
        let mut pairs: Vec<Pair> = found.into_iter().flatten().collect();
        pairs.sort_by_key(|pair| (std::cmp::Reverse(pair.gain), pair.blob, pair.dictionary));
        Ok(pairs)
    }

    /// Makes quick deltas of pairs in order, until `deadline` and up to the limit of bytes. Returns their number, and
    /// their dictionaries.
    pub(super) async fn make(
        &self,
        pairs: Vec<Pair>,
        pool: &Pool,
        deadline: Option<Instant>,
    ) -> Result<(usize, BTreeSet<Digest>), Error> {
        let left = AtomicU64::new(self.limits.delta_bytes_max);
        let (pairs_in_all, began) = (pairs.len(), Instant::now());
        let work: Vec<_> = pairs
            .into_iter()
            .map(|pair| {
                let encoded = self.encode_pair(pair, pool, deadline, &left);
                async move { (pair, encoded.await) }
            })
            .collect();
        let mut encoding = stream::iter(work).buffer_unordered(pool.threads());
        let (mut waiting, mut with, mut made) = (Encoded::default(), BTreeSet::new(), 0);
        while let Some((pair, deltas)) = encoding.next().await {
            if deltas.is_empty() {
                continue;
            }
            with.insert(pair.dictionary);
            waiting.add(pair.blob, deltas);
            if waiting.bytes >= ENCODED_BYTES_MAX {
                made += self.put_all(std::mem::take(&mut waiting)).await?;
            }
        }
        made += self.put_all(waiting).await?;
        tracing::debug!(pairs = pairs_in_all, deltas = made, ms = began.elapsed().as_millis(), "deltas were made");
        Ok((made, with))
    }

    /// Stores deltas of any number of files.
    async fn put_all(&self, encoded: Encoded) -> Result<usize, Error> {
        let puts = encoded.by_blob.into_iter().map(|(blob, deltas)| self.put(blob, deltas, "quick"));
        // Collected: a closure in the stream would make the future `!Send`.
        let puts: Vec<_> = puts.collect();
        let made: Vec<usize> = stream::iter(puts).buffer_unordered(FILES_AT_ONCE).try_collect().await?;
        Ok(made.iter().sum())
    }

    /// Makes the quick deltas of a pair, if worthwhile.
    pub(crate) async fn make_pair(
        &self,
        pair: Pair,
        pool: &Pool,
        deadline: Option<Instant>,
        left: &AtomicU64,
    ) -> Result<usize, Error> {
        let deltas = self.encode_pair(pair, pool, deadline, left).await;
        self.put(pair.blob, deltas, "quick").await
    }

    /// Encodes the quick deltas of a pair, if worthwhile.
    async fn encode_pair(&self, pair: Pair, pool: &Pool, deadline: Option<Instant>, left: &AtomicU64) -> Vec<NewDelta> {
        if is_over(deadline) || left.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        // A deleted dictionary has no deltas.
        let (bytes, dictionary) =
            match (self.found(Key::Blob(pair.blob)).await, self.found(Key::Blob(pair.dictionary)).await) {
                (Ok(Some(bytes)), Ok(Some(dictionary))) => (bytes, dictionary),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(blob = %pair.blob, dictionary = %pair.dictionary, %error, "a delta was not made");
                    return Vec::new();
                }
                (Ok(_), Ok(_)) => return Vec::new(),
            };
        let length = length_of(&bytes).saturating_add(length_of(&dictionary));
        let encode = move || {
            // The turn may come late, after other pushes.
            if is_over(deadline) {
                return None;
            }
            Some(
                DeltaForm::ALL
                    .map(|form| (form, delta::encode(&bytes, &dictionary, pair.sha256, form, Quality::Quick))),
            )
        };
        let Some(encoded) = pool.run(length, encode).await.flatten() else { return Vec::new() };
        let mut deltas = Vec::new();
        for (form, encoded) in encoded {
            let Some(encoded) = encoded.filter(|encoded| delta::is_worth_keeping(pair.plain, encoded.len() as u64))
            else {
                continue;
            };
            deltas.push(NewDelta {
                form,
                dictionary: pair.dictionary,
                sha256: pair.sha256,
                quality: Quality::Quick,
                bytes: encoded.into(),
            });
        }
        if deltas.is_empty() {
            self.tried_in_vain(pair.blob, pair.dictionary);
        }
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes_of(&deltas))).is_err()
        {
            left.store(0, Ordering::Relaxed);
            return Vec::new();
        }
        deltas
    }

    pub(crate) fn was_tried(&self, blob: Digest, dictionary: Digest) -> bool {
        self.tried.lock().0.contains(&(blob, dictionary))
    }

    pub(super) fn tried_in_vain(&self, blob: Digest, dictionary: Digest) {
        let mut tried = self.tried.lock();
        if tried.0.len() >= TRIED_MAX {
            tried.0.clear();
        }
        tried.0.insert((blob, dictionary));
    }

    /// Recompresses the deltas of a version at the best level. Returns their number.
    pub(crate) async fn improve(&self, app: &AppName, version: VersionId, pool: &Pool) -> Result<usize, Error> {
        let Some(record) = self.record(app, &version).await? else { return Ok(0) };
        let from: BTreeSet<Digest> = record.all_from().copied().collect();
        if from.is_empty() {
            return Ok(0);
        }
        let Some(manifest) = self.manifest(app, version).await? else { return Ok(0) };
        let hashed = self.hashed_pages(app, &version, &manifest).await?;
        let files = manifest.files.values().chain(hashed.files.values());
        let blobs: BTreeSet<Digest> = files.map(|entry| entry.hash).collect();
        let deadline = self.background_deadline();
        let blobs: Vec<Digest> = blobs.into_iter().collect();
        let deltas = self.blobs.deltas_all(blobs.clone()).await?;
        let is_quick = |one: &DeltaInfo| one.quality == Quality::Quick && from.contains(&one.dictionary);
        let blobs = blobs.into_iter().zip(deltas).filter(|(_, deltas)| deltas.iter().any(is_quick));
        let work: Vec<_> = blobs.map(|(blob, _)| self.improve_file(blob, &from, pool, deadline)).collect();
        let made: Vec<usize> = stream::iter(work).buffer_unordered(pool.threads()).try_collect().await?;
        Ok(made.iter().sum())
    }

    /// Recompresses the deltas of a file from the given dictionaries at the best level, until `deadline`. Deleted or
    /// unreadable files are skipped.
    pub(super) async fn improve_file(
        &self,
        blob: Digest,
        from: &BTreeSet<Digest>,
        pool: &Pool,
        deadline: Option<Instant>,
    ) -> Result<usize, Error> {
        if is_over(deadline) {
            return Ok(0);
        }
        let deltas = self.blobs.deltas(blob).await?;
        let quick = deltas.into_iter().filter(|one| one.quality == Quality::Quick && from.contains(&one.dictionary));
        let mut by_dictionary: HashMap<Digest, Vec<DeltaInfo>> = HashMap::new();
        quick.for_each(|one| by_dictionary.entry(one.dictionary).or_default().push(one));
        if by_dictionary.is_empty() {
            return Ok(0);
        }
        let Some(bytes) = self.found(Key::Blob(blob)).await? else { return Ok(0) };
        let mut made = Vec::new();
        for (dictionary, quick) in by_dictionary {
            // Browsers may still have a dictionary no longer stored: the quick delta stays.
            let Some(with) = self.found(Key::Blob(dictionary)).await? else { continue };
            for one in quick {
                if is_over(deadline) {
                    break;
                }
                let (bytes, with) = (bytes.clone(), with.clone());
                let length = length_of(&bytes).saturating_add(length_of(&with));
                let encode = move || delta::encode(&bytes, &with, one.sha256, one.form, Quality::Best);
                let encoded =
                    pool.run(length, encode).await.flatten().filter(|encoded| (encoded.len() as u64) < one.size);
                let bytes = match encoded {
                    Some(encoded) => encoded.into(),
                    // The quick delta is smaller: the best level keeps a copy, to avoid further attempts.
                    None => match self.found(Key::Delta(blob, dictionary, one.form)).await? {
                        Some(quick) => quick,
                        None => continue,
                    },
                };
                let DeltaInfo { form, sha256, .. } = one;
                made.push(NewDelta { form, dictionary, sha256, quality: Quality::Best, bytes });
            }
        }
        self.put(blob, made, "best").await
    }

    /// Returns the bytes of a key; `None` if deleted or damaged, as logged by the store.
    async fn found(&self, key: Key) -> Result<Option<Bytes>, Error> {
        match self.blobs.get(key).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores deltas of a file, and returns the number present afterwards: 0 for a deleted file.
    async fn put(&self, blob: Digest, deltas: Vec<NewDelta>, quality: &'static str) -> Result<usize, Error> {
        let forms: Vec<DeltaForm> = deltas.iter().map(|delta| delta.form).collect();
        if forms.is_empty() {
            return Ok(0);
        }
        match self.blobs.put_deltas(blob, deltas).await {
            Ok(()) => {}
            Err(blobs::Error::Missing(_)) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
        for form in &forms {
            counter!("devanture_deltas_made_total", "form" => form.suffix(), "quality" => quality).increment(1);
        }
        Ok(forms.len())
    }
}

impl EarlierVersion {
    /// Indexes the files used as dictionaries for look-ups.
    fn index(&self) -> Earlier<'_> {
        let serves = |(path, entry): &(&BundlePath, &FileEntry)| {
            self.record.files.contains_key(&entry.hash) && !self.kept.is_barred(path)
        };
        let files = self.manifest.files.iter().filter(serves).map(|(path, entry)| File { path, hash: entry.hash });
        Earlier::new(files, self.kept.announced(&self.manifest), &self.named)
    }

    fn predecessors(
        &self,
        index: &Earlier<'_>,
        file: File<'_>,
        places: &Places<'_>,
    ) -> Vec<(Digest, Sha256, Likeness)> {
        let found = index.predecessors(file, places).into_iter();
        found.filter_map(|(one, likeness)| Some((one.hash, *self.record.files.get(&one.hash)?, likeness))).collect()
    }
}
