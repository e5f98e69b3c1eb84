//! A connection to a member, an HTTP/1.1 connection or a stream of HTTP/2: its requests, and the state of its peer.

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

use super::error::{BadAnswer, Error, SendError};
use super::fastcgi;
use super::http1::codec::{Decoder, Head};
use super::http1::{self, BufferedStream, Fault};
use super::interim::Passing;
use super::outgoing::Outgoing;
use super::pool::{HTTP2_STREAMS_MAX, Member};
use super::request_body::RequestBody;

/// Bytes of one response over HTTP/2 buffered for a slow client.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Default idle time of a connection: below the defaults of servers (Node, uvicorn and Apache keep 5 s), so that the
/// edge closes first.
const IDLE_AGE_MAX: Duration = Duration::from_secs(4);
/// Upper limit of the idle time that a backend announces.
const IDLE_AGE_ANNOUNCED_MAX: Duration = Duration::from_secs(60);

/// Creation time of a connection, and the generation of its member's connections at the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    at: Instant,
    /// [`Member::generation`] at the creation.
    generation: u32,
}

impl Origin {
    /// Returns the origin of a connection to `member` that starts now.
    pub(crate) fn now(member: &Member) -> Self {
        Self { at: Instant::now(), generation: member.generation() }
    }

    /// Returns true unless the connections of `member` were dropped since the creation.
    pub(crate) fn is_current(self, member: &Member) -> bool {
        self.generation == member.generation()
    }

    /// Returns the age of the connection.
    pub(crate) fn age(self, now: Instant) -> Duration {
        now.duration_since(self.at)
    }
}

/// A connection to a member. Dropping an HTTP/1.1 connection before the end of its exchange closes the connection,
/// which cancels the request; over HTTP/2, the drop resets the stream.
pub(crate) struct Connection {
    pub(crate) sender: Sender,
    pub(crate) idle_age_max: Duration,
    pub(crate) origin: Origin,
}

pub(crate) enum Sender {
    FastCgi(Box<fastcgi::Connection>),
    Http1(http1::Connection),
    Http2 { shared: Http2Stream, sender: http2::SendRequest<RequestBody> },
}

/// Guard that aborts the task of a connection on drop.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A stream of an HTTP/2 connection.
pub(crate) struct Http2Stream(pub(crate) Rc<Http2Connection>);

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
    }
}

/// An HTTP/2 connection, alive as long as a stream or the idle pool refers to the connection.
pub(crate) struct Http2Connection {
    sender: http2::SendRequest<RequestBody>,
    /// Getter of the number of streams that the peer allows now; `None` after the end of the connection.
    allowed: Box<dyn Fn() -> Option<usize>>,
    /// True if the connection gets no more requests: the peer refuses requests, or may be dead without a close.
    is_left: Cell<bool>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    pub(crate) origin: Origin,
    _task: AbortOnDrop,
}

impl Http2Connection {
    /// Wraps the connection of `sender`, driven by `task`; `allowed` returns the number of streams that the peer allows
    /// now.
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

    /// Returns true if the connection, as far as known, has room for a stream; further streams would wait on this side.
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

impl SendError {
    fn http2(error: hyper::Error, is_unsent: bool) -> Self {
        let is_unsent = is_unsent || is_undone(&error);
        Self { error: Error::BadAnswer(BadAnswer::Http(error)), is_unsent }
    }
}

/// Returns true if the peer reports that a stream of HTTP/2 was not processed: the stream was refused (RFC 9113 §8.7),
/// or is beyond the last stream of a GOAWAY (§6.8), which does not end earlier streams.
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

    /// Opens a stream on a shared HTTP/2 connection.
    pub(crate) fn sharing(shared: &Rc<Http2Connection>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        let sender = Sender::Http2 { shared: Http2Stream(Rc::clone(shared)), sender: shared.sender.clone() };
        Self::new(sender, shared.origin)
    }

