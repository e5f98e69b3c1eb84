//! What an app has sessions confirm before they do it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of change that a session confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfirmedAction {
    /// Whatever changes what visitors of `prod` get; docs/signing.md has the table.
    Promote,
    /// A token that reaches the app.
    Token,
    /// A deletion of something of the app, or of its data.
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
    /// The kinds of changes.
    pub confirm: BTreeSet<ConfirmedAction>,
}
