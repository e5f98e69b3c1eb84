//! Requests of the local edge that an environment's own hostname answers: a server on a loopback port sends each
//! request there like a visitor's browser, and returns the answer.
//!
//! The server has no credential. Fields with the local origin (`Host`, `Origin`, `Referer`) name the environment's
//! origin on the way there, and `Location` and the domain of cookies the other way round; foreign origins stay, so that
//! a backend still recognizes pages of strangers.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::problem::Code;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use url::Url;

use crate::edge::client::root_cause;
use crate::output::exit::Failure;

/// Upper bound of concurrent connections, of requests and of upgraded ones.
const CONNECTIONS_MAX: usize = 512;
/// Pause after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Longest time of a request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Fields of requests by which the local edge names its client, which is this machine.
const OF_THE_LOCAL_EDGE: [&str; 2] = ["forwarded", "x-real-ip"];
/// The prefix of further such fields.
const FORWARDED: &str = "x-forwarded-";
/// Fields of answers that concern the environment's host and would apply to `localhost` beyond the run.
const OF_THE_HOST: [HeaderName; 2] = [header::STRICT_TRANSPORT_SECURITY, header::ALT_SVC];

type Body = UnsyncBoxBody<Bytes, reqwest::Error>;

/// The server, ended on drop.
#[derive(Debug)]
pub(super) struct Forwarder {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Forwarder {
    /// Starts the server on a free port. `local` is the address of the site on this machine, and `remote` that of the
    /// environment; `http` follows no redirects.
    ///
    /// # Errors
    /// `internal` without a free port.
    pub(super) async fn start(http: reqwest::Client, local: &Url, remote: &Url) -> Result<Self, Failure> {
        let failed = |error| Failure::new(Code::Internal, format!("No port can be listened on: {error}."));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let server = tokio::spawn(serve(listener, Arc::new(Target { http, ends: Ends::of(local, remote) })));
        Ok(Self { address, server })
    }

    /// Returns the listening address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, target: Arc<Target>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let (target, permit) = (Arc::clone(&target), Arc::new(permit));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (target, permit) = (Arc::clone(&target), Arc::clone(&permit));
                async move { Ok::<_, Infallible>(target.answer(request, permit).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
            // The local edge closes a connection when its visitor has left.
            http.serve_connection(TokioIo::new(stream), service).with_upgrades().await.ok();
        });
    }
}

/// The target of requests.
struct Target {
    http: reqwest::Client,
    ends: Ends,
}

