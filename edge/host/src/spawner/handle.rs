//! The edge's handles of the spawner and of the instances that it started.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::attaching::{Attached, AttachedOrder, PassedSignal, WindowSize};
use super::client::{self, Kept, Launched, SpawnerCommand};
use super::error::SpawnError;
use super::event::{Exit, Happened, Usage};
use super::handover::{HandedProcess, SpawnerConnection};
use super::launch::Launch;
use super::measure::{Measured, MeasuredFolder};
use super::settings::{Means, SpawnerSettings};
use super::user_task::UserTask;
use super::wire;

/// A handle of the spawner. When the last one is gone, with every [`Running`] and [`Signaller`], all instances end.
#[derive(Debug, Clone)]
pub struct Spawner {
    commands: mpsc::UnboundedSender<SpawnerCommand>,
    means: watch::Receiver<Means>,
    uids: Option<RangeInclusive<u32>>,
}

impl Spawner {
    /// Starts the spawner, which kills what an earlier run of the same edge has left. It is restarted whenever it
    /// dies. Makes the calling process a subreaper, and must be called in a tokio runtime that lives as long as it.
    ///
    /// # Errors
    /// [`SpawnError::Start`], [`SpawnError::Protocol`].
    pub async fn start(settings: SpawnerSettings) -> Result<Self, SpawnError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let Kept { means, uids } = client::start(settings, receiver).await?;
        Ok(Self { commands, means, uids })
    }

    /// Goes on with the spawner of an earlier edge and with `processes` of it, in their order, once [`Spawner::resume`]
    /// is called; the others that it runs are ended then. To be called as [`Spawner::start`].
    ///
    /// # Errors
    /// [`SpawnError::Start`]; [`SpawnError::Protocol`] where it speaks another one.
    pub fn adopt(
        settings: SpawnerSettings,
        connection: SpawnerConnection,
        processes: &[HandedProcess],
    ) -> Result<(Self, Vec<Running>), SpawnError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (Kept { means, uids }, launched) = client::adopt(settings, connection, processes, receiver)?;
        let spawner = Self { commands, means, uids };
        let running = launched.into_iter().map(|launched| spawner.running(launched)).collect();
        Ok((spawner, running))
    }

    /// Has the spawner write nothing more, after all that it has written was received, and gives what the next edge
    /// goes on with. Until [`Spawner::resume`], no instance starts, ends, or is heard of.
    ///
    /// # Errors
    /// [`SpawnError::Gone`], [`SpawnError::Start`].
    pub async fn pause(&self) -> Result<SpawnerConnection, SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(SpawnerCommand::Pause { reply }).map_err(|_gone| SpawnError::Gone)?;
        answer.await.map_err(|_gone| SpawnError::Gone)?
    }

    /// Goes on after [`Spawner::pause`] or [`Spawner::adopt`].
    pub fn resume(&self) {
        self.commands.send(SpawnerCommand::Resume).ok();
    }

    /// Leaves the paused spawner to the next edge. Nothing can be launched any more, and nothing is heard of instances.
    pub fn leave(&self) {
        self.commands.send(SpawnerCommand::Leave).ok();
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
        self.launch_as(launch, None).await
    }

    /// Starts an instance whose input, and terminal if it has one, are the caller's.
    ///
    /// # Errors
    /// As [`Self::launch`].
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
        let command = SpawnerCommand::Measure { folders, keys, files_max, reply };
        self.commands.send(command).map_err(|_gone| SpawnError::Gone)?;
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
        command: impl FnOnce(oneshot::Sender<Result<(), SpawnError>>) -> SpawnerCommand,
    ) -> Result<(), SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_gone| SpawnError::Gone)?;
        answer.await.map_err(|_gone| SpawnError::Gone)?
    }

    /// Kills all that is left, and waits until the spawner is gone. Nothing can be launched any more.
    pub async fn end(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(SpawnerCommand::End { reply }).is_ok() {
            answer.await.ok();
        }
    }
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
    input_taken: watch::Receiver<u64>,
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
                    self.signaller.send(|key| SpawnerCommand::Credit { key, bytes });
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

    /// What has happened already and was not taken yet, while the spawner is paused.
    pub fn take_happened(&mut self) -> Option<Happened> {
        let happened = self.happens.try_recv().ok();
        self.has_exited |= matches!(happened, Some(Happened::Exited(_)));
        happened
    }

    /// The process, for the next edge.
    #[must_use]
    pub fn handed(&self) -> HandedProcess {
        HandedProcess { key: self.signaller.key, pid: self.pid }
    }

    /// A handle that tells what the instance uses.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor { key: self.signaller.key, usage: self.usage.clone() }
    }

    /// Bytes of input that an attached instance has taken so far.
    #[must_use]
    pub fn input_taken(&self) -> watch::Receiver<u64> {
        self.input_taken.clone()
    }

    /// A handle to send input and signals to an attached instance.
    #[must_use]
    pub fn attached(&self) -> AttachedSignaller {
        AttachedSignaller(self.signaller())
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
            self.signaller.send(|key| SpawnerCommand::Abandon { key });
        }
    }
}

/// Sends signals to an instance; does nothing if it has exited.
#[derive(Debug, Clone)]
pub struct Signaller {
    key: u64,
    commands: mpsc::UnboundedSender<SpawnerCommand>,
}

impl Signaller {
    /// SIGTERM to the process group of the instance, which has ended with its last process from then on.
    pub fn terminate(&self) {
        self.send(|key| SpawnerCommand::Terminate { key });
    }

    /// SIGKILL to every process of the instance.
    pub fn kill(&self) {
        self.send(|key| SpawnerCommand::Kill { key });
    }

    fn attached(&self, order: AttachedOrder) {
        self.send(|key| SpawnerCommand::Attached { key, order });
    }

    fn send(&self, command: impl FnOnce(u64) -> SpawnerCommand) {
        // Where nobody listens any more, the instance is gone.
        self.commands.send(command(self.key)).ok();
    }
}

/// Sends input, signals and sizes to an attached instance; does nothing if it has exited.
#[derive(Debug, Clone)]
pub struct AttachedSignaller(Signaller);

impl AttachedSignaller {
    /// Input, of which no more than 256 KiB may wait; empty at its end.
    pub fn input(&self, bytes: Bytes) {
        self.0.attached(AttachedOrder::Input(bytes));
    }

    /// Another size of its terminal.
    pub fn resize(&self, size: WindowSize) {
        self.0.attached(AttachedOrder::Resize(size));
    }

    /// A signal for its process group.
    pub fn signal(&self, signal: PassedSignal) {
        self.0.attached(AttachedOrder::Signal(signal));
    }

    /// SIGKILL to every process of it.
    pub fn kill(&self) {
        self.0.kill();
    }
}
