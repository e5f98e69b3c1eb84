//! Instance within the spawner: start, and passing on output.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, waitpid};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attached::Attachment;
use super::cgroup::{Group, Groups};
use super::error::Refusal;
use super::exec::{ProgramSpec, Task, TemporaryFolders};
use super::own_program::{OWN_NAME, OWN_PROGRAM};
use super::private_folders::PrivateFolders;
use super::private_memory::PrivateMemory;
use super::process_users::users_of;
use super::processes::{EDGE_MARKER, INSTANCE_MARKER, Mark, Owner};
use super::tag::Tag;
use super::wire::{CHUNK_BYTES, Filling, Start, WINDOW_BYTES};
use super::{Exit, InstanceLimits, Stream, Usage, passed_file};

/// Maximum bytes of a failure report by `exec-instance`.
const STATUS_BYTES_MAX: usize = 64 * 1024;
/// Maximum bytes of a failure report read at once.
const STATUS_READ_BYTES: usize = 1_024;

/// Instance with an unreaped main process: the process id and the group id are reserved.
pub(super) struct Instance {
    pub(super) key: u64,
    pub(super) app: String,
    pub(super) main: Pid,
    pub(super) limits: InstanceLimits,
    pub(super) group: Option<Group>,
    /// Path of a private tmpfs, if any.
    pub(super) private: Option<String>,
    /// Last reported usage, and the time of the report.
    pub(super) reported: Cell<Option<(Instant, Usage)>>,
    /// Reason of the spawner for killing the instance.
    pub(super) verdict: RefCell<Option<Exit>>,
    /// True after a signal that requests the end.
    pub(super) is_asked_to_end: Cell<bool>,
    /// True if the signal was SIGTERM.
    pub(super) is_terminated: Cell<bool>,
    /// Cancelled when all processes are killed.
    pub(super) is_killed: CancellationToken,
    /// True after the end of the main process.
    pub(super) is_ending: Cell<bool>,
    /// Cancelled after the end of all processes: only the bytes in the pipes remain.
    pub(super) is_over: CancellationToken,
    /// User, if different from the spawner's.
    pub(super) uid: Option<u32>,
    marker: String,
    /// Bytes of output that may still be sent.
    window: Semaphore,
    /// Input and terminal, if provided by the edge.
    pub(super) attachment: Option<Attachment>,
    begin: RefCell<Option<JoinHandle<Answer>>>,
    outputs: RefCell<Vec<JoinHandle<()>>>,
}

