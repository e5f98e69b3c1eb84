//! Errors of instances, each with what happened, to which instance, and why.

use devanture_base::durable;
use devanture_config::problem::Code;
use devanture_config::text::counted;
use devanture_host::spawner::MEASURED_DEPTH_MAX;
use devanture_store::{blobs, catalog};

/// What to do where backends are to run and do not.
pub const TURN_ON: &str = "write enabled = true below [runner] in edge.toml, and start the edge again";
/// Lines of an instance's log that go with an error.
pub const ERROR_LINES_MAX: usize = 20;

/// Why instances do not run as they should.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// `[runner] enabled` is not said.
    #[error("this edge runs no backends: [runner] enabled is not true in its edge.toml")]
    Off,
    /// Environments have no user ids of their own, and no admin of every app stored the bundle.
    #[error(
        "all backends of this edge run as its own user, so that only an admin of every app may push them and change their settings"
    )]
    Forbidden,
    /// A link of the folder leads to an interpreter that this edge does not have.
    #[error("`{path}` of the bundle is a link to {name}, and {reason}")]
    Interpreter {
        /// The link.
        path: String,
        /// The interpreter, such as `python3.11`.
        name: String,
        /// What this edge has instead.
        reason: String,
    },
    /// The edge is about to end.
    #[error("the edge is about to end")]
    Ended,
    /// The next edge has the instances.
    #[error("a new edge takes over the instances")]
    Restarting,
    /// Another caller ended it meanwhile.
    #[error("{instance} is not wanted any more")]
    Unwanted {
        /// Such as `web.2`.
        instance: String,
    },
    /// Nothing of the backend runs in that place.
    #[error("no backend runs in {place} of {app}")]
    NothingRuns {
        /// The app.
        app: String,
        /// The environment or alias.
        place: String,
    },
    /// It ended again and again: before it was healthy, or soon after.
    #[error("{instance} ended {} {when}; the last time it {reason}", counted(times, "time"))]
    CrashLoop {
        /// Such as `web.2`.
        instance: String,
        /// Number of times.
        times: u64,
        /// `before it was healthy`, or how else it stood with its health.
        when: &'static str,
        /// Such as `exited with code 1`.
        reason: String,
        /// Its last lines.
        lines: Vec<String>,
    },
    /// It ran, and did not become healthy in time.
    #[error("{instance} was not healthy within {after_ms} ms: {reason}")]
    NotHealthy {
        /// Such as `web.2`.
        instance: String,
        /// Its time limit.
        after_ms: u64,
        /// Its last answer.
        reason: String,
        /// Its last lines.
        lines: Vec<String>,
    },
    /// Its command cannot be run: it is missing, or lacks the run bit.
    #[error("{instance} cannot be started: {reason}")]
    Missing {
        /// Such as `web.2`.
        instance: String,
        /// The command, and what is wrong with it.
        reason: String,
        /// Its last lines.
        lines: Vec<String>,
    },
    /// The command `release` failed.
    #[error("the command `release` {reason}")]
    ReleaseFailed {
        /// Such as `exited with code 1`.
        reason: String,
        /// Its last lines.
        lines: Vec<String>,
    },
    /// More instances than may be.
    #[error("{wanted} instances would run, and {max} may: `{setting}` in edge.toml is the limit")]
    TooMany {
        /// The number that there would be.
        wanted: u64,
        /// The limit.
        max: u64,
        /// The limit's name.
        setting: &'static str,
    },
    /// More instances of an app than the others leave to it.
    #[error(
        "{app} would have {}, and its share of what other apps leave is {share}: `instances_total_max` in edge.toml is \
         the limit",
        counted(wanted, "instance")
    )]
    BeyondShare {
        /// The app.
        app: String,
        /// The number that there would be in all of its environments.
        wanted: u64,
        /// Its share.
        share: u64,
    },
    /// An environment keeps more than it may.
    #[error(
        "{whose} {}{} in {}, and {bytes_max} bytes in {files_max} files may be kept: {limits} in edge.toml are the \
         limits",
        too_deep(*is_too_deep),
        counted(bytes, "byte"),
        counted(files, "file")
    )]
    PersistFull {
        /// Such as `prod of shop keeps`.
        whose: String,
        /// Bytes or files that are kept, as far as they were counted.
        bytes: u64,
        /// The limit of what may be kept.
        bytes_max: u64,
        /// Files, folders and links that are kept, as far as they were counted.
        files: u64,
        /// The limit.
        files_max: u64,
        /// The names of the limits.
        limits: &'static str,
        /// Some folders are deeper than any that are counted.
        is_too_deep: bool,
    },
    /// The environment keeps no data here.
    #[error("{0}")]
    NoData(String),
    /// The work on the data of an environment failed.
    #[error("{detail}")]
    Data {
        /// The code of its problem.
        code: Code,
        /// What happened, as a sentence.
        detail: String,
    },
    /// Something else works on the data of the environment, or too much works on that of others.
    #[error("other work on the data is not done yet")]
    DataBusy,
    /// A command keeps the data of the environment from being replaced: it is not ended, as instances are.
    #[error("a command of a schedule, `release` or `devanture run` is under way in the environment")]
    CommandRuns,
    /// The data of the environment is being replaced.
    #[error("its data is being replaced")]
    DataReplaced,
    /// The container image of the backend is not run here, or cannot be got.
    #[error("the container image of the backend cannot be run: {why}")]
    Image {
        /// The reason.
        why: String,
        /// What to do, where the reason does not say it.
        hint: Option<String>,
    },
    /// A folder of the runner cannot be made or used.
    #[error("the folders of the backend cannot be made: {0}")]
    Folder(String),
    /// The environment has no user id, or none in the range.
    #[error("{0}")]
    User(String),
    /// The settings and secrets cannot be read.
    #[error("the variables of the backend cannot be read: {0}")]
    Variables(String),
    /// The instances cannot go from one edge to the next.
    #[error("instances cannot be handed over: {0}")]
    Handover(String),
    /// The machine has no terminal for a command that is to have one.
    #[error("the node has no terminal left for the command: programs have as many open as its kernel allows")]
    NoTerminalLeft,
    /// The spawner failed.
    #[error("{0}")]
    Spawn(String),
    /// The catalog failed.
    #[error("{0}")]
    Catalog(String),
}

impl Error {
    /// An image that cannot be run, and what to do.
    pub(super) fn image(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Image { why: why.into(), hint: Some(hint.into()) }
    }

    /// The last lines of the log of the instance that it is about, oldest first.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        match self {
            Self::CrashLoop { lines, .. }
            | Self::NotHealthy { lines, .. }
            | Self::Missing { lines, .. }
            | Self::ReleaseFailed { lines, .. } => lines,
            _ => &[],
        }
    }
}

/// What comes before the bytes and files that were counted, where folders are too deep.
fn too_deep(is_too_deep: bool) -> String {
    match is_too_deep {
        true => format!(
            "folders deeper than {MEASURED_DEPTH_MAX}, which cannot be counted and have to be removed, and beside them "
        ),
        false => String::new(),
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        Self::Catalog(error.to_string())
    }
}

impl From<blobs::Error> for Error {
    fn from(error: blobs::Error) -> Self {
        Self::Folder(error.to_string())
    }
}

impl From<durable::Error> for Error {
    fn from(error: durable::Error) -> Self {
        Self::Folder(error.to_string())
    }
}
