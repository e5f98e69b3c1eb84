//! A project folder, and `devanture dev` inside.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::edge::client_of;

/// Longest wait for an event.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(60);
/// A page whose script counts its loads.
pub(crate) const PAGE: &str = "<!doctype html><html><head><title>shop</title><link rel=icon href=data:,>\
                    <script>sessionStorage.loads = 1 + Number(sessionStorage.loads || 0)</script>\
                    <link rel=stylesheet href=/style.css></head><body><p>one</p></body></html>";

/// A project folder, with a separate state folder.
pub(crate) struct Project(pub(crate) TempDir);

impl Project {
    pub(crate) fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        project.put("devanture.toml", "app = \"shop\"\nwww = \"www\"\n");
        project.put("www/index.html", PAGE);
        project.put("www/style.css", "p { color: rgb(1, 2, 3) }");
        project
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("project")
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devanture"));
        command
            .args(["dev", "--json"])
            .args(arguments)
            .args(if arguments.contains(&"--port") { &[][..] } else { &["--port", "0"] })
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("XDG_STATE_HOME", self.0.path().join("state"))
            .env("TMPDIR", self.0.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts `dev` and waits until the address of the site is printed.
    pub(crate) fn dev(&self, arguments: &[&str]) -> Dev {
        Dev::start(self.command(arguments))
    }
}

/// A running `dev`, killed on drop.
pub(crate) struct Dev {
    pub(crate) child: Child,
    pub(crate) events: Receiver<Value>,
    pub(crate) url: String,
    pub(crate) ca: PathBuf,
    /// The printed routes.
    pub(crate) routes: Value,
}

impl Drop for Dev {
    fn drop(&mut self) {
        // The process may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Dev {
    /// Starts the command and waits until the address of the site is printed.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                // A failed test no longer listens.
                sender.send(event).ok();
            }
        });
        let mut dev = Self { child, events, url: String::new(), ca: PathBuf::new(), routes: Value::Null };
        let ready = dev.wait_for("ready");
        dev.url = ready["url"].as_str().unwrap().trim_end_matches('/').to_owned();
        dev.ca = ready["ca"].as_str().unwrap().into();
        dev.routes = ready["routes"].clone();
        dev
    }

    /// Returns the next event of this kind; earlier events are skipped.
    #[track_caller]
    pub(crate) fn wait_for(&self, kind: &str) -> Value {
        self.wait_until(kind, |_| true)
    }

    /// Returns the next event of this kind that satisfies `is_meant`.
    #[track_caller]
    pub(crate) fn wait_until(&self, kind: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.events.recv_timeout(TIME_MAX).unwrap_or_else(|error| panic!("no event {kind}: {error}"));
            if event["event"] == kind && is_meant(&event) {
                return event;
            }
        }
    }

    /// Returns the first mistake of the next failure with a mistake in `file`.
    #[track_caller]
    pub(crate) fn mistake_in(&self, file: &str) -> Value {
        let is_meant = |event: &Value| event["error"]["mistakes"][0]["file"] == file;
        self.wait_until("failed", is_meant)["error"]["mistakes"][0].clone()
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        client_of(&self.ca, true).get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        self.get(path).await.text().await.unwrap()
    }

    /// Ends `dev` by a signal. Returns the exit code.
    pub(crate) fn end(mut self, signal: &str) -> Option<i32> {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}
