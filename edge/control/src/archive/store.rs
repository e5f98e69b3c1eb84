//! Passes unpacked files from a blocking thread to the store: files arrive one at a time, and several are synced
//! concurrently.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::Digest;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::gate::Refusal;
use super::gate::{MANIFEST_ENTRY_BYTES, manifest_bytes};
use crate::ledger::{Error, lost};
use devanture_store::blobs::{self, Blobs, UnnamedUpload};

/// Pieces queued for storage; faster unpacking waits.
const PIECES: usize = 8;
/// Longest piece.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Files synced concurrently, while the next files are unpacked.
const FINISHED_AT_ONCE: usize = 16;

/// Content of an archive.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Files, in the order of the archive.
    pub(crate) files: Vec<(BundlePath, FileEntry)>,
    /// Executable files.
    pub(crate) runs: BTreeSet<String>,
    /// Links of a backend's folder, with their targets.
    pub(crate) links: BTreeMap<String, String>,
}

impl Files {
    /// Returns the approximate manifest bytes.
    pub(crate) fn manifest_bytes(&self) -> u64 {
        let of_link = |(path, target): (&String, &String)| {
            MANIFEST_ENTRY_BYTES.saturating_add(path.len() as u64).saturating_add(target.len() as u64)
        };
        let links = self.links.iter().map(of_link).fold(0, u64::saturating_add);
        manifest_bytes(self.files.iter().map(|(path, _)| path)).saturating_add(links)
    }
}

/// Piece of unpacked data.
pub(crate) enum Piece {
    Begin(BundlePath),
    /// Marks the next file as executable.
    MayRun(BundlePath),
    Link(BundlePath, String),
    Bytes(Bytes),
    End,
}

/// Destination of unpacked files.
pub(crate) trait Sink {
    fn put(&mut self, piece: Piece) -> Result<(), Refusal>;
}

/// Blocking end of the channel to the store.
pub(crate) struct ToStore(mpsc::Sender<Piece>);

impl Sink for ToStore {
    fn put(&mut self, piece: Piece) -> Result<(), Refusal> {
        self.0.blocking_send(piece).map_err(|_closed| Refusal::BrokenOff)
    }
}

/// Copies at most `size` bytes of `reader` into the sink as the file `path`. Returns the number of bytes.
pub(super) fn copy(
    reader: &mut dyn Read,
    path: BundlePath,
    size: u64,
    sink: &mut dyn Sink,
    failed: impl FnOnce(std::io::Error) -> Refusal,
) -> Result<u64, Refusal> {
    sink.put(Piece::Begin(path))?;
    let mut left = size;
    loop {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
        let mut piece = vec![0; length];
        let read = match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        piece.truncate(read);
        left -= read as u64;
        sink.put(Piece::Bytes(piece.into()))?;
    }
    sink.put(Piece::End)?;
    Ok(size - left)
}

/// Counts the files of an archive as stored.
pub(crate) trait Count: Send + 'static {
    /// Counts a stored file.
    ///
    /// # Errors
    /// The limit is reached.
    fn count(&mut self, blob: Digest, bytes: u64) -> Result<(), Error>;
}

/// Counts nothing.
impl Count for () {
    fn count(&mut self, _blob: Digest, _bytes: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// Runs `unpack` on a blocking thread and stores its output, for an app with a storage limit of `bytes_max` bytes; 0 is
/// no limit. Each file is passed to `count` once stored, even if the archive then fails.
///
/// # Errors
/// `storage_full`, as soon as the files alone exceed the limit; errors of `count`; errors of unpacking and storing.
pub(crate) async fn unpack_into<C: Count>(
    store: Arc<dyn Blobs>,
    (bytes_max, count): (u64, C),
    unpack: impl FnOnce(&mut dyn Sink) -> Result<(), Refusal> + Send + 'static,
) -> Result<(Files, C), Error> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let storing = tokio::spawn(take(store, (bytes_max, count), pieces));
    let unpacked = tokio::task::spawn_blocking(move || unpack(&mut ToStore(sender))).await;
    let stored = storing.await.map_err(|error| lost(&error))?;
    match unpacked.map_err(|error| lost(&error))? {
        Ok(()) => stored,
        Err(Refusal::Problem(problem)) => Err(Error(problem)),
        // The storing side has the reason; otherwise the input stopped.
        Err(Refusal::BrokenOff) => stored.and_then(|_| Err(super::gate::broken_off())),
    }
}

fn too_much(bytes_max: u64) -> Problem {
    let detail = format!("The archive unpacks to more bytes than the app may store in all; {bytes_max} are allowed.");
    Problem::new(Code::StorageFull, detail).limit("stored_bytes_per_app_max", bytes_max, 0)
}

/// Stores files until the end of the pieces.
async fn take<C: Count>(
    store: Arc<dyn Blobs>,
    (bytes_max, mut count): (u64, C),
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<(Files, C), Error> {
    let (mut files, mut unpacked) = (Files::default(), 0_u64);
    let mut under_way: JoinSet<Result<(BundlePath, FileEntry), blobs::Error>> = JoinSet::new();
    let mut current: Option<(BundlePath, Box<dyn UnnamedUpload>)> = None;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::MayRun(path) => drop(files.runs.insert(path.into())),
            Piece::Link(path, target) => drop(files.links.insert(path.into(), target)),
            Piece::Begin(path) => current = Some((path, store.upload_unnamed().await?)),
            Piece::Bytes(bytes) => {
                // The app's stored files are counted after unpacking; an archive too large by itself is stopped
                // earlier.
                unpacked = unpacked.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                if bytes_max > 0 && unpacked > bytes_max {
                    return Err(too_much(bytes_max).into());
                }
                if let Some((_, upload)) = &mut current {
                    upload.write(bytes).await?;
                }
            }
            Piece::End => {
                if under_way.len() >= FINISHED_AT_ONCE {
                    files.files.extend(next_finished(&mut under_way, &mut count).await?);
                }
                if let Some((path, upload)) = current.take() {
                    under_way.spawn(async move {
                        let (hash, size) = upload.finish().await?;
                        Ok((path, FileEntry { hash, size, media_type: None }))
                    });
                }
            }
        }
    }
    while let Some(file) = next_finished(&mut under_way, &mut count).await? {
        files.files.push(file);
    }
    Ok((files, count))
}

async fn next_finished(
    under_way: &mut JoinSet<Result<(BundlePath, FileEntry), blobs::Error>>,
    count: &mut impl Count,
) -> Result<Option<(BundlePath, FileEntry)>, Error> {
    match under_way.join_next().await {
        Some(Ok(finished)) => {
            let (path, entry) = finished?;
            count.count(entry.hash, entry.size)?;
            Ok(Some((path, entry)))
        }
        Some(Err(error)) => Err(lost(&error)),
        None => Ok(None),
    }
}
