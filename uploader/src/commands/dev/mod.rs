//! `dev`: serves the folder on this machine like an edge, and shows each change at once.
//!
//! `edge` starts the program `devanture-edge`, the same as in production, and `watch` reports changes. Each change
//! makes a `round`: the folder is pushed to that edge like any push, with the tag of `inject` in the copies of its
//! `pages`, and `reload` notifies the open pages. The `backend` of the bundle runs beside the edge, and its `guard`
//! ends the backend if this process is killed; either half may be `remote`, to which `forward` sends requests. `output`
//! prints all this, and `policy` detects pages that cannot be notified.

mod backend;
mod edge;
mod forward;
mod guard;
mod inject;
mod output;
mod pages;
mod policy;
mod reload;
mod remote;
mod round;
mod watch;

use std::fs::DirBuilder;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use devanture_config::AppName;
use devanture_config::problem::Code;
use devanture_config::site_toml::{FILE_NAME, UpstreamUrl};
use devanture_migrate::proposal::app_of_folder;
use devanture_project::Project;

use self::backend::Backend;
use self::edge::{EdgeOptions, LocalEdge};
use self::output::{DevOutput, Ready};
use self::pages::Pages;
use self::reload::Reload;
use self::remote::{RemoteSite, Routing};
use self::round::{Ended, RoundOptions, Rounds, routes_of};
use self::watch::{Watch, Watched};
use crate::args::DevArgs;
use crate::context::Context;
use crate::output::exit::Failure;
use crate::platform;

/// The name of the app if neither a file nor a folder gives one.
const APP: &str = "site";
/// Longest wait for an apparently half-built folder without further changes, …
const BUILD_TIME_MAX: Duration = Duration::from_secs(30);
/// … and the delay of a note about the wait: most builds are over by then.
const BUILD_TOLD_AFTER: Duration = Duration::from_secs(2);
/// Upper bound of attempts to read a file that may be written at the same time, …
const TRIES_MAX: u32 = 5;
/// … after so long.
const TRY_AGAIN: Duration = Duration::from_millis(300);

/// `dev`: exits with success after a signal.
///
/// # Errors
/// The reason why the site cannot be served; `bad_config` if `devanture.toml` has mistakes at the start, as the file
/// has the app's name.
pub(crate) async fn run(context: &Context, args: &DevArgs, read: Result<(), Failure>) -> Result<(), Failure> {
    read?;
    let folders = context.project.folders(args.dir.as_deref())?;
    let www = folders.www.path();
    if www.is_file() {
        return Err(Failure::new(Code::Usage, format!("{} is a file, and `dev` serves a folder.", www.display())));
    }
    let wanted = EdgeOptions {
        state_folder: context.settings.state_folder.clone(),
        port: args.port,
        has_log: context.progress.is_verbose(),
    };
    let shutdown = async {
        tokio::select! {
            Ok(()) = tokio::signal::ctrl_c() => {}
            () = platform::terminated() => {}
        }
    };
    let remote = RemoteSite::find(context, args).await?;
    let starting = LocalEdge::start(wanted);
    tokio::pin!(shutdown, starting);
    let ((edge, mut process), is_over) = tokio::select! {
        // Signals are handled from the first moment on.
        biased;
        // A started process is ended, and not left half-way.
        () = &mut shutdown => (starting.await?, true),
        edge = &mut starting => (edge?, false),
    };
    let ended = tokio::select! {
        biased;
        () = &mut shutdown, if !is_over => Ok(()),
        failure = process.ended(), if !is_over => Err(failure),
        ended = serve_all(context, args, &edge, remote.as_ref()), if !is_over => ended,
        else => Ok(()),
    };
    edge.end(process).await;
    ended
}

/// Serves, with the backend of the bundle, and the remote half. Both end with this future.
async fn serve_all(
    context: &Context,
    args: &DevArgs,
    edge: &LocalEdge,
    remote: Option<&RemoteSite>,
) -> Result<(), Failure> {
    let place = context.place()?;
    let mut routing = Routing { api: args.api_routes(), dir: args.dir.clone(), remote: None };
    let _forwarder = match remote {
        Some(site) => Some(site.forward(&mut routing, &edge.url(&app(context)?, &place)?, edge.folder()).await?),
        None => None,
    };
    let mut backend = Backend::of(context, &routing, &place, edge.folder())?;
    if let Some(backend) = &mut backend {
        backend.take_settings(context, &place).await;
    }
    let running = async {
        match &backend {
            Some(backend) => backend.run(context, args, &place).await,
            None => std::future::pending().await,
        }
    };
    let rounds = rounds(context, edge, routing, backend.as_ref().map(|backend| backend.url.clone())).await?;
    if let Some(site) = remote {
        site.give_settings(&rounds.edge, &place).await?;
    }
    tokio::select! {
        // The address is printed before notes about the backend.
        biased;
        ended = serve(context, args, edge, rounds) => ended,
        () = running => Ok(()),
    }
}

