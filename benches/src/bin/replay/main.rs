//! Sends a fixed recording of requests through the engine's connections, without sockets, TLS and clocks, so that the
//! instructions can be counted: `replay CASE REQUESTS`. `replay` alone lists the cases. Cases with `served` or `rules`
//! use the edge's handler with a loaded version, all other cases a stand-in.
//!
//! `tools/check-instructions` runs the program under valgrind, with some requests and with twice as many: the
//! difference is the cost of the requests alone. Input is prepared before [`through`], and only [`through`] is counted.
//! Memory comes from the system's allocator, which behaves the same in every run.

#[path = "../../../../edge/tests/support/in_process.rs"]
mod in_process;
mod recording;
mod served;

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use devanture_benches::worst_rules;
use devanture_config::site_toml::Rules;
use devanture_http::{
    Answer, AnswerBody, AnswerHead, Answered, Answering, Inbound, Limits, Outcome, PreparedHead, RequestHead, Scratch,
    Service, SharedField, Sink, Turn, http1, http2,
};
use http::StatusCode;
use http::header::{ACCEPT_ENCODING, IF_NONE_MATCH};

use recording::{BROWSER, BROWSER_LINES, Client, LOAD, LOAD_LINES, NARROW, VISITOR};
use served::{Served, SiteKind};

/// Requests per batch.
const BATCH: u32 = 16;
/// Requests of a connection.
const PER_CONNECTION: u32 = 1_600;
/// Requested bytes per turn.
const TURN_BYTES: usize = 64 * 1024;
const ETAG: &str = "\"f2ca1bb6c7e907d06dafe4687e579fce\"";

/// Paths with the sizes of their bodies.
const PAGES: [(&str, usize); 5] = [
    ("/", 604),
    ("/assets/index-B7f3kQ2d.js", 604),
    ("/assets/style-D4x9Lm1c.css", 604),
    ("/assets/app-C8v2Np5h.js", 38_000),
    ("/assets/bundle-A1s5Wz7k.js", 1_000_000),
];
const SMALL: &[&str] = &["/", "/assets/index-B7f3kQ2d.js", "/assets/style-D4x9Lm1c.css"];
const MIDDLE: &[&str] = &["/assets/app-C8v2Np5h.js"];
const LARGE: &[&str] = &["/assets/bundle-A1s5Wz7k.js"];

