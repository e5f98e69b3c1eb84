//! The backend of the bundle on this machine: the `web` process runs beside the local edge, is restarted after changes
//! of its folder, and ends with the run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use devanture_config::api::SettingName;
use devanture_config::problem::Code;
use devanture_config::site_toml::command::expanded;
use devanture_config::site_toml::{ListenOn, Process, RouteTo, Server, UpstreamUrl, WEB};
use devanture_config::{AppName, PlaceName};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

use super::guard::Guard;
use super::output::DevOutput;
use super::remote::Routing;
use super::round::routes_of;
use super::watch::{Watch, Watched};
use super::{ConfigPath, Project, app};
use crate::args::DevArgs;
use crate::context::Context;
use crate::output::exit::Failure;
use crate::settings::Source;

/// The file beside `devanture.toml` with settings for the backend on this machine.
const SETTINGS_FILE: &str = ".env.server";
/// The folder of the run for the data of `persist`; the edge has its own data in a separate folder.
const PERSISTED: &str = "persist";
/// The only instance: the first of `web`.
const INSTANCE: &str = "web.1";
/// Variables of the client itself, which the backend does not get.
const OWN: &str = "DEVANTURE_";
/// Longest time of a backend's end after SIGTERM, …
const END_TIME_MAX: Duration = Duration::from_secs(2);
/// … and the interval of checks for the end.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The note about a backend that is not run.
const NOT_RUN: &str = "the backend of [server] is not run by dev: start it yourself and use --api";

/// A backend to be run.
pub(super) struct Backend {
    /// The address of the backend.
    pub(super) url: UpstreamUrl,
    app: AppName,
    port: u16,
    /// The folder for the data of `persist`, removed with the run. The edge has no files in the folder.
    persisted: PathBuf,
    /// Settings of the environment that are marked for development, only in memory.
    settings: BTreeMap<SettingName, String>,
}

impl Backend {
    /// Returns the backend of the project, if requests in `place` reach the backend and this machine can run it.
    ///
    /// # Errors
    /// An error without a free port.
    pub(super) fn of(
        context: &Context,
        routing: &Routing,
        place: &PlaceName,
        folder: &Path,
    ) -> Result<Option<Self>, Failure> {
        let Some(server) = server_in(&context.project, place) else { return Ok(None) };
        let port = free_port().map_err(|error| Failure::new(Code::Internal, format!("No port is free: {error}.")))?;
        let bad = |error| Failure::new(Code::Internal, format!("{error}."));
        let url: UpstreamUrl = format!("http://127.0.0.1:{port}").parse().map_err(bad)?;
        let routes = routes_of(&context.project.site, place, routing, Some(&url));
        // The requests go elsewhere, or no route leads to the backend.
        if !routes.iter().any(|route| matches!(&route.to, RouteTo::Address(to) if *to == url)) {
            return Ok(None);
        }
        if web_of(&server).is_none() || server.listen == ListenOn::Socket {
            context.progress.note(NOT_RUN);
            return Ok(None);
        }
        let (app, persisted) = (app(context)?, folder.join(PERSISTED));
        Ok(Some(Self { url, app, port, persisted, settings: BTreeMap::new() }))
    }

    /// Takes the development settings of the environment named by the user, if an edge is configured.
    pub(super) async fn take_settings(&mut self, context: &Context, place: &PlaceName) {
        let is_named = context.settings.environment().is_ok_and(|setting| setting.source == Source::Flag);
        // Without an edge the site alone is served like that environment.
        let Some(edge) = context.edge().ok().filter(|_| is_named) else { return };
        match edge.development_settings(place).await {
            Ok(found) => {
                let names: Vec<&str> = found.settings.keys().map(SettingName::as_str).collect();
                if !names.is_empty() {
                    context.progress.note(&format!("the backend has settings of {place}: {}", names.join(", ")));
                }
                self.settings = found.settings;
            }
            Err(failure) => {
                let why = failure.message;
                context.progress.note(&format!("the backend has no settings of {place}: {why}"));
            }
        }
    }

