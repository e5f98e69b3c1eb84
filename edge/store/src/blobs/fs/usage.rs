//! The disk space of each blob, including its derived files.

use std::collections::BTreeMap;

use devanture_config::Digest;

use super::FileBlobs;
use super::folder::{Folder, each_file};
use crate::blobs::{Error, Key};

/// A blob or manifest on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::blobs) struct Usage {
    pub(in crate::blobs) key: Key,
    /// Bytes of the file, and of the files of its variants and deltas.
    pub(in crate::blobs) bytes: u64,
    /// The time of the last put, in seconds since 1970.
    pub(in crate::blobs) put_s: u64,
}

impl Folder {
    /// Returns the usage of the blobs and manifests with digests beginning with `first`.
    fn usage(&self, first: u8) -> Result<Vec<Usage>, Error> {
        let mut derived: BTreeMap<Digest, u64> = BTreeMap::new();
        let shard = hex::encode([first]);
        for kind in ["variants", "deltas"] {
            each_file(&self.root().join(kind).join(&shard), |name, path| {
                let blob = name.split_once('.').and_then(|(digest, _)| digest.parse().ok());
                if let (Some(blob), Ok(metadata)) = (blob, std::fs::metadata(path)) {
                    let bytes = derived.entry(blob).or_default();
                    *bytes = bytes.saturating_add(metadata.len());
                }
            })?;
        }
        let with_derived = |(key, bytes, put_s): (Key, u64, u64)| {
            let derived = match key {
                Key::Blob(blob) => derived.get(&blob).copied().unwrap_or_default(),
                Key::Manifest(_) | Key::Variant(..) | Key::Delta(..) => 0,
            };
            Usage { key, bytes: bytes.saturating_add(derived), put_s }
        };
        Ok(self.list_part(first)?.into_iter().map(with_derived).collect())
    }
}

impl FileBlobs {
    /// Returns the usage of the blobs and manifests with digests beginning with `first`, derived files included.
    pub(in crate::blobs) async fn usage(&self, first: u8) -> Result<Vec<Usage>, Error> {
        self.with(move |folder| folder.usage(first)).await
    }
}
