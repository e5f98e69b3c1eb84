//! The edge of a run: the program `devanture-edge` as a child process, only for this machine, with a data folder that
//! ends with the run and a permanent authority.
//!
//! A browser must trust the same authority in every run and for every project, so the authority is in the folder for
//! the state of the user's programs. All other files can be made again, so they are in a temporary folder. The child
//! ends when its standard input ends, so that no child is left over, even if this process is killed.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use devanture_config::edge_toml::RESERVED_NAMES;
use devanture_config::local_edge::{LocalEdge as Started, StartFailure};
use devanture_config::problem::Code;
use devanture_config::{AppName, Hostname, PlaceName};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use url::Url;

use crate::edge::client::{self, Link};
use crate::output::exit::Failure;
use crate::output::progress::Progress;
use crate::settings::{Credential, EdgeAccess, Token};

/// The program of the edge.
const PROGRAM: &str = "devanture-edge";
/// The domain with all names resolving to this machine (RFC 6761 §6.3).
const DOMAIN: &str = "localhost";
/// The prefix of the folders of runs.
const RUN_PREFIX: &str = "devanture-dev-";
/// Number of random letters and digits after the prefix.
const RUN_RANDOM_CHARACTERS: usize = 6;
/// The lock file in the folder of a run.
const RUN_LOCK: &str = "run.lock";
/// Age below which an empty folder may belong to a starting run.
const RUN_AGE_MIN: Duration = Duration::from_secs(60);
/// Upper bound of attempts to create a folder: concurrent runs may take a new folder for the remains of an ended run.
const RUN_FOLDERS_MAX: u32 = 5;
/// Time for the edge to start: a second on a slow machine.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for the edge to drain, before it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(10);
/// Upper bound of bytes of the line in which the edge reports its start.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Longest wait at the end for the removal of the run's folder: a slow disk takes time for many files.
const REMOVAL_TIME_MAX: Duration = Duration::from_secs(2);
/// The configuration of the edge, without the settings of flags. The best level of compression is skipped, as the next
/// version comes soon; the end waits a moment for current requests; and stored data do not grow with the number of
/// changes.
const EDGE_TOML: &str = r#"
console = "off"
data_dir = "data"
domain = "localhost"
preview_domain = "localhost"
drain_timeout_ms = 1_000
[tls]
mode = "self-signed"
[compress]
background = false
dictionaries = false
[limits]
grace_ms_max = 600_000
grace_versions_max = 4
[retention]
collect_every_s = 60
keep_days = 0
keep_versions = 2
undelete_hours = 0
collected_hours = 0
"#;

/// The settings of a run's edge.
#[derive(Debug)]
pub(super) struct EdgeOptions {
    /// The folder for the state of this program, with the permanent authority.
    pub(super) state_folder: Option<PathBuf>,
    /// The port; 0 for a free one.
    pub(super) port: u16,
    /// Set if each request is a line on stderr.
    pub(super) has_log: bool,
}

/// A running edge: its addresses, and the folder of the run.
pub(super) struct LocalEdge {
    https: SocketAddr,
    admin: SocketAddr,
    token: String,
    run: Run,
}

/// The process of the edge, killed on drop.
pub(super) struct Process {
    child: Child,
    /// The edge serves until the input is closed. Separate from `child`, since `child.wait` would close the input.
    input: ChildStdin,
    /// Held open, so that no write of the edge fails.
    _stdout: BufReader<ChildStdout>,
}

/// The folders of a run.
struct Run {
    folder: TempDir,
    authority: PathBuf,
    /// Held until the folder is gone.
    _lock: File,
}

impl LocalEdge {
    /// Starts the edge.
    ///
    /// # Errors
    /// `usage` without the program of the edge, with an occupied port or an unusable folder.
    pub(super) async fn start(wanted: EdgeOptions) -> Result<(Self, Process), Failure> {
        let program = program()?;
        let port = wanted.port;
        let prepared = tokio::task::spawn_blocking(move || prepare(&wanted)).await;
        let (run, starting) = prepared
            .map_err(|error| Failure::new(Code::Internal, format!("The folder of the run was not made: {error}.")))??;
        let (process, started) = Process::start(&program, &run.folder.path().join("edge.toml")).await?;
        drop(starting);
        match started {
            Started::Ready { https, admin, token } => {
                Ok((Self { https, admin, token: token.expose().to_owned(), run }, process))
            }
            Started::Failed { cause, message } => Err(not_started(cause, &message, port)),
        }
    }

    /// Returns a folder of the run for files that are not the edge's.
    pub(super) fn folder(&self) -> &Path {
        self.run.folder.path()
    }

