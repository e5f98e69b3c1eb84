//! The redirect from a hostname of an environment to the one that is its canonical.

use percent_encoding::{CONTROLS, utf8_percent_encode};

use crate::target;

/// Where a request for `path` and `query` is sent on, at the hostname that the address `base` has, whatever the method
/// (308); `None` if it has no path: a tunnel has none, nor has the `*` of OPTIONS (RFC 9112 §3.2.3, §3.2.4).
#[must_use]
pub fn canonical_location(base: String, path: &str, query: Option<&str>) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let mut location = base;
    // A `Location` is ASCII (RFC 3986 §2); what else was sent is kept in its encoded form.
    location.push_str(&target::for_location(path));
    if let Some(query) = query {
        location.push('?');
        location.extend(utf8_percent_encode(query, CONTROLS));
    }
    Some(location)
}
