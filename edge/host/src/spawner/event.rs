//! Events of an instance: output, usage and end.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Event of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Output of at most 16 KiB.
    Output {
        /// Output stream.
        stream: Stream,
        /// Received bytes; lines may be split anywhere.
        bytes: Bytes,
    },
    /// The main process and all other processes ended.
    Exited(Exit),
}

/// Output stream of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// End of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// Exit code.
    Code(i32),
    /// Signal.
    Signal(i32),
    /// The command does not exist.
    Missing(String),
    /// The command exists and is not executable.
    NotExecutable(String),
    /// The start failed for another reason.
    CannotStart(String),
    /// Out of memory.
    OutOfMemory,
    /// Too many processes.
    TooManyProcesses,
    /// Most processes and threads of an app beyond the app's limit.
    TooManyTasksOfApp,
    /// More open files and mappings than can be counted.
    TooManyFiles,
    /// The spawner died, and the instance with the spawner.
    Lost,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Missing(command) => write!(f, "there is no `{command}`, neither in its folder nor in its PATH"),
            Self::NotExecutable(command) => write!(f, "`{command}` may not be run: it lacks the run bit"),
            Self::CannotStart(reason) => write!(f, "could not be started: {reason}"),
            Self::OutOfMemory => write!(f, "took more memory than it may"),
            Self::TooManyProcesses => write!(f, "had more processes than it may"),
            Self::TooManyTasksOfApp => write!(
                f,
                "had the most processes and threads while the instances of its app together had more than app_tasks_max"
            ),
            Self::TooManyFiles => write!(f, "had more open files and mappings than can be counted"),
            Self::Lost => write!(f, "was lost with the process that ran it"),
        }
    }
}

/// Usage of all processes of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Number of processes.
    pub processes: u64,
    /// Bytes of files in a private tmpfs, included in the memory.
    pub temporary_bytes: u64,
}
