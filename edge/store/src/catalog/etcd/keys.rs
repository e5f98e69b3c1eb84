//! The layout of keys in etcd: all keys are below one prefix, records apart from the cluster's own keys.
//!
//! `PREFIX records/KEY` is a record, `PREFIX commits/NODE` the marker of a node, which each of its commits writes.

use bytes::Bytes;

/// Follows the prefix in the keys of records.
const RECORDS: &str = "records/";
/// Follows the prefix in the keys of markers.
const MARKERS: &str = "commits/";

/// Names keys below a prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

/// Keys from the first, up to and without the end. An end of a single zero byte stands for the end of all keys.
pub(super) type KeyRange = (Bytes, Bytes);

impl Keys {
    pub(super) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Returns the prefix.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key in etcd of a record.
    pub(super) fn record(&self, key: &str) -> Bytes {
        Bytes::from([self.prefix.as_str(), RECORDS, key].concat())
    }

    /// The key in etcd of a node's marker.
    pub(super) fn marker(&self, node: &str) -> Bytes {
        Bytes::from([self.prefix.as_str(), MARKERS, node].concat())
    }

    /// Returns the record's key for a key in etcd; `None` for keys that are no record, or no text.
    pub(super) fn record_of<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        let key = key.strip_prefix(self.prefix.as_bytes())?.strip_prefix(RECORDS.as_bytes())?;
        std::str::from_utf8(key).ok()
    }

    /// Returns the node for the etcd key of a marker; `None` for keys that are no marker, or no text.
    pub(super) fn node_of<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        let key = key.strip_prefix(self.prefix.as_bytes())?.strip_prefix(MARKERS.as_bytes())?;
        std::str::from_utf8(key).ok()
    }

    /// Returns the range of all keys.
    pub(super) fn all(&self) -> KeyRange {
        below(self.prefix.as_bytes())
    }

    /// All records.
    pub(super) fn records(&self) -> KeyRange {
        below(&self.record(""))
    }

    /// All markers.
    pub(super) fn markers(&self) -> KeyRange {
        below(&self.marker(""))
    }
}

/// Returns the range of keys with the beginning `prefix`, in the form of etcd (`RangeRequest.range_end` in its API
/// reference).
fn below(prefix: &[u8]) -> KeyRange {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            let first = if prefix.is_empty() { b"\0" } else { prefix };
            return (Bytes::copy_from_slice(first), Bytes::from(end));
        }
    }
    let first = if prefix.is_empty() { b"\0" } else { prefix };
    (Bytes::copy_from_slice(first), Bytes::from_static(b"\0"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_within(key: &[u8], (first, end): &KeyRange) -> bool {
        key >= &first[..] && (end.as_ref() == b"\0" || key < &end[..])
    }

    proptest! {
        #[test]
        fn a_range_holds_exactly_what_begins_with_its_prefix(
            prefix in prop::collection::vec(prop_oneof![Just(0xff), Just(0), any::<u8>()], 0..4),
            other in prop::collection::vec(prop_oneof![Just(0xff), Just(0), any::<u8>()], 1..6),
        ) {
            prop_assert_eq!(is_within(&other, &below(&prefix)), other.starts_with(&prefix));
        }

        #[test]
        fn a_record_has_its_key_again_and_is_no_marker(prefix in "\\PC{0,6}", key in "\\PC{0,12}") {
            let keys = Keys::new(prefix);
            let (stored, marker) = (keys.record(&key), keys.marker(&key));
            prop_assert_eq!(keys.record_of(&stored), Some(key.as_str()));
            prop_assert_eq!(keys.record_of(&marker), None);
            prop_assert_eq!((keys.node_of(&marker), keys.node_of(&stored)), (Some(key.as_str()), None));
            prop_assert!(is_within(&stored, &keys.records()) && !is_within(&stored, &keys.markers()));
            prop_assert!(is_within(&marker, &keys.markers()) && !is_within(&marker, &keys.records()));
            prop_assert!(is_within(&stored, &keys.all()) && is_within(&marker, &keys.all()));
        }
    }

    #[test]
    fn what_is_no_text_or_elsewhere_is_no_record() {
        let keys = Keys::new("a/");
        assert_eq!(keys.record_of(b"a/records/\xff"), None);
        assert_eq!(keys.record_of(b"b/records/x"), None);
    }
}
