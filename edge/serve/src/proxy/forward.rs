//! The forwarding of one request, from the client's request to the backend's response.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::site_toml::{HostRule, Protocol, without_prefix};
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::compiled_route::CompiledRoute;
use super::connect::connect;
use super::connection::{Answer, Connection};
use super::error::{BadAnswer, Error, Phase};
use super::headers::{self, Arrival};
use super::http1::Fault;
use super::idle_pool::Kept;
use super::interim::Passing;
use super::outgoing::Outgoing;
use super::permit::Permit;
use super::pool::{Member, Pool};
use super::progress::{Progress, Upload};
use super::request_body::{MALFORMED, Original};
use super::response_body::{Exchange, ProxyBody};
use super::stats::{Counters, Counts, add};
use super::upgrade::{self, ClientStream, Tunnel};

/// Maximum number of HTTP/2 connections without free streams that a request tries before the member counts as failed.
const STALE_SHARED_MAX: u32 = 3;
/// Longest wait, after a refused connect to an instance, for the runner to notice the end of the instance.
const NOTICE_TIME_MAX: Duration = Duration::from_secs(2);

/// The parts of a thread's [`Client`].
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Maximum number of bytes of a request body: `proxy_body_bytes_max`.
    pub body_bytes_max: u64,
    /// Maximum number of idle connections to one member: `upstream_idle_max`.
    pub idle_per_member_max: usize,
    /// Age at which a connection gets no further request: `upstream_connection_age_ms_max`.
    pub connection_age_max: Duration,
    /// Ends upgraded connections on cancellation; requests run to completion.
    pub stop: CancellationToken,
}

/// Client that forwards requests over the idle connections of one serving thread. Cheap to clone, not `Send`.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

struct Inner {
    body_bytes_max: u64,
    counters: Rc<Counters>,
    kept: Rc<Kept>,
    stop: CancellationToken,
}

/// A failed request.
struct Failure {
    error: Error,
    /// True if the same request may be sent again.
    may_repeat: bool,
    /// True if only an old idle connection failed, and no replacement could be made.
    is_stale: bool,
}

impl Failure {
    fn last(error: Error) -> Self {
        Self { error, may_repeat: false, is_stale: false }
    }
}

/// A sent request.
struct Sent {
    connection: Connection,
    permit: Permit,
    progress: Rc<Progress>,
    response: Response<Answer>,
}

