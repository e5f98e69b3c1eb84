//! The redirect from a hostname of an environment to the one that is its canonical.

use http::StatusCode;
use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::decide::{Decision, Head, SmallAnswer};
use crate::live::{HostEntry, Live};

/// Sends a visitor to the canonical hostname, with the path and query as they came and whatever the method (308); asked
/// again each time, since the next word about hostnames may be another. Nothing where the host serves by itself.
#[inline]
pub(super) fn redirect(head: &Head<'_>, entry: &HostEntry, live: &Live) -> Option<Decision> {
    redirect_to(entry.canonical.as_deref()?, head, entry, live)
}

fn redirect_to(canonical: &str, head: &Head<'_>, entry: &HostEntry, live: &Live) -> Option<Decision> {
    // A tunnel has no path, nor has the `*` of OPTIONS (RFC 9112 §3.2.3, §3.2.4).
    if !head.path.starts_with('/') {
        return None;
    }
    let mut location = live.domains().url(canonical);
    // A `Location` is ASCII (RFC 3986 §2); what else was sent is kept in its encoded form.
    location.extend(utf8_percent_encode(head.path, CONTROLS));
    if let Some(query) = head.query {
        location.push('?');
        location.extend(utf8_percent_encode(query, CONTROLS));
    }
    let answer = SmallAnswer::redirect(StatusCode::PERMANENT_REDIRECT, &location);
    Some(SmallAnswer { current: entry.place.current(), custom_host: entry.custom, ..answer }.into())
}
