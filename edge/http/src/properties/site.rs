//! Small service, sink and splits shared by the properties of the connections.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame};

use super::engine::{
    Answer, AnswerBody, AnswerHead, Answered, Answering, BodyError, Inbound, Outcome, PreparedHead, RequestHead,
    ResponseBody, Service, SharedField, Sink, StreamBody,
};

/// Paths with an answer.
pub(super) const PATHS: [&str; 9] =
    ["/", "/large", "/stream", "/chunks", "/none", "/missing", "/short", "/later", "/echo"];

/// Bytes of the largest body.
pub(super) const LARGE_BYTES: usize = 70_000;

static LARGE: LazyLock<Bytes> = LazyLock::new(|| (0..=u8::MAX).cycle().take(LARGE_BYTES).collect());

/// Bytes before a body that is sent back.
const ECHO: &[u8] = b"echo: ";

/// Fields shared by all prepared answers.
static SHARED: LazyLock<Vec<Arc<SharedField>>> = LazyLock::new(|| {
    [("cache-control", &b"no-cache"[..]), ("vary", b"accept-encoding")]
        .map(|(name, value)| Arc::new(SharedField::new(name, value)))
        .into()
});

/// `date` of the single second of a test.
pub(super) static DATE: LazyLock<SharedField> =
    LazyLock::new(|| SharedField::new("date", b"Mon, 21 Oct 2013 20:13:21 GMT"));

/// Answers [`PATHS`], and 404 to all other paths.
#[derive(Default)]
pub(super) struct Site;

/// Checks that no bytes are sent beyond the body or after the end.
pub(super) struct Sending {
    left: usize,
    is_complete: bool,
}

impl Outcome for Sending {
    fn sent(&mut self, bytes: usize) {
        assert!(!self.is_complete && bytes <= self.left);
        self.left -= bytes;
    }

    fn complete(&mut self, _now: Instant) {
        assert!(!self.is_complete);
        self.is_complete = true;
    }
}

/// Body of several pieces, each pending once.
struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    is_awaited: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.is_awaited = !self.is_awaited;
        if self.is_awaited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.next().map(|piece| Ok(Frame::data(piece))))
    }
}

impl ResponseBody for Pieces {}

fn pieces(pieces: Vec<Bytes>) -> StreamBody {
    Box::pin(Pieces { pieces: pieces.into_iter(), is_awaited: false })
}

/// Returns a head with a length.
fn prepared(length: usize) -> AnswerHead {
    let head = PreparedHead::new([("content-length", length.to_string().as_bytes())], SHARED.clone());
    AnswerHead::Prepared(head.into(), [Some(SHARED[0].clone()), None, None])
}

impl Site {
    /// Returns an answer in memory, if available.
    fn at_once<R>(&self, request: &RequestHead<'_>, put: impl FnOnce(Answer<Sending>) -> R) -> Option<R> {
        let some = || vec![LARGE.slice(..1_000), LARGE.slice(1_000..1_001), LARGE.slice(1_001..20_000)];
        let (status, head, body) = match request.path {
            "/" => (StatusCode::OK, prepared(5), AnswerBody::Bytes(Bytes::from_static(b"hello"))),
            "/large" => (StatusCode::OK, prepared(LARGE_BYTES), AnswerBody::Bytes(LARGE.clone())),
            "/stream" => (StatusCode::OK, prepared(20_000), AnswerBody::Stream(pieces(some()))),
            "/chunks" => (StatusCode::OK, AnswerHead::Map(Box::default()), AnswerBody::Stream(pieces(some()))),
            "/short" => (StatusCode::OK, prepared(20_001), AnswerBody::Stream(pieces(some()))),
            "/none" => (StatusCode::NOT_MODIFIED, prepared(5), AnswerBody::EMPTY),
            "/later" | "/echo" => return None,
            _ => (StatusCode::NOT_FOUND, AnswerHead::Map(Box::default()), AnswerBody::EMPTY),
        };
        Some(put(Answer { status, head, body, outcome: Sending { left: LARGE_BYTES, is_complete: false } }))
    }
}

impl Service for Site {
    type Outcome = Sending;
    type Pending = ();

    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        _now: Instant,
        put: impl FnOnce(Answer<Sending>) -> R,
    ) -> Answered<R, ()> {
        self.at_once(request, put).into()
    }

    fn end_of_batch(&self) {}

    fn begin(&self, request: http::Request<Inbound>, _: Option<()>) -> Answering {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let (mut body, mut sent) = (request.into_body(), Vec::new());
            while path == "/echo"
                && let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
            {
                sent.extend(frame.into_data().unwrap_or_default());
            }
            let (status, body) = reference(&path, &sent);
            let mut response = Response::new(pieces(vec![body]));
            *response.status_mut() = status;
            response
        })
    }
}

/// Returns the expected answer to a request with the body `sent`, without the fields.
pub(super) fn reference(path: &str, sent: &[u8]) -> (StatusCode, Bytes) {
    match path {
        "/" => (StatusCode::OK, Bytes::from_static(b"hello")),
        "/large" => (StatusCode::OK, LARGE.clone()),
        "/stream" | "/chunks" | "/short" => (StatusCode::OK, LARGE.slice(..20_000)),
        "/none" => (StatusCode::NOT_MODIFIED, Bytes::new()),
        "/later" => (StatusCode::OK, Bytes::from_static(b"later")),
        "/echo" => (StatusCode::OK, [ECHO, sent].concat().into()),
        _ => (StatusCode::NOT_FOUND, Bytes::new()),
    }
}

/// Returns true if the service sends `body`, or a body beginning with `body` unless `is_whole`. An echo may be
/// anything.
pub(super) fn is_known(body: &[u8], is_whole: bool) -> bool {
    body.starts_with(ECHO)
        || [&b""[..], b"hello", b"later", &LARGE, &LARGE[..20_000], ECHO]
            .iter()
            .any(|known| if is_whole { *known == body } else { known.starts_with(body) })
}

/// Sink with limited room, as in one turn.
#[derive(Default)]
pub(super) struct Pipe {
    /// All output.
    pub(super) put: Vec<u8>,
    /// Remaining room of the turn.
    pub(super) room: usize,
}

impl Sink for Pipe {
    fn room(&self) -> usize {
        self.room
    }

    fn put(&mut self, bytes: &[u8]) {
        self.put.extend_from_slice(bytes);
        self.room = self.room.saturating_sub(bytes.len());
    }

    fn put_body(&mut self, bytes: Bytes) {
        assert!(!bytes.is_empty());
        self.put(&bytes);
    }
}

/// Cuts `bytes` into pieces of `sizes`, repeated cyclically.
pub(super) fn cut<'b>(bytes: &'b [u8], sizes: &[u8]) -> Vec<&'b [u8]> {
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size).max(1));
        let (piece, after) = rest.split_at(size.min(rest.len()));
        all.push(piece);
        rest = after;
    }
    all
}
