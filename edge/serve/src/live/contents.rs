//! The table of loaded contents: places of one version with the same merged settings share one.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use devanture_config::site_toml::Serving;
use devanture_config::{AppName, Digest, Manifest, VersionId};
use parking_lot::Mutex;

use crate::version::{Content, Setting};

/// Loaded contents, held weakly.
#[derive(Default)]
pub(super) struct Contents(Mutex<HashMap<(AppName, VersionId), OfVersion>>);

/// The contents of one version, and what is known of its manifest while one of them is loaded. Lists rather than maps:
/// nearly all versions have one content, and an edge may have loaded many thousands of them.
#[derive(Default)]
struct OfVersion {
    /// The names of the manifest's tables for environments, once it was read.
    tables: Option<Box<[Box<str>]>>,
    /// The digest of the merged settings, by table; `None` for the base.
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

/// A content, if it is loaded; [`super::loading`] has others wait that load it.
pub(super) type Slot = Arc<Mutex<Weak<Content>>>;

/// A content to look up.
#[derive(Clone, Copy)]
pub(super) struct Sought<'s> {
    pub(super) version: (&'s AppName, &'s VersionId),
    /// The name of the environment, or `preview`.
    pub(super) table: &'s str,
    pub(super) setting: Setting,
    pub(super) recorded: Digest,
}

impl Contents {
    /// The slot of a content, if it can be found without the manifest.
    pub(super) fn known(&self, sought: &Sought<'_>) -> Option<Slot> {
        let mut versions = self.lock();
        let version = versions.get_mut(&sought.key())?;
        let table = version.tables.as_ref()?.iter().find(|table| ***table == *sought.table).cloned();
        let merged = version.merged_of(&table)?;
        Some(version.slot(sought, merged))
    }

    /// The slot of a content, by its manifest and the merged settings.
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

    /// Forgets the contents of a version, so that the next load sees new variants and deltas. Places that have one keep
    /// it.
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
    /// The digest of the merged settings of a table, which a version's manifest has for ever.
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

/// Pushes to a list that mostly stays at one element, which a list that grows has four times the memory for.
fn push<T>(list: &mut Vec<T>, element: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.push(element);
}

/// Whether a content is loaded or being loaded.
fn is_used(slot: &Slot) -> bool {
    Arc::strong_count(slot) > 1 || slot.lock().strong_count() > 0
}
