//! The HTTP client of a store: HTTP/1.1 over hyper, with a bound on each wait.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::Method;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::Waits;

/// Longest time until a connection is open.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest pause within the body of an answer.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Time for which a connection stays open without a request.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Bytes of a body that are sent at once, even over a slow uplink.
const SMALL_BODY_BYTES_MAX: usize = 256 * 1_024;

/// Makes clients with the trust roots of `tls`.
pub(super) struct Connector {
    tls: Arc<ClientConfig>,
    waits: Waits,
}

impl Connector {
    pub(super) const fn new(tls: Arc<ClientConfig>, waits: Waits) -> Self {
        Self { tls, waits }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        let mut tls = ClientConfig::clone(&self.tls);
        // The builder sets the protocols.
        tls.alpn_protocols.clear();
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        // The metadata service of a machine is available only over plain HTTP.
        let is_plain = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let builder = if is_plain { builder.https_or_http() } else { builder.https_only() };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(self.waits.idle_connections_max)
            .build(builder.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Service { client, waits: self.waits }))
    }
}

#[derive(Debug)]
struct Service {
    client: Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
    waits: Waits,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // A small body is sent at once, so that a hanging store is noticed as soon as by a read.
        let is_large = request.body().content_length() > SMALL_BODY_BYTES_MAX;
        let is_long = matches!(*request.method(), Method::PUT | Method::POST) && is_large;
        let head_max = if is_long { self.waits.write_max } else { self.waits.read_max };
        let answered = timeout(head_max, self.client.request(request)).await.map_err(|_elapsed| late())?;
        let (parts, body) = answered.map_err(failed)?.into_parts();
        let body = StreamBody::new(stream::unfold(Some(body), next_frame).fuse());
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

/// Returns the next frame of a body; none after an error.
async fn next_frame(body: Option<Incoming>) -> Option<(Result<Frame<Bytes>, HttpError>, Option<Incoming>)> {
    let mut body = body?;
    match timeout(PAUSE_MAX, body.frame()).await {
        Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
        Ok(Some(Err(error))) => Some((Err(HttpError::new(HttpErrorKind::Interrupted, error)), None)),
        Ok(None) => None,
        Err(_elapsed) => Some((Err(late()), None)),
    }
}

fn late() -> HttpError {
    let late = io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time");
    HttpError::new(HttpErrorKind::Timeout, late)
}

/// Converts an error: failures before a connection is open are retried, except an untrusted certificate.
fn failed(error: hyper_util::client::legacy::Error) -> HttpError {
    let kind = match error.is_connect() {
        true if is_untrusted(&error) => HttpErrorKind::Unknown,
        true => HttpErrorKind::Connect,
        false => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error)
}

fn is_untrusted(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let wrapped = wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let found = wrapped.or_else(|| error.downcast_ref());
        if matches!(found, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        next = error.source();
    }
    false
}
