//! The store of a cluster: a bucket shared by all nodes, and the disk of this node in front of the bucket.
//!
//! The bucket is authoritative for stored files and their ages. The disk of a node holds the files that the node wrote
//! or read: a folder of the same format as that of a single edge. Every put is durable on the disk first, then in the
//! bucket, and acknowledged after both; a put writes the object even over an existing one, so that the age starts again
//! and the duration does not reveal the presence of a file. Reads are served from the disk; missing files are fetched,
//! and compared with their hashes on the way in. Deltas stay on the node that made them.

mod claims;
mod collection;
mod eviction;
mod fetching;
mod look_up;
mod lookups;
mod probe;
mod reading;
mod remote;
mod store;
mod stripes;
#[cfg(test)]
mod tests;
mod upload;
mod uses;
mod variants;
pub mod variants_object;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devanture_config::{Digest, VersionId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::fs::FileBlobs;
use super::{
    Blobs, Bounds, DeltaInfo, Error, FetchReport, Form, Key, NewDelta, OpenedTogether, Quality, ReadAt, StoredVariant,
    UnnamedUpload, Upload, VariantInfo,
};
use crate::s3::Bucket;
use devanture_base::fair::Lane;
pub use eviction::EvictReport;
pub use probe::{ProbeCheck, ProbeReport, probe};
use remote::REQUESTS_AT_ONCE;
pub use store::TieredBlobs;

/// Opens the store in a bucket, with its local tier in the folder `data_dir`. No request is sent to the bucket: a node
/// starts and serves without the bucket.
///
/// # Errors
/// [`Error::Disk`] of the folder.
pub fn open_tiered(data_dir: PathBuf, bounds: &Bounds, bucket: Bucket) -> Result<Arc<TieredBlobs>, Error> {
    let local = FileBlobs::open_cache(data_dir, bounds.open_files_max)?.above(Arc::clone(&bounds.free_space));
    Ok(Arc::new(TieredBlobs::new(local, bucket)))
}

#[async_trait]
impl Blobs for TieredBlobs {
    fn of(&self, lane: Lane) -> Arc<dyn Blobs> {
        Arc::new(self.in_lane(lane))
    }

    async fn upload(&self, key: Key) -> Result<Box<dyn Upload>, Error> {
        self.begin_upload(key).await
    }

    async fn upload_unnamed(&self) -> Result<Box<dyn UnnamedUpload>, Error> {
        self.begin_unnamed_upload().await
    }

    fn check_free_space(&self) -> Result<(), Error> {
        self.local.check_free_space()
    }

    async fn put(&self, key: Key, bytes: Bytes) -> Result<(), Error> {
        // The local store refuses mismatching bytes, and keys that cannot be put alone.
        self.local.put(key, bytes.clone()).await?;
        self.store(key, bytes).await
    }

    async fn put_all(&self, blobs: BTreeMap<Digest, Bytes>) -> Result<(), Error> {
        self.local.put_all(blobs.clone()).await?;
        let writes: Vec<_> = blobs.into_iter().map(|(digest, bytes)| self.store(Key::Blob(digest), bytes)).collect();
        stream::iter(writes).buffer_unordered(REQUESTS_AT_ONCE).try_collect().await
    }

    /// The bucket is authoritative: a file on the local disk alone, after a collection of the object by a different
    /// node, has to be sent again.
    async fn sizes(&self, blobs: Vec<Digest>) -> Result<Vec<Option<u64>>, Error> {
        self.stored_sizes(blobs).await
    }

    async fn check_all(&self, blobs: Vec<Digest>) -> Result<(), Error> {
        self.check_all_here(blobs).await
    }

    async fn put_variants(&self, blob: Digest, variants: Vec<(Form, Quality, Bytes)>) -> Result<(), Error> {
        self.put_variants_of(blob, variants).await
    }

    async fn put_variants_all(&self, variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>) -> Result<(), Error> {
        self.put_variants_of_all(variants, false).await
    }

    async fn put_first_variants(&self, variants: BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>) -> Result<(), Error> {
        self.put_variants_of_all(variants, true).await
    }

    async fn variants_all(&self, blobs: Vec<Digest>) -> Result<Vec<Vec<StoredVariant>>, Error> {
        self.look_up(blobs.clone()).await;
        self.local.variants_all(blobs).await
    }

    async fn get_all(&self, blobs: Vec<Digest>) -> Result<Vec<Result<Bytes, Error>>, Error> {
        self.get_all_of(blobs).await
    }

