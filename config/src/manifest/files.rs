//! Entries of a manifest by path, during reading.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::path::BundlePath;

/// Entries by path. A repeated path is dropped, to save memory, and reported at the end.
#[derive(Debug)]
pub(super) struct Entries<T> {
    by_path: BTreeMap<BundlePath, T>,
    twice: Option<BundlePath>,
}

impl<T> Entries<T> {
    /// Returns the entries, or the first repeated path.
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
