//! The ids of an app's stored versions, in order.

use devanture_config::VersionId;

/// The ids. A sorted list: most apps have few ids, while a tree's smallest node has room for eleven, and every app has
/// a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StoredIds(Vec<VersionId>);

impl StoredIds {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, id: &VersionId) -> bool {
        self.0.binary_search(id).is_ok()
    }

    pub(super) fn insert(&mut self, id: VersionId) {
        if let Err(place) = self.0.binary_search(&id) {
            if self.0.len() == self.0.capacity() {
                // Smaller steps than a doubling list takes, and still rare.
                self.0.reserve_exact(self.0.len() / 4 + 1);
            }
            self.0.insert(place, id);
        }
    }

    pub(super) fn remove(&mut self, id: &VersionId) {
        if let Ok(place) = self.0.binary_search(id) {
            self.0.remove(place);
        }
    }

    /// The first id that is not before `least`.
    pub(super) fn first_from(&self, least: &VersionId) -> Option<&VersionId> {
        self.0.get(self.0.partition_point(|id| id < least))
    }
}

impl IntoIterator for StoredIds {
    type Item = VersionId;
    type IntoIter = std::vec::IntoIter<VersionId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> VersionId {
        VersionId::of(&[number])
    }

    proptest! {
        #[test]
        fn ids_are_those_of_a_set(changes in proptest::collection::vec((0..20_u8, any::<bool>()), 0..60), sought in 0..20_u8) {
            let (mut ids, mut set) = (StoredIds::default(), BTreeSet::new());
            for (number, is_stored) in changes {
                match is_stored {
                    true => {
                        ids.insert(id(number));
                        set.insert(id(number));
                    }
                    false => {
                        ids.remove(&id(number));
                        set.remove(&id(number));
                    }
                }
            }
            prop_assert_eq!((ids.len(), ids.contains(&id(sought))), (set.len(), set.contains(&id(sought))));
            prop_assert_eq!(ids.first_from(&id(sought)), set.range(id(sought)..).next());
            prop_assert!(ids.into_iter().eq(set));
        }
    }

    #[test]
    fn one_id_has_the_memory_of_one() {
        let mut ids = StoredIds::default();
        ids.insert(id(1));
        ids.insert(id(1));
        assert_eq!(ids.0.capacity(), 1);
    }
}
