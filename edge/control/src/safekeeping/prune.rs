//! Deletes the oldest backups, and the files referenced by no other backup.

use std::collections::HashSet;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use super::layout::{CATALOG, in_snapshot, is_manifest};
use super::open::open_catalog;
use super::references::{self, Look, Manifests};
use super::store::{self, BackupStore, Finished};
use crate::ledger::Error;
use devanture_base::durable;
use devanture_store::blobs::{self, Blobs, Key};

/// Result of deleting the oldest backups.
#[derive(Default)]
pub(super) struct Pruned {
    /// Names of the deleted backups.
    pub(super) removed: Vec<String>,
    /// Name of an unreadable backup that prevented all deletions.
    pub(super) unreadable: Option<String>,
}

/// Deletes the oldest readable backups beyond `keep`. The records of the remaining backups are read in the folder
/// `work`. Unknown references of a remaining backup prevent all deletions.
pub(super) async fn prune(
    store: &dyn BackupStore,
    local: &dyn Blobs,
    work: &Path,
    keep: usize,
) -> Result<Pruned, Error> {
    let all = store::finished(store).await?;
    let mut newest = all.iter().enumerate().rev().filter(|(_, one)| one.description.is_ok());
    let first_kept = newest.nth(keep.saturating_sub(1)).map_or(0, |(index, _)| index);
    let (old, kept) = all.split_at(first_kept);
    if old.is_empty() {
        return Ok(Pruned::default());
    }
    let mut marker = Marker(HashSet::new());
    for one in kept {
        if let Err(reason) = mark(&EitherStore { local, store }, one, work, &mut marker).await? {
            tracing::warn!(backup = one.name, reason, "no earlier backup is removed, as one that stays cannot be read");
            return Ok(Pruned { removed: Vec::new(), unreadable: Some(one.name.clone()) });
        }
    }
    let old: Vec<String> = old.iter().map(|old| old.name.clone()).collect();
    for name in &old {
        store.remove_snapshot(name).await?;
    }
    let keys = store.keys().await?;
    let unreferenced = keys.into_iter().filter(|key| !is_manifest(*key) && !marker.0.contains(key));
    store.remove(unreferenced.collect()).await?;
    Ok(Pruned { removed: old, unreadable: None })
}

/// Marks the references of a backup, or returns the reason for unknown references, whose files would otherwise be
/// deleted.
async fn mark(
    stores: &EitherStore<'_>,
    backup: &Finished,
    work: &Path,
    marker: &mut Marker,
) -> Result<Result<(), &'static str>, Error> {
    let Ok(description) = &backup.description else { return Ok(Err("its snapshot.json is damaged")) };
    let records = work.join(CATALOG);
    durable::remove_file(&records)?;
    stores.store.fetch(&in_snapshot(&backup.name, CATALOG), &records).await?;
    if !description.is_of(CATALOG, &records).await? {
        return Ok(Err("its records are damaged"));
    }
    let catalog = open_catalog(&records).await?;
    let gone = references::go_through(&*catalog, stores, None, marker).await?;
    Ok(match gone.damaged.iter().any(|damaged| damaged.manifest) {
        true => Err("a manifest of it is damaged or missing"),
        false => Ok(()),
    })
}

/// Manifests, equal in both stores: read from the edge's store, which is near, or else beside the backups.
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

/// Records references.
struct Marker(HashSet<Key>);

#[async_trait]
impl Look for Marker {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        self.0.insert(key);
        Ok(true)
    }
}
