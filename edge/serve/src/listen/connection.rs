//! One connection from its handshake to its end: the engine speaks HTTP on it, where the listener has it, or hyper
//! does. This drives hyper, writes what it collected, and ends it when a limit is over or the edge drains; the engine
//! is driven by [`super::engine`].

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::answer::{Activity, Answer, Streams};
use super::coalesce::coalesce;
use super::engine::{Drive, End, Machine, Rewind};
use super::handshakes::{Displaced, Handshake};
use super::interim_stream::Beside;
use super::limits::{ConnectionLimits, Sizes};
use super::preface::Prefaced;
use super::request_validation;
use super::serve::{Peer, Protocol};
use super::service::Answers;
use super::socket::{IoActivity, SocketIo};
use super::watch::{Turn, Verdict, Watch};
use crate::proxy::Interim;
use crate::tls::{Failed, H2, ServerTls};
use devanture_http::{self as engine, Cause};

/// Fields of a head up to which hyper needs no memory of its own for them.
const HTTP1_FIELDS_FREE: usize = 100;
/// Bytes of one answer that HTTP/2 asks for ahead of the peer's window.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams that a peer may have reset before the edge came to see them (CVE-2023-44487, rapid reset).
const RESET_STREAMS_MAX: usize = 32;
/// Streams that the edge itself may have to reset for a peer's mistakes (CVE-2025-8671, "MadeYouReset").
const ERROR_RESETS_MAX: usize = 256;

/// Shared by all connections of one listener on one thread.
pub(crate) struct Shared<S> {
    pub(crate) tls: Option<ServerTls>,
    pub(crate) limits: ConnectionLimits,
    /// The same for the engine.
    pub(crate) engine: Rc<engine::Limits>,
    pub(crate) service: Rc<S>,
    pub(crate) http1: Counter,
    pub(crate) http2: Counter,
}

impl<S> Shared<S> {
    /// The same with other limits, for connections to come.
    pub(crate) fn with(&self, limits: ConnectionLimits) -> Self {
        Self {
            tls: self.tls.clone(),
            engine: Rc::new(limits.of_engine()),
            limits,
            service: Rc::clone(&self.service),
            http1: self.http1.clone(),
            http2: self.http2.clone(),
        }
    }
}

/// A socket that was accepted.
pub(crate) struct Accepted {
    pub(crate) io: SocketIo,
    pub(crate) address: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Its place among the handshakes, where the listener has TLS.
    pub(crate) handshake: Option<Handshake>,
}

/// Serves a connection to its end.
pub(crate) async fn run<S: Answers>(shared: Rc<Shared<S>>, accepted: Accepted, activity: Rc<Activity>) {
    let Accepted { io, address, local, handshake } = accepted;
    let pulse = Arc::clone(io.pulse());
    activity.share_memory(shared.limits.holding(address.ip()));
    let peer = Peer { address, local, protocol: Protocol::Http1, interim: None, sni: None, tls_version: None };
    // What is rare or short is on the heap, so that the task of a connection that rests is small.
    let (Some(tls), Some(handshake)) = (&shared.tls, handshake) else {
        shared.http1.increment(1);
        let begun = Begun::new(Watch::new(Arc::clone(&shared.limits.times), true));
        activity.count_unsent(shared.limits.sizes.response_bytes, true);
        return Box::pin(http1(&shared, io, peer, Driver::new(pulse, activity), begun)).await;
    };
    let Some((stream, peer)) = Box::pin(shake(&shared, tls, handshake, io, peer)).await else { return };
    let peer = Arc::new(peer);
    let is_http2 = peer.protocol == Protocol::Http2;
    if is_http2 {
        shared.http2.increment(1);
    } else {
        shared.http1.increment(1);
    }
    let Some((service, lane)) = shared.service.on_engine(&peer) else {
        activity.count_unsent(shared.limits.sizes.response_bytes, !is_http2);
        let driver = Driver::new(pulse, activity);
        if is_http2 {
            return Box::pin(http2(&shared, stream, peer, driver)).await;
        }
        let begun = Begun::new(Watch::new(Arc::clone(&shared.limits.times), true));
        return Box::pin(http1(&shared, stream, Arc::unwrap_or_clone(peer), driver, begun)).await;
    };
    activity.set_lane(lane);
    let times = Arc::clone(&shared.limits.times);
    if is_http2 {
        let machine = engine::http2::Connection::new(Rc::clone(&shared.engine), service);
        let mut drive = Box::new(Drive::new(stream, machine, times, activity));
        let end = poll_fn(|cx| drive.poll(cx)).await;
        return Box::pin(close(end, drive, &shared.limits, pulse)).await;
    }
    let machine = engine::http1::Connection::new(Rc::clone(&shared.engine), service);
    let mut drive = Box::new(Drive::new(stream, machine, times, Rc::clone(&activity)));
    match poll_fn(|cx| drive.poll(cx)).await {
        End::HandOver(bytes) => {
            activity.carry(drive.requests());
            let Drive { stream, machine, watch, finishes, .. } = *drive;
            let stream = Rewind::new(stream, bytes);
            if let Some(upgrade) = machine.into_upgrade() {
                return upgrade.send(stream);
            }
            activity.count_unsent(shared.limits.sizes.response_bytes, true);
            let begun = Begun { watch, finishes };
            Box::pin(http1(&shared, stream, Arc::unwrap_or_clone(peer), Driver::new(pulse, activity), begun)).await;
        }
        end => Box::pin(close(end, drive, &shared.limits, pulse)).await,
    }
}

