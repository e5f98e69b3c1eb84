//! Reads the small files of a version many at a time: a store call for each file and each variant costs more than the
//! bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::manifest::FileEntry;

use super::{AppMemory, Fill};
use devanture_store::blobs::{Blobs, DeltaInfo, VariantInfo};

/// Longest file that is read ahead.
const SMALL_BYTES_MAX: u64 = 64 * 1_024;

/// Data read ahead for the files loaded next. Missing data is read on demand.
#[derive(Default)]
pub(super) struct Prefetched {
    variants: HashMap<Digest, Vec<VariantInfo>>,
    deltas: HashMap<Digest, Vec<DeltaInfo>>,
    /// Bytes by their hash.
    bytes: HashMap<Digest, Bytes>,
}

impl Prefetched {
    /// The variants of a blob.
    pub(super) fn variants_of(&self, blob: &Digest) -> Option<Vec<VariantInfo>> {
        self.variants.get(blob).cloned()
    }

    /// The deltas of a blob.
    pub(super) fn deltas_of(&self, blob: &Digest) -> Option<Vec<DeltaInfo>> {
        self.deltas.get(blob).cloned()
    }

    /// Takes the bytes of a hash out: a shared copy would need memory of its own. A second file with the same bytes
    /// finds the bytes among the held ones, or reads the bytes again.
    pub(super) fn take_bytes_of(&mut self, hash: &Digest) -> Option<Bytes> {
        self.bytes.remove(hash)
    }
}

/// Reads ahead the data of some entries, of files up to the length bound, and the list of deltas if `with_deltas`. Read
/// errors are left to the load of the file, which handles the error.
pub(super) async fn prefetch(
    blobs: &dyn Blobs,
    (memory, fill): (&Arc<AppMemory>, Fill),
    entries: impl Iterator<Item = &FileEntry>,
    size_max: u64,
    with_deltas: bool,
) -> Prefetched {
    let mut prefetched = Prefetched::default();
    // In order of hashes: neighbours lie in one folder.
    let sizes: BTreeMap<Digest, u64> = entries.map(|entry| (entry.hash, entry.size)).collect();
    if let Ok(found) = blobs.variants_all(sizes.keys().copied().collect()).await {
        for (blob, variants) in sizes.keys().zip(found) {
            prefetched.variants.insert(*blob, variants.iter().map(|variant| variant.info).collect());
            let with_bytes = variants.into_iter().filter_map(|variant| Some((variant.info.hash, variant.bytes?)));
            prefetched.bytes.extend(with_bytes);
        }
    }
    if with_deltas && let Ok(found) = blobs.deltas_all(sizes.keys().copied().collect()).await {
        prefetched.deltas = sizes.keys().copied().zip(found).collect();
    }
    let size_max = SMALL_BYTES_MAX.min(size_max);
    let small = sizes.iter().filter(|(blob, size)| **size <= size_max && memory.share(**blob).is_none());
    let (small, sizes): (Vec<Digest>, Vec<u64>) = small.unzip();
    let bytes = sizes.into_iter().fold(0, u64::saturating_add);
    // A file without room in memory is sent from the disk.
    if memory.room_in(fill, bytes).is_none() {
        return prefetched;
    }
    if let Ok(found) = blobs.get_all(small.clone()).await {
        let read = small.into_iter().zip(found).filter_map(|(blob, bytes)| Some((blob, bytes.ok()?)));
        prefetched.bytes.extend(read);
    }
    prefetched
}
