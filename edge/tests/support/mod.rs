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
//! [`RunningEdge::data_dir`], [`RunningEdge::leftovers`], [`RunningEdge::live`]. Where it runs: in this
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

mod answer;
pub(crate) mod archives;
pub(crate) mod authenticator;
pub(crate) mod backends;
pub(crate) mod clock;
pub(crate) mod description;
pub(crate) mod podman;
pub(crate) mod process;
mod setup;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use devanture_config::api::{BeginDeploy, DeployBegun, DeployReport, Scope, Status, TokenRequest};
use devanture_config::edge_toml::EdgeFile;
use devanture_config::manifest::FileEntry;
use devanture_config::problem::Problem;
use devanture_config::{Digest, Manifest, VersionId};
use devanture_edge::server::{self, Server};
use http::{Method, StatusCode};
use process::{Launch, Process};
use reqwest::RequestBuilder;

use answer::client;
#[allow(unused_imports, reason = "as above")]
pub(crate) use answer::{Got, got, try_got};
#[allow(unused_imports, reason = "as above")]
pub(crate) use setup::{Prepared, Setup, edge};

/// Longest that a test waits for one answer: longer than the edge itself waits for a backend or another node.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(180);

/// Files of a bundle: path and bytes.
pub(crate) type Files<'f> = &'f [(&'f str, &'f [u8])];

/// An edge that runs until this value is dropped.
pub(crate) struct RunningEdge {
    server: Option<Server>,
    process: Option<Process>,
    addresses: server::Addresses,
    client: reqwest::Client,
    admin_token: String,
    /// In a box, since the futures of tests hold edges by the dozen.
    file: Box<EdgeFile>,
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
        Box::pin(Self::running(Some(server), None, (addresses, None), folder, file)).await
    }

    /// Starts the program in a folder that holds what `file` was read from.
    async fn as_a_process(
        folder: impl Into<Arc<tempfile::TempDir>>,
        file: EdgeFile,
        launch: Launch,
        token: Option<String>,
    ) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = folder.into();
        let (process, addresses) = Process::start(folder.path(), launch);
        Box::pin(Self::running(None, Some(process), (addresses, token), folder, file)).await
    }

    async fn running(
        server: Option<Server>,
        process: Option<Process>,
        (addresses, token): (server::Addresses, Option<String>),
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
        let admin_token = match token {
            Some(token) => token,
            None => server::create_token(&file, folder.path(), request).await.unwrap().token,
        };
        let client = client(&folder.path().join("data/tls/ca.pem"));
        Self { server, process, addresses, client, admin_token, file: Box::new(file), folder }
    }

    /// The process of its own in which it runs.
    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started by `in_a_process`")
    }

    /// Another handle of it: of whichever process has its addresses. Nothing ends when it is dropped.
    pub(crate) fn handle(&self) -> Self {
        Self {
            server: None,
            process: None,
            addresses: self.addresses,
            client: self.client.clone(),
            admin_token: self.admin_token.clone(),
            file: self.file.clone(),
            folder: Arc::clone(&self.folder),
        }
    }

    /// Where the API is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// Where visitors come.
    pub(crate) fn https(&self) -> SocketAddr {
        self.addresses.https
    }

    /// Where visitors come over HTTP/3, if it is served.
    pub(crate) fn http3(&self) -> Option<SocketAddr> {
        self.addresses.http3
    }

    /// Where plain HTTP is, if it was asked for.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.addresses.http
    }

    /// The edge's data.
    /// Its configuration.
    pub(crate) fn file(&self) -> &EdgeFile {
        &self.file
    }

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

    /// A request to the admin listener by another name in `Host`, as through a proxy in front of it.
    pub(crate) fn api_by_name(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(self.ca()).unwrap()).unwrap();
        // HTTP/2 has the name in the address, which is that of the certificate.
        let client = reqwest::Client::builder().tls_certs_only([ca]).http1_only().no_proxy().build().unwrap();
        let url = format!("https://{}{path}", self.addresses.admin);
        client.request(method, url).header("host", host).timeout(ANSWER_TIME_MAX)
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
        let launch = self.process.as_ref().map(Process::launch);
        let (folder, file) = Box::pin(self.stopped()).await;
        match launch {
            Some(launch) => Box::pin(Self::as_a_process(folder, file, launch, None)).await,
            None => Box::pin(Self::over(folder, file)).await,
        }
    }

    /// Kills the process, and gives how it was started.
    pub(crate) fn kill(&mut self) -> Launch {
        self.process.take().expect("it was started by `in_a_process`").launch()
    }

    /// Starts another process in the place of one that was killed, over the same data, with the same token.
    pub(crate) async fn started_again(self, launch: Launch) -> Self {
        let (folder, file, token) = (Arc::clone(&self.folder), (*self.file).clone(), self.admin_token.clone());
        Box::pin(Self::as_a_process(folder, file, launch, Some(token))).await
    }

    /// Kills the process and starts another one over the same data, on other ports, with the same token.
    pub(crate) async fn killed_and_started(mut self) -> Self {
        let process = self.process.take().expect("it was started by `in_a_process`");
        let launch = process.launch();
        drop(process);
        self.started_again(launch).await
    }

    /// Starts another process over the same data, which takes over from this one; returns once this one has ended.
    pub(crate) async fn taken_over(self) -> Self {
        let program = self.process().launch().program;
        self.taken_over_by(program).await
    }

    /// As [`RunningEdge::taken_over`], by a process of another program; of the one that was built with the tests where
    /// it is `None`.
    pub(crate) async fn taken_over_by(mut self, program: Option<PathBuf>) -> Self {
        let before = self.process.take().expect("it was started by `in_a_process`");
        let next = self.started_again(before.launch_of(program)).await;
        tokio::task::spawn_blocking(move || before.ended()).await.unwrap();
        next
    }

    /// Ends the edge and returns its folder and its configuration, for [`RunningEdge::over`].
    pub(crate) async fn stopped(mut self) -> (Arc<tempfile::TempDir>, EdgeFile) {
        self.drain().await;
        (Arc::clone(&self.folder), (*self.file).clone())
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

/// The manifest of files without any settings.
pub(crate) fn manifest(files: Files<'_>) -> Manifest {
    let entry = |bytes: &[u8]| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
    Manifest::of_files(files.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes))).collect())
}

/// Waits until `fact` holds, and fails when it does not for two minutes: on a machine whose processors and disk others
/// use too, what takes a second may take one.
pub(crate) async fn eventually(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !fact().await {
        assert!(Instant::now() < until, "this never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
