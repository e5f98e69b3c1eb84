//! Users of processes according to `/proc`, and the distinction of instance users.

use std::fs;
use std::io::Read as _;

use super::processes::Process;

/// Maximum bytes read of `/proc/PID/status`: the ids are near the beginning.
const STATUS_BYTES_MAX: u64 = 4 * 1024;
/// First id of non-system users.
pub(super) const FIRST_USER: u32 = 1_000;

/// Returns the live processes with a matching user id (real, effective, saved or file system), each with the id.
pub(super) fn processes_of(is_meant: &dyn Fn(u32) -> bool) -> Vec<(Process, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        // Read first, so that a reused id is noticed at the kill.
        let process = Process::read(pid)?;
        let (ids, is_dead) = users_of(pid)?;
        let uid = ids.into_iter().find(|uid| is_meant(*uid)).filter(|_| !is_dead)?;
        Some((process, uid))
    })
    .collect()
}

/// Returns the four user ids of a process, and true if dead. Read from `status`, since `/proc/PID` belongs to root for
/// a process that forbids tracing (prctl(2), `PR_SET_DUMPABLE`).
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

/// Returns the effective user of a process.
pub(super) fn owner_of(pid: i32) -> Option<u32> {
    let ([_real, effective, ..], _) = users_of(pid)?;
    Some(effective)
}

/// Returns true if an edge running as `own` can have started a process of the user `uid`.
pub(super) const fn may_be_ours(uid: u32, own: u32) -> bool {
    uid == own || own == 0 && uid >= FIRST_USER
}

/// Returns true if this process may end all processes of a user: not for system users and not for its own user.
pub(super) const fn may_be_ended(uid: u32, own: u32) -> bool {
    own == 0 && uid >= FIRST_USER && uid < u32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::geteuid;

    #[test]
    fn the_users_of_a_process_are_read_whatever_it_is_called() {
        let text = "Name:\tUid:\t1\nState:\tS (sleeping)\nUid:\t1000\t1001\t1002\t1003\nGid:\t0\t0\t0\t0\n";
        assert_eq!(parse_status(text), Some(([1_000, 1_001, 1_002, 1_003], false)));
        assert!(parse_status(&text.replace("S (sleeping)", "Z (zombie)")).unwrap().1);
        assert_eq!(parse_status("Name:\tx\n"), None);
        let own = geteuid().as_raw();
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        assert_eq!(users_of(pid), Some(([own; 4], false)));
        assert_eq!(owner_of(pid), Some(own));
        assert!(processes_of(&|uid| uid == own).iter().any(|(process, _)| process.pid == pid));
    }

    #[test]
    fn neither_users_of_the_system_nor_the_own_one_are_ended() {
        assert!(may_be_ended(200_000, 0));
        for (uid, own) in [(0, 0), (999, 0), (u32::MAX, 0), (200_000, 1_000), (1_000, 1_000)] {
            assert!(!may_be_ended(uid, own), "{uid} by {own}");
        }
    }
}
