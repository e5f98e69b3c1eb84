//! Starts, limits, signals and cleans up the processes of backends ("instances"), by a process of its own.
//!
//! [`Spawner`] is the edge's handle. Behind it, `client` holds the conversation (`wire`) with the spawner: a child,
//! `devanture-edge spawner`, or one that runs with more privileges behind a socket (`privileged_socket`). There, `host`
//! starts each instance by `devanture-edge exec-instance` (`exec`), passes its output on (`instance`) and watches what
//! it uses, by a control group where there is one (`cgroup`), else by what `/proc` tells (`processes`, `usage`).
//!
//! Nothing is left behind by any end of anybody: an instance dies with the spawner by the signal at its parent's end;
//! the spawner kills all when the edge is gone, which ends its standard input; what comes from an instance stays below
//! the spawner, which is a subreaper; where the spawner was killed, it comes to the edge, which is one too; and where
//! both were killed at once, the next start finds what is left by the marker in its environment.

mod begin;
mod cgroup;
pub(crate) mod claims;
mod client;
mod ending;
mod exec;
mod host;
mod instance;
mod kernel_files;
mod measure;
mod ports;
mod private_folders;
mod privileged_socket;
mod processes;
mod session;
mod system_calls;
mod usage;
mod user;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use bytes::Bytes;
use devanture_config::edge_toml::ControlGroups;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

pub use begin::HostUsers;
pub(crate) use begin::claim_when_free;
pub use exec::exec_instance;
pub use host::{HostSettings, host};
pub use measure::{Measured, MeasuredFolder};
pub use ports::listener_uid;
pub use privileged_socket::{AUTO, SocketSettings, open_door};
pub use processes::kill_leftovers;
pub(crate) use user::has_ipc_objects;
pub use user::user_task;

use client::{Launched, SpawnerCommand};
use user::UserTask;

/// The means to start instances.
#[derive(Debug, Clone)]
pub struct SpawnerSettings {
    /// This very program, `devanture-edge`.
    pub program: PathBuf,
    /// Where a spawner with more privileges listens; without one, the edge starts its own.
    pub socket: Option<PathBuf>,
    /// Where instances have control groups; a spawner behind a socket decides for itself.
    pub cgroup: ControlGroups,
    /// The mark of this edge's processes; the same after a restart, and no other edge's on this machine.
    pub edge_id: String,
    /// The folder of its backends, which names it to people.
    pub folder: PathBuf,
    /// Users that nothing but instances of this edge runs as: what an earlier run left of them is ended.
    pub uids: Vec<RangeInclusive<u32>>,
}

/// An error of an order to the spawner.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The spawner cannot be started, or reached.
    #[error("the spawner cannot be started: {0}")]
    Start(#[source] io::Error),
    /// The peer of the socket is not a spawner of this version.
    #[error("the spawner speaks another protocol")]
    Protocol,
    /// The spawner does not start this instance.
    #[error("the spawner refuses: {0}")]
    Refused(String),
    /// The order is too long, or has texts that are no UTF-8.
    #[error("the order cannot be sent: {0}")]
    Order(String),
    /// The spawner was ended, or died before it had started the instance.
    #[error("the spawner is gone")]
    Gone,
}

/// A handle of the spawner. When the last one is gone, with every [`Running`] and [`Signaller`], all instances end.
#[derive(Debug, Clone)]
pub struct Spawner {
    wishes: mpsc::UnboundedSender<SpawnerCommand>,
    means: watch::Receiver<Means>,
    uids: Option<RangeInclusive<u32>>,
}

/// The means by which the spawner enforces limits, as far as the machine allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Means {
    /// Each instance has a control group.
    pub control_groups: bool,
    /// Temporary files of an instance are in a tmpfs of its own, of a fixed size.
    pub private_folders: bool,
}

impl Spawner {
    /// Starts the spawner, which kills what an earlier run of the same edge has left. It is restarted whenever it
    /// dies. Makes the calling process a subreaper, and must be called in a tokio runtime that lives as long as it.
    ///
    /// # Errors
    /// [`SpawnError::Start`], [`SpawnError::Protocol`].
    pub async fn start(settings: SpawnerSettings) -> Result<Self, SpawnError> {
        let (wishes, receiver) = mpsc::unbounded_channel();
        let (means, uids) = client::start(settings, receiver).await?;
        Ok(Self { wishes, means, uids })
    }

    /// The current means to enforce limits.
    #[must_use]
    pub fn means(&self) -> Means {
        *self.means.borrow()
    }

    /// The users that the spawner has claimed for this edge; `None` where it is no service of its own.
    #[must_use]
    pub fn uids(&self) -> Option<&RangeInclusive<u32>> {
        self.uids.as_ref()
    }

