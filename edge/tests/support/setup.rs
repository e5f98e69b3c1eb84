//! Configuration of an edge before the start.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::edge_toml::EdgeFile;
use devanture_edge::server;

use super::process::{Launch, Process};
use super::{Files, RunningEdge};

/// Starts the description of an edge; [`Setup::start`] starts the edge.
pub(crate) fn edge() -> Setup {
    Setup {
        drain_timeout_ms: 10_000,
        in_a_process: false,
        launch: Launch::default(),
        ca: None,
        parent: std::env::temp_dir(),
        limits: BTreeMap::new(),
        top: String::new(),
        toml: String::new(),
        apps: Vec::new(),
        plain_http: false,
        threads: 1,
        listen: String::new(),
        domain: "localhost".to_owned(),
        preview_domain: None,
        tls: "mode = \"self-signed\"\n".to_owned(),
        log: "[log]\naccess = \"off\"\n".to_owned(),
    }
}

/// App pushed at the start: name and files.
type App = (String, Vec<(String, Vec<u8>)>);

/// Edge that does not run yet.
pub(crate) struct Setup {
    drain_timeout_ms: u64,
    in_a_process: bool,
    launch: Launch,
    ca: Option<PathBuf>,
    parent: PathBuf,
    limits: BTreeMap<String, u64>,
    top: String,
    toml: String,
    apps: Vec<App>,
    plain_http: bool,
    threads: usize,
    listen: String,
    domain: String,
    preview_domain: Option<String>,
    tls: String,
    log: String,
}

/// Configured edge that does not run.
#[derive(Clone)]
pub(crate) struct ConfiguredEdge {
    folder: Arc<tempfile::TempDir>,
    pub(crate) file: EdgeFile,
    launch: Launch,
}

impl ConfiguredEdge {
    /// Folder of the `edge.toml`.
    pub(crate) fn base(&self) -> &Path {
        self.folder.path()
    }

    /// Path of the `edge.toml`.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("edge.toml")
    }

    /// Starts the edge; `token` is an admin token already in the catalog.
    pub(crate) async fn start(&self, token: &str) -> RunningEdge {
        let (folder, file) = (Arc::clone(&self.folder), self.file.clone());
        Box::pin(RunningEdge::as_a_process(folder, file, self.launch.clone(), Some(token.to_owned()))).await
    }
}

impl Setup {
    /// Sets the drain timeout.
    pub(crate) fn with_drain_timeout_ms(mut self, milliseconds: u64) -> Self {
        self.drain_timeout_ms = milliseconds;
        self
    }

    /// Runs the program in a separate process, available as [`RunningEdge::process`].
    ///
    /// Metrics are per process: a test that reads exact counts needs a separate process.
    pub(crate) fn in_a_process(mut self) -> Self {
        self.in_a_process = true;
        self
    }

    /// Runs the program in a process of another user, which requires root.
    pub(crate) fn run_by_user(mut self, user: u32) -> Self {
        self.launch.user = Some(user);
        self.in_a_process()
    }

    /// Limits the file descriptors of the process.
    pub(crate) fn with_descriptors_max(mut self, count: u64) -> Self {
        self.launch.descriptors_max = Some(count);
        self.in_a_process()
    }

