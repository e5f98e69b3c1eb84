//! The built-in store: a folder of files in the format of `docs/storage.md`.
//!
//! [`folder`] does the I/O, by blocking calls; this module runs the calls off the threads that serve requests.

mod check;
mod delta_index;
mod deltas;
mod folder;
mod handles;
mod index;
mod many;
mod opened;
mod quarantine;
mod removal;
mod replacing;
#[cfg(test)]
mod tests;
mod together;
mod tree;
mod usage;
mod variants;
mod verified;

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::Digest;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub use folder::FORMAT;
use folder::{Folder, digest_of};
pub(super) use folder::{SHARDED, TMP};
use opened::OpenedFile;

use super::{
    Blobs, DeltaInfo, Error, Form, FreeSpace, Key, NewDelta, OpenedTogether, Quality, ReadAt, StoredVariant,
    UnnamedUpload, Upload, VariantInfo,
};
use devanture_base::durable::{Draft, failed};
use devanture_base::fair::{Lane, Turns};

/// Bytes of an upload that wait in memory before a write: the bound of one upload, and also the size up to which a
/// whole blob costs one trip to a blocking thread.
const PENDING_BYTES_MAX: usize = 256 * 1024;

/// Upper bound of concurrent calls on the disk. A disk gains nothing from more, and each call is a thread with a
/// lasting share of the allocator's memory: a hundred concurrent pushes would have hundreds of threads.
const CALLS_AT_ONCE: usize = 16;
/// Number of blobs in one call of a look-up or a check, so that other work gets a turn between two calls …
const PART_BLOBS: usize = 256;
/// … and the number of such calls at once.
const CHECKS_AT_ONCE: usize = 4;

/// Like [`super::check_format`].
pub(super) fn check_format(root: &Path) -> Result<(), Error> {
    folder::check_format(root)
}

/// Returns true if `root` holds a blob or a manifest. Blocks on the disk.
pub(super) fn holds_files(root: &Path) -> Result<bool, Error> {
    folder::holds_files(root)
}

/// A store in a folder.
pub(super) struct FileBlobs {
    disk: Disk,
}

/// The folder, and the turns of its users.
#[derive(Clone)]
struct Disk {
    folder: Arc<Folder>,
    turns: Arc<Turns>,
    /// The lane of the work.
    lane: Lane,
    /// The floor of free space below which uploads fail.
    floor: Option<Arc<FreeSpace>>,
}

impl FileBlobs {
    /// Opens the store in `data_dir`, with at most `open_files_max` open served files. Blocks on the disk.
    pub(super) fn open(data_dir: PathBuf, open_files_max: usize) -> Result<Self, Error> {
        Ok(Self::of(Folder::open(data_dir, open_files_max)?))
    }

    /// Like [`FileBlobs::open`], for a cache of files that a bucket has, too.
    pub(super) fn open_cache(data_dir: PathBuf, open_files_max: usize) -> Result<Self, Error> {
        Ok(Self::of(Folder::open(data_dir, open_files_max)?.into_cache()))
    }

    fn of(folder: Folder) -> Self {
        let (folder, turns) = (Arc::new(folder), Turns::new(CALLS_AT_ONCE));
        Self { disk: Disk { folder, turns, lane: Lane::EDGE, floor: None } }
    }

    /// With a floor of free space.
    pub(super) fn above(mut self, floor: Arc<FreeSpace>) -> Self {
        self.disk.floor = Some(floor);
        self
    }

    /// Returns the same store, for the work of a lane.
    pub(super) fn in_lane(&self, lane: Lane) -> Self {
        Self { disk: Disk { lane, ..self.disk.clone() } }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.disk.with(work).await
    }
}

impl Disk {
    fn check_free_space(&self) -> Result<(), Error> {
        self.floor.as_ref().map_or(Ok(()), |floor| floor.check())
    }

