//! Table of loaded contents: places of one version with the same merged settings share one content.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use devanture_config::site_toml::Serving;
use devanture_config::{AppName, Digest, Manifest, VersionId};
use parking_lot::Mutex;

use crate::version::{Content, Setting};

/// Loaded contents, by weak references.
#[derive(Default)]
pub(super) struct Contents(Mutex<HashMap<(AppName, VersionId), OfVersion>>);

/// Contents of one version, and facts about its manifest while a content is loaded. Lists instead of maps: nearly all
/// versions have a single content, and an edge may have loaded many thousands of versions.
#[derive(Default)]
struct OfVersion {
    /// Names of the manifest's tables for environments, once read.
    tables: Option<Box<[Box<str>]>>,
    /// Digests of the merged settings, by table; `None` for the base.
    merged: Vec<(Option<Box<str>>, Digest)>,
    slots: Vec<(SlotKey, Slot)>,
}

/// Identifies a content among those of one version.
#[derive(Debug, PartialEq, Eq)]
struct SlotKey {
    setting: Setting,
    /// Digest of the merged settings.
    merged: Digest,
    /// Digest of the catalog's records about the version.
    recorded: Digest,
}

/// A content, if loaded; [`super::loading`] makes concurrent loads wait.
pub(super) type Slot = Arc<Mutex<Weak<Content>>>;

/// A content to look up.
#[derive(Clone, Copy)]
pub(super) struct Sought<'s> {
    pub(super) version: (&'s AppName, &'s VersionId),
    /// Name of the environment, or `preview`.
    pub(super) table: &'s str,
    pub(super) setting: Setting,
    pub(super) recorded: Digest,
}

impl Contents {
    /// The slot of a content, if known without the manifest.
    pub(super) fn known(&self, sought: &Sought<'_>) -> Option<Slot> {
        let mut versions = self.lock();
        let version = versions.get_mut(&sought.key())?;
        let table = version.tables.as_ref()?.iter().find(|table| ***table == *sought.table).cloned();
        let merged = version.merged_of(&table)?;
        Some(version.slot(sought, merged))
    }

    /// The slot of a content, by manifest and merged settings.
    pub(super) fn slot(&self, sought: &Sought<'_>, manifest: &Manifest, serving: &Serving) -> Slot {
        // Equal settings have equal JSON: their maps are sorted.
        let merged = Digest::of(&serde_json::to_vec(serving).unwrap_or_default());
        let mut versions = self.lock();
        if versions.len() == versions.capacity() {
            versions.retain(|_, version| version.slots.iter().any(|(_, slot)| is_used(slot)));
        }
        let version = versions.entry(sought.key()).or_default();
        let tables = || manifest.env.keys().map(|name| name.as_str().into()).collect();
        let tables = version.tables.get_or_insert_with(tables);
        let table = tables.iter().find(|table| ***table == *sought.table).cloned();
        if version.merged_of(&table).is_none() {
            push(&mut version.merged, (table, merged));
        }
        version.slot(sought, merged)
    }

    /// Forgets the contents of a version, so that the next load reads new variants and deltas. Places with a content
    /// keep the old one.
    pub(super) fn outdate(&self, id: &VersionId) {
        self.lock().retain(|(_, other), _| other != id);
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<(AppName, VersionId), OfVersion>> {
        self.0.lock()
    }
}

impl Sought<'_> {
    fn key(&self) -> (AppName, VersionId) {
        (self.version.0.clone(), *self.version.1)
    }
}

impl OfVersion {
    /// Digest of the merged settings of a table, constant for a version's manifest.
    fn merged_of(&self, table: &Option<Box<str>>) -> Option<Digest> {
        self.merged.iter().find(|(known, _)| known == table).map(|(_, merged)| *merged)
    }

    fn slot(&mut self, sought: &Sought<'_>, merged: Digest) -> Slot {
        self.slots.retain(|(_, slot)| is_used(slot));
        let key = SlotKey { setting: sought.setting, merged, recorded: sought.recorded };
        if let Some((_, slot)) = self.slots.iter().find(|(known, _)| *known == key) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        push(&mut self.slots, (key, Arc::clone(&slot)));
        slot
    }
}

/// Pushes to a list that mostly stays at one element; a growing list allocates room for four.
fn push<T>(list: &mut Vec<T>, element: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.push(element);
}

/// Returns true if a content is loaded or being loaded.
fn is_used(slot: &Slot) -> bool {
    Arc::strong_count(slot) > 1 || slot.lock().strong_count() > 0
}
