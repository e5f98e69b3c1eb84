//! Start parameters of an instance: command, user, folders and limits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Tasks per permitted process. The kernel counts threads for all instances of a user together: the limit is far above
/// the intended number, as a second line of defense.
const TASKS_PER_PROCESS: u64 = 32;
/// Minimum of the task limit.
const TASKS_MIN: u64 = 1_024;

/// Instance to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Id such as `shop/prod/web.2`; unique among running instances.
    pub id: String,
    /// Program and arguments. A program without a slash is looked up in the `PATH` of `environment`; a program with a
    /// slash is relative to `folder`.
    pub command: Vec<String>,
    /// Working folder.
    pub folder: PathBuf,
    /// All environment variables, besides the two markers.
    pub environment: BTreeMap<String, String>,
    /// User id, and group id of the same number; `None` for the spawner's.
    pub uid: Option<u32>,
    /// Limits.
    pub limits: InstanceLimits,
    /// Location of temporary files.
    pub temporary: Option<Temporary>,
    /// Folders besides `folder` that stay reachable, even below `/tmp` or another folder replaced by a private folder.
    pub keep: Vec<PathBuf>,
}

/// Temporary files of one instance: a tmpfs mounted over `folder`, freed by the kernel, if the spawner can mount a
/// tmpfs; otherwise a new folder below. Variables with `folder` as a value then contain the new folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Temporary {
    /// Folder of the instance's user.
    pub folder: PathBuf,
    /// Unique name of the new folder.
    pub name: String,
}

impl Temporary {
    /// Returns the new folder. The launcher of the instance removes the folder.
    #[must_use]
    pub fn own(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// Limits of all processes of an instance together, except open files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLimits {
    /// Memory without disk caches; beyond the limit the instance ends with [`Exit::OutOfMemory`].
    pub memory_bytes: u64,
    /// Processes; beyond the limit the instance ends with [`Exit::TooManyProcesses`].
    pub processes: u64,
    /// Processes and threads of all instances of the app; beyond the limit the largest instance ends with
    /// [`Exit::TooManyTasksOfApp`], unless the kernel refuses more tasks.
    pub app_tasks: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// CPU time, where 100 is one core; enforced only by a control group, and 0 is no limit.
    pub cpu_percent: u64,
    /// Bytes of one written file.
    pub file_bytes: u64,
    /// Bytes of temporary files.
    pub temporary_bytes: u64,
    /// Number of temporary files and folders.
    pub temporary_files: u64,
}

impl InstanceLimits {
    /// Returns the number of tasks, including threads, beyond which the kernel refuses more.
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