    /// Starts an instance. [`Running::next`] reports whether its command can be executed.
    ///
    /// # Errors
    /// [`SpawnError::Refused`], [`SpawnError::Order`], [`SpawnError::Gone`].
    pub async fn launch(&self, launch: Launch) -> Result<Running, SpawnError> {
        let (reply, answer) = oneshot::channel();
        let wish = SpawnerCommand::Launch { launch: Box::new(launch), reply };
        self.wishes.send(wish).map_err(|_gone| SpawnError::Gone)?;
        let launched = answer.await.map_err(|_gone| SpawnError::Gone)??;
        let signaller = Signaller { key: launched.key, wishes: self.wishes.clone() };
        let Launched { pid, happens, usage, .. } = launched;
        Ok(Running { pid, happens, usage, signaller, taken: 0, has_exited: false })
    }

    /// Measures what lies in `folders`, up to `files_max` names, and what `instances` have open that has no name any
    /// more.
    ///
    /// # Errors
    /// [`SpawnError::Gone`], [`SpawnError::Order`].
    pub async fn measure(
        &self,
        folders: Vec<MeasuredFolder>,
        instances: &[Monitor],
        files_max: u64,
    ) -> Result<Measured, SpawnError> {
        let (reply, answer) = oneshot::channel();
        let keys = instances.iter().map(|instance| instance.key).collect();
        let wish = SpawnerCommand::Measure { folders, keys, files_max, reply };
        self.wishes.send(wish).map_err(|_gone| SpawnError::Gone)?;
        answer.await.map_err(|_gone| SpawnError::Gone)?
    }

    /// Ends every process of a user, whatever it does to escape, and waits until none is left. No instance of the user
    /// may run: it would be ended too.
    ///
    /// # Errors
    /// [`SpawnError::Refused`] where some do not end; [`SpawnError::Gone`].
    pub async fn end_user(&self, uid: u32) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::EndUser { uid, reply }).await
    }

    /// Makes a folder that belongs to a user, as that user, and that nobody else enters.
    ///
    /// # Errors
    /// As [`Self::end_user`].
    pub async fn make_folder(&self, uid: u32, path: PathBuf) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::Task { uid, task: UserTask::MakeFolder(path), reply }).await
    }

    /// Removes, as a user, a folder of its own.
    ///
    /// # Errors
    /// As [`Self::end_user`].
    pub async fn remove_folder(&self, uid: u32, path: PathBuf) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::Task { uid, task: UserTask::RemoveFolder(path), reply }).await
    }

    /// Removes, as a user, what is in its own folders.
    ///
    /// # Errors
    /// As [`Self::end_user`].
    pub async fn empty_folders(&self, uid: u32, folders: Vec<PathBuf>) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::Task { uid, task: UserTask::EmptyFolders(folders), reply }).await
    }

    /// Removes, as a user, what it has in folders that everybody may write to.
    ///
    /// # Errors
    /// As [`Self::end_user`], also where something is left.
    pub async fn leave_shared(&self, uid: u32, folders: Vec<PathBuf>) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::Task { uid, task: UserTask::LeaveShared(folders), reply }).await
    }

    async fn done(
        &self,
        wish: impl FnOnce(oneshot::Sender<Result<(), SpawnError>>) -> SpawnerCommand,
    ) -> Result<(), SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.wishes.send(wish(reply)).map_err(|_gone| SpawnError::Gone)?;
        answer.await.map_err(|_gone| SpawnError::Gone)?
    }

    /// Kills all that is left, and waits until the spawner is gone. Nothing can be launched any more.
    pub async fn end(&self) {
        let (reply, answer) = oneshot::channel();
        if self.wishes.send(SpawnerCommand::End { reply }).is_ok() {
            answer.await.ok();
        }
    }
}

/// An instance that is to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Such as `shop/prod/web.2`; unique among those that run.
    pub id: String,
    /// The program and its arguments. A program without a slash is looked for in the `PATH` of `environment`; one with
    /// a slash is relative to `folder`.
    pub command: Vec<String>,
    /// The working folder.
    pub folder: PathBuf,
    /// All variables that the instance has, beside the two markers.
    pub environment: BTreeMap<String, String>,
    /// The user, and the group of the same number; without one, those of the spawner.
    pub uid: Option<u32>,
    /// Its limits.
    pub limits: InstanceLimits,
    /// Where its temporary files go.
    pub temporary: Option<Temporary>,
    /// Folders, beside `folder`, that it reaches also where they are below `/tmp` or another folder that is replaced by
    /// one of its own.
    pub keep: Vec<PathBuf>,
}

/// Where the temporary files of one instance go: a tmpfs in front of `folder`, which the kernel removes, where the
/// spawner can mount one; else a new folder below it. Variables that say `folder` say the new one then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Temporary {
    /// Belongs to the user of the instance.
    pub folder: PathBuf,
    /// Of the new folder, which nobody else has.
    pub name: String,
}

