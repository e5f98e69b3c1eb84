//! The variants of a blob: files beside the blob, and the index of the valid variants, with the bytes of the small
//! ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use devanture_config::Digest;

use super::folder::{Folder, folder_of};
use super::handles::FileId;
use super::index::{self, Line, Lines, TEXT_BYTES_MAX};
use super::replacing::Replacing;
use crate::blobs::{Error, Form, Key, Quality, StoredVariant, VariantInfo};
use devanture_base::durable::{Batch, failed, open_file};

/// Bytes of an index that are read at once for reads of its variants: most indexes are shorter.
const AHEAD_BYTES: u64 = 8 * 1024;

/// An opened index.
struct Opened {
    file: File,
    /// The first bytes.
    head: Vec<u8>,
    lines: Lines,
}

/// Variants of a blob for a put.
type New = [(Form, Quality, Bytes)];

/// The replacement of the variants of a blob, with the bytes of the new files.
struct Plan {
    replacing: Replacing,
    /// The index, then the files.
    contents: Vec<Bytes>,
}

impl Folder {
    pub(super) fn index_path(&self, blob: Digest) -> PathBuf {
        self.shard("variants", blob).join(format!("{blob}.index"))
    }

    /// Puts variants and the index, with an fsync for each file and for the folder.
    pub(super) fn put_variants(&self, blob: Digest, variants: &New) -> Result<(), Error> {
        let _turn = self.lock(blob);
        // The collection may have been faster than the compression: a variant without a blob would stay for ever.
        if !self.path(Key::Blob(blob)).exists() {
            return Err(Error::Missing(Key::Blob(blob)));
        }
        self.check_in_place()?;
        match self.plan(blob, variants, false)? {
            None => Ok(()),
            Some(plan) => self.carry_out(vec![plan]),
        }
    }

    /// Puts the variants of many blobs; variants of missing blobs are left out. The files of each folder are synced
    /// together. With `keeps_quick`, variants of the quick level are kept beside stored variants of the same encoding.
    pub(super) fn put_variants_all(
        &self,
        all: &BTreeMap<Digest, Vec<(Form, Quality, Bytes)>>,
        keeps_quick: bool,
    ) -> Result<(), Error> {
        let mut shards: BTreeMap<u8, Vec<(Digest, &New)>> = BTreeMap::new();
        for (blob, variants) in all {
            let [first, ..] = *blob.as_bytes();
            shards.entry(first).or_default().push((*blob, variants));
        }
        for shard in shards.into_values() {
            let Some(_turn) = shard.first().map(|(blob, _)| self.lock(*blob)) else { continue };
            self.check_in_place()?;
            let mut plans = Vec::with_capacity(shard.len());
            for (blob, variants) in shard {
                if self.path(Key::Blob(blob)).exists() {
                    plans.extend(self.plan(blob, variants, keeps_quick)?);
                }
            }
            self.carry_out(plans)?;
        }
        Ok(())
    }

    /// Returns the planned replacement; `None` if all variants exist in the quality of the new ones. Called under the
    /// lock.
    fn plan(&self, blob: Digest, variants: &New, keeps_quick: bool) -> Result<Option<Plan>, Error> {
        let listed = self.read_index(blob)?;
        let mut lines = self.present(blob, listed.clone())?;
        let mut new: BTreeMap<Form, &Bytes> = BTreeMap::new();
        for (form, quality, bytes) in variants {
            let is_beside = keeps_quick && *quality == Quality::Quick && lines.contains_key(form);
            let form = if is_beside { form.kept_quick() } else { *form };
            if lines.get(&form).is_some_and(|known| known.info.quality >= *quality) {
                continue;
            }
            let size = bytes.len() as u64;
            let info = VariantInfo { form, size, hash: Digest::of(bytes), quality: *quality };
            // The offset in the new index is computed when the index is read.
            lines.insert(form, Line { info, at: index::is_here(size).then_some(0) });
            new.insert(form, bytes);
        }
        if new.is_empty() && !self.is_lacking(blob, &listed)? {
            return Ok(None);
        }
        let mut here: BTreeMap<Form, Bytes> = BTreeMap::new();
        for (form, line) in &lines {
            let bytes = match (line.at, new.get(form)) {
                (None, _) => None,
                (Some(_), Some(bytes)) => Some(Bytes::clone(bytes)),
                // The line of a damaged variant stays, without bytes, so that the variant counts as missing and is made
                // again.
                (Some(_), None) => self.read_here(blob, line)?,
            };
            here.extend(bytes.map(|bytes| (*form, bytes)));
        }
        let index = index::to_bytes(&lines, |form| here.get(&form).map(|bytes| &**bytes));
        let has_file = |lines: &Lines, form: &Form| lines.get(form).is_some_and(|line| line.at.is_none());
        let files: Vec<(Form, &Bytes)> =
            new.iter().filter(|(form, _)| has_file(&lines, form)).map(|(form, bytes)| (*form, *bytes)).collect();
        let changes_known = files.iter().any(|(form, _)| has_file(&listed, form));
        let gone = listed.keys().filter(|form| has_file(&listed, form) && !has_file(&lines, form));
        let replacing = Replacing {
            index_path: self.index_path(blob),
            index_id: Some(FileId::Index(blob)),
            changes_known,
            gone: gone.map(|form| Key::Variant(blob, *form)).collect(),
            files: files.iter().map(|(form, _)| Key::Variant(blob, *form)).collect(),
        };
        let contents = std::iter::once(Bytes::from(index)).chain(files.into_iter().map(|(_, bytes)| bytes.clone()));
        Ok(Some(Plan { replacing, contents: contents.collect() }))
    }

