//! Notifies open pages of a new live version: the script that `inject` puts into pages, and its stream of events (HTML,
//! §9.2).
//!
//! A small server on a loopback port has both. Pages reach the server on their own origin by a route that only `dev`
//! adds.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use devanture_config::problem::Code;
use devanture_site::integrity::metadata;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use url::form_urlencoded;

use crate::output::exit::Failure;

/// The path of the route, which no site uses.
pub(super) const ROUTE_PATH: &str = "/.devanture-dev/*";
/// The script.
pub(super) const SCRIPT_PATH: &str = "/.devanture-dev/reload.js";
/// The stream.
const EVENTS_PATH: &str = "/.devanture-dev/events";
/// The same in every run, as pages contain the hash: the script learns the live version from the stream.
const SCRIPT: &str = include_str!("reload.js");
/// Interval of keep-alive comments of a stream: well within the timeout of a route.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Upper bound of concurrent connections: each open page has one.
const CONNECTIONS_MAX: usize = 512;
/// Pause after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Longest time of a request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The live version, for open pages.
#[derive(Debug, Clone)]
struct KnownLive {
    /// The run and a growing number: an open page sends the stamp to prove its run and version.
    stamp: String,
    /// The stamp before.
    before: String,
    /// The time of the switch.
    since: Instant,
    /// The tags of the pages.
    pages: Arc<BTreeSet<String>>,
    /// Paths of changed stylesheets, if no other file has changed.
    styles: Option<Arc<[String]>>,
}

/// The server; the streams end with it.
#[derive(Debug)]
pub(super) struct Reload {
    address: SocketAddr,
    live: watch::Sender<KnownLive>,
    run: u128,
    count: u64,
    server: JoinHandle<()>,
}

impl Reload {
    /// Starts the server on a free port.
    ///
    /// # Errors
    /// `internal` without a free port.
    pub(super) async fn start() -> Result<Self, Failure> {
        let failed = |error| Failure::new(Code::Internal, format!("No port can be listened on: {error}."));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let stamp = stamp(run, 0);
        let first =
            KnownLive { before: stamp.clone(), stamp, since: Instant::now(), pages: Arc::default(), styles: None };
        let live = watch::Sender::new(first);
        let server = tokio::spawn(serve(listener, live.subscribe()));
        Ok(Self { address, live, run, count: 0, server })
    }

    /// Returns the listening address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reports a new live version with these pages. `styles` are the paths of stylesheets that have changed since the
    /// previous version, if no other file has changed.
    pub(super) fn went_live(&mut self, pages: BTreeSet<String>, styles: Option<Vec<String>>) {
        self.count += 1;
        let (stamp, pages) = (stamp(self.run, self.count), Arc::new(pages));
        self.live.send_modify(|live| {
            let before = std::mem::replace(&mut live.stamp, stamp);
            *live = KnownLive {
                stamp: live.stamp.clone(),
                before,
                since: Instant::now(),
                pages,
                styles: styles.map(Arc::from),
            };
        });
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The `integrity` of the script.
pub(super) fn script_integrity() -> String {
    let hash: [u8; 32] = digest(&SHA256, SCRIPT.as_bytes()).as_ref().try_into().unwrap_or_default();
    metadata(&hash.into())
}

fn stamp(run: u128, count: u64) -> String {
    format!("{run:x}-{count}")
}

async fn serve(listener: TcpListener, live: watch::Receiver<KnownLive>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let live = live.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &live);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
            // A closed page breaks its connection.
            http.serve_connection(TokioIo::new(stream), service).await.ok();
            drop(permit);
        });
    }
}

/// Returns true if a request comes from a page of the run, and not from a stranger's page under a name that leads to
/// this machine (DNS rebinding), or from a different site (Fetch Metadata).
fn is_own<B>(request: &Request<B>) -> bool {
    let field = |name| request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let host = field(HOST.as_str()).or_else(|| request.uri().authority().map(Authority::as_str)).unwrap_or_default();
    let (name, _) = host.rsplit_once(':').unwrap_or((host, ""));
    let name = name.to_ascii_lowercase();
    let is_of_this_machine = name == "localhost" || name.ends_with(".localhost");
    is_of_this_machine && matches!(field("sec-fetch-site"), None | Some("same-origin" | "none"))
}

