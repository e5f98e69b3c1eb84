//! Copies a whole store to another store, possibly of another kind, while edges serve from the source: records by
//! difference, missing files by name.
//!
//! Each step can be repeated without copying again, so an interrupted copy can resume, and the last difference, for
//! which changes are paused, is small.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_base::durable::{failed, open_file};
use devanture_config::Digest;
use devanture_config::api::DamagedVersion;
use devanture_store::blobs::{Blobs, Key};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Catalog, Change};
use devanture_store::s3::{Bucket, LargeUpload};
use devanture_store::{blobs, catalog, records, s3};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};

use super::location::bad;
use super::references::{self, Look, Manifests};
use crate::ledger::{Error, is_copied, lost, write_copied};

// Files of a copied store, read while edges serve the store: blobs and manifests never change, so a folder
// or a bucket is read in place.

/// Bytes per read of a file.
const PIECE_BYTES: usize = 1_024 * 1_024;
/// Folder of manifests, in a data folder and in a bucket.
const MANIFESTS: &str = "manifests";

/// Location of the files.
pub enum StoredFiles {
    /// Bucket shared by nodes.
    Bucket(Bucket),
    /// Data folder of an edge.
    Folder(PathBuf),
}

/// File being read.
struct FileToCopy {
    /// Length in bytes.
    size: u64,
    pieces: FilePieces,
}

enum FilePieces {
    Local { file: Option<File>, path: PathBuf },
    Remote(BoxStream<'static, Result<Bytes, s3::Error>>),
}

impl StoredFiles {
    /// Opens a file; `None` if absent.
    async fn open(&self, key: Key) -> Result<Option<FileToCopy>, Error> {
        let Some(path) = key.path() else { return Ok(None) };
        match self {
            Self::Folder(folder) => {
                let path = folder.join(path);
                let opened = blocking(move || open(&path)).await?;
                Ok(opened.map(|(file, path, size)| FileToCopy {
                    size,
                    pieces: FilePieces::Local { file: Some(file), path },
                }))
            }
            Self::Bucket(bucket) => {
                let opened = bucket.open(&path).await?;
                Ok(opened.map(|found| FileToCopy { size: found.entry.size, pieces: FilePieces::Remote(found.pieces) }))
            }
        }
    }

    /// Returns all manifests, including those of gone versions, whose names still count.
    async fn manifests(&self) -> Result<Vec<Key>, Error> {
        match self {
            Self::Folder(folder) => {
                let root = folder.clone();
                blocking(move || manifests_below(&root)).await
            }
            Self::Bucket(bucket) => {
                let (mut listed, mut found) = (bucket.list(MANIFESTS), Vec::new());
                while let Some(entry) = listed.next().await {
                    found.extend(Key::of_path(&entry?.path));
                }
                Ok(found)
            }
        }
    }
}

impl FileToCopy {
    /// Returns the next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.pieces {
            FilePieces::Remote(pieces) => Ok(pieces.next().await.transpose()?),
            FilePieces::Local { file, path } => {
                let Some(mut opened) = file.take() else { return Ok(None) };
                let path = path.clone();
                let (piece, opened) = blocking(move || {
                    let mut piece = Vec::new();
                    let read = (&mut opened).take(PIECE_BYTES as u64).read_to_end(&mut piece);
                    read.map_err(failed("reading", &path))?;
                    Ok((Bytes::from(piece), opened))
                })
                .await?;
                if piece.is_empty() {
                    return Ok(None);
                }
                *file = Some(opened);
                Ok(Some(piece))
            }
        }
    }
}

#[async_trait]
impl Manifests for StoredFiles {
    async fn canonical(&self, key: Key) -> Result<Option<Bytes>, Error> {
        let Some(mut reading) = self.open(key).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        while let Some(piece) = reading.next().await? {
            bytes.extend_from_slice(&piece);
        }
        let (Key::Blob(expected) | Key::Manifest(expected)) = key else { return Ok(None) };
        Ok((Digest::of(&bytes) == expected).then(|| bytes.into()))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| lost(&error))?
}

fn open(path: &Path) -> Result<Option<(File, PathBuf, u64)>, Error> {
    let file = match open_file(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", path)(error).into()),
    };
    let size = file.metadata().map_err(failed("reading", path))?.len();
    Ok(Some((file, path.to_owned(), size)))
}