    /// The authority's certificate.
    pub(super) fn authority(&self) -> &Path {
        &self.run.authority
    }

    /// The address of an app's environment.
    pub(super) fn url(&self, app: &AppName, place: &PlaceName) -> Result<String, Failure> {
        let domain: Hostname = DOMAIN.parse().map_err(|error| Failure::new(Code::Internal, format!("{error}.")))?;
        let host = place.host_of(app, &domain, &domain);
        Ok(match self.https.port() {
            443 => format!("https://{host}/"),
            port => format!("https://{host}:{port}/"),
        })
    }

    /// Returns a client of the edge for an app.
    ///
    /// # Errors
    /// An error if TLS cannot be set up.
    pub(super) fn client(&self, app: AppName, progress: Progress) -> Result<client::Edge, Failure> {
        let address = format!("https://{}/", self.admin);
        let bad = |error| Failure::new(Code::Internal, format!("{address} is no address: {error}."));
        let access = EdgeAccess {
            url: address.parse::<Url>().map_err(bad)?,
            credential: Credential::Token(Token::made(self.token.clone())),
            ca: Some(self.run.authority.clone()),
        };
        Ok(client::Edge::new(Link::new(&access, progress)?, app))
    }

    /// Ends the edge: current requests have a moment to end, and the folder is removed.
    pub(super) async fn end(self, process: Process) {
        process.end().await;
        let Run { folder, _lock: lock, .. } = self.run;
        let removed = tokio::task::spawn_blocking(move || folder.close());
        // A next run removes the remains.
        tokio::time::timeout(REMOVAL_TIME_MAX, removed).await.ok();
        drop(lock);
    }
}

impl Process {
    /// Starts the program, and waits for its report: serving, or the reason why not.
    async fn start(program: &Path, config: &Path) -> Result<(Self, Started), Failure> {
        let failed = |what: String| {
            Failure::new(Code::Internal, format!("{} {what}.", program.display()))
                .hint("install `devanture-edge` of the same release beside `devanture`")
        };
        let mut command = Command::new(program);
        command.arg("--config").arg(config).arg("local");
        // The log goes to the user's stderr; the standard output is for the line alone.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, stdout) = pipes.ok_or_else(|| failed("has no pipes".to_owned()))?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let mut first = (&mut stdout).take(LINE_BYTES_MAX);
        let read = tokio::time::timeout(START_TIME_MAX, first.read_line(&mut line)).await;
        let read = read.map_err(|_late| failed("was not ready within a minute".to_owned()))?;
        read.map_err(|error| failed(format!("does not report that it is ready: {error}")))?;
        match serde_json::from_str(&line) {
            Ok(started) => Ok((Self { child, input, _stdout: stdout }, started)),
            Err(_) if line.is_empty() => {
                drop(input);
                let how = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(failed(format!("ended before it was ready ({how})")))
            }
            Err(error) => Err(failed(format!("reports something else than that it is ready: {error}"))),
        }
    }

    /// Waits until the process ends by itself, which is always a failure.
    pub(super) async fn ended(&mut self) -> Failure {
        let ended = self.child.wait().await;
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        Failure::new(Code::Internal, format!("The edge of this run has ended by itself ({how})."))
            .hint("start `devanture dev` again; with --verbose it shows each request")
    }

    async fn end(self) {
        let Self { mut child, input, _stdout: stdout } = self;
        drop(input);
        // Dropped after that time, the process is killed.
        tokio::time::timeout(END_TIME_MAX, child.wait()).await.ok();
        drop(stdout);
    }
}

/// Returns the program of the edge: the one beside this program, which is of the same build, else the first one in
/// `PATH`.
fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().ok();
    let real = own.as_ref().and_then(|own| std::fs::canonicalize(own).ok());
    let beside = [own, real].into_iter().flatten().map(|own| own.with_file_name(PROGRAM));
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A relative folder of PATH would be in the project, which may come from a stranger.
    let installed =
        std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(PROGRAM));
    beside.chain(installed).find(|path| is_program(path)).ok_or_else(|| {
        let message =
            format!("`devanture dev` needs the program `{PROGRAM}`, which is neither beside `devanture` nor in PATH.");
        Failure::new(Code::Usage, message)
            .hint("install `devanture-edge` of the same release beside `devanture`; `cargo build --release` makes both")
    })
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Creates the folders of a run and the configuration of its edge. Returns also a lock to hold until the edge has
/// started: two concurrent starts would make two authorities, and find the same port free.
fn prepare(wanted: &EdgeOptions) -> Result<(Run, File), Failure> {
    let kept = kept_folder(wanted.state_folder.as_deref())?;
    let starting = lock_file(&kept.join("start.lock")).and_then(|file| file.lock().map(|()| file));
    let starting = starting.map_err(|error| unusable(&kept, &error))?;
    let (folder, lock) = run_folder().map_err(|error| unusable(&std::env::temp_dir(), &error))?;
    let data = folder.path().join("data");
    DirBuilder::new().mode(0o700).create(&data).map_err(|error| unusable(&data, &error))?;
    // The edge stores its authority here.
    let tls = kept.join("tls");
    symlink(&tls, data.join("tls")).map_err(|error| unusable(&data, &error))?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.path().join("edge.toml"));
    let written = file.and_then(|mut file| file.write_all(edge_toml(wanted).as_bytes()));
    written.map_err(|error| unusable(folder.path(), &error))?;
    Ok((Run { folder, authority: tls.join("ca.pem"), _lock: lock }, starting))
}

