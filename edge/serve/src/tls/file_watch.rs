//! Files that are read again when they change, seen from outside: by their times, lengths and numbers.

use std::fmt::Display;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// Age of a file's last change from which on its time distinguishes changes.
const SETTLED: Duration = Duration::from_secs(3);

/// The last look at a list of files.
#[derive(Debug)]
pub struct Changes {
    paths: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    marks: Vec<Mark>,
    /// Their metadata since they changed: they are read when that holds for two looks, as a file that is being written
    /// may be good already, of half of what it will say.
    changing: Option<Vec<Mark>>,
    /// The last attempt failed, with this message.
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
    /// The files as they are now, before they are read for the first time.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let marks = marks(&paths);
        Self { paths, seen: Mutex::new(Seen { marks, changing: None, failure: None }) }
    }

    /// Reads the files again, by `read`, one caller at a time.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn reload<E: Display>(&self, read: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut seen = self.seen.lock();
        // Taken before the files are read: what changes meanwhile is then seen as a change the next time.
        seen.marks = marks(&self.paths);
        seen.changing = None;
        let done = read();
        seen.failure = done.as_ref().err().map(ToString::to_string);
        done
    }

    /// Reads the files again if they may have changed, or were not good the last time; an error is given only where it
    /// is another than before. To be called every so often.
    ///
    /// # Errors
    /// Those of `read`, once for each that differs.
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
