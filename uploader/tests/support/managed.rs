//! Apps with a managed backend: a folder with a front and a backend in Node, and the answers of its instances.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::edge::{Edge, Ran};

/// Time limit for eventual conditions.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A backend in Node. `/api/who` identifies the instance by words separated by spaces: the code's name, the instance,
/// its process id; tests add further behaviour.
const SERVER: &str = r#"
const http = require('http');
const fs = require('fs');
const name = fs.readFileSync(__dirname + '/name.txt', 'utf8').trim();
const who = () => `${name} ${process.env.DEVANTURE_INSTANCE} ${process.pid}`;
const server = http.createServer((request, answer) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const url = new URL(request.url, 'http://here');
    if (url.pathname === '/healthz') return answer.end('well');
    if (url.pathname === '/api/environment') return answer.end(JSON.stringify(process.env));
    if (url.pathname === '/api/slow') return setTimeout(() => answer.end(who()), Number(url.searchParams.get('ms')));
    if (url.pathname === '/api/left') return answer.end(String(globalThis.left));
    if (url.pathname === '/api/exit') return process.exit(3);
    if (url.pathname === '/api/close') { answer.end('closed'); server.close(); server.closeAllConnections(); return; }
    if (url.pathname === '/api/keep') {
      fs.appendFileSync(process.env.DEVANTURE_DATA + '/kept', Buffer.concat(chunks));
      return answer.end(fs.readFileSync('data/kept'));
    }
    answer.end(who());
  });
});
server.on('upgrade', (request, socket) => {
  const key = require('crypto').createHash('sha1')
    .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${key}\r\n\r\n`);
  const text = Buffer.from(who());
  socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
});
"#;

/// The last lines: listens, and ends in order.
const LISTEN: &str = "
server.listen(process.env.SOCKET || Number(process.env.PORT), '127.0.0.1');
process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
";

/// A project of an app with a backend.
pub(crate) struct Project {
    pub(crate) folder: TempDir,
    pub(crate) app: String,
}

impl Project {
    /// Creates a project whose front and backend report `name`; `lines` extend `[server]` beside its folder, command,
    /// health and routes.
    pub(crate) fn new(app: &str, name: &str, lines: &str) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap(), app: app.to_owned() };
        project.front(name);
        project.backend(name);
        project.toml(&format!(
            "[server]\ndir = \"out\"\ncommand = [\"node\", \"server.js\"]\nhealth = \"/healthz\"\nroutes = [\"/api/*\"]\n{lines}\n"
        ));
        project
    }

    /// Writes `devanture.toml`, with `rest` after the first lines.
    pub(crate) fn toml(&self, rest: &str) {
        self.write("devanture.toml", &format!("app = \"{}\"\nwww = \"www\"\n{rest}", self.app));
    }

    /// Sets the name reported by the front from the next push on.
    pub(crate) fn front(&self, name: &str) {
        self.write("www/index.html", &format!("<title>{name}</title>"));
    }

    /// Sets the name of the backend from the next push on.
    pub(crate) fn backend(&self, name: &str) {
        self.write("out/name.txt", name);
        self.write("out/server.js", &format!("{SERVER}{LISTEN}"));
    }

    /// Writes the backend with `ends` in place of its last lines.
    pub(crate) fn backend_that(&self, name: &str, ends: &str) {
        self.write("out/name.txt", name);
        self.write("out/server.js", &format!("{SERVER}{ends}"));
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the command line in the project.
    pub(crate) fn run(&self, edge: &Edge, arguments: &[&str]) -> Ran {
        Ran::of(edge.command(self.path(), &self.app, arguments).output().unwrap())
    }

    /// Pushes successfully. Returns the version.
    #[track_caller]
    pub(crate) fn push(&self, edge: &Edge) -> String {
        let ran = self.run(edge, &["push", "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
        ran.json()["version"].as_str().unwrap().to_owned()
    }

    /// Pushes with the expected failure `code`; the output reports the previous version as still live.
    #[track_caller]
    pub(crate) fn fails(&self, edge: &Edge, code: &str) -> Ran {
        let ran = self.run(edge, &["push", "--json"]);
        assert_eq!(ran.problem(), code, "{ran:#?}\n{}", edge.log());
        ran
    }
}

/// Asks until the answer is as wanted.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the instances of an environment, from the API.
pub(crate) async fn instances(edge: &Edge, app: &str, environment: &str) -> Vec<Value> {
    let (status, list) = edge.api("GET", &format!("/v1/apps/{app}/environments/{environment}/instances"), None).await;
    assert_eq!(status, 200, "{list}");
    list["instances"].as_array().unwrap().clone()
}

/// Waits until `count` instances are healthy and only warm instances remain otherwise. Returns the process ids.
pub(crate) async fn healthy(edge: &Edge, app: &str, count: usize) -> BTreeSet<u64> {
    eventually(&format!("{count} healthy instances of {app}"), async || {
        let all = instances(edge, app, "prod").await;
        let of = |state: &str| all.iter().filter(|one| one["state"] == state).count();
        let pids = all.iter().filter(|one| one["state"] == "healthy").map(|one| one["pid"].as_u64().unwrap());
        (of("healthy") == count && of("warm") + of("stopping") + count == all.len()).then(|| pids.collect())
    })
    .await
}

/// Returns true for a running process, false for a zombie.
pub(crate) fn is_alive(pid: u64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z') && !rest.starts_with('X'))
}