impl Client {
    /// Creates the client of one thread.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        let ClientSettings { body_bytes_max, idle_per_member_max, connection_age_max, stop } = settings;
        let kept = Kept::new(idle_per_member_max, connection_age_max);
        Self { inner: Rc::new(Inner { body_bytes_max, counters: Rc::default(), kept, stop }) }
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Inner { counters, kept, .. } = &*self.inner;
        Counts {
            connected: counters.connected.get(),
            idle: kept.idle(),
            in_use: counters.in_use.get(),
            retried: counters.retried.get(),
            reused: counters.reused.get(),
            upgraded: counters.upgraded.get(),
            upgraded_bytes_received: counters.upgraded_bytes_received.get(),
            upgraded_bytes_sent: counters.upgraded_bytes_sent.get(),
        }
    }

    /// Sends `request` along the route `way` and returns the response once its head is complete.
    ///
    /// Dropping the future, or the response body before its end, cancels the request at the backend. After a response
    /// of 101, a task on the current thread joins the two connections. Must be called inside a `LocalSet`.
    ///
    /// # Errors
    /// The reason without a response; a later failure is an error of the [`ProxyBody`].
    pub async fn forward<B>(
        &self,
        way: &CompiledRoute,
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
        let deadline = way.times.total.map(|total| Instant::now() + total);
        let protocols = headers::upgrade(request.headers(), request.version());
        let upgrade = protocols.map(|protocols| (upgrade::client(&mut request), protocols));
        let outgoing = self.outgoing(way, request, arrival, upgrade.as_ref().map(|(_, protocols)| protocols))?;
        let exchange = Box::pin(self.exchange(way, outgoing, arrival.passing, upgrade.is_some()));
        let sent = match deadline {
            Some(deadline) => timeout_at(deadline, exchange).await.unwrap_or(Err(Error::Timeout(Phase::Total)))?,
            None => exchange.await?,
        };
        self.answer(way, sent, upgrade, deadline)
    }

    /// Builds the request for the backend: target, rebuilt head, and one length or coding.
    fn outgoing<B>(
        &self,
        way: &CompiledRoute,
        request: Request<B>,
        arrival: &Arrival<'_>,
        protocols: Option<&HeaderValue>,
    ) -> Result<Outgoing, Error>
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let bytes_max = self.inner.body_bytes_max.min(way.body_bytes_max);
        if body.size_hint().lower() > bytes_max {
            return Err(Error::RequestTooLarge { bytes_max });
        }
        let target = parts.uri.path_and_query().ok_or(Error::BadRequest("its target is no path"))?;
        check_target(target)?;
        let has_length = parts.headers.contains_key(header::CONTENT_LENGTH);
        let mut dropped = headers::listed(&parts.headers);
        dropped.extend(way.request.names().cloned());
        let mut headers = headers::request(parts.headers, parts.version, arrival, protocols)?;
        let target = match &way.strip {
            Some(prefix) => {
                headers::say_prefix(&mut headers, prefix);
                without(target, prefix).ok_or(Error::BadRequest("its target is no path"))?
            }
            None => target.clone(),
        };
        if let HostRule::Name(name) = &way.host {
            let host = HeaderValue::from_str(name).map_err(|_invalid| Error::BadRequest("its host is no host"))?;
            headers.insert(header::HOST, host);
        }
        way.request.apply_to_request(&mut headers);
        let length = body.size_hint().exact();
        match length {
            // Some backends require `content-length: 0` for methods that usually have a body.
            Some(0) if !has_length && !matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => drop(headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length))),
            None => drop(headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
        }
        // Over HTTP/2 a backend reports unprocessed requests, so that even a POST can be sent again.
        let may_be_sent_again = parts.method.is_idempotent() || way.pool.protocol() == Protocol::Http2;
        let body = Original::new(body, bytes_max, may_be_sent_again, dropped);
        Ok(Outgoing { body, headers, length, method: parts.method, target })
    }

    /// Sends `request` to a member chosen by the pool, and to another member after a failure that is safe to repeat,
    /// within the pool's retries and budget.
    async fn exchange(
        &self,
        way: &CompiledRoute,
        mut request: Outgoing,
        passing: Option<&Passing>,
        upgrade: bool,
    ) -> Result<Sent, Error> {
        let CompiledRoute { pool, times, .. } = way;
        pool.budget().earn();
        let (mut left, mut avoid, mut before) = (pool.retries(), None, None);
        let mut has_waited = false;
        loop {
            // The wait for a starting instance is as long as the wait for the beginning of a response.
            let patience = if pool.run.is_some() { times.connect.max(times.first_byte) } else { times.connect };
            let lease = match pool.lease(avoid, Instant::now() + patience).await {
                Ok(lease) => lease,
                // The failure of the earlier attempt says more than the lack of another member.
                Err(error) => return Err(before.unwrap_or(error)),
            };
            let permit = Permit::new(lease, &self.inner.counters);
            if way.host == HostRule::Target
                && let Ok(host) = HeaderValue::from_str(&permit.lease.member.authority)
            {
                request.headers.insert(header::HOST, host);
            }
            avoid = Some(permit.lease.member.id);
            match self.attempt(way, permit, &request, passing, upgrade).await {
                Ok(sent) => return Ok(sent),
                Err(Failure { may_repeat: true, error, is_stale })
                    if left > 0 && pool.has_other(avoid) && (is_stale || pool.budget().spend()) =>
                {
                    tracing::debug!(%error, "a request is sent to another backend");
                    add(&self.inner.counters.retried, 1);
                    (left, before) = (left - 1, Some(error));
                }
                // The only instance has just ended: the request waits for the next instance, as a later request would.
                Err(Failure { may_repeat: true, error: Error::Connect(_), .. })
                    if !has_waited && pool.is_replaced(avoid, Instant::now() + NOTICE_TIME_MAX).await =>
                {
                    has_waited = true;
                }
                // The failure of the earlier attempt says more than a failed connect to the second member.
                Err(Failure { error: error @ Error::Connect(_), .. }) => return Err(before.unwrap_or(error)),
                Err(failure) => return Err(failure.error),
            }
        }
    }

    /// Sends `request` to one member, on an idle connection or on a new connection.
    ///
    /// The backend may close an idle connection at the moment of use. Then the request is sent again on a new
    /// connection, if no byte was sent, or if a repetition is safe. If no new connection can be made, the failure is
    /// stale: another member gets the request regardless of the budget, because each connection ends only once.
    async fn attempt(
        &self,
        way: &CompiledRoute,
        permit: Permit,
        request: &Outgoing,
        passing: Option<&Passing>,
        upgrade: bool,
    ) -> Result<Sent, Failure> {
        let Inner { counters, kept, .. } = &*self.inner;
        let (pool, member) = (&permit.lease.pool, &permit.lease.member);
        let is_shared = pool.protocol() == Protocol::Http2 && !upgrade;
        let mut found = match is_shared {
            true => kept.share(member),
            false => request.idle_age_max().and_then(|age_max| kept.take(member, age_max)),
        };
        let mut left = if is_shared { STALE_SHARED_MAX } else { 1 };
        let mut has_ended = false;
        loop {
            let taken = match found.take() {
                Some(connection) => Ok((connection, false)),
                None => self.connected(pool, member, upgrade, way.times.connect).await,
            };
            let (connection, is_new) = match taken {
                Ok(taken) => taken,
                // No byte has reached the backend.
                Err(error) => {
                    let may_repeat = error.is_backends() && request.is_whole();
                    return Err(noted(&permit, Failure { error, may_repeat, is_stale: has_ended }));
                }
            };
            if !is_new {
                add(&counters.reused, 1);
            }
            match self.send(connection, &permit, request, passing, way).await {
                Ok((connection, progress, response)) => return Ok(answered(connection, permit, progress, response)),
                Err(Failure { may_repeat: true, is_stale: true, .. }) if left > 0 && !is_new => left -= 1,
                Err(failure) => return Err(noted(&permit, Failure { is_stale: false, ..failure })),
            }
            has_ended = true;
            add(&counters.retried, 1);
            // A shared HTTP/2 connection made by another request may fail in the same way.
            found = if is_shared { kept.share(member) } else { None };
        }
    }

    /// Opens a connection, or shares an HTTP/2 connection opened meanwhile. The flag is true for a new connection.
    async fn connected(
        &self,
        pool: &Pool,
        member: &Arc<Member>,
        upgrade: bool,
        limit: Duration,
    ) -> Result<(Connection, bool), Error> {
        let Inner { counters, kept, .. } = &*self.inner;
        if upgrade || pool.protocol() == Protocol::Http1 {
            let connection = connect(pool, member, upgrade, limit).await?;
            add(&counters.connected, 1);
            return Ok((connection, true));
        }
        // A request waits no longer for another request's connect than for its own connect.
        let deadline = Instant::now() + limit;
        let opening = kept.opening(member);
        let Ok(_turn) = timeout_at(deadline, opening.lock()).await else { return Err(Error::Timeout(Phase::Connect)) };
        if let Some(connection) = kept.share(member) {
            return Ok((connection, false));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let connection = connect(pool, member, upgrade, left).await?;
        add(&counters.connected, 1);
        kept.keep_shared(member, &connection);
        Ok((connection, true))
    }

    /// Sends `request` and waits for the response head as long as the request body moves, plus the limit for the first
    /// byte.
    async fn send(
        &self,
        mut connection: Connection,
        permit: &Permit,
        request: &Outgoing,
        passing: Option<&Passing>,
        way: &CompiledRoute,
    ) -> Result<(Connection, Rc<Progress>, Response<Answer>), Failure> {
        let body = request.body.body();
        let progress = body.progress();
        let sent = connection.send(request, body, &permit.lease.member, passing);
        let failed = match progress.limit(way.times.first_byte, sent).await {
            Some(Ok(response)) => return Ok((connection, progress, response)),
            Some(Err(failed)) => failed,
            None => {
                let waits_for_client = progress.upload() == Upload::Waiting;
                if !waits_for_client {
                    connection.leave();
                }
                let phase = if waits_for_client { Phase::RequestBody } else { Phase::Head };
                return Err(Failure::last(Error::Timeout(phase)));
            }
        };
        let is_closed = matches!(&failed.error, Error::BadAnswer(answer) if answer.is_closed());
        let is_stale = failed.is_unsent || is_closed;
        if is_stale {
            connection.leave();
        }
        match (progress.upload(), failed.error) {
            (Upload::TooLarge, _) => {
                let bytes_max = self.inner.body_bytes_max.min(way.body_bytes_max);
                Err(Failure::last(Error::RequestTooLarge { bytes_max }))
            }
            (Upload::Malformed, _) => Err(Failure::last(Error::BadRequest(MALFORMED))),
            (Upload::TooSlow, _) => Err(Failure::last(Error::Timeout(Phase::RequestBody))),
            (Upload::BrokenOff, _) | (_, Error::BadAnswer(BadAnswer::Http1(Fault::Request))) => {
                Err(Failure::last(Error::Cancelled))
            }
            (Upload::Done | Upload::Running | Upload::Waiting, error) => {
                // The beginning of a long body is no longer available.
                let may_repeat = failed.is_unsent && request.is_whole() || is_closed && request.is_repeatable();
                Err(Failure { error, may_repeat, is_stale })
            }
        }
    }

    /// Builds the client's response from the backend's response.
    fn answer(
        &self,
        way: &CompiledRoute,
        sent: Sent,
        upgrade: Option<(ClientStream, HeaderValue)>,
        deadline: Option<Instant>,
    ) -> Result<Response<ProxyBody>, Error> {
        let Sent { mut connection, permit, progress, mut response } = sent;
        *response.version_mut() = Version::HTTP_11;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some((client, protocols)) = upgrade else { return Err(Error::unfit("it switches protocols unasked")) };
            if !headers::switches_to(response.headers(), &protocols) {
                return Err(Error::unfit("it switches to a protocol that was not asked for"));
            }
            let Some(backend) = connection.into_stream() else {
                return Err(Error::unfit("it switches protocols within the request"));
            };
            headers::answer(response.headers_mut(), true);
            let upgrade = response.headers().get(header::UPGRADE);
            let is_websocket = upgrade.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
            way.response.apply(response.headers_mut());
            upgrade::start(Tunnel {
                backend,
                client,
                counters: Rc::clone(&self.inner.counters),
                permit,
                rest_max: way.times.idle,
                is_websocket,
                stop: self.inner.stop.clone(),
            });
            return Ok(response.map(|_nothing| ProxyBody::empty()));
        }
        if !headers::is_plainly_coded(response.headers()) {
            return Err(Error::unfit("its transfer coding is not chunked alone"));
        }
        if let Some(idle_s) = headers::keep_alive_s(response.headers()) {
            connection.keep_for(idle_s);
        }
        let mut dropped = headers::answer(response.headers_mut(), false);
        way.response.apply(response.headers_mut());
        dropped.extend(way.response.names().cloned());
        let exchange = Exchange { connection, permit, kept: Rc::clone(&self.inner.kept), progress };
        Ok(response.map(|answer| ProxyBody::new(answer, exchange, dropped, way.times.idle, deadline)))
    }
}

