//! Changes of an app that a session has to confirm.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Kind of change that a session has to confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfirmedAction {
    /// Any change visible to visitors of `prod`; docs/signing.md has the table.
    Promote,
    /// A token with access to the app.
    Token,
    /// A deletion of the app's data or of a part of the app.
    Delete,
}

impl fmt::Display for ConfirmedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Promote => "promote",
            Self::Token => "token",
            Self::Delete => "delete",
        })
    }
}

/// `GET` and `PUT /v1/apps/{app}/confirmations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmations {
    /// Kinds of changes.
    pub confirm: BTreeSet<ConfirmedAction>,
}
