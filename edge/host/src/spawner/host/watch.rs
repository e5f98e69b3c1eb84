//! Monitors the usage of instances, reports the usage, and ends instances beyond their limits.

use std::collections::HashMap;
use std::rc::Rc;

use tokio::task::spawn_local;
use tokio::time::{Duration, Instant};

use super::{Host, LOOK_EVERY};
use crate::spawner::instance::Instance;
use crate::spawner::measure::{Count, MeasuredFolder};
use crate::spawner::processes::{InstanceProcesses, Process, Table};
use crate::spawner::usage::{self, Devices, Files, Machine};
use crate::spawner::wire::Event;
use crate::spawner::{Exit, InstanceLimits, Usage};

/// Interval of checks of the machine's free memory.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// Decrease of free memory that triggers an early check of instances.
const SHRINK_BYTES: u64 = 64 * 1024 * 1024;
/// Inverse of the maximum fraction of time used for checks, on a machine with very many processes.
const LOOK_SHARE: u32 = 20;
/// Maximum pause, regardless of the fraction.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Interval of usage reports of one instance.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Schedule of checks.
pub(super) struct WatchPhase {
    /// Next regular check, and earliest early check.
    next: Instant,
    earliest: Instant,
    /// Free memory of the machine at the last check.
    available: u64,
}

impl WatchPhase {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { next: now + LOOK_EVERY, earliest: now, available: 0 }
    }
}

/// Processes of one instance, to be measured.
struct UsageSample {
    key: u64,
    /// Process ids with resident memory.
    processes: Vec<(i32, u64)>,
    /// Folder of a private tmpfs.
    private: Option<String>,
}

impl UsageSample {
    fn of(instance: &Instance, members: &[&Process], page: u64) -> Self {
        let resident = |process: &&Process| (process.pid, process.resident_pages.saturating_mul(page));
        Self { key: instance.key, processes: members.iter().map(resident).collect(), private: instance.private.clone() }
    }

    fn resident(&self) -> u64 {
        self.processes.iter().fold(0, |sum, (_, resident)| sum.saturating_add(*resident))
    }

    /// Returns the bytes in the tmpfs, and its device.
    fn temporary(&self) -> Option<(u64, u64)> {
        let folder = self.private.as_deref()?;
        self.processes.iter().find_map(|(pid, _)| usage::of_tmpfs(*pid, folder))
    }

    fn usage(&self, memory_bytes: u64, temporary_bytes: u64) -> Usage {
        let processes = u64::try_from(self.processes.len()).unwrap_or(u64::MAX);
        Usage { memory_bytes, processes, temporary_bytes }
    }

    /// Measures exactly.
    fn measure(&self, devices: &Devices) -> (Usage, Files) {
        let (temporary, device) = self.temporary().unzip();
        let (memory, files) = usage::memory(&self.processes, devices, device);
        let temporary = temporary.unwrap_or(0);
        (self.usage(memory.saturating_add(temporary), temporary), files)
    }
}

impl Host {
    /// Checks instances if due, or if the machine's free memory falls fast.
    pub(super) fn tick(self: &Rc<Self>, turns: &mut WatchPhase) {
        let now = Instant::now();
        // With memory control groups, the kernel acts by itself.
        let machine = if self.groups.is_none() { Machine::read() } else { Machine::default() };
        let shrinks = machine.available.saturating_add(SHRINK_BYTES) < turns.available;
        if now < turns.next && !(shrinks && now >= turns.earliest) {
            return;
        }
        turns.available = machine.available;
        self.look(machine);
        let pause = (now.elapsed() * LOOK_SHARE).min(PAUSE_MAX);
        turns.earliest = Instant::now() + pause;
        turns.next = Instant::now() + LOOK_EVERY.max(pause);
    }

    /// Determines the usage of each instance, and kills instances beyond their limits.
    fn look(self: &Rc<Self>, machine: Machine) {
        let table = Table::read();
        let shares = self.shares(&table);
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
        let mut doubtful = Vec::new();
        self.end_largest(&shares);
        for (key, members) in &shares.of {
            self.with(*key, |instance| {
                if has_too_many(&instance.limits, members) {
                    self.condemn(instance, Exit::TooManyProcesses);
                    return;
                }
                let sample = UsageSample::of(instance, members, page);
                let temporary = || sample.temporary().map_or(0, |(bytes, _)| bytes);
                match &instance.group {
                    Some(group) => self.report(instance, || sample.usage(group.memory(), temporary())),
                    None if machine.bound(sample.resident()) > instance.limits.memory_bytes => doubtful.push(sample),
                    None => self.report(instance, || {
                        let temporary = temporary();
                        sample.usage(sample.resident().saturating_add(temporary), temporary)
                    }),
                }
            });
        }
        self.measure(doubtful);
        self.reap(&table);
        self.is_watching.set(!table.descendants(self.own).is_empty());
    }

