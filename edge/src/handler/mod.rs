//! From a request to its response, in one line: decide, then carry out.
//!
//! [`decide`] is synchronous, does no I/O and knows nothing of what carries its decision out. [`Handler::handle`] does
//! it with hyper: (1) who is asked, (2) decide, (3) load a preview that is not loaded yet and decide again, (4) answer
//! from memory or the store, or forward to a backend, (5) count and log when the last byte is gone.

mod asked;
mod body;
mod canonical;
mod confine;
mod cors;
mod decide;
mod error_page;
mod measure;
mod own;
mod pause;
mod refused;
mod respond;
mod ruled;
mod smoke;
mod told;
mod ways;

pub use body::Body;
pub use decide::{Decision, FileAnswer, Head, Part, ProxyTo, Refusal, SmallAnswer, WayNumber, decide};
pub use measure::Measured;
pub use refused::Refused;
pub use respond::plain;
pub use ruled::Ruled;
pub use told::FAULTS;
pub use ways::Ways;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use devanture_config::Hostname;
use devanture_config::net::AddressBlock;
use http::header::{AUTHORIZATION, CONNECTION, HOST, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version as HttpVersion};
use hyper::body::Incoming;

use crate::live::{Current, Found, HostEntry, Live, Loader};
use crate::proxy::{self, Arrival, Chain, Ids, Interim, REQUEST_ID};
use crate::site::cache::Kept;
use crate::telemetry::{self, AccessLog};
use body::Unwanted;
use error_page::Asker;
use measure::Measurement;
use told::Told;

/// What every request of one serving thread is answered from.
pub struct Handler {
    /// What is live.
    pub live: Live,
    /// How previews are loaded.
    pub loader: Loader,
    /// The thread's connections to backends.
    pub backends: proxy::Client,
    /// The ways to them.
    pub ways: Ways,
    /// Where requests are told.
    pub access_log: AccessLog,
    /// `Strict-Transport-Security` for hostnames of apps' own whose certificate strangers trust.
    pub hsts: HeaderValue,
    /// Whether strangers trust the certificate of a host: it was not made by the local authority.
    pub trusted: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Longest target of a request, in bytes.
    pub target_bytes_max: usize,
    /// Proxies before the edge that are believed about who asks: `[listen] trusted_proxies`.
    pub trusted_proxies: Arc<[AddressBlock]>,
}

impl Handler {
    /// Answers one request that came in over TLS from `peer`; `covers` says whether the connection's certificate is
    /// good for a host, `interim` takes what a backend says ahead of its answer.
    pub async fn handle(
        &self,
        mut request: Request<Incoming>,
        peer: IpAddr,
        interim: Option<&Arc<Interim>>,
        covers: impl Fn(&str) -> bool,
    ) -> Response<Measured> {
        let from = Chain::of(request.headers(), peer, &self.trusted_proxies);
        let mut measurement = Measurement::begin(&request, from.client, &self.access_log);
        let authority = match authority(&request) {
            Ok(authority) => authority,
            Err(refused) => {
                let response = respond::refused(refused);
                return response.map(|body| measurement.measure(StatusCode::BAD_REQUEST, body));
            }
        };
        let host = hostname(&authority);
        // RFC 9110 §7.4. A host that nobody here has is missing on any connection.
        let misdirected = !covers(&host) && self.live.serves(&host);
        let head = Head {
            method: request.method(),
            path: request.uri().path(),
            query: request.uri().query(),
            host: &host,
            headers: request.headers(),
            now_s: telemetry::since_epoch().as_secs(),
            target_bytes_max: self.target_bytes_max,
        };
        let mut decision = match misdirected {
            true => Decision::Refuse(Refused::Misdirected.into()),
            false => decide(&head, &self.live),
        };
        if let Decision::Load(key) = &decision {
            decision = match self.loader.preview(&self.live, key).await {
                Ok(current) => decide::decide_in(&head, current, None, false),
                Err(error) => {
                    tracing::error!(app = %key.app, version = %key.id, %error, "a preview cannot be loaded");
                    Decision::Refuse(Refused::Unavailable.into())
                }
            };
        }
        let unwanted = match decision {
            Decision::Proxy { .. } => Unwanted::Over,
            _ => body::pass_over(&mut request).await,
        };
        if unwanted == Unwanted::Malformed {
            decision = Decision::Refuse(Refused::BadRequest.into());
        }
        measurement.decided(&decision);
        let came = Came { from: Some(&from), authority: &authority, host: &host, told: measurement.told(), interim };
        let response = self.carry_out(request, decision, &came, unwanted).await;
        let status = response.status();
        response.map(|body| measurement.measure(status, body))
    }