    /// Runs `work` on a blocking thread, when its turn comes. Started work runs to completion even if the caller is
    /// dropped.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (folder, turns) = (Arc::clone(&self.folder), Arc::clone(&self.turns));
        let lost = |error| failed("working in", self.folder.root())(std::io::Error::other(error));
        let turn = turns.take(self.lane, 1).await;
        let floor = self.floor.clone();
        let work = move || {
            let _turn = turn;
            let done = work(&folder);
            // The refusal of a write is reported at once, and not by the next check.
            if let (Err(Error::Disk(error)), Some(floor)) = (&done, floor)
                && error.is_unwritable()
                && floor.unwritable().is_none()
            {
                floor.look_whether_writable();
            }
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|panicked| lost(panicked.to_string()))?
    }
}

#[async_trait]
impl Blobs for FileBlobs {
    fn of(&self, lane: Lane) -> Arc<dyn Blobs> {
        Arc::new(self.in_lane(lane))
    }

    async fn upload(&self, key: Key) -> Result<Box<dyn Upload>, Error> {
        self.must_stand_alone(key)?;
        Ok(Box::new(FileUpload::new(&self.disk, Some(key))))
    }

    async fn upload_unnamed(&self) -> Result<Box<dyn UnnamedUpload>, Error> {
        Ok(Box::new(FileUpload::new(&self.disk, None)))
    }

    fn check_free_space(&self) -> Result<(), Error> {
        self.disk.check_free_space()
    }

    async fn put(&self, key: Key, bytes: Bytes) -> Result<(), Error> {
        self.must_stand_alone(key)?;
        self.with(move |folder| folder.put(key, &bytes)).await
    }

    async fn make_folders(&self) -> Result<(), Error> {
        self.with(Folder::make_sent).await
    }

    async fn put_all(&self, blobs: BTreeMap<Digest, Bytes>) -> Result<(), Error> {
        let disk = self.disk.clone();
        let work = move |folder: &Folder| {
            disk.check_free_space()?;
            folder.put_all(&blobs)
        };
        self.with(work).await
    }

    async fn sizes(&self, blobs: Vec<Digest>) -> Result<Vec<Option<u64>>, Error> {
        let mut sizes = Vec::with_capacity(blobs.len());
        for part in parts(&blobs) {
            sizes.extend(self.with(move |folder| folder.sizes(&part)).await?);
        }
        Ok(sizes)
    }

    async fn check_all(&self, blobs: Vec<Digest>) -> Result<(), Error> {
        let checks: Vec<_> = parts(&blobs).map(|part| self.with(move |folder| folder.check_all(&part))).collect();
        stream::iter(checks).buffer_unordered(CHECKS_AT_ONCE).try_collect().await
    }

    async fn put_variants(&self, blob: Digest, variants: Vec<(Form, Quality, Bytes)>) -> Result<(), Error> {
        self.with(move |folder| folder.put_variants(blob, &variants)).await
    }

    async fn put_variants_all(&self, variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>) -> Result<(), Error> {
        self.with(move |folder| folder.put_variants_all(&variants, false)).await
    }

    async fn put_first_variants(&self, variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>) -> Result<(), Error> {
        self.with(move |folder| folder.put_variants_all(&variants, true)).await
    }

    async fn variants_all(&self, blobs: Vec<Digest>) -> Result<Vec<Vec<StoredVariant>>, Error> {
        let mut found = Vec::with_capacity(blobs.len());
        for part in parts(&blobs) {
            found.extend(self.with(move |folder| folder.variants_all(&part)).await?);
        }
        Ok(found)
    }

    async fn get_all(&self, blobs: Vec<Digest>) -> Result<Vec<Result<Bytes, Error>>, Error> {
        let mut found = Vec::with_capacity(blobs.len());
        for part in parts(&blobs) {
            let get =
                move |folder: &Folder| Ok(part.iter().map(|digest| folder.get(Key::Blob(*digest))).collect::<Vec<_>>());
            found.extend(self.with(get).await?);
        }
        Ok(found)
    }

