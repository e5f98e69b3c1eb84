//! Command that runs once in the folder of a version: request and outcome. The frames are in [`crate::run_stream`].

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::{AppName, PlaceName, VersionId};

/// Maximum number of words of a command, including the program.
pub const RUN_WORDS_MAX: usize = 1_000;
/// Maximum bytes of all words of a command together.
pub const RUN_COMMAND_BYTES_MAX: usize = 32 * 1024;
/// Maximum number of characters of [`RunRequest::term`].
pub const TERM_CHARACTERS_MAX: usize = 64;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Request to run a command once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Program and arguments, without a shell.
    pub command: Vec<String>,
    /// Terminal of the command; if absent, input and outputs are pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// Variable `TERM` of the terminal, for example `xterm-256color`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
    /// Time limit in milliseconds; by default `run_ms_max`, the maximum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Way in which a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunExit {
    /// Exit code.
    Code(i32),
    /// Signal from outside the edge.
    Signal(i32),
    /// The program does not exist.
    Missing(String),
    /// The program is not executable.
    NotExecutable(String),
    /// The edge ended the command, or could not start the command.
    Problem(Box<Problem>),
}

/// End of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// Exit.
    pub exit: RunExit,
    /// Duration in milliseconds.
    pub ms: u64,
    /// Version of the folder.
    pub version: VersionId,
}

/// Response to a request for a check of a command only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPrediction {
    /// Always true.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Version of the folder.
    pub version: VersionId,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Time limit in milliseconds.
    pub timeout_ms: u64,
}
