//! The edge's handles of the spawner and of started instances.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::attaching::{Attached, AttachedOrder, PassedSignal, WindowSize};
use super::client::{self, Launched, SpawnerCommand, SupervisedSpawner};
use super::error::SpawnError;
use super::event::{Exit, Happened, Usage};
use super::handover::{HandedProcess, SpawnerConnection};
use super::launch::Launch;
use super::measure::{Measured, MeasuredFolder};
use super::settings::{Means, SpawnerSettings};
use super::user_task::UserTask;
use super::wire;

/// Handle of the spawner. All instances end when the last handle is dropped, including every [`Running`] and
/// [`Signaller`].
#[derive(Debug, Clone)]
pub struct Spawner {
    commands: mpsc::UnboundedSender<SpawnerCommand>,
    means: watch::Receiver<Means>,
    uids: Option<RangeInclusive<u32>>,
}

impl Spawner {
    /// Starts the spawner, which kills leftovers of an earlier run of the same edge, and restarts a dead spawner. Makes
    /// the calling process a subreaper, and must be called in a tokio runtime that outlives the handle.
    ///
    /// # Errors
    /// [`SpawnError::Start`], [`SpawnError::Protocol`].
    pub async fn start(settings: SpawnerSettings) -> Result<Self, SpawnError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let SupervisedSpawner { means, uids } = client::start(settings, receiver).await?;
        Ok(Self { commands, means, uids })
    }

    /// Continues with the spawner of an earlier edge and with `processes`, in order, once [`Spawner::resume`] is
    /// called; all other processes of the spawner are ended then. Has the requirements of [`Spawner::start`].
    ///
    /// # Errors
    /// [`SpawnError::Start`]; [`SpawnError::Protocol`] for another protocol version.
    pub fn adopt(
        settings: SpawnerSettings,
        connection: SpawnerConnection,
        processes: &[HandedProcess],
    ) -> Result<(Self, Vec<Running>), SpawnError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (SupervisedSpawner { means, uids }, launched) = client::adopt(settings, connection, processes, receiver)?;
        let spawner = Self { commands, means, uids };
        let running = launched.into_iter().map(|launched| spawner.running(launched)).collect();
        Ok((spawner, running))
    }

    /// Pauses the spawner's output after all written output was received, and returns the state for the next edge.
    /// Until [`Spawner::resume`], no instance starts, ends, or reports.
    ///
    /// # Errors
    /// [`SpawnError::Gone`], [`SpawnError::Start`].
    pub async fn pause(&self) -> Result<SpawnerConnection, SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(SpawnerCommand::Pause { reply }).map_err(|_gone| SpawnError::Gone)?;
        answer.await.map_err(|_gone| SpawnError::Gone)?
    }

    /// Resumes after [`Spawner::pause`] or [`Spawner::adopt`].
    pub fn resume(&self) {
        self.commands.send(SpawnerCommand::Resume).ok();
    }

    /// Leaves the paused spawner to the next edge. No further launches are possible, and no events arrive.
    pub fn leave(&self) {
        self.commands.send(SpawnerCommand::Leave).ok();
    }

    /// Returns the current means of enforcing limits.
    #[must_use]
    pub fn means(&self) -> Means {
        *self.means.borrow()
    }

    /// Returns the users claimed for the edge; `None` if the spawner is no separate service.
    #[must_use]
    pub fn uids(&self) -> Option<&RangeInclusive<u32>> {
        self.uids.as_ref()
    }

    /// Starts an instance. [`Running::next`] reports the execution of the command.
    ///
    /// # Errors
    /// [`SpawnError::Refused`], [`SpawnError::Order`], [`SpawnError::Gone`].
    pub async fn launch(&self, launch: Launch) -> Result<Running, SpawnError> {
        self.launch_as(launch, None).await
    }

    /// Starts an instance with input, and possibly a terminal, provided by the caller.
    ///
    /// # Errors
    /// Errors of [`Self::launch`].
    pub async fn launch_attached(&self, launch: Launch, attached: Attached) -> Result<Running, SpawnError> {
        self.launch_as(launch, Some(attached)).await
    }

    async fn launch_as(&self, launch: Launch, attached: Option<Attached>) -> Result<Running, SpawnError> {
        let (reply, answer) = oneshot::channel();
        let command = SpawnerCommand::Launch { launch: Box::new(launch), attached, reply };
        self.commands.send(command).map_err(|_gone| SpawnError::Gone)?;
        let launched = answer.await.map_err(|_gone| SpawnError::Gone)??;
        Ok(self.running(launched))
    }

    fn running(&self, launched: Launched) -> Running {
        let Launched { key, pid, happens, usage, input_taken } = launched;
        let signaller = Signaller { key, commands: self.commands.clone() };
        Running { pid, happens, usage, input_taken, signaller, taken: 0, has_exited: false }
    }

    /// Measures the content of `folders`, up to `files_max` names, and the unlinked open files of `instances`.
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
        let command = SpawnerCommand::Measure { folders, keys, files_max, reply };
        self.commands.send(command).map_err(|_gone| SpawnError::Gone)?;
        answer.await.map_err(|_gone| SpawnError::Gone)?
    }

    /// Ends every process of a user, despite any attempt to escape, and waits until none is left. Instances of the user
    /// must not run, since they would be ended too.
    ///
    /// # Errors
    /// [`SpawnError::Refused`] if processes remain; [`SpawnError::Gone`].
    pub async fn end_user(&self, uid: u32) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::EndUser { uid, reply }).await
    }

    /// Creates a folder as a user, accessible only to the user.
    ///
    /// # Errors
    /// Errors of [`Self::end_user`].
    pub async fn make_folder(&self, uid: u32, path: PathBuf) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::Task { uid, task: UserTask::MakeFolder(path), reply }).await
    }

    /// Removes a folder of a user as the user.
    ///
    /// # Errors
    /// Errors of [`Self::end_user`].
    pub async fn remove_folder(&self, uid: u32, path: PathBuf) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::Task { uid, task: UserTask::RemoveFolder(path), reply }).await
    }

    /// Removes the content of a user's folders as the user.
    ///
    /// # Errors
    /// Errors of [`Self::end_user`].
    pub async fn empty_folders(&self, uid: u32, folders: Vec<PathBuf>) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::Task { uid, task: UserTask::EmptyFolders(folders), reply }).await
    }

    /// Removes the files of a user in world-writable folders as the user.
    ///
    /// # Errors
    /// Errors of [`Self::end_user`], and an error if files remain.
    pub async fn leave_shared(&self, uid: u32, folders: Vec<PathBuf>) -> Result<(), SpawnError> {
        self.done(|reply| SpawnerCommand::Task { uid, task: UserTask::LeaveShared(folders), reply }).await
    }

    async fn done(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), SpawnError>>) -> SpawnerCommand,
    ) -> Result<(), SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_gone| SpawnError::Gone)?;
        answer.await.map_err(|_gone| SpawnError::Gone)?
    }

    /// Kills all remaining processes, and waits until the spawner is gone. No further launches are possible.
    pub async fn end(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(SpawnerCommand::End { reply }).is_ok() {
            answer.await.ok();
        }
    }
}

