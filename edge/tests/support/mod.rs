//! A running edge for tests: started in this process on ports of its own, over a folder of its own, gone with its
//! value.
//!
//! ```ignore
//! mod support;
//! use support::edge;
//!
//! #[tokio::test]
//! async fn a_pushed_page_is_served() {
//!     let edge = edge().with_limit("bundle_files_max", 3).start().await;
//!     edge.push("shop", &[("index.html", b"hi")]).await;
//!     assert_eq!(edge.get("shop.localhost", "/").await.text(), "hi");
//!     edge.stop().await;
//! }
//! ```
//!
//! What a test says of the edge: [`Setup::with_limit`], [`Setup::with_toml`], [`Setup::with_app`].
//! What it asks it: [`RunningEdge::get`] and [`RunningEdge::visit`] as a visitor; [`RunningEdge::api`] with the token
//! of an admin, [`RunningEdge::ask`] with that of somebody else ([`RunningEdge::token`]); [`RunningEdge::push`],
//! [`RunningEdge::try_push`] as the command line does it. Every answer is a [`Got`], read to its end. What it looks at:
//! [`RunningEdge::data_dir`], [`RunningEdge::leftovers`], [`RunningEdge::live`]. What speaks HTTP in it:
//! [`Setup::with_engine`], or the engine of the test, where [`on_each_engine`] makes two of one. Where it runs: in this
//! process, or, after [`Setup::in_a_process`], in one of its own whose memory can be looked at, see [`process`]. How it
//! ends: [`RunningEdge::stop`] drains and fails where a connection had to be cut, [`RunningEdge::restart`] starts
//! another edge over the same data; dropped without either, it is drained too.

#![allow(dead_code, reason = "every file of tests uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on should stop where it is"
)]

pub(crate) mod archives;
pub(crate) mod backends;
pub(crate) mod description;
pub(crate) mod process;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::{BeginDeploy, DeployBegun, DeployReport, Scope, Status, TokenRequest};
use devanture_config::edge_toml::EdgeFile;
pub(crate) use devanture_config::edge_toml::Engine;
use devanture_config::manifest::FileEntry;
use devanture_config::problem::{Code, Problem};
use devanture_config::{Digest, Manifest, VersionId};
use devanture_edge::server::{self, Server};
use http::{HeaderMap, Method, StatusCode};
use process::Process;
use reqwest::RequestBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::de::DeserializeOwned;

/// Longest that a test waits for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Files of a bundle: path and bytes.
pub(crate) type Files<'f> = &'f [(&'f str, &'f [u8])];

tokio::task_local! {
    /// What speaks HTTP in the edges of a test, where [`on_each_engine`] made it.
    pub(crate) static ENGINE: Engine;
}

/// Makes two tests of each function, one for each engine: an edge that the function starts serves by that one.
#[allow(unused_macros, reason = "as above")]
macro_rules! on_each_engine {
    ($($test:ident)+) => {
        on_each_engine! { @one devanture Devanture $($test)+ }
        on_each_engine! { @one hyper Hyper $($test)+ }
    };
    (@one $name:ident $engine:ident $($test:ident)+) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let engine = crate::support::Engine::$engine;
                    crate::support::ENGINE.scope(engine, Box::pin(super::$test())).await;
                }
            )+
        }
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use on_each_engine;

/// Begins to describe an edge; [`Setup::start`] starts it.
pub(crate) fn edge() -> Setup {
    Setup {
        engine: ENGINE.try_with(|engine| *engine).unwrap_or_default(),
        drain_timeout_ms: 10_000,
        in_a_process: false,
        user: None,
        descriptors_max: None,
        parent: std::env::temp_dir(),
        limits: BTreeMap::new(),
        toml: String::new(),
        apps: Vec::new(),
        plain_http: false,
        listen: String::new(),
        domain: "localhost".to_owned(),
        preview_domain: None,
        tls: "mode = \"self-signed\"\n".to_owned(),
        log: "[log]\naccess = \"off\"\n".to_owned(),
    }
}

/// An app that is pushed at the start: its name and its files.
type App = (String, Vec<(String, Vec<u8>)>);

/// An edge that is not running yet.
pub(crate) struct Setup {
    engine: Engine,
    drain_timeout_ms: u64,
    in_a_process: bool,
    user: Option<u32>,
    descriptors_max: Option<u64>,
    parent: PathBuf,
    limits: BTreeMap<String, u64>,
    toml: String,
    apps: Vec<App>,
    plain_http: bool,
    listen: String,
    domain: String,
    preview_domain: Option<String>,
    tls: String,
    log: String,
}

