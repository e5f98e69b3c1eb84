//! End of an instance, and of all instances at once: no process outlives its instance, not even a process that forks
//! and exits again and again.
//!
//! An orphaned process becomes a child of the spawner, the reaper of all, and carries the tag of its instance
//! ([`Tag`](super::tag::Tag)). So only the children of the spawner must be checked, which is faster than forking. Too
//! many processes, which fork faster than they are killed, are ended together with all processes of their user, by one
//! call.
//!
//! A signal ends a shell, or npm, before their children: an instance asked to end has ended with its last process, or
//! when the edge has the instance killed.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::children::{own_children, reap};
use super::host::Host;
use super::instance::Instance;
use super::private_memory::{Freed, PrivateMemory};
use super::processes::{BETWEEN_PASSES, KILL_WAIT, Process};
use super::tag::mark_of;
use super::user;
use super::user_task::{self, UserTask};

/// Interval of checks for remaining processes of an ending instance while no child ends.
const REST_LOOK: Duration = Duration::from_millis(250);
/// Inverse of the maximum fraction of time used for the checks.
const REST_LOOK_SHARE: u32 = 20;
/// Time of searching orphans without a pause.
const CHASE_TIME_MAX: Duration = Duration::from_millis(10);
/// Number of consecutive checks without orphans that end the search.
const LOOKS_WITHOUT: usize = 3;
/// Time of resistance of an instance before all processes of its user are ended: including the environment's other
/// instances, which are started again.
const RESISTS_MAX: Duration = Duration::from_secs(1);
/// Minimum number of checks with resistance: if the spawner gets no CPU time, time passes without resistance.
const RESISTING_LOOKS_MIN: u32 = 3;

/// Outcome of a search for orphans.
struct ChaseOutcome {
    /// True if orphans were found.
    has_found: bool,
    /// True if there were none for a moment.
    is_over: bool,
}

/// Time of remaining processes between SIGINT, SIGHUP or SIGQUIT and SIGTERM: shells let background processes ignore
/// SIGINT, which would stay as long as the command is permitted to run.
const INTERRUPTED_REST: Duration = Duration::from_secs(5);

impl Host {
    /// Waits for the last processes of an instance with an ended main process after a request to end. Stops when the
    /// instance is killed: by the edge after `stop_ms`, or for its usage.
    pub(super) async fn wait_for_rest(&self, instance: &Instance) {
        let (ended, mut is_first) = (Instant::now(), true);
        while instance.is_asked_to_end.get() && !instance.is_killed.is_cancelled() {
            let began = Instant::now();
            let rest = self.running_of(instance);
            let pause = (began.elapsed() * REST_LOOK_SHARE).clamp(BETWEEN_PASSES, REST_LOOK);
            if rest.is_empty() {
                return;
            }
            if std::mem::take(&mut is_first) {
                // The signal went to the group of the main process, which may have ended without passing the signal on.
                let group = instance.main.as_raw_nonzero().get();
                rest.iter().filter(|process| process.group != group).for_each(|process| process.signal(Signal::TERM));
            } else if !instance.is_terminated.get() && ended.elapsed() > INTERRUPTED_REST {
                instance.is_terminated.set(true);
                rest.iter().for_each(|process| process.signal(Signal::TERM));
            }
            tokio::select! {
                () = self.child_ended.notified() => {}
                () = instance.is_killed.cancelled() => return,
                () = sleep(REST_LOOK) => {}
            }
            // Processes that end meanwhile are noticed by the next check.
            sleep(pause).await;
        }
    }