    /// Sets an environment variable of the process.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.launch.variables.push((name.to_owned(), value.to_owned()));
        self.in_a_process()
    }

    /// Runs another program than the program built with the tests.
    pub(crate) fn with_program(mut self, program: &Path) -> Self {
        self.launch.program = Some(program.to_owned());
        self.in_a_process()
    }

    /// Joins the cluster with the CA in the given folder before the start.
    pub(crate) fn joining(mut self, ca: &Path) -> Self {
        self.ca = Some(ca.to_owned());
        self
    }

    /// Adds lines to the top of `edge.toml`, before the tables.
    pub(crate) fn with_top(mut self, lines: &str) -> Self {
        self.top.push_str(lines);
        self.top.push('\n');
        self
    }

    /// Places the folder below `parent`.
    pub(crate) fn below(mut self, parent: &str) -> Self {
        self.parent = parent.into();
        self
    }

    /// Sets a key of `[limits]`.
    pub(crate) fn with_limit(mut self, name: &str, value: u64) -> Self {
        self.limits.insert(name.to_owned(), value);
        self
    }

    /// Adds whole tables to `edge.toml`, such as `[upstreams]`; `[listen]`, `[tls]`, `[log]` and `[limits]` already
    /// exist.
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

    /// Sets the number of threads that serve visitors.
    pub(crate) fn with_threads(mut self, count: usize) -> Self {
        self.threads = count;
        self
    }

    /// Adds keys to `[listen]`.
    pub(crate) fn with_listen(mut self, lines: &str) -> Self {
        self.listen.push_str(lines);
        self.listen.push('\n');
        self
    }

    /// Serves apps and previews below `domain` in place of `localhost`.
    pub(crate) fn with_domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// Serves previews below another domain than apps.
    pub(crate) fn with_preview_domain(mut self, domain: &str) -> Self {
        self.preview_domain = Some(domain.to_owned());
        self
    }

    /// Replaces the content of `[tls]`, by default `mode = "self-signed"`.
    pub(crate) fn with_tls(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.tls);
        self
    }

    /// Replaces the log tables, by default `[log]` with `access = "off"`.
    pub(crate) fn with_log(mut self, table: &str) -> Self {
        self.log = format!("{table}\n");
        self
    }

    /// Pushes an app to `prod` once the edge runs.
    pub(crate) fn with_app(mut self, app: &str, files: Files<'_>) -> Self {
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        self.apps.push((app.to_owned(), files));
        self
    }

    /// Starts the edge; returns once the edge serves requests.
    pub(crate) async fn start(self) -> RunningEdge {
        let (folder, file, text) = self.write();
        let edge = if self.in_a_process {
            Process::configure(folder.path(), &text);
            Box::pin(RunningEdge::as_a_process(folder, file, self.launch, None)).await
        } else {
            Box::pin(RunningEdge::over(folder, file)).await
        };
        for (app, files) in &self.apps {
            let files: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
            edge.push(app, &files).await;
        }
        edge
    }

    /// Writes the folder and the `edge.toml` of an edge for a separate process, without starting the edge.
    pub(crate) fn prepare(self) -> ConfiguredEdge {
        let (folder, file, text) = self.write();
        Process::configure(folder.path(), &text);
        ConfiguredEdge { folder: folder.into(), file, launch: self.launch }
    }

    /// Folder and configuration of an edge before the start.
    pub(crate) fn written(&self) -> (tempfile::TempDir, EdgeFile) {
        let (folder, file, _) = self.write();
        (folder, file)
    }

    fn write(&self) -> (tempfile::TempDir, EdgeFile, String) {
        let folder = tempfile::tempdir_in(&self.parent).unwrap();
        // The users of environments cross the folder on the path to backends.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let plain_http = if self.plain_http { "http = \"127.0.0.1:0\"\n" } else { "" };
        let preview_domain = self.preview_domain.as_ref().unwrap_or(&self.domain);
        let (domain, listen, tls, log) = (&self.domain, &self.listen, &self.tls, &self.log);
        let mut text = format!(
            "{}data_dir = \"data\"\ndomain = {domain:?}\npreview_domain = {preview_domain:?}\n\
            drain_timeout_ms = {}\n\
            [listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = {}\n{plain_http}{listen}\
            [tls]\n{tls}{log}[limits]\n",
            self.top, self.drain_timeout_ms, self.threads
        );
        for (name, value) in &self.limits {
            writeln!(text, "{name} = {value}").unwrap();
        }
        text.push_str(&self.toml);
        let file = EdgeFile::parse("edge.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
        if let Some(ca) = &self.ca {
            server::cluster_join(&file, folder.path(), ca).unwrap();
        }
        (folder, file, text)
    }
}