    /// Writes the files of all plans, which are of one folder, and replaces the old files. Called under the lock.
    fn carry_out(&self, plans: Vec<Plan>) -> Result<(), Error> {
        let Some(folder) = plans.first().map(|plan| folder_of(&plan.replacing.index_path).to_path_buf()) else {
            return Ok(());
        };
        let contents = plans.iter().flat_map(|plan| &plan.contents).map(|bytes| &**bytes);
        let mut drafts = Batch::write(&self.tmp()?, contents)?.sync()?.into_iter();
        let replacings = plans.into_iter().map(|Plan { replacing, contents }| {
            let drafts = drafts.by_ref().take(contents.len()).collect();
            (replacing, drafts)
        });
        self.replace_all(&folder, replacings.collect())
    }

    /// Returns true if variants have disappeared, or were never put.
    pub(super) fn lacks_variants(&self, blob: Digest) -> Result<bool, Error> {
        let _turn = self.lock(blob);
        let listed = self.read_index(blob)?;
        self.is_lacking(blob, &listed)
    }

    /// Returns the blobs that lack variants ([`Folder::lacks_variants`]).
    pub(super) fn lacking_variants(&self, mut blobs: Vec<Digest>) -> Result<Vec<Digest>, Error> {
        let mut failed = None;
        blobs.retain(|blob| {
            self.lacks_variants(*blob).unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        });
        failed.map_or(Ok(blobs), Err)
    }

    /// Returns true if the index is missing or unreadable, or if `listed` variants are missing.
    fn is_lacking(&self, blob: Digest, listed: &Lines) -> Result<bool, Error> {
        let length = std::fs::metadata(self.index_path(blob)).map_or(None, |found| Some(found.len()));
        Ok(match (length, listed.len()) {
            (None, _) => true,
            (Some(length), 0) => length > 0,
            (Some(_), count) => self.present(blob, listed.clone())?.len() < count,
        })
    }

    /// Moves the unreadable indexes of a blob to the quarantine, and returns their number.
    pub(super) fn check_lists(&self, blob: Digest) -> Result<u64, Error> {
        let _turn = self.lock(blob);
        let index = self.open_index(blob)?;
        let is_bad = |(file, lines): (File, Lines)| lines.is_empty() && file.metadata().is_ok_and(|of| of.len() > 0);
        let mut bad = Vec::new();
        if index.is_some_and(is_bad) {
            bad.push(("variant", self.index_path(blob)));
        }
        if self.has_bad_delta_index(blob)? {
            bad.push(("delta", self.delta_index_path(blob)));
        }
        let mut count = 0;
        for (kind, path) in bad {
            if let Some(quarantined) = self.quarantine(kind, &path)? {
                tracing::error!(path = %path.display(), quarantined, "an index cannot be read");
                count += 1;
            }
        }
        Ok(count)
    }

