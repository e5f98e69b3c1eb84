//! Errors of instances, each with the event, the instance and the reason.

use devanture_base::durable;
use devanture_config::problem::Code;
use devanture_config::text::counted;
use devanture_host::spawner::MEASURED_DEPTH_MAX;
use devanture_store::{blobs, catalog};

/// Hint for backends on an edge with a disabled runner.
pub const TURN_ON: &str = "write enabled = true below [runner] in edge.toml, and start the edge again";
/// Log lines of an instance included in an error.
pub const ERROR_LINES_MAX: usize = 20;

/// Error of running instances.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// `[runner] enabled` is not set.
    #[error("this edge runs no backends: [runner] enabled is not true in its edge.toml")]
    Off,
    /// Environments have no user ids of their own, and no admin of every app stored the bundle.
    #[error(
        "all backends of this edge run as its own user, so that only an admin of every app may push them and change their settings"
    )]
    Forbidden,
    /// A link of the folder needs an interpreter unknown to the edge.
    #[error("`{path}` of the bundle is a link to {name}, and {reason}")]
    Interpreter {
        /// Link.
        path: String,
        /// Interpreter, for example `python3.11`.
        name: String,
        /// Available interpreters.
        reason: String,
    },
    /// The edge is stopping.
    #[error("the edge is about to end")]
    Ended,
    /// The successor edge has the instances.
    #[error("a new edge takes over the instances")]
    Restarting,
    /// Another caller ended the instance meanwhile.
    #[error("{instance} is not wanted any more")]
    Unwanted {
        /// For example `web.2`.
        instance: String,
    },
    /// No instance of the backend runs there.
    #[error("no backend runs in {place} of {app}")]
    NothingRuns {
        /// App.
        app: String,
        /// Environment or alias.
        place: String,
    },
    /// The instance ended repeatedly, before becoming healthy or soon afterwards.
    #[error("{instance} ended {} {when}; the last time it {reason}", counted(times, "time"))]
    CrashLoop {
        /// For example `web.2`.
        instance: String,
        /// Number of ends.
        times: u64,
        /// `before it was healthy`, or another state of health.
        when: &'static str,
        /// For example `exited with code 1`.
        reason: String,
        /// Last lines.
        lines: Vec<String>,
    },
    /// The instance ran, but did not become healthy in time.
    #[error("{instance} was not healthy within {after_ms} ms: {reason}")]
    NotHealthy {
        /// For example `web.2`.
        instance: String,
        /// Time limit.
        after_ms: u64,
        /// Last health check result.
        reason: String,
        /// Last lines.
        lines: Vec<String>,
    },
    /// The command is missing, or not executable.
    #[error("{instance} cannot be started: {reason}")]
    Missing {
        /// For example `web.2`.
        instance: String,
        /// Command and fault.
        reason: String,
        /// Last lines.
        lines: Vec<String>,
    },
    /// The command `release` failed.
    #[error("the command `release` {reason}")]
    ReleaseFailed {
        /// For example `exited with code 1`.
        reason: String,
        /// Last lines.
        lines: Vec<String>,
    },
    /// The limit of instances would be exceeded.
    #[error("{wanted} instances would run, and {max} may: `{setting}` in edge.toml is the limit")]
    TooMany {
        /// Resulting number.
        wanted: u64,
        /// Limit.
        max: u64,
        /// Name of the limit.
        setting: &'static str,
    },
    /// The app's share of instances would be exceeded.
    #[error(
        "{app} would have {}, and its share of what other apps leave is {share}: `instances_total_max` in edge.toml is \
         the limit",
        counted(wanted, "instance")
    )]
    BeyondShare {
        /// App.
        app: String,
        /// Resulting number over all environments.
        wanted: u64,
        /// Share.
        share: u64,
    },
    /// An environment stores more than permitted.
    #[error(
        "{whose} {}{} in {}, and {bytes_max} bytes in {files_max} files may be kept: {limits} in edge.toml are the \
         limits",
        too_deep(*is_too_deep),
        counted(bytes, "byte"),
        counted(files, "file")
    )]
    PersistFull {
        /// For example `prod of shop keeps`.
        whose: String,
        /// Stored bytes, as far as counted.
        bytes: u64,
        /// Limit in bytes.
        bytes_max: u64,
        /// Stored files, folders and links, as far as counted.
        files: u64,
        /// Limit in files.
        files_max: u64,
        /// Names of the limits.
        limits: &'static str,
        /// Folders beyond the counted depth exist.
        is_too_deep: bool,
    },
    /// The environment stores no data on the node.
    #[error("{0}")]
    NoData(String),
    /// A task on the data of the environment failed.
    #[error("{detail}")]
    Data {
        /// Problem code.
        code: Code,
        /// Description, as a sentence.
        detail: String,
    },
    /// The limit of concurrent data tasks is reached, for the environment or in total.
    #[error("other work on the data is not done yet")]
    DataBusy,
    /// A command blocks the replacement of the data: commands are not ended, unlike instances.
    #[error("a command of a schedule, `release` or `devanture run` is under way in the environment")]
    CommandRuns,
    /// The data of the environment is being replaced.
    #[error("its data is being replaced")]
    DataReplaced,
    /// The container image of the backend is forbidden or unavailable.
    #[error("the container image of the backend cannot be run: {why}")]
    Image {
        /// Reason.
        why: String,
        /// Remedy, unless stated by the reason.
        hint: Option<String>,
    },
    /// A folder of the runner is unusable.
    #[error("the folders of the backend cannot be made: {0}")]
    Folder(String),
    /// The environment has no user id within the range.
    #[error("{0}")]
    User(String),
    /// Settings and secrets cannot be read.
    #[error("the variables of the backend cannot be read: {0}")]
    Variables(String),
    /// The instances cannot be handed over to the next edge.
    #[error("instances cannot be handed over: {0}")]
    Handover(String),
    /// The machine has no terminal left for a command.
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
    /// Error of an image that cannot be run, with a remedy.
    pub(super) fn image(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Image { why: why.into(), hint: Some(hint.into()) }
    }

    /// Returns the last log lines of the instance concerned, oldest first.
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

/// Returns the prefix of counted bytes and files, for folders beyond the counted depth.
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
