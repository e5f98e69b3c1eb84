//! Tasks performed as an instance user, since no process with more rights should walk through a user's files.
//!
//! A separate process of this program, `devanture-edge user-task`, becomes the user for one task.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal;
use rustix::process::{
    Gid, Pid, Signal, Uid, WaitOptions, geteuid, getppid, set_parent_process_death_signal, setsid, waitpid,
};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::own_program::{OWN_NAME, OWN_PROGRAM};
use super::processes::KILL_WAIT;
use devanture_base::durable::{self, Owner};

/// Time limit of a task.
const TASK_TIME_MAX: Duration = Duration::from_secs(60);
/// Maximum bytes of a task's answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Task performed as a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum UserTask {
    /// Sends SIGKILL to all processes of the user at once.
    EndAll,
    /// Creates a folder accessible only to the user.
    MakeFolder(PathBuf),
    /// Removes a folder.
    RemoveFolder(PathBuf),
    /// Removes the content of folders.
    EmptyFolders(Vec<PathBuf>),
    /// Removes the user's files in world-writable folders.
    LeaveShared(Vec<PathBuf>),
}

/// Order for a task process.
#[derive(Debug, Serialize, Deserialize)]
struct UserTaskSpec {
    parent: i32,
    uid: u32,
    task: UserTask,
}

/// Performs the task from standard input as the given user, and reports a failure on the same socket.
///
/// # Errors
/// Errors of standard input, and [`io::ErrorKind::InvalidData`] without a task.
pub fn user_task() -> io::Result<()> {
    let mut status = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut text = String::new();
    status.read_to_string(&mut text)?;
    let UserTaskSpec { parent, uid, task } = serde_json::from_str(&text)?;
    let done = become_user(uid, parent).and_then(|()| carry_out(&task));
    let answer: Result<(), String> = done.map_err(|error| error.to_string());
    status.write_all(serde_json::to_string(&answer)?.as_bytes())
}

/// In the order of `exec-instance`: the parent-death signal is requested after the change of user, which resets the
/// signal.
fn become_user(uid: u32, parent: i32) -> io::Result<()> {
    setsid()?;
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    set_no_new_privs(true)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match getppid().map(|parent| parent.as_raw_nonzero().get()) {
        Some(now) if now == parent => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "the parent is gone")),
    }
}

fn carry_out(task: &UserTask) -> io::Result<()> {
    match task {
        // The calling process is excluded (kill(2)).
        UserTask::EndAll => match signal::kill(nix::unistd::Pid::from_raw(-1), signal::Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        },
        UserTask::MakeFolder(path) => durable::make_folder_as(path, 0o700, Owner::default()).map_err(io::Error::other),
        UserTask::RemoveFolder(path) => durable::remove_folder(path).map(drop).map_err(io::Error::other),
        UserTask::EmptyFolders(folders) => {
            folders.iter().try_for_each(|folder| durable::empty_folder(folder).map_err(io::Error::other))
        }
        UserTask::LeaveShared(folders) => {
            let own = geteuid().as_raw();
            folders.iter().try_for_each(|folder| durable::remove_owned(folder, own).map_err(io::Error::other))
        }
    }
}

/// Performs a task as a user. The process is a child of the caller, which may reap the child.
///
/// # Errors
/// Returns a message about the failure.
pub(super) async fn perform(uid: u32, task: UserTask, begun: impl FnOnce(i32)) -> Result<(), String> {
    let failed = |error: io::Error| format!("no task can be done as the user {uid}: {error}");
    let (status, its) = StdUnixStream::pair().map_err(failed)?;
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0(OWN_NAME).arg("user-task").current_dir("/").env_clear();
    command.stdin(OwnedFd::from(its)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(failed)?;
    // Also drops the other end of the socket: otherwise the end would never be noticed here.
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    begun(pid.map_or(0, |pid| pid.as_raw_nonzero().get()));
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let answer = timeout(TASK_TIME_MAX, converse(status, &UserTaskSpec { parent: own, uid, task })).await;
    // The process exits after the answer; a hanging process is killed here.
    if answer.is_err()
        && let Some(pid) = pid
    {
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
    let until = Instant::now() + KILL_WAIT;
    while Instant::now() < until && matches!(waitpid(pid, WaitOptions::NOHANG), Ok(None)) {
        sleep(Duration::from_millis(1)).await;
    }
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(failed(error)),
        Err(_elapsed) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

async fn converse(status: StdUnixStream, spec: &UserTaskSpec) -> io::Result<Result<(), String>> {
    status.set_nonblocking(true)?;
    let mut status = UnixStream::from_std(status)?;
    status.write_all(&serde_json::to_vec(spec)?).await?;
    status.shutdown().await?;
    let mut answer = Vec::new();
    status.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}
