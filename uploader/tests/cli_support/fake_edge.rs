//! A minimal edge: HTTP/1.1 on a loopback port, with or without TLS, with blobs in memory and configurable
//! misbehaviour.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use devanture_config::api::{
    BeginDeploy, ByteCounts, DeployBegun, DeployPrediction, DeployReport, DeployState, DeployStatus, FileCounts,
    Status, Step, StepState, Urls,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::{Digest, Manifest};

/// A received request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Status, media type, body.
    Whole(u16, &'static str, Vec<u8>),
    /// A redirect to an address.
    Redirect(String),
    /// A stream of events, and then the end of the connection.
    Events(Vec<String>),
    /// An endless stream of events.
    Endless(Vec<String>),
    /// The end of the connection without an answer.
    Cut,
}

impl Reply {
    pub(crate) fn json(status: u16, value: &impl serde::Serialize) -> Self {
        Self::Whole(status, "application/json", serde_json::to_vec(value).unwrap())
    }

    pub(crate) fn problem(code: Code) -> Self {
        let problem = Problem::new(code, format!("It is {}.", code.as_str())).hint("Do this.");
        Self::Whole(code.status(), "application/problem+json", serde_json::to_vec(&problem).unwrap())
    }
}

/// The state of the edge.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) begun: Vec<BeginDeploy>,
    pub(crate) live: Option<Manifest>,
    pub(crate) requests: Vec<Request>,
    received: (u64, u64),
}

type Misbehave = dyn Fn(&Request, &mut State) -> Option<Reply> + Send + Sync;

/// An edge that runs until the test ends.
pub(crate) struct FakeEdge {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    scheme: &'static str,
}

impl FakeEdge {
    /// Starts a well-behaved edge.
    pub(crate) fn start() -> Self {
        Self::start_with(|_, _| None)
    }

    /// Starts an edge whose answers `misbehave` may replace.
    pub(crate) fn start_with(
        misbehave: impl Fn(&Request, &mut State) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Arc::new(misbehave), None)
    }

    /// Starts an edge with this reply to requests of `method` whose target contains `part`.
    pub(crate) fn refusing(method: &'static str, part: &'static str, reply: Reply) -> Self {
        Self::start_with(move |request, _| {
            (request.method == method && request.target.contains(part)).then(|| reply.clone())
        })
    }

    /// Starts an edge with TLS.
    pub(crate) fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::serve(Arc::new(|_, _| None), Some(Arc::new(config)))
    }

    fn serve(misbehave: Arc<Misbehave>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let (misbehave, state, tls) = (Arc::clone(&misbehave), Arc::clone(&shared), tls.clone());
                thread::spawn(move || match tls {
                    None => {
                        let reader = BufReader::new(stream.try_clone().unwrap());
                        converse(reader, stream, misbehave.as_ref(), &state);
                    }
                    Some(config) => converse_tls(stream, config, misbehave.as_ref(), &state),
                });
            }
        });
        Self { address, state, scheme }
    }

    /// The address in the form of a setting.
    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    /// The requests so far, as `METHOD target`.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect()
    }
}

/// Serves one request over TLS: enough for a test of trust.
fn converse_tls(stream: TcpStream, config: Arc<rustls::ServerConfig>, misbehave: &Misbehave, state: &Mutex<State>) {
    let Ok(connection) = rustls::ServerConnection::new(config) else { return };
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
    while let Some(request) = read_request(&mut stream) {
        let reply = decide(&request, misbehave, state);
        if write_reply(stream.get_mut(), &reply).is_none() {
            return;
        }
    }
}

fn converse(mut reader: BufReader<TcpStream>, mut stream: TcpStream, misbehave: &Misbehave, state: &Mutex<State>) {
    while let Some(request) = read_request(&mut reader) {
        let reply = decide(&request, misbehave, state);
        if write_reply(&mut stream, &reply).is_none() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    assert!(!headers.contains_key("transfer-encoding"), "a body without its length: {headers:?}");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body })
}

/// Writes a reply; `None` if the connection is to end.
fn write_reply(stream: &mut impl Write, reply: &Reply) -> Option<()> {
    match reply {
        Reply::Whole(status, media_type, body) => {
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).ok()?;
            stream.write_all(body).ok()?;
            stream.flush().ok()
        }
        Reply::Redirect(location) => {
            let head = format!("HTTP/1.1 307 X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).ok()
        }
        Reply::Events(events) | Reply::Endless(events) => {
            let head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).ok()?;
            for event in events {
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).ok()?;
            }
            stream.flush().ok()?;
            if matches!(reply, Reply::Endless(_)) {
                // The client ends this test.
                loop {
                    thread::park();
                }
            }
            stream.write_all(b"0\r\n\r\n").ok()?;
            stream.flush().ok()
        }
        Reply::Cut => None,
    }
}

fn decide(request: &Request, misbehave: &Misbehave, state: &Mutex<State>) -> Reply {
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    misbehave(request, &mut state).unwrap_or_else(|| behave(request, &mut state))
}

