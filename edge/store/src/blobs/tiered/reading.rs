//! Reads: from the local disk, and from the bucket for files that the disk lacks or holds damaged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::Digest;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use metrics::counter;

use super::remote::{Origin, REQUESTS_AT_ONCE, path_of, worth_listing};
use super::store::TieredBlobs;
use crate::blobs::{Blobs as _, Error, Key, ReadAt};

/// Returns true if the local disk lacks the bytes, or set damaged bytes aside.
const fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Missing(_) | Error::Corrupt { .. })
}

fn count_read(is_hit: bool) {
    counter!("devanture_local_reads_total", "outcome" => if is_hit { "hit" } else { "miss" }).increment(1);
}

impl TieredBlobs {
    pub(super) async fn get_one(&self, key: Key) -> Result<Bytes, Error> {
        self.shared.uses.note(key);
        match self.local.get(key).await {
            Err(lost) if is_lost(&lost) => {
                count_read(false);
                self.bring_back(key, lost).await?;
                self.local.get(key).await
            }
            read => {
                count_read(true);
                read
            }
        }
    }

    pub(super) async fn open_one(&self, key: Key) -> Result<Arc<dyn ReadAt>, Error> {
        self.shared.uses.note(key);
        match self.local.open(key).await {
            Err(lost) if is_lost(&lost) => {
                count_read(false);
                self.bring_back(key, lost).await?;
                self.local.open(key).await
            }
            read => {
                count_read(true);
                read
            }
        }
    }

    /// Fetches a file that the local disk lost; fails with that loss if the bucket lacks the object, too.
    async fn bring_back(&self, key: Key, lost: Error) -> Result<(), Error> {
        let is_back = match key {
            Key::Blob(_) | Key::Manifest(_) => self.bring(key).await?,
            Key::Variant(blob, form) => self.bring_variant(blob, form).await?,
            // A delta is made again on demand.
            Key::Delta(..) => false,
        };
        if !is_back {
            return Err(lost);
        }
        if matches!(lost, Error::Corrupt { .. }) {
            counter!("devanture_local_files_replaced_total").increment(1);
            tracing::warn!(?key, "a damaged file was replaced by its object in the bucket");
        }
        Ok(())
    }

    pub(super) async fn get_all_of(&self, blobs: Vec<Digest>) -> Result<Vec<Result<Bytes, Error>>, Error> {
        blobs.iter().for_each(|blob| self.shared.uses.note(Key::Blob(*blob)));
        let mut read = self.local.get_all(blobs.clone()).await?;
        let is_lost_read = |read: &Result<Bytes, Error>| read.as_ref().is_err_and(is_lost);
        let lost: Vec<Digest> =
            blobs.iter().zip(&read).filter(|(_, read)| is_lost_read(read)).map(|(blob, _)| *blob).collect();
        let misses = lost.len();
        counter!("devanture_local_reads_total", "outcome" => "hit")
            .increment(blobs.len().saturating_sub(misses) as u64);
        counter!("devanture_local_reads_total", "outcome" => "miss").increment(misses as u64);
        if lost.is_empty() {
            return Ok(read);
        }
        let mut brought = self.bring_all(&lost).await?;
        let mut again = self.local.get_all(lost).await?.into_iter();
        for (blob, read) in blobs.iter().zip(&mut read).filter(|(_, read)| is_lost_read(read)) {
            let Some(again) = again.next() else { continue };
            match (again, brought.failed.remove(blob)) {
                // The reason of the failed fetch is more precise than the absence here.
                (Err(error), Some(failed)) if is_lost(&error) => *read = Err(failed),
                // For a blob that was damaged here and is stored nowhere else, the damage is the more precise error.
                (Err(Error::Missing(_)), None) => {}
                (again, _) => *read = again,
            }
        }
        Ok(read)
    }

    pub(super) async fn check_all_here(&self, blobs: Vec<Digest>) -> Result<(), Error> {
        match self.local.check_all(blobs.clone()).await {
            Err(lost) if is_lost(&lost) => {
                let brought = self.bring_all(&blobs).await?;
                if let Some((_, failed)) = brought.failed.into_iter().next() {
                    return Err(failed);
                }
                match self.local.check_all(blobs).await {
                    Err(Error::Missing(_)) => Err(lost),
                    checked => checked,
                }
            }
            checked => checked,
        }
    }

    pub(super) async fn size_of(&self, key: Key) -> Result<Option<u64>, Error> {
        match (self.local.size(key).await?, key) {
            (None, Key::Blob(_) | Key::Manifest(_)) => {
                let found = self.remote().head(&path_of(key)?, self.lane).await?;
                Ok(found.map(|entry| entry.size))
            }
            (None, Key::Variant(blob, form)) => {
                self.look_up(vec![blob]).await;
                self.local.size(Key::Variant(blob, form)).await
            }
            (size, _) => Ok(size),
        }
    }

