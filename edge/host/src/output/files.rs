//! Log files: the newest has number 0 and grows; when full, each file gets the next number.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Line;
use devanture_base::durable::{self, Error, FILE_MODE};

/// Files of one environment.
pub(super) struct Files {
    folder: PathBuf,
    bytes_max: u64,
    files_max: u64,
    open: Option<(File, u64)>,
    /// True if the last write failed: logged once.
    has_failed: bool,
}

impl Files {
    pub(super) fn new(folder: PathBuf, bytes_max: u64, files_max: u64) -> Self {
        Self { folder, bytes_max, files_max, open: None, has_failed: false }
    }

    /// Writes lines; unwritable lines are dropped, and the instance continues.
    pub(super) fn write(&mut self, lines: &[Arc<Line>]) {
        let mut bytes: Vec<u8> = Vec::new();
        for line in lines {
            let Ok(mut one) = serde_json::to_vec(&**line) else { continue };
            one.push(b'\n');
            let together = u64::try_from(bytes.len().saturating_add(one.len())).unwrap_or(u64::MAX);
            let size = self.open.as_ref().map_or(0, |(_, size)| *size);
            if !bytes.is_empty() && size.saturating_add(together) > self.bytes_max {
                self.append(&bytes);
                bytes.clear();
            }
            bytes.append(&mut one);
        }
        if !bytes.is_empty() {
            self.append(&bytes);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        match self.try_append(bytes) {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                self.open = None;
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(folder = %self.folder.display(), %error, "the log of instances cannot be written");
                }
            }
        }
    }

    fn try_append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.open.as_ref().is_some_and(|(_, size)| *size > 0 && size.saturating_add(length) > self.bytes_max) {
            self.open = None;
            self.rotate()?;
        }
        let path = path_of(&self.folder, 0);
        let failed = |source| Error::Io { doing: "writing", path: path.display().to_string(), source };
        if self.open.is_none() {
            durable::make_folder(&self.folder)?;
            let file = durable::open_append(&path, FILE_MODE)?;
            let size = file.metadata().map_err(failed)?.len();
            self.open = Some((file, size));
            if size > 0 && size.saturating_add(length) > self.bytes_max {
                return self.try_append(bytes);
            }
            if let Some((file, size)) = self.open.as_mut().filter(|_| is_torn(&path)) {
                file.write_all(b"\n").map_err(failed)?;
                *size = size.saturating_add(1);
            }
        }
        let Some((file, size)) = &mut self.open else { return Ok(()) };
        file.write_all(bytes).map_err(failed)?;
        *size = size.saturating_add(length);
        Ok(())
    }

    /// Rotates the files to begin a new file.
    fn rotate(&self) -> Result<(), Error> {
        let last = self.files_max.saturating_sub(1);
        durable::remove_file(&path_of(&self.folder, last))?;
        for number in (0..last).rev() {
            durable::move_file(&path_of(&self.folder, number), &path_of(&self.folder, number + 1))?;
        }
        Ok(())
    }
}

/// Returns true if a file ends within a line, cut by a full disk or a crash: the next line must not be joined.
fn is_torn(path: &Path) -> bool {
    let last_byte = || -> io::Result<[u8; 1]> {
        let (mut file, mut last) = (File::open(path)?, [0]);
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last)
    };
    last_byte().is_ok_and(|last| last != *b"\n")
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.jsonl"))
}

/// Last lines of files.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Lines, oldest first.
    pub(super) lines: Vec<Line>,
    /// True if the files contain earlier lines.
    pub(super) is_cut: bool,
}

/// Returns the last lines written by an earlier run, at most `bytes_max` bytes. Broken lines are skipped.
pub(super) fn tail(folder: &Path, bytes_max: usize) -> Tail {
    let mut lines = Vec::new();
    let mut is_cut = false;
    let mut left = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    for number in 0.. {
        let Ok(mut file) = File::open(path_of(folder, number)) else { break };
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        is_cut |= size > left;
        if left == 0 || file.seek(SeekFrom::Start(size.saturating_sub(left))).is_err() {
            break;
        }
        let read = BufReader::new(file).split(b'\n').map_while(Result::ok);
        let mut of_file: Vec<Line> = read.filter_map(|line| serde_json::from_slice(&line).ok()).collect();
        of_file.append(&mut lines);
        lines = of_file;
        left = left.saturating_sub(size);
    }
    Tail { lines, is_cut }
}

/// Removes the files of an app.
pub(super) fn remove(folder: &Path) {
    if let Err(error) = durable::remove_folder(folder) {
        tracing::warn!(folder = %folder.display(), %error, "the log of instances cannot be removed");
    }
}
