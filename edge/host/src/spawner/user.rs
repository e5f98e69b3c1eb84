//! Ends all processes of one instance user, and finds leftovers.
//!
//! No process escapes `kill(-1)` by forking in time: the kernel signals all processes of the user while none can fork.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::process::geteuid;
use tokio::time::{Instant, sleep};

use super::process_users::{may_be_ended, processes_of};
use super::processes::{BETWEEN_PASSES, KILL_WAIT};
use super::user_task::{UserTask, perform};

/// Ends every process of a user, and waits until none is left.
///
/// # Errors
/// Fails if processes are left after ten seconds: a process during disk I/O dies late.
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
        // A process that repeatedly kills the task first is killed here.
        left.iter().for_each(|(process, _)| process.kill());
        if let Err(error) = perform(uid, UserTask::EndAll, &mut begun).await {
            tracing::debug!(error, "a task is tried again");
        }
        sleep(BETWEEN_PASSES).await;
    }
}

/// Ends every process of the users accepted by `is_meant`.
///
/// # Errors
/// The first failure; the processes of the remaining users are ended nevertheless.
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

/// Returns true if System V IPC objects of a user are left, which neither a folder nor a process holds.
pub fn has_ipc_objects(uid: u32) -> bool {
    let tables = ["shm", "sem", "msg"].map(|kind| fs::read_to_string(Path::new("/proc/sysvipc").join(kind)));
    tables.into_iter().flatten().any(|table| names_user(&table, uid))
}

/// Returns true if a table of `/proc/sysvipc` has a line with the user as owner or creator.
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
    fn objects_of_ipc_are_found_by_owner_and_maker() {
        let table = "       key      shmid perms       size  cpid  lpid nattch   uid   gid  cuid  cgid\n\
                              0          1   600       4096    10    11      0  3000  3000  3001  3000\n";
        assert!(names_user(table, 3_000) && names_user(table, 3_001));
        assert!(!names_user(table, 4_096) && !names_user("", 0));
    }
}
