//! Makes the archive that replaces data, from a folder or an archive file.

use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use devanture_config::problem::Code;
use futures_util::stream;
use tokio::sync::mpsc;

use super::blocking;
use super::entries::for_each;
use crate::output::exit::Failure;

/// Bytes of a piece.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces queued for the connection.
const PIECES_WAITING: usize = 4;
/// Greatest depth of folders.
const DEPTH_MAX: usize = 64;
/// The level of compression.
const LEVEL: i32 = 3;

/// The data to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Pipes, sockets and devices.
    pub(super) skipped: u64,
    /// Set if the data contain only folders.
    pub(super) is_empty: bool,
}

/// Examines the data to be sent.
///
/// # Errors
/// `missing_folder`, `unreadable_file`.
pub(super) async fn look(from: &Path, is_archive: bool) -> Result<Packed, Failure> {
    let from = from.to_owned();
    blocking(move || {
        let found = fs::metadata(&from).map_err(|error| {
            Failure::new(Code::MissingFolder, format!("{} cannot be read: {error}.", from.display()))
        })?;
        if is_archive {
            // An invalid archive is refused by the edge, with the reason.
            let is_empty = is_empty_archive(&from).unwrap_or(false);
            return Ok(Packed { files: 1, bytes: found.len(), skipped: 0, is_empty });
        }
        if !found.is_dir() {
            let message = format!("{} is neither a folder nor named .tar.zst.", from.display());
            return Err(Failure::new(Code::Usage, message));
        }
        let mut packed = Packed { is_empty: true, ..Packed::default() };
        walk(&from, Path::new(""), 0, &mut |_, _, found| {
            packed.files += u64::from(found.is_file());
            packed.bytes += if found.is_file() { found.len() } else { 0 };
            packed.skipped += u64::from(is_special(found));
            packed.is_empty &= is_special(found) || found.is_dir();
            Ok(())
        })?;
        Ok(packed)
    })
    .await
}

/// Returns the archive, made on the fly. If a file cannot be read meanwhile, the archive breaks off, and the edge
/// changes nothing.
///
/// # Errors
/// `unreadable_file`.
pub(super) async fn body(from: &Path, is_archive: bool) -> Result<reqwest::Body, Failure> {
    if is_archive {
        let file = tokio::fs::File::open(from).await.map_err(|error| unreadable(from, &error))?;
        return Ok(reqwest::Body::from(file));
    }
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let from = from.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { sender, now: Vec::with_capacity(PIECE_BYTES) };
        if let Err(error) = archive(&from, &mut pieces) {
            pieces.sender.blocking_send(Err(error)).ok();
        }
    });
    let pieces = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    Ok(reqwest::Body::wrap_stream(pieces))
}

/// Writes pieces of equal size into a channel.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    now: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.now.extend_from_slice(bytes);
        if self.now.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.now.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.now));
        self.sender.blocking_send(Ok(piece)).map_err(|_gone| io::ErrorKind::BrokenPipe.into())
    }
}

fn archive(from: &Path, to: &mut impl Write) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(to, LEVEL)?;
    encoder.include_checksum(true)?;
    let mut tar = tar::Builder::new(encoder);
    tar.follow_symlinks(false);
    let added = walk(from, Path::new(""), 0, &mut |path, name, found| match is_special(found) {
        true => Ok(()),
        false => tar.append_path_with_name(path, name).map_err(|error| unreadable(path, &error)),
    });
    added.map_err(|failure| io::Error::other(failure.lines().join(" ")))?;
    tar.into_inner()?.finish()?.flush()
}

/// Returns true if an archive contains only folders.
fn is_empty_archive(path: &Path) -> io::Result<bool> {
    let mut is_empty = true;
    let same = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
    for_each(zstd::Decoder::new(fs::File::open(path)?)?, same, |entry| {
        let is_named = entry.path()?.components().any(|component| matches!(component, Component::Normal(_)));
        is_empty = !is_named || entry.header().entry_type().is_dir();
        Ok(if is_empty { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(is_empty)
}

/// Returns true for a pipe, a socket or a device.
fn is_special(found: &Metadata) -> bool {
    !found.is_file() && !found.is_dir() && !found.is_symlink()
}

/// Calls `with` for each entry below a folder, folders before their content; follows no link. The arguments are the
/// path, the name in the archive, and the metadata.
fn walk(
    folder: &Path,
    name: &Path,
    depth: usize,
    with: &mut impl FnMut(&Path, &Path, &Metadata) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        let message = format!("{} is deeper than {DEPTH_MAX} folders.", folder.display());
        return Err(Failure::new(Code::PathTooLong, message));
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| unreadable(folder, &error))?;
    let mut names: Vec<PathBuf> = entries.iter().map(|entry| entry.file_name().into()).collect();
    names.sort();
    for own in names {
        let (path, name) = (folder.join(&own), name.join(&own));
        let found = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, &error))?;
        with(&path, &name, &found)?;
        if found.is_dir() {
            walk(&path, &name, depth + 1, with)?;
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::UnreadableFile, format!("{} cannot be read: {error}.", path.display()))
}