    /// Does what was decided.
    async fn carry_out<B>(
        &self,
        mut request: Request<B>,
        decision: Decision,
        came: &Came<'_>,
        unwanted: Unwanted,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let host = came.host;
        let custom_host = decision.is_custom_host();
        let is_proxied = matches!(decision, Decision::Proxy { .. });
        let is_ruled = decision.is_ruled();
        let mut response = match decision {
            Decision::File(answer) => respond::file(&answer),
            Decision::Small(answer) => respond::small(answer),
            Decision::Refuse(refusal) => {
                let asker = || Asker::of(request.headers(), host, refusal.current.as_deref());
                error_page::refusal(&refusal, asker)
            }
            // Decided again above, with the preview at hand.
            Decision::Load(_) => respond::refused(Refused::Unavailable),
            Decision::Proxy { current, to, ruled, .. } => {
                if ruled.is_private() {
                    // The name and the password were for the edge.
                    request.headers_mut().remove(AUTHORIZATION);
                }
                let asker = Asker::of(request.headers(), host, Some(&current));
                let origin = cors::origin(request.headers(), &current.version);
                let mut response = self.forward(request, came, &current, to, &asker).await;
                let status = response.status();
                ruled.apply(response.headers_mut(), Kept::File, status);
                respond::trace(response.headers_mut(), &current.version);
                if let Some(origin) = origin {
                    cors::allow(response.headers_mut(), origin);
                }
                response
            }
        };
        let binds_host = custom_host && (self.trusted)(host);
        if is_ruled && !is_proxied {
            // What an app's rules set stays with the app, as what its backends set does.
            confine::cookies(response.headers_mut(), host);
            confine::hsts(response.headers_mut(), binds_host);
        }
        if is_ruled || is_proxied {
            confine::clearing(response.headers_mut(), custom_host);
        }
        if binds_host {
            // The owner of the hostname may have said more.
            response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| self.hsts.clone());
        }
        if unwanted != Unwanted::Over {
            // RFC 9112 §9.6: hyper will close, and the client is told.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn forward<B>(
        &self,
        mut request: Request<B>,
        came: &Came<'_>,
        current: &Arc<Current>,
        to: ProxyTo,
        asker: &Asker,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Came { from, authority, told, .. } = *came;
        let version = &current.version;
        let ids = Ids::of(request.headers(), from.is_some_and(|from| from.is_trusted));
        if let Some(path_and_query) = to.path_and_query {
            let Some(target) = with_path(request.uri(), &path_and_query) else {
                return respond::refused(Refused::BadTarget);
            };
            *request.uri_mut() = target;
        }
        let Some(way) = self.ways.way(current, to.number) else { return respond::refused(Refused::Unavailable) };
        told.begin(&ids, &way.pool);
        // HTTP/1.0 has no interim answers (RFC 9110 §15.2).
        let is_told_ahead = request.version() == HttpVersion::HTTP_11;
        let passing = came.interim.filter(|_| is_told_ahead).map(Interim::open);
        let arrival = Arrival {
            host: authority,
            ids: &ids,
            passing: passing.as_ref(),
            client: from.map(|from| from.client),
            proxies: from.map_or(&[], |from| &from.proxies),
            scheme: from.map_or("https", |from| from.scheme),
        };
        let mut response = match self.backends.forward(&way, request, &arrival).await {
            Ok(mut response) => {
                told.answered(response.body().member());
                confine::cookies(response.headers_mut(), came.host);
                response.map(Body::proxied)
            }
            Err(error) => {
                let reason = error.reason();
                let upstream = &way.pool.key.name;
                tracing::info!(app = %version.app, upstream, %error, reason, "a backend did not answer");
                told.fail(reason);
                error_page::of_route(Refused::from(&error), reason, current, asker)
            }
        };
        // What a person can quote is what the edge's log and the backend's have, whatever the backend calls it.
        response.headers_mut().insert(REQUEST_ID, ids.request_id);
        response
    }
}