impl Setup {
    /// Serves by this engine, whichever the test is for.
    pub(crate) fn with_engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Sets how long a drain may take.
    pub(crate) fn with_drain_timeout_ms(mut self, milliseconds: u64) -> Self {
        self.drain_timeout_ms = milliseconds;
        self
    }

    /// Runs the program in a process of its own, which [`RunningEdge::process`] shows.
    ///
    /// Metrics are those of a process: a test that reads exact counts needs one that no other test counts in.
    pub(crate) fn in_a_process(mut self) -> Self {
        self.in_a_process = true;
        self
    }

    /// Runs the program in a process of another user, which takes root.
    pub(crate) fn run_by_user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self.in_a_process()
    }

    /// Runs the program in a process that may have so many file descriptors.
    pub(crate) fn with_descriptors_max(mut self, count: u64) -> Self {
        self.descriptors_max = Some(count);
        self.in_a_process()
    }

    /// Keeps its folder here.
    pub(crate) fn below(mut self, parent: &str) -> Self {
        self.parent = parent.into();
        self
    }

    /// Sets a key of `[limits]`.
    pub(crate) fn with_limit(mut self, name: &str, value: u64) -> Self {
        self.limits.insert(name.to_owned(), value);
        self
    }

    /// Adds lines to `edge.toml`, whole tables such as `[upstreams]`; `[listen]`, `[tls]`, `[log]` and `[limits]` are
    /// there already.
    pub(crate) fn with_toml(mut self, lines: &str) -> Self {
        self.toml.push_str(lines);
        self.toml.push('\n');
        self
    }

    /// Listens for plain HTTP too, see [`RunningEdge::http`].
    pub(crate) fn with_plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Adds keys to `[listen]`.
    pub(crate) fn with_listen(mut self, lines: &str) -> Self {
        self.listen.push_str(lines);
        self.listen.push('\n');
        self
    }

    /// Has apps and previews answer below `domain`, in place of `localhost`.
    pub(crate) fn with_domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// Has previews answer below another domain than apps.
    pub(crate) fn with_preview_domain(mut self, domain: &str) -> Self {
        self.preview_domain = Some(domain.to_owned());
        self
    }

    /// Says all of `[tls]`, in place of `mode = "self-signed"`.
    pub(crate) fn with_tls(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.tls);
        self
    }

    /// Says all of the access log, in place of `[log]` with `access = "off"`.
    pub(crate) fn with_log(mut self, table: &str) -> Self {
        self.log = format!("{table}\n");
        self
    }

    /// Pushes an app to `prod` as soon as the edge runs.
    pub(crate) fn with_app(mut self, app: &str, files: Files<'_>) -> Self {
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        self.apps.push((app.to_owned(), files));
        self
    }

    /// Starts the edge; when this returns, it serves.
    pub(crate) async fn start(self) -> RunningEdge {
        let folder = tempfile::tempdir_in(&self.parent).unwrap();
        // The users of environments pass it on their way to the folders of backends.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let plain_http = if self.plain_http { "http = \"127.0.0.1:0\"\n" } else { "" };
        let preview_domain = self.preview_domain.as_ref().unwrap_or(&self.domain);
        let (domain, listen, tls, log) = (&self.domain, &self.listen, &self.tls, &self.log);
        let engine = match self.engine {
            Engine::Devanture => "devanture",
            Engine::Hyper => "hyper",
        };
        let mut text = format!(
            "data_dir = \"data\"\ndomain = {domain:?}\npreview_domain = {preview_domain:?}\n\
            drain_timeout_ms = {}\n\
            [listen]\nengine = {engine:?}\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\n{plain_http}{listen}\
            [tls]\n{tls}{log}[limits]\n",
            self.drain_timeout_ms
        );
        for (name, value) in &self.limits {
            writeln!(text, "{name} = {value}").unwrap();
        }
        text.push_str(&self.toml);
        let file = EdgeFile::parse("edge.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
        let edge = if self.in_a_process {
            Process::configure(folder.path(), &text);
            Box::pin(RunningEdge::as_a_process(folder, file, self.user, self.descriptors_max)).await
        } else {
            Box::pin(RunningEdge::over(folder, file)).await
        };
        for (app, files) in &self.apps {
            let files: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
            edge.push(app, &files).await;
        }
        edge
    }
}

