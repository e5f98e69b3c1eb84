//! Processes from `/proc`: parents, memory, markers, and killing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::BuildHasher;
use std::io::Read as _;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Variable with the edge of a process.
pub(super) const EDGE_MARKER: &str = "DEVANTURE_EDGE_ID";
/// Variable with the instance of a process.
pub(super) const INSTANCE_MARKER: &str = "DEVANTURE_INSTANCE_ID";
/// Maximum bytes searched of a process's environment.
const ENVIRONMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Time for dead processes to disappear before the next check.
pub(super) const BETWEEN_PASSES: Duration = Duration::from_millis(5);
/// Longest wait after SIGKILL: a process during disk I/O dies late.
pub(super) const KILL_WAIT: Duration = Duration::from_secs(10);

/// Process as described by `/proc/PID/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// True for an ended, unreaped process.
    pub(super) is_dead: bool,
    /// Start time in ticks since boot: together with the id, a permanent identity.
    pub(super) started: u64,
    pub(super) resident_pages: u64,
    pub(super) threads: u64,
}

/// Identity of a process, valid even after the id is reused.
pub(super) type Identity = (i32, u64);

impl Process {
    /// Parses `/proc/PID/stat`. The program name, in parentheses, may contain any byte, including parentheses.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (_, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |index: usize| fields.get(index).copied();
        Some(Self {
            pid: pid.parse().ok()?,
            is_dead: matches!(field(0)?, "Z" | "X" | "x"),
            parent: field(1)?.parse().ok()?,
            group: field(2)?.parse().ok()?,
            session: field(3)?.parse().ok()?,
            started: field(19)?.parse().ok()?,
            // Ending processes can have negative numbers.
            resident_pages: field(21)?.parse().unwrap_or(0),
            threads: field(17)?.parse().unwrap_or(0),
        })
    }

    pub(super) fn read(pid: i32) -> Option<Self> {
        Self::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    pub(super) const fn identity(&self) -> Identity {
        (self.pid, self.started)
    }

    /// Sends SIGKILL to exactly this process.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends a signal to exactly this process: no effect if the id was reused meanwhile.
    pub(super) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.pid > 1) else { return };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if Self::read(self.pid).is_some_and(|now| now.started == self.started) {
            pidfd_send_signal(&handle, signal).ok();
        }
    }
}

/// All processes of the machine, read over a short period.
pub(super) struct Table(HashMap<i32, Process>);

impl Table {
    pub(super) fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self::of(ids.filter_map(Process::read))
    }

    pub(super) fn of(processes: impl IntoIterator<Item = Process>) -> Self {
        Self(processes.into_iter().map(|process| (process.pid, process)).collect())
    }

    pub(super) fn get(&self, pid: i32) -> Option<&Process> {
        self.0.get(&pid)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Process> {
        self.0.values()
    }

    /// Returns all descendants of `root` without `root`, ancestors first.
    pub(super) fn descendants(&self, root: i32) -> Vec<&Process> {
        let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
        for process in self.0.values() {
            children.entry(process.parent).or_default().push(process);
        }
        let mut found: Vec<&Process> = children.remove(&root).unwrap_or_default();
        let mut next = 0;
        while let Some(process) = found.get(next) {
            // Removed, so that an inconsistent table causes no cycle.
            let more = children.remove(&process.pid).unwrap_or_default();
            found.extend(more);
            next += 1;
        }
        found
    }

    /// Returns `pid` and its ancestors.
    pub(super) fn with_ancestors(&self, pid: i32) -> HashSet<i32> {
        let mut found = HashSet::new();
        let mut at = pid;
        while at > 0 && found.insert(at) {
            at = self.get(at).map_or(0, |process| process.parent);
        }
        found
    }
}

/// Returns a variable of the initial environment of a process, if readable.
pub(super) fn variable_of(pid: i32, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let mut variables = bytes.split(|byte| *byte == 0);
    variables.find_map(|variable| {
        let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// Instance, as far as needed to assign processes.
pub(super) struct Owner {
    pub(super) key: u64,
    pub(super) main: i32,
    pub(super) marker: String,
    /// User of the processes.
    pub(super) uid: u32,
}

/// Marker and users of a process: any process can read and adopt the tag of another user's instance, but no process can
/// become another user.
pub(super) struct Mark {
    pub(super) marker: String,
    /// User ids of the process.
    pub(super) uids: [u32; 4],
}

impl Mark {
    /// Returns true if the mark belongs to an instance with this marker and user.
    pub(super) fn is_of(&self, marker: &str, uid: u32) -> bool {
        self.marker == marker && self.uids.contains(&uid)
    }
}

/// Owners of the descendants of one process.
pub(super) struct InstanceProcesses<'t> {
    /// Live processes by instance.
    pub(super) of: HashMap<u64, Vec<&'t Process>>,
    /// Processes without a known owner.
    pub(super) strays: Vec<&'t Process>,
}

/// Assigns the descendants of `root` to instances. An instance owns its main process and all descendants; the members
/// of its group or session; processes owned at the last check (`seen`, which is updated); and processes with its marker
/// and its user: a process with the marker of another user's instance has no owner. `mark_of` reads the mark of a
/// process.
pub(super) fn shares<'t>(
    table: &'t Table,
    root: i32,
    owners: &[Owner],
    seen: &mut HashMap<Identity, u64, impl BuildHasher + Default>,
    mark_of: impl Fn(i32) -> Option<Mark>,
) -> InstanceProcesses<'t> {
    let by_main: HashMap<i32, u64> = owners.iter().map(|owner| (owner.main, owner.key)).collect();
    let by_marker: HashMap<&str, &Owner> = owners.iter().map(|owner| (owner.marker.as_str(), owner)).collect();
    let mut key_of: HashMap<i32, u64> = HashMap::new();
    let mut strays = Vec::new();
    for process in table.descendants(root) {
        let by_group = || by_main.get(&process.group).or_else(|| by_main.get(&process.session)).copied();
        let by_marker = || {
            let mark = mark_of(process.pid)?;
            let owner = by_marker.get(mark.marker.as_str())?;
            mark.is_of(&owner.marker, owner.uid).then_some(owner.key)
        };
        let key = by_main.get(&process.pid).or_else(|| key_of.get(&process.parent)).copied();
        let key = key.or_else(|| seen.get(&process.identity()).copied()).or_else(by_group);
        match key.or_else(|| if process.is_dead { None } else { by_marker() }) {
            Some(key) => drop(key_of.insert(process.pid, key)),
            None if process.is_dead => {}
            None => strays.push(process),
        }
    }
    let mut of: HashMap<u64, Vec<&Process>> = HashMap::new();
    seen.clear();
    for (process, key) in key_of.iter().filter_map(|(pid, key)| Some((table.get(*pid)?, *key))) {
        seen.insert(process.identity(), key);
        if !process.is_dead {
            of.entry(key).or_default().push(process);
        }
    }
    InstanceProcesses { of, strays }
}

#[cfg(test)]
mod tests;
