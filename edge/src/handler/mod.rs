//! From a request to its response, in one line: decide, then carry out.
//!
//! [`decide`] is synchronous, does no I/O and knows nothing of what carries its decision out. [`Handler::handle`] does
//! it with hyper: (1) who is asked, (2) decide, (3) load a preview that is not loaded yet and decide again, (4) answer
//! from memory or the store, or forward to a backend, (5) count and log when the last byte is gone.

mod body;
mod decide;
mod measure;
mod respond;

pub use body::Body;
pub use decide::{Decision, FileAnswer, Head, Part, SmallAnswer, decide};
pub use measure::Measured;
pub use respond::{Refused, plain};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Version as HttpVersion};
use hyper::body::Incoming;

use crate::live::{Current, Live, Loader};
use crate::proxy::{self, Arrival, Upstream};
use crate::telemetry::{self, AccessLog};
use crate::version::ServedRoute;
use measure::Measurement;

/// What every request of one serving thread is answered from.
pub struct Handler {
    /// What is live.
    pub live: Live,
    /// How previews are loaded.
    pub loader: Loader,
    /// The thread's connections to backends.
    pub backends: proxy::Client,
    /// Where requests are told.
    pub access_log: AccessLog,
    /// `Strict-Transport-Security` for hostnames of apps' own; none where the local authority made the certificate.
    pub hsts: Option<HeaderValue>,
    /// Longest target of a request, in bytes.
    pub target_bytes_max: usize,
}

impl Handler {
    /// Answers one request that came in over TLS from `peer`.
    pub async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Measured> {
        let mut measurement = Measurement::begin(&request, peer, &self.access_log);
        let authority = authority(&request);
        let host = authority.as_deref().map(hostname).unwrap_or_default();
        let head = Head {
            method: request.method(),
            path: request.uri().path(),
            query: request.uri().query(),
            host: &host,
            headers: request.headers(),
            now_s: telemetry::since_epoch().as_secs(),
            target_bytes_max: self.target_bytes_max,
        };
        let mut decision = decide(&head, &self.live);
        if let Decision::Load(key) = &decision {
            decision = match self.loader.preview(&self.live, key).await {
                Ok(current) => decide::decide_in(&head, current, None, false),
                Err(error) => {
                    tracing::error!(app = %key.app, version = %key.id, %error, "a preview cannot be loaded");
                    Decision::Refuse(Refused::Unavailable)
                }
            };
        }
        measurement.decided(&decision);
        let custom_host = measurement.is_custom_host();
        let mut response = match decision {
            Decision::File(answer) => respond::file(&answer),
            Decision::Small(answer) => respond::small(answer),
            Decision::Refuse(refused) => respond::refused(refused),
            // Decided again above, with the preview at hand.
            Decision::Load(_) => respond::refused(Refused::Unavailable),
            Decision::Proxy { current, route, .. } => {
                let host = authority.unwrap_or_default();
                self.forward(request, peer, &host, &current, route).await
            }
        };
        if custom_host {
            self.add_hsts(&mut response);
        }
        let status = response.status();
        response.map(|body| measurement.measure(status, body))
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        host: &str,
        current: &Arc<Current>,
        route: usize,
    ) -> Response<Body> {
        let version = &current.version;
        let Some(ServedRoute { route, .. }) = version.routes.get(route) else {
            return respond::refused(Refused::Unavailable);
        };
        let arrival = Arrival { host, peer, scheme: "https" };
        let upstream = Upstream::new(route);
        match self.backends.forward(&upstream, version.trusted, request, &arrival).await {
            Ok(response) => response.map(Body::proxied),
            Err(error) => {
                let refused = Refused::from(&error);
                tracing::info!(app = %version.app, route = %route.path, upstream = %upstream, %error, "a backend did not answer");
                metrics::counter!("devanture_upstream_errors_total", "app" => version.app.to_string(),
                    "reason" => refused.reason())
                .increment(1);
                respond::refused(refused)
            }
        }
    }

    fn add_hsts(&self, response: &mut Response<Body>) {
        if let Some(hsts) = &self.hsts {
            response.headers_mut().insert(http::header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }
}

/// Answers a request that came in over plain HTTP: to the same address over HTTPS, whatever the method (308).
#[must_use]
pub fn to_https(request: &Request<Incoming>, https_port: u16) -> Response<Body> {
    let Some(authority) = authority(request) else { return respond::refused(Refused::BadHost) };
    let host = hostname(&authority);
    let known_form = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    if !known_form {
        return respond::refused(Refused::BadHost);
    }
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let location = match https_port {
        443 => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    };
    respond::small(SmallAnswer::redirect(StatusCode::PERMANENT_REDIRECT, &location))
}

/// The host that a request is for: of an absolute target, as HTTP/2 always has one, before `Host` (RFC 9112 §3.2.2).
fn authority<B>(request: &Request<B>) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// The name in an authority: in lower case, without a user, a port or a final dot.
fn hostname(authority: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The protocol of a request, as the access log says it.
const fn protocol(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::HTTP_2 => "h2",
        HttpVersion::HTTP_10 => "http/1.0",
        _ => "http/1.1",
    }
}

/// When a request's head had come in.
type Began = Instant;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_case_port_and_final_dot() {
        for (authority, host) in [
            ("Shop.Localhost:8443", "shop.localhost"),
            ("shop.localhost.", "shop.localhost"),
            ("shop.localhost.:443", "shop.localhost"),
            ("[::1]:8443", "[::1]"),
            ("u@shop.localhost", "shop.localhost"),
            ("", ""),
        ] {
            assert_eq!(hostname(authority), host, "{authority}");
        }
    }
}
