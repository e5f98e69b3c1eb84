//! A connection to a member, over HTTP/1.1 or a stream of HTTP/2: its requests, and what is known of its peer.

use std::cell::Cell;
use std::error::Error as _;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::error::{BadAnswer, Error, Unsent};
use super::fastcgi;
use super::http1::codec::{Decoder, Head};
use super::http1::{self, Early, Fault};
use super::interim::Passing;
use super::outgoing::Outgoing;
use super::pool::{HTTP2_STREAMS_MAX, Member};
use super::request_body::RequestBody;

/// Bytes of one answer over HTTP/2 that a slow client leaves here.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Default idle time of a connection: below the defaults of servers (Node, uvicorn
/// and Apache keep 5 s), so that it is this side that closes.
const IDLE_AGE_MAX: Duration = Duration::from_secs(4);
/// The longest that a backend's own word about idle connections is believed.
const IDLE_AGE_ANNOUNCED_MAX: Duration = Duration::from_secs(60);

/// When a connection was made, and by which state of its member's connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    at: Instant,
    /// [`Member::generation`] at that time.
    generation: u32,
}

impl Origin {
    /// That of a connection to `member` which begins to be made now.
    pub(crate) fn now(member: &Member) -> Self {
        Self { at: Instant::now(), generation: member.generation() }
    }

    /// Whether the connections of `member` were not dropped since.
    pub(crate) fn is_current(self, member: &Member) -> bool {
        self.generation == member.generation()
    }

    /// The age of the connection.
    pub(crate) fn age(self, now: Instant) -> Duration {
        now.duration_since(self.at)
    }
}

/// A connection to a member. One of HTTP/1.1 that is dropped before its exchange has ended is closed, which is how a
/// request is cancelled; over HTTP/2, its stream is reset.
pub(crate) struct Connection {
    pub(crate) sender: Sender,
    pub(crate) idle_age_max: Duration,
    pub(crate) origin: Origin,
}

pub(crate) enum Sender {
    FastCgi(Box<fastcgi::Connection>),
    Http1(http1::Connection),
    Http2 { shared: Share, sender: http2::SendRequest<RequestBody> },
}

/// Ends the task of a connection with it.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A stream of a connection of HTTP/2.
pub(crate) struct Share(pub(crate) Rc<Shared2>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
    }
}

/// A connection of HTTP/2, for as long as anybody uses or keeps it.
pub(crate) struct Shared2 {
    sender: http2::SendRequest<RequestBody>,
    /// Number of streams that the peer allows now; `None` if the connection has ended.
    allowed: Box<dyn Fn() -> Option<usize>>,
    /// Whether it gets no more requests: it refuses them, or may be dead without having been closed.
    is_left: Cell<bool>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    pub(crate) origin: Origin,
    _task: AbortOnDrop,
}

impl Shared2 {
    /// The connection of `sender`, which `task` drives; `allowed` says how many streams its peer allows now.
    pub(crate) fn new(
        sender: http2::SendRequest<RequestBody>,
        allowed: Box<dyn Fn() -> Option<usize>>,
        task: AbortHandle,
        origin: Origin,
    ) -> Self {
        let (streams, idle_since) = (Cell::new(0), Cell::new(Instant::now()));
        Self { sender, allowed, is_left: Cell::new(false), streams, idle_since, origin, _task: AbortOnDrop(task) }
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.get()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_left.get() || self.sender.is_closed()
    }

    /// Whether `member` takes one more stream on it, as far as is known: a stream beyond that would wait here.
    pub(crate) fn has_room(&self, member: &Member) -> bool {
        let Some(allowed) = (self.allowed)() else { return false };
        let most = allowed.clamp(1, HTTP2_STREAMS_MAX);
        member.note_streams_max(most);
        self.streams.get() < most
    }

    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        if self.streams.get() > 0 { Duration::ZERO } else { now.duration_since(self.idle_since.get()) }
    }
}

impl Unsent {
    fn http2(error: hyper::Error, is_unsent: bool) -> Self {
        let is_unsent = is_unsent || is_undone(&error);
        Self { error: Error::BadAnswer(BadAnswer::Http(error)), is_unsent }
    }
}

/// Whether the other side says that it did nothing for a stream of HTTP/2: it refused it (RFC 9113 §8.7), or the stream
/// is beyond the last one of its GOAWAY (§6.8); the streams before that one do not end by it.
fn is_undone(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    let is_undone = |error: &h2::Error| {
        error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
    };
    source.is_some_and(|error| error.is_remote() && is_undone(error))
}

impl Connection {
    pub(crate) fn new(sender: Sender, origin: Origin) -> Self {
        Self { sender, idle_age_max: IDLE_AGE_MAX, origin }
    }

    /// One more stream on a connection of HTTP/2.
    pub(crate) fn sharing(shared: &Rc<Shared2>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        let sender = Sender::Http2 { shared: Share(Rc::clone(shared)), sender: shared.sender.clone() };
        Self::new(sender, shared.origin)
    }

