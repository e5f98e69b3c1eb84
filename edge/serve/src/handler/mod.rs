//! Turns a request into a response in two stages: decide, then carry out.
//!
//! [`decide`] is synchronous, does no I/O and is independent of the code that carries the decision out.
//! [`Handler::handle`] works in a future: (1) resolve the host, (2) decide, (3) load a missing version and decide
//! again, (4) answer from memory or the store, or forward to a backend, (5) count and log after the last byte.
//! [`EngineService`] does the same synchronously for every request that needs no waiting.

mod authority;
mod body;
mod canary;
mod canonical;
mod chosen;
mod console;
mod cors;
mod decide;
mod decision;
mod dictionary;
mod engine_service;
mod error_page;
mod header_rules;
mod import_map;
mod integrity_report;
mod kept_private;
mod login_host;
mod paced;
mod pause;
mod pins;
mod plain_http;
mod refused;
mod request_metrics;
mod request_outcome;
mod respond;
mod route_table;
mod second_decision;
mod site_request;
mod smoke;
mod status_page;
mod tenant_isolation;
mod visitor;
mod visitor_accounts;
mod visitor_cookie;
mod visitor_decision;
mod visitor_form;
mod visitor_login;
mod visitor_page;
mod visitor_ticket;
mod visitors;
mod well_known;

pub use body::Body;
pub use console::console;
pub use decide::decide;
pub use decision::{Decision, FileAnswer, Head, Part, ProxyTo, Refusal, SmallAnswer, StatusPage};
pub use engine_service::{Counted, EngineService};
pub use header_rules::HeaderRules;
pub use integrity_report::read_integrity_reports;
pub use plain_http::to_https;
pub use refused::Refused;
pub use request_metrics::Measured;
pub use request_outcome::FAULTS;
pub use respond::plain;
pub use route_table::RouteTable;
pub use smoke::{SmokeAnswer, SmokeQuestion, Unanswered};
pub use visitor::{SHARE_PARAMETER, SHARE_PATH, Visitor};
pub use visitor_accounts::{
    Confirmed, KnownBy, LoggedInPerson, LoginSecret, PERSON_BYTES_MAX, Person, Unconfirmed, VisitorAccounts,
};
pub use visitors::Visitors;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use devanture_config::edge_toml::AddressBlock;
use devanture_site::cache::Kept;
use http::header::{ALT_SVC, AUTHORIZATION, CONNECTION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderValue, Request, Response, Version as HttpVersion};

use crate::live::{Current, Live, LoadTarget, Loader};
use crate::proxy::{self, Arrival, Chain, Ids, Interim, REQUEST_ID};
use crate::version::CommonField;
use authority::{authority_over_tls, head_of, hostname};
use body::UnreadBody;
use decide::decide_admitted;
use devanture_base::clock;
use devanture_base::telemetry::AccessLog;
use devanture_http::{BodyError, Fields, RequestHead};
use error_page::ErrorContext;
use request_metrics::Measurement;
use request_outcome::RequestOutcome;

/// Maximum loads per request: the live version and its predecessors.
const LOADS_MAX: usize = 4;

/// Shared state of all requests of one serving thread.
pub struct Handler {
    /// The live versions.
    pub live: Live,
    /// The loader of previews.
    pub loader: Loader,
    /// The thread's connections to backends.
    pub backends: proxy::Client,
    /// Compiled routes by version.
    pub ways: RouteTable,
    /// Log of requests.
    pub access_log: AccessLog,
    /// `Alt-Svc` for hostnames with a publicly trusted certificate: set once HTTP/3 is served, or `clear`.
    pub alt_svc: OnceLock<CommonField>,
    /// `Strict-Transport-Security` for custom hostnames with a publicly trusted certificate.
    pub hsts: CommonField,
    /// Returns true if the host's certificate is publicly trusted: not issued by the local authority.
    pub trusted: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Longest request target, in bytes.
    pub target_bytes_max: usize,
    /// Proxies in front of the edge that may name the client: `[listen] trusted_proxies`.
    pub trusted_proxies: Arc<ArcSwap<Vec<AddressBlock>>>,
    /// The port that visitors connect to, if configured: `[listen] public_port`.
    pub public_port: Option<u16>,
    /// Looks up visitors of protected apps; without this field, password logins are off.
    pub visitors: Option<Arc<Visitors>>,
}

/// A decided request for which the response waits.
pub struct DecidedRequest {
    authority: String,
    /// The host of the authority.
    host: String,
    decision: Decision,
}

/// Inputs of the fields in the head of every response.
#[derive(Clone, Copy)]
struct Bounds {
    /// `None` if no app has the host.
    host_is_custom: Option<bool>,
    is_ruled: bool,
    is_proxied: bool,
    /// The version of the request.
    version: HttpVersion,
}