fn manifests_below(root: &Path) -> Result<Vec<Key>, Error> {
    let (mut folders, mut found) = (vec![root.join(MANIFESTS)], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // An edge without stored files.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("reading", &folder)(error).into()),
        };
        for entry in entries {
            let path = entry.map_err(failed("reading", &folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(path) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                found.extend(Key::of_path(path));
            }
        }
    }
    Ok(found)
}

// Copies records: both stores list their records in key order, and differences are written.

/// Changes per commit; etcd accepts 126.
const BATCH_CHANGES_MAX: usize = 100;
/// Bytes per commit; etcd accepts 1.5 MiB.
const BATCH_BYTES_MAX: usize = 1_024 * 1_024;

/// Record: key and value.
type RecordPair = (String, Arc<[u8]>);

/// Source of the records to copy.
#[async_trait]
pub trait RecordSource: Send + Sync {
    /// Returns the next records after the key `after`, in key order; empty at the end.
    async fn page(&self, after: Option<&str>) -> Result<Vec<RecordPair>, Error>;
}

/// Result of a comparison of all records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Copied records.
    pub records: u64,
    /// Missing or different records among these.
    pub written: u64,
    /// Records deleted in the target, absent from the source.
    pub removed: u64,
    /// Keys of records too large for the target; an edge makes the records again.
    pub left_out: BTreeSet<String>,
}

/// Makes the records of `target` equal to those of `source`. Concurrent changes of the source may be missing.
///
/// # Errors
/// Errors of both stores.
pub async fn copy_records(source: &dyn RecordSource, target: &dyn Catalog) -> Result<Copied, Error> {
    let mut batch = ChangeBatch { target, changes: Vec::new(), bytes: 0, left_out: BTreeSet::new() };
    let mut copied = Copied::default();
    let mut pairs = MergedRecords::of(source, target);
    while let Some(pair) = pairs.next().await? {
        copied.records = copied.records.saturating_add(u64::from(!matches!(pair, RecordDifference::Surplus(_))));
        match pair {
            RecordDifference::None => {}
            RecordDifference::Missing((key, value)) => {
                copied.written = copied.written.saturating_add(1);
                batch.add(Change::Put(key, value)).await?;
            }
            RecordDifference::Surplus(key) => {
                copied.removed = copied.removed.saturating_add(1);
                batch.add(Change::Delete(key)).await?;
            }
        }
    }
    batch.write().await?;
    copied.left_out = batch.left_out;
    Ok(copied)
}

/// Compares all records, except those of `left_out`. Returns their number, and the key of the first difference.
///
/// # Errors
/// Errors of both stores.
pub async fn compare_records(
    source: &dyn RecordSource,
    target: &dyn Catalog,
    left_out: &BTreeSet<String>,
) -> Result<(u64, Option<String>), Error> {
    let mut count: u64 = 0;
    let mut pairs = MergedRecords::of(source, target);
    while let Some(pair) = pairs.next().await? {
        count = count.saturating_add(1);
        match pair {
            RecordDifference::None => {}
            RecordDifference::Missing((key, _)) | RecordDifference::Surplus(key) => {
                if !left_out.contains(&key) {
                    return Ok((count, Some(key)));
                }
            }
        }
    }
    Ok((count, None))
}

/// Difference of a key between the stores.
enum RecordDifference {
    /// Equal.
    None,
    /// Missing in the target, or with another value.
    Missing(RecordPair),
    /// Only in the target.
    Surplus(String),
}

/// Both lists, merged.
struct MergedRecords<'p> {
    source: &'p dyn RecordSource,
    page: vec::IntoIter<RecordPair>,
    after: Option<String>,
    is_at_end: bool,
    target: Scan<'p>,
    theirs: Option<RecordPair>,
    ours: Option<RecordPair>,
    has_begun: bool,
}

impl<'p> MergedRecords<'p> {
    fn of(source: &'p dyn RecordSource, target: &'p dyn Catalog) -> Self {
        Self {
            source,
            page: Vec::new().into_iter(),
            after: None,
            is_at_end: false,
            target: Scan::new(target, ""),
            theirs: None,
            ours: None,
            has_begun: false,
        }
    }

