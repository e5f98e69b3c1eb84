//! Ends leftover processes of an earlier run of an edge, found by their marker.

use std::collections::HashSet;

use rustix::process::getpid;

use super::process_users::owner_of;
use super::processes::{BETWEEN_PASSES, EDGE_MARKER, KILL_WAIT, Process, Table, variable_of};

/// Kills every process that carries the marker of the edge `edge_id`, with all descendants; ancestors of this process
/// are spared. Only processes of users accepted by `is_allowed` are checked, since any process can carry any marker.
/// Returns the ids of the killed processes after their end, at most after ten seconds.
pub async fn kill_leftovers(edge_id: &str, is_allowed: impl Fn(u32) -> bool + Clone + Send + 'static) -> HashSet<u32> {
    let mut killed = HashSet::new();
    let until = tokio::time::Instant::now() + KILL_WAIT;
    loop {
        let (edge_id, is_allowed) = (edge_id.to_owned(), is_allowed.clone());
        let pass = tokio::task::spawn_blocking(move || kill_marked(&edge_id, is_allowed)).await;
        let found = pass.unwrap_or_default();
        if found.is_empty() || tokio::time::Instant::now() > until {
            return killed;
        }
        killed.extend(found);
        tokio::time::sleep(BETWEEN_PASSES).await;
    }
}

/// Sends SIGKILL once to all marked live processes, and returns their ids.
fn kill_marked(edge_id: &str, is_allowed: impl Fn(u32) -> bool) -> HashSet<u32> {
    let table = Table::read();
    let spared = table.with_ancestors(getpid().as_raw_nonzero().get());
    let mut found = HashSet::new();
    let mut kill = |process: &Process| {
        if !process.is_dead && !spared.contains(&process.pid) {
            process.kill();
            found.extend(u32::try_from(process.pid));
        }
    };
    for process in table.all().filter(|process| !process.is_dead && !spared.contains(&process.pid)) {
        let is_marked = || variable_of(process.pid, EDGE_MARKER).is_some_and(|id| id == edge_id);
        if owner_of(process.pid).is_some_and(&is_allowed) && is_marked() {
            kill(process);
            table.descendants(process.pid).into_iter().for_each(&mut kill);
        }
    }
    found
}
