//! Shared parts of the command line tests: a folder per test, and `devanture` run inside.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test binary uses a part of this, and a test that cannot go on should stop where it is"
)]

pub(crate) mod fake_edge;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tokio::net::TcpSocket;

/// The last line of a push with a previous live version.
pub(crate) const STILL_RUNNING: &str = "The previous version is still running.";
/// The last line of a push without a previous live version.
pub(crate) const NOTHING_LIVE: &str = "Nothing is live yet; nothing has changed.";

/// A working folder, isolated from the machine's settings.
pub(crate) struct Project {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// The output of a run of `devanture`.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    /// Makes a folder with `files`.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() };
        for (path, text) in files {
            project.file(path, text);
        }
        project
    }

    /// Makes a folder with a small site and the settings for a push to `url`.
    pub(crate) fn site(url: &str) -> Self {
        let toml = "app = \"shop\"\nwww = \"dist\"\n";
        let files = [("devanture.toml", toml), ("dist/index.html", "<h1>Hi</h1>"), ("dist/a/app.js", "go()")];
        Self::new(&files).variable("DEVANTURE_URL", url).variable("DEVANTURE_TOKEN", "t0ken")
    }

    /// Sets a variable for every run.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The path of `path` in the folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a file.
    pub(crate) fn file(&self, path: &str, text: &str) {
        write(&self.path(path), text.as_bytes());
    }

    /// The command, ready to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devanture"));
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("GIT_CEILING_DIRECTORIES", "/");
        command.envs(self.variables.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `devanture` with `arguments`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Returns the single line of JSON on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Checks that the run failed with `code` in its JSON, and the exit code `exit`.
    #[track_caller]
    pub(crate) fn failed(&self, code: &str, exit: i32) -> Value {
        let json = self.json();
        assert_eq!((json["error"]["code"].as_str(), self.code), (Some(code), Some(exit)), "{self:#?}");
        assert!(!json["error"]["message"].as_str().unwrap().is_empty(), "{self:#?}");
        json["error"].clone()
    }

    /// The last line of stderr.
    pub(crate) fn last_line(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}

/// Writes `bytes` to `path`, replacing any file.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// Sends a signal, for example `-INT`, to a program.
pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Returns an address of a loopback port without a listener, now and later.
pub(crate) fn dead_url() -> String {
    static BOUND: OnceLock<TcpSocket> = OnceLock::new();
    let socket = BOUND.get_or_init(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    });
    format!("https://127.0.0.1:{}", socket.local_addr().unwrap().port())
}
