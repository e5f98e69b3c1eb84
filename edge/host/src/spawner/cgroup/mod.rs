//! Control groups (version 2): one per instance, within a group per app, within a group per edge.
//!
//! The kernel charges an instance for all caused memory, including memfd, tmpfs and socket buffers, enforces the
//! limits, shares processors evenly between apps, and kills all processes of a group at once.
//!
//! The files here belong to the kernel: no file is on a disk, and a write is a system call.

mod delegation;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use devanture_config::edge_toml::ControlGroups;
use tokio::time::{Instant, sleep};

use super::InstanceLimits;
use super::kernel_files::write;
use super::processes::{BETWEEN_PASSES, KILL_WAIT, Process};

/// Required controllers; `cpu` is used if available.
const NEEDED: [&str; 2] = ["memory", "pids"];
/// Period of the CPU limit in microseconds.
const CPU_PERIOD_US: u64 = 100_000;
/// Group of the edge and the spawner, if instances are below the group in which both were started: a group with
/// controllers for its children cannot contain processes itself.
const OWN_GROUP: &str = "supervisor";
/// CPU weight of the group, compared to 100 for all instances together.
const OWN_WEIGHT: &str = "1000";
/// Attempts to move processes that fork meanwhile.
const MOVES_MAX: usize = 10;
/// Maximum length of an edge or app name within a group name.
const NAME_BYTES_MAX: usize = 64;

/// Group of one edge, with the groups of instances below.
#[derive(Debug)]
pub(super) struct Groups {
    folder: PathBuf,
    has_cpu: bool,
}

impl Groups {
    /// Prepares the groups of an edge; `None` if groups are disabled.
    ///
    /// # Errors
    /// Returns a message if groups are unusable.
    pub(super) fn open(choice: &ControlGroups, edge_id: &str) -> Result<Option<Self>, String> {
        let root = match choice {
            ControlGroups::Off => return Ok(None),
            ControlGroups::Auto => delegation::delegated()?,
            ControlGroups::Folder(folder) => folder.clone(),
        };
        Self::below(&root, edge_id).map(Some)
    }

    fn below(root: &Path, edge_id: &str) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{} cannot be used as a control group: {error}", root.display());
        make(root).map_err(failed)?;
        if missing(&controllers(root).map_err(failed)?).is_some() {
            // A new group has the controllers passed on by the parent, which only the parent's owner can change.
            let parent = root.parent().unwrap_or(root);
            write(&parent.join("cgroup.subtree_control"), "+memory +pids +cpu").ok();
        }
        let available = controllers(root).map_err(failed)?;
        if let Some(missing) = missing(&available) {
            return Err(format!("{} has no controller `{missing}` to pass on", root.display()));
        }
        let has_cpu = has(&available, "cpu");
        move_processes(root, has_cpu).map_err(failed)?;
        let name = name_of(edge_id).ok_or_else(|| "the id of the edge is no name of a group".to_owned())?;
        let groups = Self { folder: root.join(format!("edge-{name}")), has_cpu };
        groups.pass_on(root).map_err(failed)?;
        make(&groups.folder).map_err(failed)?;
        groups.pass_on(&groups.folder).map_err(failed)?;
        Ok(groups)
    }

    /// Enables the controllers for the children of a group.
    fn pass_on(&self, folder: &Path) -> io::Result<()> {
        let controllers = if self.has_cpu { "+memory +pids +cpu" } else { "+memory +pids" };
        write(&folder.join("cgroup.subtree_control"), controllers)
    }

    /// Kills all processes of an earlier run of the same edge, regardless of markers, and removes the groups.
    pub(super) async fn kill_leftovers(&self) {
        let until = Instant::now() + KILL_WAIT;
        while !is_empty(&self.folder) && Instant::now() < until {
            kill(&self.folder);
            sleep(BETWEEN_PASSES).await;
        }
        children(&self.folder).iter().for_each(|child| remove(child));
    }

    /// Creates the group of an instance of `app` with limits. `name` is one segment of a path.
    ///
    /// # Errors
    /// Errors of the kernel.
    pub(super) fn create(&self, app: &str, name: &str, limits: &InstanceLimits) -> io::Result<Group> {
        let app = self.folder.join(format!("app-{}", name_of(app).unwrap_or("other")));
        make(&app)?;
        // Limit of the app's group, so that many environments and previews together use only the app's share.
        write(&app.join("pids.max"), &limits.app_tasks.to_string())?;
        self.pass_on(&app)?;
        let group = Group { folder: app.join(name) };
        fs::create_dir(&group.folder)?;
        for (file, value) in settings(limits, self.has_cpu) {
            match write(&group.folder.join(file), &value) {
                // Missing without swap, and before Linux 4.19.
                Err(error) if error.kind() == io::ErrorKind::NotFound && is_optional(file) => {}
                other => other?,
            }
        }
        Ok(group)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // Fails, as intended, while processes run below.
        remove(&self.folder);
    }
}

