//! What comes of an instance: its output, its usage and its end.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An event of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It wrote something; 16 KiB at most.
    Output {
        /// Where to.
        stream: Stream,
        /// The bytes as they came: lines may be cut anywhere.
        bytes: Bytes,
    },
    /// Its main process ended, and no other process of it is left.
    Exited(Exit),
}

/// An output of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

/// The end of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// With a code of its own.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// There is no such command.
    Missing(String),
    /// The command is there and may not be run.
    NotExecutable(String),
    /// It did not come to begin, for another reason.
    CannotStart(String),
    /// It took more memory than it may.
    OutOfMemory,
    /// It had more processes than it may.
    TooManyProcesses,
    /// It had the most processes and threads while its app had more of them than it may.
    TooManyTasksOfApp,
    /// It had more open files and mappings than can be counted.
    TooManyFiles,
    /// The spawner died, and the instance with it.
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

/// Usage of an instance, of all its processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes.
    pub processes: u64,
    /// Bytes of files in a tmpfs of its own, which are part of its memory.
    pub temporary_bytes: u64,
}
