//! The last commit that a mirror knows by its marker, by which a restored etcd is distinguished from the one that was
//! mirrored.
//!
//! etcd that was restored from a backup can have the id of the cluster that it replaces, and gives its revisions to
//! other commits. The id that a commit left in its marker is never given twice.

use serde::{Deserialize, Serialize};

use super::wire::KeyValue;

/// What a commit wrote to a marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marked {
    /// The node of the marker.
    pub(super) node: String,
    /// The commit.
    pub(super) revision: i64,
    /// Its id.
    pub(super) id: String,
}

impl Marked {
    /// That of a node's marker; `None` for one that is no text.
    pub(super) fn of(node: &str, kv: &KeyValue) -> Option<Self> {
        let id = std::str::from_utf8(&kv.value).ok()?.to_owned();
        Some(Self { node: node.to_owned(), revision: kv.mod_revision, id })
    }

    /// As it is kept in the mirror.
    pub(super) fn to_text(&self) -> String {
        // A struct of texts and numbers is always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads it from the mirror.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mark_is_read_as_it_was_written(node in "\\PC{0,8}", revision: i64, id in "\\PC{0,8}") {
            let marked = Marked { node, revision, id };
            prop_assert_eq!(Marked::from_text(&marked.to_text()), Some(marked));
        }
    }
}
