//! One connection from its handshake to its end: hyper speaks HTTP on it, and this drives hyper, writes what it
//! collected, and ends it when a limit is over or the edge drains.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::debug;

use super::answer::{Activity, Answer, Streams};
use super::beside::Beside;
use super::coalesce::coalesce;
use super::limits::{ConnectionLimits, Sizes};
use super::preface::Prefaced;
use super::serve::{Peer, Protocol};
use super::socket::{Pulse, SocketIo};
use super::tls::{Failed, H2, ServerTls};
use super::unsound;
use super::watch::{Turn, Verdict, Watch};
use crate::proxy::Interim;

/// Bytes of a target up to which hyper reads it, so that one that is too long is told from fields that are too large.
const HTTP1_TARGET_BYTES_MAX: usize = 64 * 1024;
/// Fields of a head up to which hyper needs no memory of its own for them.
const HTTP1_FIELDS_FREE: usize = 100;
/// Bytes of one upload that may be on their way before the edge has passed them on: 5 MB/s at a distance of 100 ms.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// Bytes of all uploads of one connection that the edge may have to hold.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of one answer that HTTP/2 asks for ahead of the peer's window.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams that a peer may have reset before the edge came to see them (CVE-2023-44487, rapid reset).
const RESET_STREAMS_MAX: usize = 32;
/// Streams that the edge itself may have to reset for a peer's mistakes (CVE-2025-8671, "MadeYouReset").
const ERROR_RESETS_MAX: usize = 256;

/// What all connections of one listener on one thread share.
pub(crate) struct Shared<S> {
    pub(crate) tls: Option<ServerTls>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) service: S,
    pub(crate) http1: Counter,
    pub(crate) http2: Counter,
}

