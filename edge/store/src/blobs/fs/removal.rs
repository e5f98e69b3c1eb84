//! Removal of files: deletion, collection and restores, and the remains of a crash.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use devanture_config::Digest;

use super::deltas::delta_key;
use super::folder::{Folder, QUARANTINE, TMP, digest_of, each_file, folder_of};
use super::handles::FileId;
use crate::blobs::{Error, Key};
use devanture_base::durable;

/// The folder of collected blobs and manifests before their final removal, in the same layout as the store.
const COLLECTED: &str = "collected";

impl Folder {
    /// Deletes a variant, a manifest, or a blob with its derived files. After a crash the file may be back.
    pub(super) fn delete(&self, key: Key) -> Result<(), Error> {
        let _turn = self.lock(digest_of(key));
        self.check_in_place()?;
        self.forget_derived(key)?;
        match key {
            Key::Variant(blob, form) => self.forget_variant(blob, form),
            Key::Blob(_) | Key::Manifest(_) | Key::Delta(..) => self.forget(key),
        }
    }

    /// Removes the derived files of a blob, which can be made again. The blob is removed afterwards: the next
    /// collection finds an existing blob.
    fn forget_derived(&self, key: Key) -> Result<(), Error> {
        if let Key::Blob(blob) = key {
            self.forget_variants(blob)?;
            self.forget_deltas(blob)?;
        }
        Ok(())
    }

    /// Deletes a blob or manifest with a last put before `before_s`; a put of the same key waits for the same lock.
    pub(super) fn delete_put_before(&self, key: Key, before_s: u64, for_good: bool) -> Result<Option<u64>, Error> {
        let _turn = self.lock(digest_of(key));
        self.check_in_place()?;
        let Some((_, mut bytes, put_s)) = entry(key, &self.path(key)) else { return Ok(None) };
        if put_s >= before_s {
            return Ok(None);
        }
        if let Key::Blob(blob) = key {
            let variants = self.variants_in_turn(blob)?;
            bytes = variants.iter().fold(bytes, |sum, info| sum.saturating_add(info.size));
            bytes = bytes.saturating_add(self.delta_bytes(blob)?);
        }
        self.forget_derived(key)?;
        let collected = self.collected_path(key);
        if for_good {
            self.forget(key)?;
            durable::remove_file(&collected)?;
            durable::sync_folder(folder_of(&self.path(key)))?;
            return Ok(Some(bytes));
        }
        self.verified().forget(key);
        self.keep_open(FileId::Of(key));
        durable::make_folder(folder_of(&collected))?;
        durable::move_file(&self.path(key), &collected)?;
        Ok(Some(bytes))
    }

    fn collected_path(&self, key: Key) -> PathBuf {
        let path = self.path(key);
        self.root().join(COLLECTED).join(path.strip_prefix(self.root()).unwrap_or(&path))
    }

    fn collected_shards(&self) -> Result<Vec<PathBuf>, Error> {
        let mut shards = Vec::new();
        for kind in ["blobs", "manifests"] {
            each_file(&self.root().join(COLLECTED).join(kind), |_, shard| shards.push(shard.to_path_buf()))?;
        }
        Ok(shards)
    }

    /// Returns the blobs and manifests that await their final removal.
    pub(super) fn collected(&self) -> Result<Vec<Key>, Error> {
        let mut found = Vec::new();
        for shard in self.collected_shards()? {
            each_file(&shard, |name, _| {
                found.extend(match name.strip_suffix(".json") {
                    Some(name) => name.parse().ok().map(Key::Manifest),
                    None => name.parse().ok().map(Key::Blob),
                });
            })?;
        }
        Ok(found)
    }

    /// Restores a collected blob or manifest under its name, before the final removal. Called under the lock.
    ///
    /// A catalog restored from an older copy may refer to files collected since.
    pub(super) fn take_back(&self, key: Key) -> Result<bool, Error> {
        if !matches!(key, Key::Blob(_) | Key::Manifest(_)) {
            return Ok(false);
        }
        let (from, to) = (self.collected_path(key), self.path(key));
        if !from.exists() {
            return Ok(false);
        }
        self.check_in_place()?;
        if self.gone_around(&to).is_some() {
            return Ok(false);
        }
        durable::make_folder(folder_of(&to))?;
        let is_back = durable::move_file(&from, &to)?;
        if is_back {
            tracing::warn!(?key, "a collected file is needed again and was brought back");
        }
        Ok(is_back)
    }

    /// Returns the number of damaged files that were set aside.
    pub(super) fn quarantined(&self) -> Result<u64, Error> {
        let mut count = 0;
        each_file(&self.root().join(QUARANTINE), |_, _| count += 1)?;
        Ok(count)
    }