/// Group of one instance; removed on drop, unless processes still run in the group.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
}

impl Group {
    /// Moves a process into the group.
    ///
    /// # Errors
    /// Errors of the kernel.
    pub(super) fn add(&self, pid: u32) -> io::Result<()> {
        write(&self.folder.join("cgroup.procs"), &pid.to_string())
    }

    /// Sends SIGKILL to all processes of the group at once.
    pub(super) fn kill(&self) {
        kill(&self.folder);
    }

    /// Returns true if no process runs in the group.
    pub(super) fn is_empty(&self) -> bool {
        is_empty(&self.folder)
    }

    /// Returns the charged bytes of memory, without memory that the kernel reclaims on demand.
    pub(super) fn memory(&self) -> u64 {
        let current = fs::read_to_string(self.folder.join("memory.current")).unwrap_or_default();
        let cache = read_value(&self.folder, "memory.stat", "inactive_file").unwrap_or(0);
        current.trim().parse::<u64>().unwrap_or(0).saturating_sub(cache)
    }

    /// Returns true if the kernel killed a process of the group for lack of memory.
    pub(super) fn was_out_of_memory(&self) -> bool {
        read_value(&self.folder, "memory.events", "oom_kill").is_some_and(|count| count > 0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.folder);
        if let Some(app) = self.folder.parent() {
            // Fails while other instances of the app have groups.
            fs::remove_dir(app).ok();
        }
    }
}

/// Creates a group, or accepts an existing group.
fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes a group and all groups below, deepest first, as far as no processes run in them.
fn remove(folder: &Path) {
    tree(folder).iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
}

/// Returns a group and all groups below, parents first.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let more = children(folder);
        found.extend(more);
        next += 1;
    }
    found
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Kills all processes in a group and in all groups below.
fn kill(folder: &Path) {
    if write(&folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // Before Linux 5.14, one by one.
    for pid in tree(folder).iter().flat_map(|group| processes(group).unwrap_or_default()) {
        if let Some(process) = Process::read(pid) {
            process.kill();
        }
    }
}

fn is_empty(folder: &Path) -> bool {
    read_value(folder, "cgroup.events", "populated") != Some(1)
}

/// Moves the processes of `root` itself into a group below, with preference over instances.
fn move_processes(root: &Path, has_cpu: bool) -> io::Result<()> {
    // The root group has no limits, and contains processes of the whole machine.
    if !root.join("cgroup.type").exists() {
        return Ok(());
    }
    let own = root.join(OWN_GROUP);
    for _ in 0..MOVES_MAX {
        let found = processes(root)?;
        if found.is_empty() {
            return Ok(());
        }
        make(&own)?;
        for pid in found {
            match write(&own.join("cgroup.procs"), &pid.to_string()) {
                // The process ended meanwhile.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                other => other?,
            }
        }
        if has_cpu {
            // Exists once the root passes controllers on; a preference only.
            write(&root.join("cgroup.subtree_control"), "+cpu").ok();
            write(&own.join("cpu.weight"), OWN_WEIGHT).ok();
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "processes are started in it"))
}

fn processes(folder: &Path) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(folder.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn controllers(folder: &Path) -> io::Result<String> {
    fs::read_to_string(folder.join("cgroup.controllers"))
}

fn has(available: &str, name: &str) -> bool {
    available.split_ascii_whitespace().any(|available| available == name)
}

/// Returns the first required controller that is unavailable.
fn missing(available: &str) -> Option<&'static str> {
    NEEDED.into_iter().find(|name| !has(available, name))
}

/// Returns text that is valid as a part of a group name.
fn name_of(text: &str) -> Option<&str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_plain && (1..=NAME_BYTES_MAX).contains(&text.len())).then_some(text)
}

/// Returns the files and values for an instance's group.
fn settings(limits: &InstanceLimits, has_cpu: bool) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("memory.max", limits.memory_bytes.to_string()),
        ("memory.swap.max", "0".to_owned()),
        // A partial instance is useless, and its tmpfs content is freed only with the last process.
        ("memory.oom.group", "1".to_owned()),
        ("pids.max", limits.tasks_max().to_string()),
    ];
    if has_cpu && limits.cpu_percent > 0 {
        let quota = limits.cpu_percent.saturating_mul(CPU_PERIOD_US / 100);
        settings.push(("cpu.max", format!("{quota} {CPU_PERIOD_US}")));
    }
    settings
}

fn is_optional(file: &str) -> bool {
    matches!(file, "memory.swap.max" | "memory.oom.group")
}

fn read_value(folder: &Path, file: &str, name: &str) -> Option<u64> {
    value_of(&fs::read_to_string(folder.join(file)).ok()?, name)
}

/// Returns the number after a name, in a file with a name and a number per line.
fn value_of(lines: &str, name: &str) -> Option<u64> {
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
