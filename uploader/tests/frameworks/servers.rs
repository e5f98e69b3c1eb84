//! The two backends as processes: Django under gunicorn, FastAPI under uvicorn, each with its data in a separate
//! folder.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::inputs;

/// Time limit for a server to listen, or for the port of a killed server to close.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// gunicorn trusts no proxy headers here: the scheme is up to Django's own settings.
const DJANGO: &[&str] = &[
    "gunicorn",
    "--threads=4",
    "--keep-alive=5",
    "--forwarded-allow-ips=192.0.2.1",
    "--no-control-socket",
    "django_site.wsgi:application",
];
const FASTAPI: &[&str] = &["uvicorn", "--no-access-log", "json_api.main:app"];

/// The Python sources and the front.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frameworks")
}

/// An unguessable word.
fn secret() -> String {
    let mut bytes = [0; 24];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A running backend, killed on drop.
pub(crate) struct Server {
    program: &'static [&'static str],
    environment: Vec<(&'static str, String)>,
    address: SocketAddr,
    process: Process,
    _data: TempDir,
}

/// The site: the password of its only user, `keeper`.
pub(crate) struct Django {
    pub(crate) server: Server,
    pub(crate) password: String,
}

/// The API: a token for reading, and a token for changes.
pub(crate) struct Plants {
    pub(crate) server: Server,
    pub(crate) reader: String,
    pub(crate) writer: String,
}

/// Starts the site, with empty tables except for its user; `None`, with a message, without its packages.
#[track_caller]
pub(crate) fn django() -> Option<Django> {
    let packages = inputs::frameworks()?;
    let data = tempfile::tempdir().unwrap();
    let password = secret();
    let environment = vec![
        ("PYTHONPATH", python_path(&packages)),
        ("SITE_DATA", data.path().to_str().unwrap().to_owned()),
        ("SITE_HOST", crate::frameworks::HOST.to_owned()),
        ("SITE_SECRET_KEY", secret()),
        ("DJANGO_SUPERUSER_PASSWORD", password.clone()),
    ];
    let prepared = python(&["django_site.prepare"], &environment).output().unwrap();
    assert!(prepared.status.success(), "{prepared:?}");
    Some(Django { server: Server::start(DJANGO, environment, data), password })
}

/// Starts the API; `None`, with a message, without its packages.
#[track_caller]
pub(crate) fn plants() -> Option<Plants> {
    let packages = inputs::frameworks()?;
    let data = tempfile::tempdir().unwrap();
    let (reader, writer) = (secret(), secret());
    let environment = vec![
        ("PYTHONPATH", python_path(&packages)),
        ("API_DATA", data.path().to_str().unwrap().to_owned()),
        ("API_READER_TOKEN", reader.clone()),
        ("API_WRITER_TOKEN", writer.clone()),
    ];
    Some(Plants { server: Server::start(FASTAPI, environment, data), reader, writer })
}

fn python_path(packages: &Path) -> String {
    format!("{}:{}", packages.display(), sources().display())
}

fn python(module: &[&str], environment: &[(&'static str, String)]) -> Command {
    let mut command = Command::new("python3");
    command
        .arg("-m")
        .args(module)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        // Nothing is written beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
}

impl Server {
    fn start(program: &'static [&'static str], environment: Vec<(&'static str, String)>, data: TempDir) -> Self {
        let (process, address) = Process::start(program, &environment, 0);
        Self { program, environment, address, process, _data: data }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills the backend as a fault would, and waits until the port refuses connections.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
        let end = Instant::now() + START_TIME_MAX;
        while TcpStream::connect(self.address).is_ok() {
            assert!(Instant::now() < end, "{} is still taken", self.address);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Restarts the backend over its data, on the same port.
    pub(crate) fn start_again(&mut self) {
        let (process, address) = Process::start(self.program, &self.environment, self.address.port());
        assert_eq!(address, self.address);
        self.process = process;
    }
}

struct Process {
    child: Child,
    /// The serving process of gunicorn.
    worker: Option<u32>,
}

impl Process {
    fn start(program: &[&str], environment: &[(&'static str, String)], port: u16) -> (Self, SocketAddr) {
        let place = match program[0] {
            "gunicorn" => vec![format!("--bind=127.0.0.1:{port}")],
            _ => vec!["--host=127.0.0.1".to_owned(), format!("--port={port}")],
        };
        let mut child =
            python(program, environment).args(place).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        // The pipe is read to its end, so that the server never blocks on writing.
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut process = Self { child, worker: None };
        let mut seen = Vec::new();
        let address = text(&lines, &mut seen, "http://");
        if program[0] == "gunicorn" {
            process.worker = Some(text(&lines, &mut seen, "Booting worker with pid: ").parse().unwrap());
        }
        (process, address.parse().unwrap())
    }

    fn kill(&mut self) {
        // The process may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if let Some(worker) = self.worker.take() {
            Command::new("kill").args(["-KILL", &worker.to_string()]).stderr(Stdio::null()).status().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the word after `words` in the further output of the server.
fn text(lines: &Receiver<String>, seen: &mut Vec<String>, words: &str) -> String {
    loop {
        let line = lines.recv_timeout(START_TIME_MAX).unwrap_or_else(|error| panic!("{error}: {seen:#?}"));
        seen.push(line.clone());
        if let Some((_, rest)) = line.split_once(words) {
            return rest.split_whitespace().next().unwrap().to_owned();
        }
    }
}