/// Where a request came from, and what it is for.
#[derive(Clone, Copy)]
struct Came<'r> {
    /// Nothing where no client asks.
    from: Option<&'r Chain>,
    authority: &'r str,
    /// The name in the authority.
    host: &'r str,
    /// Where to note what becomes known of it.
    told: &'r Told,
    /// How interim answers are passed on, where they can be.
    interim: Option<&'r Arc<Interim>>,
}

/// The same address with another path and query, where these can stand in one.
fn with_path(uri: &http::Uri, path_and_query: &str) -> Option<http::Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    http::Uri::from_parts(parts).ok()
}

/// Answers a request that came in over plain HTTP: to the same address over HTTPS, whatever the method (308), at the
/// canonical hostname where there is one. A host that nobody here has is sent nowhere. An authority that looks for the
/// proof of a name (RFC 8555 §8.3) finds what `proof` says for a host and a path.
#[must_use]
pub fn to_https(
    request: &Request<Incoming>,
    live: &Live,
    https_port: u16,
    proof: impl Fn(&str, &str) -> Option<String>,
) -> Response<Body> {
    let authority = match authority(request) {
        Ok(authority) => authority,
        Err(refused) => return respond::refused(refused),
    };
    let host = hostname(&authority);
    if matches!(*request.method(), Method::GET | Method::HEAD)
        && let Some(proof) = proof(&host, request.uri().path())
    {
        return respond::typed(StatusCode::OK, respond::TEXT, proof.into());
    }
    let host = match live.find(&host) {
        Found::Nobody => return respond::refused(Refused::UnknownHost),
        // To the canonical hostname at once: one redirect does for both.
        Found::Place(HostEntry { canonical: Some(canonical), .. }) => canonical.to_string(),
        Found::Place(_) | Found::Preview(_) => host,
    };
    let path = request.uri().path_and_query().map(http::uri::PathAndQuery::as_str);
    // The `*` of OPTIONS is no path (RFC 9112 §3.2.4).
    let path = path.filter(|path| path.starts_with('/')).unwrap_or("/");
    let location = match https_port {
        443 => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    };
    respond::small(SmallAnswer::redirect(StatusCode::PERMANENT_REDIRECT, &location))
}

/// The authority that a request is for: of an absolute target, as HTTP/2 mostly has one, before `Host`.
///
/// RFC 9112 §3.2: HTTP/1.1 must have one line `Host` with a sound value, even where the target's own authority counts
/// (§3.2.2). RFC 9113 §8.3.1: in HTTP/2, it may be left out and may not say otherwise.
fn authority<B>(request: &Request<B>) -> Result<String, Refused> {
    let mut lines = request.headers().get_all(HOST).iter();
    let host = match (lines.next(), lines.next()) {
        (Some(host), None) => Some(host.to_str().ok().filter(|host| is_authority(host)).ok_or(Refused::BadHost)?),
        (None, _) if request.version() == HttpVersion::HTTP_11 => return Err(Refused::BadHost),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(Refused::BadHost),
    };
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    // RFC 9112 §3.2.3: a target that is an authority alone is one of CONNECT.
    if target.is_some() && request.uri().scheme().is_none() && request.method() != Method::CONNECT {
        return Err(Refused::BadTarget);
    }
    if let (Some(target), Some(host)) = (target, host)
        && request.version() == HttpVersion::HTTP_2
        && !without_default_port(target).eq_ignore_ascii_case(without_default_port(host))
    {
        return Err(Refused::BadHost);
    }
    // RFC 9110 §4.2.1: a host that is empty is no host; §4.2.4: a user in it is an error.
    let authority = target.or(host).filter(|authority| is_authority(authority) && !hostname(authority).is_empty());
    authority.map(str::to_owned).ok_or(Refused::BadHost)
}