/// Behaves as a real edge.
fn behave(request: &Request, state: &mut State) -> Reply {
    let path = request.target.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.trim_start_matches("/v1/apps/shop/").split('/').collect();
    match (request.method.as_str(), segments.as_slice()) {
        // For every app.
        ("POST", [.., "environments", _, "deploys"]) if request.target.ends_with("?dry_run=true") => {
            begin(request, state)
        }
        ("POST", ["environments", _, "deploys"]) if request.headers["content-type"] == "application/json" => {
            begin(request, state)
        }
        ("PUT", ["blobs", digest]) => {
            let digest: Digest = digest.parse().unwrap();
            if Digest::of(&request.body) != digest {
                return Reply::problem(Code::BlobMismatch);
            }
            state.received.0 += 1;
            state.received.1 += request.body.len() as u64;
            state.blobs.insert(digest, request.body.clone());
            Reply::Whole(204, "text/plain", Vec::new())
        }
        ("POST", ["deploys", "d1", "finish"]) => finish(state),
        ("GET", ["deploys", "d1"]) if !state.begun.is_empty() => Reply::json(200, &deploy_status()),
        ("GET", ["environments", _]) => Reply::json(200, &status(state)),
        _ => Reply::problem(Code::NotFound),
    }
}

fn begin(request: &Request, state: &mut State) -> Reply {
    let begin: BeginDeploy = serde_json::from_slice(&request.body).unwrap();
    let mut missing: Vec<Digest> = begin.manifest.blobs().map(|(digest, _)| digest).collect();
    missing.sort();
    missing.dedup();
    missing.retain(|digest| !state.blobs.contains_key(digest));
    let version = begin.manifest.id();
    let live = state.live.as_ref().map(Manifest::id);
    if request.target.ends_with("?dry_run=true") {
        return Reply::json(200, &DeployPrediction { dry_run: true, version, missing, live, with: None });
    }
    state.begun.push(begin);
    state.received = (0, 0);
    Reply::json(
        201,
        &DeployBegun { deploy: "d1".to_owned(), version, missing, live, batch: None, with: None, image: None },
    )
}

fn finish(state: &mut State) -> Reply {
    let begin = state.begun.last().unwrap();
    let manifest = begin.manifest.clone();
    assert!(manifest.blobs().all(|(digest, _)| state.blobs.contains_key(&digest)), "a blob is missing");
    let previous = state.live.as_ref().map(Manifest::id);
    let switched = previous != Some(manifest.id()) && !begin.options.no_switch;
    let step = |state, detail: &str| Step { name: "switch".to_owned(), state, detail: detail.to_owned(), ms: 3 };
    let report = DeployReport {
        app: "shop".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        version: manifest.id(),
        previous,
        urls: urls(),
        files: FileCounts { total: manifest.files_count() as u64, new: state.received.0 },
        bytes: ByteCounts { total: manifest.total_bytes(), sent: state.received.1 },
        deploy: Some("d1".to_owned()),
        switched,
        steps: vec![step(StepState::Done, "prod: it moves")],
        withdrawn: Vec::new(),
        alias: None,
        locked: None,
        returning: None,
        hostnames: Vec::new(),
        only: None,
        with: None,
        restored_manifest: false,
        may_not_switch: false,
        paused: None,
    };
    if switched {
        state.live = Some(manifest);
    }
    Reply::Events(vec![
        event("step", &step(StepState::Started, "")),
        event("step", &step(StepState::Done, "prod: it moves")),
        ": still here\n\n".to_owned(),
        event("done", &report),
    ])
}

/// The status of a push in progress.
fn deploy_status() -> DeployStatus {
    DeployStatus {
        deploy: "d1".to_owned(),
        app: "shop".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        state: DeployState::Begun,
        version: None,
        steps: Vec::new(),
        report: None,
        problem: None,
    }
}

/// Formats an event of a stream.
pub(crate) fn event(name: &str, data: &impl serde::Serialize) -> String {
    format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).unwrap())
}

/// Addresses without a server.
pub(crate) fn urls() -> Urls {
    Urls { live: "https://shop.localhost".to_owned(), preview: "https://preview.localhost".to_owned(), alias: None }
}

fn status(state: &State) -> Status {
    let version = state.live.as_ref().map(Manifest::id);
    Status {
        app: "shop".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        version,
        since_ms: version.map(|_| 0),
        deploy: version.map(|_| "d1".to_owned()),
        urls: version.map(|_| urls()),
        hostnames: Vec::new(),
        places: Vec::new(),
        pins: false,
        pinned: Vec::new(),
        protection: None,
        paused: None,
        locked: None,
        damaged: None,
        mistake: None,
        quarantined: None,
        catalog_damaged: false,
        more_places: false,
        lost_secrets: Vec::new(),
        open_ports: Vec::new(),
        kept_reach: None,
        runner_off: false,
        went_back: None,
        canary: None,
        signed: None,
        parts: None,
        nodes: Vec::new(),
    }
}
