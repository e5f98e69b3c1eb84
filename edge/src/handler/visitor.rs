//! A visitor of something protected, and the paths that are for visitors.

use std::sync::Arc;

use devanture_config::api::{Secret, ShareTarget};

use crate::live::Restriction;

/// Where the form of the page is sent to, and where logins begin and end.
pub(super) const LOGIN_PATH: &str = "/.well-known/devanture/login";
/// Where a person sees as whom they are logged in, and logs out, at the hostname where visitors log in.
pub(super) const LOGOUT_PATH: &str = "/.well-known/devanture/logout";
/// Where the provider of `[oidc]` sends browsers back to, at the hostname where visitors log in.
pub(super) const CALLBACK_PATH: &str = "/.well-known/devanture/callback";
/// Where share links lead to, with their text in the query.
pub(crate) const SHARE_PATH: &str = "/.well-known/devanture/share";
/// The parameter of the query that holds the text of a link.
pub(crate) const SHARE_PARAMETER: &str = "link=";

/// A visitor who has to be looked up.
pub struct Visitor(pub(super) Kind);

/// Where a visitor is.
pub(super) enum Kind {
    /// At something protected.
    Protected(AtProtected),
    /// At the hostname where visitors log in.
    Login(AtLogin),
}

/// A visitor of something protected.
pub(super) struct AtProtected {
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

/// A step of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtLogin {
    /// It begins.
    Begin,
    /// The browser comes back from the provider.
    Back,
    /// The name and the password of an account, in a form; or that the login of before is to count.
    Form,
    /// Who is logged in?
    Person,
    /// They log out.
    Logout,
}

/// Whether the query of a request for `path` has secrets of visitors.
pub(super) fn has_secret_query(path: &str) -> bool {
    matches!(path, SHARE_PATH | LOGIN_PATH | CALLBACK_PATH)
}