    /// Removes damaged files and abandoned drafts older than `before_s`, and collected files older than
    /// `collected_before_s`.
    pub(super) fn remove_leftovers(
        &self,
        before_s: u64,
        collected_before_s: u64,
        dry_run: bool,
    ) -> Result<(u64, u64), Error> {
        self.check_in_place()?;
        let mut folders = vec![(self.root().join(QUARANTINE), before_s), (self.root().join(TMP), before_s)];
        folders.extend(self.collected_shards()?.into_iter().map(|shard| (shard, collected_before_s)));
        let mut old = Vec::new();
        for (folder, before_s) in folders {
            each_file(&folder, |_, path| {
                // The time of the rename: the bytes may have been written long before they were set aside.
                let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
                let changed = metadata.map(|metadata| (metadata.ctime(), metadata.len()));
                let is_old = |changed_s: i64| u64::try_from(changed_s).is_ok_and(|changed_s| changed_s < before_s);
                old.extend(changed.filter(|(at, _)| is_old(*at)).map(|(_, length)| (path.to_path_buf(), length)));
            })?;
        }
        let (mut files, mut bytes) = (0, 0_u64);
        for (path, length) in old {
            // A draft is locked by its writer while the writer lives.
            let is_free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if is_free && (dry_run || durable::remove_file(&path)?) {
                files += 1;
                bytes = bytes.saturating_add(length);
            }
        }
        Ok((files, bytes))
    }

    pub(super) fn forget(&self, key: Key) -> Result<(), Error> {
        self.verified().forget(key);
        self.keep_open(FileId::Of(key));
        durable::remove_file(&self.path(key))?;
        Ok(())
    }

    /// Every blob and manifest.
    #[cfg(test)]
    pub(super) fn list(&self) -> Result<Vec<(Key, u64, u64)>, Error> {
        let parts: Result<Vec<_>, Error> = (0..=u8::MAX).map(|first| self.list_part(first)).collect();
        Ok(parts?.concat())
    }

    /// Returns the blobs and manifests with digests beginning with `first`, with length and time. Also removes variants
    /// and deltas without a blob.
    pub(super) fn list_part(&self, first: u8) -> Result<Vec<(Key, u64, u64)>, Error> {
        let mut found = Vec::new();
        let shard = hex::encode([first]);
        each_file(&self.root().join("blobs").join(&shard), |name, path| {
            let digest = name.parse().ok();
            found.extend(digest.and_then(|digest| entry(Key::Blob(digest), path)));
        })?;
        each_file(&self.root().join("manifests").join(&shard), |name, path| {
            let digest = name.strip_suffix(".json").and_then(|name| name.parse().ok());
            found.extend(digest.and_then(|digest| entry(Key::Manifest(digest), path)));
        })?;
        self.remove_orphans(&shard)?;
        Ok(found)
    }

    /// Removes variants and deltas of missing blobs of one folder, the remains of a crash in the middle of a deletion.
    fn remove_orphans(&self, shard: &str) -> Result<(), Error> {
        self.check_in_place()?;
        self.orphans(shard)?.into_iter().try_for_each(|(blob, deltas)| self.remove_orphan(blob, deltas))
    }

    /// Returns the missing blobs of one folder with remaining variants or deltas, and the names of these deltas.
    pub(super) fn orphans(&self, shard: &str) -> Result<BTreeMap<Digest, Vec<Key>>, Error> {
        let mut found = BTreeMap::new();
        for kind in ["variants", "deltas"] {
            each_file(&self.root().join(kind).join(shard), |name, _| {
                let blob: Option<Digest> = name.split_once('.').and_then(|(digest, _)| digest.parse().ok());
                if let Some(blob) = blob {
                    let of_blob = found.entry(blob).or_insert_with(|| (!self.path(Key::Blob(blob)).exists(), vec![]));
                    // Deltas that the index does not list are found by their names.
                    of_blob.1.extend(delta_key(name).filter(|_| of_blob.0));
                }
            })?;
        }
        let gone = found.into_iter().filter(|(_, (is_gone, _))| *is_gone);
        Ok(gone.map(|(blob, (_, deltas))| (blob, deltas)).collect())
    }

    /// Removes the remains of a missing blob, unless the blob was put meanwhile.
    pub(super) fn remove_orphan(&self, blob: Digest, deltas: Vec<Key>) -> Result<(), Error> {
        let _turn = self.lock(blob);
        if self.path(Key::Blob(blob)).exists() {
            return Ok(());
        }
        self.forget_variants(blob)?;
        self.forget_deltas(blob)?;
        deltas.into_iter().try_for_each(|key| self.forget(key))
    }
}

/// Returns the entry of a file in `list`; `None` if the file was deleted since its name was read.
fn entry(key: Key, path: &Path) -> Option<(Key, u64, u64)> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let stored = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some((key, metadata.len(), stored.as_secs()))
}
