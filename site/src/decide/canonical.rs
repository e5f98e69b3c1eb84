//! The redirect from a hostname of an environment to the canonical hostname.

use percent_encoding::{CONTROLS, utf8_percent_encode};

use crate::target;

/// The target of a redirect (308) of `path` and `query` to the hostname of the address `base`, with the method
/// unchanged; `None` without a path: a tunnel has no path, nor has the `*` of OPTIONS (RFC 9112 §3.2.3, §3.2.4).
#[must_use]
pub fn canonical_location(base: String, path: &str, query: Option<&str>) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let mut location = base;
    // A `Location` is ASCII (RFC 3986 §2); other bytes are sent percent-encoded.
    location.push_str(&target::for_location(path));
    if let Some(query) = query {
        location.push('?');
        location.extend(utf8_percent_encode(query, CONTROLS));
    }
    Some(location)
}
