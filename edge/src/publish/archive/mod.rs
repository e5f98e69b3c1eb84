//! Bundles in one request: archives, unpacked file by file into the store, and made into a manifest at their end.
//!
//! The bytes of a request go through [`feed`] to a blocking thread. A tar, packed or not, is unpacked there as it comes
//! ([`untar`]); a zip has its directory at its end, so it is first spooled to one bounded temporary file ([`unzip`]).
//! [`gate`] decides what of it may be in a bundle, before a byte of it is stored; [`store`] hands each file to the
//! store, which finds its hash; [`bundle`] makes the manifest. [`intake`] is the way through all of this, and ends
//! where any other push is finished. What is held in memory is bounded, whatever comes: a few chunks, and the names of
//! the files.
//!
//! The `tar` crate reads from blocking readers. That fits: inflating takes a whole core, which the thread of the API
//! must not give, and the asynchronous descendants of the crate are younger copies of the same parser.

mod bundle;
mod feed;
mod gate;
mod intake;
mod store;
#[cfg(test)]
mod tests;
mod untar;
mod unzip;

pub(crate) use intake::scratch;
pub use intake::{ArchiveIntake, ReceivedArchive};

use std::io;

use crate::ledger::Error;
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};

/// What an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tar,
    TarGz,
    TarZst,
    Zip,
}

/// So many first bytes tell every kind: a tar begins with a block of this length that holds its own checksum.
const HEAD_BYTES: usize = 512;

impl Kind {
    /// What begins with `head`, which is [`HEAD_BYTES`] long or a whole archive.
    fn of(head: &[u8]) -> Option<Self> {
        match head {
            // A local header, or the end of the directory of an empty one (APPNOTE 4.3).
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            // RFC 1952 §2.3.1.
            [0x1f, 0x8b, ..] => Some(Self::TarGz),
            // RFC 8878 §3.1: a frame, or one to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::TarZst),
            _ if is_tar(head) => Some(Self::Tar),
            _ => None,
        }
    }
}

/// The problem with an archive that ends before its end.
fn broken_off() -> Error {
    Problem::new(Code::BadRequest, "The request's body broke off.").into()
}

fn is_tar(head: &[u8]) -> bool {
    let Ok(block) = <[u8; HEAD_BYTES]>::try_from(head) else { return false };
    if block.iter().all(|byte| *byte == 0) {
        // A tar of nothing is its end alone.
        return true;
    }
    let mut header = ::tar::Header::new_old();
    *header.as_mut_bytes() = block;
    // The checksum counts its own field, eight bytes from 148 on, as spaces.
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let (before, rest) = block.split_at(148);
    let found = sum(before) + sum(rest.get(8..).unwrap_or_default()) + 8 * 32;
    header.cksum().is_ok_and(|declared| declared == found)
}

/// Why unpacking ended early.
#[derive(Debug)]
enum Refusal {
    /// The bytes stopped coming, or nobody stores files any more: the other end knows why.
    BrokenOff,
    /// The archive, or something in it.
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

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadArchive, detail)
}

/// What ended too early where it should not, or is not what its checksum says.
fn broken(error: &io::Error, detail: impl Into<String>) -> Problem {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Problem::new(Code::ArchiveCutOff, detail).hint("send it again, whole");
    }
    damaged(detail)
}

fn cut_off() -> Problem {
    let detail = "The archive is cut off: it ends before its end is marked.";
    Problem::new(Code::ArchiveCutOff, detail).hint("send it again, whole")
}

fn damaged(detail: impl Into<String>) -> Problem {
    Problem::new(Code::ArchiveDamaged, detail).hint("create the archive again, and resend it")
}

fn bomb(detail: impl Into<String>) -> Problem {
    Problem::new(Code::ArchiveBomb, detail).hint("`archive_ratio_max` in edge.toml is the limit")
}

fn too_large(detail: impl Into<String>, limit: &str) -> Problem {
    Problem::new(Code::BundleTooLarge, detail).hint(format!("`{limit}` in edge.toml is the limit"))
}

fn too_long(detail: impl Into<String>, limit: &str) -> Problem {
    Problem::new(Code::PathTooLong, detail).hint(format!("`{limit}` in edge.toml is the limit"))
}

/// A name out of an archive, as it can be shown: without control characters and not endless.
fn shown(name: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 200;
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Most entries of an archive, folders and what is left out among them: each costs a little memory and time.
fn entries_max(limits: &Limits) -> u64 {
    limits.bundle_files_max.saturating_mul(4).saturating_add(1_000)
}

/// Most bytes of an archive as it comes, or as it is unpacked: its files, and a share of headers for each entry.
fn archive_bytes_max(limits: &Limits) -> u64 {
    const ENTRY_BYTES: u64 = 2_048;
    limits.bundle_bytes_max.saturating_add(entries_max(limits).saturating_mul(ENTRY_BYTES))
}
