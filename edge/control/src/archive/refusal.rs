//! Refusals of archives, as problems for the client.

use std::io;

use devanture_config::problem::{Code, Problem};

use crate::ledger::Error;

/// Reason for an early end of unpacking.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The input or the storage stopped; the other end knows the reason.
    BrokenOff,
    /// Fault of the archive.
    Problem(Box<Problem>),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Problem(error.0)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadArchive, detail)
}

/// Converts an error of a truncated or corrupt archive.
pub(super) fn broken(error: &io::Error, detail: impl Into<String>) -> Problem {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Problem::new(Code::ArchiveCutOff, detail).hint("send it again, whole");
    }
    damaged(detail)
}

pub(super) fn cut_off() -> Problem {
    let detail = "The archive is cut off: it ends before its end is marked.";
    Problem::new(Code::ArchiveCutOff, detail).hint("send it again, whole")
}

pub(crate) fn damaged(detail: impl Into<String>) -> Problem {
    Problem::new(Code::ArchiveDamaged, detail).hint("create the archive again, and resend it")
}

pub(super) fn bomb(detail: impl Into<String>) -> Problem {
    Problem::new(Code::ArchiveBomb, detail).hint("`archive_ratio_max` in edge.toml is the limit")
}

pub(crate) fn too_large(detail: impl Into<String>, limit: &str) -> Problem {
    Problem::new(Code::BundleTooLarge, detail).hint(format!("`{limit}` in edge.toml is the limit"))
}

pub(super) fn too_long(detail: impl Into<String>, limit: &str) -> Problem {
    Problem::new(Code::PathTooLong, detail).hint(format!("`{limit}` in edge.toml is the limit"))
}

/// Formats a name in an archive for display: bounded, without control characters.
pub(super) fn shown(name: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 200;
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Problem of a truncated archive.
pub(crate) fn broken_off() -> Error {
    Problem::new(Code::BadRequest, "The request's body broke off.").into()
}
