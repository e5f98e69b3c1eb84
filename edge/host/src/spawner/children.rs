//! Child processes, and their reaping.

use std::fs;

use rustix::process::{Pid, WaitOptions, waitpid};

/// Returns the children of all threads of the process.
pub(super) fn own_children() -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

/// Reaps an ended child.
pub(super) fn reap(pid: i32) {
    // Affects only children: for any other process the kernel reports a missing child.
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        waitpid(Some(pid), WaitOptions::NOHANG).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_by_whichever_thread_began_it() {
        let begin = || std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let mut children = [begin(), std::thread::spawn(begin).join().unwrap()];
        let found = own_children();
        for child in &mut children {
            assert!(found.contains(&i32::try_from(child.id()).unwrap()));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