    /// The index of a blob's variants.
    pub(super) fn variants(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error> {
        let _turn = self.lock(blob);
        self.variants_in_turn(blob)
    }

    /// Like [`Folder::variants`], called under the lock.
    pub(super) fn variants_in_turn(&self, blob: Digest) -> Result<Vec<VariantInfo>, Error> {
        let listed = self.read_index(blob)?;
        Ok(self.present(blob, listed)?.into_values().map(|line| line.info).collect())
    }

    /// Returns the index of each blob's variants, with the bytes of the variants that the index contains.
    pub(super) fn variants_all(&self, blobs: &[Digest]) -> Result<Vec<Vec<StoredVariant>>, Error> {
        let of = |blob: &Digest| {
            let _turn = self.lock(*blob);
            let Some(Opened { file, head, lines }) = self.open_ahead(*blob, AHEAD_BYTES)? else {
                return Ok(Vec::new());
            };
            let lines = self.present(*blob, lines)?.into_values();
            let bytes = |line: &Line| ahead(&head, line).or_else(|| here(&file, line));
            Ok(lines.map(|line| StoredVariant { info: line.info, bytes: bytes(&line) }).collect())
        };
        blobs.iter().map(of).collect()
    }

    /// Returns the lines of a blob's index; empty for a missing or invalid index.
    pub(super) fn read_index(&self, blob: Digest) -> Result<Lines, Error> {
        Ok(self.open_index(blob)?.map(|(_, lines)| lines).unwrap_or_default())
    }

    /// Returns a blob's index and its lines, empty for an invalid index; `None` for a missing index.
    pub(super) fn open_index(&self, blob: Digest) -> Result<Option<(File, Lines)>, Error> {
        Ok(self.open_ahead(blob, TEXT_BYTES_MAX)?.map(|Opened { file, lines, .. }| (file, lines)))
    }

    /// Like [`Folder::open_index`], with the first `bytes` of the index, which are read in one call.
    fn open_ahead(&self, blob: Digest, bytes: u64) -> Result<Option<Opened>, Error> {
        let path = self.index_path(blob);
        let file = match open_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("reading", &path)(error).into()),
        };
        let length = file.metadata().map_err(failed("reading", &path))?.len();
        let mut head = vec![0; usize::try_from(length.min(bytes)).unwrap_or_default()];
        let read = file.read_at(&mut head, 0).map_err(failed("reading", &path))?;
        head.truncate(read);
        let text_max = usize::try_from(TEXT_BYTES_MAX).unwrap_or(usize::MAX).min(head.len());
        let text = head.get(..text_max).unwrap_or_default();
        let lines = index::parse(text, length).unwrap_or_else(|| {
            tracing::error!(path = %path.display(), "an index cannot be read; its variants will be made again");
            Lines::default()
        });
        Ok(Some(Opened { file, head, lines }))
    }

    /// Returns the bytes of a variant in the index; `None` for damaged bytes.
    fn read_here(&self, blob: Digest, line: &Line) -> Result<Option<Bytes>, Error> {
        Ok(self.open_index(blob)?.and_then(|(file, _)| here(&file, line)))
    }

    /// Filters `lines` by the presence and the length of their files: an operator may delete variants by hand.
    pub(super) fn present(&self, blob: Digest, mut lines: Lines) -> Result<Lines, Error> {
        let mut error = None;
        lines.retain(|form, line| match line.at {
            Some(_) => true,
            None => match self.length(Key::Variant(blob, *form)) {
                Ok(length) => length == Some(line.info.size),
                Err(found) => {
                    error = Some(found);
                    false
                }
            },
        });
        error.map_or(Ok(lines), Err)
    }

    /// Deletes one variant of a blob. Called under the lock.
    pub(super) fn forget_variant(&self, blob: Digest, form: Form) -> Result<(), Error> {
        let Some((file, mut lines)) = self.open_index(blob)? else { return self.forget(Key::Variant(blob, form)) };
        if lines.get(&form).is_none_or(|line| line.at.is_none()) {
            return self.forget(Key::Variant(blob, form));
        }
        lines.remove(&form);
        let mut left: BTreeMap<Form, Bytes> = BTreeMap::new();
        for (form, line) in &lines {
            left.extend(here(&file, line).map(|bytes| (*form, bytes)));
        }
        // The line of a damaged variant stays, without bytes, so that the variant counts as missing and is made again.
        if lines.is_empty() {
            // An index without a line would mean that no variant is worth storing.
            return self.forget_index(blob);
        }
        let index = index::to_bytes(&lines, |form| left.get(&form).map(|bytes| &**bytes));
        let replacing = Replacing {
            index_path: self.index_path(blob),
            index_id: Some(FileId::Index(blob)),
            changes_known: false,
            gone: Vec::new(),
            files: Vec::new(),
        };
        self.carry_out(vec![Plan { replacing, contents: vec![index.into()] }])
    }

    /// Deletes the existing variants of a blob, the index first. Called under the lock.
    pub(super) fn forget_variants(&self, blob: Digest) -> Result<(), Error> {
        self.forget_index(blob)?;
        for form in Form::STORED {
            self.forget(Key::Variant(blob, form))?;
        }
        Ok(())
    }
}

/// Returns the bytes of a variant from the head of the index; `None` for damaged or missing bytes.
fn ahead(head: &[u8], line: &Line) -> Option<Bytes> {
    let from = usize::try_from(line.at?).ok()?;
    let bytes = head.get(from..from.checked_add(usize::try_from(line.info.size).ok()?)?)?;
    (Digest::of(bytes) == line.info.hash).then(|| Bytes::copy_from_slice(bytes))
}

/// Returns the bytes of a variant from the file of the index; `None` for damaged bytes.
fn here(file: &File, line: &Line) -> Option<Bytes> {
    let at = line.at?.into();
    let mut bytes = vec![0; usize::try_from(line.info.size).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    (Digest::of(&bytes) == line.info.hash).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_base::durable;

    #[test]
    fn variants_that_are_gone_are_missed_and_none_that_are_worth_nothing() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::open(data.path().to_path_buf(), 1).unwrap();
        let (bytes, variant) = (Bytes::from_static(b"some text"), Bytes::from(vec![7; 10_000]));
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
