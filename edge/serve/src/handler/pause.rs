//! A paused environment: the paths still answered, and the maintenance page.

use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::Pause;
use devanture_config::site_toml::RoutePath;
use devanture_config::text::html_text;
use devanture_site::decide::OwnPath;
use devanture_site::resolve;
use devanture_site::target::{self, Target};
use http::header::{CONTENT_SECURITY_POLICY, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::decision::{Head, Refusal};
use super::refused::Refused;
use super::respond;
use crate::live::{Current, HostEntry};
use crate::version::Version;

/// The page loads no resource.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The refusal of a request to a paused environment; `None` for a path that stays open.
pub(super) fn refusal(
    head: &Head<'_>,
    entry: &HostEntry,
    pause: &Arc<Pause>,
    current: Option<&Arc<Current>>,
) -> Option<Refusal> {
    let answers_on = match OwnPath::of(head.path) {
        Some(OwnPath::Env | OwnPath::Release) => true,
        Some(OwnPath::Status) => current.is_some_and(|current| current.version.status_page),
        // A dictionary is made of pages, which are paused, and a link leads to a page.
        Some(OwnPath::Dictionary(_) | OwnPath::Integrity | OwnPath::Share) | None => false,
    };
    if answers_on || leaves_open(pause, head, current.map(|current| &*current.version)) {
        return None;
    }
    let (current, paused) = (current.cloned(), Some(Arc::clone(pause)));
    Some(Refusal { current, paused, custom_host: entry.custom, ..Refused::Paused.into() })
}

/// Returns true if the path stays open: compared like routes, so that a backend gets only the allowed paths. Another
/// spelling of an open path is let through to be redirected, as is every address of a page with an allowed address: the
/// canonical address may differ between versions.
fn leaves_open(pause: &Pause, head: &Head<'_>, version: Option<&Version>) -> bool {
    if pause.allow.is_empty() {
        return false;
    }
    let is_allowed = |path: &str| {
        let is_page = |allowed: &RoutePath| version.is_some_and(|version| is_same_page(version, allowed, path));
        pause.allow.iter().any(|allowed| allowed.takes(path) || is_page(allowed))
    };
    match target::normalise_for_route(head.path, head.target_bytes_max) {
        Target::Normal(path) => is_allowed(&path),
        Target::Redirect(to) => match target::normalise_for_route(&to, head.target_bytes_max) {
            Target::Normal(path) => is_allowed(&path),
            Target::Redirect(_) | Target::Refuse(_) => false,
        },
        Target::Refuse(_) => false,
    }
}

/// Returns true if `path` is another address of the allowed page: both addresses lead to the same file, and neither
/// leads to a backend.
fn is_same_page(version: &Version, allowed: &RoutePath, path: &str) -> bool {
    let (allowed, _) = allowed.prefix();
    if version.route(path).is_some() || version.route(allowed).is_some() {
        return false;
    }
    let ends_at = |path: &str| resolve::ends_at(&version.indexes.paths, version.html_handling, path);
    let Some(number) = ends_at(path) else { return false };
    let is_an_address = version
        .file(number)
        .is_some_and(|file| resolve::addresses(&file.path).iter().any(|address| address == allowed));
    is_an_address && ends_at(allowed) == Some(number)
}

/// The text of the maintenance page.
pub(super) fn sentence(pause: &Pause) -> &str {
    pause.message.as_deref().unwrap_or(Refused::Paused.row().1)
}

/// Adds `Retry-After`.
pub(super) fn add_fields(pause: &Pause, headers: &mut HeaderMap) {
    headers.insert(RETRY_AFTER, HeaderValue::from(pause.retry_after_s));
}

/// The page for a site without its own.
pub(super) fn page(pause: &Pause) -> Response<Body> {
    let text = html_text::escaped(sentence(pause));
    let page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{text}</title>\n\
         <style>body{{display:grid;min-height:90vh;place-content:center;font:1.2rem/1.5 system-ui,sans-serif;\
         color-scheme:light dark}}p{{max-width:36rem;padding:1rem;text-align:center;white-space:pre-line}}</style>\n\
         <p>{text}</p>\n"
    );
    let mut response = respond::typed(StatusCode::SERVICE_UNAVAILABLE, "text/html; charset=utf-8", Bytes::from(page));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_http::Fields;
    use http::Method;

    fn is_open(allowed: &[&str], path: &str) -> bool {
        let pause = Pause {
            since_ms: 0,
            who: String::new(),
            message: None,
            allow: allowed.iter().map(|path| path.parse().unwrap()).collect(),
            retry_after_s: 60,
        };
        let headers = HeaderMap::new();
        let head = Head {
            method: &Method::GET,
            path,
            query: None,
            host: "h",
            fields: Fields::Map(&headers),
            now_s: || 0,
            heeds_pins: false,
            target_bytes_max: 100,
        };
        leaves_open(&pause, &head, None)
    }

    #[test]
    fn what_stays_open_is_whole_segments_in_any_spelling() {
        #[rustfmt::skip]
        let cases: &[(&[&str], &str, bool)] = &[
            (&[],                    "/",                 false),
            (&["/status"],           "/status",           true),
            (&["/status"],           "/status/",          false),
            (&["/status"],           "/statusx",          false),
            (&["/status"],           "/%73tatus",         true),
            (&["/status"],           "//status",          true),
            (&["/status"],           "/x/../status",      true),
            (&["/api/*"],            "/api",              true),
            (&["/api/*"],            "/api/x/y",          true),
            (&["/api/*"],            "/apix",             false),
            (&["/api/*"],            "/api/../secret",    false),
            (&["/api/*"],            "/api/%2e%2e/x",     false),
            (&["/api/*"],            "/api/..%2fsecret",  false),
            (&["/api/*"],            "/api%2Fx",          false),
            (&["/api/*"],            "/API/x",            false),
            (&["/api/*"],            "/api\\x",           false),
            (&["/a", "/b/*"],        "/b/c",              true),
            (&["/*"],                "/",                 true),
            (&["/"],                 "/",                 true),
            (&["/"],                 "/x",                false),
            (&["/*"],                "*",                 false),
        ];
        for (allowed, path, expected) in cases {
            assert_eq!(is_open(allowed, path), *expected, "{allowed:?} {path}");
        }
    }
}
