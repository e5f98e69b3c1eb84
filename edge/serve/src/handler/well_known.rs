//! Paths of the edge below `/.well-known/`: answered before routes, rules and files.

use std::sync::Arc;

use devanture_site::cache;
use devanture_site::conditional::{self, Comparison};
use devanture_site::decide::OwnPath;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::decision::{Decision, Head, ReportMessage, SmallAnswer, refuse};
use super::header_rules::HeaderRules;
use super::refused::Refused;
use crate::live::{Current, Live};

/// Returns true if an authority looks at `path` of `host`, in any spelling, for a proof of ownership that only the edge
/// may give: an app with such a proof would get a certificate for a name of the edge's domains.
#[inline]
pub(super) fn is_edges_proof(path: &str, host: &str, live: &Live) -> bool {
    OwnPath::is_for_proofs(path) && live.domains().has(host)
}

/// Returns true if a client redirected with `path` of `host` may look for such a proof at the target.
#[inline]
pub(super) fn leads_to_edges_proof(path: &str, host: &str, live: &Live) -> bool {
    OwnPath::leads_to_proofs(path) && live.domains().has(host)
}

/// Answers a request for one of the remaining paths.
pub(super) fn answer(own: OwnPath, head: &Head<'_>, current: &Arc<Current>, custom_host: bool) -> Decision {
    match own {
        OwnPath::Env => env(head, current, custom_host),
        OwnPath::Integrity => Decision::Report(Box::new(ReportMessage { current: Arc::clone(current), custom_host })),
        OwnPath::Release => {
            let body = current.version.release.clone();
            small(StatusCode::OK, fields_with(cache::NEVER), body, current, custom_host)
        }
        // Visitors of protected content were let in before.
        OwnPath::Share => share(current, custom_host),
        // A dictionary is a file, and the status page has its own decision.
        OwnPath::Dictionary(_) | OwnPath::Status => refuse(current, custom_host, Refused::NotFound),
    }
}

/// The response to a share link of a public preview: a redirect to the first page, without the secret.
fn share(current: &Arc<Current>, custom_host: bool) -> Decision {
    let mut redirect = SmallAnswer::redirect(StatusCode::SEE_OTHER, "/");
    redirect.headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    redirect.headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    SmallAnswer { current: Some(Arc::clone(current)), custom_host, ..redirect }.into()
}

/// A request sees one version and one revision of its settings (law 1): both belong to `current`.
fn env(head: &Head<'_>, current: &Arc<Current>, custom_host: bool) -> Decision {
    let settings = current.settings.load();
    let field = |name: &HeaderName| head.fields.joined(name);
    // RFC 9110 §13.2.2; no date exists to compare.
    if field(&IF_MATCH).is_some_and(|tags| !conditional::matches_any(&tags, &settings.etag, Comparison::Strong)) {
        return refuse(current, custom_host, Refused::PreconditionFailed);
    }
    let mut headers = fields_with("no-cache");
    headers.insert(ETAG, settings.etag_value.clone());
    if field(&IF_NONE_MATCH).is_some_and(|tags| conditional::matches_any(&tags, &settings.etag, Comparison::Weak)) {
        headers.remove(CONTENT_TYPE);
        return small(StatusCode::NOT_MODIFIED, headers, bytes::Bytes::new(), current, custom_host);
    }
    small(StatusCode::OK, headers, settings.body.clone(), current, custom_host)
}

fn fields_with(cache_control: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
}

fn small(
    status: StatusCode,
    headers: HeaderMap,
    body: bytes::Bytes,
    current: &Arc<Current>,
    custom_host: bool,
) -> Decision {
    let (current, ruled) = (Some(Arc::clone(current)), HeaderRules::default());
    SmallAnswer { status, headers, body, current, ruled, custom_host, status_page: None }.into()
}
