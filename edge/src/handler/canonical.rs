//! The redirect from a hostname of an environment to the one that is its canonical.

use std::sync::Arc;

use devanture_site::target;
use http::StatusCode;
use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::decision::{Decision, Head, SmallAnswer};
use crate::live::{Current, HostEntry, Live};

/// Sends a visitor to the canonical hostname, with the same path and query and whatever the method (308); asked again
/// each time, since the next word about hostnames may be another. `None` if the host serves by itself.
#[inline]
pub(super) fn redirect(
    head: &Head<'_>,
    entry: &HostEntry,
    current: Option<&Arc<Current>>,
    live: &Live,
) -> Option<Decision> {
    let answer = redirect_to(entry.canonical.as_deref()?, head, live)?;
    Some(SmallAnswer { current: current.cloned(), custom_host: entry.custom, ..answer }.into())
}

fn redirect_to(canonical: &str, head: &Head<'_>, live: &Live) -> Option<SmallAnswer> {
    // A tunnel has no path, nor has the `*` of OPTIONS (RFC 9112 §3.2.3, §3.2.4).
    if !head.path.starts_with('/') {
        return None;
    }
    let mut location = live.domains().url(canonical);
    // A `Location` is ASCII (RFC 3986 §2); what else was sent is kept in its encoded form.
    location.push_str(&target::for_location(head.path));
    if let Some(query) = head.query {
        location.push('?');
        location.extend(utf8_percent_encode(query, CONTROLS));
    }
    Some(SmallAnswer::redirect(StatusCode::PERMANENT_REDIRECT, &location))
}
