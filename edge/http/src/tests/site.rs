//! Site with paths that determine the answer.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame as BodyFrame, SizeHint};
use http_body_util::{BodyExt as _, Full, StreamBody as Streamed};

use crate::inbound::Inbound;
use crate::{
    Answer, AnswerBody, AnswerHead, Answered, Answering, BodyError, Outcome, PreparedHead, RequestHead, ResponseBody,
    Service, SharedField, StreamBody, stream_body,
};

/// Bytes of `/big`.
pub(crate) const BIG_BYTES: usize = 300_000;

/// Outcome of a site's answers.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) sent: Cell<usize>,
    pub(crate) complete: Cell<usize>,
    pub(crate) ended: Cell<usize>,
    /// Begun requests without an answer.
    pub(crate) waiting: Cell<usize>,
    /// Releases `/wait`.
    pub(crate) gate: Cell<bool>,
    pub(crate) wakers: RefCell<Vec<Waker>>,
    pub(crate) seen: RefCell<Vec<String>>,
    /// Requests looked up since the last end of a batch.
    pub(crate) held: Cell<usize>,
    pub(crate) broken: RefCell<Vec<crate::inbound::Broken>>,
    /// Bodies of requests for `/keep`, to be read by the test.
    pub(crate) kept: RefCell<Vec<Inbound>>,
    /// Number of polls of `/piece`, `/file`, `/slow-file` and `/pipe`, and bytes read for them.
    pub(crate) polled: Cell<usize>,
    pub(crate) read: Cell<usize>,
    /// True if the source of the answers was replaced.
    pub(crate) is_replaced: Cell<bool>,
}

pub(crate) struct Logged(Rc<Log>);

impl Outcome for Logged {
    fn sent(&mut self, bytes: usize) {
        self.0.sent.set(self.0.sent.get() + bytes);
    }

    fn complete(&mut self, _now: Instant) {
        self.0.complete.set(self.0.complete.get() + 1);
    }

    fn pins_body(&self) -> bool {
        self.0.is_replaced.get()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.0.ended.set(self.0.ended.get() + 1);
    }
}

struct Waiting(Rc<Log>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// Site with paths that determine the answer.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) log: Rc<Log>,
    head: Arc<PreparedHead>,
    shared: Arc<SharedField>,
}

pub(crate) fn site() -> Site {
    let common = Arc::new(SharedField::new("cache-control", b"max-age=0, must-revalidate"));
    let head = PreparedHead::new([("etag", &b"\"abc\""[..])], vec![common]);
    let shared = Arc::new(SharedField::new("x-content-type-options", b"nosniff"));
    Site { log: Rc::default(), head: Arc::new(head), shared }
}