/// Recorded conversation. A case with rules requests a long missing path, of a site with the worst rules in one
/// meaning, or without rules.
enum Case {
    Http2 { client: Client, paths: &'static [&'static str], etag: Option<&'static str> },
    Served { client: Client, path: &'static str, status: StatusCode, canary: bool },
    Ruled(Option<Rules>),
    Http1 { lines: &'static str, paths: &'static [&'static str] },
}

const CASES: [(&str, Case); 20] = [
    ("h2-604-load", Case::Http2 { client: LOAD, paths: SMALL, etag: None }),
    ("h2-604-browser", Case::Http2 { client: BROWSER, paths: SMALL, etag: None }),
    ("h2-304-browser", Case::Http2 { client: BROWSER, paths: SMALL, etag: Some(ETAG) }),
    ("h2-404-browser", Case::Http2 { client: BROWSER, paths: &["/no-such-file.js"], etag: None }),
    ("h2-38k-narrow", Case::Http2 { client: NARROW, paths: MIDDLE, etag: None }),
    ("h2-1m-browser", Case::Http2 { client: BROWSER, paths: LARGE, etag: None }),
    ("served-604-load", Case::Served { client: LOAD, path: "/assets/small.js", status: StatusCode::OK, canary: false }),
    (
        "served-604-browser",
        Case::Served { client: BROWSER, path: "/assets/small.js", status: StatusCode::OK, canary: false },
    ),
    (
        "served-304-load",
        Case::Served { client: LOAD, path: "/assets/small.js", status: StatusCode::NOT_MODIFIED, canary: false },
    ),
    (
        "served-304-browser",
        Case::Served { client: BROWSER, path: "/assets/small.js", status: StatusCode::NOT_MODIFIED, canary: false },
    ),
    (
        "served-404-load",
        Case::Served { client: LOAD, path: "/no-such-file", status: StatusCode::NOT_FOUND, canary: false },
    ),
    (
        "served-404-browser",
        Case::Served { client: BROWSER, path: "/no-such-file", status: StatusCode::NOT_FOUND, canary: false },
    ),
    // The same request without and with a canary.
    ("served-604-visitor", of_visitor(StatusCode::OK, false)),
    ("served-604-canary", of_visitor(StatusCode::OK, true)),
    ("served-304-canary", of_visitor(StatusCode::NOT_MODIFIED, true)),
    ("rules-none", Case::Ruled(None)),
    ("rules-netlify", Case::Ruled(Some(Rules::Netlify))),
    ("rules-cloudflare", Case::Ruled(Some(Rules::Cloudflare))),
    ("h1-604-load", Case::Http1 { lines: LOAD_LINES, paths: SMALL }),
    ("h1-38k-browser", Case::Http1 { lines: BROWSER_LINES, paths: MIDDLE }),
];

const fn of_visitor(status: StatusCode, canary: bool) -> Case {
    Case::Served { client: VISITOR, path: "/assets/small.js", status, canary }
}

/// Number of responses, and bytes of the bodies.
#[derive(Clone, Default)]
struct Counts {
    complete: Rc<Cell<u32>>,
    bytes: Rc<Cell<usize>>,
}

impl Outcome for Counts {
    fn sent(&mut self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    fn complete(&mut self, _now: Instant) {
        self.complete.set(self.complete.get() + 1);
    }
}

/// Heads and bodies, built once.
struct Site {
    pages: Rc<[Page]>,
    unchanged: Arc<PreparedHead>,
    missing: Arc<PreparedHead>,
    version: Arc<SharedField>,
    counts: Counts,
}

struct Page {
    path: &'static str,
    head: Arc<PreparedHead>,
    body: Bytes,
}

impl Site {
    fn new(counts: Counts) -> Self {
        let shared = || {
            let fields = [("cache-control", "public, max-age=31536000, immutable"), ("vary", "accept-encoding")];
            fields.map(|(name, value)| Arc::new(SharedField::new(name, value.as_bytes()))).to_vec()
        };
        let shared = shared();
        let page = |(path, bytes): (&'static str, usize)| {
            let length = bytes.to_string();
            let own = [
                ("content-type", &b"text/javascript; charset=utf-8"[..]),
                ("content-encoding", b"br"),
                ("content-length", length.as_bytes()),
                ("etag", ETAG.as_bytes()),
            ];
            Page { path, head: Arc::new(PreparedHead::new(own, shared.clone())), body: vec![b'x'; bytes].into() }
        };
        let missing = [("content-type", &b"text/plain; charset=utf-8"[..]), ("content-length", b"9")];
        Self {
            pages: PAGES.map(page).into(),
            unchanged: Arc::new(PreparedHead::new([("etag", ETAG.as_bytes())], shared.clone())),
            missing: Arc::new(PreparedHead::new(missing, shared.clone())),
            version: Arc::new(SharedField::new("devanture-version", b"4f2a91bc03de")),
            counts,
        }
    }
}

/// Service of each connection.
#[derive(Clone)]
struct Visits(Rc<Site>);

impl Visits {
    /// Immediate response, if available.
    fn at_once<R>(&self, request: &RequestHead<'_>, put: impl FnOnce(Answer<Counts>) -> R) -> Option<R> {
        let takes_brotli =
            request.fields.get_all(&ACCEPT_ENCODING).any(|value| value.windows(2).any(|part| part == b"br"));
        let page = self.0.pages.iter().find(|page| page.path == request.path && takes_brotli);
        let (status, head, body) = match page {
            None => (StatusCode::NOT_FOUND, &self.0.missing, AnswerBody::Bytes(Bytes::from_static(b"not here\n"))),
            Some(_) if request.fields.get(&IF_NONE_MATCH).is_some_and(|tag| tag == ETAG.as_bytes()) => {
                (StatusCode::NOT_MODIFIED, &self.0.unchanged, AnswerBody::EMPTY)
            }
            Some(page) => (StatusCode::OK, &page.head, AnswerBody::Bytes(page.body.clone())),
        };
        let head = AnswerHead::Prepared(Arc::clone(head), [Some(Arc::clone(&self.0.version)), None, None]);
        Some(put(Answer { status, head, body, outcome: self.0.counts.clone() }))
    }
}

impl Service for Visits {
    type Outcome = Counts;
    type Pending = ();

    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        _now: Instant,
        put: impl FnOnce(Answer<Counts>) -> R,
    ) -> Answered<R, ()> {
        self.at_once(request, put).into()
    }

    fn end_of_batch(&self) {}

    fn begin(&self, _: http::Request<Inbound>, _: Option<()>) -> Answering {
        Box::pin(std::future::pending())
    }
}

/// Output of a turn: copies bytes, as on the way to TLS, and stores bodies by reference.
#[derive(Default)]
struct TurnOutput {
    bytes: Vec<u8>,
    bodies: Vec<Bytes>,
    put: usize,
}

impl Sink for TurnOutput {
    fn room(&self) -> usize {
        TURN_BYTES.saturating_sub(self.put)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.put += bytes.len();
        self.bytes.extend_from_slice(bytes);
    }

    fn put_body(&mut self, bytes: Bytes) {
        self.put += bytes.len();
        self.bodies.push(bytes);
    }
}

impl TurnOutput {
    /// Clears the output, and returns its size.
    fn take(&mut self) -> usize {
        self.bytes.clear();
        self.bodies.clear();
        std::mem::take(&mut self.put)
    }
}

/// Simulated time: one instant per turn.
struct Time {
    now: Instant,
    date: SharedField,
    scratch: Scratch,
}

impl Time {
    fn turn(&mut self) -> Turn<'_> {
        self.now += Duration::from_millis(10);
        Turn { now: self.now, date: &self.date, scratch: &mut self.scratch }
    }
}

fn limits() -> Limits {
    Limits {
        streams: 128,
        header_bytes: 32 * 1024,
        header_fields: 128,
        target_bytes: 8 * 1024,
        stream_window: 1 << 20,
        connection_window: 1 << 20,
        requests: u64::MAX,
        resets_per_second: 100,
        control_frames_per_second: 10_000,
        response_bytes: 262_144,
        header: Duration::from_secs(60),
        write: Duration::from_secs(60),
        body: Duration::from_secs(60),
        linger: Duration::from_secs(2),
        linger_bytes: 1 << 24,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        say(&CASES.map(|(name, _)| name).join("\n"));
        return Ok(());
    };
    let (_, case) = CASES.iter().find(|(known, _)| *known == name).ok_or("no such case")?;
    let requests: u32 = arguments.next().ok_or("how many requests?")?.parse()?;
    let counts = Counts::default();
    let site = Visits(Rc::new(Site::new(counts.clone())));
    let date = SharedField::new("date", b"Thu, 01 Jan 2026 00:00:00 GMT");
    let mut time = Time { now: Instant::now(), date, scratch: Scratch::default() };
    let (limits, mut answered) = (Rc::new(limits()), 0);
    let mut left = requests;
    let served = match case {
        Case::Served { canary: true, .. } => Some(Served::new(SiteKind::Canary)?),
        Case::Served { canary: false, .. } | Case::Ruled(None) => Some(Served::new(SiteKind::Plain)?),
        Case::Ruled(Some(rules)) => Some(Served::new(SiteKind::Ruled(*rules))?),
        Case::Http1 { .. } | Case::Http2 { .. } => None,
    };
    while left > 0 {
        let count = left.min(PER_CONNECTION);
        left -= count;
        match case {
            Case::Http2 { client, paths, etag } => {
                let batches = recording::batches(client, paths, *etag, count, BATCH);
                through(&mut http2::Connection::new(Rc::clone(&limits), site.clone()), &batches, &mut time)?;
            }
            Case::Served { client, path, status, .. } => {
                let visits = served.as_ref().ok_or("nothing is served")?.visits(*status);
                let etag = (*status == StatusCode::NOT_MODIFIED).then(Served::etag);
                let batches = recording::batches(client, &[path], etag.as_deref(), count, BATCH);
                through(&mut http2::Connection::new(Rc::clone(&limits), visits.clone()), &batches, &mut time)?;
                answered += visits.as_wanted();
            }
            Case::Ruled(_) => {
                let visits = served.as_ref().ok_or("nothing is served")?.visits(StatusCode::NOT_FOUND);
                let batches = recording::batches(&BROWSER, &[worst_rules::path().as_str()], None, count, BATCH);
                through(&mut http2::Connection::new(Rc::clone(&limits), visits.clone()), &batches, &mut time)?;
                answered += visits.as_wanted();
            }
            Case::Http1 { lines, paths } => through_http1(&site, &recording::lines(lines, paths, count), &mut time)?,
        }
    }
    answered += counts.complete.get();
    if answered != requests {
        return Err(format!("{answered} of {requests} requests were answered as they should be").into());
    }
    say(&format!("{requests} answers, {} bytes of bodies", counts.bytes.get()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what a program says")]
fn say(text: &str) {
    println!("{text}");
}

/// Runs one HTTP/2 connection; extends the connection's window as bytes arrive.
#[inline(never)]
fn through<S: Service>(
    connection: &mut http2::Connection<S>,
    batches: &[Vec<u8>],
    time: &mut Time,
) -> Result<(), Box<dyn Error>> {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut out, mut update) = (TurnOutput::default(), Vec::new());
    for batch in batches {
        connection.receive(batch, &mut time.turn());
        loop {
            let state = connection.produce(&mut out, &mut time.turn(), &mut cx);
            if state == http2::State::Over {
                return Err("the connection was closed".into());
            }
            let put = out.take();
            if put == 0 {
                break;
            }
            update.clear();
            recording::window(&mut update, 0, u32::try_from(put)?);
            connection.receive(&update, &mut time.turn());
        }
        if connection.in_flight() > 0 {
            return Err(format!("{} answers are stuck", connection.in_flight()).into());
        }
    }
    Ok(())
}

/// Runs one HTTP/1.1 connection, one request at a time.
#[inline(never)]
fn through_http1(site: &Visits, requests: &[Vec<u8>], time: &mut Time) -> Result<(), Box<dyn Error>> {
    let mut connection = http1::Connection::new(Rc::new(limits()), site.clone());
    let mut cx = Context::from_waker(Waker::noop());
    let mut out = TurnOutput::default();
    for request in requests {
        connection.receive(request, &mut time.turn());
        loop {
            let state = connection.produce(&mut out, &mut time.turn(), &mut cx);
            if state != http1::State::Open {
                return Err("the connection was closed".into());
            }
            if out.take() == 0 {
                break;
            }
        }
    }
    Ok(())
}