    /// Runs the backend until the future is dropped, which ends the backend.
    pub(super) async fn run(&self, context: &Context, args: &DevArgs, place: &PlaceName) {
        let config = ConfigPath::of(context);
        let mut teller = DevOutput::new(context.output, &context.progress);
        let mut watch: Option<Watch> = None;
        let mut noted = None;
        loop {
            let started = self.start(context, &config, place);
            let folder = match &started {
                Ok(started) => started.folder.clone(),
                Err(_) => folder_of(&context.project).unwrap_or_default(),
            };
            let note = started.as_ref().ok().and_then(|started| started.note.clone());
            if note != noted {
                note.iter().for_each(|note| teller.note(note));
                noted = note;
            }
            let watched = Watched::new(&folder, config.path());
            let watch = match &mut watch {
                Some(watch) => {
                    watch.turn_to(watched);
                    watch
                }
                // The watcher of the pages reports the means of watching.
                None => watch.insert(Watch::begin(watched, args.poll).0),
            };
            match started {
                Err(failure) => {
                    teller.failed(&failure, false);
                    watch.settled().await;
                }
                Ok(Started { mut running, .. }) => {
                    let ended = tokio::select! {
                        () = watch.settled() => None,
                        ended = running.child.wait() => Some(ended),
                    };
                    if let Some(ended) = ended {
                        // Remaining processes are ended now, before their group number is reused.
                        drop(running);
                        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                        teller.note(&format!("the backend ended by itself, {how}: a change of its files restarts it"));
                        watch.settled().await;
                    } else {
                        running.end().await;
                        teller.note("the backend is restarted: its files have changed");
                    }
                }
            }
        }
    }

    /// Starts the backend with the current files.
    fn start(&self, context: &Context, config: &ConfigPath, place: &PlaceName) -> Result<Started, Failure> {
        let (mut project, read) = config.read();
        read?;
        project.choose(context.project.site.app.as_ref().map(|app| app.as_str()))?;
        let lost = || Failure::new(Code::BadConfig, "[server] names no process `web` any more.");
        let server = server_in(&project, place).ok_or_else(lost)?;
        let process = web_of(&server).ok_or_else(lost)?;
        let folder = folder_of(&project)?;
        let mut own = vec![
            ("DEVANTURE_APP", OsString::from(self.app.as_str())),
            ("DEVANTURE_ENVIRONMENT", place.as_str().into()),
            ("DEVANTURE_INSTANCE", INSTANCE.into()),
        ];
        own.extend(self.data_of(&server)?.map(|data| ("DEVANTURE_DATA", data.into())));
        let running = self.spawn(context, &project, process, &folder, own)?;
        Ok(Started { running, note: without_link(&server, &folder), folder })
    }

    /// Returns the folder that survives restarts, if `persist` requests one.
    fn data_of(&self, server: &Server) -> Result<Option<&Path>, Failure> {
        if server.persist.is_none() {
            return Ok(None);
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.persisted);
        made.map_err(|error| failed(&self.persisted.display().to_string(), &error))?;
        Ok(Some(&self.persisted))
    }

