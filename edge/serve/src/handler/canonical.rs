//! The redirect from a hostname of an environment to the one that is its canonical.

use std::sync::Arc;

use devanture_site::decide::canonical_location;
use http::StatusCode;

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
    let location = canonical_location(live.domains().url(canonical), head.path, head.query)?;
    Some(SmallAnswer::redirect(StatusCode::PERMANENT_REDIRECT, &location))
}
