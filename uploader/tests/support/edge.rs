//! A real edge in a separate process with its own data folder, and the real command line.

mod takeover;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::Value;
use tempfile::TempDir;

/// The parameters of an edge.
#[derive(Default)]
pub(crate) struct EdgeBuilder {
    limits: Vec<String>,
    tables: Vec<String>,
    data_dir: Option<PathBuf>,
    domain: Option<String>,
    background: bool,
    user: Option<u32>,
}

/// Begins to describe an edge: self-signed, on free ports, without the background pass.
pub(crate) fn edge() -> EdgeBuilder {
    EdgeBuilder::default()
}

impl EdgeBuilder {
    /// Sets a limit of `[limits]`.
    pub(crate) fn with_limit(mut self, name: &str, value: u64) -> Self {
        self.limits.push(format!("{name} = {value}\n"));
        self
    }

    /// Adds a table to `edge.toml`.
    pub(crate) fn with_table(mut self, table: &str) -> Self {
        self.tables.push(table.to_owned());
        self
    }

    /// Has apps and previews answer below `domain`, in place of `localhost`.
    pub(crate) fn with_domain(mut self, domain: &str) -> Self {
        self.domain = Some(domain.to_owned());
        self
    }

    /// Keeps the data in a folder of the test's choice.
    pub(crate) fn with_data_in(mut self, folder: &Path) -> Self {
        self.data_dir = Some(folder.to_owned());
        self
    }

    /// Remakes variants in the background.
    pub(crate) fn with_background(mut self) -> Self {
        self.background = true;
        self
    }

    /// Runs as this user. Requires root.
    pub(crate) fn with_user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Runs as this user, and has the spawner behind `socket` run the backends of bundles, in `folder`. Requires root.
    pub(crate) fn with_spawner(self, user: u32, socket: &Path, folder: &Path) -> Self {
        self.with_user(user)
            .with_table(&format!("[runner]\nenabled = true\nspawner = {socket:?}\nfolder = {folder:?}\n"))
    }

    /// Runs the backends of bundles.
    pub(crate) fn with_runner(self) -> Self {
        self.with_table("[runner]\nenabled = true\n")
    }

    /// Starts the edge, and waits until the edge is ready.
    pub(crate) fn start(self) -> Edge {
        let folder = tempfile::tempdir().unwrap();
        // The users of apps need access to the folder of backends inside.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let data_dir = self.data_dir.unwrap_or_else(|| folder.path().join("data"));
        let domain = self.domain.as_deref().unwrap_or("localhost");
        let config = format!(
            "data_dir = {data_dir:?}\ndomain = {domain:?}\npreview_domain = {domain:?}\n\
             [listen]\nhttps = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [tls]\nmode = \"self-signed\"\n[compress]\nbackground = {}\n[limits]\n{}{}",
            self.background,
            self.limits.concat(),
            self.tables.concat(),
        );
        std::fs::write(folder.path().join("edge.toml"), config).unwrap();
        if let Some(user) = self.user {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(user)).unwrap();
        }
        let process = Running::start(folder.path(), self.user);
        let _claims = Claims(folder.path().to_owned());
        let mut edge = Edge { data_dir, folder, process, user: self.user, token: String::new(), _claims };
        edge.token = edge.new_token(&["--name", "test", "--scope", "admin"]);
        edge
    }
}

/// A running edge, killed on drop.
pub(crate) struct Edge {
    pub(crate) data_dir: PathBuf,
    pub(crate) folder: TempDir,
    pub(crate) token: String,
    process: Running,
    /// The user of the process, if different from the user of the tests.
    user: Option<u32>,
    _claims: Claims,
}

/// Removes the user id claim of an ended edge, so that further edges may use the ids.
struct Claims(PathBuf);

impl Drop for Claims {
    fn drop(&mut self) {
        forget_claims(&self.0);
    }
}

/// Removes the claims of edges whose folders of backends are below `folder`.
pub(crate) fn forget_claims(folder: &Path) {
    for entry in std::fs::read_dir("/var/lib/devanture-uids").into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if text.contains(folder.to_str().unwrap()) {
            std::fs::remove_file(entry.path().with_extension("lock")).ok();
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

struct Running {
    child: Child,
    https: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
    /// Kept open: without a reader of its output, an edge must not get a broken pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &Path, user: Option<u32>) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("edge.log")).unwrap();
        let mut program = program("devanture-edge");
        if let Some(user) = user {
            // A second user may lack access to the original program. The previous copy may be running.
            let copy = folder.join("devanture-edge");
            if !copy.exists() {
                std::fs::copy(&program, &copy).unwrap();
                std::os::unix::fs::chown(&copy, Some(user), Some(user)).unwrap();
            }
            program = copy;
        }
        let mut command = Command::new(program);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut child = command
            .args(["--config", "edge.toml"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("the edge did not get ready: {line}\n{}", std::fs::read_to_string(folder.join("edge.log")).unwrap())
        });
        assert_eq!(ready["ready"], true);
        let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        Self { child, https: address("https"), http: address("http"), admin: address("admin"), _stdout: stdout }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns a program of this workspace, from the build folder of the command line.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_devanture")).with_file_name(name);
    assert!(path.is_file(), "{} is missing: build the whole workspace", path.display());
    path
}

/// Resolves every name to this machine, as browsers do for `*.localhost`.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(SocketAddr::from(([127, 0, 0, 1], 0))));
        Box::pin(async { Ok(addresses) })
    }
}

