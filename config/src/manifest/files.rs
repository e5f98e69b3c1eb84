//! The entries of a manifest by path, as they come.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::path::BundlePath;

/// Entries by path. One that names a path again is left out and reported once all are read, so that it takes no memory.
#[derive(Debug)]
pub(super) struct Entries<T> {
    by_path: BTreeMap<BundlePath, T>,
    twice: Option<BundlePath>,
}

impl<T> Entries<T> {
    /// The entries, or the first path that is named twice.
    pub(super) fn each_once(self) -> Result<BTreeMap<BundlePath, T>, BundlePath> {
        self.twice.map_or(Ok(self.by_path), Err)
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { by_path: BTreeMap::new(), twice: None }
    }
}

impl<'j, T: Deserialize<'j>> Deserialize<'j> for Entries<T> {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'j, T: Deserialize<'j>> Visitor<'j> for Reader<T> {
    type Value = Entries<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut object: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Entries::default();
        while let Some((path, entry)) = object.next_entry()? {
            match entries.by_path.entry(path) {
                Entry::Vacant(place) => drop(place.insert(entry)),
                Entry::Occupied(first) if entries.twice.is_none() => entries.twice = Some(first.key().clone()),
                Entry::Occupied(_) => {}
            }
        }
        Ok(entries)
    }
}
