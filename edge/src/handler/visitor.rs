//! A visitor of something protected, and the paths that are for visitors.

use std::sync::Arc;

use devanture_config::api::{Secret, ShareTarget};

use crate::live::Restriction;

/// Where the form of the page is sent to.
pub(super) const LOGIN_PATH: &str = "/.well-known/devanture/login";
/// Where share links lead to, with their text in the query.
pub(crate) const SHARE_PATH: &str = "/.well-known/devanture/share";
/// The parameter of the query that holds the text of a link.
pub(crate) const SHARE_PARAMETER: &str = "link=";

/// A visitor of something protected who has to be looked up.
pub struct Visitor {
    pub(super) restriction: Arc<Restriction>,
    pub(super) target: ShareTarget,
    pub(super) step: Step,
}

/// How a visitor is looked up.
pub(super) enum Step {
    /// By a form, which is the body.
    Form,
    /// By a token of the app.
    Token(Secret),
}
