//! One request, from the client's to the backend's answer.

use std::cell::Cell;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::net::AddressBlock;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::address::Policy;
use super::body::{Exchange, ProxyBody, RequestBody};
use super::connect::connect;
use super::error::{BadAnswer, Error, Phase};
use super::headers::{self, Arrival};
use super::pool::{Connection, IDLE_AGE_ONCE_MAX, Permit, Pool};
use super::progress::{Progress, Upload};
use super::upgrade::{self, Tunnel};
use super::upstream::Upstream;

/// What a thread's [`Client`] is made of.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Blocks that every route may reach: `[upstreams] allow`.
    pub allow: Arc<[AddressBlock]>,
    /// Most bytes of a request's body: `proxy_body_bytes_max`.
    pub body_bytes_max: u64,
    /// Most idle connections kept to one upstream: `upstream_idle_max`.
    pub idle_per_upstream_max: usize,
    /// Most requests, upgraded ones among them, that are under way to one upstream.
    pub in_use_per_upstream_max: usize,
    /// The addresses that the edge itself listens at.
    pub own: Arc<[SocketAddr]>,
    /// Ends upgraded connections when it is cancelled; requests end by themselves.
    pub stop: CancellationToken,
    /// Whom `https` upstreams are trusted by, see [`super::tls`].
    pub tls: Arc<ClientConfig>,
}

/// Forwards requests, with the kept-alive connections of one serving thread. Cheap to clone, not `Send`.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

struct Inner {
    body_bytes_max: u64,
    counters: Rc<Counters>,
    pool: Rc<Pool>,
    stop: CancellationToken,
    tls: Arc<ClientConfig>,
    /// For versions of strangers, and for those that an `admin` token deployed.
    policies: (Policy, Policy),
}

/// What a [`Client`] counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    connected: Cell<u64>,
    retried: Cell<u64>,
    reused: Cell<u64>,
    pub(crate) upgraded: Cell<u64>,
    pub(crate) upgraded_bytes_received: Cell<u64>,
    pub(crate) upgraded_bytes_sent: Cell<u64>,
}

/// Adds to a counter.
pub(crate) fn add(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get().wrapping_add(by));
}

/// What a [`Client`] has done and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections made.
    pub connected: u64,
    /// Connections that are idle now.
    pub idle: usize,
    /// Requests under way now, upgraded ones among them.
    pub in_use: usize,
    /// Requests sent a second time since their kept-alive connection turned out to be dead.
    pub retried: u64,
    /// Requests sent on a kept-alive connection.
    pub reused: u64,
    /// Connections upgraded.
    pub upgraded: u64,
    /// Bytes that clients sent on upgraded connections.
    pub upgraded_bytes_received: u64,
    /// Bytes that backends sent on upgraded connections.
    pub upgraded_bytes_sent: u64,
}

/// A request that was not answered.
struct Failure {
    error: Error,
    /// The request itself, if nothing of it was sent.
    unsent: Option<Box<Request<RequestBody>>>,
    /// Whether the connection was closed before an answer came.
    is_closed: bool,
}

/// A request on its way.
struct Sent {
    connection: Connection,
    progress: Rc<Progress>,
    response: Response<Incoming>,
}