    /// Whether it can be used for another request, as far as is known.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.sender {
            Sender::FastCgi(connection) => connection.is_quiet(),
            Sender::Http1(connection) => connection.is_quiet(),
            Sender::Http2 { sender, .. } => sender.is_ready(),
        }
    }

    /// Gives up what is only needed within an exchange; says whether it is to be kept for another one.
    pub(crate) fn rest(&mut self) -> bool {
        match &mut self.sender {
            Sender::FastCgi(connection) => connection.rest(),
            Sender::Http1(connection) => connection.rest(),
            Sender::Http2 { .. } => false,
        }
    }

    /// Whether it still sends the rest of a request that is answered already.
    pub(crate) fn is_sending_rest(&self) -> bool {
        match &self.sender {
            Sender::FastCgi(connection) => connection.is_sending_rest(),
            Sender::Http1(connection) => connection.is_sending_rest(),
            // Its own task does that.
            Sender::Http2 { .. } => false,
        }
    }

    /// Waits until that is done.
    pub(crate) async fn sent_rest(&mut self) {
        match &mut self.sender {
            Sender::FastCgi(connection) => connection.sent_rest().await,
            Sender::Http1(connection) => connection.sent_rest().await,
            Sender::Http2 { .. } => {}
        }
    }

    /// The next frame of an answer over HTTP/1.1, for which at most `bytes_max` bytes are read.
    pub(crate) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
        decoder: &mut Decoder,
        bytes_max: usize,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match &self.sender {
            Sender::Http1(connection) => connection.poll_frame(cx, decoder, bytes_max),
            Sender::FastCgi(_) | Sender::Http2 { .. } => Poll::Ready(None),
        }
    }

    /// The same over FastCGI.
    pub(crate) fn poll_script_frame(
        &self,
        cx: &mut Context<'_>,
        body: &mut fastcgi::Body,
        bytes_max: usize,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match &self.sender {
            Sender::FastCgi(connection) => connection.poll_frame(cx, body, bytes_max),
            Sender::Http1(_) | Sender::Http2 { .. } => Poll::Ready(None),
        }
    }

    /// Bytes of memory that what was read over HTTP/1.1 or FastCGI takes, and was not given.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.sender {
            Sender::FastCgi(connection) => connection.held_bytes(),
            Sender::Http1(connection) => connection.held_bytes(),
            Sender::Http2 { .. } => 0,
        }
    }

    /// The stream of a connection that is upgraded.
    pub(crate) fn into_stream(self) -> Option<Early> {
        match self.sender {
            Sender::Http1(connection) => connection.into_stream(),
            Sender::FastCgi(_) | Sender::Http2 { .. } => None,
        }
    }

    /// Has no more requests sent on a connection that others share, whose own go on: it stands, and an answer did not
    /// come, or it takes no more of them.
    pub(crate) fn leave(&self) {
        if let Sender::Http2 { shared, .. } = &self.sender {
            shared.0.is_left.set(true);
        }
    }

    /// Takes a backend at its word about how long it keeps an idle connection, less a second for the way.
    pub(crate) fn keep_for(&mut self, idle_s: u64) {
        self.idle_age_max = Duration::from_secs(idle_s.saturating_sub(1)).min(IDLE_AGE_ANNOUNCED_MAX);
    }

    /// Sends a request, and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: &Outgoing,
        body: RequestBody,
        member: &Member,
        passing: Option<&Passing>,
    ) -> Result<Response<Answer>, Unsent> {
        let sender = match &mut self.sender {
            Sender::Http1(connection) => {
                let (head, decoder) = connection
                    .send(request, body, passing)
                    .await
                    .map_err(|failed| Unsent { error: failed.fault.into(), is_unsent: failed.is_unsent })?;
                return Ok(response(head, Answer::Http1(decoder)));
            }
            Sender::FastCgi(connection) => {
                let (head, body) = Box::pin(connection.send(request, body)).await?;
                return Ok(response(head, Answer::FastCgi(body)));
            }
            Sender::Http2 { sender, .. } => sender,
        };
        let request = request.for_http2(body, member).map_err(|error| Unsent { error, is_unsent: false })?;
        Box::pin(send_http2(sender, request, passing)).await
    }
}

/// An answer of HTTP/1.1 or FastCGI, whose body is read by `body`.
fn response(head: Head, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.fields;
    if let Some(reason) = head.reason {
        response.extensions_mut().insert(reason);
    }
    response
}

async fn send_http2(
    sender: &mut http2::SendRequest<RequestBody>,
    mut request: Request<RequestBody>,
    passing: Option<&Passing>,
) -> Result<Response<Answer>, Unsent> {
    if let Some(passing) = passing {
        passing.hear(&mut request);
    }
    // A connection whose peer allows no more streams makes the request wait here.
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| Unsent::http2(error, true))?;
    let answered = sender.try_send_request(request).await;
    let response = answered.map_err(|mut error| {
        let is_unsent = error.take_message().is_some();
        Unsent::http2(error.into_error(), is_unsent)
    })?;
    Ok(response.map(Answer::Http2))
}

/// The reader of an answer's body.
#[derive(Debug)]
pub(crate) enum Answer {
    /// From the exchange's own connection.
    FastCgi(fastcgi::Body),
    /// From the exchange's own connection.
    Http1(Decoder),
    Http2(Incoming),
}