    /// Kills the largest instances of each app beyond its task limit, until the rest is within the limit.
    fn end_largest(&self, shares: &InstanceProcesses<'_>) {
        let mut apps: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
        for (key, members) in &shares.of {
            let tasks = tasks_of(members);
            self.with(*key, |instance| {
                // Instances that are already ending make room by themselves.
                if instance.verdict.borrow().is_none() {
                    apps.entry(instance.app.clone()).or_default().push((tasks, *key));
                }
            });
        }
        for mut instances in apps.into_values() {
            instances.sort_unstable();
            let mut sum = instances.iter().fold(0, |sum: u64, (tasks, _)| sum.saturating_add(*tasks));
            for (tasks, key) in instances.into_iter().rev() {
                self.with(key, |instance| {
                    if sum > instance.limits.app_tasks {
                        self.condemn(instance, Exit::TooManyTasksOfApp);
                        sum = sum.saturating_sub(tasks);
                    }
                });
            }
        }
    }

    /// Measures instances exactly in the background, and kills instances beyond their limits.
    fn measure(self: &Rc<Self>, samples: Vec<UsageSample>) {
        if samples.is_empty() || self.is_measuring.replace(true) {
            return;
        }
        let host = Rc::clone(self);
        spawn_local(async move {
            let measured = tokio::task::spawn_blocking(move || {
                let devices = Devices::read();
                let measure = |sample: UsageSample| (sample.key, sample.measure(&devices));
                samples.into_iter().map(measure).collect::<Vec<_>>()
            });
            for (key, (usage, files)) in measured.await.unwrap_or_default() {
                host.with(key, |instance| {
                    host.report(instance, || usage);
                    if usage.memory_bytes > instance.limits.memory_bytes {
                        host.condemn(instance, Exit::OutOfMemory);
                    } else if files.are_too_many {
                        host.condemn(instance, Exit::TooManyFiles);
                    }
                });
            }
            host.is_measuring.set(false);
        });
    }

    /// Kills an instance with a reason.
    fn condemn(&self, instance: &Instance, verdict: Exit) {
        instance.verdict.borrow_mut().get_or_insert(verdict);
        self.kill_once(instance);
    }

    /// Reports the usage of an instance to the edge, not too often.
    fn report(&self, instance: &Instance, usage: impl FnOnce() -> Usage) {
        let last = instance.reported.get();
        if last.is_some_and(|(at, _)| at.elapsed() < REPORT_EVERY) {
            return;
        }
        let usage = usage();
        instance.reported.set(Some((Instant::now(), usage)));
        if last.is_none_or(|(_, before)| before != usage) {
            self.out.send(&Event::Used { key: instance.key, usage });
        }
    }

    /// Measures the content of folders, and unlinked open files of instances.
    pub(super) fn measure_folders(
        self: &Rc<Self>,
        request: u64,
        folders: Vec<MeasuredFolder>,
        keys: &[u64],
        files_max: u64,
    ) {
        let seen = self.seen.borrow();
        let of_them = seen.iter().filter(|(_, key)| keys.contains(key));
        let pids: Vec<i32> = of_them.map(|((pid, _), _)| *pid).collect();
        drop(seen);
        let (host, uids) = (Rc::clone(self), self.uids.clone());
        spawn_local(async move {
            let _turn = host.measuring.acquire().await;
            let runtime = tokio::runtime::Handle::current();
            let work = tokio::task::spawn_blocking(move || {
                let mut count = Count::new(files_max);
                for folder in &folders {
                    let is_allowed = |uid| uids.as_ref().is_none_or(|uids| uids.contains(&uid));
                    count.add(folder, is_allowed, |time| runtime.block_on(tokio::time::sleep(time)));
                }
                let (mut files, devices) = (Files::default(), Devices::read());
                pids.into_iter().for_each(|pid| files.add(pid, &devices, None));
                let mut measured = count.measured;
                measured.bytes = measured.bytes.saturating_add(files.unlinked);
                measured.is_partial |= files.are_too_many;
                measured
            });
            if let Ok(measured) = work.await {
                host.out.send(&Event::Measured { request, measured });
            }
        });
    }
}

/// Returns true if an instance has too many processes, or far too many threads.
fn has_too_many(limits: &InstanceLimits, members: &[&Process]) -> bool {
    u64::try_from(members.len()).unwrap_or(u64::MAX) > limits.processes || tasks_of(members) > limits.tasks_max()
}

/// Returns the number of threads of processes, at least one each.
fn tasks_of(members: &[&Process]) -> u64 {
    members.iter().fold(0, |sum: u64, process| sum.saturating_add(process.threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_beyond_its_limits_with_one_more() {
        let limits = InstanceLimits { processes: 2, ..InstanceLimits::default() };
        let process = Process {
            pid: 1,
            parent: 0,
            group: 1,
            session: 1,
            is_dead: false,
            started: 0,
            resident_pages: 1,
            threads: 512,
        };
        assert!(!has_too_many(&limits, &[]));
        assert!(!has_too_many(&limits, &[&process, &process]));
        assert!(has_too_many(&limits, &[&process; 3]));
        let more = Process { threads: 513, ..process.clone() };
        assert!(has_too_many(&limits, &[&process, &more]), "threads count, thirty-two for each process");
    }
}