impl Instance {
    /// Starts an instance within a [`tokio::task::LocalSet`]. `started` receives the process id before any output is
    /// put into `out`.
    ///
    /// # Errors
    /// Returns the reason of a refusal.
    pub(super) fn start(
        start: Start,
        edge_id: &str,
        (groups, has_private_folders): (Option<&Groups>, bool),
        started: impl FnOnce(Pid),
        out: &mpsc::Sender<Vec<u8>>,
    ) -> Result<Rc<Self>, Refusal> {
        let number = rand::random::<u64>();
        let marker = format!("{}#{number:016x}", start.id);
        let failed = |error: io::Error| format!("no process can be started: {error}");
        let app = start.id.split('/').next().unwrap_or_default().to_owned();
        let group = groups.map(|groups| groups.create(&app, &format!("instance-{number:016x}"), &start.limits));
        let group = group.transpose().map_err(|error| format!("no control group can be created: {error}"))?;
        let PendingExec { main, status, stdout, stderr } = begin(edge_id, &marker).map_err(failed)?;
        let is_over = CancellationToken::new();
        let attached = start.attached;
        let opened =
            attached.map(|attached| Attachment::open(attached, (start.key, start.uid), out, &is_over)).transpose();
        let (attachment, passed) = opened
            .inspect_err(|_refusal| {
                kill_process(main, Signal::KILL).ok();
            })?
            .unzip();
        let taken = group.as_ref().map(|group| group.add(main.as_raw_nonzero().get().unsigned_abs()));
        if let Some(Err(error)) = taken {
            // No order was sent yet, so the process still runs this program.
            kill_process(main, Signal::KILL).ok();
            return Err(format!("its control group does not take it: {error}").into());
        }
        let mut environment = start.environment;
        let folders = match start.temporary {
            Some(temporary) if has_private_folders => TemporaryFolders::Private(PrivateFolders {
                temporary: temporary.folder,
                bytes: start.limits.temporary_bytes,
                files: start.limits.temporary_files,
                keep: start.keep.into_iter().chain([PathBuf::from(&start.folder)]).collect(),
            }),
            Some(temporary) => {
                let own = temporary.own();
                let given = environment.values_mut().filter(|value| Path::new(value.as_str()) == temporary.folder);
                given.for_each(|value| *value = own.display().to_string());
                TemporaryFolders::New(own)
            }
            None => TemporaryFolders::Shared,
        };
        let private = match &folders {
            TemporaryFolders::Private(private) => Some(private.temporary.display().to_string()),
            _ => None,
        };
        environment.insert(EDGE_MARKER.to_owned(), edge_id.to_owned());
        environment.insert(INSTANCE_MARKER.to_owned(), marker.clone());
        let tag = Tag::next();
        let uid = start.uid.filter(|uid| *uid != rustix::process::geteuid().as_raw());
        let spec = ProgramSpec {
            parent: getpid().as_raw_nonzero().get(),
            command: start.command,
            folder: start.folder,
            environment,
            uid: start.uid,
            limits: start.limits,
            has_cgroup: group.is_some(),
            tag: tag.map(Tag::limit),
            folders,
            attached,
        };
        let instance = Rc::new(Self {
            key: start.key,
            app,
            main,
            limits: start.limits,
            group,
            private,
            reported: Cell::default(),
            verdict: RefCell::default(),
            is_asked_to_end: Cell::default(),
            is_terminated: Cell::default(),
            is_killed: CancellationToken::new(),
            is_ending: Cell::default(),
            is_over,
            uid,
            marker: tag.map_or(marker, Tag::marker),
            window: Semaphore::new(WINDOW_BYTES),
            attachment,
            begin: RefCell::default(),
            outputs: RefCell::default(),
        });
        started(main);
        let pass = |pipe, stream| {
            let pipe = pipe::Receiver::from_owned_fd(pipe).ok()?;
            Some(tokio::task::spawn_local(pass_on(Rc::clone(&instance), pipe, stream, out.clone())))
        };
        let outputs = [pass(stdout, Stream::Stdout), pass(stderr, Stream::Stderr), Attachment::pass_on(&instance, out)];
        *instance.outputs.borrow_mut() = outputs.into_iter().flatten().collect();
        let begin = tokio::task::spawn_local(hand_over(status, Task::Run(Box::new(spec)), passed));
        *instance.begin.borrow_mut() = Some(begin);
        Ok(instance)
    }

    pub(super) fn owner(&self) -> Owner {
        Owner { key: self.key, main: self.main.as_raw_nonzero().get(), marker: self.marker.clone(), uid: self.user() }
    }

    /// Returns the user of the instance's processes.
    fn user(&self) -> u32 {
        self.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw())
    }

    /// Returns true if a process carries the instance's marker and belongs to the instance's user.
    pub(super) fn has_marked(&self, mark: &Mark) -> bool {
        mark.is_of(&self.marker, self.user())
    }

    /// Returns true if a process may belong to the instance by its user: without an exclusive user, any process may.
    pub(super) fn may_own(&self, pid: i32) -> bool {
        let Some(uid) = self.uid else { return true };
        users_of(pid).is_none_or(|(ids, _)| ids.contains(&uid))
    }

    /// Sends a signal to the group; only to the main process if the group does not exist yet.
    pub(super) fn signal(&self, signal: Signal) {
        // Signals of a person or a closed terminal: the command's reaction to SIGINT is as final as to SIGTERM.
        if [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT].contains(&signal) {
            self.is_asked_to_end.set(true);
        }
        if signal == Signal::TERM {
            self.is_terminated.set(true);
        }
        if kill_process_group(self.main, signal).is_err() {
            kill_process(self.main, signal).ok();
        }
    }

    /// Returns the window of consumed output bytes.
    pub(super) fn credit(&self, bytes: u32) {
        let room = WINDOW_BYTES.saturating_sub(self.window.available_permits());
        self.window.add_permits(room.min(usize::try_from(bytes).unwrap_or(room)));
    }

    /// Returns the report of the main process before the program began. Must be called once, at the end.
    pub(super) async fn answer(&self) -> Answer {
        let begin = self.begin.borrow_mut().take();
        match begin {
            Some(begin) => begin.await.unwrap_or_default(),
            None => Answer::default(),
        }
    }

    /// Waits until all output is passed on. Must be called once, at the end.
    pub(super) async fn finished(&self) {
        let outputs = self.outputs.take();
        for output in outputs {
            output.await.ok();
        }
    }
}

/// Report of a process before its program began.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Reason of a failed start.
    pub(super) failed: Option<Exit>,
    /// Memory to free at the end of the instance.
    pub(super) memory: Option<PrivateMemory>,
}