    /// Starts the backend with the variables `own`, which no setting changes.
    fn spawn(
        &self,
        context: &Context,
        project: &Project,
        process: &Process,
        folder: &Path,
        own: Vec<(&str, OsString)>,
    ) -> Result<Running, Failure> {
        let words = expanded(&process.command, |name| (name == "PORT").then(|| self.port.to_string()));
        let Some((program, arguments)) = words.split_first() else {
            return Err(Failure::new(Code::BadConfig, "`command` below [server] names no program."));
        };
        let folder_there = std::fs::canonicalize(folder);
        let folder = folder_there.map_err(|error| failed(&folder.display().to_string(), &error))?;
        // A program named by a path is relative to the folder, as on the edge.
        let program = if program.contains('/') { folder.join(program).into_os_string() } else { program.into() };
        let mut command = Command::new(program);
        let persons = context.environment.iter().filter(|(name, _)| !name.starts_with(OWN));
        command.args(arguments).current_dir(folder).env_clear().envs(persons);
        // The shell's `HOST` names the machine.
        command.env("HOST", "127.0.0.1");
        command.envs(self.settings.iter().map(|(name, value)| (name.as_str(), value)));
        // An app called `server` has its own settings of this program in a file of that name.
        let settings = project.settings_of_server(SETTINGS_FILE)?;
        command.envs(settings.iter().filter(|(name, _)| !name.starts_with(OWN)));
        command.env("PORT", self.port.to_string()).envs(own);
        // Stdout is reserved for the output of `dev`.
        command.stdin(Stdio::null()).stdout(io::stderr()).stderr(Stdio::inherit());
        let guard_failed = |error| failed("/bin/sh, which ends it if dev is killed", &error);
        let guard = Guard::start().map_err(guard_failed)?;
        let child = command.process_group(0).kill_on_drop(true).spawn();
        let child = child.map_err(|error| failed(&process.command.join(" "), &error))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut running = Running { child, group, guard };
        if let Some(group) = group {
            running.guard.watch(group).map_err(guard_failed)?;
        }
        Ok(running)
    }
}

/// A started backend.
struct Started {
    running: Running,
    /// The folder, as the user knows it.
    folder: PathBuf,
    /// A note for the user.
    note: Option<String>,
}

/// A running backend, with all its processes.
struct Running {
    child: Child,
    group: Option<Pid>,
    /// Dropped after all processes have ended.
    guard: Guard,
}

impl Running {
    /// Ends the backend, and waits for its end.
    async fn end(mut self) {
        if let Some(group) = self.group {
            // An ended process needs no signal.
            kill_process_group(group, Signal::TERM).ok();
            // A process beyond the time limit is killed on drop.
            tokio::time::timeout(END_TIME_MAX, self.child.wait()).await.ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(group) = self.group else { return };
        kill_process_group(group, Signal::TERM).ok();
        let until = Instant::now() + END_TIME_MAX;
        while Instant::now() < until {
            // The first process exists until its exit status is read.
            let has_ended = self.child.try_wait().is_ok_and(|ended| ended.is_some());
            if has_ended && test_kill_process_group(group).is_err() {
                return;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        kill_process_group(group, Signal::KILL).ok();
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    let message = format!("The backend cannot be started: {what}: {error}.");
    Failure::new(Code::UnreadableFile, message)
        .hint("build the backend first; `command` below [server] says how it is started")
}

/// Returns the backend in `place`.
fn server_in(project: &Project, place: &PlaceName) -> Option<Server> {
    let over = project.site.env.get(place).cloned().unwrap_or_default();
    project.site.base.clone().overlaid_by(&over).server.map(|server| server.resolved())
}

/// Returns the note about code that may miss the link of `persist`: here the folder belongs to the project, which `dev`
/// only reads.
fn without_link(server: &Server, folder: &Path) -> Option<String> {
    let persist = server.persist.as_ref().filter(|persist| !folder.join(persist.as_str()).is_dir())?;
    let folder = folder.display();
    Some(format!(
        "dev makes no link `{persist}` in {folder}, as an edge does for `persist`: the folder that stays is DEVANTURE_DATA"
    ))
}

/// Returns the folder of the backend as the user knows it.
fn folder_of(project: &Project) -> Result<PathBuf, Failure> {
    Ok(project.folders(None)?.server.map(|server| server.path().to_owned()).unwrap_or_default())
}

fn web_of(server: &Server) -> Option<&Process> {
    server.processes.iter().find(|process| process.name.as_str() == WEB)
}

/// Returns a currently unused port.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
