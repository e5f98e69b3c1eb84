//! Running edge for tests: started in this process on free ports over a temporary folder, and drained on drop.
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
//! * Configuration: [`Setup::with_limit`], [`Setup::with_toml`], [`Setup::with_app`].
//! * Requests: [`RunningEdge::get`] and [`RunningEdge::visit`] as a visitor; [`RunningEdge::api`] with an admin token,
//!   [`RunningEdge::ask`] with any other token ([`RunningEdge::token`]); [`RunningEdge::push`] and
//!   [`RunningEdge::try_push`] as the command line. Every response is a fully read [`Got`].
//! * State: [`RunningEdge::data_dir`], [`RunningEdge::leftovers`], [`RunningEdge::live`].
//! * Process: this process, or, with [`Setup::in_a_process`], a separate process with measurable memory, see
//!   [`process`].
//! * End: [`RunningEdge::stop`] drains and fails if a connection had to be cut. [`RunningEdge::restart`] starts another
//!   edge over the same data. Drop drains, too.

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
pub(crate) use setup::{ConfiguredEdge, Setup, edge};

/// Longest wait for a response: longer than the edge waits for a backend or another node.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(180);

/// Files of a bundle: path and bytes.
pub(crate) type Files<'f> = &'f [(&'f str, &'f [u8])];

/// Edge that runs until drop.
pub(crate) struct RunningEdge {
    server: Option<Server>,
    process: Option<Process>,
    addresses: server::Addresses,
    client: reqwest::Client,
    admin_token: String,
    /// Boxed, since the futures of tests contain dozens of edges.
    file: Box<EdgeFile>,
    folder: Arc<tempfile::TempDir>,
}

impl RunningEdge {
    /// Starts an edge in this process, over a folder with or without data.
    pub(crate) async fn over(folder: impl Into<Arc<tempfile::TempDir>>, file: EdgeFile) -> Self {
        // Another test of this process may have installed the provider first.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = folder.into();
        let (path, config) = (folder.path().to_owned(), file.clone());
        // The edge creates runtimes, which a runtime thread must not do.
        let started = tokio::task::spawn_blocking(move || Server::start(&config, &path)).await.unwrap();
        let server = started.unwrap_or_else(|error| panic!("the edge does not start: {error}"));
        let addresses = server.addresses();
        Box::pin(Self::running(Some(server), None, (addresses, None), folder, file)).await
    }

    /// Starts the program in the folder from which `file` was read.
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

