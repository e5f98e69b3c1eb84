//! The variants of a blob: files beside it, and the index that says which of them count.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use devanture_config::Digest;

use super::folder::{Folder, Replacing, read_lines};
use super::index;
use crate::blobs::durable;
use crate::blobs::{Error, Form, Key, Quality, VariantInfo};

impl Folder {
    fn index_path(&self, blob: Digest) -> PathBuf {
        self.shard("variants", blob).join(format!("{blob}.index"))
    }

    /// Puts variants and their index, with one fsync for each file and one for the folder.
    pub(super) fn put_variants(&self, blob: Digest, variants: &[(Form, Quality, Bytes)]) -> Result<(), Error> {
        let _turn = self.lock(blob);
        // The collection may have been faster than the compression: a variant without its blob would stay for ever.
        if !self.path(Key::Blob(blob)).exists() {
            return Err(Error::Missing(Key::Blob(blob)));
        }
        let listed = self.read_index(blob)?;
        let mut lines = self.present(blob, listed.clone())?;
        let (mut files, mut changes_known) = (Vec::new(), false);
        for (form, quality, bytes) in variants {
            if lines.get(form).is_some_and(|known| known.quality >= *quality) {
                continue;
            }
            let size = bytes.len() as u64;
            files.push((Key::Variant(blob, *form), self.draft_of(bytes)?));
            changes_known |= listed.contains_key(form);
            lines.insert(*form, VariantInfo { form: *form, size, hash: Digest::of(bytes), quality: *quality });
        }
        if files.is_empty() && !self.is_lacking(blob, &listed)? {
            return Ok(());
        }
        let index = self.draft_of(index::to_text(&lines).as_bytes())?;
        self.replace(Replacing { index_path: self.index_path(blob), index, changes_known, gone: Vec::new(), files })
    }

    /// Whether variants are missing that were there, or none were ever put.
    pub(super) fn lacks_variants(&self, blob: Digest) -> Result<bool, Error> {
        let _turn = self.lock(blob);
        let listed = self.read_index(blob)?;
        self.is_lacking(blob, &listed)
    }

    /// Whether the index is not there or cannot be understood, or variants that are `listed` are not there.
    fn is_lacking(&self, blob: Digest, listed: &BTreeMap<Form, VariantInfo>) -> Result<bool, Error> {
        let length = std::fs::metadata(self.index_path(blob)).map_or(None, |found| Some(found.len()));
        Ok(match (length, listed.len()) {
            (None, _) => true,
            (Some(length), 0) => length > 0,
            (Some(_), count) => self.present(blob, listed.clone())?.len() < count,
        })
    }

    /// The index of a blob's variants.
    pub(super) fn variants(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error> {
        let _turn = self.lock(blob);
        let listed = self.read_index(blob)?;
        Ok(self.present(blob, listed)?.into_values().collect())
    }

    /// The lines of a blob's index; none if there is no index or it cannot be parsed.
    pub(super) fn read_index(&self, blob: Digest) -> Result<BTreeMap<Form, VariantInfo>, Error> {
        read_lines(&self.index_path(blob), index::INDEX_BYTES_MAX, index::parse)
    }

    /// Those of `lines` whose files are there with their lengths: variants may be deleted by hand.
    pub(super) fn present(
        &self,
        blob: Digest,
        mut lines: BTreeMap<Form, VariantInfo>,
    ) -> Result<BTreeMap<Form, VariantInfo>, Error> {
        let mut error = None;
        lines.retain(|form, info| match self.length(Key::Variant(blob, *form)) {
            Ok(length) => length == Some(info.size),
            Err(found) => {
                error = Some(found);
                false
            }
        });
        error.map_or(Ok(lines), Err)
    }

    /// Deletes what is there of a blob's variants, the index first. Called under the lock.
    pub(super) fn forget_variants(&self, blob: Digest) -> Result<(), Error> {
        durable::remove_file(&self.index_path(blob))?;
        for form in Form::ALL {
            self.forget(Key::Variant(blob, form))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_that_are_gone_are_missed_and_none_that_are_worth_nothing() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::open(data.path().to_path_buf()).unwrap();
        let (bytes, variant) = (Bytes::from_static(b"some text"), Bytes::from_static(b"text"));
        let digest = Digest::of(&bytes);
        folder.put(Key::Blob(digest), &bytes).unwrap();
        assert!(folder.lacks_variants(digest).unwrap(), "none were ever put");
        folder.put_variants(digest, &[]).unwrap();
        assert!(!folder.lacks_variants(digest).unwrap(), "none are worth keeping");
        folder.put_variants(digest, &[(Form::Br, Quality::Quick, variant)]).unwrap();
        assert!(!folder.lacks_variants(digest).unwrap());
        durable::remove_file(&folder.path(Key::Variant(digest, Form::Br))).unwrap();
        assert!(folder.lacks_variants(digest).unwrap(), "one is gone");
        folder.put_variants(digest, &[]).unwrap();
        assert!(!folder.lacks_variants(digest).unwrap(), "it is not worth keeping any more");
        durable::write_file(&folder.index_path(digest), b"no index", 0o600).unwrap();
        assert!(folder.lacks_variants(digest).unwrap(), "what cannot be read says nothing");
    }
}