    /// Kills the remaining processes of an instance with an ended main process, until none is left.
    pub(super) async fn end_rest(&self, instance: &Instance) {
        let (began, mut resisted) = (Instant::now(), 0);
        loop {
            // A process table proves nothing: reading takes time and misses processes that start and end meanwhile.
            let is_empty = self.kill_once(instance);
            let chase = self.chase(Some(instance));
            if chase.is_over && is_empty || began.elapsed() > KILL_WAIT {
                return;
            }
            if chase.has_found || !is_empty {
                resisted += 1;
            }
            let resists = resisted >= RESISTING_LOOKS_MIN && began.elapsed() > RESISTS_MAX;
            if let Some(uid) = instance.uid.filter(|_| resists) {
                self.end_user(uid).await.ok();
            }
            sleep(BETWEEN_PASSES).await;
        }
    }

    /// Frees the memory of an instance outside of processes, after all its processes are gone: another holder keeps
    /// only files that the holder has open, which count for the holder.
    pub(super) async fn free(&self, instance: &Instance, memory: PrivateMemory) {
        let (began, memory) = (Instant::now(), Arc::new(memory));
        let (mut is_user_ended, mut resisted) = (false, 0);
        loop {
            let step = Arc::clone(&memory);
            match tokio::task::spawn_blocking(move || step.free()).await {
                Ok(Freed::Part) => continue,
                Ok(Freed::Resisted) if began.elapsed() < KILL_WAIT => resisted += 1,
                Ok(Freed::Resisted | Freed::All) | Err(_) => return,
            }
            // Only a process of the same user can refill the memory.
            let resists = resisted >= RESISTING_LOOKS_MIN && began.elapsed() > RESISTS_MAX;
            if let Some(uid) = instance.uid.filter(|_| resists && !is_user_ended) {
                is_user_ended = self.end_user(uid).await.is_ok();
            }
            sleep(BETWEEN_PASSES).await;
        }
    }

    /// Ends every process of a user.
    ///
    /// # Errors
    /// Returns a message if processes remain, or if the user is no instance user.
    pub(super) async fn end_user(&self, uid: u32) -> Result<(), String> {
        self.check_user(uid)?;
        user::end_user(uid, |pid| self.note_task(pid)).await
    }

    /// Performs a task as a user.
    ///
    /// # Errors
    /// Returns a message about the failure.
    pub(super) async fn perform(&self, uid: u32, task: UserTask) -> Result<(), String> {
        self.check_user(uid)?;
        user_task::perform(uid, task, |pid| self.note_task(pid)).await
    }

    /// Kills orphans of an instance, or all orphans, until there are none for a moment.
    fn chase(&self, instance: Option<&Instance>) -> ChaseOutcome {
        let until = Instant::now() + CHASE_TIME_MAX;
        let (mut has_found, mut without) = (false, 0);
        while without < LOOKS_WITHOUT && Instant::now() < until {
            let has_any = self.kill_orphans(instance);
            has_found |= has_any;
            without = if has_any { 0 } else { without + 1 };
        }
        ChaseOutcome { has_found, is_over: without >= LOOKS_WITHOUT }
    }

    /// Kills the children of the process that belong to `instance`, or to no running instance; returns true if some may
    /// have belonged to the instance. Ended processes count too: their children may have become children of this
    /// process after the list was read.
    fn kill_orphans(&self, instance: Option<&Instance>) -> bool {
        let is_own_user = |pid: i32| instance.is_none_or(|instance| instance.may_own(pid));
        let mut has_any = false;
        for pid in own_children().into_iter().filter(|pid| !self.is_known_child(*pid)) {
            let Some(process) = Process::read(pid) else { continue };
            if process.is_dead {
                has_any |= is_own_user(pid);
                reap(pid);
                continue;
            }
            let mark = mark_of(pid);
            let is_others =
                |instance: &Instance| mark.as_ref().is_some_and(|mark| self.is_of_other_instance(mark, instance));
            if !instance.is_some_and(is_others) {
                has_any |= is_own_user(pid);
                process.kill();
            }
        }
        has_any
    }

    /// Kills all descendants, repeatedly until none is left.
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
            if self.chase(None).is_over && is_empty || Instant::now() > until {
                return;
            }
            sleep(BETWEEN_PASSES).await;
        }
    }
}