/// Returns the configuration of the edge. No names are reserved: there are no other apps. HTTP/3 is off, which no
/// browser would use with an authority known only to this machine.
fn edge_toml(wanted: &EdgeOptions) -> String {
    let EdgeOptions { port, has_log, .. } = wanted;
    let format = if *has_log { "combined" } else { "off" };
    format!(
        "{EDGE_TOML}[listen]\nhttps = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:0\"\nhttp3 = false\nthreads = 2\n\
         [access_log]\naddresses = \"none\"\nformat = \"{format}\"\n[names]\nallow = {RESERVED_NAMES:?}\n"
    )
}

/// Returns the folder of the permanent authority.
fn kept_folder(state_folder: Option<&Path>) -> Result<PathBuf, Failure> {
    let Some(state_folder) = state_folder else {
        let message = "There is no folder to keep the local authority in.";
        return Err(Failure::new(Code::Usage, message).hint("set HOME or XDG_STATE_HOME to an absolute path"));
    };
    let kept = state_folder.join("dev");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(kept.join("tls"));
    made.map_err(|error| unusable(&kept, &error))?;
    Ok(kept)
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Creates a new temporary folder, locked for the time of the run, and removes the folders of killed runs.
fn run_folder() -> io::Result<(TempDir, File)> {
    let (folder, lock) = locked_folder()?;
    let own = folder.path().metadata()?.uid();
    let around = folder.path().parent().map(Path::to_owned);
    // The removal runs in the background; the next run does the rest.
    std::thread::spawn(move || around.iter().for_each(|around| remove_left(around, own)));
    Ok((folder, lock))
}

fn locked_folder() -> io::Result<(TempDir, File)> {
    for _ in 0..RUN_FOLDERS_MAX {
        let private = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new()
            .prefix(RUN_PREFIX)
            .rand_bytes(RUN_RANDOM_CHARACTERS)
            .permissions(private)
            .tempdir()?;
        let path = folder.path().join(RUN_LOCK);
        let lock = lock_file(&path)?;
        lock.lock()?;
        // A concurrent run may have locked the file first, and removed the folder.
        if path.symlink_metadata().is_ok_and(|file| lock.metadata().is_ok_and(|own| own.ino() == file.ino())) {
            return Ok((folder, lock));
        }
    }
    Err(io::Error::other("other runs remove each new folder"))
}

/// Removes the folders of ended runs of the user `own`.
fn remove_left(around: &Path, own: u32) {
    for entry in std::fs::read_dir(around).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_run_name) {
            // A next run removes the remains.
            remove_if_left(&entry.path(), own).ok();
        }
    }
}

/// Returns true if `name` is a name made by [`locked_folder`]; a folder of the user may begin alike.
fn is_run_name(name: &str) -> bool {
    let random = name.strip_prefix(RUN_PREFIX).unwrap_or_default();
    random.len() == RUN_RANDOM_CHARACTERS && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Removes the folder of a run if it belongs to `own` and to no current run. Returns true if the folder was removed.
///
/// # Errors
/// An error if an entry cannot be removed; the lock stays, so that the next run tries again at once.
fn remove_if_left(folder: &Path, own: u32) -> io::Result<bool> {
    let metadata = folder.symlink_metadata()?;
    if !metadata.is_dir() || metadata.uid() != own {
        return Ok(false);
    }
    // Held until the folder is gone: a run holds the lock of its own folder, and a concurrent run may remove this one,
    // too.
    let lock = match OpenOptions::new().append(true).open(folder.join(RUN_LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A run makes the lock first and removes it last: a folder with any other content does not belong to a run.
            let is_left = is_old(&metadata) && is_empty(folder)?;
            return if is_left { std::fs::remove_dir(folder).map(|()| true) } else { Ok(false) };
        }
        Err(error) => return Err(error),
    };
    if lock.try_lock().is_err() {
        return Ok(false);
    }
    for entry in std::fs::read_dir(folder)?.flatten().filter(|entry| entry.file_name() != RUN_LOCK) {
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    std::fs::remove_dir_all(folder)?;
    Ok(true)
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(folder)?.next().is_none())
}

fn is_old(metadata: &Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age >= RUN_AGE_MIN)
}