/// A socket that was accepted.
pub(crate) struct Accepted {
    pub(crate) io: SocketIo,
    pub(crate) address: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// Serves a connection to its end.
pub(crate) async fn run<S, F, B>(shared: Rc<Shared<S>>, accepted: Accepted, activity: Rc<Activity>)
where
    S: Fn(Request<Incoming>, Arc<Peer>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
{
    let Accepted { io, address, local } = accepted;
    let driver = Driver { pulse: Arc::clone(io.pulse()), activity };
    let mut peer = Peer { address, local, protocol: Protocol::Http1, interim: None, sni: None, tls_version: None };
    let Some(tls) = &shared.tls else {
        return http1(&shared, io, peer, driver).await;
    };
    let shaken = timeout(shared.limits.times.handshake, tls.accept(io)).await;
    let stream = match shaken.unwrap_or(Err(Failed::Timeout)) {
        Ok(Some(stream)) => stream,
        Ok(None) => return,
        Err(failed) => return failed.record(),
    };
    let (_, session) = stream.get_ref();
    peer.sni = session.server_name().map(Into::into);
    peer.tls_version = session.protocol_version();
    if session.alpn_protocol() == Some(H2) {
        peer.protocol = Protocol::Http2;
        http2(&shared, stream, peer, driver).await;
    } else {
        http1(&shared, stream, peer, driver).await;
    }
}

async fn http1<S, F, B, T>(shared: &Rc<Shared<S>>, io: T, mut peer: Peer, driver: Driver)
where
    S: Fn(Request<Incoming>, Arc<Peer>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    shared.http1.increment(1);
    let interim = Arc::<Interim>::default();
    peer.interim = Some(Arc::clone(&interim));
    let io = Beside::new(io, interim);
    let Sizes { header_bytes, header_fields, .. } = shared.limits.sizes;
    let of = Requests { shared: Rc::clone(shared), peer: Arc::new(peer), activity: Rc::clone(&driver.activity) };
    let service = service_fn(move |request| answer(&of, request));
    let mut builder = http1::Builder::new();
    // The clocks are those of `watch`. A pipelined answer is not held back for the next (`pipeline_flush`): hyper would
    // hold it also while the rest of the next request is awaited, which may await this very answer.
    builder.header_read_timeout(None).half_close(false).keep_alive(true);
    let head_bytes = header_bytes.saturating_add(HTTP1_TARGET_BYTES_MAX);
    builder.max_header_size(head_bytes).max_buf_size(head_bytes);
    if header_fields != HTTP1_FIELDS_FREE {
        builder.max_headers(header_fields);
    }
    let watch = Watch::new(shared.limits.times, true);
    let ended = {
        let connection = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        driver.drive(watch, connection, |connection| connection.graceful_shutdown(), |_| Poll::Ready(Ok(()))).await
    };
    if ended == End::Http {
        driver.pulse.linger().await;
    }
}

async fn http2<S, F, B, T>(shared: &Rc<Shared<S>>, io: T, peer: Peer, driver: Driver)
where
    S: Fn(Request<Incoming>, Arc<Peer>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    shared.http2.increment(1);
    let (times, sizes) = (shared.limits.times, shared.limits.sizes);
    let of = Requests { shared: Rc::clone(shared), peer: Arc::new(peer), activity: Rc::clone(&driver.activity) };
    let service = service_fn(move |request| answer(&of, request));
    let streams = Streams { activity: Rc::clone(&driver.activity), write_max: times.write };
    let mut builder = http2::Builder::new(streams);
    builder
        .max_concurrent_streams(sizes.streams)
        .max_header_list_size(u32::try_from(sizes.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX);
    let watch = Watch::new(times, false);
    let ended = {
        let (io, flusher) = coalesce(Prefaced::new(io));
        let connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let flush = |cx: &mut Context<'_>| flusher.poll_flush(cx);
        let ended = driver.drive(watch, connection, |connection| connection.graceful_shutdown(), flush).await;
        if ended == End::Http {
            // After a mistake of the peer, hyper may have left its last frame here.
            drop(timeout(times.handshake, poll_fn(flush)).await);
        }
        ended
    };
    if ended == End::Http {
        driver.pulse.linger().await;
    }
}

/// What the requests of one connection share.
struct Requests<S> {
    shared: Rc<Shared<S>>,
    peer: Arc<Peer>,
    activity: Rc<Activity>,
}

/// Counts a request and has it answered, unless it is refused as it stands.
fn answer<S, F, B>(
    of: &Requests<S>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer<B>>, Infallible>> + use<S, F, B>
where
    S: Fn(Request<Incoming>, Arc<Peer>) -> F,
    F: Future<Output = Response<B>>,
    B: Body,
{
    let answering = of.activity.begin();
    let is_head = request.method() == Method::HEAD;
    let response = match unsound::refusal(&request, &of.shared.limits.sizes) {
        // Boxed, since hyper moves it several times before it polls it, and a request's whole state is some kilobytes.
        None => Ok(Box::pin((of.shared.service)(request, Arc::clone(&of.peer)))),
        Some(refusal) => Err(refusal),
    };
    async move {
        match response {
            // RFC 9110 §9.3.2: on HTTP/2, hyper would send the body.
            Ok(response) => Ok(response.await.map(|body| {
                let is_sent = !is_head || body.is_end_stream();
                Answer::new(is_sent.then_some(body), answering)
            })),
            Err(refusal) => Ok(refusal.map(|()| Answer::new(None, answering))),
        }
    }
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// HTTP did: it is complete, the peer has gone, or made a mistake.
    Http,
    /// A limit was over.
    Limit,
}

struct Driver {
    pulse: Arc<Pulse>,
    activity: Rc<Activity>,
}

impl Driver {
    /// Polls `connection` to its end, `flush`es after each of its turns, and keeps the clocks.
    async fn drive<C>(
        &self,
        mut watch: Watch,
        mut connection: Pin<&mut C>,
        finish: impl Fn(Pin<&mut C>),
        flush: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> End
    where
        C: Future<Output = hyper::Result<()>>,
    {
        poll_fn(|cx| {
            self.activity.register(cx.waker());
            loop {
                if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                    if let Err(error) = result {
                        debug!(%error, "a connection ended with an error");
                    }
                    return Poll::Ready(End::Http);
                }
                if let Poll::Ready(Err(error)) = flush(cx) {
                    debug!(%error, "a connection was lost");
                    return Poll::Ready(End::Http);
                }
                match watch.turn(cx, self.turn(), self.activity.draining()) {
                    Verdict::Stay => return Poll::Pending,
                    Verdict::Finish => finish(connection.as_mut()),
                    Verdict::Cut(limit) => {
                        debug!(limit, "a connection was closed: its limit is over");
                        return Poll::Ready(End::Limit);
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