/// Process that waits for the program to execute.
struct PendingExec {
    main: Pid,
    status: StdUnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

fn begin(edge_id: &str, marker: &str) -> io::Result<PendingExec> {
    let (status, its) = StdUnixStream::pair()?;
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0(OWN_NAME).arg("exec-instance").current_dir("/");
    command.env_clear().env(EDGE_MARKER, edge_id).env(INSTANCE_MARKER, marker);
    command.stdin(OwnedFd::from(its)).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The host waits for all children, including this one.
    let mut child = command.spawn()?;
    let none = || io::Error::from(io::ErrorKind::NotFound);
    let main = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(none)?;
    let stdout = child.stdout.take().ok_or_else(none)?.into();
    let stderr = child.stderr.take().ok_or_else(none)?.into();
    Ok(PendingExec { main, status, stdout, stderr })
}

/// Tests if instances can have private folders for temporary files.
///
/// # Errors
/// Returns a message if not.
pub(super) async fn probe_private_folders(edge_id: &str) -> Result<(), String> {
    let PendingExec { main, status, .. } = begin(edge_id, "probe").map_err(|error| error.to_string())?;
    let Answer { failed, .. } = hand_over(status, Task::Probe, None).await;
    // The process has no work left.
    let ended = tokio::task::spawn_blocking(move || waitpid(Some(main), WaitOptions::empty())).await;
    let is_good = matches!(ended, Ok(Ok(Some((_, status)))) if status.exit_status() == Some(0));
    match failed {
        None if is_good => Ok(()),
        None => Err("the attempt to make some failed".to_owned()),
        Some(Exit::CannotStart(reason)) => Err(reason),
        Some(exit) => Err(exit.to_string()),
    }
}

/// Sends the task to the process, and waits until the socket closes after success, or reports a failure.
async fn hand_over(status: StdUnixStream, task: Task, passed: Option<OwnedFd>) -> Answer {
    let mut files = Vec::new();
    let failed = converse(status, task, passed, &mut files).await;
    Answer { failed, memory: PrivateMemory::of(files) }
}

async fn converse(
    status: StdUnixStream,
    task: Task,
    passed: Option<OwnedFd>,
    files: &mut Vec<OwnedFd>,
) -> Option<Exit> {
    passed_file::send(&status, passed.as_ref().map(OwnedFd::as_fd).as_slice()).ok()?;
    // The process has a copy: a copy here would keep the terminal open.
    drop(passed);
    status.set_nonblocking(true).ok()?;
    let mut status = UnixStream::from_std(status).ok()?;
    let text = serde_json::to_vec(&task).ok()?;
    drop(task);
    status.write_all(&text).await.ok()?;
    status.shutdown().await.ok()?;
    let mut answer = Vec::new();
    while answer.len() < STATUS_BYTES_MAX {
        let mut buffer = [0; STATUS_READ_BYTES];
        let receive = || passed_file::receive_some(&status, &mut buffer);
        let (count, came) = status.async_io(Interest::READABLE, receive).await.ok()?;
        files.extend(came);
        match buffer.get(..count) {
            Some(bytes) if count > 0 => answer.extend_from_slice(bytes),
            _ => break,
        }
    }
    serde_json::from_slice(&answer).ok()
}

/// Passes on output of a pipe or a terminal within the window to its end; after the end of the instance, until no bytes
/// are left: another holder of the other end is no part of the instance.
pub(super) async fn pass_on(instance: Rc<Instance>, pipe: pipe::Receiver, stream: Stream, out: mpsc::Sender<Vec<u8>>) {
    loop {
        let is_over = tokio::select! {
            ready = pipe.readable() => match ready {
                Ok(()) => instance.is_over.is_cancelled(),
                Err(_) => return,
            },
            () = instance.is_over.cancelled() => true,
        };
        let chunk = u32::try_from(CHUNK_BYTES).unwrap_or(u32::MAX);
        let Ok(permits) = instance.window.acquire_many(chunk).await else { return };
        let mut filling = Filling::new(instance.key, stream);
        let read = match is_over {
            // Bypasses the runtime, which reports no readiness before an event arrives.
            true => rustix::io::read(pipe.as_fd(), filling.room()).map_err(io::Error::from),
            false => pipe.try_read(filling.room()),
        };
        match read {
            Ok(0) => return,
            Ok(count) => {
                permits.forget();
                instance.window.add_permits(CHUNK_BYTES.saturating_sub(count));
                let Ok(frame) = filling.filled(count) else { return };
                if out.send(frame).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !is_over => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