impl Bounds {
    fn of(decision: &Decision, version: HttpVersion) -> Self {
        let is_proxied = matches!(decision.inner(), Decision::Proxy { .. });
        Self { host_is_custom: decision.host_is_custom(), is_ruled: decision.is_ruled(), is_proxied, version }
    }
}

impl Handler {
    /// Answers a request that arrived over TLS from `peer`; `covers` returns true if the connection's certificate is
    /// valid for a host; `interim` receives interim responses of backends.
    pub async fn handle<B>(
        &self,
        request: Request<B>,
        peer: IpAddr,
        interim: Option<&Arc<Interim>>,
        covers: impl Fn(&str) -> bool,
    ) -> Response<Measured>
    where
        B: http_body::Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let (from, measurement) = self.begun(&request, peer);
        let request_head = head_of(&request);
        match self.decided(&request_head, from.is_trusted, covers) {
            Ok(decided) => self.carry_out_decided(request, decided, (&from, interim), measurement).await,
            Err(refused) => measurement.of_whole(respond::refused(refused)),
        }
    }

    /// Answers a decided request; see [`Handler::handle`].
    async fn handle_decided<B>(
        &self,
        request: Request<B>,
        peer: IpAddr,
        interim: Option<&Arc<Interim>>,
        decided: DecidedRequest,
    ) -> Response<Measured>
    where
        B: http_body::Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let (from, measurement) = self.begun(&request, peer);
        self.carry_out_decided(request, decided, (&from, interim), measurement).await
    }

    /// Starts the measurement of a request, and determines its client.
    fn begun<B>(&self, request: &Request<B>, peer: IpAddr) -> (Chain, Measurement) {
        let began = Instant::now();
        let request_head = head_of(request);
        let from = Chain::of(request_head.fields, peer, &self.trusted_proxies.load());
        let measurement = Measurement::begin(began, &request_head, &self.access_log, || from.client);
        (from, measurement)
    }

    /// Waits for the loads and lookups of the decision, and answers.
    async fn carry_out_decided<B>(
        &self,
        mut request: Request<B>,
        decided: DecidedRequest,
        (from, interim): (&Chain, Option<&Arc<Interim>>),
        mut measurement: Measurement,
    ) -> Response<Measured>
    where
        B: http_body::Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let DecidedRequest { authority, host, mut decision } = decided;
        let request_head = head_of(&request);
        decision = self.loaded(&request_head, &host, decision).await;
        if let Decision::Visitor(visitor) = decision {
            decision = match self.visited(&visitor, &mut request, (&host, &authority, from.client)).await {
                Some(decision) => decision,
                None => {
                    let request_head = head_of(&request);
                    let decision = decide_admitted(&self.head(&request_head, &host), &self.live);
                    self.loaded(&request_head, &host, decision).await
                }
            };
        }
        decision = self.reported(decision, &mut request, &host).await;
        decision = measurement.admitted(decision);
        let came = ClientContext { from: Some(from), authority: &authority, host: &host, interim };
        let version = request.version();
        let (mut response, unwanted) = self.carry_out_latest(request, decision, &came, &mut measurement).await;
        let fault = measurement.outcome().error();
        let is_unread = unwanted != UnreadBody::Over || fault.is_some_and(request_outcome::leaves_body);
        if is_unread && version <= HttpVersion::HTTP_11 {
            // RFC 9112 §9.6: the connection ends with it, and the client must know.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let status = match fault {
            // The status of a response to a client that has probably gone would mislead logs and metrics.
            Some(request_outcome::CLIENT_IS_GONE) => request_outcome::client_gone(),
            _ => response.status(),
        };
        response.map(|body| {
            let body = measurement.paced(body);
            measurement.measure(status, body)
        })
    }

    /// Loads the version that a request waits for, if any, and decides.
    async fn loaded(&self, request_head: &RequestHead<'_>, host: &str, decision: Decision) -> Decision {
        let (mut decision, mut is_protected) = decision.into_inner();
        for _ in 0..LOADS_MAX {
            let Decision::Load(target) = &decision else { return decision.protected_if(is_protected) };
            if let LoadTarget::Preview(preview) = target {
                let loaded = match self.loader.preview(&self.live, preview).await {
                    Ok(current) => decide::decide_in(&self.head(request_head, host), &current, None, false),
                    Err(error) => Decision::Refuse(Refused::from(&*error).into()),
                };
                return loaded.protected_if(is_protected);
            }
            if !self.loader.load_target(&self.live, target).await {
                break;
            }
            let head = self.head(request_head, host);
            // An admitted visitor stays admitted for the whole request.
            let next = if is_protected { decide_admitted(&head, &self.live) } else { decide(&head, &self.live) };
            (decision, is_protected) = next.into_inner();
        }
        match decision {
            Decision::Load(_) => Decision::Refuse(Refused::Unavailable.into()),
            decision => decision.protected_if(is_protected),
        }
    }

    /// Resolves the host, and decides.
    fn decided(
        &self,
        request_head: &RequestHead<'_>,
        is_trusted: bool,
        covers: impl Fn(&str) -> bool,
    ) -> Result<DecidedRequest, Refused> {
        let authority = authority_over_tls(request_head, || is_trusted)?;
        let host = hostname(authority).into_owned();
        let decision = self.decided_for(request_head, &host, covers, decide);
        Ok(DecidedRequest { authority: authority.to_owned(), host, decision })
    }

    /// Refuses a request for a `host` that the connection does not cover; otherwise calls `decide`.
    fn decided_for(
        &self,
        request_head: &RequestHead<'_>,
        host: &str,
        covers: impl Fn(&str) -> bool,
        decide: impl FnOnce(&Head<'_>, &Live) -> Decision,
    ) -> Decision {
        // RFC 9110 §7.4. An unknown host is a 404 on every connection.
        let misdirected = !covers(host) && self.live.serves(host);
        match misdirected {
            true => Decision::Refuse(Refused::Misdirected.into()),
            false => decide(&self.head(request_head, host), &self.live),
        }
    }

    /// Request fields that the decision reads, for `host`.
    fn head<'h>(&self, request_head: &RequestHead<'h>, host: &'h str) -> Head<'h> {
        Head {
            method: request_head.method,
            path: request_head.path,
            query: request_head.query,
            host,
            fields: request_head.fields,
            now_s: || clock::since_epoch().as_secs(),
            heeds_pins: true,
            target_bytes_max: self.target_bytes_max,
        }
    }

    /// Carries the decision out.
    async fn carry_out<B>(
        &self,
        mut request: Request<B>,
        decision: Decision,
        came: &ClientContext<'_>,
        outcome: &RequestOutcome,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<BodyError>,
    {
        let version = request.version();
        if let Decision::Protected(decision) = decision {
            let mut response = Box::pin(self.carry_out(request, *decision, came, outcome)).await;
            kept_private::keep(response.headers_mut());
            return response;
        }
        let bounds = Bounds::of(&decision, version);
        let Decision::Proxy { current, to, ruled, .. } = decision else {
            return self.at_once(decision, version, Fields::Map(request.headers()), came.host);
        };
        if ruled.is_private() {
            // The edge was the recipient of the name and the password.
            request.headers_mut().remove(AUTHORIZATION);
        }
        let fields = Fields::Map(request.headers());
        let error_context = ErrorContext::of(fields, came.host, Some(&current));
        let origin = cors::origin(fields, &current.version);
        let mut response = self.forward(request, (came, outcome), &current, to, &error_context).await;
        let status = response.status();
        ruled.apply(response.headers_mut(), Kept::File, status);
        respond::trace(response.headers_mut(), &current.version);
        if let Some(origin) = origin {
            cors::allow(response.headers_mut(), origin);
        }
        self.confine(response.headers_mut(), bounds, came.host);
        response
    }

    /// Carries out a decision that needs no waiting.
    fn at_once(&self, decision: Decision, version: HttpVersion, fields: Fields<'_>, host: &str) -> Response<Body> {
        let bounds = Bounds::of(&decision, version);
        let mut response = match decision {
            Decision::File(answer) => respond::file(&answer),
            Decision::Small(mut answer) => {
                if let (Some(page), Some(current)) = (answer.status_page.take(), &answer.current) {
                    answer.body = status_page::body(page, current, host, self.ways.are_up(current));
                }
                respond::small(*answer)
            }
            Decision::Refuse(refusal) => {
                error_page::refusal(&refusal, || ErrorContext::of(fields, host, refusal.current.as_deref()))
            }
            Decision::Protected(decision) => {
                let mut response = self.at_once(*decision, version, fields, host);
                kept_private::keep(response.headers_mut());
                return response;
            }
            // The caller has already waited for each of these decisions, with the inputs at hand.
            Decision::Load(_) | Decision::Proxy { .. } | Decision::Report(_) | Decision::Visitor(_) => {
                respond::refused(Refused::Unavailable)
            }
        };
        self.confine(response.headers_mut(), bounds, host);
        response
    }

    /// `Strict-Transport-Security` and `Alt-Svc`, if a response of `host` over this HTTP version has them. Browsers
    /// remember both fields and return by them alone, so the certificate must be publicly trusted.
    #[inline]
    fn kept_by_browsers(
        &self,
        host_is_custom: Option<bool>,
        version: HttpVersion,
        host: &str,
    ) -> [Option<&CommonField>; 2] {
        let hsts = (host_is_custom == Some(true)).then_some(&self.hsts);
        // A client on HTTP/3 already knows the endpoint.
        let is_elsewhere = host_is_custom.is_some() && version != HttpVersion::HTTP_3;
        let alt_svc = self.alt_svc.get().filter(|_| is_elsewhere);
        let says_any = hsts.is_some() || alt_svc.is_some();
        if says_any && (self.trusted)(host) { [hsts, alt_svc] } else { [None, None] }
    }

    /// Confines the fields that browsers remember to the app of the response.
    fn confine(&self, headers: &mut HeaderMap, bounds: Bounds, host: &str) {
        let Bounds { host_is_custom, is_ruled, is_proxied, version } = bounds;
        let [hsts, alt_svc] = self.kept_by_browsers(host_is_custom, version, host);
        if is_ruled && !is_proxied {
            tenant_isolation::hsts(headers, hsts.is_some());
        }
        if is_ruled || is_proxied {
            tenant_isolation::confine(headers, host, self.live.domains().neighbours(host));
        }
        if let Some(hsts) = hsts {
            // The owner of the hostname may have set a stricter value.
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.value().clone());
        }
        if let Some(alt_svc) = alt_svc {
            headers.insert(ALT_SVC, alt_svc.value().clone());
        }
    }

    async fn forward<B>(
        &self,
        mut request: Request<B>,
        (came, outcome): (&ClientContext<'_>, &RequestOutcome),
        current: &Arc<Current>,
        to: ProxyTo,
        error_context: &ErrorContext,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<BodyError>,
    {
        let ClientContext { from, authority, .. } = *came;
        let version = &current.version;
        let ids = Ids::of(request.headers(), from.is_some_and(|from| from.is_trusted));
        if let Some(path_and_query) = to.path_and_query {
            let Some(target) = with_path(request.uri(), &path_and_query) else {
                return respond::refused(Refused::BadTarget);
            };
            *request.uri_mut() = target;
        }
        let Some(way) = self.ways.way(current, to.number) else { return respond::refused(Refused::Unavailable) };
        let way = to.host.map_or_else(|| Rc::clone(&way), |host| Rc::new(way.with_host(host)));
        outcome.begin(&ids, &way.pool);
        // HTTP/1.0 has no interim responses (RFC 9110 §15.2).
        let takes_interim = request.version() == HttpVersion::HTTP_11;
        let passing = came.interim.filter(|_| takes_interim).map(Interim::open);
        let arrival = Arrival {
            host: authority,
            ids: &ids,
            passing: passing.as_ref(),
            client: from.map(|from| from.client),
            port: self.public_port,
            proxies: from.map_or(&[], |from| &from.proxies),
            scheme: from.map_or("https", |from| from.scheme),
        };
        let mut response = match self.backends.forward(&way, request, &arrival).await {
            Ok(response) => {
                outcome.answered(response.body().member());
                response.map(Body::proxied)
            }
            Err(error) => {
                let reason = error.reason();
                let upstream = &way.pool.key.name;
                tracing::info!(app = %version.app, upstream, %error, reason, "a backend did not answer");
                outcome.fail(reason);
                error_page::of_route(Refused::from(&error), reason, current, error_context)
            }
        };
        // The ID that a visitor quotes is the ID in the logs of the edge and of the backend, whatever ID the backend
        // sets.
        response.headers_mut().insert(REQUEST_ID, ids.request_id);
        response
    }
}

/// Origin and context of a request.
#[derive(Clone, Copy)]
struct ClientContext<'r> {
    /// `None` if no client asks.
    from: Option<&'r Chain>,
    authority: &'r str,
    /// The host of the authority.
    host: &'r str,
    /// Forwards interim responses, if the protocol allows.
    interim: Option<&'r Arc<Interim>>,
}

/// The same URI with another path and query; `None` if the form of the URI has no path.
fn with_path(uri: &http::Uri, path_and_query: &str) -> Option<http::Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    http::Uri::from_parts(parts).ok()
}

/// Protocol of a request as the access log writes the name.
const fn protocol(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::HTTP_3 => "h3",
        HttpVersion::HTTP_2 => "h2",
        HttpVersion::HTTP_10 => "http/1.0",
        _ => "http/1.1",
    }
}

/// Arrival time of a request's head. On the engine, the start of the connection's turn that read the head, so that
/// earlier work of the same turn counts as waiting.
type Began = Instant;
