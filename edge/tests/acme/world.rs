//! Edge, ACME authority, and the network between them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use devanture_config::api::BeginDeploy;
use http::Method;

use crate::acme::dns::Dns;
use crate::acme::door::Door;
use crate::acme::pebble::{KEY, KEY_ID, Pebble, PebbleOptions, is_installed, write_certificate};
use crate::acme::tls::{PresentedCertificate, shown};
use crate::support::{Got, RunningEdge, edge, got, manifest};

/// Longest wait for the authority's part: an authority takes time, and so does a certificate until the renewal is due.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `fact` holds, longer than `eventually`.
pub(crate) async fn wait_for(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !fact().await {
        assert!(began.elapsed() < PATIENCE * 2, "this never came true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Authority, with network paths to edges that do not run yet.
pub(crate) struct AcmeNetwork {
    pub(crate) pebble: Pebble,
    /// Path from edges to the authority.
    pub(crate) authority: Door,
    /// Path from the authority to the edges' plain HTTP.
    pub(crate) http: Door,
    /// Path from the authority to the edges' HTTPS.
    pub(crate) https: Door,
    pub(crate) dns: Dns,
    /// Folder of the authority.
    pub(crate) folder: tempfile::TempDir,
}

impl AcmeNetwork {
    pub(crate) async fn start(manner: PebbleOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        let (authority, http, https) = (Door::new().await, Door::new().await, Door::new().await);
        let dns = Dns::start().await;
        let ports = (http.address.port(), https.address.port());
        let pebble = Pebble::start(folder.path(), dns.address, ports.0, ports.1, manner).await;
        authority.open(pebble.address);
        Self { pebble, authority, http, https, dns, folder }
    }
}

/// Starts the description of a world.
pub(crate) fn world() -> Setup {
    Setup {
        manner: PebbleOptions::default(),
        challenges: &["tls-alpn-01", "http-01"],
        limits: Vec::new(),
        tls: String::new(),
    }
}

/// World before the start.
pub(crate) struct Setup {
    manner: PebbleOptions,
    challenges: &'static [&'static str],
    limits: Vec<(&'static str, u64)>,
    tls: String,
}

impl Setup {
    /// Sets the behavior of the authority.
    pub(crate) fn with_authority(mut self, manner: PebbleOptions) -> Self {
        self.manner = manner;
        self
    }

    /// Sets the challenge types.
    pub(crate) fn with_challenges(mut self, challenges: &'static [&'static str]) -> Self {
        self.challenges = challenges;
        self
    }

    /// Sets a limit of the edge.
    pub(crate) fn with_limit(mut self, name: &'static str, value: u64) -> Self {
        self.limits.push((name, value));
        self
    }

    /// Adds lines to `[tls]`.
    pub(crate) fn with_tls(mut self, lines: &str) -> Self {
        self.tls.push_str(lines);
        self
    }

    /// Starts the edge and the authority; `None` if the authority is not installed.
    pub(crate) async fn start(self) -> Option<World> {
        if !is_installed() {
            return None;
        }
        let AcmeNetwork { pebble, authority, http, https, dns, folder } = AcmeNetwork::start(self.manner).await;
        let mut toml = format!(
            "[acme]\ndirectory = \"https://{}/dir\"\nterms_agreed = true\ncontact = [\"mailto:ops@example.org\"]\n\
            ca = \"{}\"\nchallenges = {:?}\n",
            authority.address,
            folder.path().join("roots.pem").display(),
            self.challenges,
        );
        if self.manner.binding {
            let file = folder.path().join("eab.key");
            write(&file, KEY);
            writeln!(toml, "eab_key_id = {KEY_ID:?}\neab_key_file = {:?}", file.display().to_string()).unwrap();
        }
        let mut setup =
            edge().with_domain("apps.test").with_tls(&format!("mode = \"acme\"\n{}", self.tls)).with_plain_http();
        // The next round retries a first failure.
        setup = setup.with_limit("acme_retry_ms_min", 100);
        for (name, value) in self.limits {
            setup = setup.with_limit(name, value);
        }
        let edge = setup.with_toml(&toml).start().await;
        let world = World { edge, pebble, authority, http, https, dns, folder, manner: self.manner };
        world.open();
        Some(world)
    }
}

#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
pub(crate) fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

pub(crate) struct World {
    pub(crate) edge: RunningEdge,
    pub(crate) pebble: Pebble,
    /// Path from the edge to the authority.
    pub(crate) authority: Door,
    /// Path from the authority to the edge's plain HTTP.
    pub(crate) http: Door,
    /// Path from the authority to the edge's HTTPS.
    pub(crate) https: Door,
    dns: Dns,
    folder: tempfile::TempDir,
    manner: PebbleOptions,
}

impl World {
    /// Opens the paths to the edge.
    pub(crate) fn open(&self) {
        self.http.open(self.edge.http().unwrap());
        self.https.open(self.edge.https());
    }

    /// Shuts the paths to the edge.
    pub(crate) fn shut(&self) {
        self.http.shut();
        self.https.shut();
    }

    /// Restarts the edge over the same data.
    pub(crate) async fn restart(mut self) -> Self {
        self.edge = self.edge.restart().await;
        self.open();
        self
    }

    /// Replaces the authority by a new authority without the old state.
    pub(crate) async fn replace_authority(&mut self) {
        let ports = (self.http.address.port(), self.https.address.port());
        self.pebble = Pebble::start(self.folder.path(), self.dns.address, ports.0, ports.1, self.manner).await;
        self.authority.open(self.pebble.address);
    }

    /// Pushes an app to `prod` with custom hostnames.
    pub(crate) async fn push(&self, app: &str, hostnames: &[&str]) {
        let files: &[(&str, &[u8])] = &[("index.html", app.as_bytes())];
        let mut manifest = manifest(files);
        manifest.base.hostnames = Some(hostnames.iter().map(|name| name.parse().unwrap()).collect());
        let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
        self.edge.try_push(app, "prod", begin, files).await.unwrap_or_else(|problem| panic!("{problem:#?}"));
    }

    /// Certificate that a visitor gets.
    pub(crate) async fn shown(&self, name: &str) -> PresentedCertificate {
        shown(self.edge.https(), name).await
    }

    /// Waits for the authority's certificate for a name.
    pub(crate) async fn issued(&self, name: &str) -> PresentedCertificate {
        let mut last = None;
        let issued = async || {
            last = Some(self.shown(name).await);
            last.as_ref().is_some_and(PresentedCertificate::is_issued)
        };
        if tokio::time::timeout(PATIENCE, wait_for("a certificate is issued", issued)).await.is_err() {
            panic!("{name} has no certificate: {last:?}\n{}", self.pebble.log());
        }
        last.unwrap()
    }

    /// Gets the root path as a visitor who trusts the authority alone.
    pub(crate) async fn visit(&self, name: &str) -> reqwest::Result<Got> {
        self.visit_at(name, "/").await
    }

    /// Gets a path as a visitor who trusts the authority alone.
    pub(crate) async fn visit_at(&self, name: &str, path: &str) -> reqwest::Result<Got> {
        let root = reqwest::Certificate::from_pem(&self.pebble.root(self.folder.path()).await).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).resolve(name, self.edge.https()).no_proxy();
        let url = format!("https://{name}:{}{path}", self.edge.https().port());
        crate::support::try_got(client.build().unwrap().get(url)).await
    }

    /// Gets a path from the plain HTTP listener.
    pub(crate) async fn plain(&self, name: &str, path: &str) -> Got {
        let url = format!("http://{name}:{}{path}", self.edge.http().unwrap().port());
        got(self.edge.client().request(Method::GET, url)).await
    }

    /// Metric value, selected by the beginning of the line.
    pub(crate) async fn metric(&self, line: &str) -> Option<f64> {
        let text = got(self.edge.api(Method::GET, "/metrics")).await.text();
        text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }

    /// Files below the edge's ACME folder.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.edge.data_dir().join("tls/acme")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }
}
