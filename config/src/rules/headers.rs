//! One rule that changes the fields of answers: what is set, what is removed, and who may see them.

use super::At;
use super::pattern::Pattern;
use super::template::Template;

/// Longest value of a field that a rule sets, in bytes.
pub const VALUE_BYTES_MAX: usize = 8_192;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRule {
    /// Where it is written.
    pub at: At,
    /// Which paths.
    pub path: Pattern,
    /// Its changes, in order.
    pub changes: Vec<Change>,
    /// Users who may see these paths; everybody if it is empty.
    pub users: Vec<User>,
    /// Whether a `Cache-Control` of it holds for pages and service workers too.
    pub force: bool,
    /// Whether a field that was set before gets a value more (Cloudflare's meaning); else this one takes its place.
    pub joins: bool,
}

/// The change of one field by a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Takes it away.
    Remove(String),
    /// Sets it; the name is in lower case.
    Set {
        /// The name, in lower case.
        name: String,
        /// The value.
        value: Template,
    },
}

/// A user of HTTP's basic authentication (RFC 7617).
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for User {
    // A password must not come into a log by accident.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Fields that belong to the connection, the framing or the representation: the edge alone sets them.
const RESERVED: [(&str, &str); 26] = [
    ("accept-ranges", FRAMING),
    ("age", FRAMING),
    ("allow", FRAMING),
    ("alt-svc", CONNECTION),
    ("connection", CONNECTION),
    ("content-encoding", FRAMING),
    ("content-length", FRAMING),
    ("content-range", FRAMING),
    ("date", FRAMING),
    ("devanture-version", FRAMING),
    ("etag", FRAMING),
    ("host", CONNECTION),
    ("http2-settings", CONNECTION),
    ("keep-alive", CONNECTION),
    ("last-modified", FRAMING),
    ("location", "redirects are written as redirects"),
    ("proxy-authenticate", CONNECTION),
    ("proxy-authorization", CONNECTION),
    ("proxy-connection", CONNECTION),
    ("server", CONNECTION),
    ("te", CONNECTION),
    ("trailer", CONNECTION),
    ("transfer-encoding", CONNECTION),
    ("upgrade", CONNECTION),
    ("via", CONNECTION),
    ("www-authenticate", "write Basic-Auth instead"),
];
const CONNECTION: &str = "it belongs to the connection";
const FRAMING: &str = "the edge sets it from what it sends";

/// Why a rule may not set the field `name`, which is in lower case; `None` if it may.
#[must_use]
pub fn reserved(name: &str) -> Option<&'static str> {
    if name.starts_with(':') {
        return Some("it is no field but a part of the request or status line");
    }
    RESERVED.iter().find(|(reserved, _)| *reserved == name).map(|(_, why)| *why)
}

/// Why a rule may not remove the field `name`, which is in lower case; `None` if it may. `ETag` may go, as with
/// Cloudflare: without it a client asks again by date alone.
#[must_use]
pub fn unremovable(name: &str) -> Option<&'static str> {
    reserved(name).filter(|_| name != "etag")
}

/// Whether a text can be the name of a field: a token (RFC 9110 §5.6.2).
#[must_use]
pub fn is_field_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether a text can be the value of a field (RFC 9110 §5.5): visible characters, spaces and tabs.
#[must_use]
pub fn is_field_value(text: &str) -> bool {
    text.len() <= VALUE_BYTES_MAX && !text.chars().any(|c| c != '\t' && c.is_control())
}
