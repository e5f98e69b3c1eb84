//! The last commit known to a mirror by its marker, which distinguishes a restored etcd from the mirrored one.
//!
//! An etcd restored from a backup can have the id of the replaced cluster, and assigns its revisions to new commits.
//! The id in the marker of a commit is never assigned twice.

use serde::{Deserialize, Serialize};

use super::wire::KeyValue;

/// The content of a marker after a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marked {
    /// The node of the marker.
    pub(super) node: String,
    /// The commit.
    pub(super) revision: i64,
    /// The id of the commit.
    pub(super) id: String,
}

impl Marked {
    /// Returns the content of a node's marker; `None` if the value is not text.
    pub(super) fn of(node: &str, kv: &KeyValue) -> Option<Self> {
        let id = std::str::from_utf8(&kv.value).ok()?.to_owned();
        Some(Self { node: node.to_owned(), revision: kv.mod_revision, id })
    }

    /// Returns the text form for the mirror.
    pub(super) fn to_text(&self) -> String {
        // A struct of texts and numbers is always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the text form in the mirror.
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
