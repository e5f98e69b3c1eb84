//! The files that this process has checked as a whole, so that none is read twice for it.

use std::collections::HashMap;
use std::sync::Arc;

use super::tree::Tree;
use crate::blobs::Key;
use crate::blobs::durable::Stamp;

/// Most files that are remembered as checked. When there are more, all are forgotten and checked again.
const VERIFIED_MAX: usize = 200_000;
/// Of how many groups of bytes the hashes are remembered: 36 MiB, of 64 GiB of files.
const VERIFIED_GROUPS_MAX: usize = 1 << 20;

/// The files that were checked as a whole.
#[derive(Default)]
pub(super) struct Verified {
    files: HashMap<Key, (Stamp, Arc<Tree>)>,
    groups: usize,
}

impl Verified {
    /// The result of the last check of a file, if it is still the same.
    pub(super) fn of(&self, key: Key, stamp: Stamp) -> Option<Arc<Tree>> {
        self.files.get(&key).filter(|(known, _)| *known == stamp).map(|(_, tree)| Arc::clone(tree))
    }

    /// Remembers a file that was just checked.
    pub(super) fn remember(&mut self, key: Key, stamp: Stamp, tree: &Arc<Tree>) {
        self.forget(key);
        if self.files.len() >= VERIFIED_MAX || self.groups.saturating_add(tree.len()) > VERIFIED_GROUPS_MAX {
            *self = Self::default();
        }
        self.groups = self.groups.saturating_add(tree.len());
        self.files.insert(key, (stamp, Arc::clone(tree)));
    }

    pub(super) fn forget(&mut self, key: Key) {
        if let Some((_, tree)) = self.files.remove(&key) {
            self.groups = self.groups.saturating_sub(tree.len());
        }
    }

    #[cfg(test)]
    pub(super) fn distrust(&self, key: Key) {
        if let Some((_, tree)) = self.files.get(&key) {
            tree.distrust();
        }
    }
}