    /// Separate process of the edge.
    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started by `in_a_process`")
    }

    /// Another handle to the same addresses, whichever process has them. Drop ends no edge.
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

    /// Address of the API.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// Address for visitors over HTTPS.
    pub(crate) fn https(&self) -> SocketAddr {
        self.addresses.https
    }

    /// Address for visitors over HTTP/3, if served.
    pub(crate) fn http3(&self) -> Option<SocketAddr> {
        self.addresses.http3
    }

    /// Address for plain HTTP, if configured.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.addresses.http
    }

    /// Configuration of the edge.
    pub(crate) fn file(&self) -> &EdgeFile {
        &self.file
    }

    /// Data folder of the edge.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// PEM file of the certificate authority that clients of this edge trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.data_dir().join("tls/ca.pem")
    }

    /// Client that trusts the edge's authority, resolves every name to 127.0.0.1 and follows no redirect.
    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    /// Admin token for every app.
    pub(crate) fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Creates a token for every app.
    pub(crate) async fn token(&self, scope: Scope) -> String {
        self.token_for(scope, None, None).await
    }

    /// Creates a token, limited to an app or environment if given.
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

    /// Request to the API with the admin token; `path` begins with `/`.
    pub(crate) fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask(method, path, &self.admin_token)
    }

    /// Request to the API with the given token.
    pub(crate) fn ask(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let url = format!("https://localhost:{}{path}", self.addresses.admin.port());
        self.client.request(method, url).bearer_auth(token).timeout(ANSWER_TIME_MAX)
    }

    /// Request to the admin listener with another name in `Host`, as through a reverse proxy.
    pub(crate) fn api_by_name(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(self.ca()).unwrap()).unwrap();
        // HTTP/2 takes the authority from the URL, which must match the certificate.
        let client = reqwest::Client::builder().tls_certs_only([ca]).http1_only().no_proxy().build().unwrap();
        let url = format!("https://{}{path}", self.addresses.admin);
        client.request(method, url).header("host", host).timeout(ANSWER_TIME_MAX)
    }

    /// Request of a visitor, such as `visit(Method::GET, "shop.localhost", "/")`.
    pub(crate) fn visit(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        let url = format!("https://{host}:{}{path}", self.addresses.https.port());
        self.client.request(method, url).timeout(ANSWER_TIME_MAX)
    }

    /// Response for a visitor.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Got {
        got(self.visit(Method::GET, host, path)).await
    }

    /// Pushes files to `prod`, as the command line does.
    pub(crate) async fn push(&self, app: &str, files: Files<'_>) -> DeployReport {
        let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
        self.try_push(app, "prod", begin, files).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
    }

    /// Pushes to any environment with any options; `files` provides the blobs.
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

    /// Live version of `prod`, if any.
    pub(crate) async fn live(&self, app: &str) -> Option<VersionId> {
        let got = got(self.api(Method::GET, &format!("/v1/apps/{app}/environments/prod"))).await;
        if got.status == StatusCode::NOT_FOUND { None } else { got.json::<Status>().version }
    }

    /// Temporary files in the edge's data folder.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data_dir().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Ends the edge like SIGTERM; fails if a connection had to be cut.
    pub(crate) async fn stop(mut self) {
        self.drain().await;
    }

    /// Ends the edge and starts another edge over the same data on other ports, in a separate process if the first edge
    /// ran in a separate process.
    pub(crate) async fn restart(self) -> Self {
        let launch = self.process.as_ref().map(Process::launch);
        let (folder, file) = Box::pin(self.stopped()).await;
        match launch {
            Some(launch) => Box::pin(Self::as_a_process(folder, file, launch, None)).await,
            None => Box::pin(Self::over(folder, file)).await,
        }
    }

    /// Kills the process and returns the launch options.
    pub(crate) fn kill(&mut self) -> Launch {
        self.process.take().expect("it was started by `in_a_process`").launch()
    }

    /// Starts another process in place of a killed process, over the same data, with the same token.
    pub(crate) async fn started_again(self, launch: Launch) -> Self {
        let (folder, file, token) = (Arc::clone(&self.folder), (*self.file).clone(), self.admin_token.clone());
        Box::pin(Self::as_a_process(folder, file, launch, Some(token))).await
    }

    /// Kills the process and starts another process over the same data, on other ports, with the same token.
    pub(crate) async fn killed_and_started(mut self) -> Self {
        let process = self.process.take().expect("it was started by `in_a_process`");
        let launch = process.launch();
        drop(process);
        self.started_again(launch).await
    }

    /// Starts another process over the same data, which takes over from this process; returns once this process ended.
    pub(crate) async fn taken_over(self) -> Self {
        let program = self.process().launch().program;
        self.taken_over_by(program).await
    }

    /// Like [`RunningEdge::taken_over`], by a process of another program; by the program built with the tests if
    /// `None`.
    pub(crate) async fn taken_over_by(mut self, program: Option<PathBuf>) -> Self {
        let before = self.process.take().expect("it was started by `in_a_process`");
        let next = self.started_again(before.launch_of(program)).await;
        tokio::task::spawn_blocking(move || before.ended()).await.unwrap();
        next
    }

    /// Ends the edge and returns the folder and the configuration for [`RunningEdge::over`].
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
            // Runtimes cannot be dropped on a runtime thread. The result of the drain is ignored.
            drop(std::thread::spawn(move || server.drain()).join());
        }
        if Arc::strong_count(&self.folder) == 1 {
            backends::forget_claims(self.folder.path());
        }
    }
}

/// Manifest of files without settings.
pub(crate) fn manifest(files: Files<'_>) -> Manifest {
    let entry = |bytes: &[u8]| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
    Manifest::of_files(files.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes))).collect())
}

/// Waits until `fact` holds; fails after two minutes, since an act of a second may take a minute on a shared machine.
pub(crate) async fn eventually(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !fact().await {
        assert!(Instant::now() < until, "this never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
