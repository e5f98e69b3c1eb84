//! New connections to members: the very endpoint asked about, TCP or a socket, TLS, HTTP/1.1 or HTTP/2.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use devanture_config::site_toml::Protocol;
use http::{Request, Response};
use http_body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::address::Endpoint;
use super::error::{BadAnswer, Error, Phase};
use super::http1::codec::{Decoder, HEAD_BYTES_MAX};
use super::http1::{self, Early, Fault, Stream};
use super::idle_pool::IDLE_AGE_MAX;
use super::interim::Passing;
use super::outgoing::Outgoing;
use super::pool::{Member, Pool};
use super::request_body::RequestBody;
use super::response_body::Answer;

/// Bytes of one answer over HTTP/2 that a slow client leaves here.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// The same for all answers on one connection: as many as all streams may have, so that those of slow clients never
/// keep the others from theirs.
const CONNECTION_WINDOW_BYTES: u32 = 100 * STREAM_WINDOW_BYTES;
/// Streams on one connection, which is what servers commonly allow; then there is a second one.
pub(crate) const HTTP2_STREAMS_MAX: usize = 100;
/// After how long a silent connection is asked whether its other end still lives.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// The longest that a backend's own word about idle connections is believed.
const IDLE_AGE_ANNOUNCED_MAX: Duration = Duration::from_secs(60);

/// A connection to a member. One of HTTP/1.1 that is dropped before its exchange has ended is closed, which is how a
/// request is cancelled; over HTTP/2, its stream is reset.
pub(crate) struct Connection {
    pub(crate) sender: Sender,
    pub(crate) idle_age_max: Duration,
}

pub(crate) enum Sender {
    Http1(http1::Connection),
    Http2 { shared: Share, sender: http2::SendRequest<RequestBody> },
}

/// Ends the task of a connection with it.
pub(crate) struct AbortOnDrop(AbortHandle);

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
    _task: AbortOnDrop,
}

impl Shared2 {
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

/// Why a request was not answered.
pub(crate) struct Unsent {
    pub(crate) error: Error,
    /// Whether the backend has seen nothing of it.
    pub(crate) is_unsent: bool,
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
    fn new(sender: Sender) -> Self {
        Self { sender, idle_age_max: IDLE_AGE_MAX }
    }

    /// One more stream on a connection of HTTP/2.
    pub(crate) fn sharing(shared: &Rc<Shared2>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        Self::new(Sender::Http2 { shared: Share(Rc::clone(shared)), sender: shared.sender.clone() })
    }

    /// Whether it can be used for another request, as far as is known.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.sender {
            Sender::Http1(connection) => connection.is_quiet(),
            Sender::Http2 { sender, .. } => sender.is_ready(),
        }
    }

    /// Gives up what is only needed within an exchange; says whether it is to be kept for another one.
    pub(crate) fn rest(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(connection) => connection.rest(),
            Sender::Http2 { .. } => false,
        }
    }

    /// Whether it still sends the rest of a request that is answered already.
    pub(crate) const fn is_sending_rest(&self) -> bool {
        match &self.sender {
            Sender::Http1(connection) => connection.is_sending_rest(),
            // Its own task does that.
            Sender::Http2 { .. } => false,
        }
    }

    /// Waits until that is done.
    pub(crate) async fn sent_rest(&mut self) {
        if let Sender::Http1(connection) = &mut self.sender {
            connection.sent_rest().await;
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
            Sender::Http2 { .. } => Poll::Ready(None),
        }
    }

    /// Bytes of memory that what was read over HTTP/1.1 takes, and was not given.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.sender {
            Sender::Http1(connection) => connection.held_bytes(),
            Sender::Http2 { .. } => 0,
        }
    }

    /// The stream of a connection that is upgraded.
    pub(crate) fn into_stream(self) -> Option<Early> {
        match self.sender {
            Sender::Http1(connection) => connection.into_stream(),
            Sender::Http2 { .. } => None,
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
                let (head, decoder) = connection.send(request, body, passing).await.map_err(|failed| Unsent {
                    error: Error::BadAnswer(BadAnswer::Http1(failed.fault)),
                    is_unsent: failed.is_unsent,
                })?;
                let mut response = Response::new(Answer::Http1(decoder));
                *response.status_mut() = head.status;
                *response.headers_mut() = head.fields;
                if let Some(reason) = head.reason {
                    response.extensions_mut().insert(reason);
                }
                return Ok(response);
            }
            Sender::Http2 { sender, .. } => sender,
        };
        let request = request.for_http2(body, member).map_err(|error| Unsent { error, is_unsent: false })?;
        Box::pin(send_http2(sender, request, passing)).await
    }
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

