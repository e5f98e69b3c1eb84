//! The end of an instance, and of everything at once: nothing outlives it, also what begins another process and ends
//! itself, again and again.
//!
//! A process that leaves its family comes to the spawner, which is the reaper of all, and carries the tag of its
//! instance ([`Tag`](super::tag::Tag)). So the children of the spawner are all that has to be looked at, which is
//! quicker than a process can begin another one. What is too many for that, each beginning more than are ended, ends
//! with all processes of its user, by one call for all.
//!
//! A signal ends a shell, or npm, before what these have started: an instance that was asked to end has ended with its
//! last process, or when the edge has it killed.

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

/// Between two looks at what is left of an instance that was asked to end, where no child ends.
const REST_LOOK: Duration = Duration::from_millis(250);
/// Looking takes one part in so many of that time at most.
const REST_LOOK_SHARE: u32 = 20;
/// Time for which orphans are searched without a pause.
const CHASE_TIME_MAX: Duration = Duration::from_millis(10);
/// So many looks in a row that find none end the chase.
const LOOKS_WITHOUT: usize = 3;
/// Time that an instance may resist before all processes of its user are ended: those of the environment's other
/// instances too, which are started again.
const RESISTS_MAX: Duration = Duration::from_secs(1);
/// Looks in which it resists, at least: where the spawner gets no processor, time passes although nothing resists.
const RESISTING_LOOKS_MIN: u32 = 3;

/// The outcome of a chase for orphans.
struct ChaseOutcome {
    /// Some were found.
    has_found: bool,
    /// There were none for a moment.
    is_over: bool,
}

/// Time that what is left after SIGINT, SIGHUP or SIGQUIT has before SIGTERM: shells let what they start in the
/// background ignore SIGINT, which would stay for as long as the command may.
const INTERRUPTED_REST: Duration = Duration::from_secs(5);

impl Host {
    /// Waits for the last processes of an instance whose main process has ended since it was asked to, until it is
    /// killed: by the edge, once `stop_ms` is over, or for what it uses.
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
                // The signal went to the group of the main process, which may have ended without passing it on.
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
            // What ends meanwhile is seen by the next look.
            sleep(pause).await;
        }
    }

    /// Kills what is left of an instance whose main process has ended, until nothing is.
    pub(super) async fn end_rest(&self, instance: &Instance) {
        let (began, mut resisted) = (Instant::now(), 0);
        loop {
            // A table of all processes is no proof: one that is read for a while misses what begins and ends meanwhile.
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

    /// Frees the memory of an instance that is no process's, when nothing of it runs any more: another holder
    /// has nothing of it but the files that it has open, which count as its own.
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
            // Only a process of the same user can fill what is being emptied.
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
    /// A sentence where some do not end, or where the user is none of instances.
    pub(super) async fn end_user(&self, uid: u32) -> Result<(), String> {
        self.check_user(uid)?;
        user::end_user(uid, |pid| self.note_task(pid)).await
    }

    /// Has a task done as a user.
    ///
    /// # Errors
    /// A sentence that says why it was not done.
    pub(super) async fn perform(&self, uid: u32, task: UserTask) -> Result<(), String> {
        self.check_user(uid)?;
        user_task::perform(uid, task, |pid| self.note_task(pid)).await
    }

    /// Kills orphans of an instance, or all of them, until there are none for a moment.
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

    /// Kills the children of this process that belong to an instance, or to none that runs; says whether some may have
    /// been its own. One that has ended counts too: what it began came here before, and after this look.
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
            if self.chase(None).is_over && is_empty || Instant::now() > until {
                return;
            }
            sleep(BETWEEN_PASSES).await;
        }
    }
}