    async fn next(&mut self) -> Result<Option<RecordDifference>, Error> {
        if !self.has_begun {
            self.has_begun = true;
            self.theirs = self.next_theirs().await?;
            self.ours = self.next_ours().await?;
        }
        let order = match (&self.theirs, &self.ours) {
            (None, None) => return Ok(None),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((theirs, _)), Some((ours, _))) => theirs.as_bytes().cmp(ours.as_bytes()),
        };
        let (mut theirs, mut ours) = (None, None);
        if order.is_le() {
            let next = self.next_theirs().await?;
            theirs = std::mem::replace(&mut self.theirs, next);
        }
        if order.is_ge() {
            let next = self.next_ours().await?;
            ours = std::mem::replace(&mut self.ours, next);
        }
        Ok(match (theirs, ours) {
            (Some((_, theirs)), Some((_, ours))) if theirs == ours => Some(RecordDifference::None),
            (Some(pair), _) => Some(RecordDifference::Missing(pair)),
            (None, Some((key, _))) => Some(RecordDifference::Surplus(key)),
            (None, None) => None,
        })
    }

    async fn next_theirs(&mut self) -> Result<Option<RecordPair>, Error> {
        loop {
            if let Some(pair) = self.page.next() {
                if is_copied(&pair.0) {
                    return Ok(Some(pair));
                }
                continue;
            }
            if self.is_at_end {
                return Ok(None);
            }
            let page = self.source.page(self.after.as_deref()).await?;
            match page.last() {
                Some((last, _)) => self.after = Some(last.clone()),
                None => self.is_at_end = true,
            }
            self.page = page.into_iter();
        }
    }

    async fn next_ours(&mut self) -> Result<Option<RecordPair>, Error> {
        while let Some((key, record)) = self.target.next().await? {
            if is_copied(&key) {
                return Ok(Some((key, record.value)));
            }
        }
        Ok(None)
    }
}

/// Changes of a commit.
struct ChangeBatch<'b> {
    target: &'b dyn Catalog,
    changes: Vec<Change>,
    bytes: usize,
    left_out: BTreeSet<String>,
}

