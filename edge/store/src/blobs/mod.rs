//! Immutable bytes by name: the trait `Blobs`, and the stores behind it: a folder of files, and a bucket that nodes
//! share, with a folder in front.
//!
//! A blob is checked against its name when it is put, and again when it is read, so that no caller ever
//! holds bytes that are not what they say (law 4). Nothing here knows an app.

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

/// A blob that is being put: bytes are written as they come, and count only once [`Upload::finish`] was awaited.
///
/// Dropped before that, it leaves nothing behind.
#[async_trait]
pub trait Upload: Send {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Checks the hash of all that was written and makes it durable under its name. Returns its length in bytes.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Disk`]; nothing is left behind then.
    async fn finish(self: Box<Self>) -> Result<u64, Error>;
}

/// A blob that is being put before anybody knows its hash: its name is found while it is written.
///
/// Dropped before [`UnnamedUpload::finish`] was awaited, it leaves nothing behind.
#[async_trait]
pub trait UnnamedUpload: Send {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Makes all that was written durable as a blob. Returns its hash and its length in bytes.
    ///
    /// # Errors
    /// [`Error::Disk`]; nothing is left behind then.
    async fn finish(self: Box<Self>) -> Result<(Digest, u64), Error>;
}

/// An opened blob or variant, to be read from any thread and at any place; it stays readable when it is deleted.
pub trait ReadAt: Send + Sync {
    /// Reads at most `len` bytes from `offset`; fewer only at the end. Blocks on the disk: never call it on a thread
    /// that serves, but by `spawn_blocking`.
    ///
    /// # Errors
    /// Errors of the system; [`std::io::ErrorKind::InvalidData`] if the bytes are not those that were stored.
    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Bytes>;

    /// As [`ReadAt::read_at`], without waiting for the disk: `None` if any of it would have to be waited for, or where
    /// that is unknown. May be called on a thread that serves.
    ///
    /// # Errors
    /// Errors of the system.
    fn read_cached(&self, _offset: u64, _len: usize) -> std::io::Result<Option<Bytes>> {
        Ok(None)
    }

    /// As [`ReadAt::read_at`], on a thread that may wait, and when it is the turn of whom the file was opened for.
    ///
    /// # Errors
    /// As [`ReadAt::read_at`].
    fn read_in_turn(self: Arc<Self>, offset: u64, len: usize) -> BoxFuture<'static, std::io::Result<Bytes>>
    where
        Self: 'static,
    {
        Box::pin(read_on_a_thread(move || self.read_at(offset, len)))
    }

    /// Its length in bytes.
    fn size(&self) -> u64;

    /// Bytes of memory that it takes while it is open.
    fn held_bytes(&self) -> usize {
        0
    }

    /// Whether a read found bytes that are not those that were stored.
    fn is_damaged(&self) -> bool {
        false
    }
}

/// Reads on a thread that may wait for the disk.
async fn read_on_a_thread(read: impl FnOnce() -> std::io::Result<Bytes> + Send + 'static) -> std::io::Result<Bytes> {
    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other).flatten()
}

/// Variants that were opened as one file, and where each begins.
pub type OpenedTogether = (Arc<dyn ReadAt>, Vec<u64>);

/// A store of immutable bytes. Every put is idempotent; what was put is durable when the call returns.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// The same store, for the work of this lane: where the disk is busy, lanes take turns.
    fn of(&self, lane: Lane) -> Arc<dyn Blobs>;

    /// Begins to put the blob or manifest `key`, whose bytes come in pieces. What is stored under `key` already is
    /// replaced by the same bytes, so that damage is repaired, the age in [`Blobs::list`] starts again, and the time
    /// that a put takes tells nobody what was there.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn upload(&self, key: Key) -> Result<Box<dyn Upload>, Error>;

    /// Begins to put a blob whose hash is not known yet, as those that come in an archive; else as [`Blobs::upload`].
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn upload_unnamed(&self) -> Result<Box<dyn UnnamedUpload>, Error>;

    /// Checks that anything new may be stored beside what is to stay free on the disk. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Short`], [`Error::OutOfFiles`] and [`Error::Disk`].
    fn check_free_space(&self) -> Result<(), Error>;

    /// Makes the folders of blobs and manifests where they are gone, which no put does: for what is brought back there
    /// after somebody removed them. A store whose files are elsewhere, too, makes them as it needs them.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn make_folders(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Puts the whole blob or manifest `key`.
    ///
    /// # Errors
    /// As [`Upload::finish`].
    async fn put(&self, key: Key, bytes: Bytes) -> Result<(), Error>;

    /// Puts small whole blobs together. All are durable under their names, and were read back, when the call returns;
    /// those of an error may be, each of them whole.
    ///
    /// # Errors
    /// As [`Upload::finish`].
    async fn put_all(&self, blobs: BTreeMap<Digest, Bytes>) -> Result<(), Error>;

    /// As [`Blobs::size`], of many blobs, in their order.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn sizes(&self, blobs: Vec<Digest>) -> Result<Vec<Option<u64>>, Error>;

    /// Reads blobs and compares them with their hashes, but those that this process has read back or checked since they
    /// were put.
    ///
    /// # Errors
    /// As [`Blobs::get`].
    async fn check_all(&self, blobs: Vec<Digest>) -> Result<(), Error>;

    /// Puts variants of one blob together, replacing those of the same form and lower quality. All, or none, are
    /// known to [`Blobs::variants`] afterwards. Putting none notes that none are worth keeping.
    ///
    /// # Errors
    /// [`Error::Missing`] where the blob itself is not stored (any more); [`Error::Disk`].
    async fn put_variants(&self, blob: Digest, variants: Vec<(Form, Quality, Bytes)>) -> Result<(), Error>;

    /// As [`Blobs::put_variants`], of many blobs; what is of a blob that is not stored (any more) is left out.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn put_variants_all(&self, variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>) -> Result<(), Error>;

    /// As [`Blobs::put_variants_all`], the first that an app has of these blobs: where there are others already, as of
    /// another app, those of the quick level are kept beside them, in the forms of [`Form::kept_quick`].
    ///
    /// # Errors
    /// As [`Blobs::put_variants_all`].
    async fn put_first_variants(&self, variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>) -> Result<(), Error>;

    /// As [`Blobs::variants`], of many blobs, in their order; with those that are kept beside others, and the bytes of
    /// those for which that costs nothing.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn variants_all(&self, blobs: Vec<Digest>) -> Result<Vec<Vec<StoredVariant>>, Error>;

    /// As [`Blobs::get`], of many small blobs, in their order.
    ///
    /// # Errors
    /// [`Error::Disk`] where none can be read.
    async fn get_all(&self, blobs: Vec<Digest>) -> Result<Vec<Result<Bytes, Error>>, Error>;

    /// The variants of a blob, without those that are kept beside others; empty where there are none, or where what was
    /// known of them cannot be read.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn variants(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error> {
        let mut variants = self.stored_variants(blob).await?;
        variants.retain(|variant| !variant.form.is_kept_quick());
        Ok(variants)
    }

    /// As [`Blobs::variants`], with those that are kept beside others.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn stored_variants(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error>;

    /// Whether variants of a blob are missing that were there, or none were ever put, as after a restore without them.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn lacks_variants(&self, blob: Digest) -> Result<bool, Error>;

    /// Those of many blobs of which [`Blobs::lacks_variants`], in their order.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn lacking_variants(&self, blobs: Vec<Digest>) -> Result<Vec<Digest>, Error>;

    /// Looks whether the lists of a blob's variants and deltas can be read, and sets aside those that cannot, by which
    /// all of it is made again. Gives their number.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn check_lists(&self, blob: Digest) -> Result<u64, Error>;

    /// Puts deltas of one blob together, replacing those of the same dictionary and form of lower quality. All, or
    /// none, are known to [`Blobs::deltas`] afterwards; beyond [`DELTA_DICTIONARIES_MAX`] the oldest go.
    ///
    /// # Errors
    /// [`Error::Missing`] where the blob itself is not stored (any more); [`Error::Disk`].
    async fn put_deltas(&self, blob: Digest, deltas: Vec<NewDelta>) -> Result<(), Error>;

    /// The deltas of a blob, the one that was put last in the last place; empty where there are none, or where what was
    /// known of them cannot be read.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn deltas(&self, blob: Digest) -> Result<Vec<DeltaInfo>, Error>;

    /// As [`Blobs::deltas`], of many blobs, in their order.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn deltas_all(&self, blobs: Vec<Digest>) -> Result<Vec<Vec<DeltaInfo>>, Error>;

    /// Whether something is stored under `key`, and of what length; the bytes are not checked.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn size(&self, key: Key) -> Result<Option<u64>, Error>;

    /// All bytes of `key`, checked against its hash.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Corrupt`] after having set the bytes aside; [`Error::Disk`].
    async fn get(&self, key: Key) -> Result<Bytes, Error>;

    /// Opens `key` for reading in pieces. All its bytes are checked first, once in the life of the process.
    ///
    /// # Errors
    /// As [`Blobs::get`].
    async fn open(&self, key: Key) -> Result<Arc<dyn ReadAt>, Error>;

    /// Opens small variants of a blob, those with these hashes, as one file, and says where in it each begins. All
    /// their bytes are checked. `None` where they are not as they are sought, or each is to be opened alone.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn open_together(&self, blob: Digest, sought: Vec<(Form, Digest)>) -> Result<Option<OpenedTogether>, Error>;

    /// Reads all bytes of `key` from the disk, so many in a second at most, and checks its hash. Returns their number.
    ///
    /// # Errors
    /// As [`Blobs::get`].
    async fn check(&self, key: Key, bytes_per_second_max: u64) -> Result<u64, Error>;

    /// Notes that no whole bytes of a blob or a manifest were found.
    fn suspect(&self, key: Key);

    /// The blobs and manifests that were found not to be whole, or were suspected, since this was called last; some
    /// thousand at most. Versions that have them in memory go on with what they have.
    fn take_suspects(&self) -> HashSet<Key>;

    /// Number of opened files that were found damaged as they were read ([`ReadAt::is_damaged`]).
    fn damages(&self) -> u64;

    /// Brings a version to the disk of this node, where nodes share a store: its manifest, its blobs and their
    /// variants. Returns what that took; a store of one node has all of it.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] for what the shared store lacks or has otherwise; [`Error::Remote`];
    /// [`Error::Disk`] and [`Error::Short`].
    async fn fetch(&self, _version: VersionId, _blobs: Vec<Digest>) -> Result<FetchReport, Error> {
        Ok(FetchReport::default())
    }

    /// The blobs and manifests that a bucket of several nodes has, by one listing, with their lengths; `None` of a
    /// store of one node. What is put meanwhile may not be among them.
    ///
    /// # Errors
    /// [`Error::Remote`].
    async fn shared_sizes(&self) -> Result<Option<HashMap<Key, u64>>, Error> {
        Ok(None)
    }

    /// Compares the object that nodes share of a blob or manifest with the copy that this node has: its length, and
    /// where it is to be read, with so many bytes in a second, its hash. What this node has not got is not compared:
    /// [`Blobs::check`] reads the object of that.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] of the object; [`Error::Remote`].
    async fn check_shared(&self, _key: Key, _bytes_per_second_max: Option<u64>) -> Result<(), Error> {
        Ok(())
    }

    /// Stores a blob or manifest again, from the copy that this node has, where [`Blobs::check_shared`] finds the
    /// object that nodes share missing or changed. Only of what a version refers to. Returns whether it did.
    ///
    /// # Errors
    /// [`Error::Remote`] and [`Error::Disk`].
    async fn mend(&self, _key: Key, _bytes_per_second_max: Option<u64>) -> Result<bool, Error> {
        Ok(false)
    }

    /// Whether nodes share it, so that its room is not that of the disk of this node.
    fn is_shared(&self) -> bool {
        false
    }

    /// Deletes `key`; a variant or a delta, or a blob with all of its. Deltas that the blob is the dictionary of stay.
    /// Deleting what is not there is no error. After a crash it may be there again, whole.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn delete(&self, key: Key) -> Result<(), Error>;

    /// Collects a blob, without its variants and deltas, which go, or a manifest, if it was last put before that second
    /// since 1970. It counts as missing from then on, but unless it is `for_good` a store may keep the bytes until
    /// [`Blobs::remove_leftovers`] ends them; until then [`Blobs::get`] and [`Blobs::open`] bring them back. Returns
    /// the bytes of all that went; `None` if it does not exist, or was put since.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn delete_put_before(&self, key: Key, before_s: u64, for_good: bool) -> Result<Option<u64>, Error>;

    /// Every blob and manifest with its length and the seconds since 1970 at which it was last put, in no order. On the
    /// way, variants and deltas are removed whose blob is gone.
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

    /// As [`Blobs::list`], of those alone whose digest begins with that byte: what is held in memory is a part of all.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn list_part(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error>;

    /// The blobs and manifests that are on the disk of this node, of those whose digest begins with that byte.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn held_part(&self, first: u8) -> Result<Vec<Key>, Error> {
        Ok(self.list_part(first).await?.into_iter().map(|(key, ..)| key).collect())
    }

    /// Blobs and manifests that were collected and can be brought back, in no order.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn collected(&self) -> Result<Vec<Key>, Error>;

    /// Number of files that were set aside as damaged and not removed yet.
    ///
    /// # Errors
    /// [`Error::Disk`].
    async fn quarantined(&self) -> Result<u64, Error>;

    /// Removes damaged and half-written files from before `before_s`, and collected ones from before
    /// `collected_before_s`, both in seconds since 1970; with `dry_run` it only counts. Returns the files and their
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
