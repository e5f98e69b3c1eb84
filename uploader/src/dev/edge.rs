//! The edge of a run: in this process, on this machine alone, with a data folder that ends with it and an authority that
//! stays.
//!
//! What a browser is asked to trust must be the same in every run and for every project, so the authority lies in the
//! folder for the state of the person's programs. Everything else can be made again, so it is in a temporary folder.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use devanture_config::api::{Scope, TokenRequest};
use devanture_config::edge_toml::{EdgeFile, LogFormat, Names};
use devanture_config::problem::Code;
use devanture_config::{AppName, Hostname, PlaceName};
use devanture_edge::live::Domains;
use devanture_edge::server::{Local, Server, StartError};
use tempfile::TempDir;
use url::Url;

use crate::client::{self, Link};
use crate::exit::Failure;
use crate::progress::Progress;
use crate::settings::{Credential, EdgeAccess, Token};

/// The domain whose every name is this machine (RFC 6761 §6.3).
const DOMAIN: &str = "localhost";
/// What the folders of runs are called.
const RUN_PREFIX: &str = "devanture-dev-";
/// The file that a run holds locked in its folder.
const RUN_LOCK: &str = "run.lock";
/// A folder that is so young may not be locked yet.
const RUN_AGE_MIN: Duration = Duration::from_secs(60);
/// How long the end waits until the folder of the run is gone: a slow disk takes its time for many files.
const REMOVAL_TIME_MAX: Duration = Duration::from_secs(2);
/// The edge of a run. Nobody waits for the best level of compression, as another version comes soon; an end waits a moment
/// for requests that are under way; and what is kept does not grow with the number of changes.
const EDGE_TOML: &str = r#"
data_dir = "data"
domain = "localhost"
preview_domain = "localhost"
drain_timeout_ms = 1_000
[listen]
https = "127.0.0.1:0"
admin = "127.0.0.1:0"
threads = 2
[tls]
mode = "self-signed"
[compress]
background = false
dictionaries = false
[access_log]
addresses = "none"
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

/// How the edge of a run is to be.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The folder for the state of this program, where the authority stays.
    pub(super) state_folder: Option<PathBuf>,
    /// The port; 0 is one that is free.
    pub(super) port: u16,
    /// Whether each request is a line on stderr.
    pub(super) has_log: bool,
}

/// A running edge.
pub(super) struct LocalEdge {
    server: Server,
    folder: TempDir,
    authority: PathBuf,
    token: String,
    /// Held until the folder is gone.
    _lock: File,
}

impl LocalEdge {
    /// Starts it.
    ///
    /// # Errors
    /// `usage` where the port is taken or a folder cannot be used.
    pub(super) async fn start(wanted: Wanted) -> Result<Self, Failure> {
        let made = tokio::task::spawn_blocking(move || start(&wanted)).await;
        made.map_err(|error| Failure::new(Code::Internal, format!("The edge did not start: {error}.")))?
    }

    /// A folder of the run for what is not the edge's.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority's certificate.
    pub(super) fn authority(&self) -> &Path {
        &self.authority
    }

    /// Where pages are served.
    pub(super) fn https(&self) -> SocketAddr {
        self.server.addresses().https
    }

    /// The address of an app's environment.
    pub(super) fn url(&self, app: &AppName, place: &PlaceName) -> Result<String, Failure> {
        let domains = Domains::new(domain()?, domain()?);
        domains.set_port(self.https().port());
        Ok(format!("{}/", domains.url(&domains.place_host(app, place))))
    }

    /// The way to it for an app.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub(super) fn client(&self, app: AppName, progress: Progress) -> Result<client::Edge, Failure> {
        let address = format!("https://{}/", self.server.addresses().admin);
        let bad = |error| Failure::new(Code::Internal, format!("{address} is no address: {error}."));
        let access = EdgeAccess {
            url: address.parse::<Url>().map_err(bad)?,
            credential: Credential::Token(Token::made(self.token.clone())),
            ca: Some(self.authority.clone()),
        };
        Ok(client::Edge::new(Link::new(&access, progress)?, app))
    }

    /// Ends it: what is under way has a moment to end, and the folder goes.
    pub(super) async fn end(self) {
        let Self { server, folder, _lock: lock, .. } = self;
        let drained = tokio::task::spawn_blocking(move || {
            server.drain();
        });
        drained.await.ok();
        let removed = tokio::task::spawn_blocking(move || folder.close());
        // What is left of it, a next run removes.
        tokio::time::timeout(REMOVAL_TIME_MAX, removed).await.ok();
        drop(lock);
    }
}