/// Shakes hands, and says who the peer is.
async fn shake<S>(
    shared: &Shared<S>,
    tls: &ServerTls,
    handshake: Handshake,
    io: SocketIo,
    mut peer: Peer,
) -> Option<(TlsStream<SocketIo>, Peer)> {
    let shaken = timeout(shared.limits.times.handshake, handshake.run(tls.accept(io))).await;
    drop(handshake);
    let shaken = shaken.map(|shaken| shaken.unwrap_or_else(|Displaced| Err(Failed::Displaced)));
    let stream = match shaken.unwrap_or(Err(Failed::Timeout)) {
        Ok(stream) => stream?,
        Err(failed) => {
            failed.record();
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    peer.sni = session.server_name().map(Into::into);
    peer.tls_version = session.protocol_version();
    if session.alpn_protocol() == Some(H2) {
        peer.protocol = Protocol::Http2;
    }
    Some((stream, peer))
}

/// Ends a connection that the engine drove; its last bytes may take as long as a handshake.
async fn close<M: Machine>(end: End, mut drive: Box<Drive<M>>, limits: &ConnectionLimits, pulse: Arc<IoActivity>) {
    match end {
        End::Limit => return,
        End::Memory => {
            let _ending = Cause::Memory.begin();
            return drop(drive);
        }
        End::Lost | End::HandOver(_) => {}
        End::Close => {
            drive.say_end();
            drop(timeout(limits.times.handshake, poll_fn(|cx| drive.poll_close(cx))).await);
        }
    }
    drop(drive);
    pulse.linger(limits.linger()).await;
}

/// Where a connection of HTTP/1.1 is when the library begins to speak on it.
struct Begun {
    watch: Watch,
    /// The next answer tells the peer that it is the last.
    finishes: bool,
}

impl Begun {
    const fn new(watch: Watch) -> Self {
        Self { watch, finishes: false }
    }
}

async fn http1<S, T>(shared: &Rc<Shared<S>>, io: T, mut peer: Peer, driver: Driver, begun: Begun)
where
    S: Answers,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let interim = Arc::<Interim>::default();
    peer.interim = Some(Arc::clone(&interim));
    let io = Beside::new(io, interim);
    let Sizes { header_bytes, header_fields, target_bytes, requests, .. } = shared.limits.sizes;
    let peer = Arc::new(peer);
    let of = Requests { shared: Rc::clone(shared), peer: Arc::clone(&peer), activity: Rc::clone(&driver.activity) };
    let service = service_fn(move |request| answer(&of, request));
    let mut builder = http1::Builder::new();
    // The clocks are those of `watch`. A pipelined answer is not held back for the next (`pipeline_flush`): hyper would
    // hold it also while the rest of the next request is awaited, which may await this very answer.
    builder.header_read_timeout(None).half_close(false).keep_alive(true);
    let head_bytes = header_bytes.saturating_add(target_bytes);
    builder.max_header_size(head_bytes).max_buf_size(head_bytes);
    if header_fields != HTTP1_FIELDS_FREE {
        builder.max_headers(header_fields);
    }
    // It is the cause of what is dropped with the connection.
    let ending;
    let ended = {
        let connection = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        let finish = |connection: Pin<&mut _>| http1::UpgradeableConnection::graceful_shutdown(connection);
        let ended = driver.drive(begun, requests, connection, finish, |_| Poll::Ready(Ok(()))).await;
        ending = (ended == Ended::Memory).then(|| Cause::Memory.begin());
        ended
    };
    drop(ending);
    if let Some(status) = driver.refused.get() {
        shared.service.note_refusal(&peer, Version::HTTP_11, status);
    }
    if ended == Ended::Http {
        driver.pulse.linger(shared.limits.linger()).await;
    }
}

async fn http2<S, T>(shared: &Rc<Shared<S>>, io: T, peer: Arc<Peer>, driver: Driver)
where
    S: Answers,
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (times, sizes) = (Arc::clone(&shared.limits.times), shared.limits.sizes);
    let of = Requests { shared: Rc::clone(shared), peer, activity: Rc::clone(&driver.activity) };
    let service = service_fn(move |request| answer(&of, request));
    let streams = Streams { activity: Rc::clone(&driver.activity), write_max: times.write };
    let mut builder = http2::Builder::new(streams);
    builder
        .max_concurrent_streams(sizes.streams)
        .max_header_list_size(u32::try_from(sizes.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .initial_stream_window_size(sizes.stream_window)
        .initial_connection_window_size(sizes.connection_window)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX);
    let begun = Begun::new(Watch::new(Arc::clone(&times), false));
    let ended = {
        let (io, flusher) = coalesce(Prefaced::new(io));
        let connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let flush = |cx: &mut Context<'_>| flusher.poll_flush(cx);
        let finish = |connection: Pin<&mut _>| http2::Connection::graceful_shutdown(connection);
        let ended = driver.drive(begun, sizes.requests, connection, finish, flush).await;
        if ended == Ended::Http {
            // After a mistake of the peer, hyper may have left its last frame here.
            drop(timeout(times.handshake, poll_fn(flush)).await);
        }
        ended
    };
    if ended == Ended::Http {
        driver.pulse.linger(shared.limits.linger()).await;
    }
}

/// Shared by the requests of one connection.
struct Requests<S> {
    shared: Rc<Shared<S>>,
    peer: Arc<Peer>,
    activity: Rc<Activity>,
}

/// Counts a request and has it answered, unless it is refused as it stands.
fn answer<S: Answers>(
    of: &Requests<S>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer<S::Body>>, Infallible>> + use<S> {
    let answering = of.activity.begin(!request.body().is_end_stream());
    let is_head = request.method() == Method::HEAD;
    let request_is_http1 = request.version() <= Version::HTTP_11;
    let response = match request_validation::refusal(&request, &of.shared.limits.sizes) {
        // Boxed, since hyper moves it several times before it polls it, and a request's whole state is some kilobytes.
        None => Ok(Box::pin(of.shared.service.call(request, Arc::clone(&of.peer)))),
        Some(refusal) => {
            of.shared.service.note_refusal(&of.peer, request.version(), refusal.status());
            Err(refusal)
        }
    };
    // HTTP/2 says so beside its answers.
    let is_last = request_is_http1 && of.activity.requests() >= of.shared.limits.sizes.requests;
    let activity = Rc::clone(&of.activity);
    async move {
        let mut response = match response {
            Ok(response) => Answer::of(response.await, is_head, answering),
            Err(refusal) => refusal.map(|()| Answer::empty(answering)),
        };
        if request_is_http1 && poll_fn(|cx| Poll::Ready(response.body_mut().exceeds_nothing(cx))).await {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let is_last = is_last || request_is_http1 && activity.draining().is_some();
        if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// The side that ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// HTTP did: it is complete, the peer has gone, or made a mistake.
    Http,
    /// A limit was over.
    Limit,
    /// What it holds for a peer that takes nothing is needed for others.
    Memory,
}

struct Driver {
    pulse: Arc<IoActivity>,
    activity: Rc<Activity>,
    /// With what the library answered a head that it cannot read, after which it ends the connection.
    refused: Cell<Option<StatusCode>>,
}

/// With what the library answered where it ends with this error, if it did.
fn status_of(error: &hyper::Error) -> Option<StatusCode> {
    match (error.is_parse_too_large(), error.is_parse()) {
        (true, _) => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        (false, true) => Some(StatusCode::BAD_REQUEST),
        (false, false) => None,
    }
}

impl Driver {
    const fn new(pulse: Arc<IoActivity>, activity: Rc<Activity>) -> Self {
        Self { pulse, activity, refused: Cell::new(None) }
    }

    /// Polls `connection` to its end, `flush`es after each of its turns, and keeps the clocks.
    async fn drive<C>(
        &self,
        begun: Begun,
        requests_max: u64,
        mut connection: Pin<&mut C>,
        finish: impl Fn(Pin<&mut C>),
        flush: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Ended
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let Begun { mut watch, mut finishes } = begun;
        let mut has_finished = false;
        poll_fn(|cx| {
            self.activity.register(cx.waker());
            let unsent = self.activity.unsent();
            let is_called = self.activity.held().take_call();
            if is_called && unsent.is_some_and(|unsent| unsent.shed(watch.blocked_since())) {
                return Poll::Ready(Ended::Memory);
            }
            loop {
                if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                    if let Err(error) = result {
                        self.refused.set(status_of(&error));
                        debug!(%error, "a connection ended with an error");
                    }
                    return Poll::Ready(Ended::Http);
                }
                if let Poll::Ready(Err(error)) = flush(cx) {
                    debug!(%error, "a connection was lost");
                    return Poll::Ready(Ended::Http);
                }
                finishes |= self.activity.requests() >= requests_max;
                if finishes && !has_finished {
                    // Once it has read what it was given: it takes a connection without a byte for one that can go.
                    has_finished = true;
                    finish(connection.as_mut());
                    continue;
                }
                match watch.turn(cx, self.turn(), self.activity.draining()) {
                    Verdict::Stay => {
                        if let Some(unsent) = unsent {
                            unsent.report(&mut self.activity.held(), watch.blocked_since(), cx);
                        }
                        return Poll::Pending;
                    }
                    Verdict::Finish => finishes = true,
                    Verdict::Cut(limit) => {
                        debug!(limit, "a connection was closed: its limit is over");
                        return Poll::Ready(Ended::Limit);
                    }
                }
            }
        })
        .await
    }

    fn turn(&self) -> Turn {
        Turn {
            read: self.pulse.take_read(),
            wrote: self.pulse.take_wrote(),
            blocked: self.pulse.blocked() || self.activity.only_awaits_peer(),
            requests: self.activity.requests(),
            in_flight: self.activity.in_flight(),
        }
    }
}
