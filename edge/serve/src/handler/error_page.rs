//! Error responses: the site's own page for a person, a problem (RFC 9457) for a program.
//!
//! A site's error page lies at its root and is named after the status, `503.html`, or for every status from 500 on
//! `5xx.html`. The page answers navigations alone: a failed script, style, image or fetch gets no HTML. A 404 has its
//! own rules, in `decide`.

use std::borrow::Cow;

use bytes::Bytes;
use devanture_config::api::Pause;
use devanture_site::cache;
use devanture_site::navigation;
use devanture_site::negotiate::Acceptable;
use devanture_site::rules::Access;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, HeaderName};
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::decision::Refusal;
use super::refused::Refused;
use super::respond::{PreparedResponse, ReadyBody};
use super::{import_map, pause, request_outcome, respond};
use crate::live::Current;
use crate::version::{MapHash, Version};
use devanture_http::Fields;

/// Page for every status from 500 on without a page of its own.
const SERVER_ERROR_PAGE: &str = "5xx.html";

/// Request properties that an error response depends on, kept after the request itself is consumed.
pub(super) struct ErrorContext {
    wants_page: bool,
    acceptable: Acceptable,
    /// The visitor, if the site protects any path.
    visitor: Option<Visitor>,
}

/// Properties of a visitor that decide access.
struct Visitor {
    host: String,
    authorization: Option<Vec<u8>>,
}

impl ErrorContext {
    /// Reads the context from a request's fields; `current` is the version of the response.
    pub(super) fn of(fields: Fields<'_>, host: &str, current: Option<&Current>) -> Self {
        let field = |name: HeaderName| fields.joined(&name);
        let mode = field(HeaderName::from_static("sec-fetch-mode"));
        let dest = field(HeaderName::from_static("sec-fetch-dest"));
        let wants_page = navigation::wants_page(mode.as_deref(), dest.as_deref(), field(ACCEPT).as_deref());
        let visitor = current
            .filter(|current| current.version.rules.has_guards())
            .map(|_| Visitor { host: host.to_owned(), authorization: field(AUTHORIZATION).map(Cow::into_owned) });
        Self { wants_page, acceptable: Acceptable::parse(field(ACCEPT_ENCODING).as_deref()), visitor }
    }

    /// Returns true if the visitor may see the page of `name` at the root.
    fn may_see(&self, version: &Version, name: &str) -> bool {
        self.visitor.as_ref().is_none_or(|visitor| {
            let authorization = visitor.authorization.as_deref();
            version.rules.access(&visitor.host, &format!("/{name}"), authorization) != Access::Refused
        })
    }
}

/// The response to a refusal, with its version.
pub(super) fn refusal(refusal: &Refusal, context: impl FnOnce() -> ErrorContext) -> Response<Body> {
    let (refused, pause) = (refusal.refused, refusal.paused.as_deref());
    let mut response = match (pause, refusal.current.as_deref()) {
        (Some(pause), current) => paused(pause, current, &context()),
        // The visitor matters only for a site's page. A busy app must answer as cheaply as possible.
        (None, Some(current)) if may_have_page(refused) && refused != Refused::AppBusy => {
            let context = context();
            let page = if context.wants_page { page(refused, current, &context) } else { None };
            page.unwrap_or_else(|| respond::refused(refused))
        }
        (None, _) => match fault(refused) {
            Some(code) if refused == Refused::Protected || !context().wants_page => {
                problem(refused, code, refused.row().1)
            }
            _ => respond::refused(refused),
        },
    };
    finish(refusal, &mut response);
    response
}

/// The plain 404 of a version, as prepared for the engine; `None` if a rule applies, or the app has traffic limits.
#[inline]
pub(super) fn ready(refusal: &Refusal) -> Option<PreparedResponse<'_>> {
    if refusal.refused != Refused::NotFound || refusal.paused.is_some() || !refusal.ruled.is_empty() {
        return None;
    }
    let version = &refusal.current.as_ref()?.version;
    if version.traffic.is_limited() {
        return None;
    }
    let head = version.miss_ready(|| {
        let mut response = respond::refused(Refused::NotFound);
        finish(refusal, &mut response);
        response.into_parts().0.headers
    });
    let (_, sentence) = Refused::NotFound.row();
    Some(PreparedResponse { status: StatusCode::NOT_FOUND, head, last_modified: None, body: ReadyBody::Text(sentence) })
}