fn without_default_port(authority: &str) -> &str {
    authority.strip_suffix(":443").unwrap_or(authority)
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2.
fn is_authority(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.bytes().all(|byte| is_name(byte) || byte == b':'),
        None => host.bytes().all(is_name),
    };
    is_host && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name in an authority: in lower case and in ASCII, without a port or a final dot.
fn hostname(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    // RFC 3986 §3.2.2: a name may come in its encoded form, which is another spelling of the same one.
    if host.contains('%')
        && let Ok(name) = host.parse::<Hostname>()
    {
        return name.into();
    }
    host.to_ascii_lowercase()
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
            ("b%C3%BCcher.Example:8443", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("a%2Fb.example", "a%2fb.example"),
            ("", ""),
        ] {
            assert_eq!(hostname(authority), host, "{authority}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for good in ["", "a", "a:", "a:1", "A-b.c_d:80", "[::1]", "[::1]:8", "192.0.2.1", "a.%C3%BC", "a!$&'()*+,;=~"] {
            assert!(is_authority(good), "{good}");
        }
        for bad in ["u@a", "u:p@a", "a/b", "a b", "a?b", "a#b", "a:1:2", "a:b", "[::1", "::1]", "a\\b", "a\"", "<a>"] {
            assert!(!is_authority(bad), "{bad}");
        }
    }

    #[test]
    fn the_targets_authority_counts_and_host_must_be_sound() {
        use HttpVersion as V;
        #[rustfmt::skip]
        let cases: &[(V, &str, &[&str], Option<&str>)] = &[
            // version, target, lines of Host, authority
            (V::HTTP_11, "/",            &["a:1"],   Some("a:1")), // RFC 9112 §3.3
            (V::HTTP_11, "/",            &[],        None),        // RFC 9112 §3.2
            (V::HTTP_11, "/",            &["a", "a"], None),
            (V::HTTP_11, "/",            &["a/c"],   None),
            (V::HTTP_11, "/",            &[""],      None),        // RFC 9110 §4.2.1
            (V::HTTP_11, "/",            &[":443"],  None),
            (V::HTTP_11, "/",            &["u@a"],   None),        // RFC 9110 §7.2
            (V::HTTP_11, "https://b/",   &["a"],     Some("b")),   // RFC 9112 §3.2.2
            (V::HTTP_11, "https://b/",   &[""],      Some("b")),
            (V::HTTP_11, "https://b/",   &[],        None),
            (V::HTTP_11, "https://u@b/", &["b"],     None),        // RFC 9110 §4.2.4
            (V::HTTP_11, "b",            &["b"],     None),        // RFC 9112 §3.2.3
            (V::HTTP_10, "/",            &["a"],     Some("a")),
            (V::HTTP_10, "/",            &[],        None),
            (V::HTTP_10, "https://b/",   &[],        Some("b")),
            (V::HTTP_2,  "https://b/",   &[],        Some("b")),   // RFC 9113 §8.3.1
            (V::HTTP_2,  "https://b/",   &["B:443"], Some("b")),
            (V::HTTP_2,  "https://b/",   &["a"],     None),
            (V::HTTP_2,  "https://b/",   &["b", "b"], None),
            (V::HTTP_2,  "/",            &["a"],     Some("a")),
        ];
        for (version, target, lines, expected) in cases {
            let mut request = Request::builder().version(*version).uri(*target);
            for line in *lines {
                request = request.header(HOST, *line);
            }
            let found = authority(&request.body(()).unwrap());
            assert_eq!(found.as_deref().ok(), *expected, "{version:?} {target} {lines:?}");
        }
    }
}