impl Target {
    /// Returns the answer of the environment. `permit` is held for as long as an upgraded connection is open.
    async fn answer(&self, mut request: Request<Incoming>, permit: Arc<OwnedSemaphorePermit>) -> Response<Body> {
        if !self.ends.is_local(&request) {
            return refused(StatusCode::FORBIDDEN, "This port is for the edge of `devanture dev` alone.\n".to_owned());
        }
        let Some(url) = self.ends.remote_url(request.uri().path_and_query().map_or("", |path| path.as_str())) else {
            return refused(StatusCode::BAD_REQUEST, "The path is none that can be forwarded.\n".to_owned());
        };
        let is_upgrade = request.headers().contains_key(header::UPGRADE);
        let local = is_upgrade.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let mut forwarded = self.http.request(parts.method, url).headers(self.ends.request_head(&parts.headers));
        if !body.is_end_stream() {
            forwarded = forwarded.body(reqwest::Body::wrap(body));
        }
        let response = match forwarded.send().await {
            Ok(response) => response,
            Err(error) => {
                let message = format!("{} cannot be reached: {}.\n", self.ends.remote, root_cause(&error));
                return refused(StatusCode::BAD_GATEWAY, message);
            }
        };
        let status = response.status();
        let head = self.ends.response_head(response.headers(), status);
        let body = match local {
            Some(local) if status == StatusCode::SWITCHING_PROTOCOLS => {
                tokio::spawn(async move {
                    if let (Ok(mut remote), Ok(local)) = tokio::join!(response.upgrade(), local) {
                        // Either side may end the connection.
                        tokio::io::copy_bidirectional(&mut remote, &mut TokioIo::new(local)).await.ok();
                    }
                    drop(permit);
                });
                whole(Bytes::new())
            }
            _ => Response::<reqwest::Body>::from(response).into_body().boxed_unsync(),
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = head;
        answer
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn refused(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(whole(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The origins of both ends, as `https://HOST[:PORT]`.
#[derive(Debug)]
struct Ends {
    local: String,
    remote: String,
    /// The host of `remote`, without its port.
    remote_host: String,
}

impl Ends {
    fn of(local: &Url, remote: &Url) -> Self {
        Self {
            local: local.origin().ascii_serialization(),
            remote: remote.origin().ascii_serialization(),
            remote_host: remote.host_str().unwrap_or_default().to_ascii_lowercase(),
        }
    }

    /// Returns true if a visitor of the site on this machine sends the request, and not a foreign program that found
    /// the port.
    fn is_local<B>(&self, request: &Request<B>) -> bool {
        let field = request.headers().get(header::HOST).map(|value| value.to_str().unwrap_or("?"));
        let host = field.or_else(|| request.uri().authority().map(Authority::as_str)).unwrap_or_default();
        self.local.strip_prefix("https://").is_some_and(|local| {
            // A browser omits the default port, and other clients may include it.
            host.trim_end_matches(":443").eq_ignore_ascii_case(local)
        })
    }

    /// Returns the address of a path at the environment; `None` for texts other than paths, such as `*`, which would
    /// become a part of the host.
    fn remote_url(&self, path_and_query: &str) -> Option<Url> {
        let url: Url = format!("{}{path_and_query}", self.remote).parse().ok()?;
        (path_and_query.starts_with('/') && url.origin().ascii_serialization() == self.remote).then_some(url)
    }

    /// Returns the head of a request for the environment.
    fn request_head(&self, local: &HeaderMap) -> HeaderMap {
        let is_upgrade = local.contains_key(header::UPGRADE);
        let mut head = passed_on(local, is_upgrade);
        head.remove(header::HOST);
        head.remove(header::CONTENT_LENGTH);
        head.remove(header::EXPECT);
        let is_of_local_edge = |name: &str| OF_THE_LOCAL_EDGE.contains(&name) || name.starts_with(FORWARDED);
        let of_local_edge: Vec<_> = head.keys().filter(|name| is_of_local_edge(name.as_str())).cloned().collect();
        of_local_edge.iter().for_each(|name| drop(head.remove(name)));
        for name in [header::ORIGIN, header::REFERER] {
            replace(&mut head, &name, |value| moved(value, &self.local, &self.remote));
        }
        head
    }

    /// Returns the head of an answer for the local edge.
    fn response_head(&self, remote: &HeaderMap, status: StatusCode) -> HeaderMap {
        let mut head = passed_on(remote, status == StatusCode::SWITCHING_PROTOCOLS);
        OF_THE_HOST.iter().for_each(|name| drop(head.remove(name)));
        for name in [header::LOCATION, header::CONTENT_LOCATION, header::ACCESS_CONTROL_ALLOW_ORIGIN] {
            replace(&mut head, &name, |value| moved(value, &self.remote, &self.local));
        }
        replace(&mut head, &header::SET_COOKIE, |value| without_domain(value, &self.remote_host));
        head
    }
}

/// Returns fields without those of one connection (RFC 9110, section 7.6.1).
fn passed_on(head: &HeaderMap, is_upgrade: bool) -> HeaderMap {
    let listed: Vec<String> = head
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let is_of_connection = |name: &HeaderName| {
        let is_named = matches!(
            name.as_str(),
            "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade"
        );
        is_named || listed.iter().any(|listed| listed == name.as_str())
    };
    let mut passed = HeaderMap::with_capacity(head.len());
    for (name, value) in head.iter().filter(|(name, _)| !is_of_connection(name)) {
        passed.append(name.clone(), value.clone());
    }
    if let Some(protocol) = head.get(header::UPGRADE).filter(|_| is_upgrade) {
        passed.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        passed.insert(header::UPGRADE, protocol.clone());
    }
    passed
}

/// Replaces each value of a field for which `change` returns a new one.
fn replace(head: &mut HeaderMap, name: &HeaderName, change: impl Fn(&str) -> Option<String>) {
    let header::Entry::Occupied(mut field) = head.entry(name) else { return };
    for value in field.iter_mut() {
        let changed = value.to_str().ok().and_then(&change);
        if let Some(changed) = changed.and_then(|text| HeaderValue::from_str(&text).ok()) {
            *value = changed;
        }
    }
}

/// Returns `address` with the origin `to`, if its origin is `from`.
fn moved(address: &str, from: &str, to: &str) -> Option<String> {
    let url: Url = address.parse().ok()?;
    if url.origin().ascii_serialization() != from || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    // An origin has no final slash.
    let rest = &address.get(address.find("://")? + 3..)?;
    let rest = rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default();
    Some(format!("{to}{rest}"))
}

/// Returns a cookie without its `Domain` if that includes `host`; `None` for an unchanged one. Without a domain the
/// cookie belongs only to the local host (RFC 6265, section 5.3).
fn without_domain(cookie: &str, host: &str) -> Option<String> {
    let is_of_host = |attribute: &str| {
        let Some((name, domain)) = attribute.split_once('=') else { return false };
        let domain = domain.trim().trim_start_matches('.').to_ascii_lowercase();
        let is_above = || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'));
        name.trim().eq_ignore_ascii_case("domain") && !domain.is_empty() && (domain == host || is_above())
    };
    let mut parts = cookie.split(';');
    let pair = parts.next()?;
    let (domains, kept): (Vec<&str>, Vec<&str>) = parts.partition(|attribute| is_of_host(attribute));
    let cookie = std::iter::once(pair).chain(kept).collect::<Vec<_>>().join(";");
    (!domains.is_empty()).then_some(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        let url = |text: &str| text.parse::<Url>().unwrap();
        Ends::of(&url("https://shop.localhost:8443/"), &url("https://staging--shop.example.app/"))
    }

    fn head(fields: &[(&str, &str)]) -> HeaderMap {
        let parsed = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        fields.iter().map(parsed).collect()
    }

    fn printed(head: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> =
            head.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_request_names_the_environment_where_it_named_this_machine() {
        let local = head(&[
            ("host", "shop.localhost:8443"),
            ("origin", "https://shop.localhost:8443"),
            ("referer", "https://shop.localhost:8443/cart?a=https://shop.localhost:8443"),
            ("cookie", "__Host-s=1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "shop.localhost:8443"),
            ("forwarded", "for=127.0.0.1"),
            ("connection", "close, x-own"),
            ("x-own", "1"),
            ("content-length", "5"),
            ("via", "2.0 devanture"),
        ]);
        assert_eq!(
            printed(&ends().request_head(&local)),
            [
                "cookie: __Host-s=1",
                "origin: https://staging--shop.example.app",
                "referer: https://staging--shop.example.app/cart?a=https://shop.localhost:8443",
                "via: 2.0 devanture",
            ]
        );
    }

    #[test]
    fn an_origin_that_is_not_the_local_one_stays() {
        for origin in [
            "https://evil.example",
            "http://shop.localhost:8443",
            "https://shop.localhost",
            "https://shop.localhost:8443.evil.example",
            "https://u@shop.localhost:8443",
            "https://other.localhost:8443",
            "null",
        ] {
            let fields = head(&[("origin", origin), ("referer", origin)]);
            assert_eq!(ends().request_head(&fields), fields, "{origin}");
        }
    }

    #[test]
    fn an_answer_names_this_machine_where_it_named_the_environment() {
        let remote = head(&[
            ("location", "https://staging--shop.example.app/login?next=%2F"),
            ("set-cookie", "a=1; Path=/; Domain=staging--shop.example.app; Secure"),
            ("set-cookie", "b=2; domain=.example.app"),
            ("set-cookie", "c=3; Domain=other.example; HttpOnly"),
            ("set-cookie", "__Host-d=4; Secure; Path=/"),
            ("strict-transport-security", "max-age=9; includeSubDomains"),
            ("alt-svc", "h3=\":443\""),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/plain"),
        ]);
        assert_eq!(
            printed(&ends().response_head(&remote, StatusCode::OK)),
            [
                "content-type: text/plain",
                "location: https://shop.localhost:8443/login?next=%2F",
                "set-cookie: __Host-d=4; Secure; Path=/",
                "set-cookie: a=1; Path=/; Secure",
                "set-cookie: b=2",
                "set-cookie: c=3; Domain=other.example; HttpOnly",
            ]
        );
        for location in ["/login", "https://login.example/", "//staging--shop.example.app/x", "https://evil.example/"] {
            let fields = head(&[("location", location)]);
            assert_eq!(ends().response_head(&fields, StatusCode::FOUND), fields, "{location}");
        }
    }

    #[test]
    fn an_upgrade_is_passed_on_both_ways() {
        let fields = head(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]);
        let passed = ["connection: upgrade", "sec-websocket-version: 13", "upgrade: websocket"];
        assert_eq!(printed(&ends().request_head(&fields)), passed);
        assert_eq!(printed(&ends().response_head(&fields, StatusCode::SWITCHING_PROTOCOLS)), passed);
        assert_eq!(printed(&ends().response_head(&fields, StatusCode::OK)), passed[1..2]);
    }

    #[test]
    fn no_path_leads_to_another_host() {
        for path in ["/a?b=%2F", "//evil.example/x", "/@evil.example", "/\\evil.example"] {
            let url = ends().remote_url(path).unwrap();
            assert_eq!(url.host_str(), Some("staging--shop.example.app"), "{path}");
        }
        for path in ["", "*", "@evil.example/", ".evil.example/", ":1/", "evil.example"] {
            assert_eq!(ends().remote_url(path), None, "{path}");
        }
    }

    #[test]
    fn only_the_site_on_this_machine_is_served() {
        let request = |host: &str| Request::builder().header("host", host).body(()).unwrap();
        assert!(ends().is_local(&request("shop.localhost:8443")) && ends().is_local(&request("SHOP.localhost:8443")));
        for host in ["shop.localhost", "127.0.0.1:8443", "evil.example", "other.localhost:8443", ""] {
            assert!(!ends().is_local(&request(host)), "{host}");
        }
    }
}