    /// Returns no variants for blobs that are not on the disk: a reader of every file, such as a verification, must not
    /// fill the disk. [`Blobs::variants_all`] brings the blobs as well.
    async fn stored_variants(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error> {
        if self.local.size(Key::Blob(blob)).await?.is_some() {
            self.look_up(vec![blob]).await;
        }
        self.local.stored_variants(blob).await
    }

    async fn lacks_variants(&self, blob: Digest) -> Result<bool, Error> {
        self.look_up(vec![blob]).await;
        self.local.lacks_variants(blob).await
    }

    async fn lacking_variants(&self, blobs: Vec<Digest>) -> Result<Vec<Digest>, Error> {
        self.look_up(blobs.clone()).await;
        self.local.lacking_variants(blobs).await
    }

    async fn check_lists(&self, blob: Digest) -> Result<u64, Error> {
        self.local.check_lists(blob).await
    }

    async fn put_deltas(&self, blob: Digest, deltas: Vec<NewDelta>) -> Result<(), Error> {
        match self.local.put_deltas(blob, deltas.clone()).await {
            Err(Error::Missing(key)) if self.bring(key).await? => self.local.put_deltas(blob, deltas).await,
            put => put,
        }
    }

    async fn deltas(&self, blob: Digest) -> Result<Vec<DeltaInfo>, Error> {
        self.local.deltas(blob).await
    }

    async fn deltas_all(&self, blobs: Vec<Digest>) -> Result<Vec<Vec<DeltaInfo>>, Error> {
        self.local.deltas_all(blobs).await
    }

    /// Asks the local disk first, since loaded versions call this method; [`Blobs::sizes`] asks the bucket.
    async fn size(&self, key: Key) -> Result<Option<u64>, Error> {
        self.size_of(key).await
    }

    async fn get(&self, key: Key) -> Result<Bytes, Error> {
        self.get_one(key).await
    }

    async fn open(&self, key: Key) -> Result<Arc<dyn ReadAt>, Error> {
        self.open_one(key).await
    }

    async fn open_together(&self, blob: Digest, sought: Vec<(Form, Digest)>) -> Result<Option<OpenedTogether>, Error> {
        self.shared.uses.note(Key::Blob(blob));
        self.local.open_together(blob, sought).await
    }

    async fn check(&self, key: Key, bytes_per_second_max: u64) -> Result<u64, Error> {
        self.check_one(key, bytes_per_second_max).await
    }

    fn suspect(&self, key: Key) {
        self.local.suspect(key);
    }

    fn take_suspects(&self) -> HashSet<Key> {
        self.local.take_suspects()
    }

    fn damages(&self) -> u64 {
        self.local.damages()
    }

    async fn fetch(&self, version: VersionId, blobs: Vec<Digest>) -> Result<FetchReport, Error> {
        self.fetch_version(version, blobs).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn shared_sizes(&self) -> Result<Option<HashMap<Key, u64>>, Error> {
        let stored = self.list_all().await?;
        Ok(Some(stored.into_iter().map(|(key, size, _)| (key, size)).collect()))
    }

    async fn check_shared(&self, key: Key, bytes_per_second_max: Option<u64>) -> Result<(), Error> {
        self.compare_object(key, bytes_per_second_max).await
    }

    async fn mend(&self, key: Key, bytes_per_second_max: Option<u64>) -> Result<bool, Error> {
        self.store_again(key, bytes_per_second_max).await
    }

    async fn delete(&self, key: Key) -> Result<(), Error> {
        self.delete_everywhere(key).await
    }

    async fn delete_put_before(&self, key: Key, before_s: u64, for_good: bool) -> Result<Option<u64>, Error> {
        self.collect(key, before_s, for_good).await
    }

    async fn list(&self) -> Result<Vec<(Key, u64, u64)>, Error> {
        self.list_all().await
    }

    async fn list_part(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error> {
        self.list_stored(first).await
    }

    /// Lists the disk of this node: each node checks only its own disk.
    async fn held_part(&self, first: u8) -> Result<Vec<Key>, Error> {
        self.local.held_part(first).await
    }

    async fn collected(&self) -> Result<Vec<Key>, Error> {
        self.local.collected().await
    }

    async fn quarantined(&self) -> Result<u64, Error> {
        self.local.quarantined().await
    }

    async fn remove_leftovers(
        &self,
        before_s: u64,
        collected_before_s: u64,
        dry_run: bool,
    ) -> Result<(u64, u64), Error> {
        self.local.remove_leftovers(before_s, collected_before_s, dry_run).await
    }
}
