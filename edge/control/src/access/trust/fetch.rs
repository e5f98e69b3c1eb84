//! Requests to an issuer: document of OpenID Connect Discovery, its list of keys, and forms to the login endpoints.
//!
//! Redirects are not followed, and proxies of the environment are not used: only addresses from `edge.toml` and from
//! the issuer's document are contacted.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use devanture_config::edge_toml::Issuer;
use devanture_config::limits::Limits;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tower_service::Service;

use super::jwks::{BadKeys, Keys};
use devanture_serve::proxy::{Names, tls};

/// Longest time to open a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Bounds on the key lifetime in a response head, and the default.
const FRESH_MIN: Duration = Duration::from_secs(600);
const FRESH_DEFAULT: Duration = Duration::from_secs(3_600);
const AGENT: &str = concat!("Devanture/", env!("CARGO_PKG_VERSION"));

/// Default client authentication if unspecified by the provider's document (Discovery 1.0 §3).
const BASIC: &str = "client_secret_basic";

/// Error of a request to an issuer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{url} cannot be asked for: {error}")]
    Address { url: String, error: http::Error },
    #[error("the body of {url} is too large, or ends early: {error}")]
    Body { url: String, error: Box<dyn std::error::Error + Send + Sync> },
    #[error("{url} does not answer: {reason}")]
    Connection { url: String, reason: String, was_sent: bool },
    #[error("{url} is no document of OpenID Connect Discovery")]
    Document { url: String },
    #[error("{url} is of another issuer, {issuer:?}")]
    Issuer { url: String, issuer: String },
    #[error("{url} cannot be used: {error}")]
    Keys { url: String, error: BadKeys },
    #[error("the address of the keys, {0:?}, is not one over https://")]
    KeysAddress(String),
    #[error("{url} answers {status}; redirects are not followed")]
    Status { url: String, status: StatusCode },
    #[error("it takes longer than {0} ms")]
    TooSlow(u128),
    #[error("TLS cannot be used: {0}")]
    Tls(String),
}

/// Authorities of an issuer, by their PEM files.
#[derive(Debug)]
pub(super) struct Authorities {
    files: BTreeSet<PathBuf>,
    /// Configuration with these and the platform's authorities, built at first use.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Authorities {
    pub(super) fn new(files: BTreeSet<PathBuf>) -> Self {
        Self { files, tls: OnceCell::new() }
    }

    fn read(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut all = rustls_native_certs::load_native_certs().certs;
        for file in &self.files {
            let bad = |why: String| Error::Tls(format!("{}: {why}", file.display()));
            let pem = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
            all.extend(tls::certificates(&pem).map_err(bad)?);
        }
        tls::trusting(all).map_err(|error| Error::Tls(error.to_string()))
    }
}

impl Error {
    /// Returns true if the issuer may have read the request.
    pub(super) fn was_sent(&self) -> bool {
        match self {
            Self::Address { .. } | Self::Tls(_) => false,
            Self::Connection { was_sent, .. } => *was_sent,
            _ => true,
        }
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// Login endpoints of an issuer; `None` for unusable endpoints.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// For browsers.
    pub(super) authorization: Option<String>,
    /// For command lines.
    pub(super) device: Option<String>,
    /// For redeeming codes.
    pub(super) token: Option<String>,
    /// True if the client secret goes into the field `Authorization`, rather than into the form (RFC 6749 §2.3.1).
    pub(super) is_basic: bool,
}

/// Published data of an issuer.
pub(super) struct Published {
    pub(super) keys: Keys,
    pub(super) endpoints: Endpoints,
    /// Time until the next fetch.
    pub(super) fresh_for: Duration,
}

/// Fetches keys.
pub(super) struct Fetcher {
    bytes_max: usize,
    fresh_max: Duration,
    keys_max: usize,
    time_max: Duration,
    names: IssuerResolver,
    tls: OnceCell<Arc<ClientConfig>>,
}

/// Resolves issuer names for the connector.
#[derive(Clone)]
struct IssuerResolver(Arc<Names>);

impl Service<Name> for IssuerResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = Arc::clone(&self.0);
        // The connector sets the URL's port.
        Box::pin(async move { Ok(names.addresses(name.as_str(), 0).await?.into_iter()) })
    }
}

