//! Backends run by the edge: pushed with any token, they evaluate the scripts of a test.

#![allow(clippy::disallowed_methods, reason = "what a test removes is not durable")]

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use devanture_config::api::{BeginDeploy, DeployBegun, DeployOptions, DeployPrediction, DeployReport};
use devanture_config::manifest::{ServerFile, ServerFolder};
use devanture_config::problem::Problem;
use devanture_config::site_toml::Pin;
use devanture_config::{Digest, Manifest};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{RunningEdge, Setup, got, manifest};

/// Evaluates each request body and answers with the result as JSON, or with the code of the error.
const EVALUATES: &str = r"
const fs = require('fs'), path = require('path'), child = require('child_process');
const tried = (work) => { try { return work(); } catch (error) { return error.code || String(error); } };
const server = require('http').createServer((request, answer) => {
  if (request.url === '/healthz') return answer.end();
  let text = '';
  request.on('data', (piece) => text += piece);
  request.on('end', async () => {
    try { answer.end(JSON.stringify(await eval(text)) ?? 'null'); }
    catch (error) { answer.end(JSON.stringify(error.code || String(error))); }
  });
});
server.listen(process.env.SOCKET || +process.env.PORT, ...(process.env.SOCKET ? [] : ['127.0.0.1']));
";

/// Bundle with a backend.
pub(crate) struct Backend {
    page: String,
    server: Value,
    files: Vec<(String, String, bool)>,
    pin: Option<Pin>,
}

impl Backend {
    /// Backend with a page; requests below `/api/` are evaluated, see [`RunningEdge::evaluate`].
    pub(crate) fn new(page: &str) -> Self {
        let server = json!({
            "command": ["node", "server.js"], "health": "/healthz", "routes": ["/api/*"], "persist": "data",
            "instances": 1, "warm_ms": 0, "stop_ms": 1_000
        });
        let files = vec![("server.js".to_owned(), EVALUATES.to_owned(), false)];
        Self { page: page.to_owned(), server, files, pin: None }
    }

    /// Sets a key of `[server]`.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.server[key] = value.into();
        self
    }

    /// Keeps visitors on the version of their first page.
    pub(crate) fn pinning(mut self) -> Self {
        self.pin = Some(Pin::Session);
        self
    }

    /// Adds a file to the folder of the backend; `run` makes the file executable.
    pub(crate) fn with_file(mut self, path: &str, text: &str, run: bool) -> Self {
        self.files.push((path.to_owned(), text.to_owned(), run));
        self
    }

    fn manifest(&self) -> Manifest {
        let mut manifest = manifest(&[("index.html", self.page.as_bytes())]);
        let mut folder = ServerFolder::default();
        for (path, text, run) in &self.files {
            let file = ServerFile { hash: Digest::of(text.as_bytes()), run: *run, size: text.len() as u64 };
            folder.files.insert(path.parse().unwrap(), file);
        }
        manifest.server = Some(folder);
        manifest.base.pin = self.pin;
        manifest.base.server = Some(serde_json::from_value(self.server.clone()).unwrap());
        manifest
    }

    fn bytes(&self, digest: &Digest) -> Bytes {
        let texts = self.files.iter().map(|(_, text, _)| text).chain([&self.page]);
        let found = texts.into_iter().find(|text| Digest::of(text.as_bytes()) == *digest);
        Bytes::copy_from_slice(found.expect("the edge misses what the manifest does not name").as_bytes())
    }
}

impl Setup {
    /// Runs backends. Requires a separate process, since only the program can start instances.
    pub(crate) fn with_runner(self) -> Self {
        // Instances of root have a private temporary folder: files in the system's folder are hidden and would not test
        // permissions.
        let parent = if rustix::process::geteuid().is_root() { "/srv" } else { "/tmp" };
        self.in_a_process().below(parent).with_toml("[runner]\nenabled = true")
    }
}

impl RunningEdge {
    /// Pushes a backend to an environment with a token, as the command line does.
    pub(crate) async fn push_backend(
        &self,
        token: &str,
        (app, environment): (&str, &str),
        backend: &Backend,
    ) -> Result<DeployReport, Box<Problem>> {
        let begin =
            BeginDeploy { manifest: backend.manifest(), source: Default::default(), options: Default::default() };
        self.push_backend_as(token, (app, environment), backend, begin).await
    }

