//! Rule for the fields of responses: fields to set, fields to remove, and permitted users.

use super::At;
use super::pattern::Pattern;
use super::template::Template;

/// Maximum length of a field's value in a rule, in bytes.
pub const VALUE_BYTES_MAX: usize = 8_192;

/// Rule for fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRule {
    /// Position in its file.
    pub at: At,
    /// Matching paths.
    pub path: Pattern,
    /// Changes, in order.
    pub changes: Vec<Change>,
    /// Permitted users of these paths; all visitors if empty.
    pub users: Vec<User>,
    /// True if a `Cache-Control` of the rule also applies to pages and service workers.
    pub force: bool,
    /// True if a field set before gets a further value (Cloudflare's meaning); false to replace the value.
    pub joins: bool,
}

/// Change of a field by a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Removes the field.
    Remove(String),
    /// Sets the field.
    Set {
        /// Name, in lower case.
        name: String,
        /// The value.
        value: Template,
    },
}

/// User of HTTP basic authentication (RFC 7617).
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for User {
    // Keeps the password out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Fields of the connection, the framing or the representation, set by the edge alone.
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

/// Returns the reason why a rule may not set the field `name`, in lower case; `None` if permitted.
#[must_use]
pub fn reserved(name: &str) -> Option<&'static str> {
    if name.starts_with(':') {
        return Some("it is no field but a part of the request or status line");
    }
    RESERVED.iter().find(|(reserved, _)| *reserved == name).map(|(_, why)| *why)
}

/// Returns the reason why a rule may not remove the field `name`, in lower case; `None` if permitted. `ETag` is
/// removable, as with Cloudflare: clients then revalidate by date alone.
#[must_use]
pub fn unremovable(name: &str) -> Option<&'static str> {
    reserved(name).filter(|_| name != "etag")
}

/// Returns true if a text is a valid field name: a token (RFC 9110 §5.6.2).
#[must_use]
pub fn is_field_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Returns true if a text is a valid field value (RFC 9110 §5.5): visible characters, spaces and tabs.
#[must_use]
pub fn is_field_value(text: &str) -> bool {
    text.len() <= VALUE_BYTES_MAX && !text.chars().any(|c| c != '\t' && c.is_control())
}
