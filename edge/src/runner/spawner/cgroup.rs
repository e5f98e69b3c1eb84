//! One cgroup (version 2) for each instance, below a folder that was delegated to whoever runs the spawner.
//!
//! The files here are the kernel's: nothing of them is on a disk, and writing one is a call, not a change of a file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::InstanceLimits;
use super::exec::tasks_max;

/// The controllers that there must be; `cpu` is used where it is there.
const NEEDED: [&str; 2] = ["memory", "pids"];
/// The time in which a share of CPU is counted, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// The folder below which the groups are.
#[derive(Debug)]
pub(super) struct Groups {
    folder: PathBuf,
    has_cpu: bool,
}

impl Groups {
    /// Takes the folder into use.
    ///
    /// # Errors
    /// A sentence that says why it cannot be.
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{} is no cgroup that can be used: {error}", folder.display());
        let offered = fs::read_to_string(folder.join("cgroup.controllers")).map_err(failed)?;
        let (enable, has_cpu) = to_enable(&offered)
            .map_err(|missing| format!("{} has no controller `{missing}` to hand on", folder.display()))?;
        write(&folder.join("cgroup.subtree_control"), &enable).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), has_cpu })
    }

    /// Makes the group of an instance, with its limits. `name` is one segment of a path.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn make(&self, name: &str, limits: &InstanceLimits) -> io::Result<Group> {
        let group = Group { folder: self.folder.join(name) };
        fs::create_dir(&group.folder)?;
        for (file, value) in settings(limits, self.has_cpu) {
            match write(&group.folder.join(file), &value) {
                // A kernel without swap has no such file.
                Err(error) if error.kind() == io::ErrorKind::NotFound && file == "memory.swap.max" => {}
                other => other?,
            }
        }
        Ok(group)
    }
}

/// The group of one instance; it is removed when this is dropped, which does nothing while something runs in it.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
}

impl Group {
    /// Moves a process into the group.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn take(&self, pid: u32) -> io::Result<()> {
        write(&self.folder.join("cgroup.procs"), &pid.to_string())
    }

    /// SIGKILL to everything in the group at once.
    pub(super) fn kill(&self) {
        // Kernels before 5.14 have no such file: what is there is then killed one by one, as without a group.
        write(&self.folder.join("cgroup.kill"), "1").ok();
    }

    /// Whether nothing runs in it any more.
    pub(super) fn is_empty(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("cgroup.events")).unwrap_or_default();
        value_of(&events, "populated") != Some(1)
    }

    /// Whether the kernel killed something in it because of its memory.
    pub(super) fn was_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        value_of(&events, "oom_kill").is_some_and(|count| count > 0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.folder).ok();
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

/// What is written to hand the controllers on, and whether `cpu` is among them; else the one that is missing.
fn to_enable(offered: &str) -> Result<(String, bool), &'static str> {
    let has = |name: &str| offered.split_ascii_whitespace().any(|offered| offered == name);
    if let Some(missing) = NEEDED.into_iter().find(|name| !has(name)) {
        return Err(missing);
    }
    let has_cpu = has("cpu");
    Ok((format!("+memory +pids{}", if has_cpu { " +cpu" } else { "" }), has_cpu))
}

/// The files of a group and what is written into them.
fn settings(limits: &InstanceLimits, has_cpu: bool) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("memory.max", limits.memory_bytes.to_string()),
        ("memory.swap.max", "0".to_owned()),
        ("pids.max", tasks_max(limits).to_string()),
    ];
    if has_cpu && limits.cpu_percent > 0 {
        let quota = limits.cpu_percent.saturating_mul(CPU_PERIOD_US / 100);
        settings.push(("cpu.max", format!("{quota} {CPU_PERIOD_US}")));
    }
    settings
}

/// The number behind a name, in a file with a name and a number in each line.
fn value_of(lines: &str, name: &str) -> Option<u64> {
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: InstanceLimits =
        InstanceLimits { memory_bytes: 1_000, processes: 100, open_files: 10, cpu_percent: 150 };

    #[test]
    fn controllers_that_are_needed_must_be_there() {
        assert_eq!(to_enable("cpuset cpu io memory pids\n"), Ok(("+memory +pids +cpu".to_owned(), true)));
        assert_eq!(to_enable("memory pids"), Ok(("+memory +pids".to_owned(), false)));
        assert_eq!(to_enable("cpu memory"), Err("pids"));
        assert_eq!(to_enable(""), Err("memory"));
    }

    #[test]
    fn limits_become_values_of_files() {
        let with = |name: &'static str, value: &str| (name, value.to_owned());
        let expected = [
            with("memory.max", "1000"),
            with("memory.swap.max", "0"),
            with("pids.max", "3200"),
            with("cpu.max", "150000 100000"),
        ];
        assert_eq!(settings(&LIMITS, true), expected);
        assert_eq!(settings(&LIMITS, false), expected[..3]);
        assert_eq!(settings(&InstanceLimits { cpu_percent: 0, ..LIMITS }, true), expected[..3]);
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value_of(events, "oom_kill"), Some(2));
        assert_eq!(value_of(events, "oom"), Some(3));
        assert_eq!(value_of(events, "max"), None);
        assert_eq!(value_of("populated 1\nfrozen 0\n", "populated"), Some(1));
    }

    #[test]
    fn a_folder_that_is_no_cgroup_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Groups::open(folder.path()).unwrap_err().contains("is no cgroup that can be used"));
    }
}
