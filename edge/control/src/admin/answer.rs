//! API responses: JSON, problems, texts, event streams.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::DeployEvent;
use devanture_config::problem::{Code, Problem};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;

use devanture_store::blobs::ReadAt;

/// Bytes per read of a stored file.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest silence of an event stream.
const EVENT_REST_MAX: Duration = Duration::from_secs(15);

/// Response body. An error aborts the body visibly: HTTP/1.1 omits the last chunk, HTTP/2 resets the stream.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn typed(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Response<Body> {
    with_body(status, media_type, full(bytes))
}

pub(super) fn with_body(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns 200 with a body streamed to the end of `pieces`.
pub(super) fn streamed(media_type: &'static str, pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    streamed_whole(media_type, pieces.map(Ok))
}

/// Returns 200 with a streamed body as [`streamed`] does. An error aborts the body, since its pieces are useless alone.
pub(super) fn streamed_whole(
    media_type: &'static str,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    with_body(StatusCode::OK, media_type, StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync())
}

/// Returns 200 with a whole stored file. A slow client holds one piece in memory.
pub(super) fn stored(media_type: &'static str, file: Arc<dyn ReadAt>, length: u64) -> Response<Body> {
    let pieces = stream::try_unfold(0, move |from: u64| {
        let file = Arc::clone(&file);
        async move {
            if from >= length {
                return Ok(None);
            }
            let piece = file.read_in_turn(from, PIECE_BYTES).await?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let next = from.saturating_add(piece.len() as u64);
            Ok(Some((piece, next)))
        }
    });
    let mut response = streamed_whole(media_type, pieces);
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    // Serialization fails only for maps whose keys are not strings; no response contains such a map.
    typed(status, "application/json", serde_json::to_vec(value).unwrap_or_default().into())
}

pub(super) fn no_content() -> Response<Body> {
    let mut response = typed(StatusCode::NO_CONTENT, "text/plain", Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// RFC 9110 §15.4.5.
pub(super) fn not_modified() -> Response<Body> {
    let mut response = no_content();
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// Returns the response to HEAD: the same head, with the `Content-Length` of GET (RFC 9110 §9.3.2). In HTTP/2, hyper
/// would send the content.
pub(super) fn without_content(mut response: Response<Body>) -> Response<Body> {
    let length = http_body::Body::size_hint(response.body()).exact();
    if let Some(length) =
        length.filter(|_| !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))
    {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response.map(|_content| full(Bytes::new()))
}

/// Returns a problem (RFC 9457), with the header fields required by HTTP for some statuses.
pub(super) fn problem(problem: &Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = typed(status, "application/problem+json", bytes.into());
    let headers = response.headers_mut();
    match problem.code {
        // RFC 9110 §11.6.1.
        Code::BadIdentityToken | Code::BadLogin | Code::BadToken | Code::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Code::Busy => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Streams server-sent events. A comment fills each long silence, so that intermediaries keep the connection open
/// (WHATWG HTML §9.2.7).
pub(super) fn events(receiver: UnboundedReceiver<DeployEvent>) -> Response<Body> {
    let texts = stream::unfold(receiver, |mut receiver| async {
        let text = match tokio::time::timeout(EVENT_REST_MAX, receiver.recv()).await {
            Ok(event) => event_text(&event?),
            Err(_elapsed) => ": still at it\n\n".to_owned(),
        };
        Some((text.into(), receiver))
    });
    streamed("text/event-stream", texts)
}

fn event_text(event: &DeployEvent) -> String {
    let (name, data) = match event {
        DeployEvent::Step(step) => ("step", serde_json::to_string(step)),
        DeployEvent::Done(report) => ("done", serde_json::to_string(report)),
        DeployEvent::Switched(report) => ("done", serde_json::to_string(report)),
        DeployEvent::Problem(problem) => ("problem", serde_json::to_string(problem)),
    };
    // JSON on one line contains no line break, so a single `data` line suffices.
    format!("event: {name}\ndata: {}\n\n", data.unwrap_or_default())
}
