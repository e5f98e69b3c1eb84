//! Follows the imports of modules loaded by pages.

use std::collections::HashSet;

use devanture_config::Manifest;
use devanture_config::path::BundlePath;
use tokio::time::Instant;

use super::deadline::is_over;
use super::linked_assets::{Modules, Named};
use super::maker::Dictionaries;
use devanture_store::blobs::Key;

/// Modules of a version read for imports.
const MODULES_MAX: usize = 64;
/// Total bytes of these modules.
const MODULES_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Longest chain of imports from a page.
const DEPTH_MAX: usize = 8;

/// Followed modules of a version: each once, within the limits.
pub(super) struct Followed<'f> {
    manifest: &'f Manifest,
    deadline: Option<Instant>,
    read: HashSet<BundlePath>,
    bytes_left: u64,
}

impl<'f> Followed<'f> {
    pub(super) fn new(manifest: &'f Manifest, deadline: Option<Instant>) -> Self {
        Self { manifest, deadline, read: HashSet::new(), bytes_left: MODULES_BYTES_MAX }
    }

    /// Returns true if a module is to be read now.
    fn takes(&mut self, path: &BundlePath) -> bool {
        let Some(entry) = self.manifest.files.get(path) else { return false };
        if is_over(self.deadline) || self.read.len() >= MODULES_MAX {
            return false;
        }
        let Some(left) = self.bytes_left.checked_sub(entry.size) else { return false };
        let is_new = self.read.insert(path.clone());
        if is_new {
            self.bytes_left = left;
        }
        is_new
    }
}

impl Dictionaries {
    /// Adds the imports of a page's modules to `named`, nearest to the page first. Files unknown to `is_public` are not
    /// read.
    pub(super) async fn follow(
        &self,
        named: &mut Named,
        roots: Modules,
        followed: &mut Followed<'_>,
        is_public: &(dyn Fn(&BundlePath) -> bool + Sync),
    ) {
        let manifest = followed.manifest;
        let mut level = vec![roots];
        for _ in 0..DEPTH_MAX {
            let mut next = Vec::new();
            for modules in level {
                for module in &modules.paths {
                    if !is_public(module) || !followed.takes(module) {
                        continue;
                    }
                    let Some(entry) = manifest.files.get(module) else { continue };
                    // An unreadable module imports nothing; serving reports the damage.
                    let Ok(source) = self.blobs.get(Key::Blob(entry.hash)).await else { continue };
                    next.push(named.add_imports(&modules, module, &source, &|path| manifest.files.contains_key(path)));
                }
            }
            if next.is_empty() {
                return;
            }
            level = next;
        }
    }
}
