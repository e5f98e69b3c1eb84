//! What an instance is started with: its command, user, folders and limits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The kernel counts threads, of all instances of a user together: the bound is far above what is meant, and a second
/// line too.
const TASKS_PER_PROCESS: u64 = 32;
/// The least of that bound.
const TASKS_MIN: u64 = 1_024;

/// An instance that is to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Such as `shop/prod/web.2`; unique among those that run.
    pub id: String,
    /// The program and its arguments. A program without a slash is looked for in the `PATH` of `environment`; one with
    /// a slash is relative to `folder`.
    pub command: Vec<String>,
    /// The working folder.
    pub folder: PathBuf,
    /// All variables that the instance has, beside the two markers.
    pub environment: BTreeMap<String, String>,
    /// The user, and the group of the same number; without one, those of the spawner.
    pub uid: Option<u32>,
    /// Its limits.
    pub limits: InstanceLimits,
    /// Where its temporary files go.
    pub temporary: Option<Temporary>,
    /// Folders, beside `folder`, that it reaches also where they are below `/tmp` or another folder that is replaced by
    /// one of its own.
    pub keep: Vec<PathBuf>,
}

/// Where the temporary files of one instance go: a tmpfs in front of `folder`, which the kernel removes, where the
/// spawner can mount one; else a new folder below it. Variables that say `folder` say the new one then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Temporary {
    /// Belongs to the user of the instance.
    pub folder: PathBuf,
    /// Of the new folder, which nobody else has.
    pub name: String,
}

impl Temporary {
    /// The new folder. The launcher of the instance removes it.
    #[must_use]
    pub fn own(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// Limits of an instance: of all its processes together, except open files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLimits {
    /// Memory that is no cache of files on a disk; beyond it the instance ends with [`Exit::OutOfMemory`].
    pub memory_bytes: u64,
    /// Processes; beyond it the instance ends with [`Exit::TooManyProcesses`].
    pub processes: u64,
    /// Processes and threads of all instances of its app; beyond it the largest ends with [`Exit::TooManyTasksOfApp`],
    /// unless the kernel refuses more tasks.
    pub app_tasks: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// Time of CPU, where 100 is one core; held by a control group only, and 0 is no limit.
    pub cpu_percent: u64,
    /// Bytes of one file that it writes.
    pub file_bytes: u64,
    /// Bytes of its temporary files.
    pub temporary_bytes: u64,
    /// Temporary files and folders.
    pub temporary_files: u64,
}

impl InstanceLimits {
    /// Most tasks, threads among them, before the kernel refuses another one.
    pub const fn tasks_max(&self) -> u64 {
        let tasks = self.processes.saturating_mul(TASKS_PER_PROCESS);
        if tasks < TASKS_MIN { TASKS_MIN } else { tasks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_tasks_is_far_above_that_of_processes() {
        let limits = |processes| InstanceLimits { processes, ..InstanceLimits::default() };
        assert_eq!(limits(1).tasks_max(), TASKS_MIN);
        assert_eq!(limits(100).tasks_max(), 3_200);
        assert_eq!(limits(u64::MAX).tasks_max(), u64::MAX);
    }
}