fn answer(request: &Request<Incoming>, live: &watch::Receiver<KnownLive>) -> Response<Body> {
    let (media_type, body) = match (request.method(), request.uri().path()) {
        _ if !is_own(request) => {
            let mut refused = Response::new(Full::default().boxed_unsync());
            *refused.status_mut() = StatusCode::FORBIDDEN;
            return refused;
        }
        (&Method::GET, SCRIPT_PATH) => {
            ("text/javascript; charset=utf-8", Full::new(Bytes::from_static(SCRIPT.as_bytes())).boxed_unsync())
        }
        (&Method::GET, EVENTS_PATH) => {
            let page = Page::of(request.uri().query().unwrap_or_default());
            ("text/event-stream", page.events(live.clone()))
        }
        _ => {
            let mut missing = Response::new(Full::default().boxed_unsync());
            *missing.status_mut() = StatusCode::NOT_FOUND;
            return missing;
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An open page.
#[derive(Debug, Default)]
struct Page {
    /// The tag.
    page: String,
    /// The stamp of the last known version; `None` for a newly loaded page.
    stamp: Option<String>,
    /// The time since the start of its loading, for a newly loaded page.
    age: Option<Duration>,
}

impl Page {
    fn of(query: &str) -> Self {
        let mut page = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "page" => page.page = value.into_owned(),
                "stamp" => page.stamp = Some(value.into_owned()),
                "age" => page.age = value.parse().ok().map(Duration::from_millis),
                _ => {}
            }
        }
        page
    }

    /// Returns the first event: a reload if the page is not of the live version, otherwise the stamp of the version.
    fn greeting(&mut self, live: &KnownLive) -> String {
        // Files loaded before and after a switch may not fit together.
        let is_whole = match (&self.stamp, self.age) {
            (Some(stamp), _) => *stamp == live.stamp,
            (None, age) => age.is_some_and(|age| age <= live.since.elapsed()),
        };
        if is_whole && live.pages.contains(&self.page) {
            self.stamp = Some(live.stamp.clone());
            format!("event: live\ndata: {}\n\n", live.stamp)
        } else {
            reload_event(&live.stamp)
        }
    }

    /// Returns the event for the switch to `live`.
    fn event_text(&mut self, live: &KnownLive) -> String {
        match &live.styles {
            Some(paths) if self.stamp.as_ref() == Some(&live.before) => {
                self.stamp = Some(live.stamp.clone());
                let data = serde_json::json!({ "stamp": live.stamp, "paths": &**paths });
                format!("event: styles\ndata: {data}\n\n")
            }
            _ => reload_event(&live.stamp),
        }
    }

    fn events(mut self, mut live: watch::Receiver<KnownLive>) -> Body {
        let greeting = self.greeting(&live.borrow_and_update());
        let first = stream::once(async move { Ok(Frame::data(Bytes::from(greeting))) });
        let events = stream::unfold((self, live), |(mut page, mut live)| async move {
            let text = match tokio::time::timeout(KEEP_ALIVE_EVERY, live.changed()).await {
                Ok(Ok(())) => page.event_text(&live.borrow_and_update()),
                // `dev` ends.
                Ok(Err(_)) => return None,
                Err(_) => ":\n\n".to_owned(),
            };
            Some((Ok(Frame::data(Bytes::from(text))), (page, live)))
        });
        StreamBody::new(futures_util::StreamExt::chain(first, events)).boxed_unsync()
    }
}

fn reload_event(stamp: &str) -> String {
    format!("event: reload\ndata: {stamp}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(styles: Option<&[&str]>) -> KnownLive {
        KnownLive {
            stamp: "r-2".to_owned(),
            before: "r-1".to_owned(),
            since: Instant::now(),
            pages: Arc::new(["p".to_owned()].into()),
            styles: styles.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect()),
        }
    }

    fn page(page: &str, stamp: &str) -> Page {
        Page::of(&format!("page={page}&stamp={stamp}"))
    }

    /// A newly loaded page.
    fn new_page(page: &str, age_ms: u64) -> Page {
        Page::of(&format!("page={page}&age={age_ms}"))
    }

    #[test]
    fn a_page_that_is_not_of_what_is_live_loads_itself_again() {
        assert_eq!(page("p", "r-2").greeting(&live(None)), "event: live\ndata: r-2\n\n");
        for mut stale in
            [page("p", "r-1"), page("q", "r-2"), page("p", "other-2"), new_page("q", 0), Page::of("page=p")]
        {
            assert_eq!(stale.greeting(&live(None)), "event: reload\ndata: r-2\n\n");
        }
        // A page loaded during a switch, and a page loaded after it.
        assert_eq!(new_page("p", 60_000).greeting(&live(None)), "event: reload\ndata: r-2\n\n");
        assert_eq!(new_page("p", 0).greeting(&live(None)), "event: live\ndata: r-2\n\n");
    }

    #[test]
    fn stylesheets_are_put_in_place_only_where_no_change_was_missed() {
        let styles = live(Some(&["/a \"b\".css"]));
        let mut one = page("p", "r-1");
        let event_text = one.event_text(&styles);
        assert_eq!(event_text, "event: styles\ndata: {\"paths\":[\"/a \\\"b\\\".css\"],\"stamp\":\"r-2\"}\n\n");
        assert_eq!(one.stamp.as_deref(), Some("r-2"));
        assert_eq!(page("p", "r-0").event_text(&styles), "event: reload\ndata: r-2\n\n");
        assert_eq!(page("p", "r-1").event_text(&live(None)), "event: reload\ndata: r-2\n\n");
        // A newly loaded page learns its version from the greeting.
        let mut one = new_page("p", 0);
        one.greeting(&KnownLive { stamp: "r-1".to_owned(), ..live(None) });
        assert!(one.event_text(&styles).starts_with("event: styles\n"));
    }

    #[test]
    fn only_pages_of_the_run_are_answered() {
        let answered = |host: &str, site: Option<&str>| {
            let request = Request::get(EVENTS_PATH).header(HOST, host);
            let request =
                site.map(|site| ("sec-fetch-site", site)).into_iter().fold(request, |r, (n, v)| r.header(n, v));
            is_own(&request.body(()).unwrap())
        };
        for host in ["shop.localhost:8443", "localhost", "a--SHOP.localhost:1"] {
            assert!(answered(host, None) && answered(host, Some("same-origin")), "{host}");
            assert!(!answered(host, Some("cross-site")) && !answered(host, Some("same-site")), "{host}");
        }
        for host in ["evil.test:8443", "127.0.0.1:8443", "localhost.evil.test", "evillocalhost", ""] {
            assert!(!answered(host, None), "{host}");
        }
    }

    #[test]
    fn the_script_and_its_stream_are_below_the_route() {
        assert!(SCRIPT_PATH.starts_with(ROUTE_PATH.trim_end_matches('*')));
        assert!(EVENTS_PATH.starts_with(ROUTE_PATH.trim_end_matches('*')));
    }
}