impl ChangeBatch<'_> {
    async fn add(&mut self, change: Change) -> Result<(), Error> {
        let bytes = match &change {
            Change::Put(key, value) => key.len().saturating_add(value.len()),
            Change::Delete(key) => key.len(),
        };
        if self.changes.len() >= BATCH_CHANGES_MAX || self.bytes.saturating_add(bytes) > BATCH_BYTES_MAX {
            self.write().await?;
        }
        self.changes.push(change);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        let changes = std::mem::take(&mut self.changes);
        self.bytes = 0;
        if changes.is_empty() {
            return Ok(());
        }
        // A record too large for any commit is alone in its commit.
        let alone = match changes.as_slice() {
            [Change::Put(key, _)] => Some(key.clone()),
            _ => None,
        };
        match (write_copied(self.target, changes).await, alone) {
            (Ok(()), _) => Ok(()),
            (Err(catalog::Error::TooLarge { .. }), Some(key)) if key.starts_with(records::DICTIONARIES_PREFIX) => {
                self.left_out.insert(key);
                Ok(())
            }
            (Err(catalog::Error::TooLarge { reason }), Some(key)) => {
                let detail = format!("The store to copy to does not take the record {key}: {reason}.");
                Err(bad(detail, "remove what the record is of, or some of it: etcd takes 1.5 MiB in one record"))
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}

// Target of a copy: the folder of an edge, or a bucket. Each file is verified before getting its name.

/// Concurrent copies into a folder …
const PARALLEL_FOLDER: usize = 4;
/// … and into a bucket, each of which takes at most 8 MiB of memory.
const PARALLEL_BUCKET: usize = 16;

/// Target of copied files.
pub enum FileTarget {
    /// Bucket. The disks of its nodes fetch files on demand.
    Bucket(Bucket),
    /// Store of an edge in its data folder.
    Folder(Arc<dyn Blobs>),
}

impl FileTarget {
    const fn parallel(&self) -> usize {
        match self {
            Self::Bucket(_) => PARALLEL_BUCKET,
            Self::Folder(_) => PARALLEL_FOLDER,
        }
    }

    /// Returns all present blobs and manifests.
    async fn keys(&self) -> Result<HashSet<Key>, Error> {
        let mut keys = HashSet::new();
        match self {
            Self::Folder(blobs) => {
                for first in 0..=u8::MAX {
                    keys.extend(blobs.list_part(first).await?.into_iter().map(|(key, ..)| key));
                }
            }
            Self::Bucket(bucket) => {
                for folder in ["blobs", "manifests"] {
                    let mut listed = bucket.list(folder);
                    while let Some(entry) = listed.next().await {
                        keys.extend(Key::of_path(&entry?.path));
                    }
                }
            }
        }
        Ok(keys)
    }

    /// Writes a file. Returns its length in bytes; `None` if the bytes do not match the name, and nothing is written.
    async fn put(&self, key: Key, from: FileToCopy) -> Result<Option<u64>, Error> {
        match self {
            Self::Folder(blobs) => put_in_folder(&**blobs, key, from).await,
            Self::Bucket(bucket) => put_in_bucket(bucket, key, from).await,
        }
    }
}

async fn put_in_folder(blobs: &dyn Blobs, key: Key, mut from: FileToCopy) -> Result<Option<u64>, Error> {
    let mut upload = blobs.upload(key).await?;
    while let Some(piece) = from.next().await? {
        upload.write(piece).await?;
    }
    match upload.finish().await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(blobs::Error::Mismatch { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn put_in_bucket(bucket: &Bucket, key: Key, mut from: FileToCopy) -> Result<Option<u64>, Error> {
    let (Some(path), Key::Blob(expected) | Key::Manifest(expected)) = (key.path(), key) else { return Ok(None) };
    let (mut hasher, mut size) = (blake3::Hasher::new(), 0_u64);
    if from.size < LargeUpload::BYTES_MIN {
        let mut pieces: Vec<Bytes> = Vec::new();
        // A file that grows while read does not match its name.
        while let Some(piece) = from.next().await?.filter(|_| size < LargeUpload::BYTES_MIN) {
            hasher.update(&piece);
            size = size.saturating_add(piece.len() as u64);
            pieces.push(piece);
        }
        if Digest::from(hasher.finalize()) != expected {
            return Ok(None);
        }
        bucket.write(&path, pieces).await?;
        return Ok(Some(size));
    }
    let mut upload = bucket.write_large(&path).await?;
    let sent = async {
        while let Some(piece) = from.next().await? {
            hasher.update(&piece);
            size = size.saturating_add(piece.len() as u64);
            upload.write(piece).await?;
        }
        Ok::<_, Error>(())
    };
    let sent = sent.await;
    if sent.is_ok() && Digest::from(hasher.finalize()) == expected {
        upload.finish().await?;
        return Ok(Some(size));
    }
    upload.abort().await;
    sent.map(|()| None)
}

// Copies missing files referenced by records, several at a time.

/// Progress of a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Copied files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Reports progress.
type Report<'r> = &'r (dyn Fn(Progress) + Send + Sync);

/// Copied file with its length; `None` for a missing or damaged file.
type TransferredFile = (Key, Option<u64>);

/// Copies files from one store to another.
pub struct Transfer<'t> {
    from: &'t StoredFiles,
    to: &'t FileTarget,
    report: Report<'t>,
    /// Files present or being copied.
    present: HashSet<Key>,
    /// Files examined by the pass.
    looked: HashSet<Key>,
    /// Files found missing or damaged by the pass.
    damaged: HashSet<Key>,
    under_way: FuturesUnordered<BoxFuture<'t, Result<TransferredFile, Error>>>,
    progress: Progress,
}

/// Files of all versions, after a pass.
pub struct Pass {
    /// Versions.
    pub versions: u64,
    /// Their files, and manifests kept for their names.
    pub files: u64,
    /// Versions with missing files.
    pub damaged: Vec<DamagedVersion>,
}

impl<'t> Transfer<'t> {
    /// Lists the present files.
    ///
    /// # Errors
    /// Errors of the target.
    pub async fn begin(from: &'t StoredFiles, to: &'t FileTarget, report: Report<'t>) -> Result<Self, Error> {
        Ok(Self {
            from,
            to,
            report,
            present: to.keys().await?,
            looked: HashSet::new(),
            damaged: HashSet::new(),
            under_way: FuturesUnordered::new(),
            progress: Progress::default(),
        })
    }

    /// Returns the progress.
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// Copies all files referenced by the records of `catalog`. Damaged or missing files are not copied, and their
    /// versions are reported.
    ///
    /// # Errors
    /// Errors of both stores.
    pub async fn pass(&mut self, catalog: &dyn Catalog) -> Result<Pass, Error> {
        // Files may have been repaired or pushed again.
        self.damaged.clear();
        self.looked.clear();
        let from = self.from;
        let mut gone = references::go_through(catalog, from, None, self).await?;
        for key in from.manifests().await? {
            self.look(key).await?;
        }
        self.finish().await?;
        let files = u64::try_from(self.looked.len()).unwrap_or(u64::MAX);
        if !self.damaged.is_empty() {
            // Some files were found damaged only during the copy: a second pass finds their versions.
            gone = references::go_through(catalog, from, None, self).await?;
            self.finish().await?;
        }
        Ok(Pass { versions: gone.versions, files, damaged: gone.damaged })
    }

    async fn finish(&mut self) -> Result<(), Error> {
        while self.wait().await? {}
        Ok(())
    }

    /// Waits for a file. Returns false if none is running.
    async fn wait(&mut self) -> Result<bool, Error> {
        let Some((key, copied)) = self.under_way.next().await.transpose()? else { return Ok(false) };
        if let Some(bytes) = copied {
            self.progress.files = self.progress.files.saturating_add(1);
            self.progress.bytes = self.progress.bytes.saturating_add(bytes);
            (self.report)(self.progress);
        } else {
            self.present.remove(&key);
            self.damaged.insert(key);
        }
        Ok(true)
    }
}

#[async_trait]
impl Look for Transfer<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        self.looked.insert(key);
        if self.present.contains(&key) {
            return Ok(true);
        }
        if self.damaged.contains(&key) {
            return Ok(false);
        }
        while self.under_way.len() >= self.to.parallel() {
            self.wait().await?;
        }
        let (from, to) = (self.from, self.to);
        self.present.insert(key);
        self.under_way.push(Box::pin(async move {
            let Some(reading) = from.open(key).await? else { return Ok((key, None)) };
            Ok((key, to.put(key, reading).await?))
        }));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devanture_store::catalog::open;
    use proptest::prelude::*;

    use super::*;

    /// A store with a given number of records per page.
    struct Source(BTreeMap<String, Arc<[u8]>>, usize);

    #[async_trait]
    impl RecordSource for Source {
        async fn page(&self, after: Option<&str>) -> Result<Vec<RecordPair>, Error> {
            let records = self.0.iter().map(|(key, value)| (key.clone(), Arc::clone(value)));
            Ok(records.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after)).take(self.1).collect())
        }
    }

    fn all(keys: &[(u8, u8)]) -> BTreeMap<String, Arc<[u8]>> {
        let key = |number: u8| match number {
            0 => "nodes/edge-1".to_owned(),
            1 => "copy".to_owned(),
            2 => "changes-paused".to_owned(),
            3 => "sent/shop/1/2".to_owned(),
            number => format!("tokens/{number}"),
        };
        keys.iter().map(|(number, value)| (key(*number), vec![*value].into())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_copy_has_what_its_source_has_and_nothing_that_is_of_nodes(
            source in prop::collection::vec((0..12_u8, 0..2_u8), 0..12),
            target in prop::collection::vec((4..12_u8, 0..2_u8), 0..12),
            page in 1..4_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let folder = tempfile::tempdir().unwrap();
                let catalog = open(&folder.path().join("catalog.redb")).unwrap();
                let (source, target) = (Source(all(&source), page), all(&target));
                let earlier = target.iter().map(|(key, value)| Change::Put(key.clone(), Arc::clone(value)));
                write_copied(&*catalog, earlier.collect()).await.unwrap();
                let mut expected = source.0.clone();
                expected.retain(|key, _| key.starts_with("tokens/"));
                let is_same = expected == target;
                let differs = compare_records(&source, &*catalog, &BTreeSet::new()).await.unwrap().1;
                assert_eq!(differs.is_none(), is_same);
                let copied = copy_records(&source, &*catalog).await.unwrap();
                assert_eq!(copied.written > 0 || copied.removed > 0, !is_same);
                assert_eq!(copied.records, expected.len() as u64);
                let listed = catalog.list("", None, false, 100).await.unwrap();
                let found: BTreeMap<_, _> = listed.into_iter().map(|(key, record)| (key, record.value)).collect();
                assert_eq!(found, expected);
                let compared = compare_records(&source, &*catalog, &BTreeSet::new()).await.unwrap();
                assert_eq!(compared, (expected.len() as u64, None));
            });
        }
    }
}
