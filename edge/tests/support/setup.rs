//! An edge before it starts: what a test sets about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devanture_config::edge_toml::EdgeFile;
use devanture_edge::server;

use super::process::{Launch, Process};
use super::{Files, RunningEdge};

/// Begins to describe an edge; [`Setup::start`] starts it.
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

/// An app that is pushed at the start: its name and its files.
type App = (String, Vec<(String, Vec<u8>)>);

/// An edge that is not running yet.
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

/// An edge that is configured and does not run.
#[derive(Clone)]
pub(crate) struct Prepared {
    folder: Arc<tempfile::TempDir>,
    pub(crate) file: EdgeFile,
    launch: Launch,
}

impl Prepared {
    /// The folder of its `edge.toml`.
    pub(crate) fn base(&self) -> &Path {
        self.folder.path()
    }

    /// Its `edge.toml`.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("edge.toml")
    }

    /// Starts it; `token` is that of an admin that its catalog has already.
    pub(crate) async fn start(&self, token: &str) -> RunningEdge {
        let (folder, file) = (Arc::clone(&self.folder), self.file.clone());
        Box::pin(RunningEdge::as_a_process(folder, file, self.launch.clone(), Some(token.to_owned()))).await
    }
}

impl Setup {
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
        self.launch.user = Some(user);
        self.in_a_process()
    }

    /// Runs the program in a process that may have so many file descriptors.
    pub(crate) fn with_descriptors_max(mut self, count: u64) -> Self {
        self.launch.descriptors_max = Some(count);
        self.in_a_process()
    }

    /// Runs the program in a process with this variable.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.launch.variables.push((name.to_owned(), value.to_owned()));
        self.in_a_process()
    }

    /// Runs this program in a process, in place of the one that was built with the tests.
    pub(crate) fn with_program(mut self, program: &Path) -> Self {
        self.launch.program = Some(program.to_owned());
        self.in_a_process()
    }

    /// Joins the cluster whose CA is in that folder, before it starts.
    pub(crate) fn joining(mut self, ca: &Path) -> Self {
        self.ca = Some(ca.to_owned());
        self
    }

    /// Adds lines to the top of `edge.toml`, before its tables.
    pub(crate) fn with_top(mut self, lines: &str) -> Self {
        self.top.push_str(lines);
        self.top.push('\n');
        self
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

    /// Serves visitors by so many threads.
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

    /// Writes the folder and the `edge.toml` of an edge that runs in a process of its own, and does not start it.
    pub(crate) fn prepare(self) -> Prepared {
        let (folder, file, text) = self.write();
        Process::configure(folder.path(), &text);
        Prepared { folder: folder.into(), file, launch: self.launch }
    }

    /// The folder of an edge that is not started, and its configuration.
    pub(crate) fn written(&self) -> (tempfile::TempDir, EdgeFile) {
        let (folder, file, _) = self.write();
        (folder, file)
    }

    fn write(&self) -> (tempfile::TempDir, EdgeFile, String) {
        let folder = tempfile::tempdir_in(&self.parent).unwrap();
        // The users of environments pass it on their way to the folders of backends.
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
