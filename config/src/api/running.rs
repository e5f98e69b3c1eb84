//! A command that runs once in the folder of a version: what is requested, and how it ended. The frames that carry both
//! are those of [`crate::run_stream`].

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::{AppName, PlaceName, VersionId};

/// Most words of a command, its program among them.
pub const RUN_WORDS_MAX: usize = 1_000;
/// Most bytes of all words of a command together.
pub const RUN_COMMAND_BYTES_MAX: usize = 32 * 1024;
/// Most characters of [`RunRequest::term`].
pub const TERM_CHARACTERS_MAX: usize = 64;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// A command that is to run once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// The terminal that it gets; without one, its input and outputs are pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// The variable `TERM` of the terminal, such as `xterm-256color`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
    /// Milliseconds that it may take; `run_ms_max` by default, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunExit {
    /// With a code of its own.
    Code(i32),
    /// By a signal that the edge did not send.
    Signal(i32),
    /// There is no such program.
    Missing(String),
    /// The program is there, and may not be run.
    NotExecutable(String),
    /// The edge ended it, or could not start it.
    Problem(Box<Problem>),
}

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// How it ended.
    pub exit: RunExit,
    /// Milliseconds that it took.
    pub ms: u64,
    /// The version in whose folder it ran.
    pub version: VersionId,
}

/// The answer to a request that only checks what would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPrediction {
    /// Always true.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The version in whose folder it would run.
    pub version: VersionId,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Milliseconds that it might take.
    pub timeout_ms: u64,
}