/// Returns bytes that identify their position.
pub(crate) fn pattern(count: usize) -> Bytes {
    (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<u8>>().into()
}

/// Returns the number of bytes in the immediate answer to a numeric path.
pub(crate) fn size_of_path(path: &str) -> Option<usize> {
    match path {
        "/" => Some(5),
        "/big" => Some(BIG_BYTES),
        _ => path.strip_prefix("/bytes/")?.parse().ok(),
    }
}

impl Site {
    /// Returns an answer with different announced and actual lengths, in parts or in memory.
    fn announced(&self, lengths: &str, is_at_hand: bool) -> Answer<Logged> {
        let (announced, has) = announced_and_sent(lengths);
        let (head, body) = match is_at_hand {
            true => {
                let head = PreparedHead::new([("content-length", announced.to_string().as_bytes())], Vec::new());
                (AnswerHead::Prepared(head.into(), [None, None, None]), AnswerBody::Bytes(has.concat().into()))
            }
            false => {
                let fields = HeaderMap::from_iter([(header::CONTENT_LENGTH, announced.into())]);
                (AnswerHead::Map(fields.into()), AnswerBody::Stream(parts(has)))
            }
        };
        Answer { status: StatusCode::OK, head, body, outcome: Logged(Rc::clone(&self.log)) }
    }
}

/// Returns the announced length in a path, and the parts of the body.
fn announced_and_sent(lengths: &str) -> (usize, Vec<Bytes>) {
    let mut lengths = lengths.split('/').map(|length| length.parse().unwrap());
    (lengths.next().unwrap(), lengths.map(pattern).collect())
}

/// Body read in place, which counts polls and read bytes.
struct Piece {
    log: Rc<Log>,
    all: Bytes,
    left: usize,
    /// True without an announced length.
    is_endless: bool,
    /// True if each read is pending first.
    is_slow: bool,
    reading: usize,
}

impl Body for Piece {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<BodyFrame<Bytes>, BodyError>>> {
        self.poll_some(usize::MAX, cx)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_endless { SizeHint::new() } else { SizeHint::with_exact((self.left + self.reading) as u64) }
    }
}

impl ResponseBody for Piece {
    fn poll_some(
        mut self: Pin<&mut Self>,
        bytes_max: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, BodyError>>> {
        self.log.polled.set(self.log.polled.get() + 1);
        let is_begun = self.reading > 0;
        if !is_begun {
            self.reading = self.left.min(bytes_max).min(4 * crate::FRAME_BYTES);
            self.left -= self.reading;
            self.log.read.set(self.log.read.get() + self.reading);
        }
        if self.is_slow && !is_begun && self.reading > 0 {
            self.log.wakers.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        let end = self.all.len() - self.left;
        let length = std::mem::take(&mut self.reading);
        let read = self.all.slice(end - length..end);
        Poll::Ready((!read.is_empty()).then(|| Ok(BodyFrame::data(read))))
    }

    fn held_bytes(&self) -> usize {
        self.reading
    }
}

impl Site {
    /// Returns an answer in memory, if available.
    fn at_once<R>(&self, request: &RequestHead<'_>, put: impl FnOnce(Answer<Logged>) -> R) -> Option<R> {
        let fields: Vec<String> = request
            .fields_for_test()
            .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        let announced = format!(
            "{} {:?} {:?} {} {:?} {}",
            request.method,
            request.scheme,
            request.authority,
            request.path,
            request.query,
            fields.join(",")
        );
        self.log.seen.borrow_mut().push(announced);
        self.log.held.set(self.log.held.get() + 1);
        let body = match size_of_path(request.path) {
            _ if request.method == Method::HEAD => AnswerBody::EMPTY,
            Some(0) => AnswerBody::EMPTY,
            Some(size) => AnswerBody::Bytes(pattern(size)),
            None if request.path == "/stream" => AnswerBody::Stream(parts(vec![pattern(20_000), pattern(3)])),
            None if ["/piece", "/file", "/slow-file", "/pipe"].contains(&request.path) => {
                let left = if request.path == "/piece" { 50_000 } else { BIG_BYTES };
                let (is_endless, is_slow) = (request.path == "/pipe", request.path == "/slow-file");
                let (log, all) = (Rc::clone(&self.log), pattern(left));
                let piece = Piece { log, all, left, is_endless, is_slow, reading: 0 };
                AnswerBody::Stream(Box::pin(piece))
            }
            None => {
                let (kind, lengths) = request.path.strip_prefix('/')?.split_once('/')?;
                return match kind {
                    "in-parts" => Some(put(self.announced(lengths, false))),
                    "at-hand" => Some(put(self.announced(lengths, true))),
                    _ => None,
                };
            }
        };
        let head = AnswerHead::Prepared(Arc::clone(&self.head), [Some(Arc::clone(&self.shared)), None, None]);
        Some(put(Answer { status: StatusCode::OK, head, body, outcome: Logged(Rc::clone(&self.log)) }))
    }
}

impl Service for Site {
    type Outcome = Logged;
    type Pending = ();

    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        _now: Instant,
        put: impl FnOnce(Answer<Logged>) -> R,
    ) -> Answered<R, ()> {
        self.at_once(request, put).into()
    }

    fn end_of_batch(&self) {
        self.log.held.set(0);
    }

    fn begin(&self, request: Request<Inbound>, _: Option<()>) -> Answering {
        self.log.waiting.set(self.log.waiting.get() + 1);
        let (log, waiting) = (Rc::clone(&self.log), Waiting(Rc::clone(&self.log)));
        Box::pin(async move {
            let _waiting = waiting;
            respond(request, &log).await
        })
    }
}

trait FieldsForTest {
    fn fields_for_test(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_>;
}

impl FieldsForTest for RequestHead<'_> {
    fn fields_for_test(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
        match self.fields {
            crate::Fields::Lines(lines) => Box::new(lines.iter()),
            crate::Fields::Map(_) => panic!("not from the engine"),
        }
    }
}

/// Returns a body of these parts.
pub(crate) fn parts(parts: Vec<Bytes>) -> StreamBody {
    let frames = parts.into_iter().map(|part| Ok::<_, BodyError>(BodyFrame::data(part)));
    Box::pin(Streamed::new(futures_util::stream::iter(frames)))
}

fn full(bytes: impl Into<Bytes>) -> StreamBody {
    stream_body(Full::new(bytes.into()))
}

async fn respond(request: Request<Inbound>, log: &Rc<Log>) -> Response<StreamBody> {
    log.seen.borrow_mut().push(format!("{} {} {:?}", request.method(), request.uri(), request.headers()));
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    match path.as_str() {
        "/echo" => match body.collect().await {
            Ok(collected) => {
                let trailers = collected.trailers().cloned();
                let data = BodyFrame::data(collected.to_bytes());
                let frames = [Some(data), trailers.map(BodyFrame::trailers)].into_iter().flatten();
                let frames = futures_util::stream::iter(frames.map(Ok::<_, BodyError>));
                Response::new(Box::pin(Streamed::new(frames)))
            }
            Err(broken) => {
                log.broken.borrow_mut().push(broken);
                std::future::pending().await
            }
        },
        "/count" => {
            let mut count = 0;
            while let Some(Ok(frame)) = body.frame().await {
                count += frame.data_ref().map_or(0, Bytes::len);
            }
            Response::new(full(count.to_string()))
        }
        "/back" => Response::new(Box::pin(body.map_err(BodyError::from))),
        "/deaf" => {
            let never: Response<StreamBody> = std::future::pending().await;
            drop(body);
            never
        }
        "/keep" => {
            log.kept.borrow_mut().push(body);
            Response::new(full(pattern(BIG_BYTES)))
        }
        _ if path.starts_with("/awaited/") => {
            let (announced, has) = announced_and_sent(path.trim_start_matches("/awaited/"));
            let mut response = Response::new(parts(has));
            response.headers_mut().insert(header::CONTENT_LENGTH, announced.into());
            response
        }
        "/refuse" => {
            let mut response = Response::new(full("no"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
        }
        "/wait" => {
            let log = Rc::clone(log);
            std::future::poll_fn(move |cx| {
                log.wakers.borrow_mut().push(cx.waker().clone());
                if log.gate.get() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            Response::new(full("waited"))
        }
        "/fields" => {
            let mut response = Response::new(full("fields"));
            let fields = response.headers_mut();
            for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "x-own"] {
                fields.insert(http::HeaderName::from_static(name), HeaderValue::from_static("x"));
            }
            response
        }
        "/broken" => {
            let frames = [Ok(BodyFrame::data(pattern(10))), Err(BodyError::from("broke"))];
            Response::new(Box::pin(Streamed::new(futures_util::stream::iter(frames))))
        }
        "/status/304" | "/status/204" | "/status/101" => {
            let mut response = Response::new(full("a body that must not be sent"));
            *response.status_mut() = path.trim_start_matches("/status/").parse().unwrap();
            response
        }
        "/long-head" => {
            let mut response = Response::new(full("long"));
            for _ in 0..3 {
                response.headers_mut().append("x-long", HeaderValue::from_str(&"v~".repeat(10_000)).unwrap());
            }
            response
        }
        _ => {
            let mut response = Response::new(full("missing"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