/// Reports the usage of a running instance.
#[derive(Debug, Clone)]
pub struct Monitor {
    key: u64,
    usage: watch::Receiver<Usage>,
}

impl Monitor {
    /// Returns the usage about a second ago.
    #[must_use]
    pub fn usage(&self) -> Usage {
        *self.usage.borrow()
    }
}

/// Started instance. Killed on drop, since no caller would learn of its end.
#[derive(Debug)]
pub struct Running {
    /// Process id of the main process.
    pub pid: u32,
    happens: mpsc::UnboundedReceiver<Happened>,
    usage: watch::Receiver<Usage>,
    input_taken: watch::Receiver<u64>,
    signaller: Signaller,
    /// Output taken since the last report to the spawner.
    taken: usize,
    has_exited: bool,
}

impl Running {
    /// Returns the next event; `None` after [`Happened::Exited`]. If output is not taken, the instance blocks in its
    /// next write. Cancel safe.
    pub async fn next(&mut self) -> Option<Happened> {
        let happened = self.happens.recv().await;
        match &happened {
            Some(Happened::Output { bytes, .. }) => {
                self.taken += bytes.len();
                if self.taken >= wire::WINDOW_BYTES / 4 {
                    let bytes = std::mem::take(&mut self.taken);
                    self.signaller.send(|key| SpawnerCommand::Credit { key, bytes });
                }
                happened
            }
            Some(Happened::Exited(_)) => {
                self.has_exited = true;
                happened
            }
            // The supervising task is gone with its runtime, and all instances with the task.
            None if !self.has_exited => {
                self.has_exited = true;
                Some(Happened::Exited(Exit::Lost))
            }
            None => None,
        }
    }

