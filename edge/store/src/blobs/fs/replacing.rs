//! Replaces derived files of blobs, and their index.

use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::handles::FileId;
use crate::blobs::{Error, Key};
use devanture_base::durable::{self, Draft};

/// Replaces the files of a blob and the index that lists them.
pub(super) struct Replacing {
    pub(super) index_path: PathBuf,
    /// The index, if it contains served variants.
    pub(super) index_id: Option<FileId>,
    /// Set if the bytes of files in the existing index change.
    pub(super) changes_known: bool,
    /// Files to be removed.
    pub(super) gone: Vec<Key>,
    /// Files to be added.
    pub(super) files: Vec<Key>,
}

impl Folder {
    /// Replaces derived files of blobs, with indexes in `folder`, after all new files were written: the first draft of
    /// each blob is the index, the others are the files. If the bytes of listed files change, the old index is removed
    /// first: after a crash, an old line beside new bytes would pass for corruption. Called under the lock.
    pub(super) fn replace_all(&self, folder: &Path, all: Vec<(Replacing, Vec<Draft>)>) -> Result<(), Error> {
        let indexes: Vec<PathBuf> = all.iter().map(|(replacing, _)| replacing.index_path.clone()).collect();
        for (replacing, _) in &all {
            let files = replacing.files.iter().map(|key| FileId::Of(*key));
            files.chain(replacing.index_id).for_each(|id| self.keep_open(id));
        }
        for (replacing, _) in all.iter().filter(|(replacing, _)| replacing.changes_known) {
            durable::remove_file(&replacing.index_path)?;
        }
        let placed = all.into_iter().try_for_each(|(replacing, drafts)| self.place(replacing, drafts));
        let result = placed.and_then(|()| Ok(durable::sync_folder(folder)?));
        if result.is_err() {
            for index in indexes {
                drop(durable::remove_file(&index));
            }
        }
        result
    }

    fn place(&self, replacing: Replacing, drafts: Vec<Draft>) -> Result<(), Error> {
        let Replacing { index_path, gone, files, .. } = replacing;
        for key in gone {
            self.forget(key)?;
        }
        let mut drafts = drafts.into_iter();
        let index = drafts.next();
        for (key, mut draft) in files.into_iter().zip(drafts) {
            self.rename_into(&mut draft, &self.path(key))?;
        }
        Ok(index.map_or(Ok(()), |mut index| self.rename_into(&mut index, &index_path))?)
    }
}
