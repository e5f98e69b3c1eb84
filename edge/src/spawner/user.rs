//! One user of instances as a whole: the end of all its processes, and what has to be done to its files as the user
//! itself, since nobody with more rights should walk through what it made.
//!
//! A process of this program's own, `devanture-edge user-task`, becomes the user for one task. `kill(-1)` is the one
//! call that no process escapes by beginning another one in time: the kernel signals all of them while none can fork.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
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

use super::instance::{OWN_NAME, OWN_PROGRAM};
use super::processes::{BETWEEN_PASSES, FIRST_USER, KILL_WAIT, Process};
use crate::blobs::durable::{self, Owner};

/// Longest time of a task.
const TASK_TIME_MAX: Duration = Duration::from_secs(60);
/// Most bytes of what a task answers.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Most bytes of `/proc/PID/status` that are read: the ids stand near its beginning.
const STATUS_BYTES_MAX: u64 = 4 * 1024;

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

/// Ends every process of a user, and waits until none is left.
///
/// # Errors
/// Where some are left after ten seconds: a process in the middle of disk I/O dies late.
pub(super) async fn end_user(uid: u32, mut begun: impl FnMut(i32)) -> Result<(), String> {
    if !may_be_ended(uid, geteuid().as_raw()) {
        return Err(format!("the user {uid} runs no instances alone"));
    }
    let until = Instant::now() + KILL_WAIT;
    loop {
        let left = processes_of(&|other| other == uid);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("{} processes of the user {uid} do not end", left.len()));
        }
        // A process that would end the task first, in a loop, is ended here.
        left.iter().for_each(|(process, _)| process.kill());
        if let Err(error) = perform(uid, UserTask::EndAll, &mut begun).await {
            tracing::debug!(error, "a task is tried again");
        }
        sleep(BETWEEN_PASSES).await;
    }
}

/// Ends every process of the users for which `is_meant` holds.
///
/// # Errors
/// The first failure; the other users are ended all the same.
pub(super) async fn end_users(is_meant: &dyn Fn(u32) -> bool, mut begun: impl FnMut(i32)) -> Result<(), String> {
    let own = geteuid().as_raw();
    let found = processes_of(&|uid| may_be_ended(uid, own) && is_meant(uid));
    let users: BTreeSet<u32> = found.into_iter().map(|(_, uid)| uid).collect();
    let mut failed = None;
    for uid in users {
        failed = failed.or(end_user(uid, &mut begun).await.err());
    }
    failed.map_or(Ok(()), Err)
}

/// Whether all processes of a user may be ended by this process: neither those of the system nor its own.
const fn may_be_ended(uid: u32, own: u32) -> bool {
    own == 0 && uid >= FIRST_USER && uid < u32::MAX
}

/// The processes that have not ended and of which a user id, real, effective, saved or of files, is one that is meant,
/// with that id.
pub(super) fn processes_of(is_meant: &dyn Fn(u32) -> bool) -> Vec<(Process, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        // First, so that an id that is given to another process in between is noticed when it is killed.
        let process = Process::read(pid)?;
        let (ids, is_dead) = users_of(pid)?;
        let uid = ids.into_iter().find(|uid| is_meant(*uid)).filter(|_| !is_dead)?;
        Some((process, uid))
    })
    .collect()
}

/// The four user ids of a process, and whether it has ended. From `status`, since whom `/proc/PID` belongs to is root
/// where the process forbids that it is traced (prctl(2), `PR_SET_DUMPABLE`).
pub(super) fn users_of(pid: i32) -> Option<([u32; 4], bool)> {
    let mut text = String::new();
    let file = fs::File::open(format!("/proc/{pid}/status")).ok()?;
    file.take(STATUS_BYTES_MAX).read_to_string(&mut text).ok()?;
    parse_status(&text)
}

fn parse_status(text: &str) -> Option<([u32; 4], bool)> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let is_dead = value("State")?.starts_with(['Z', 'X', 'x']);
    let ids: Vec<u32> = value("Uid")?.split('\t').filter_map(|id| id.parse().ok()).collect();
    Some((ids.try_into().ok()?, is_dead))
}

/// Whether objects of System V IPC of a user are left: neither a folder nor a process holds them.
pub(crate) fn has_ipc_objects(uid: u32) -> bool {
    let tables = ["shm", "sem", "msg"].map(|kind| fs::read_to_string(Path::new("/proc/sysvipc").join(kind)));
    tables.into_iter().flatten().any(|table| names_user(&table, uid))
}

/// Whether a table of `/proc/sysvipc` has a line whose owner or maker is a user.
fn names_user(table: &str, uid: u32) -> bool {
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let columns: Vec<usize> = ["uid", "cuid"].iter().filter_map(|name| head.iter().position(|at| at == name)).collect();
    lines.any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        columns.iter().any(|column| fields.get(*column).and_then(|id| id.parse().ok()) == Some(uid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_of_a_process_are_read_whatever_it_is_called() {
        let text = "Name:\tUid:\t1\nState:\tS (sleeping)\nUid:\t1000\t1001\t1002\t1003\nGid:\t0\t0\t0\t0\n";
        assert_eq!(parse_status(text), Some(([1_000, 1_001, 1_002, 1_003], false)));
        assert!(parse_status(&text.replace("S (sleeping)", "Z (zombie)")).unwrap().1);
        assert_eq!(parse_status("Name:\tx\n"), None);
        let own = geteuid().as_raw();
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        assert_eq!(users_of(pid), Some(([own; 4], false)));
        assert!(processes_of(&|uid| uid == own).iter().any(|(process, _)| process.pid == pid));
    }

    #[test]
    fn neither_users_of_the_system_nor_the_own_one_are_ended() {
        assert!(may_be_ended(200_000, 0));
        for (uid, own) in [(0, 0), (999, 0), (u32::MAX, 0), (200_000, 1_000), (1_000, 1_000)] {
            assert!(!may_be_ended(uid, own), "{uid} by {own}");
        }
    }

    #[test]
    fn objects_of_ipc_are_found_by_owner_and_maker() {
        let table = "       key      shmid perms       size  cpid  lpid nattch   uid   gid  cuid  cgid\n\
                              0          1   600       4096    10    11      0  3000  3000  3001  3000\n";
        assert!(names_user(table, 3_000) && names_user(table, 3_001));
        assert!(!names_user(table, 4_096) && !names_user("", 0));
    }
}
