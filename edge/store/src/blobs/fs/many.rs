//! Puts, finds and checks many small blobs at a time: the files are synced together, and each folder once.
//!
//! Blobs of one upload are mostly sorted by digest, so that a batch of some hundred blobs touches only a few folders.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;
use devanture_config::Digest;

use super::folder::{Folder, TMP, folder_of};
use super::tree::{OpenedTree, Tree};
use crate::blobs::{Error, Key};
use devanture_base::durable::{self, Batch, Draft, Stamp};

/// A file on stable storage that was read back, under its temporary name.
struct SyncedDraft {
    digest: Digest,
    draft: Draft,
    stamp: Stamp,
    tree: Tree,
}

impl Folder {
    /// Puts whole blobs. Each blob with a name at the return of the call, with or without an error, is durable and
    /// whole; after an error some blobs may lack their names.
    pub(super) fn put_all(&self, blobs: &BTreeMap<Digest, Bytes>) -> Result<(), Error> {
        let mismatch = blobs.iter().map(|(digest, bytes)| (*digest, Digest::of(bytes))).find(|(name, of)| name != of);
        if let Some((expected, found)) = mismatch {
            return Err(Error::Mismatch { expected, found });
        }
        let drafts = Batch::write(&self.tmp()?, blobs.values().map(|bytes| &**bytes))?.sync()?;
        let mut shards: BTreeMap<u8, Vec<SyncedDraft>> = BTreeMap::new();
        for ((digest, bytes), draft) in blobs.iter().zip(drafts) {
            let [first, ..] = *digest.as_bytes();
            shards.entry(first).or_default().push(read_back(*digest, bytes, draft)?);
        }
        shards.into_values().try_for_each(|shard| self.name_all(shard))
    }

    /// Names the files of a folder, with a single sync.
    fn name_all(&self, files: Vec<SyncedDraft>) -> Result<(), Error> {
        let Some(path) = files.first().map(|file| self.path(Key::Blob(file.digest))) else { return Ok(()) };
        let _turn = files.first().map(|file| self.lock(file.digest));
        self.check_in_place()?;
        let (mut new, mut named) = (Vec::new(), Vec::with_capacity(files.len()));
        let renamed = files.into_iter().try_for_each(|mut file| {
            let path = self.path(Key::Blob(file.digest));
            let is_new = !path.exists();
            self.rename_into(&mut file.draft, &path)?;
            new.extend(is_new.then_some(path));
            named.push(file);
            Ok(())
        });
        if let Err(error) = renamed.and_then(|()| durable::sync_folder(folder_of(&path))) {
            // After the error the files cannot be relied on. Earlier files of the names are as good as before.
            for path in new {
                drop(durable::remove_file(&path));
            }
            return Err(error.into());
        }
        let mut verified = self.verified();
        for SyncedDraft { digest, stamp, tree, .. } in named {
            verified.remember(Key::Blob(digest), stamp, &OpenedTree::from(tree));
        }
        Ok(())
    }

    /// Returns the length of each stored blob.
    pub(super) fn sizes(&self, blobs: &[Digest]) -> Result<Vec<Option<u64>>, Error> {
        blobs.iter().map(|digest| self.length(Key::Blob(*digest))).collect()
    }

    /// Reads the blobs without a read by this process since the write.
    pub(super) fn check_all(&self, blobs: &[Digest]) -> Result<(), Error> {
        for digest in blobs {
            let key = Key::Blob(*digest);
            let is_known = std::fs::metadata(self.path(key))
                .is_ok_and(|metadata| self.verified().of(key, Stamp::of(&metadata), *digest).is_some());
            if !is_known {
                self.open_file(key)?;
            }
        }
        Ok(())
    }
}

/// Compares the system's copy of a file with the intended bytes (law 2), before the file has its name.
fn read_back(digest: Digest, bytes: &Bytes, draft: Draft) -> Result<SyncedDraft, Error> {
    let (stamp, stored) = (draft.stamp()?, draft.read_back(bytes.len())?);
    let unreadable = || durable::failed("reading back", Path::new(TMP));
    let (found, tree) = Tree::read(&*stored, stamp.size).map_err(unreadable())?;
    if found == Some(digest) {
        return Ok(SyncedDraft { digest, draft, stamp, tree });
    }
    let source = std::io::Error::new(ErrorKind::InvalidData, "the disk does not give back what was written");
    Err(unreadable()(source).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 2.
    #[test]
    fn what_the_disk_does_not_give_back_as_it_was_written_gets_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let meant = Bytes::from_static(b"what was meant");
        for written in [&meant[..], b"what was MEANT", b"what was", b"what was meant, and more"] {
            let mut draft = Draft::create(folder.path()).unwrap();
            draft.write(written).unwrap();
            draft.sync().unwrap();
            let read = read_back(Digest::of(&meant), &meant, draft).map(|read| read.digest);
            match written == meant {
                true => assert_eq!(read.unwrap(), Digest::of(&meant)),
                false => assert!(matches!(read, Err(Error::Disk(durable::Error::Io { .. }))), "{written:?}"),
            }
        }
    }

    #[test]
    fn what_was_written_gets_no_name_in_a_folder_that_took_the_name_of_its_own() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("data");
        let folder = Folder::open(root.clone(), 1).unwrap();
        let bytes = Bytes::from_static(b"some bytes");
        let written = read_back(Digest::of(&bytes), &bytes, folder.draft_of(&bytes).unwrap()).unwrap();
        durable::move_folder(&root, &parent.path().join("aside")).unwrap();
        Folder::open(root.clone(), 1).unwrap();
        let named = folder.name_all(vec![written]);
        assert!(matches!(named, Err(Error::Disk(durable::Error::Replaced { .. }))), "{named:?}");
        assert_eq!(std::fs::read_dir(root.join("blobs")).unwrap().count(), 0);
    }
}