/// An edge that runs until this value is dropped.
pub(crate) struct RunningEdge {
    server: Option<Server>,
    process: Option<Process>,
    addresses: server::Addresses,
    client: reqwest::Client,
    admin_token: String,
    file: EdgeFile,
    folder: Arc<tempfile::TempDir>,
}

impl RunningEdge {
    /// Starts an edge in this process, over a folder that may hold data.
    pub(crate) async fn over(folder: impl Into<Arc<tempfile::TempDir>>, file: EdgeFile) -> Self {
        // Another test of this process may have been first.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = folder.into();
        let (path, config) = (folder.path().to_owned(), file.clone());
        // The edge has runtimes of its own, which cannot be made on a thread of this one.
        let started = tokio::task::spawn_blocking(move || Server::start(&config, &path)).await.unwrap();
        let server = started.unwrap_or_else(|error| panic!("the edge does not start: {error}"));
        let addresses = server.addresses();
        Self::running(Some(server), None, addresses, folder, file).await
    }

    /// Starts the program in a folder that holds what `file` was read from.
    async fn as_a_process(
        folder: impl Into<Arc<tempfile::TempDir>>,
        file: EdgeFile,
        user: Option<u32>,
        descriptors_max: Option<u64>,
    ) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = folder.into();
        let (process, addresses) = Process::start(folder.path(), user, descriptors_max);
        Self::running(None, Some(process), addresses, folder, file).await
    }

    async fn running(
        server: Option<Server>,
        process: Option<Process>,
        addresses: server::Addresses,
        folder: Arc<tempfile::TempDir>,
        file: EdgeFile,
    ) -> Self {
        let request = TokenRequest {
            name: "test".to_owned(),
            app: None,
            environment: None,
            scope: Scope::Admin,
            expires_in_s: None,
        };
        let admin_token = server::create_token(&file, folder.path(), request).await.unwrap().token;
        let client = client(&folder.path().join("data/tls/ca.pem"));
        Self { server, process, addresses, client, admin_token, file, folder }
    }

    /// The process of its own in which it runs.
    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started by `in_a_process`")
    }

    /// Where the API is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// Where visitors come.
    pub(crate) fn https(&self) -> SocketAddr {
        self.addresses.https
    }

    /// Where plain HTTP is, if it was asked for.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.addresses.http
    }

    /// The edge's data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The authority that clients of this edge trust, as a PEM file.
    pub(crate) fn ca(&self) -> PathBuf {
        self.data_dir().join("tls/ca.pem")
    }

    /// Trusts the edge's authority, finds every name at 127.0.0.1 and follows no redirect.
    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    /// The token of an admin for every app.
    pub(crate) fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Makes a token for every app.
    pub(crate) async fn token(&self, scope: Scope) -> String {
        self.token_for(scope, None, None).await
    }

    /// Makes a token, for one app or environment alone where these are said.
    pub(crate) async fn token_for(&self, scope: Scope, app: Option<&str>, environment: Option<&str>) -> String {
        let request = TokenRequest {
            name: scope.to_string(),
            app: app.map(|app| app.parse().unwrap()),
            environment: environment.map(|environment| environment.parse().unwrap()),
            scope,
            expires_in_s: None,
        };
        server::create_token(&self.file, self.folder.path(), request).await.unwrap().token
    }

    /// A request to the API with the token of an admin; `path` begins with `/`.
    pub(crate) fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask(method, path, &self.admin_token)
    }

    /// A request to the API with the token given.
    pub(crate) fn ask(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let url = format!("https://localhost:{}{path}", self.addresses.admin.port());
        self.client.request(method, url).bearer_auth(token).timeout(ANSWER_TIME_MAX)
    }

    /// A request of a visitor, such as `visit(Method::GET, "shop.localhost", "/")`.
    pub(crate) fn visit(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        let url = format!("https://{host}:{}{path}", self.addresses.https.port());
        self.client.request(method, url).timeout(ANSWER_TIME_MAX)
    }

    /// What a visitor gets.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Got {
        got(self.visit(Method::GET, host, path)).await
    }

    /// Pushes files to `prod`, as the command line does it.
    pub(crate) async fn push(&self, app: &str, files: Files<'_>) -> DeployReport {
        let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
        self.try_push(app, "prod", begin, files).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
    }

    /// Pushes to any environment with any options; `files` is where the blobs come from.
    pub(crate) async fn try_push(
        &self,
        app: &str,
        environment: &str,
        begin: BeginDeploy,
        files: Files<'_>,
    ) -> Result<DeployReport, Box<Problem>> {
        let path = format!("/v1/apps/{app}/environments/{environment}/deploys");
        let begun: DeployBegun = got(self.api(Method::POST, &path).json(&begin)).await.into_result()?;
        for digest in &begun.missing {
            let bytes = files.iter().map(|(_, bytes)| *bytes).find(|bytes| Digest::of(bytes) == *digest);
            let bytes = Bytes::copy_from_slice(bytes.expect("the edge misses what the manifest does not name"));
            let path = format!("/v1/apps/{app}/blobs/{digest}?deploy={}", begun.deploy);
            let got = got(self.api(Method::PUT, &path).body(bytes)).await;
            if got.status != StatusCode::NO_CONTENT {
                return Err(Box::new(got.problem()));
            }
        }
        let path = format!("/v1/apps/{app}/deploys/{}/finish", begun.deploy);
        got(self.api(Method::POST, &path)).await.into_result()
    }

    /// The version that is live in `prod`, if one is.
    pub(crate) async fn live(&self, app: &str) -> Option<VersionId> {
        let got = got(self.api(Method::GET, &format!("/v1/apps/{app}/environments/prod"))).await;
        if got.status == StatusCode::NOT_FOUND { None } else { got.json::<Status>().version }
    }

    /// Temporary files that lie in the edge's data folder.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data_dir().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Ends the edge as SIGTERM does; no connection may have to be cut.
    pub(crate) async fn stop(mut self) {
        self.drain().await;
    }

    /// Ends the edge and starts another one over the same data, on other ports; in a process of its own, where it was
    /// in one.
    pub(crate) async fn restart(self) -> Self {
        let user = self.process.as_ref().map(Process::user);
        let (folder, file) = Box::pin(self.stopped()).await;
        match user {
            Some(user) => Box::pin(Self::as_a_process(folder, file, user, None)).await,
            None => Box::pin(Self::over(folder, file)).await,
        }
    }

    /// Ends the edge and returns its folder and its configuration, for [`RunningEdge::over`].
    pub(crate) async fn stopped(mut self) -> (Arc<tempfile::TempDir>, EdgeFile) {
        self.drain().await;
        (Arc::clone(&self.folder), self.file.clone())
    }

    async fn drain(&mut self) {
        if let Some(process) = self.process.take() {
            return tokio::task::spawn_blocking(move || process.terminate()).await.unwrap();
        }
        let server = self.server.take().expect("it runs");
        let cut = tokio::task::spawn_blocking(move || server.drain()).await.unwrap();
        assert_eq!(cut, 0, "connections had to be cut");
    }
}

