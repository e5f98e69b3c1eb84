//! Removes the oldest backups, and the files that none of the others refers to.

use std::collections::HashSet;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use super::layout::{CATALOG, in_snapshot, is_manifest};
use super::open::open_catalog;
use super::references::{self, Look, Manifests};
use super::store::{self, BackupStore};
use crate::blobs::{self, Blobs, Key};
use crate::durable;
use crate::ledger::Error;

/// Removes the oldest backups beyond `keep`. The records of the others are read in the folder `work`. Returns the names of
/// those that were removed.
pub(super) async fn prune(
    store: &dyn BackupStore,
    local: &dyn Blobs,
    work: &Path,
    keep: usize,
) -> Result<Vec<String>, Error> {
    let all = store::complete(store).await?;
    let (old, kept) = all.split_at(all.len().saturating_sub(keep));
    if old.is_empty() {
        return Ok(Vec::new());
    }
    let mut marker = Marker(HashSet::new());
    for name in kept {
        let records = work.join(CATALOG);
        durable::remove_file(&records)?;
        store.fetch(&in_snapshot(name, CATALOG), &records).await?;
        let catalog = open_catalog(&records).await?;
        let gone = references::go_through(&*catalog, &EitherStore { local, store }, None, &mut marker).await?;
        drop(catalog);
        if gone.damaged.iter().any(|damaged| damaged.manifest) {
            // What such a version refers to is not known, so nothing goes.
            tracing::warn!(backup = name, "a manifest of a backup is missing: no earlier backup is removed");
            return Ok(Vec::new());
        }
    }
    for name in old {
        store.remove_snapshot(name).await?;
    }
    let keys = store.keys().await?;
    let unreferenced = keys.into_iter().filter(|key| !is_manifest(*key) && !marker.0.contains(key));
    store.remove(unreferenced.collect()).await?;
    Ok(old.to_vec())
}

/// Manifests, which are the same wherever they lie: in the store of the edge, which is near, else beside the backups.
struct EitherStore<'s> {
    local: &'s dyn Blobs,
    store: &'s dyn BackupStore,
}

#[async_trait]
impl Manifests for EitherStore<'_> {
    async fn canonical(&self, key: Key) -> Result<Option<Bytes>, Error> {
        match self.local.get(key).await {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(blobs::Error::Missing(_) | blobs::Error::Corrupt { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(path) = key.path() else { return Ok(None) };
        let read = self.store.read(&path).await?;
        Ok(read.filter(|bytes| Key::Manifest(devanture_config::Digest::of(bytes)) == key))
    }
}

/// Notes what is referred to.
struct Marker(HashSet<Key>);

#[async_trait]
impl Look for Marker {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        self.0.insert(key);
        Ok(true)
    }
}
