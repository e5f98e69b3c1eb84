//! The files checked as a whole by this process, so that no file is read twice for a check.
//!
//! There may be hundreds of thousands of files, so only two digests of each stay: of the key, and of the key with the
//! file's stamp. A file of several groups keeps the hashes of the groups, too; the hash of a group in a file of one
//! group is the hash of the file.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use devanture_config::Digest;

use super::tree::{OpenedTree, Tree};
use crate::blobs::Key;
use devanture_base::durable::Stamp;

/// Upper bound of remembered files: 4 MiB. Beyond the bound, all are forgotten and checked again.
const VERIFIED_MAX: usize = 200_000;
/// Of how many groups of bytes the hashes are remembered: 36 MiB, of 64 GiB of files.
const VERIFIED_GROUPS_MAX: usize = 1 << 20;

/// A digest of a key, by a secret of the process, so that no client can choose keys with equal digests. Of two keys
/// with equal digests, one is known.
type KeyDigest = u64;

/// The files checked as a whole.
#[derive(Default)]
pub(super) struct Verified {
    secrets: [RandomState; 2],
    /// A digest of each file's key and stamp, by the second secret: two files are confused only if both digests, 128
    /// bits, are equal.
    files: HashMap<KeyDigest, u64>,
    /// The groups of files with several groups.
    trees: HashMap<KeyDigest, Arc<Tree>>,
    groups: usize,
}

impl Verified {
    /// Returns the result of the last check of the file of `key` with the hash `hash`; `None` for a changed file.
    pub(super) fn of(&self, key: Key, stamp: Stamp, hash: Digest) -> Option<OpenedTree> {
        let digest = self.digest(key);
        if self.files.get(&digest) != Some(&self.stamp_digest(key, stamp)) {
            return None;
        }
        let shared = self.trees.get(&digest).cloned().map(OpenedTree::Shared);
        Some(shared.unwrap_or_else(|| OpenedTree::Own(Tree::of_one_group(hash))))
    }

    /// Remembers a file that was just checked.
    pub(super) fn remember(&mut self, key: Key, stamp: Stamp, tree: &OpenedTree) {
        self.forget(key);
        let groups = if tree.len() > 1 { tree.len() } else { 0 };
        if self.files.len() >= VERIFIED_MAX || self.groups.saturating_add(groups) > VERIFIED_GROUPS_MAX {
            *self = Self::default();
        }
        let digest = self.digest(key);
        if let OpenedTree::Shared(tree) = tree {
            self.groups = self.groups.saturating_add(groups);
            self.trees.insert(digest, Arc::clone(tree));
        }
        self.files.insert(digest, self.stamp_digest(key, stamp));
    }

    pub(super) fn forget(&mut self, key: Key) {
        let digest = self.digest(key);
        self.files.remove(&digest);
        if let Some(tree) = self.trees.remove(&digest) {
            self.groups = self.groups.saturating_sub(tree.len());
        }
    }

    fn digest(&self, key: Key) -> KeyDigest {
        let [secret, _] = &self.secrets;
        secret.hash_one(key)
    }

    fn stamp_digest(&self, key: Key, stamp: Stamp) -> u64 {
        let [_, secret] = &self.secrets;
        secret.hash_one((key, stamp))
    }

    #[cfg(test)]
    pub(super) fn distrust(&self, key: Key) {
        if let Some(tree) = self.trees.get(&self.digest(key)) {
            tree.distrust();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::fs::tree::GROUP_BYTES;

    fn stamp(file: &tempfile::NamedTempFile) -> Stamp {
        Stamp::of(&file.as_file().metadata().unwrap())
    }

    #[test]
    fn no_more_files_and_groups_are_remembered_than_there_is_memory_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = stamp(&file);
        let key = |number: u64| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            Key::Blob(blake3::Hash::from_bytes(digest).into())
        };
        let small = OpenedTree::from(Tree::read(&b"a"[..], 1).unwrap().1);
        let mut verified = Verified::default();
        verified.files.extend((1..VERIFIED_MAX as u64).map(|number| (number, 0)));
        verified.remember(key(0), stamp, &small);
        assert_eq!(verified.files.len(), VERIFIED_MAX);
        verified.remember(key(1), stamp, &small);
        assert_eq!(verified.files.len(), 1, "all are forgotten when there is one more");
        let large = OpenedTree::from(Tree::of_groups(VERIFIED_GROUPS_MAX / 4));
        for number in 0..4 {
            verified.remember(key(number), stamp, &large);
        }
        assert_eq!((verified.trees.len(), verified.groups), (4, VERIFIED_GROUPS_MAX));
        verified.remember(key(4), stamp, &large);
        assert_eq!((verified.files.len(), verified.trees.len(), verified.groups), (1, 1, VERIFIED_GROUPS_MAX / 4));
    }

    #[test]
    fn a_file_is_known_until_it_is_another_one_or_forgotten_whatever_its_length() {
        let (file, other) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        for length in [0, 1, GROUP_BYTES, GROUP_BYTES + 1, 3 * GROUP_BYTES] {
            let bytes = vec![7; length];
            let (hash, tree) = Tree::read(&*bytes, length as u64).unwrap();
            let (hash, tree) = (hash.unwrap(), OpenedTree::from(tree));
            let (blob, manifest) = (Key::Blob(hash), Key::Manifest(hash));
            let mut verified = Verified::default();
            let is_known = |verified: &Verified, key, file| verified.of(key, stamp(file), hash).is_some();
            assert!(!is_known(&verified, blob, &file));
            verified.remember(blob, stamp(&file), &tree);
            assert!(verified.of(blob, stamp(&file), hash).unwrap().is_whole(0, &bytes), "{length}");
            assert!(!is_known(&verified, blob, &other) && !is_known(&verified, manifest, &file));
            verified.remember(blob, stamp(&other), &tree);
            assert!(is_known(&verified, blob, &other) && !is_known(&verified, blob, &file));
            assert_eq!(verified.groups, if length > GROUP_BYTES { tree.len() } else { 0 });
            verified.forget(blob);
            assert!(!is_known(&verified, blob, &other));
            assert_eq!((verified.groups, verified.files.len(), verified.trees.len()), (0, 0, 0));
        }
    }
}