    /// Returns a pending event while the spawner is paused.
    pub fn take_happened(&mut self) -> Option<Happened> {
        let happened = self.happens.try_recv().ok();
        self.has_exited |= matches!(happened, Some(Happened::Exited(_)));
        happened
    }

    /// Returns the process for the next edge.
    #[must_use]
    pub fn handed(&self) -> HandedProcess {
        HandedProcess { key: self.signaller.key, pid: self.pid }
    }

    /// Returns a handle for the usage of the instance.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor { key: self.signaller.key, usage: self.usage.clone() }
    }

    /// Returns the number of input bytes consumed by an attached instance.
    #[must_use]
    pub fn input_taken(&self) -> watch::Receiver<u64> {
        self.input_taken.clone()
    }

    /// Returns a handle for input and signals to an attached instance.
    #[must_use]
    pub fn attached(&self) -> AttachedSignaller {
        AttachedSignaller(self.signaller())
    }

    /// Returns a handle for signals to the instance.
    #[must_use]
    pub fn signaller(&self) -> Signaller {
        self.signaller.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_exited {
            self.signaller.send(|key| SpawnerCommand::Abandon { key });
        }
    }
}

/// Sends signals to an instance; no effect after the exit.
#[derive(Debug, Clone)]
pub struct Signaller {
    key: u64,
    commands: mpsc::UnboundedSender<SpawnerCommand>,
}

impl Signaller {
    /// Sends SIGTERM to the process group of the instance, which from then on ends with its last process.
    pub fn terminate(&self) {
        self.send(|key| SpawnerCommand::Terminate { key });
    }

    /// Sends SIGKILL to every process of the instance.
    pub fn kill(&self) {
        self.send(|key| SpawnerCommand::Kill { key });
    }

    fn attached(&self, order: AttachedOrder) {
        self.send(|key| SpawnerCommand::Attached { key, order });
    }

    fn send(&self, command: impl FnOnce(u64) -> SpawnerCommand) {
        // Without a receiver, the instance is gone.
        self.commands.send(command(self.key)).ok();
    }
}

/// Sends input, signals and sizes to an attached instance; no effect after the exit.
#[derive(Debug, Clone)]
pub struct AttachedSignaller(Signaller);

impl AttachedSignaller {
    /// Sends input, of which at most 256 KiB may wait; empty for the end of input.
    pub fn input(&self, bytes: Bytes) {
        self.0.attached(AttachedOrder::Input(bytes));
    }

    /// Resizes the terminal.
    pub fn resize(&self, size: WindowSize) {
        self.0.attached(AttachedOrder::Resize(size));
    }

    /// Sends a signal to the process group.
    pub fn signal(&self, signal: PassedSignal) {
        self.0.attached(AttachedOrder::Signal(signal));
    }

    /// Sends SIGKILL to every process of the instance.
    pub fn kill(&self) {
        self.0.kill();
    }
}
