//! Line written by an instance, and the line's position in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Source of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The edge: starts and ends of instances, with reasons.
    Edge,
}

/// Line written by an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Time in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Instance, such as `web.2`.
    pub instance: String,
    /// Version of the instance in short form; empty in files of older edges.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Source stream.
    pub stream: LineStream,
    /// Text; invalid UTF-8 is replaced.
    pub text: String,
}

/// Position of a line in the log of an environment, stable across edge processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineId {
    /// Time of the line in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Number among consecutive lines of the same millisecond.
    pub ordinal: u32,
}

/// Line with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLine {
    /// Position.
    pub id: LineId,
    /// Line.
    pub line: Arc<Line>,
}

impl std::ops::Deref for PlacedLine {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.line
    }
}