    /// Returns the lengths of objects: from one listing if the bucket holds few, else by a request for each.
    pub(super) async fn stored_sizes(&self, blobs: Vec<Digest>) -> Result<Vec<Option<u64>>, Error> {
        if blobs.len() > REQUESTS_AT_ONCE
            && let Some(listed) = self.remote().list("blobs", worth_listing(blobs.len()), self.lane).await?
        {
            let sizes: std::collections::HashMap<Option<Key>, u64> =
                listed.into_iter().map(|entry| (Key::of_path(&entry.path), entry.size)).collect();
            return Ok(blobs.iter().map(|blob| sizes.get(&Some(Key::Blob(*blob))).copied()).collect());
        }
        let heads: Vec<_> = blobs.into_iter().map(|blob| self.stored_size(blob)).collect();
        stream::iter(heads).buffered(REQUESTS_AT_ONCE).try_collect().await
    }

    async fn stored_size(&self, blob: Digest) -> Result<Option<u64>, Error> {
        let found = self.remote().head(&path_of(Key::Blob(blob))?, self.lane).await?;
        Ok(found.map(|entry| entry.size))
    }

    /// Checks the local file, and fetches a damaged file again. Without a local file, the object in the bucket is read
    /// and compared, but not stored: a check must not fill a disk that holds a part of all files.
    pub(super) async fn check_one(&self, key: Key, bytes_per_second_max: u64) -> Result<u64, Error> {
        match self.local.check(key, bytes_per_second_max).await {
            Err(lost @ Error::Corrupt { .. }) => {
                self.bring_back(key, lost).await?;
                self.local.check(key, bytes_per_second_max).await
            }
            Err(Error::Missing(_)) if matches!(key, Key::Blob(_) | Key::Manifest(_)) => {
                self.check_object(key, bytes_per_second_max).await
            }
            checked => checked,
        }
    }

    async fn check_object(&self, key: Key, bytes_per_second_max: u64) -> Result<u64, Error> {
        let path = path_of(key)?;
        let Some(mut object) = self.remote().open(&path, self.lane).await? else { return Err(Error::Missing(key)) };
        let (mut hasher, size) = (blake3::Hasher::new(), object.size);
        while let Some(piece) = object.next().await? {
            hasher.update(&piece);
            let micros = (piece.len() as u64).saturating_mul(1_000_000).checked_div(bytes_per_second_max);
            let pause = Duration::from_micros(micros.unwrap_or_default());
            // A timer takes a millisecond at least.
            if pause >= Duration::from_millis(1) {
                object.pause(pause).await;
            }
        }
        match key {
            Key::Blob(expected) | Key::Manifest(expected) if Digest::from(hasher.finalize()) == expected => Ok(size),
            _ => Err(self.mismatch(key, &path)),
        }
    }

    /// Records that the bytes of an object do not match its name. The object stays in place: the bytes may have changed
    /// on the way, and one node with a bad connection must not take an object from all nodes.
    pub(super) fn mismatch(&self, key: Key, path: &str) -> Error {
        let object = self.remote().bucket.shown(path);
        counter!("devanture_bucket_mismatches_total").increment(1);
        tracing::error!(?key, object, "an object of the bucket has other bytes than its name says");
        Error::Corrupt { key, quarantined: object }
    }

    /// Compares the object with its local file: the length, and, if a rate is given, the hash.
    pub(super) async fn compare_object(&self, key: Key, bytes_per_second_max: Option<u64>) -> Result<(), Error> {
        if !matches!(key, Key::Blob(_) | Key::Manifest(_)) {
            return Ok(());
        }
        let Some(size) = self.local.size(key).await? else { return Ok(()) };
        if let Some(rate) = bytes_per_second_max {
            return self.check_object(key, rate).await.map(drop);
        }
        let path = path_of(key)?;
        match self.remote().head(&path, self.lane).await? {
            Some(entry) if entry.size == size => Ok(()),
            Some(_) => Err(self.mismatch(key, &path)),
            None => Err(Error::Missing(key)),
        }
    }

    /// Stores the object of a local file again if the bucket has lost the object or has different bytes, together with
    /// the derived files of a blob. Only for files that a version refers to: a collection of a different node may have
    /// removed any other object.
    pub(super) async fn store_again(&self, key: Key, bytes_per_second_max: Option<u64>) -> Result<bool, Error> {
        match self.compare_object(key, bytes_per_second_max).await {
            Ok(()) => return Ok(false),
            Err(Error::Missing(_) | Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        self.store_from_disk(key).await?;
        if let Key::Blob(blob) = key {
            self.store_variants(blob, &Origin::ALL).await?;
        }
        counter!("devanture_bucket_objects_stored_again_total").increment(1);
        tracing::warn!(?key, "an object that the bucket had lost was stored again");
        Ok(true)
    }
}
