//! Immutable bytes by name: the trait `Blobs`, and the stores: a folder of files, and a bucket shared by several nodes,
//! with a folder in front.
//!
//! A blob is checked against its name at every put and again at every read, so that no caller ever holds bytes of a
//! different hash (law 4). The stores are independent of apps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_base::fair::Lane;
use devanture_config::{Digest, VersionId};
use futures_util::future::BoxFuture;

#[cfg(test)]
mod conformance;
mod derived;
mod error;
mod fetch_report;
mod free_space;
mod fs;
mod key;
mod long_manifests;
mod open;
mod scrub;
mod survey;
mod tiered;
mod writable;

pub use derived::{DELTA_DICTIONARIES_MAX, DeltaInfo, NewDelta, Quality, StoredVariant, VariantInfo};
pub use error::Error;
pub use fetch_report::FetchReport;
pub use free_space::{FreeSpace, Room, SHARE_MAX};
pub use fs::FORMAT;
pub use key::{DeltaForm, Form, Key};
#[cfg(any(test, feature = "testing"))]
pub use long_manifests::LONG_MANIFESTS_AT_ONCE;
pub use long_manifests::{ManifestTurns, SHORT_MANIFEST_BYTES_MAX};
pub use open::{Bounds, OPEN_FILES_MAX, check_format, holds_files, open, open_within};
pub use scrub::{Pace, scrub};
pub use survey::{CacheUse, Survey};
pub use tiered::{EvictReport, ProbeCheck, ProbeReport, TieredBlobs, open_tiered, probe, variants_object};
pub use writable::check_folders;

