//! Damaged files: the records of the damage, and the quarantine.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::folder::{Folder, QUARANTINE, digest_of};
use super::handles::FileId;
use crate::blobs::{Error, Form, Key};
use devanture_base::durable::{self, Stamp};

/// Upper bound of suspected keys at a time. Further keys are found by the next check.
const SUSPECTS_MAX: usize = 10_000;

impl Folder {
    /// Records that a part of an opened file has changed since the check of the whole.
    pub(super) fn found_damaged(&self, key: Key, stamp: Stamp) {
        self.verified().forget(key);
        self.damages.fetch_add(1, Ordering::Relaxed);
        match self.set_aside(key, stamp) {
            Ok(Some(quarantined)) => tracing::error!(?key, quarantined, "stored bytes changed since they were checked"),
            Ok(None) => {
                tracing::error!(?key, "stored bytes changed since they were checked");
                // The file was overwritten, or a new file has the name by now: the whole file is checked and a damaged
                // file set aside, before a push relies on the file.
                match key {
                    // The variant may have been opened together with the other variants in its index.
                    Key::Variant(blob, _) => Form::STORED.into_iter().for_each(|form| {
                        drop(self.open_file(Key::Variant(blob, form)));
                    }),
                    Key::Blob(_) | Key::Manifest(_) | Key::Delta(..) => drop(self.open_file(key)),
                }
            }
            Err(error) => tracing::error!(?key, %error, "stored bytes changed, and cannot be set aside"),
        }
    }

    /// Records that a served file was removed or replaced.
    pub(super) fn found_lost(&self, key: Key) {
        self.verified().forget(key);
        self.damages.fetch_add(1, Ordering::Relaxed);
        tracing::error!(?key, path = %self.path(key).display(), "a stored file is gone, or was replaced, while it is served");
    }

    /// Records that the bytes of a blob or a manifest may be damaged: all bytes are checked at the next opening.
    pub(super) fn suspect(&self, key: Key) {
        if let Key::Blob(_) | Key::Manifest(_) = key {
            self.verified().forget(key);
            let mut suspects = self.suspects.lock();
            if suspects.len() < SUSPECTS_MAX {
                suspects.insert(key);
            }
        }
    }

    /// Returns the keys that were suspected since the last call.
    pub(super) fn take_suspects(&self) -> HashSet<Key> {
        std::mem::take(&mut self.suspects.lock())
    }

    /// Returns the number of opened files that were found damaged.
    pub(super) fn damages(&self) -> u64 {
        self.damages.load(Ordering::Relaxed)
    }

    /// Like [`Folder::set_aside`], for a file with bytes that do not match the hash.
    pub(super) fn set_aside_damaged(&self, key: Key, stamp: Stamp) -> Result<Option<String>, Error> {
        self.verified().forget(key);
        let quarantined = self.set_aside(key, stamp)?;
        if let Some(quarantined) = &quarantined {
            self.suspect(key);
            tracing::error!(?key, path = %self.path(key).display(), quarantined, "stored bytes do not match their hash");
        }
        Ok(quarantined)
    }

    /// Moves the file of `key` to the quarantine, if the stamp still matches, and returns the new place. A variant is
    /// lost thereby, since the index entry of a missing file does not count.
    fn set_aside(&self, key: Key, stamp: Stamp) -> Result<Option<String>, Error> {
        let mut ids = vec![FileId::Of(key)];
        if let Key::Variant(blob, _) = key {
            // A variant in the index takes the other variants along, and all are made again.
            ids.push(FileId::Index(blob));
        }
        let _turn = self.lock(digest_of(key));
        let is_it =
            |id: &FileId| std::fs::metadata(self.path_of(*id)).is_ok_and(|metadata| Stamp::of(&metadata) == stamp);
        let Some(id) = ids.into_iter().find(is_it) else { return Ok(None) };
        self.keep_open(id);
        let kind = match key {
            Key::Blob(_) => "blob",
            Key::Manifest(_) => "manifest",
            Key::Variant(..) => "variant",
            Key::Delta(..) => "delta",
        };
        self.quarantine(kind, &self.path_of(id))
    }

    /// Moves an existing file to the quarantine, and returns the new place. Called under the lock.
    pub(super) fn quarantine(&self, kind: &str, path: &Path) -> Result<Option<String>, Error> {
        // One place for each file, so that a file damaged repeatedly does not fill the disk.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let quarantined = self.root().join(QUARANTINE).join(format!("{kind}-{name}"));
        let moved = durable::move_file(path, &quarantined)?;
        Ok(moved.then(|| quarantined.display().to_string()))
    }
}
