//! Answers requests for the console: files of a version without an app, decided as for any visitor, with fields that
//! isolate the console's pages.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, Response, StatusCode};

use super::body::Body;
use super::decide::decide_in;
use super::decision::{Decision, Head};
use super::error_page::{self, ErrorContext};
use super::refused::Refused;
use super::respond;
use crate::live::Current;
use devanture_base::clock;
use devanture_http::Fields;

/// Content that pages of the console may load, send and embed: own files, the API beside the console, and previews in
/// frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; frame-src https:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types devanture";
/// Fields of every response of the console.
const FIELDS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// Console files are for logged-in users, and a shared cache cannot check a login.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";
const REVALIDATE: &str = "private, no-cache";

/// Answers a request for `path` of the console, which begins with `/`.
#[must_use]
pub fn console<B>(
    request: &Request<B>,
    current: &Arc<Current>,
    path: &str,
    target_bytes_max: usize,
) -> Response<Bytes> {
    let fields = Fields::Map(request.headers());
    let head = Head {
        method: request.method(),
        path,
        query: request.uri().query(),
        host: "",
        fields,
        now_s: || clock::since_epoch().as_secs(),
        heeds_pins: false,
        target_bytes_max,
    };
    let response = match decide_in(&head, current, None, false) {
        Decision::File(answer) => respond::file(&answer),
        Decision::Small(answer) => respond::small(*answer),
        Decision::Refuse(refusal) => {
            error_page::refusal(&refusal, || ErrorContext::of(fields, "", refusal.current.as_deref()))
        }
        // The console has no backends, is loaded, and has a login of its own.
        Decision::Load(_)
        | Decision::Protected(_)
        | Decision::Proxy { .. }
        | Decision::Report(_)
        | Decision::Visitor(_) => respond::refused(Refused::Unavailable),
    };
    let (mut parts, bytes) = in_memory(response).into_parts();
    let is_immutable = parts.headers.get(CACHE_CONTROL).is_some_and(|value| value.as_bytes().ends_with(b"immutable"));
    if parts.status != StatusCode::NOT_FOUND && !parts.status.is_server_error() {
        let kept = if is_immutable { IMMUTABLE } else { REVALIDATE };
        parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    }
    for (name, value) in FIELDS {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }
    Response::from_parts(parts, bytes)
}

/// The response with its bytes, all in memory unless the bundle is far larger than a console may be.
fn in_memory(response: Response<Body>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    match body.at_hand() {
        Ok(bytes) => Response::from_parts(parts, bytes),
        Err(_) => respond::refused(Refused::Unavailable).map(|body| body.at_hand().unwrap_or_default()),
    }
}