fn answered(connection: Connection, permit: Permit, progress: Rc<Progress>, response: Response<Answer>) -> Sent {
    permit.lease.succeeded();
    Sent { connection, permit, progress, response }
}

/// Reports a member's failure to the pool.
fn noted(permit: &Permit, failure: Failure) -> Failure {
    if failure.error.is_backends() {
        permit.lease.failed();
    }
    failure
}

/// Returns the target without the route's prefix.
fn without(target: &PathAndQuery, prefix: &str) -> Option<PathAndQuery> {
    let path = without_prefix(target.path(), prefix);
    match target.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

/// Checks that a target cannot end the request line. Earlier parsers ensure the same; should a parser fail, a second
/// request could be smuggled, so the check is repeated at the place of the write.
fn check_target(target: &PathAndQuery) -> Result<(), Error> {
    if target.as_str().bytes().all(|byte| byte > b' ' && byte != 0x7f) {
        Ok(())
    } else {
        Err(Error::BadRequest("its target holds a character that may not be there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routes_own_part_is_taken_off_by_whole_segments() {
        for (target, prefix, expected) in [
            ("/api/x?y", "/api", "/x?y"),
            ("/api", "/api", "/"),
            ("/api?y", "/api", "/?y"),
            ("/api/", "/api", "/"),
            ("/a%70i/x%2Fy", "/api", "/x%2Fy"),
            ("/a/b/c", "/a/b", "/c"),
            ("/x", "", "/x"),
            ("/hook", "/hook", "/"),
        ] {
            let target: PathAndQuery = target.parse().unwrap();
            assert_eq!(without(&target, prefix).unwrap().as_str(), expected, "{target} {prefix}");
        }
    }
}
