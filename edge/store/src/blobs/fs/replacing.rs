//! Replaces what was made of blobs: files, and the index that lists them.

use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::handles::FileId;
use crate::blobs::{Error, Key};
use devanture_base::durable::{self, Draft};

/// Replaces the files of a blob and the index that lists them.
pub(super) struct Replacing {
    pub(super) index_path: PathBuf,
    /// The index, where files stand in it that are served.
    pub(super) index_id: Option<FileId>,
    /// Whether the existing index lists files whose bytes change.
    pub(super) changes_known: bool,
    /// Files that go.
    pub(super) gone: Vec<Key>,
    /// Files that come.
    pub(super) files: Vec<Key>,
}

impl Folder {
    /// Replaces what was made of blobs whose indexes are in `folder`, once all that needs room is written: the first
    /// draft of each is its index, the others are its files. Between here and the new index a crash must not leave a
    /// line of the old one beside other bytes, which would pass for corruption. Called under the lock.
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