/// Returns a client that trusts only the authority in the file, follows no redirect and decodes nothing.
pub(crate) fn client_of(ca: &Path, http2: bool) -> reqwest::Client {
    client_with(ca, |builder| if http2 { builder } else { builder.http1_only() })
}

/// Returns the client of [`client_of`], with the further settings of `more`.
fn client_with(ca: &Path, more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> reqwest::Client {
    // A second installation in one process is refused; the first provider serves as well.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
    let builder = reqwest::Client::builder()
        .tls_certs_only([ca])
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Arc::new(Loopback))
        .no_proxy();
    more(builder).build().unwrap()
}

impl Edge {
    pub(crate) fn https(&self) -> SocketAddr {
        self.process.https
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.process.http
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.process.admin
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.data_dir.join("tls/ca.pem")
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("edge.log")).unwrap()
    }

    /// Makes a token with the edge's own command.
    pub(crate) fn new_token(&self, arguments: &[&str]) -> String {
        let made = Command::new(program("devanture-edge"))
            .args(["token", "create", "--config", "edge.toml"])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let token = String::from_utf8(made.stdout).unwrap();
        assert_eq!(token.lines().count(), 1, "{token}");
        token.trim_end().to_owned()
    }

    /// Returns a URL of a host of the edge.
    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.https().port())
    }

    /// Returns a client that trusts only the local authority, follows no redirect and decodes nothing.
    pub(crate) fn client(&self, http2: bool) -> reqwest::Client {
        client_of(&self.ca(), http2)
    }

    /// Returns the client of [`Self::client`], with the further settings of a test.
    pub(crate) fn client_with(
        &self,
        more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> reqwest::Client {
        client_with(&self.ca(), more)
    }

    /// Calls the API with the admin token.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("https://{}{path}", self.admin());
        let request = self.client(true).request(method.parse().unwrap(), url).bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Returns the command line, configured for this edge by the environment, in `folder`.
    pub(crate) fn command(&self, folder: &Path, app: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devanture"));
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DEVANTURE_URL", format!("https://{}", self.admin()))
            .env("DEVANTURE_TOKEN", &self.token)
            .env("DEVANTURE_CA", self.ca())
            .env("DEVANTURE_APP", app)
            .stdin(Stdio::null());
        command
    }

    /// Runs the command line and returns the output.
    pub(crate) fn run(&self, app: &str, arguments: &[&str]) -> Ran {
        // A folder without a `devanture.toml` or a `.env`.
        let folder = tempfile::tempdir().unwrap();
        Ran::of(self.command(folder.path(), app, arguments).output().unwrap())
    }

    /// Runs the command line with `--json`, which must succeed, and returns the line.
    #[track_caller]
    pub(crate) fn json(&self, app: &str, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let ran = self.run(app, &arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
        ran.json()
    }

    /// Pushes a folder. Returns the report.
    #[track_caller]
    pub(crate) fn push(&self, app: &str, folder: &Path) -> Value {
        self.json(app, &["push", folder.to_str().unwrap()])
    }

    /// Returns the resident bytes of the process, from the system.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    /// The process' id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Ends the process at once, as a power loss would.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// Returns true if the process has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.child.try_wait().unwrap().is_none()
    }

    /// Tells the process to drain.
    pub(crate) fn begin_to_terminate(&self) {
        assert!(send("-TERM", self.process.child.id()).success());
    }

    /// Tells the process to drain, and waits for its end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.begin_to_terminate();
        self.process.child.wait().unwrap()
    }

    /// Tells the process to reload its certificates, and to reopen its files.
    pub(crate) fn hang_up(&self) {
        assert!(send("-HUP", self.process.child.id()).success());
    }

    /// Starts the edge's program beside the running edge.
    pub(crate) fn beside(&self, arguments: &[&str]) -> Child {
        self.beside_with(arguments, &[])
    }

    /// Starts the edge's program as [`Self::beside`] does, with environment variables.
    pub(crate) fn beside_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        let mut command = Command::new(program("devanture-edge"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.envs(variables.iter().copied());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a process over the same data, with new ports.
    pub(crate) fn restart(&mut self) {
        self.process = Running::start(self.folder.path(), self.user);
    }
}

/// Sends a signal by the system's own program.
fn send(signal: &str, pid: u32) -> ExitStatus {
    Command::new("kill").args([signal, &pid.to_string()]).status().unwrap()
}

/// The output and the end of a program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command with `input` on its standard input.
    pub(crate) fn fed(command: &mut Command, input: &str) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The command may have ended without reading its input.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        Self::of(child.wait_with_output().unwrap())
    }

    /// Returns the single line of JSON on the standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Returns the code of the final problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        let json = self.json();
        json["error"]["code"].as_str().unwrap_or_else(|| panic!("no problem: {self:#?}")).to_owned()
    }

    pub(crate) fn last_line(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}

/// Returns every file of a folder with its bytes, by its path with `/` between the segments.
pub(crate) fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = std::collections::BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}