    /// Like [`Self::push_backend`], but stores the version only; the preview is the only host that serves the version.
    pub(crate) async fn push_preview(
        &self,
        token: &str,
        (app, environment): (&str, &str),
        backend: &Backend,
    ) -> Result<DeployReport, Box<Problem>> {
        let mut begin =
            BeginDeploy { manifest: backend.manifest(), source: Default::default(), options: Default::default() };
        begin.options.no_switch = true;
        self.push_backend_as(token, (app, environment), backend, begin).await
    }

    /// Predicts the push of a backend without starting a push.
    pub(crate) async fn predict_backend(
        &self,
        token: &str,
        (app, environment): (&str, &str),
        backend: &Backend,
        options: DeployOptions,
    ) -> Result<DeployPrediction, Box<Problem>> {
        let begin = BeginDeploy { manifest: backend.manifest(), source: Default::default(), options };
        let path = format!("/v1/apps/{app}/environments/{environment}/deploys?dry_run=true");
        got(self.ask(Method::POST, &path, token).json(&begin)).await.into_result()
    }

    async fn push_backend_as(
        &self,
        token: &str,
        place: (&str, &str),
        backend: &Backend,
        begin: BeginDeploy,
    ) -> Result<DeployReport, Box<Problem>> {
        let begun = self.upload_backend(token, place, backend, begin).await?;
        got(self.ask(Method::POST, &format!("/v1/apps/{}/deploys/{}/finish", place.0, begun.deploy), token))
            .await
            .into_result()
    }

    /// Starts a push of one half of a bundle with a backend, and uploads the missing blobs.
    pub(crate) async fn upload_half(
        &self,
        place: (&str, &str),
        backend: &Backend,
        options: DeployOptions,
    ) -> Result<DeployBegun, Box<Problem>> {
        let begin = BeginDeploy { manifest: backend.manifest(), source: Default::default(), options };
        self.upload_backend(self.admin_token(), place, backend, begin).await
    }

    async fn upload_backend(
        &self,
        token: &str,
        (app, environment): (&str, &str),
        backend: &Backend,
        begin: BeginDeploy,
    ) -> Result<DeployBegun, Box<Problem>> {
        let path = format!("/v1/apps/{app}/environments/{environment}/deploys");
        let begun: DeployBegun = got(self.ask(Method::POST, &path, token).json(&begin)).await.into_result()?;
        for digest in &begun.missing {
            let path = format!("/v1/apps/{app}/blobs/{digest}?deploy={}", begun.deploy);
            let got = got(self.ask(Method::PUT, &path, token).body(backend.bytes(digest))).await;
            if got.status != StatusCode::NO_CONTENT {
                return Err(Box::new(got.problem()));
            }
        }
        Ok(begun)
    }

    /// Evaluates JavaScript in the backend of a hostname and returns the value of the last expression.
    pub(crate) async fn evaluate(&self, host: &str, script: &str) -> Value {
        let got = got(self.visit(Method::POST, host, "/api/evaluate").body(script.to_owned())).await;
        assert_eq!(got.status, StatusCode::OK, "{}\n{script}", got.text());
        serde_json::from_slice(&got.body).unwrap()
    }
}

/// Running processes of a user.
pub(crate) fn processes_of(user: &Value) -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_theirs = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let value =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next());
        value("Uid:").is_some_and(|uid| *user == json!(uid.parse::<u32>().unwrap())) && value("State:") != Some("Z")
    };
    pids.filter(is_theirs).collect()
}

/// Deletes the user id claims of edges whose folders lay below the removed `folder`, so that later tests can use the
/// ids.
pub(super) fn forget_claims(folder: &Path) {
    for claims in ["/var/lib/devanture-uids", "/run/devanture-uids"] {
        for entry in std::fs::read_dir(claims).into_iter().flatten().flatten() {
            let path = entry.path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let claim: Value = serde_json::from_str(&text).unwrap_or_default();
            if claim["folder"].as_str().is_some_and(|claimed| Path::new(claimed).starts_with(folder)) {
                std::fs::remove_file(path.with_extension("lock")).ok();
                std::fs::remove_file(path).ok();
            }
        }
    }
}

/// Returns true for root, which tests with several users need; otherwise prints a note.
#[allow(clippy::print_stderr, reason = "a person who runs the tests has to see what was left out")]
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can start processes as other users");
    }
    is_root
}
