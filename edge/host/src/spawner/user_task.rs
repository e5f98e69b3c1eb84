//! What is done as a user of instances, since nobody with more rights should walk through what it made.
//!
//! A process of this program's own, `devanture-edge user-task`, becomes the user for one task.

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

/// Longest time of a task.
const TASK_TIME_MAX: Duration = Duration::from_secs(60);
/// Most bytes of what a task answers.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// A task that is done as a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum UserTask {
    /// SIGKILL to all of its processes at once.
    EndAll,
    /// Makes a folder that nobody else enters.
    MakeFolder(PathBuf),
    /// Removes a folder.
    RemoveFolder(PathBuf),
    /// Removes what is in these folders.
    EmptyFolders(Vec<PathBuf>),
    /// Removes what belongs to it in folders that everybody may write to.
    LeaveShared(Vec<PathBuf>),
}

/// The order for a task process.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    parent: i32,
    uid: u32,
    task: UserTask,
}

/// Does the task of the standard input, as the user that it names, and answers there why it failed, if so.
///
/// # Errors
/// Errors of the standard input, and [`io::ErrorKind::InvalidData`] if it has no task.
pub fn user_task() -> io::Result<()> {
    let mut status = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut text = String::new();
    status.read_to_string(&mut text)?;
    let Spec { parent, uid, task } = serde_json::from_str(&text)?;
    let done = become_user(uid, parent).and_then(|()| carry_out(&task));
    let answer: Result<(), String> = done.map_err(|error| error.to_string());
    status.write_all(serde_json::to_string(&answer)?.as_bytes())
}

/// In the order of `exec-instance`: the signal at the parent's end is asked for after the change of the user, which
/// takes it back.
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
        // This process is left out (kill(2)).
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

/// Has a task done as a user. The process is a child of the calling one, which may reap it.
///
/// # Errors
/// A sentence that says why it was not done.
pub(super) async fn perform(uid: u32, task: UserTask, begun: impl FnOnce(i32)) -> Result<(), String> {
    let failed = |error: io::Error| format!("no task can be done as the user {uid}: {error}");
    let (status, its) = StdUnixStream::pair().map_err(failed)?;
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0(OWN_NAME).arg("user-task").current_dir("/").env_clear();
    command.stdin(OwnedFd::from(its)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(failed)?;
    // With it, the other end of the socket: else its end would never be seen here.
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    begun(pid.map_or(0, |pid| pid.as_raw_nonzero().get()));
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let answer = timeout(TASK_TIME_MAX, converse(status, &Spec { parent: own, uid, task })).await;
    // It ends by itself after its answer; one that does not is ended here.
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

async fn converse(status: StdUnixStream, spec: &Spec) -> io::Result<Result<(), String>> {
    status.set_nonblocking(true)?;
    let mut status = UnixStream::from_std(status)?;
    status.write_all(&serde_json::to_vec(spec)?).await?;
    status.shutdown().await?;
    let mut answer = Vec::new();
    status.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}