impl Drop for RunningEdge {
    fn drop(&mut self) {
        drop(self.process.take());
        if let Some(server) = self.server.take() {
            // Its runtimes cannot end on a thread of this one. What became of it is nobody's question any more.
            drop(std::thread::spawn(move || server.drain()).join());
        }
        if Arc::strong_count(&self.folder) == 1 {
            backends::forget_claims(self.folder.path());
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Sends a request and reads its answer to the end.
pub(crate) async fn got(request: RequestBuilder) -> Got {
    try_got(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

/// Sends a request and reads its answer to the end, if one comes.
pub(crate) async fn try_got(request: RequestBuilder) -> reqwest::Result<Got> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Got { status, headers, body: response.bytes().await? })
}

impl Got {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON; fails where the answer is no success.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The problem that the answer is; fails where it is none, or where status and code do not go together.
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}: {}", self.status, self.text());
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!((problem.status, problem.code.status()), (self.status.as_u16(), self.status.as_u16()));
        problem
    }

    /// The code of the problem that the answer is.
    pub(crate) fn code(&self) -> Code {
        self.problem().code
    }

    /// What a success holds, or the problem.
    pub(crate) fn into_result<T: DeserializeOwned>(self) -> Result<T, Box<Problem>> {
        if self.status.is_success() { Ok(self.json()) } else { Err(Box::new(self.problem())) }
    }
}

/// The manifest of files without any settings.
pub(crate) fn manifest(files: Files<'_>) -> Manifest {
    let entry = |bytes: &[u8]| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
    Manifest::of_files(files.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes))).collect())
}

/// Waits until `fact` holds, and fails when it does not for long.
pub(crate) async fn eventually(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if fact().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("this never came true: {what}");
}

struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        Box::pin(async { Ok(addresses) })
    }
}

fn client(ca: &Path) -> reqwest::Client {
    let pem = std::fs::read(ca).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
        .dns_resolver(Arc::new(Loopback))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}