    async fn stored_variants(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error> {
        self.with(move |folder| folder.variants(blob)).await
    }

    async fn lacks_variants(&self, blob: Digest) -> Result<bool, Error> {
        self.with(move |folder| folder.lacks_variants(blob)).await
    }

    async fn lacking_variants(&self, blobs: Vec<Digest>) -> Result<Vec<Digest>, Error> {
        let mut lacking = Vec::new();
        for part in parts(&blobs) {
            lacking.extend(self.with(move |folder| folder.lacking_variants(part)).await?);
        }
        Ok(lacking)
    }

    async fn check_lists(&self, blob: Digest) -> Result<u64, Error> {
        self.with(move |folder| folder.check_lists(blob)).await
    }

    async fn put_deltas(&self, blob: Digest, deltas: Vec<NewDelta>) -> Result<(), Error> {
        self.with(move |folder| folder.put_deltas(blob, &deltas)).await
    }

    async fn deltas(&self, blob: Digest) -> Result<Vec<DeltaInfo>, Error> {
        self.with(move |folder| folder.deltas(blob)).await
    }

    async fn deltas_all(&self, blobs: Vec<Digest>) -> Result<Vec<Vec<DeltaInfo>>, Error> {
        let mut found = Vec::with_capacity(blobs.len());
        for part in parts(&blobs) {
            let deltas = move |folder: &Folder| part.iter().map(|blob| folder.deltas(*blob)).collect();
            found.extend(self.with::<Vec<_>>(deltas).await?);
        }
        Ok(found)
    }

    async fn size(&self, key: Key) -> Result<Option<u64>, Error> {
        self.with(move |folder| folder.size(key)).await
    }

    async fn get(&self, key: Key) -> Result<Bytes, Error> {
        self.with(move |folder| folder.get(key)).await
    }

    async fn open(&self, key: Key) -> Result<Arc<dyn ReadAt>, Error> {
        let checked = self.with(move |folder| folder.open_file(key)).await?;
        let Disk { folder, lane, .. } = &self.disk;
        Ok(Arc::new(OpenedFile { checked, folder: Arc::clone(folder), lane: *lane }))
    }

    async fn open_together(&self, blob: Digest, sought: Vec<(Form, Digest)>) -> Result<Option<OpenedTogether>, Error> {
        let Some((checked, begins)) = self.with(move |folder| folder.open_together(blob, &sought)).await? else {
            return Ok(None);
        };
        let Disk { folder, lane, .. } = &self.disk;
        let file = OpenedFile { checked, folder: Arc::clone(folder), lane: *lane };
        Ok(Some((Arc::new(file), begins)))
    }

    async fn check(&self, key: Key, bytes_per_second_max: u64) -> Result<u64, Error> {
        self.check_slowly(key, bytes_per_second_max).await
    }

    fn suspect(&self, key: Key) {
        self.disk.folder.suspect(key);
    }

    fn take_suspects(&self) -> HashSet<Key> {
        self.disk.folder.take_suspects()
    }

    fn damages(&self) -> u64 {
        self.disk.folder.damages()
    }

    async fn delete(&self, key: Key) -> Result<(), Error> {
        self.with(move |folder| folder.delete(key)).await
    }

    async fn delete_put_before(&self, key: Key, before_s: u64, for_good: bool) -> Result<Option<u64>, Error> {
        self.with(move |folder| folder.delete_put_before(key, before_s, for_good)).await
    }

    async fn list_part(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error> {
        self.with(move |folder| folder.list_part(first)).await
    }

    async fn collected(&self) -> Result<Vec<Key>, Error> {
        self.with(Folder::collected).await
    }

    async fn quarantined(&self) -> Result<u64, Error> {
        self.with(Folder::quarantined).await
    }

    async fn remove_leftovers(
        &self,
        before_s: u64,
        collected_before_s: u64,
        dry_run: bool,
    ) -> Result<(u64, u64), Error> {
        self.with(move |folder| folder.remove_leftovers(before_s, collected_before_s, dry_run)).await
    }
}

/// Splits a list into parts; each part is the work of one call.
fn parts(blobs: &[Digest]) -> impl Iterator<Item = Vec<Digest>> {
    blobs.chunks(PART_BLOBS).map(<[Digest]>::to_vec)
}

impl FileBlobs {
    /// A variant or a delta put alone would have no line in an index.
    fn must_stand_alone(&self, key: Key) -> Result<(), Error> {
        match key {
            Key::Blob(_) | Key::Manifest(_) => Ok(()),
            Key::Variant(..) | Key::Delta(..) => {
                let sentence = "a variant is put with `put_variants`, a delta with `put_deltas`";
                let source = std::io::Error::new(ErrorKind::InvalidInput, sentence);
                Err(failed("putting into", self.disk.folder.root())(source).into())
            }
        }
    }
}

/// The part of an upload that moves to a blocking thread and back.
struct Part {
    hasher: blake3::Hasher,
    draft: Option<Draft>,
    size: u64,
}

impl Part {
    fn write(&mut self, folder: &Folder, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() && self.draft.is_some() {
            return Ok(());
        }
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => none.insert(folder.draft()?),
        };
        draft.write(bytes)?;
        self.hasher.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

struct FileUpload {
    disk: Disk,
    /// `None` for a blob with an unknown hash.
    key: Option<Key>,
    /// `None` while a blocking thread has the part, and for good after an error.
    part: Option<Part>,
    pending: Vec<u8>,
}

impl FileUpload {
    fn new(disk: &Disk, key: Option<Key>) -> Self {
        let part = Part { hasher: blake3::Hasher::new(), draft: None, size: 0 };
        Self { disk: disk.clone(), key, part: Some(part), pending: Vec::new() }
    }

    fn take_part(&mut self) -> Result<Part, Error> {
        let gone =
            || failed("uploading to", self.disk.folder.root())(std::io::Error::other("the upload failed before"));
        Ok(self.part.take().ok_or_else(gone)?)
    }

    async fn flush(&mut self, bytes: Bytes) -> Result<(), Error> {
        let mut part = self.take_part()?;
        let pending = std::mem::take(&mut self.pending);
        let disk = self.disk.clone();
        let work = move |folder: &Folder| {
            disk.check_free_space()?;
            if !pending.is_empty() {
                part.write(folder, &pending)?;
            }
            part.write(folder, &bytes)?;
            Ok(part)
        };
        self.part = Some(self.disk.with(work).await?);
        Ok(())
    }
}

impl FileUpload {
    async fn add(&mut self, bytes: Bytes) -> Result<(), Error> {
        if self.part.is_some() && self.pending.len().saturating_add(bytes.len()) <= PENDING_BYTES_MAX {
            self.pending.extend_from_slice(&bytes);
            return Ok(());
        }
        self.flush(bytes).await
    }

    /// Makes the file durable under its key, or under the key of the computed hash.
    async fn keep(mut self) -> Result<(Digest, u64), Error> {
        let (key, pending) = (self.key, std::mem::take(&mut self.pending));
        let mut part = self.take_part()?;
        let disk = self.disk.clone();
        let work = move |folder: &Folder| {
            // The rest of a started upload is less than the bytes between two checks.
            if part.draft.is_none() {
                disk.check_free_space()?;
            }
            part.write(folder, &pending)?;
            let found = Digest::from(part.hasher.finalize());
            let key = key.unwrap_or(Key::Blob(found));
            let expected = digest_of(key);
            if found != expected {
                return Err(Error::Mismatch { expected, found });
            }
            let draft = match part.draft {
                Some(draft) => draft,
                None => folder.draft()?,
            };
            draft.sync()?;
            folder.keep(key, draft)?;
            Ok((found, part.size))
        };
        self.disk.with(work).await
    }
}

#[async_trait]
impl Upload for FileUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.add(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<u64, Error> {
        Ok(self.keep().await?.1)
    }
}

#[async_trait]
impl UnnamedUpload for FileUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.add(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<(Digest, u64), Error> {
        self.keep().await
    }
}
