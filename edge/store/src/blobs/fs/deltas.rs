//! The deltas of a blob: files in a separate folder, and the index of the valid deltas, with the latest put in the last
//! line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use devanture_config::Digest;

use super::delta_index;
use super::folder::{Folder, folder_of, read_lines};
use super::replacing::Replacing;
use crate::blobs::{DELTA_DICTIONARIES_MAX, DeltaForm, DeltaInfo, Error, Key, NewDelta};
use devanture_base::durable;

/// The key of a delta of a blob.
const fn name_of(info: &DeltaInfo) -> (Digest, DeltaForm) {
    (info.dictionary, info.form)
}

const fn key_of(blob: Digest, info: &DeltaInfo) -> Key {
    Key::Delta(blob, info.dictionary, info.form)
}

/// Returns the key of a delta with the file name `name`; `None` for other names.
pub(super) fn delta_key(name: &str) -> Option<Key> {
    let (blob, rest) = name.split_once('.')?;
    let (dictionary, suffix) = rest.split_once('.')?;
    let form = DeltaForm::ALL.into_iter().find(|form| form.suffix() == suffix)?;
    Some(Key::Delta(blob.parse().ok()?, dictionary.parse().ok()?, form))
}

impl Folder {
    pub(super) fn delta_index_path(&self, blob: Digest) -> PathBuf {
        self.shard("deltas", blob).join(format!("{blob}.index"))
    }

    /// Puts deltas and the index, with an fsync for each file and for the folder.
    pub(super) fn put_deltas(&self, blob: Digest, deltas: &[NewDelta]) -> Result<(), Error> {
        let _turn = self.lock(blob);
        // The collection may have been faster: a delta without a blob would stay for ever.
        if !self.path(Key::Blob(blob)).exists() {
            return Err(Error::Missing(Key::Blob(blob)));
        }
        let listed = self.read_delta_index(blob)?;
        let known = self.present_deltas(blob, listed.clone())?;
        let (lines, bytes) = merged(known.clone(), deltas);
        let (mut files, mut drafts) = (Vec::new(), Vec::new());
        for info in lines.iter().filter(|info| !known.contains(info)) {
            let Some(bytes) = bytes.get(&name_of(info)) else { continue };
            files.push(key_of(blob, info));
            drafts.push(self.draft_of(bytes)?);
        }
        if files.is_empty() {
            return Ok(());
        }
        drafts.insert(0, self.draft_of(delta_index::to_text(&lines).as_bytes())?);
        let (left, new): (BTreeSet<Key>, BTreeSet<Key>) =
            (lines.iter().map(|info| key_of(blob, info)).collect(), files.iter().copied().collect());
        let listed: Vec<Key> = listed.iter().map(|info| key_of(blob, info)).collect();
        let changes_known = listed.iter().any(|key| new.contains(key));
        let gone = listed.into_iter().filter(|key| !left.contains(key)).collect();
        let index_path = self.delta_index_path(blob);
        let folder = folder_of(&index_path).to_path_buf();
        self.replace_all(&folder, vec![(Replacing { index_path, index_id: None, changes_known, gone, files }, drafts)])
    }

    /// Returns the index of a blob's deltas, in the order of their puts.
    pub(super) fn deltas(&self, blob: Digest) -> Result<Vec<DeltaInfo>, Error> {
        let _turn = self.lock(blob);
        self.deltas_in_turn(blob)
    }

    fn deltas_in_turn(&self, blob: Digest) -> Result<Vec<DeltaInfo>, Error> {
        let listed = self.read_delta_index(blob)?;
        self.present_deltas(blob, listed)
    }

    /// Returns the expected hash of a delta's bytes, if the delta is listed. Called under the lock.
    pub(super) fn delta_hash(
        &self,
        blob: Digest,
        dictionary: Digest,
        form: DeltaForm,
    ) -> Result<Option<Digest>, Error> {
        let known = self.deltas_in_turn(blob)?;
        Ok(known.iter().find(|info| name_of(info) == (dictionary, form)).map(|info| info.hash))
    }

    /// The bytes of a blob's deltas. Called under the lock.
    pub(super) fn delta_bytes(&self, blob: Digest) -> Result<u64, Error> {
        Ok(self.deltas_in_turn(blob)?.iter().fold(0, |sum, info| sum.saturating_add(info.size)))
    }

    /// Deletes the deltas listed in a blob's index, then the index, without which the deltas could not be found: deltas
    /// left by a crash are removed by the next listing after the blob's removal. Called under the lock.
    pub(super) fn forget_deltas(&self, blob: Digest) -> Result<(), Error> {
        for info in self.read_delta_index(blob)? {
            self.forget(key_of(blob, &info))?;
        }
        durable::remove_file(&self.delta_index_path(blob))?;
        Ok(())
    }

    /// Returns true if the index exists and cannot be read. Called under the lock.
    pub(super) fn has_bad_delta_index(&self, blob: Digest) -> Result<bool, Error> {
        let length = std::fs::metadata(self.delta_index_path(blob)).map_or(0, |found| found.len());
        Ok(length > 0 && self.read_delta_index(blob)?.is_empty())
    }

    fn read_delta_index(&self, blob: Digest) -> Result<Vec<DeltaInfo>, Error> {
        read_lines(&self.delta_index_path(blob), delta_index::INDEX_BYTES_MAX, delta_index::parse)
    }

    /// Filters `lines` by the presence and the length of their files: an operator may delete deltas by hand.
    fn present_deltas(&self, blob: Digest, lines: Vec<DeltaInfo>) -> Result<Vec<DeltaInfo>, Error> {
        let mut present = Vec::with_capacity(lines.len());
        for info in lines {
            if self.length(key_of(blob, &info))? == Some(info.size) {
                present.push(info);
            }
        }
        Ok(present)
    }
}

/// Merges the index with new deltas: returns the lines of the new index, and the bytes of the new deltas.
fn merged(known: Vec<DeltaInfo>, deltas: &[NewDelta]) -> (Vec<DeltaInfo>, BTreeMap<(Digest, DeltaForm), &Bytes>) {
    let (mut lines, mut bytes) = (known, BTreeMap::new());
    for delta in deltas {
        let name = (delta.dictionary, delta.form);
        if lines.iter().any(|info| name_of(info) == name && info.quality >= delta.quality) {
            continue;
        }
        lines.retain(|info| name_of(info) != name);
        lines.push(DeltaInfo {
            form: delta.form,
            dictionary: delta.dictionary,
            sha256: delta.sha256,
            size: delta.bytes.len() as u64,
            hash: Digest::of(&delta.bytes),
            quality: delta.quality,
        });
        bytes.insert(name, &delta.bytes);
    }
    // The dictionaries with the latest puts stay.
    let mut dictionaries = Vec::new();
    for info in lines.iter().rev() {
        if !dictionaries.contains(&info.dictionary) {
            dictionaries.push(info.dictionary);
        }
    }
    dictionaries.truncate(DELTA_DICTIONARIES_MAX);
    lines.retain(|info| dictionaries.contains(&info.dictionary));
    (lines, bytes)
}
