//! Reload of changed files, detected by modification time, length and inode.

use std::fmt::Display;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// Age of a file's last change at which a further change has a different time.
const SETTLED: Duration = Duration::from_secs(3);

/// The last observed state of a list of files.
#[derive(Debug)]
pub struct Changes {
    paths: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    marks: Vec<Mark>,
    /// Metadata since the last change: files are read once two consecutive checks agree, because a file that is being
    /// written may already be valid with only half of its content.
    changing: Option<Vec<Mark>>,
    /// Message of the last failed attempt.
    failure: Option<String>,
}

/// The metadata of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    changed: Option<SystemTime>,
    length: u64,
    file: (u64, u64),
}

impl Mark {
    fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let metadata: io::Result<Metadata> = std::fs::metadata(path);
        metadata.map_or(Self { changed: None, length: 0, file: (0, 0) }, |metadata| Self {
            changed: metadata.modified().ok(),
            length: metadata.len(),
            file: (metadata.dev(), metadata.ino()),
        })
    }

    fn is_settled(&self) -> bool {
        self.changed.is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > SETTLED))
    }
}

impl Changes {
    /// Records the current state of the files, before the first read.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let marks = marks(&paths);
        Self { paths, seen: Mutex::new(Seen { marks, changing: None, failure: None }) }
    }

    /// Reads the files again by `read`, one caller at a time.
    ///
    /// # Errors
    /// Errors of `read`.
    pub fn reload<E: Display>(&self, read: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut seen = self.seen.lock();
        // Taken before the read: a change during the read counts as a change at the next check.
        seen.marks = marks(&self.paths);
        seen.changing = None;
        let done = read();
        seen.failure = done.as_ref().err().map(ToString::to_string);
        done
    }

    /// Reads the files again if the files may have changed, or the last read failed. To be called periodically.
    ///
    /// # Errors
    /// Errors of `read`, only if different from the previous error.
    pub fn look<E: Display>(&self, read: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let before = {
            let mut seen = self.seen.lock();
            let now = marks(&self.paths);
            if now != seen.marks {
                if seen.changing.as_ref() != Some(&now) {
                    seen.changing = Some(now);
                    return Ok(());
                }
            } else if seen.failure.is_none() && now.iter().all(Mark::is_settled) {
                return Ok(());
            }
            seen.failure.clone()
        };
        self.reload(read).or_else(|error| if before == Some(error.to_string()) { Ok(()) } else { Err(error) })
    }
}

fn marks(paths: &[PathBuf]) -> Vec<Mark> {
    paths.iter().map(|path| Mark::of(path)).collect()
}