impl Fetcher {
    pub(super) fn new(limits: &Limits) -> Self {
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            bytes_max: size(limits.identity_keys_bytes_max),
            fresh_max: Duration::from_millis(limits.identity_keys_ms_max),
            keys_max: size(limits.identity_keys_max),
            time_max: Duration::from_millis(limits.identity_fetch_ms_max),
            names: IssuerResolver(Arc::new(Names::new(&[]))),
            tls: OnceCell::new(),
        }
    }

    /// Sets the DNS servers, by default the system's.
    pub(super) fn set_dns_servers(&mut self, servers: &[SocketAddr]) {
        self.names = IssuerResolver(Arc::new(Names::new(servers)));
    }

    /// Fetches the keys of an issuer, and its login endpoints.
    pub(super) async fn published(&self, issuer: &Issuer, own: Option<&Authorities>) -> Result<Published, Error> {
        let late = Error::TooSlow(self.time_max.as_millis());
        timeout(self.time_max, self.fetch(issuer, own)).await.unwrap_or(Err(late))
    }

    /// Sends a form to an endpoint. Any status counts as an answer.
    pub(super) async fn post(
        &self,
        url: &str,
        form: String,
        authorization: Option<HeaderValue>,
        own: Option<&Authorities>,
    ) -> Result<(Parts, Bytes), Error> {
        let mut request = Request::post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.header(ACCEPT, "application/json").header(USER_AGENT, AGENT).body(Full::from(form));
        let request = request.map_err(|error| Error::Address { url: url.to_owned(), error })?;
        let late = Error::TooSlow(self.time_max.as_millis());
        let (body, head) = timeout(self.time_max, self.send(url, request, own)).await.unwrap_or(Err(late))?;
        Ok((head, body))
    }

    async fn fetch(&self, issuer: &Issuer, own: Option<&Authorities>) -> Result<Published, Error> {
        let url = issuer.discovery_url();
        let (document, _head) = self.body(&url, own).await?;
        let Ok(document) = serde_json::from_slice::<Discovery>(&document) else { return Err(Error::Document { url }) };
        // Discovery 1.0 §4.3: compared byte for byte, so that no issuer can speak for another.
        if document.issuer != issuer.as_str() {
            return Err(Error::Issuer { url, issuer: document.issuer.chars().take(200).collect() });
        }
        let keys_url = issuer.keys_url(&document.jwks_uri);
        let bad = || Error::KeysAddress(document.jwks_uri.chars().take(200).collect());
        let url = keys_url.ok_or_else(bad)?;
        let (list, head) = self.body(&url, own).await?;
        let keys = Keys::parse(&list, self.keys_max).map_err(|error| Error::Keys { url, error })?;
        // RFC 6749 §3.1: endpoints have no fragment.
        let endpoint = |text: Option<String>| issuer.keys_url(&text?).filter(|url| !url.contains('#'));
        let methods = document.token_endpoint_auth_methods_supported;
        let endpoints = Endpoints {
            authorization: endpoint(document.authorization_endpoint),
            device: endpoint(document.device_authorization_endpoint),
            token: endpoint(document.token_endpoint),
            is_basic: methods.is_none_or(|methods| methods.iter().any(|method| method == BASIC)),
        };
        Ok(Published { keys, endpoints, fresh_for: fresh_for(&head).clamp(FRESH_MIN, self.fresh_max) })
    }

    async fn body(&self, url: &str, own: Option<&Authorities>) -> Result<(Bytes, HeaderMap), Error> {
        let request = Request::get(url)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            .body(Full::default())
            .map_err(|error| Error::Address { url: url.to_owned(), error })?;
        let (body, head) = self.send(url, request, own).await?;
        if head.status != StatusCode::OK {
            return Err(Error::Status { url: url.to_owned(), status: head.status });
        }
        Ok((body, head.headers))
    }

    async fn send(
        &self,
        url: &str,
        request: Request<Full<Bytes>>,
        own: Option<&Authorities>,
    ) -> Result<(Bytes, Parts), Error> {
        let owned = || url.to_owned();
        let platform = || async { tls::platform().map_err(|error| Error::Tls(error.to_string())) };
        let config = match own {
            Some(own) => own.tls.get_or_try_init(|| async { own.read() }).await?,
            None => self.tls.get_or_try_init(platform).await?,
        };
        let mut config = ClientConfig::clone(config);
        // Set by the builder.
        config.alpn_protocols.clear();
        let mut tcp = HttpConnector::new_with_resolver(self.names.clone());
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp);
        // Requests are too rare for pooled connections.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let response = client.request(request).await.map_err(|error| unconnected(owned(), &error))?;
        let (head, body) = response.into_parts();
        let collected = Limited::new(body, self.bytes_max).collect().await;
        let body = collected.map_err(|error| Error::Body { url: owned(), error })?;
        Ok((body.to_bytes(), head))
    }
}

/// Error of a failed request with all its causes, since hyper's own text omits the cause.
fn unconnected(url: String, error: &hyper_util::client::legacy::Error) -> Error {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat the text of their cause.
        if !reason.ends_with(&text) {
            reason.push_str(": ");
            reason.push_str(&text);
        }
        cause = error.source();
    }
    if reason.contains("UnknownIssuer") {
        reason.push_str(" (`ca` of [[trust]] or [oidc] names an authority of your own)");
    }
    Error::Connection { url, reason, was_sent: !error.is_connect() }
}

/// Returns the lifetime in a response head (RFC 9111 §5.2.2.1).
fn fresh_for(head: &HeaderMap) -> Duration {
    let fields = head.get_all(CACHE_CONTROL).iter().filter_map(|field| field.to_str().ok());
    let seconds = fields.flat_map(|field| field.split(',')).find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse::<u64>().ok())?
    });
    seconds.map_or(FRESH_DEFAULT, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_name_of_an_issuer_is_asked_for_at_the_dns_servers_of_the_edge() {
        let dns = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut fetcher = Fetcher::new(&Limits::default());
        fetcher.set_dns_servers(&[dns.local_addr().unwrap()]);
        let url = "http://login.test/";
        let (request, mut question) = (Request::get(url).body(Full::default()).unwrap(), [0; 512]);
        let bytes = tokio::select! {
            answer = fetcher.send(url, request, None) => panic!("nobody answers: {:?}", answer.err()),
            received = dns.recv(&mut question) => received.unwrap(),
        };
        let name = b"\x05login\x04test\0";
        assert!(question[..bytes].windows(name.len()).any(|part| part == name));
    }

    #[test]
    fn keys_are_as_fresh_as_their_answer_says() {
        for (field, expected) in [
            ("", 3_600),
            ("public, max-age=7200", 7_200),
            ("Max-Age=\"60\"", 60),
            ("max-age=-1", 3_600),
            ("s-maxage=60", 3_600),
        ] {
            let head = HeaderMap::from_iter([(CACHE_CONTROL, field.parse().unwrap())]);
            assert_eq!(fresh_for(&head), Duration::from_secs(expected), "{field}");
        }
        assert_eq!(fresh_for(&HeaderMap::new()), FRESH_DEFAULT);
    }
}
