//! Bundles in one request: archives, unpacked file by file into the store, and converted to a manifest.
//!
//! Bytes of the request pass through [`mod@feed`] to a blocking thread. A tar, packed or not, is unpacked while
//! received ([`mod@untar`]); a zip has its directory at the end, and is first spooled to a bounded temporary file
//! ([`mod@unzip`]). [`gate`] admits entries before any byte is stored; [`store`] passes each file to the store, which
//! computes its hash; [`bundle`] builds the manifest. `publish` drives these steps, and finishes the push like any
//! other. Memory is bounded for any input: a few chunks, and the names of the files.
//!
//! The `tar` crate uses blocking readers. Blocking readers are suitable here: decompression occupies a whole core,
//! which threads of the API must not provide, and the asynchronous forks of the crate are younger copies of the same
//! parser.

mod backend;
mod bundle;
mod feed;
mod gate;
mod store;
#[cfg(test)]
mod tests;
mod untar;
mod unzip;

use std::collections::BTreeMap;

use devanture_config::manifest::FileEntry;
use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::{Code, Problem};

pub(crate) use self::bundle::manifest;
pub(crate) use self::feed::{Feed, FeedReader, feed};
pub(crate) use self::gate::{Refusal, archive_bytes_max, bad, broken_off, damaged, too_large};
pub(crate) use self::store::{Count, Files, Piece, Sink, unpack_into};
pub(crate) use self::untar::untar;
pub(crate) use self::unzip::{SpoolError, spool, unzip};

// Archive formats, detected by their first bytes.

/// Archive format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tar,
    TarGz,
    TarZst,
    Zip,
}

/// Bytes needed for the detection: a tar begins with a block of this length with a checksum.
pub(crate) const HEAD_BYTES: usize = 512;

impl Kind {
    /// Detects the format of `head`, of [`HEAD_BYTES`] bytes or a whole archive.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        match head {
            // Local header, or end of the directory of an empty archive (APPNOTE 4.3).
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            // RFC 1952 §2.3.1.
            [0x1f, 0x8b, ..] => Some(Self::TarGz),
            // RFC 8878 §3.1: a frame, or a skippable frame.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::TarZst),
            _ if is_tar(head) => Some(Self::Tar),
            _ => None,
        }
    }
}

fn is_tar(head: &[u8]) -> bool {
    let Ok(block) = <[u8; HEAD_BYTES]>::try_from(head) else { return false };
    if block.iter().all(|byte| *byte == 0) {
        // An empty tar consists of its end marker.
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

// Files of an archive by path, and errors in its configuration files.

/// Files of an archive by path as text.
type Tree = BTreeMap<String, FileEntry>;

/// Problem of the configuration file `name` at a line; 0 without a line.
fn of_config(name: &str, line: usize, message: String) -> Problem {
    let mistake = Mistake { file: name.to_owned(), line, weight: Weight::Mistake, message, hint: None };
    Problem::new(Code::BadConfig, format!("{name} in the archive cannot be read.")).with_mistakes(vec![mistake])
}