impl Client {
    /// Makes the client of one thread.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        let ClientSettings { allow, body_bytes_max, idle_per_upstream_max, in_use_per_upstream_max, own, stop, tls } =
            settings;
        let stranger = Policy { allow, own, trusted: false };
        let trusted = Policy { trusted: true, ..stranger.clone() };
        let pool = Pool::new(idle_per_upstream_max, in_use_per_upstream_max);
        let counters = Rc::default();
        Self { inner: Rc::new(Inner { body_bytes_max, counters, pool, stop, tls, policies: (stranger, trusted) }) }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Inner { counters, pool, .. } = &*self.inner;
        Counts {
            connected: counters.connected.get(),
            idle: pool.idle(),
            in_use: pool.in_use(),
            retried: counters.retried.get(),
            reused: counters.reused.get(),
            upgraded: counters.upgraded.get(),
            upgraded_bytes_received: counters.upgraded_bytes_received.get(),
            upgraded_bytes_sent: counters.upgraded_bytes_sent.get(),
        }
    }

    /// Sends `request` to `upstream` and hands back the answer as soon as its head is there.
    ///
    /// `trusted` says that an `admin` token deployed the version whose route this is. Dropping the future, or the
    /// answer's body before its end, cancels the request by closing the connection to the backend. After an answer of
    /// 101 the two connections are joined by a task of this thread. Must be called inside a `LocalSet`.
    ///
    /// # Errors
    /// Why there is no answer; one that breaks off later is an error of the [`ProxyBody`].
    pub async fn forward<B>(
        &self,
        upstream: &Upstream,
        trusted: bool,
        mut request: Request<B>,
        arrival: &Arrival<'_>,
    ) -> Result<Response<ProxyBody>, Error>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if *request.method() == Method::CONNECT {
            return Err(Error::NotImplemented("CONNECT is not for a gateway"));
        }
        if !headers::is_plainly_coded(request.headers()) {
            return Err(Error::NotImplemented("its transfer coding is not chunked alone"));
        }
        let method = request.method().clone();
        if !headers::count_down(&method, request.headers_mut()) {
            let mut answer = Response::new(ProxyBody::empty());
            *answer.status_mut() = StatusCode::NO_CONTENT;
            return Ok(answer);
        }
        let protocols = headers::upgrade(request.headers(), request.version());
        let asked = protocols.map(|protocols| (hyper::upgrade::on(&mut request), protocols));
        let outgoing = self.outgoing(request, arrival, asked.as_ref().map(|(_, protocols)| protocols))?;
        let permit = self.inner.pool.permit(&upstream.target)?;
        let sent = Box::pin(self.exchange(upstream, trusted, outgoing)).await?;
        self.answer(upstream, sent, permit, asked)
    }

    /// The request for the backend: origin-form target as it came, head made anew, and one length or coding.
    fn outgoing<B>(
        &self,
        request: Request<B>,
        arrival: &Arrival<'_>,
        protocols: Option<&HeaderValue>,
    ) -> Result<Request<RequestBody>, Error>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let bytes_max = self.inner.body_bytes_max;
        if body.size_hint().lower() > bytes_max {
            return Err(Error::RequestTooLarge { bytes_max });
        }
        let target = parts.uri.path_and_query().ok_or(Error::BadRequest("its target is no path"))?;
        check_target(target)?;
        let said_length = parts.headers.contains_key(header::CONTENT_LENGTH);
        let mut headers = headers::request(parts.headers, parts.version, arrival, protocols)?;
        let body = RequestBody::new(body, bytes_max);
        match body.size_hint().exact() {
            // Some backends want to be told of an empty body where a body is usual.
            Some(0) if !said_length && !matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => drop(headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length))),
            None => drop(headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
        }
        let mut outgoing = Request::new(body);
        *outgoing.uri_mut() = Uri::from(target.clone());
        *outgoing.method_mut() = parts.method;
        *outgoing.headers_mut() = headers;
        Ok(outgoing)
    }

    /// Sends `request` on a connection that is kept alive, or else on a new one.
    ///
    /// A kept-alive connection may be closed by the backend at the very moment it is used. Then the request goes out
    /// once more, on a new connection, if nothing of it was sent, or if sending it twice does no harm.
    async fn exchange(
        &self,
        upstream: &Upstream,
        trusted: bool,
        mut request: Request<RequestBody>,
    ) -> Result<Sent, Error> {
        let Inner { counters, pool, policies, tls, .. } = &*self.inner;
        let policy = if trusted { &policies.1 } else { &policies.0 };
        let is_replayable = request.method().is_idempotent() && request.body().is_empty();
        let age_max = if is_replayable { Duration::MAX } else { IDLE_AGE_ONCE_MAX };
        if let Some(connection) = pool.take(&upstream.target, policy, age_max) {
            add(&counters.reused, 1);
            let spare = is_replayable.then(|| copy_of_empty(&request));
            match self.send(connection, request, upstream.timeout).await {
                Ok(sent) => return Ok(sent),
                Err(Failure { unsent: Some(unsent), .. }) => request = *unsent,
                Err(Failure { error, is_closed, .. }) => match spare {
                    Some(spare) if is_closed => request = spare,
                    _ => return Err(error),
                },
            }
            add(&counters.retried, 1);
        }
        let connection = connect(&upstream.target, policy, tls, upstream.timeout).await?;
        add(&counters.connected, 1);
        self.send(connection, request, upstream.timeout).await.map_err(|failure| failure.error)
    }

    /// Sends `request` and waits for the answer's head for as long as the request's body moves, and `limit` longer.
    async fn send(
        &self,
        mut connection: Connection,
        request: Request<RequestBody>,
        limit: Duration,
    ) -> Result<Sent, Failure> {
        let progress = request.body().progress();
        let answered = progress.limit(limit, connection.sender.try_send_request(request)).await;
        let mut error = match answered {
            Some(Ok(response)) => return Ok(Sent { connection, progress, response }),
            Some(Err(error)) => error,
            None => {
                let phase = if progress.upload() == Upload::Waiting { Phase::RequestBody } else { Phase::Head };
                return Err(Failure { error: Error::Timeout(phase), unsent: None, is_closed: false });
            }
        };
        let unsent = error.take_message().map(Box::new);
        let error = error.into_error();
        let is_closed = is_closed(&error);
        let error = match progress.upload() {
            Upload::BrokenOff => Error::Cancelled,
            Upload::TooLarge => Error::RequestTooLarge { bytes_max: self.inner.body_bytes_max },
            Upload::Done | Upload::Running | Upload::Waiting => Error::BadAnswer(BadAnswer::Http(error)),
        };
        Err(Failure { error, unsent, is_closed })
    }

    /// The answer for the client out of the backend's.
    fn answer(
        &self,
        upstream: &Upstream,
        sent: Sent,
        permit: Permit,
        asked: Option<(OnUpgrade, HeaderValue)>,
    ) -> Result<Response<ProxyBody>, Error> {
        let Sent { mut connection, progress, mut response } = sent;
        *response.version_mut() = Version::HTTP_11;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some((client, protocols)) = asked else { return Err(Error::unfit("it switches protocols unasked")) };
            if !headers::switches_to(response.headers(), &protocols) {
                return Err(Error::unfit("it switches to a protocol that was not asked for"));
            }
            headers::answer(response.headers_mut(), true);
            upgrade::start(Tunnel {
                backend: hyper::upgrade::on(&mut response),
                client,
                connection,
                counters: Rc::clone(&self.inner.counters),
                permit,
                rest_max: upstream.timeout,
                stop: self.inner.stop.clone(),
            });
            return Ok(response.map(|_nothing| ProxyBody::empty()));
        }
        if !headers::is_plainly_coded(response.headers()) {
            return Err(Error::unfit("its transfer coding is not chunked alone"));
        }
        if let Some(said_s) = headers::keep_alive_s(response.headers()) {
            connection.keep_for(said_s);
        }
        headers::answer(response.headers_mut(), false);
        let (pool, target) = (Rc::clone(&self.inner.pool), Arc::clone(&upstream.target));
        let exchange = Exchange { connection, permit, pool, progress, target };
        Ok(response.map(|body| ProxyBody::new(body, exchange, upstream.timeout)))
    }
}

/// A target must not be able to end the request's first line. The parsers before this one see to it; should one of them
/// not, a second request would be smuggled in, so it is looked at once more where it is written.
fn check_target(target: &PathAndQuery) -> Result<(), Error> {
    if target.as_str().bytes().all(|byte| byte > b' ' && byte != 0x7f) {
        Ok(())
    } else {
        Err(Error::BadRequest("its target holds a character that may not be there"))
    }
}

/// The same request once more; only for one without a body.
fn copy_of_empty(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.uri_mut() = request.uri().clone();
    *copy.method_mut() = request.method().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Whether the other side closed the connection before an answer came, rather than answered badly.
fn is_closed(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || matches!(io, Some(BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof))
}