/// Adds the fields of every refusal.
fn finish(refusal: &Refusal, response: &mut Response<Body>) {
    let status = response.status();
    // An error must not outlive its cause.
    refusal.ruled.apply_to_own(response.headers_mut(), status);
    if let Some(MapHash(hash)) = response.extensions_mut().remove() {
        import_map::allow(response.headers_mut(), &hash);
    }
    if let Some(current) = &refusal.current {
        respond::trace(response.headers_mut(), &current.version);
    }
}

/// The response for a backend without a response; `code` is one of [`super::FAULTS`].
pub(super) fn of_route(refused: Refused, code: &str, current: &Current, context: &ErrorContext) -> Response<Body> {
    let (status, sentence) = refused.row();
    let answer = match context.wants_page {
        true => page(refused, current, context),
        // A client of an API reads JSON, from the edge as from the backend.
        false if status >= 500 => Some(problem(refused, code, sentence)),
        false => None,
    };
    answer.unwrap_or_else(|| respond::refused(refused))
}

/// The response of a paused environment.
fn paused(pause: &Pause, current: Option<&Current>, context: &ErrorContext) -> Response<Body> {
    let mut response = match context.wants_page {
        true => {
            current.and_then(|current| page(Refused::Paused, current, context)).unwrap_or_else(|| pause::page(pause))
        }
        false => problem(Refused::Paused, "paused", pause::sentence(pause)),
    };
    pause::add_fields(pause, response.headers_mut());
    response
}

/// The problem code for protected content, or for an app or preview at its limit; one of [`super::FAULTS`].
const fn fault(refused: Refused) -> Option<&'static str> {
    match refused {
        Refused::AppBusy => Some(request_outcome::APP_BUSY),
        Refused::OverMemory => Some("over-memory"),
        Refused::PreviewsBusy => Some("previews-busy"),
        Refused::Protected => Some("protected"),
        _ => None,
    }
}

/// Returns true if a site may have its own page for an error; a 404 has its own rules.
const fn may_have_page(refused: Refused) -> bool {
    let (status, _) = refused.row();
    status == 403 || status >= 500
}

/// The site's own page for an error, if the page exists and the visitor may see the page.
fn page(refused: Refused, current: &Current, context: &ErrorContext) -> Option<Response<Body>> {
    if !may_have_page(refused) {
        return None;
    }
    let (status, _) = refused.row();
    let version = &current.version;
    let named = |name: &str| {
        let number =
            version.indexes.paths.exact(name).filter(|number| !current.withdrawn.hides_file(version, *number))?;
        version.file(number).filter(|_| context.may_see(version, name))
    };
    let file = named(&format!("{status}.html"));
    let file = file.or_else(|| if status >= 500 { named(SERVER_ERROR_PAGE) } else { None })?;
    let chosen = file.representations.get(context.acceptable.choose(file.available()))?;
    let mut headers = chosen.head.error(&version.header);
    // The page must not outlive the error.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    respond::add_fields(refused, &mut headers);
    let mut response = Response::new(Body::whole(&chosen.bytes, chosen.size()));
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    *response.headers_mut() = headers;
    if let Some(hash) = &file.map_hash {
        response.extensions_mut().insert(MapHash::clone(hash));
    }
    Some(response)
}

/// RFC 9457; the title of `about:blank` is the status' own phrase (§4.2.1).
fn problem(refused: Refused, code: &str, detail: &str) -> Response<Body> {
    let (status, _) = refused.row();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    });
    let mut response = respond::typed(status, "application/problem+json", Bytes::from(problem.to_string()));
    respond::add_fields(refused, response.headers_mut());
    response
}
