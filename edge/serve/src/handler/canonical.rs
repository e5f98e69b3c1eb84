//! The redirect from a hostname of an environment to the canonical hostname.

use std::sync::Arc;

use devanture_site::decide::canonical_location;
use http::StatusCode;

use super::decision::{Decision, Head, SmallAnswer};
use crate::live::{Current, HostEntry, Live};

/// Redirects a visitor to the canonical hostname, with path, query and method unchanged (308); not cached, since the
/// hostnames may change. `None` if the host is served directly.
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
    let location = canonical_location(live.domains().url(canonical), head.path, head.query)?;
    Some(SmallAnswer::redirect(StatusCode::PERMANENT_REDIRECT, &location))
}