impl Temporary {
    /// The new folder. The launcher of the instance removes it.
    #[must_use]
    pub fn own(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// Limits of an instance: of all its processes together, except open files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLimits {
    /// Memory that is no cache of files on a disk; beyond it the instance ends with [`Exit::OutOfMemory`].
    pub memory_bytes: u64,
    /// Processes; beyond it the instance ends with [`Exit::TooManyProcesses`].
    pub processes: u64,
    /// Processes and threads of all instances of its app; beyond it the largest ends with [`Exit::TooManyTasksOfApp`],
    /// unless the kernel refuses more tasks.
    pub app_tasks: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// Time of CPU, where 100 is one core; held by a control group only, and 0 is no limit.
    pub cpu_percent: u64,
    /// Bytes of one file that it writes.
    pub file_bytes: u64,
    /// Bytes of its temporary files.
    pub temporary_bytes: u64,
    /// Temporary files and folders.
    pub temporary_files: u64,
}

/// Usage of an instance, of all its processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes.
    pub processes: u64,
    /// Bytes of files in a tmpfs of its own, which are part of its memory.
    pub temporary_bytes: u64,
}

/// Tells what an instance uses, for as long as it runs.
#[derive(Debug, Clone)]
pub struct Monitor {
    key: u64,
    usage: watch::Receiver<Usage>,
}

impl Monitor {
    /// Its usage about a second ago.
    #[must_use]
    pub fn usage(&self) -> Usage {
        *self.usage.borrow()
    }
}

/// An instance that was started. When it is dropped, the instance is killed: nobody would learn what becomes of it.
#[derive(Debug)]
pub struct Running {
    /// The main process.
    pub pid: u32,
    happens: mpsc::UnboundedReceiver<Happened>,
    usage: watch::Receiver<Usage>,
    signaller: Signaller,
    /// Output that was taken since the last report to the spawner.
    taken: usize,
    has_exited: bool,
}

impl Running {
    /// The next event; `None` after [`Happened::Exited`]. Where output is not taken, the instance waits in its
    /// next write. May be dropped before it is ready.
    pub async fn next(&mut self) -> Option<Happened> {
        let happened = self.happens.recv().await;
        match &happened {
            Some(Happened::Output { bytes, .. }) => {
                self.taken += bytes.len();
                if self.taken >= wire::WINDOW_BYTES / 4 {
                    let bytes = std::mem::take(&mut self.taken);
                    self.signaller.wish(|key| SpawnerCommand::Credit { key, bytes });
                }
                happened
            }
            Some(Happened::Exited(_)) => {
                self.has_exited = true;
                happened
            }
            // The keeper is gone with its runtime, and all instances with it.
            None if !self.has_exited => {
                self.has_exited = true;
                Some(Happened::Exited(Exit::Lost))
            }
            None => None,
        }
    }

    /// A handle that tells what the instance uses.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor { key: self.signaller.key, usage: self.usage.clone() }
    }

    /// A handle to signal the instance with.
    #[must_use]
    pub fn signaller(&self) -> Signaller {
        self.signaller.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_exited {
            self.signaller.wish(|key| SpawnerCommand::Abandon { key });
        }
    }
}

/// Sends signals to an instance; does nothing if it has exited.
#[derive(Debug, Clone)]
pub struct Signaller {
    key: u64,
    wishes: mpsc::UnboundedSender<SpawnerCommand>,
}

impl Signaller {
    /// SIGTERM to the process group of the instance.
    pub fn terminate(&self) {
        self.wish(|key| SpawnerCommand::Terminate { key });
    }

    /// SIGKILL to every process of the instance.
    pub fn kill(&self) {
        self.wish(|key| SpawnerCommand::Kill { key });
    }

    fn wish(&self, wish: impl FnOnce(u64) -> SpawnerCommand) {
        // Where nobody listens any more, the instance is gone.
        self.wishes.send(wish(self.key)).ok();
    }
}

/// An event of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It wrote something; 16 KiB at most.
    Output {
        /// Where to.
        stream: Stream,
        /// The bytes as they came: lines may be cut anywhere.
        bytes: Bytes,
    },
    /// Its main process ended, and no other process of it is left.
    Exited(Exit),
}

/// An output of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

/// The end of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// With a code of its own.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// There is no such command.
    Missing(String),
    /// The command is there and may not be run.
    NotExecutable(String),
    /// It did not come to begin, for another reason.
    CannotStart(String),
    /// It took more memory than it may.
    OutOfMemory,
    /// It had more processes than it may.
    TooManyProcesses,
    /// It had the most processes and threads while its app had more of them than it may.
    TooManyTasksOfApp,
    /// It had more open files and mappings than can be counted.
    TooManyFiles,
    /// The spawner died, and the instance with it.
    Lost,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Missing(command) => write!(f, "there is no `{command}`, neither in its folder nor in its PATH"),
            Self::NotExecutable(command) => write!(f, "`{command}` may not be run: it lacks the run bit"),
            Self::CannotStart(reason) => write!(f, "could not be started: {reason}"),
            Self::OutOfMemory => write!(f, "took more memory than it may"),
            Self::TooManyProcesses => write!(f, "had more processes than it may"),
            Self::TooManyTasksOfApp => write!(
                f,
                "had the most processes and threads while the instances of its app together had more than app_tasks_max"
            ),
            Self::TooManyFiles => write!(f, "had more open files and mappings than can be counted"),
            Self::Lost => write!(f, "was lost with the process that ran it"),
        }
    }
}
