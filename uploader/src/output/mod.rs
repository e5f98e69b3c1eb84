//! Output: reports and progress for a person or a program, failures, and text that is safe in a terminal.

pub(crate) mod exit;
pub(crate) mod failure;
pub(crate) mod last_line;
pub(crate) mod node_lines;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod report;
pub(crate) mod status_lines;
pub(crate) mod step_output;
pub(crate) mod terminal;
