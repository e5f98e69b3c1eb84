//! Hashes files that may be written to at the same time: a change is noticed, and the file is read again.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use devanture_config::Digest;

use crate::beneath::FilePath;
use crate::platform::identity;

/// Upper bound of reads of a changing file.
pub(crate) const READS_MAX: u32 = 5;
/// Wait before a changed file is read again: its writer is likely still writing.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of one read.
const CHUNK_BYTES: usize = 256 * 1024;
/// Upper bound of hashing threads; beyond it the disk is the bottleneck.
const THREADS_MAX: usize = 16;

/// The identity and the last change of a file, from its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// The identity from the system.
    identity: (u64, u64, i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), identity: identity(metadata) }
    }
}

/// A file's digest and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    /// The BLAKE3 of the bytes.
    pub digest: Digest,
    /// The number of bytes.
    pub bytes: u64,
}

/// The reason why a file could not be hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    /// The file was written to during every read.
    #[error("it changed while it was read, {READS_MAX} times")]
    Changing,
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Hashes the file at `path`, and repeats until a read without a change.
///
/// # Errors
/// A [`HashError`].
fn hash_file(path: &FilePath, chunk: &mut [u8]) -> Result<Hashed, HashError> {
    hash_file_watched(path, chunk, |_| {})
}

/// Like [`hash_file`]; calls `while_reading` with the number of each read before the final look at the file.
fn hash_file_watched(
    path: &FilePath,
    chunk: &mut [u8],
    mut while_reading: impl FnMut(u32),
) -> Result<Hashed, HashError> {
    for reading in 0..READS_MAX {
        if reading > 0 {
            std::thread::park_timeout(PAUSE);
        }
        let mut file = path.open()?;
        let before = Stamp::of(&file.metadata()?);
        let hashed = hash_to_end(&mut file, chunk)?;
        while_reading(reading);
        // The path is checked too: by now the path may name a different file from the open one.
        let opened_after = Stamp::of(&file.metadata()?);
        let named_after = path.open().and_then(|file| file.metadata()).map(|m| Stamp::of(&m)).ok();
        if opened_after == before && named_after == Some(before) && hashed.bytes == before.bytes {
            return Ok(hashed);
        }
    }
    Err(HashError::Changing)
}

fn hash_to_end(file: &mut File, chunk: &mut [u8]) -> io::Result<Hashed> {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    loop {
        match file.read(chunk) {
            Ok(0) => return Ok(Hashed { digest: hasher.finalize().into(), bytes }),
            Ok(count) => {
                hasher.update(chunk.get(..count).unwrap_or_default());
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Hashes all `paths` on several threads; the results are in the order of the paths.
pub(crate) fn hash_all(paths: &[FilePath]) -> Vec<Result<Hashed, HashError>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(paths.len());
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::with_capacity(paths.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // A buffer for each thread: most files are far smaller, and are read in less time than an allocation
                // takes.
                let (mut own, mut chunk) = (Vec::new(), vec![0; CHUNK_BYTES]);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(index) else { break };
                    own.push((index, hash_file(path, &mut chunk)));
                }
                answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(own);
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::{Path, PathBuf};

    fn file_with(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        append(&path, text);
        (folder, path)
    }

    fn append(path: &Path, text: &str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again() {
        let (_folder, path) = file_with("one");
        let hashed = hash_file_watched(&FilePath::of(&path), &mut [0; 100], |reading| {
            if reading < 2 {
                append(&path, "+");
            }
        });
        assert_eq!(hashed.unwrap(), Hashed { digest: Digest::of(b"one++"), bytes: 5 });
    }

    #[test]
    fn a_file_that_was_put_in_its_place_is_read() {
        let (folder, path) = file_with("one");
        let other = folder.path().join("other");
        append(&other, "two");
        let hashed = hash_file_watched(&FilePath::of(&path), &mut [0; 100], |reading| {
            if reading == 0 {
                std::fs::hard_link(&other, folder.path().join("link")).unwrap();
                std::fs::remove_file(&path).unwrap();
                std::fs::hard_link(&other, &path).unwrap();
            }
        });
        assert_eq!(hashed.unwrap().digest, Digest::of(b"two"));
    }

    #[test]
    fn a_file_that_never_rests_is_given_up() {
        let (_folder, path) = file_with("one");
        let mut readings = 0;
        let answer = hash_file_watched(&FilePath::of(&path), &mut [0; 100], |_| {
            readings += 1;
            append(&path, "+");
        });
        assert!(matches!(answer, Err(HashError::Changing)), "{answer:?}");
        assert_eq!(readings, READS_MAX);
    }

    #[test]
    fn many_files_are_hashed_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths: Vec<PathBuf> = (0..50).map(|n| folder.path().join(n.to_string())).collect();
        for (n, path) in paths.iter().enumerate() {
            append(path, &n.to_string());
        }
        paths.push(folder.path().join("missing"));
        let paths: Vec<FilePath> = paths.iter().map(|path| FilePath::of(path)).collect();
        let answers = hash_all(&paths);
        for (n, answer) in answers.iter().take(50).enumerate() {
            assert_eq!(answer.as_ref().unwrap().digest, Digest::of(n.to_string().as_bytes()));
        }
        assert!(answers[50].is_err());
    }
}
