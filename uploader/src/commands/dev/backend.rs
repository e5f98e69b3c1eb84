//! The backend of the bundle on this machine: its `web` process runs beside the edge of the run, is restarted when its
//! folder changes, and ends with it.

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
/// The folder of the run for what `persist` keeps; the edge has its own data in another one beside it.
const PERSISTED: &str = "persist";
/// The only instance: the first of `web`.
const INSTANCE: &str = "web.1";
/// Variables of the client itself, which the backend does not get.
const OWN: &str = "DEVANTURE_";
/// Longest time of a backend's end after SIGTERM, …
const END_TIME_MAX: Duration = Duration::from_secs(2);
/// … and how often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The note where it is not run.
const NOT_RUN: &str = "the backend of [server] is not run by dev: start it yourself and use --api";

/// A backend that is to run.
pub(super) struct Backend {
    /// Where it is to answer.
    pub(super) url: UpstreamUrl,
    app: AppName,
    port: u16,
    /// The folder for what `persist` keeps, which goes with the run. Nothing of the edge is in it.
    persisted: PathBuf,
    /// Settings of the environment that are marked for development. They are in memory alone.
    settings: BTreeMap<SettingName, String>,
}

impl Backend {
    /// The backend of the project, where it has one that gets requests in `place` and can be run here.
    ///
    /// # Errors
    /// Where no port is free.
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
        // Somebody else answers for it, or nobody asks it.
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

    /// Takes the settings of an environment that a person names and an edge has, as far as they are marked for
    /// development.
    pub(super) async fn take_settings(&mut self, context: &Context, place: &PlaceName) {
        let is_named = context.settings.environment().is_ok_and(|setting| setting.source == Source::Flag);
        // Without an edge the site alone is served as that environment would.
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

    /// Runs it until this is dropped, which ends it.
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
                // The watcher of the pages reports how files are watched.
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
                        // What it has left is ended now, while its number is nobody else's.
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

    /// Starts it as the files say now.
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

    /// The folder that stays through restarts, where `persist` asks for one.
    fn data_of(&self, server: &Server) -> Result<Option<&Path>, Failure> {
        if server.persist.is_none() {
            return Ok(None);
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.persisted);
        made.map_err(|error| failed(&self.persisted.display().to_string(), &error))?;
        Ok(Some(&self.persisted))
    }

    /// Starts it with the variables `own`, which no setting changes.
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
        // One that is named by its path is that of the folder, as on the edge.
        let program = if program.contains('/') { folder.join(program).into_os_string() } else { program.into() };
        let mut command = Command::new(program);
        let persons = context.environment.iter().filter(|(name, _)| !name.starts_with(OWN));
        command.args(arguments).current_dir(folder).env_clear().envs(persons);
        // That of a person's shell names the machine.
        command.env("HOST", "127.0.0.1");
        command.envs(self.settings.iter().map(|(name, value)| (name.as_str(), value)));
        // An app called `server` has its own settings of this program in a file of that name.
        let settings = project.settings_of_server(SETTINGS_FILE)?;
        command.envs(settings.iter().filter(|(name, _)| !name.starts_with(OWN)));
        command.env("PORT", self.port.to_string()).envs(own);
        // Stdout is for what `dev` itself tells.
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

/// A backend that was started.
struct Started {
    running: Running,
    /// Its folder, as the person knows it.
    folder: PathBuf,
    /// What the person should know of it.
    note: Option<String>,
}

/// A backend that runs, with all that it has started.
struct Running {
    child: Child,
    group: Option<Pid>,
    /// Dropped after all of it has ended.
    guard: Guard,
}

impl Running {
    /// Tells it to end, and waits for that.
    async fn end(mut self) {
        if let Some(group) = self.group {
            // A process that has ended needs no signal.
            kill_process_group(group, Signal::TERM).ok();
            // One that takes too long is killed when it is dropped.
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
            // The first of them is there until it is asked how it ended.
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

/// The backend as `place` has it.
fn server_in(project: &Project, place: &PlaceName) -> Option<Server> {
    let over = project.site.env.get(place).cloned().unwrap_or_default();
    project.site.base.clone().overlaid_by(&over).server.map(|server| server.resolved())
}

/// The note where code that works on an edge may miss the link of `persist`: its folder here is the project's own,
/// which `dev` only reads.
fn without_link(server: &Server, folder: &Path) -> Option<String> {
    let persist = server.persist.as_ref().filter(|persist| !folder.join(persist.as_str()).is_dir())?;
    let folder = folder.display();
    Some(format!(
        "dev makes no link `{persist}` in {folder}, as an edge does for `persist`: the folder that stays is DEVANTURE_DATA"
    ))
}

/// The folder of the backend as the person knows it.
fn folder_of(project: &Project) -> Result<PathBuf, Failure> {
    Ok(project.folders(None)?.server.map(|server| server.path().to_owned()).unwrap_or_default())
}

fn web_of(server: &Server) -> Option<&Process> {
    server.processes.iter().find(|process| process.name.as_str() == WEB)
}

/// A port that nobody listens on now.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