/// Serves until a failure that no change of a file can fix. State dropped with the future, such as the streams of open
/// pages, is gone before the edge ends.
async fn serve(context: &Context, args: &DevArgs, edge: &LocalEdge, mut rounds: Rounds) -> Result<(), Failure> {
    let routing = &rounds.routing;
    let mut teller = DevOutput::new(context.output, &context.progress);
    let folders = context.project.folders(routing.dir.as_deref())?;
    let www = folders.www.path();
    let routes = routes_of(&context.project.site, &rounds.place, routing, rounds.backend.as_ref());
    routing.check(&routes)?;
    teller.ready(&Ready {
        url: &edge.url(rounds.edge.app(), &rounds.place)?,
        www: Some(www).filter(|_| routing.front().is_none()),
        routes: &routing.shown(routes),
        authority: edge.authority(),
    });
    let config = ConfigPath::of(context);
    let (mut watch, why) = Watch::begin(Watched::new(www, config.path()), args.poll);
    if let Some(why) = why {
        teller.note(&format!("the system does not report changes ({why}); the files are polled once a second"));
    }
    let (mut tries, mut half_built_since) = (0, None::<Instant>);
    loop {
        let is_patient = half_built_since.is_none_or(|since| since.elapsed() < BUILD_TIME_MAX);
        let again = match round(&mut rounds, &config, &mut watch, is_patient).await {
            Ok(Ended::Live(went)) => {
                teller.live(&went);
                None
            }
            Ok(Ended::Same) => {
                teller.unchanged();
                None
            }
            Ok(Ended::HalfBuilt) => {
                let waited = half_built_since.get_or_insert_with(Instant::now).elapsed();
                if waited < BUILD_TOLD_AFTER {
                    Some(BUILD_TOLD_AFTER)
                } else {
                    teller.waiting(
                        "Most of what was served is gone, as while a build runs. The rest of it is waited for.",
                    );
                    Some(BUILD_TIME_MAX.saturating_sub(waited))
                }
            }
            Err(failure) if failure.is(Code::UnreadableFile) && tries < TRIES_MAX => {
                tries += 1;
                Some(TRY_AGAIN)
            }
            Err(failure) if failure.is(Code::MissingFolder) || failure.is(Code::EmptyBundle) => {
                teller.waiting(&format!("{} It is waited for.", failure.message));
                None
            }
            Err(failure) => {
                teller.failed(&failure, rounds.live.is_some());
                None
            }
        };
        let has_settled = match again {
            Some(time) => tokio::time::timeout(time, watch.settled()).await.is_ok(),
            None => {
                watch.settled().await;
                tries = 0;
                true
            }
        };
        // Without further changes, the folder is taken as complete.
        if has_settled {
            half_built_since = None;
        }
    }
}

/// The requirements of rounds.
async fn rounds(
    context: &Context,
    edge: &LocalEdge,
    routing: Routing,
    backend: Option<UpstreamUrl>,
) -> Result<Rounds, Failure> {
    let copies = edge.folder().join("pages");
    let made = DirBuilder::new().create(&copies).and_then(|()| Pages::new(&copies));
    let pages =
        made.map_err(|error| Failure::new(Code::Internal, format!("{} cannot be made: {error}.", copies.display())))?;
    Ok(Rounds {
        edge: edge.client(app(context)?, context.progress.clone())?,
        place: context.place()?,
        reload: Reload::start().await?,
        pages,
        routing,
        backend,
        live: None,
        progress: context.progress.clone(),
    })
}

async fn round(
    rounds: &mut Rounds,
    config: &ConfigPath,
    watch: &mut Watch,
    is_patient: bool,
) -> Result<Ended, Failure> {
    let (mut project, read) = config.read();
    read?;
    project.choose(Some(rounds.edge.app().as_str()))?;
    let folders = project.folders(rounds.routing.dir.as_deref())?;
    watch.turn_to(Watched::new(folders.www.path(), config.path()));
    rounds.run(RoundOptions { project, folders, is_patient }).await
}

/// Returns the app: the given one, else one with the folder's name.
fn app(context: &Context) -> Result<AppName, Failure> {
    if let Some(app) = context.settings.explicit_app()? {
        return Ok(app.value);
    }
    match app_of_folder(&context.project.folder) {
        Some(app) => Ok(app),
        None => APP.parse().map_err(|error| Failure::new(Code::Internal, format!("{error}."))),
    }
}

/// The path of `devanture.toml`.
struct ConfigPath {
    file: PathBuf,
    /// The folder of `--root`.
    root: Option<PathBuf>,
}

impl ConfigPath {
    fn of(context: &Context) -> Self {
        Self { file: PathBuf::from(&context.project.file_name), root: context.project.root.clone() }
    }

    fn path(&self) -> &Path {
        &self.file
    }

    /// Reads the current project; the file of `--config` must exist.
    fn read(&self) -> (Project, Result<(), Failure>) {
        let config = (self.file != Path::new(FILE_NAME)).then_some(self.file.as_path());
        let (project, read) = Project::read(config, self.root.as_deref());
        (project, read.map_err(Failure::from))
    }
}
