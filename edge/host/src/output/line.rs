//! A line that an instance wrote, and its place in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineStream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
    /// The edge: that an instance began, ended, and why.
    Edge,
}

/// A line that an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The instance, such as `web.2`.
    pub instance: String,
    /// The version that it was started for, in its short form; empty in files of older edges.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Where to.
    pub stream: LineStream,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The place of a line in the log of an environment, which it has in the next process of the edge too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineId {
    /// When the line came, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Its number among lines that follow each other in that millisecond.
    pub ordinal: u32,
}

/// A line with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLine {
    /// Its place.
    pub id: LineId,
    /// The line.
    pub line: Arc<Line>,
}

impl std::ops::Deref for PlacedLine {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.line
    }
}