/// Connects to `member` within `limit`; what is to be upgraded goes over HTTP/1.1 whatever the pool speaks.
pub(crate) async fn connect(pool: &Pool, member: &Member, upgrade: bool, limit: Duration) -> Result<Connection, Error> {
    let protocol = if upgrade { Protocol::Http1 } else { pool.protocol() };
    let work = Box::pin(async {
        // The very address that is connected to is checked: a name may have changed its mind since the publish.
        pool.permits(member).map_err(Error::Forbidden)?;
        match &member.endpoint {
            Endpoint::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(Error::connect)?;
                check_listener(&stream, member)?;
                speak(Stream::Unix(stream), protocol, member).await
            }
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(Error::connect)?;
                set_up(&stream);
                let Some(name) = &member.tls else { return speak(Stream::Tcp(stream), protocol, member).await };
                let other = |why: String| Error::Tls(io::Error::other(why));
                let name = name.clone().ok_or_else(|| other("its name is no DNS name".to_owned()))?;
                let tls = pool.tls.as_ref().map_err(|why| other(why.clone()))?;
                let config: &Arc<ClientConfig> = if upgrade { &tls.http1 } else { &tls.usual };
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(Error::Tls)?;
                if protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(other("it does not speak HTTP/2 (ALPN)".to_owned()));
                }
                speak(Stream::Tls(Box::new(stream)), protocol, member).await
            }
        }
    });
    timeout(limit, work).await.unwrap_or(Err(Error::Timeout(Phase::Connect)))
}

/// Anyone who may write to the folder of a socket can have put another one there, or a link to it. Who listens is known
/// for sure only of the connection itself: the system says whose process it was that began to.
fn check_listener(stream: &UnixStream, member: &Member) -> Result<(), Error> {
    let Some(uid) = member.uid else { return Ok(()) };
    if stream.peer_cred().map_err(Error::connect)?.uid() == uid {
        return Ok(());
    }
    let why = "a process of somebody else listens there";
    Err(Error::Connect(io::Error::new(io::ErrorKind::PermissionDenied, why)))
}

fn set_up(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER / 4);
    let outcome = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = outcome {
        tracing::debug!(%error, "an option of a backend's socket could not be set");
    }
}

/// Runs what HTTP/2 has to do beside its requests on this thread.
#[derive(Debug, Clone, Copy)]
struct Here;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// Starts HTTP; that of HTTP/2 is driven by a task of this thread.
async fn speak(stream: Stream, protocol: Protocol, member: &Member) -> Result<Connection, Error> {
    if protocol == Protocol::Http1 {
        return Ok(Connection::new(Sender::Http1(http1::Connection::new(stream))));
    }
    let mut builder = http2::Builder::new(Here);
    builder
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        // Until it says how many it allows, what it said before is taken for true.
        .initial_max_send_streams(member.streams_max())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| Error::BadAnswer(BadAnswer::Http(error)))?;
    let connection = Rc::new(RefCell::new(Some(connection)));
    let driven = Rc::clone(&connection);
    let task = tokio::task::spawn_local(async move {
        let ended = poll_fn(|cx| match &mut *driven.borrow_mut() {
            Some(connection) => Pin::new(connection).poll(cx),
            None => Poll::Ready(Ok(())),
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a connection to a backend ended");
        }
        // Requests that were handed to it too late come back by this.
        driven.take();
    });
    let _task = AbortOnDrop(task.abort_handle());
    // Only its driver knows, which does nothing else while it is asked.
    let allowed = Box::new(move || connection.try_borrow().ok()?.as_ref().map(|it| it.current_max_send_streams()));
    let now = Instant::now();
    let (streams, idle_since) = (Cell::new(0), Cell::new(now));
    let shared = Shared2 { sender, allowed, is_left: Cell::new(false), streams, idle_since, _task };
    Ok(Connection::sharing(&Rc::new(shared)))
}