fn start(wanted: &Wanted) -> Result<LocalEdge, Failure> {
    let kept = kept_folder(wanted.state_folder.as_deref())?;
    // Two runs at once would make two authorities, and find the same port free.
    let starting = lock_file(&kept.join("start.lock")).and_then(|file| file.lock().map(|()| file));
    let starting = starting.map_err(|error| unusable(&kept, &error))?;
    let (folder, lock) = run_folder().map_err(|error| unusable(&std::env::temp_dir(), &error))?;
    let data = folder.path().join("data");
    DirBuilder::new().mode(0o700).create(&data).map_err(|error| unusable(&data, &error))?;
    // The edge keeps its authority here.
    let tls = kept.join("tls");
    symlink(&tls, data.join("tls")).map_err(|error| unusable(&data, &error))?;
    let file = edge_file(wanted, data)?;
    let token = make_token(&file)?;
    let server = Server::start(&file, folder.path()).map_err(|error| not_started(&error, wanted.port))?;
    drop(starting);
    Ok(LocalEdge { server, folder, authority: tls.join("ca.pem"), token, _lock: lock })
}

/// The folder whose authority stays.
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

/// A new temporary folder that is locked for as long as this run has it; those of runs that were killed go.
fn run_folder() -> io::Result<(TempDir, File)> {
    let private = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix(RUN_PREFIX).permissions(private).tempdir()?;
    let lock = lock_file(&folder.path().join(RUN_LOCK))?;
    lock.lock()?;
    let own = folder.path().metadata()?.uid();
    let around = folder.path().parent().map(Path::to_owned);
    // Nobody waits for it, and what it does not come to, the next run does.
    std::thread::spawn(move || around.iter().for_each(|around| remove_left(around, own)));
    Ok((folder, lock))
}

/// Removes the folders of runs that are over.
fn remove_left(around: &Path, own: u32) {
    for entry in std::fs::read_dir(around).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(RUN_PREFIX)) && is_left(&entry.path(), own) {
            // Another run may be at it, too.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Whether the folder of a run belongs to `own` and to no run any more.
fn is_left(folder: &Path, own: u32) -> bool {
    let Ok(metadata) = folder.symlink_metadata() else { return false };
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    metadata.is_dir()
        && metadata.uid() == own
        && age.is_some_and(|age| age >= RUN_AGE_MIN)
        && lock_file(&folder.join(RUN_LOCK)).is_ok_and(|file| file.try_lock().is_ok())
}

fn domain() -> Result<Hostname, Failure> {
    DOMAIN.parse().map_err(|error| Failure::new(Code::Internal, format!("{error}.")))
}

/// What an `edge.toml` would say. What it does not say is as in one that does not say it.
fn edge_file(wanted: &Wanted, data_dir: PathBuf) -> Result<EdgeFile, Failure> {
    let file = EdgeFile::parse("edge.toml", EDGE_TOML);
    let mut file = file.map_err(|mistakes| Failure::new(Code::Internal, mistakes.to_string()))?;
    file.data_dir = data_dir;
    // Nobody else has an app here.
    file.names = Names::none();
    file.listen.https.set_port(wanted.port);
    file.access_log.format = if wanted.has_log { LogFormat::Combined } else { LogFormat::Off };
    Ok(file)
}

/// A token for this run: one that may point routes to this machine. The edge is not there yet, so that the catalog itself
/// is asked.
fn make_token(file: &EdgeFile) -> Result<String, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(Code::Internal, format!("No token can be made: {error}."));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
    let request =
        TokenRequest { name: "dev".to_owned(), app: None, environment: None, scope: Scope::Admin, expires_in_s: None };
    let made = runtime.block_on(async { Local::open(file, Path::new("")).await?.create_token(request).await });
    made.map(|made| made.token).map_err(|error| failed(&error))
}

fn not_started(error: &StartError, port: u16) -> Failure {
    match error {
        StartError::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => Failure::new(
            Code::Usage,
            format!("{address} is in use by another program, perhaps by another `devanture dev`."),
        )
        .hint("choose another port with --port, or let --port 0 choose one"),
        StartError::Bind { .. } => Failure::new(Code::Usage, format!("The port {port} cannot be used: {error}."))
            .hint("choose another port with --port, or let --port 0 choose one"),
        StartError::Certificates(_) => {
            Failure::new(Code::Usage, format!("The local authority cannot be used: {error}."))
                .hint("remove its folder, and a new one is made, to be trusted anew")
        }
        _ => Failure::new(Code::Internal, format!("The edge cannot be started: {error}.")),
    }
}

fn unusable(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::Usage, format!("{} cannot be used: {error}.", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_runs_that_are_over_are_told_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().metadata().unwrap().uid();
        let lock = lock_file(&folder.path().join(RUN_LOCK)).unwrap();
        assert!(!is_left(folder.path(), own), "it is young");
        let old = SystemTime::now() - RUN_AGE_MIN * 2;
        File::open(folder.path()).unwrap().set_modified(old).unwrap();
        assert!(is_left(folder.path(), own));
        assert!(!is_left(folder.path(), own + 1), "it is another's");
        lock.lock().unwrap();
        assert!(!is_left(folder.path(), own), "its run goes on");
        assert!(!is_left(&folder.path().join("missing"), own));
    }
}