fn not_started(cause: StartFailure, message: &str, port: u16) -> Failure {
    const OTHER_PORT: &str = "choose another port with --port, or let --port 0 choose one";
    match cause {
        StartFailure::AddressInUse => {
            let message = format!("127.0.0.1:{port} is in use by another program, perhaps by another `devanture dev`.");
            Failure::new(Code::Usage, message).hint(OTHER_PORT)
        }
        StartFailure::Address => {
            Failure::new(Code::Usage, format!("The port {port} cannot be used: {message}.")).hint(OTHER_PORT)
        }
        StartFailure::Certificates => {
            Failure::new(Code::Usage, format!("The local authority cannot be used: {message}."))
                .hint("remove its folder, and a new one is made, to be trusted again")
        }
        StartFailure::Other => Failure::new(Code::Internal, format!("The edge cannot be started: {message}.")),
    }
}

fn unusable(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::Usage, format!("{} cannot be used: {error}.", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::edge_toml::{EdgeFile, LogFormat};

    #[test]
    fn the_configuration_of_the_edge_has_no_mistakes_and_reserves_no_names() {
        for (port, has_log, format) in [(0, false, LogFormat::Off), (8443, true, LogFormat::Combined)] {
            let text = edge_toml(&EdgeOptions { state_folder: None, port, has_log });
            let file = EdgeFile::parse("edge.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
            assert_eq!((file.listen.https.port(), file.access_log.format), (port, format));
            assert!(file.listen.https.ip().is_loopback() && file.listen.admin.ip().is_loopback());
            let mut reserved = RESERVED_NAMES.iter().map(|name| name.parse().unwrap());
            assert!(!reserved.any(|name| file.names.is_reserved(&name)));
        }
    }

    #[test]
    fn a_folder_of_the_person_is_never_taken_for_one_of_a_run() {
        let around = tempfile::tempdir().unwrap();
        let own = around.path().metadata().unwrap().uid();
        let old = SystemTime::now() - RUN_AGE_MIN * 2;
        for (name, file) in [("devanture-dev-1a2B3c", "notes.txt"), ("devanture-dev-my-own", RUN_LOCK)] {
            let folder = around.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            drop(lock_file(&folder.join(file)).unwrap());
            File::open(&folder).unwrap().set_modified(old).unwrap();
        }
        std::fs::create_dir(around.path().join("devanture-dev-backups")).unwrap();
        let left = around.path().join("devanture-dev-4d5E6f");
        std::fs::create_dir(&left).unwrap();
        drop(lock_file(&left.join(RUN_LOCK)).unwrap());
        remove_left(around.path(), own);
        let mut names: Vec<_> = std::fs::read_dir(around.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["devanture-dev-1a2B3c", "devanture-dev-backups", "devanture-dev-my-own"]);
    }

    #[test]
    fn the_folder_of_a_run_that_is_over_is_removed_at_once_and_no_other() {
        let around = tempfile::tempdir().unwrap();
        let own = around.path().metadata().unwrap().uid();
        let folder = around.path().join("devanture-dev-1");
        let is_removed = |own| remove_if_left(&folder, own).unwrap();
        std::fs::create_dir(&folder).unwrap();
        assert!(!is_removed(own), "it is young, and its run may be about to lock it");
        std::fs::create_dir_all(folder.join("data/apps")).unwrap();
        let lock = lock_file(&folder.join(RUN_LOCK)).unwrap();
        lock.lock().unwrap();
        let old = SystemTime::now() - RUN_AGE_MIN * 2;
        File::open(&folder).unwrap().set_modified(old).unwrap();
        assert!(!is_removed(own), "its run goes on");
        drop(lock);
        assert!(!is_removed(own + 1), "it is another's");
        // The target of a link does not belong to the run.
        let kept = around.path().join("tls");
        std::fs::create_dir(&kept).unwrap();
        symlink(&kept, folder.join("data/tls")).unwrap();
        assert!(is_removed(own) && !folder.exists() && kept.exists());
        assert!(remove_if_left(&folder, own).is_err(), "there is none");
        // The rest of a removal that was ended just before its end.
        std::fs::create_dir(&folder).unwrap();
        File::open(&folder).unwrap().set_modified(old).unwrap();
        assert!(is_removed(own) && !folder.exists());
    }
}
