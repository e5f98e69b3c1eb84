//! Lists and collects stored objects: the listings of the bucket show the objects and their ages.
//!
//! S3 has no conditional deletion in all stores, so that between the question for the time of the last put and the
//! deletion a node may put the object again. Two rules make the gap safe. Every put writes the object, even an existing
//! one, so that the age starts again; and a collection asks for objects older than the grace period (24 hours by
//! default), on one node at a time, after reading the references of the pushes of all nodes. An object put in the
//! milliseconds between question and deletion belongs to a running push: the verification of the push asks the bucket
//! for every blob, finds the object missing and has it sent again. A collection that stalls for longer is held off by
//! the references of pushes, read before the deletion.

use std::collections::HashSet;
use std::time::Duration;

use devanture_config::Digest;

use super::remote::{Origin, path_of};
use super::store::TieredBlobs;
use crate::blobs::{Blobs as _, Error, Key};
use crate::s3::Entry;
use devanture_base::clock::now_ms;
use devanture_base::durable;

/// Age from which variants without a blob are removed from the bucket. The blob may still be on its way, or listed
/// late.
const ORPHAN_AGE: Duration = Duration::from_secs(86_400);
/// Upper bound of listed objects of one folder, of 256: a bucket with a quarter of a billion blobs exceeds the bound.
const LISTED_MAX: usize = 1_000_000;

/// Upper bound of objects listed in one go. Beyond the bound, folders are listed separately, with retries for each.
const LISTED_AT_ONCE_MAX: usize = 10_000;

fn key_of(entry: Entry) -> Option<(Key, u64, u64)> {
    Some((Key::of_path(&entry.path)?, entry.size, entry.written_s))
}

/// Returns the blob of an object of variants.
fn blob_of(path: &str) -> Option<Digest> {
    path.rsplit('/').next()?.parse().ok()
}

impl TieredBlobs {
    /// Lists the objects of one folder.
    async fn folder(&self, kind: &str, first: u8) -> Result<Vec<Entry>, Error> {
        let folder = format!("{kind}/{}", hex::encode([first]));
        let listed = self.remote().list(&folder, LISTED_MAX, self.lane).await?;
        listed.ok_or_else(|| {
            let source = std::io::Error::other(format!("it holds more than {LISTED_MAX} objects"));
            durable::Error::Io { doing: "listing", path: self.remote().bucket.shown(&folder), source }.into()
        })
    }

    /// Lists the blobs and manifests of the bucket with digests beginning with a byte, with lengths and times.
    pub(super) async fn stored_part(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error> {
        let mut stored = self.folder("blobs", first).await?;
        stored.extend(self.folder("manifests", first).await?);
        Ok(stored.into_iter().filter_map(key_of).collect())
    }

    /// Lists all blobs and manifests of the bucket; part by part if there are many.
    pub(super) async fn list_all(&self) -> Result<Vec<(Key, u64, u64)>, Error> {
        self.list_all_within(LISTED_AT_ONCE_MAX).await
    }

    /// Like [`TieredBlobs::list_all`], with at most `at_once_max` objects in one go.
    pub(super) async fn list_all_within(&self, at_once_max: usize) -> Result<Vec<(Key, u64, u64)>, Error> {
        let mut stored = Vec::new();
        for kind in ["blobs", "manifests"] {
            match self.remote().list(kind, at_once_max, self.lane).await? {
                Some(listed) => stored.extend(listed.into_iter().filter_map(key_of)),
                None => {
                    stored.clear();
                    for first in 0..=u8::MAX {
                        stored.extend(self.stored_part(first).await?);
                    }
                    return Ok(stored);
                }
            }
        }
        Ok(stored)
    }

    /// Like [`TieredBlobs::stored_part`]. Also removes variants without a blob, on the disk and, after some time, in
    /// the bucket.
    pub(super) async fn list_stored(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error> {
        self.list_stored_at(first, now_ms() / 1_000).await
    }

    /// Like [`TieredBlobs::list_stored`], at a time in seconds since 1970.
    pub(super) async fn list_stored_at(&self, first: u8, now_s: u64) -> Result<Vec<(Key, u64, u64)>, Error> {
        // Before the blobs: every variant listed now had its blob before.
        let mut derived = Vec::new();
        for origin in Origin::ALL {
            derived.extend(self.folder(origin.folder(), first).await?);
        }
        let keys = self.stored_part(first).await?;
        let blobs: HashSet<Key> = keys.iter().map(|(key, ..)| *key).collect();
        let before_s = now_s.saturating_sub(ORPHAN_AGE.as_secs());
        let orphans = derived.into_iter().filter(|entry| {
            let is_orphan = blob_of(&entry.path).is_some_and(|blob| !blobs.contains(&Key::Blob(blob)));
            is_orphan && entry.written_s < before_s
        });
        self.remote().remove(orphans.map(|entry| entry.path).collect()).await?;
        self.local.list_part(first).await?;
        Ok(keys)
    }

    /// Deletes the object on the disk and in the bucket. The variants are deleted first: a blob that still exists is
    /// found by the next collection.
    pub(super) async fn delete_everywhere(&self, key: Key) -> Result<(), Error> {
        match key {
            Key::Variant(blob, form) => return self.delete_variant(blob, form).await,
            Key::Delta(..) => {}
            Key::Blob(_) | Key::Manifest(_) => self.remove_objects(key).await?,
        }
        self.local.delete(key).await
    }

    async fn remove_objects(&self, key: Key) -> Result<(), Error> {
        if let Key::Blob(blob) = key {
            self.remote().remove(Origin::ALL.map(|origin| origin.path(blob)).to_vec()).await?;
            self.shared.lookups.forget(blob);
        }
        Ok(self.remote().remove(vec![path_of(key)?]).await?)
    }

    /// Collects an object with a last put before `before_s`, by the clock of the bucket. The copy on this node's disk
    /// awaits the final removal, unless `for_good` is set; copies of other nodes are left to their evictions.
    pub(super) async fn collect(&self, key: Key, before_s: u64, for_good: bool) -> Result<Option<u64>, Error> {
        let Some(stored) = self.remote().head(&path_of(key)?, self.lane).await? else {
            // A file on this disk alone does not count as stored, and has only the time of this disk.
            self.local.delete_put_before(key, before_s, for_good).await?;
            return Ok(None);
        };
        if stored.written_s >= before_s {
            return Ok(None);
        }
        let mut bytes = stored.size;
        if let Key::Blob(blob) = key
            && self.local.size(key).await?.is_none()
        {
            for origin in Origin::ALL {
                let variants = self.remote().head(&origin.path(blob), self.lane).await?;
                bytes = bytes.saturating_add(variants.map_or(0, |entry| entry.size));
            }
        }
        self.remove_objects(key).await?;
        // Whenever this disk fetched the file: the object is gone from the bucket.
        let here = self.local.delete_put_before(key, u64::MAX, for_good).await?;
        Ok(Some(here.unwrap_or(bytes)))
    }
}
