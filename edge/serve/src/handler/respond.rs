//! Decisions as responses: the prepared heads of files, small responses, errors of the edge.

use std::sync::Arc;

use bytes::Bytes;
use devanture_site::cache::{self, Kept};
use devanture_site::method;
use devanture_site::range::{self, Multipart};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LAST_MODIFIED, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::decision::{FileAnswer, Part, SmallAnswer};
use super::dictionary;
use super::header_rules::say_chosen;
use super::import_map;
use super::refused::Refused;
use crate::version::{Representation, ServedFile, Setting, Source, VERSION_HEADER, Version};
use devanture_http::{PreparedHead, SharedField};

/// Media type of a sentence.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// Tells search engines which responses to leave out.
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// The response to a refusal; never cached (RFC 9111 §3: an error must not outlive its cause).
pub(super) fn refused(refused: Refused) -> Response<Body> {
    let (status, sentence) = refused.row();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(status, sentence);
    add_fields(refused, response.headers_mut());
    response
}

/// Adds the fields that a status requires, for every body.
pub(super) fn add_fields(refused: Refused, headers: &mut HeaderMap) {
    match refused {
        Refused::MethodNotAllowed => {
            headers.insert(ALLOW, HeaderValue::from_static(method::ALLOW));
        }
        Refused::RangeNotSatisfiable(size) => {
            // RFC 9110 §15.5.17.
            if let Ok(value) = HeaderValue::from_str(&range::unsatisfied(size)) {
                headers.insert(CONTENT_RANGE, value);
            }
        }
        Refused::Unauthorised => {
            // RFC 7617 §2.1: names and passwords are UTF-8.
            let challenge = HeaderValue::from_static("Basic realm=\"site\", charset=\"UTF-8\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        Refused::Protected => {
            // RFC 9110 §11.6.1.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"protected\""));
            headers.insert(ROBOTS, HeaderValue::from_static("noindex"));
        }
        Refused::AppBusy
        | Refused::BackendBusy
        | Refused::OverMemory
        | Refused::PreviewsBusy
        | Refused::Unavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
}

/// Names the version of a response; for a preview, `X-Robots-Tag` keeps search engines away.
pub(super) fn trace(headers: &mut HeaderMap, version: &Version) {
    headers.insert(VERSION_HEADER, version.header.value().clone());
    if version.setting == Setting::Preview {
        headers.insert(ROBOTS, HeaderValue::from_static("noindex"));
    }
}

/// A plain response of one sentence.
#[must_use]
pub fn plain(status: StatusCode, sentence: &'static str) -> Response<Body> {
    typed(status, TEXT, Bytes::from_static(sentence.as_bytes()))
}

/// A short response that is not cached.
pub(super) fn typed(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Body> {
    let length = body.len();
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A small response, with its version.
pub(super) fn small(answer: SmallAnswer) -> Response<Body> {
    let mut response = Response::new(Body::full(answer.body.clone()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    match answer.status {
        // The response to OPTIONS is not cacheable (RFC 9110 §9.3.7).
        StatusCode::NO_CONTENT => answer.ruled.apply_to_own(response.headers_mut(), answer.status),
        status => answer.ruled.apply(response.headers_mut(), Kept::Page, status),
    }
    // RFC 9110 §8.6: a 204 has no `Content-Length`, and in a 304 the field would be the length of the omitted body.
    if !matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    }
    if let Some(current) = answer.current {
        trace(response.headers_mut(), &current.version);
    }
    response
}

/// A file.
pub(super) fn file(answer: &FileAnswer) -> Response<Body> {
    let file = answer.version().file(answer.file);
    let chosen = file.and_then(|file| file.representations.get(answer.representation).map(|chosen| (file, chosen)));
    let Some((file, chosen)) = chosen else { return refused(Refused::Unavailable) };
    let version = &answer.version().header;
    let mut headers = match answer.part {
        Part::None => chosen.head.not_modified(version),
        Part::Whole if answer.status.is_client_error() => chosen.head.error(version),
        Part::Whole | Part::One(_) | Part::Several(_) => chosen.head.ok(version),
    };
    answer.ruled.apply(&mut headers, answer.kept, answer.status);
    if let Some(hash) = &file.map_hash {
        import_map::allow(&mut headers, &hash.0);
    }
    if answer.is_chosen {
        say_chosen(&mut headers);
    }
    dictionary::unless_kept(&mut headers, answer.status);
    let body = match &answer.part {
        Part::None => Body::empty(),
        Part::Whole => Body::whole(&chosen.bytes, chosen.size()),
        Part::One(span) => {
            insert_text(&mut headers, CONTENT_RANGE, &range::content_range(*span, chosen.size()));
            let length = span.1.saturating_sub(span.0).saturating_add(1);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            Body::span(&chosen.bytes, *span)
        }
        Part::Several(spans) => several(file, chosen, spans, &mut headers),
    };
    if answer.part != Part::None && !answer.status.is_client_error() {
        // A 304 has the tag, which makes the date useless to a cache (RFC 9110 §15.4.5).
        headers.insert(LAST_MODIFIED, answer.current.last_modified.value().clone());
    }
    if answer.version().setting == Setting::Preview {
        headers.insert(ROBOTS, HeaderValue::from_static("noindex"));
    }
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = headers;
    response
}

/// A response with a head prepared for the engine.
pub(super) struct PreparedResponse<'r> {
    pub(super) status: StatusCode,
    pub(super) head: &'r Arc<PreparedHead>,
    pub(super) last_modified: Option<&'r Arc<SharedField>>,
    pub(super) body: ReadyBody<'r>,
}

/// The body of a prepared response. Bytes in memory are handed over directly rather than as a [`Body`], which is
/// several times as large.
pub(super) enum ReadyBody<'r> {
    /// No bytes.
    None,
    /// A sentence.
    Text(&'static str),
    /// A whole representation.
    Whole(&'r Representation),
}

impl ReadyBody<'_> {
    /// The whole body if in memory; otherwise the body that reads the file.
    #[inline]
    pub(super) fn at_hand(&self) -> Result<Bytes, Body> {
        match self {
            Self::None => Ok(Bytes::new()),
            Self::Text(text) => Ok(Bytes::from_static(text.as_bytes())),
            Self::Whole(Representation { bytes: Source::Memory(bytes), .. }) => Ok(bytes.clone()),
            Self::Whole(whole) => Body::whole(&whole.bytes, whole.size()).at_hand(),
        }
    }
}

/// A file as prepared for the engine: the whole file or a 304, without changes by rules, of an app without traffic
/// limits.
#[inline]
pub(super) fn ready(answer: &FileAnswer) -> Option<PreparedResponse<'_>> {
    if !answer.ruled.is_empty() || answer.version().traffic.is_limited() {
        return None;
    }
    let chosen = answer.version().file(answer.file)?.representations.get(answer.representation)?;
    if answer.kept == Kept::StandIn && !chosen.head.may_stand_in() || answer.kept == Kept::ServiceWorker {
        return None;
    }
    let (status, changed) = (answer.status, Some(answer.current.last_modified.shared()));
    let version = &answer.version().header;
    let (head, last_modified) = match answer.part {
        Part::None | Part::Whole if answer.is_chosen => return ready_chosen(answer, chosen),
        Part::None => (chosen.head.not_modified_ready(version), None),
        Part::Whole if status.is_client_error() => (chosen.head.error_ready(version), None),
        Part::Whole => (chosen.head.ok_ready(version), changed),
        Part::One(_) | Part::Several(_) => return None,
    };
    let body = if answer.part == Part::None { ReadyBody::None } else { ReadyBody::Whole(chosen) };
    Some(PreparedResponse { status, head, last_modified, body })
}

/// A prepared response for a file that a cookie selected.
fn ready_chosen<'r>(answer: &'r FileAnswer, chosen: &'r Representation) -> Option<PreparedResponse<'r>> {
    if answer.kept == Kept::StandIn {
        return None;
    }
    let (status, version) = (answer.status, &answer.version().header);
    let change = |headers: &mut HeaderMap, status| {
        say_chosen(headers);
        dictionary::unless_kept(headers, status);
    };
    let (head, last_modified, body) = match (status, &answer.part) {
        (StatusCode::NOT_MODIFIED, Part::None) => {
            (chosen.head.chosen_not_modified_ready(version, change), None, ReadyBody::None)
        }
        (StatusCode::OK, Part::Whole) => {
            let changed = answer.current.last_modified.shared();
            (chosen.head.chosen_ready(version, change), Some(changed), ReadyBody::Whole(chosen))
        }
        _ => return None,
    };
    Some(PreparedResponse { status, head, last_modified, body })
}

/// RFC 9110 §14.6: the parts carry the ranges; the head only announces the parts.
fn several(file: &ServedFile, chosen: &Representation, spans: &[range::Span], headers: &mut HeaderMap) -> Body {
    let boundary = range::boundary(chosen.head.etag().as_str());
    let media_type = headers.get(CONTENT_TYPE).unwrap_or_else(|| file.content_type.value()).clone();
    let parts =
        Multipart { boundary: &boundary, content_type: media_type.to_str().unwrap_or_default(), length: chosen.size() };
    insert_text(headers, CONTENT_TYPE, &parts.media_type());
    headers.insert(CONTENT_LENGTH, HeaderValue::from(parts.body_bytes(spans)));
    Body::parts(&chosen.bytes, &parts, spans)
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // Numbers and a checked media type are always a valid value.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