    /// Returns true if the connection, as far as known, can be used for another request.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.sender {
            Sender::FastCgi(connection) => connection.is_quiet(),
            Sender::Http1(connection) => connection.is_quiet(),
            Sender::Http2 { sender, .. } => sender.is_ready(),
        }
    }

    /// Releases the buffers of an exchange; returns true if the connection may be kept for another exchange.
    pub(crate) fn rest(&mut self) -> bool {
        match &mut self.sender {
            Sender::FastCgi(connection) => connection.rest(),
            Sender::Http1(connection) => connection.rest(),
            Sender::Http2 { .. } => false,
        }
    }

    /// Returns true while the rest of an already answered request is sent.
    pub(crate) fn is_sending_rest(&self) -> bool {
        match &self.sender {
            Sender::FastCgi(connection) => connection.is_sending_rest(),
            Sender::Http1(connection) => connection.is_sending_rest(),
            // The connection's own task sends the rest.
            Sender::Http2 { .. } => false,
        }
    }

    /// Waits until the rest is sent.
    pub(crate) async fn sent_rest(&mut self) {
        match &mut self.sender {
            Sender::FastCgi(connection) => connection.sent_rest().await,
            Sender::Http1(connection) => connection.sent_rest().await,
            Sender::Http2 { .. } => {}
        }
    }

    /// Polls the next frame of an HTTP/1.1 response, reading at most `bytes_max` bytes.
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

    /// Polls the next frame of a FastCGI response, reading at most `bytes_max` bytes.
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

    /// Returns the bytes of memory of undelivered input over HTTP/1.1 or FastCGI.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.sender {
            Sender::FastCgi(connection) => connection.held_bytes(),
            Sender::Http1(connection) => connection.held_bytes(),
            Sender::Http2 { .. } => 0,
        }
    }

    /// Returns the stream of an upgraded connection.
    pub(crate) fn into_stream(self) -> Option<BufferedStream> {
        match self.sender {
            Sender::Http1(connection) => connection.into_stream(),
            Sender::FastCgi(_) | Sender::Http2 { .. } => None,
        }
    }

    /// Stops further requests on a shared connection, after a missing response or a refused stream. Streams in flight
    /// continue.
    pub(crate) fn leave(&self) {
        if let Sender::Http2 { shared, .. } = &self.sender {
            shared.0.is_left.set(true);
        }
    }

    /// Accepts the idle time that a backend announces, less a second for the network delay.
    pub(crate) fn keep_for(&mut self, idle_s: u64) {
        self.idle_age_max = Duration::from_secs(idle_s.saturating_sub(1)).min(IDLE_AGE_ANNOUNCED_MAX);
    }

    /// Sends a request, and waits for the response head.
    pub(crate) async fn send(
        &mut self,
        request: &Outgoing,
        body: RequestBody,
        member: &Member,
        passing: Option<&Passing>,
    ) -> Result<Response<Answer>, SendError> {
        let sender = match &mut self.sender {
            Sender::Http1(connection) => {
                let (head, decoder) = connection
                    .send(request, body, passing)
                    .await
                    .map_err(|failed| SendError { error: failed.fault.into(), is_unsent: failed.is_unsent })?;
                return Ok(response(head, Answer::Http1(decoder)));
            }
            Sender::FastCgi(connection) => {
                let (head, body) = Box::pin(connection.send(request, body)).await?;
                return Ok(response(head, Answer::FastCgi(body)));
            }
            Sender::Http2 { sender, .. } => sender,
        };
        let request = request.for_http2(body, member).map_err(|error| SendError { error, is_unsent: false })?;
        Box::pin(send_http2(sender, request, passing)).await
    }
}

/// Builds a response of HTTP/1.1 or FastCGI whose body `body` reads.
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
) -> Result<Response<Answer>, SendError> {
    if let Some(passing) = passing {
        passing.hear(&mut request);
    }
    // If the peer allows no more streams, the request waits here.
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| SendError::http2(error, true))?;
    let answered = sender.try_send_request(request).await;
    let response = answered.map_err(|mut error| {
        let is_unsent = error.take_message().is_some();
        SendError::http2(error.into_error(), is_unsent)
    })?;
    Ok(response.map(Answer::Http2))
}

/// The reader of a response body.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Read from the exchange's own connection.
    FastCgi(fastcgi::Body),
    /// Read from the exchange's own connection.
    Http1(Decoder),
    Http2(Incoming),
}
