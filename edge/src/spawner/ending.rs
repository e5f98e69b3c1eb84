//! The end of an instance, and of everything at once: nothing outlives it, also what begins another process and ends
//! itself, again and again.
//!
//! A process that leaves its family comes to the spawner, which is the reaper of all, and carries the tag of its
//! instance ([`Tag`]). So the children of the spawner are all that has to be looked at, which is quicker than a process
//! can begin another one. What is too many for that, each beginning more than are ended, ends with all processes of its
//! user, by one call for all.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, WaitOptions, getrlimit, waitpid};
use tokio::time::{Instant, sleep};

use super::host::Host;
use super::instance::Instance;
use super::processes::{BETWEEN_PASSES, INSTANCE_MARKER, KILL_WAIT, Process, variable_of};
use super::user::{self, users_of};

/// Time for which orphans are searched without a pause.
const CHASE_TIME_MAX: Duration = Duration::from_millis(10);
/// So many looks in a row that find none end the chase.
const LOOKS_WITHOUT: usize = 3;
/// Time that an instance may resist before all processes of its user are ended: those of the environment's other
/// instances too, which are started again.
const RESISTS_MAX: Duration = Duration::from_secs(1);

/// The lowest tag, which no limit in use reaches.
const TAG_FIRST: u64 = 1 << 40;

/// The permanent mark of one instance's processes: the hard limit of file locks, which Linux has not looked at since
/// 2.4.25. A process inherits it, in a user namespace too, and can lower it but not raise it, so that what an ended
/// instance left cannot pass for a younger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    /// One that is higher than all before it; `None` where the spawner itself has a lower limit.
    pub(super) fn next() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(TAG_FIRST);
        let tag = NEXT.fetch_add(1, Ordering::Relaxed);
        let is_possible = getrlimit(Resource::Locks).maximum.is_none_or(|maximum| maximum >= tag);
        is_possible.then_some(Self(tag))
    }

    /// The limit that carries it.
    pub(super) const fn limit(self) -> u64 {
        self.0
    }

    /// As the marker of an instance.
    pub(super) fn marker(self) -> String {
        format!("tag {}", self.0)
    }

    fn of(pid: i32) -> Option<Self> {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        hard_limit(&limits, "Max file locks").filter(|limit| *limit >= TAG_FIRST).map(Self)
    }
}

/// The hard limit in a table of `/proc/PID/limits`; `None` where there is none.
fn hard_limit(table: &str, name: &str) -> Option<u64> {
    let values = table.lines().find_map(|line| line.strip_prefix(name))?;
    values.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The mark of an instance's process: its tag, or a variable where no tag could be given.
pub(super) fn marker_of(pid: i32) -> Option<String> {
    Tag::of(pid).map(Tag::marker).or_else(|| variable_of(pid, INSTANCE_MARKER))
}

/// The children of this process, of all its threads.
pub(super) fn own_children() -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

/// Reaps a child that has ended.
pub(super) fn reap(pid: i32) {
    // Only a child: of any other process the kernel says that there is none.
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        waitpid(Some(pid), WaitOptions::NOHANG).ok();
    }
}

impl Host {
    /// Kills what is left of an instance whose main process has ended, until nothing is.
    pub(super) async fn end_rest(&self, instance: &Instance) {
        let began = Instant::now();
        loop {
            // A table of all processes is no proof: one that is read for a while misses what begins and ends meanwhile.
            let is_empty = self.kill_once(instance);
            if self.chase(Some(instance)) && is_empty || began.elapsed() > KILL_WAIT {
                return;
            }
            if let Some(uid) = instance.uid.filter(|_| began.elapsed() > RESISTS_MAX) {
                self.end_user(uid).await.ok();
            }
            sleep(BETWEEN_PASSES).await;
        }
    }

    /// Ends every process of a user.
    ///
    /// # Errors
    /// A sentence where some do not end, or where the user is none of instances.
    pub(super) async fn end_user(&self, uid: u32) -> Result<(), String> {
        self.check_user(uid)?;
        user::end_user(uid, |pid| self.note_task(pid)).await
    }

    /// Has a task done as a user.
    ///
    /// # Errors
    /// A sentence that says why it was not done.
    pub(super) async fn perform(&self, uid: u32, task: user::UserTask) -> Result<(), String> {
        self.check_user(uid)?;
        user::perform(uid, task, |pid| self.note_task(pid)).await
    }

    /// Kills orphans of an instance, or all of them, until there are none for a moment; says whether there are.
    fn chase(&self, instance: Option<&Instance>) -> bool {
        let until = Instant::now() + CHASE_TIME_MAX;
        let mut without = 0;
        while without < LOOKS_WITHOUT && Instant::now() < until {
            without = if self.kill_orphans(instance) { 0 } else { without + 1 };
        }
        without >= LOOKS_WITHOUT
    }

    /// Kills the children of this process that belong to an instance, or to none that runs; says whether some may have
    /// been its own. One that has ended counts too: what it began came here before, and after this look.
    fn kill_orphans(&self, instance: Option<&Instance>) -> bool {
        let is_own_user = |pid: i32| {
            let Some(uid) = instance.and_then(|instance| instance.uid) else { return true };
            users_of(pid).is_none_or(|(ids, _)| ids.contains(&uid))
        };
        let mut has_any = false;
        for pid in own_children().into_iter().filter(|pid| !self.is_known_child(*pid)) {
            let Some(process) = Process::read(pid) else { continue };
            if process.is_dead {
                has_any |= is_own_user(pid);
                reap(pid);
                continue;
            }
            let marker = marker_of(pid);
            let is_others = |instance: &Instance| {
                marker.as_deref().is_some_and(|marker| self.is_of_other_instance(marker, instance))
            };
            if !instance.is_some_and(is_others) {
                has_any |= is_own_user(pid);
                process.kill();
            }
        }
        has_any
    }

    /// Kills every descendant, again and again until there is none.
    pub(super) async fn kill_everything(&self) {
        for instance in self.instances() {
            if let Some(group) = &instance.group {
                group.kill();
            }
        }
        let until = Instant::now() + KILL_WAIT;
        let users = self.users();
        user::end_users(&|uid| users.contains(&uid), |pid| self.note_task(pid)).await.ok();
        loop {
            let is_empty = self.kill_descendants();
            if self.chase(None) && is_empty || Instant::now() > until {
                return;
            }
            sleep(BETWEEN_PASSES).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    #[test]
    fn a_tag_is_read_from_the_limits_of_a_process() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max open files            1024                 4096                 files     \n\
            Max file locks            7                    1099511627777        locks     \n\
            Max pending signals       unlimited            unlimited            signals   \n";
        assert_eq!(hard_limit(table, "Max file locks"), Some(TAG_FIRST + 1));
        assert_eq!((hard_limit(table, "Max pending signals"), hard_limit(table, "Max none")), (None, None));
        let own = getpid().as_raw_nonzero().get();
        assert_eq!(Tag::of(own), None, "nobody gave this process one");
        let (one, two) = (Tag::next().unwrap(), Tag::next().unwrap());
        assert!(one.limit() >= TAG_FIRST && two.limit() > one.limit() && one.marker() != two.marker());
    }

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