/// An upload of a blob: bytes are written on arrival, and count only after [`Upload::finish`] was awaited.
///
/// An upload dropped before `finish` leaves no file behind.
#[async_trait]
pub trait Upload: Send {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Checks the hash of all written bytes and makes the blob durable under its name. Returns the length in bytes.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Disk`]; no file is left behind then.
    async fn finish(self: Box<Self>) -> Result<u64, Error>;
}

/// An upload of a blob with an unknown hash: the hash is computed during the writes.
///
/// An upload dropped before [`UnnamedUpload::finish`] was awaited leaves no file behind.
#[async_trait]
pub trait UnnamedUpload: Send {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Makes all written bytes durable as a blob. Returns the hash and the length in bytes.
    ///
    /// # Errors
    /// [`Error::Disk`]; no file is left behind then.
    async fn finish(self: Box<Self>) -> Result<(Digest, u64), Error>;
}

/// An opened blob or variant: readable from any thread, at any offset, and after the file is deleted.
pub trait ReadAt: Send + Sync {
    /// Reads at most `len` bytes from `offset`; fewer only at the end. Blocks on the disk: call the method from
    /// `spawn_blocking`, never on a thread that serves requests.
    ///
    /// # Errors
    /// Errors of the system; [`std::io::ErrorKind::InvalidData`] if the bytes differ from the stored bytes.
    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Bytes>;

    /// Like [`ReadAt::read_at`], without waiting for the disk: `None` if any of the bytes would need a wait, or where
    /// the answer is unknown. May be called on a thread that serves requests.
    ///
    /// # Errors
    /// Errors of the system.
    fn read_cached(&self, _offset: u64, _len: usize) -> std::io::Result<Option<Bytes>> {
        Ok(None)
    }

    /// Like [`ReadAt::read_at`], on a thread that may block, in the turn of the lane for which the file was opened.
    ///
    /// # Errors
    /// Like [`ReadAt::read_at`].
    fn read_in_turn(self: Arc<Self>, offset: u64, len: usize) -> BoxFuture<'static, std::io::Result<Bytes>>
    where
        Self: 'static,
    {
        Box::pin(read_on_a_thread(move || self.read_at(offset, len)))
    }

    /// Returns the length in bytes.
    fn size(&self) -> u64;

    /// Returns the bytes of memory that the open file takes.
    fn held_bytes(&self) -> usize {
        0
    }

    /// Returns true if a read found bytes that differ from the stored bytes.
    fn is_damaged(&self) -> bool {
        false
    }
}

/// Reads on a thread that may block on the disk.
async fn read_on_a_thread(read: impl FnOnce() -> std::io::Result<Bytes> + Send + 'static) -> std::io::Result<Bytes> {
    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other).flatten()
}

/// Variants opened as one file, and the offset of each in the file.
pub type OpenedTogether = (Arc<dyn ReadAt>, Vec<u64>);

/// A store of immutable bytes. Every put is idempotent and durable when the call returns.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// The same store, for the work of this lane: on a busy disk the lanes take turns.
    fn of(&self, lane: Lane) -> Arc<dyn Blobs>;

    /// Begins an upload, piece by piece, of the blob or manifest `key`. Bytes already stored under `key` are replaced
    /// by the same bytes: damage is repaired, the age in [`Blobs::list`] starts again, and the duration of a put does
    /// not reveal the presence of a blob.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn upload(&self, key: Key) -> Result<Box<dyn Upload>, Error>;

    /// Begins an upload of a blob with an unknown hash, such as a file in an archive; otherwise like [`Blobs::upload`].
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn upload_unnamed(&self) -> Result<Box<dyn UnnamedUpload>, Error>;

    /// Checks that the disk has room for new files beyond the space to be left free. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Short`], [`Error::OutOfFiles`] and [`Error::Disk`].
    fn check_free_space(&self) -> Result<(), Error>;

    /// Creates missing folders of blobs and manifests, for restored files after an operator removed the folders. No put
    /// creates these folders. A store with a second home for its files creates the folders as needed.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn make_folders(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Puts the whole blob or manifest `key`.
    ///
    /// # Errors
    /// Like [`Upload::finish`].
    async fn put(&self, key: Key, bytes: Bytes) -> Result<(), Error>;

    /// Puts several small whole blobs. At the return of the call all blobs are durable under their names, and were read
    /// back. After an error some of the blobs may be stored, each of them whole.
    ///
    /// # Errors
    /// Like [`Upload::finish`].
    async fn put_all(&self, blobs: BTreeMap<Digest, Bytes>) -> Result<(), Error>;

    /// Like [`Blobs::size`], for many blobs, in their order.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn sizes(&self, blobs: Vec<Digest>) -> Result<Vec<Option<u64>>, Error>;

    /// Reads blobs and compares the hashes, except for blobs already read back or checked by this process since the
    /// last put.
    ///
    /// # Errors
    /// Like [`Blobs::get`].
    async fn check_all(&self, blobs: Vec<Digest>) -> Result<(), Error>;

    /// Puts variants of one blob together, and replaces variants of the same form and lower quality. Afterwards
    /// [`Blobs::variants`] knows either all of the variants or none. An empty list records that no variant is worth
    /// storing.
    ///
    /// # Errors
    /// [`Error::Missing`] if the blob is not stored (any more); [`Error::Disk`].
    async fn put_variants(&self, blob: Digest, variants: Vec<(Form, Quality, Bytes)>) -> Result<(), Error>;

    /// Like [`Blobs::put_variants`], for many blobs; variants of blobs that are not stored (any more) are left out.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn put_variants_all(&self, variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>) -> Result<(), Error>;

    /// Like [`Blobs::put_variants_all`], for the first variants of these blobs from an app: where variants exist
    /// already, as from a second app, quick variants are kept beside them, in the forms of [`Form::kept_quick`].
    ///
    /// # Errors
    /// Like [`Blobs::put_variants_all`].
    async fn put_first_variants(&self, variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>) -> Result<(), Error>;

    /// Like [`Blobs::variants`], for many blobs, in the given order; includes variants kept beside better ones, and the
    /// bytes of variants if available without a read.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn variants_all(&self, blobs: Vec<Digest>) -> Result<Vec<Vec<StoredVariant>>, Error>;

    /// Like [`Blobs::get`], for many small blobs, in their order.
    ///
    /// # Errors
    /// [`Error::Disk`] if none of the blobs can be read.
    async fn get_all(&self, blobs: Vec<Digest>) -> Result<Vec<Result<Bytes, Error>>, Error>;

    /// Returns the variants of a blob, without variants kept beside better ones; empty without variants, or with an
    /// unreadable list.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn variants(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error> {
        let mut variants = self.stored_variants(blob).await?;
        variants.retain(|variant| !variant.form.is_kept_quick());
        Ok(variants)
    }

    /// Like [`Blobs::variants`], including variants kept beside better ones.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn stored_variants(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error>;

    /// Returns true if variants of a blob have disappeared or were never put, as after a restore without variants.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn lacks_variants(&self, blob: Digest) -> Result<bool, Error>;

    /// Returns the blobs that lack variants ([`Blobs::lacks_variants`]), in the given order.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn lacking_variants(&self, blobs: Vec<Digest>) -> Result<Vec<Digest>, Error>;

    /// Checks that the lists of a blob's variants and deltas can be read, and sets unreadable lists aside, so that
    /// variants and deltas are made again. Returns the number of lists set aside.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn check_lists(&self, blob: Digest) -> Result<u64, Error>;

    /// Puts deltas of one blob together, and replaces deltas of the same dictionary and form and of lower quality.
    /// Afterwards either all of them are known to [`Blobs::deltas`] or none; beyond [`DELTA_DICTIONARIES_MAX`] the
    /// oldest are removed.
    ///
    /// # Errors
    /// [`Error::Missing`] if the blob is not stored (any more); [`Error::Disk`].
    async fn put_deltas(&self, blob: Digest, deltas: Vec<NewDelta>) -> Result<(), Error>;

    /// Returns the deltas of a blob, in the order of the puts; empty without deltas, or with an unreadable list.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn deltas(&self, blob: Digest) -> Result<Vec<DeltaInfo>, Error>;

    /// Like [`Blobs::deltas`], for many blobs, in their order.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn deltas_all(&self, blobs: Vec<Digest>) -> Result<Vec<Vec<DeltaInfo>>, Error>;

    /// Returns the length of the bytes stored under `key`, or `None`; the bytes are not checked.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn size(&self, key: Key) -> Result<Option<u64>, Error>;

    /// Returns all bytes of `key`, checked against the hash.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Corrupt`] after the bytes were set aside; [`Error::Disk`].
    async fn get(&self, key: Key) -> Result<Bytes, Error>;

    /// Opens `key` for reads in pieces. All bytes are checked first, once in the life of the process.
    ///
    /// # Errors
    /// Like [`Blobs::get`].
    async fn open(&self, key: Key) -> Result<Arc<dyn ReadAt>, Error>;

    /// Opens small variants of a blob, given by their hashes, as one file, and returns the offset of each variant. All
    /// bytes are checked. `None` if a variant differs from the request, or if each variant has to be opened alone.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn open_together(&self, blob: Digest, sought: Vec<(Form, Digest)>) -> Result<Option<OpenedTogether>, Error>;

    /// Reads all bytes of `key` from the disk, at most `bytes_per_second_max` a second, and checks the hash. Returns
    /// the number of bytes.
    ///
    /// # Errors
    /// Like [`Blobs::get`].
    async fn check(&self, key: Key, bytes_per_second_max: u64) -> Result<u64, Error>;

    /// Records that a reader found no whole bytes of a blob or a manifest.
    fn suspect(&self, key: Key);

    /// Returns the blobs and manifests that were found damaged, or were suspected, since the last call; at most a few
    /// thousand. Versions with a copy in memory go on with the copy.
    fn take_suspects(&self) -> HashSet<Key>;

    /// Returns the number of opened files that were found damaged during a read ([`ReadAt::is_damaged`]).
    fn damages(&self) -> u64;

    /// Brings a version from the shared store to the disk of this node: the manifest, the blobs and their variants.
    /// Returns the cost. A store of one node has all files already.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] for objects that the shared store lacks or has with different bytes;
    /// [`Error::Remote`]; [`Error::Disk`] and [`Error::Short`].
    async fn fetch(&self, _version: VersionId, _blobs: Vec<Digest>) -> Result<FetchReport, Error> {
        Ok(FetchReport::default())
    }

    /// Returns the lengths of the blobs and manifests in the bucket of several nodes, by one listing; `None` for a
    /// store of one node. Files put during the listing may be missing.
    ///
    /// # Errors
    /// [`Error::Remote`].
    async fn shared_sizes(&self) -> Result<Option<HashMap<Key, u64>>, Error> {
        Ok(None)
    }

    /// Compares the shared object of a blob or manifest with the copy of this node: the length, and, if
    /// `_bytes_per_second_max` is given, the hash, read at that rate. Objects without a copy on this node are left to
    /// [`Blobs::check`].
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] of the object; [`Error::Remote`].
    async fn check_shared(&self, _key: Key, _bytes_per_second_max: Option<u64>) -> Result<(), Error> {
        Ok(())
    }

    /// Stores a blob or manifest again, from the copy of this node, if [`Blobs::check_shared`] finds the shared object
    /// missing or changed. Meant only for files that a version refers to. Returns true if the object was stored.
    ///
    /// # Errors
    /// [`Error::Remote`] and [`Error::Disk`].
    async fn mend(&self, _key: Key, _bytes_per_second_max: Option<u64>) -> Result<bool, Error> {
        Ok(false)
    }

    /// Returns true if several nodes share the store, so that the disk of this node does not limit the store's space.
    fn is_shared(&self) -> bool {
        false
    }

    /// Deletes `key`: a variant, a delta, a manifest, or a blob with its variants and deltas. Deltas for which the blob
    /// is the dictionary stay. Deleting a missing key is no error. After a crash the file may be back, whole.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn delete(&self, key: Key) -> Result<(), Error>;

    /// Collects a blob or a manifest with a last put before `before_s`, in seconds since 1970. Variants and deltas of a
    /// blob are deleted. The file counts as missing from then on, but unless `for_good` is set a store may keep the
    /// bytes until [`Blobs::remove_leftovers`]; until then [`Blobs::get`] and [`Blobs::open`] restore the file. Returns
    /// the bytes of all removed files; `None` if the file does not exist, or was put since.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn delete_put_before(&self, key: Key, before_s: u64, for_good: bool) -> Result<Option<u64>, Error>;

    /// Returns every blob and manifest with its length and the time of the last put, in seconds since 1970, in no
    /// order. Also removes variants and deltas without a blob.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn list(&self) -> Result<Vec<(Key, u64, u64)>, Error> {
        let mut all = Vec::new();
        for first in 0..=u8::MAX {
            all.extend(self.list_part(first).await?);
        }
        Ok(all)
    }

    /// Like [`Blobs::list`], for digests that begin with the byte `first`, so that only a part of the list is in
    /// memory.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn list_part(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error>;

    /// Returns the blobs and manifests on the disk of this node with digests beginning with the byte `first`.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn held_part(&self, first: u8) -> Result<Vec<Key>, Error> {
        Ok(self.list_part(first).await?.into_iter().map(|(key, ..)| key).collect())
    }

    /// Returns the collected blobs and manifests that can be restored, in no order.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn collected(&self) -> Result<Vec<Key>, Error>;

    /// Returns the number of files that were set aside as damaged and are not removed yet.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn quarantined(&self) -> Result<u64, Error>;

    /// Removes damaged and half-written files older than `before_s`, and collected files older than
    /// `collected_before_s`, both in seconds since 1970; only counts with `dry_run`. Returns the number of files and of
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn remove_leftovers(
        &self,
        before_s: u64,
        collected_before_s: u64,
        dry_run: bool,
    ) -> Result<(u64, u64), Error>;
}
