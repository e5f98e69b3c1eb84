//! What is stored, since when, and how it goes: the bucket says the first two by its listings and the times in them.
//!
//! S3 has no deletion on a condition that all stores know, so that between the question when an object was last put and
//! its deletion another node may put it again. Two things make that safe. Every put writes the object, also where there
//! is one, so that its time starts again; and a collection asks for objects that were put longer ago than the grace
//! period (24 hours by default), on one node at a time, after it has read what the pushes of all nodes rely on. What is
//! put in the milliseconds between question and deletion is then part of a push that is under way, and its
//! verification, which asks the bucket for every blob, finds it missing and has it sent again. A collection that stalls
//! for longer is held off by what pushes rely on, which it reads before it deletes.

use std::collections::HashSet;
use std::time::Duration;

use devanture_config::Digest;

use super::remote::{Origin, path_of};
use super::store::TieredBlobs;
use crate::blobs::{Blobs as _, Error, Key};
use crate::s3::Entry;
use devanture_base::clock::now_ms;
use devanture_base::durable;

/// Age from which on variants in the bucket go whose blob is not there. Their blob may be on its way, or listed late.
const ORPHAN_AGE: Duration = Duration::from_secs(86_400);
/// Most objects of one folder that are listed: of 256, so that a bucket of a quarter of a billion blobs is beyond it.
const LISTED_MAX: usize = 1_000_000;

/// Most objects that are listed in one go. More are listed folder by folder, of which each may be retried.
const LISTED_AT_ONCE_MAX: usize = 10_000;

fn key_of(entry: Entry) -> Option<(Key, u64, u64)> {
    Some((Key::of_path(&entry.path)?, entry.size, entry.written_s))
}

/// The blob whose variants an object holds.
fn blob_of(path: &str) -> Option<Digest> {
    path.rsplit('/').next()?.parse().ok()
}

impl TieredBlobs {
    /// The objects of one folder.
    async fn folder(&self, kind: &str, first: u8) -> Result<Vec<Entry>, Error> {
        let folder = format!("{kind}/{}", hex::encode([first]));
        let listed = self.remote().list(&folder, LISTED_MAX, self.lane).await?;
        listed.ok_or_else(|| {
            let source = std::io::Error::other(format!("it holds more than {LISTED_MAX} objects"));
            durable::Error::Io { doing: "listing", path: self.remote().bucket.shown(&folder), source }.into()
        })
    }

    /// The blobs and manifests of the bucket whose digest begins with a byte, with lengths and times.
    pub(super) async fn stored_part(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error> {
        let mut stored = self.folder("blobs", first).await?;
        stored.extend(self.folder("manifests", first).await?);
        Ok(stored.into_iter().filter_map(key_of).collect())
    }

    /// All blobs and manifests of the bucket; by parts where they are many.
    pub(super) async fn list_all(&self) -> Result<Vec<(Key, u64, u64)>, Error> {
        self.list_all_within(LISTED_AT_ONCE_MAX).await
    }

    /// As [`TieredBlobs::list_all`], with at most so many objects in one go.
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

    /// As [`TieredBlobs::stored_part`]. On the way, variants without a blob go, on the disk and, once they are old, in
    /// the bucket.
    pub(super) async fn list_stored(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error> {
        self.list_stored_at(first, now_ms() / 1_000).await
    }

    /// As [`TieredBlobs::list_stored`], at a time in seconds since 1970.
    pub(super) async fn list_stored_at(&self, first: u8, now_s: u64) -> Result<Vec<(Key, u64, u64)>, Error> {
        // Before the blobs: of what is listed now, each had its blob before.
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

    /// Deletes everywhere. The variants go first: a blob that is still there is found by the next collection.
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

    /// Collects an object that was last put before a moment, by the clock of the bucket. What this node has of it on
    /// its disk waits there for its end, unless it goes for good; other nodes drop theirs when they evict.
    pub(super) async fn collect(&self, key: Key, before_s: u64, for_good: bool) -> Result<Option<u64>, Error> {
        let Some(stored) = self.remote().head(&path_of(key)?, self.lane).await? else {
            // A file that only this disk has is none that is stored; its time is that of this disk.
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
        // Whenever this disk fetched it: it is gone from the bucket.
        let here = self.local.delete_put_before(key, u64::MAX, for_good).await?;
        Ok(Some(here.unwrap_or(bytes)))
    }
}
