//! Archives of the persistent folder: a tar, compressed by zstd with a checksum, with an end that proves completeness.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use devanture_config::Digest;
use devanture_config::api::DataReport;
use devanture_config::problem::Code;
use rustix::fs::{AtFlags, FileType, readlinkat, statat};
use tar::{Builder, EntryType, Header};
use zstd::stream::write::Encoder;

use super::files::{self, Entry};
use super::order::{Failure, Order};
use super::{snapshots, sqlite};

/// Compression level: data passes at hundreds of megabytes per second.
const LEVEL: i32 = 3;

/// Number of files and bytes in a folder.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Counts a folder before any byte of an archive is written.
///
/// # Errors
/// `persist_full` beyond the limits of an archive, for example for a sparse file larger than the disk.
pub(super) fn totals(root: &OwnedFd, order: &Order) -> Result<Totals, Failure> {
    let mut totals = Totals::default();
    files::walk(root, order.bounds.files_max, |entry| {
        totals.files = totals.files.saturating_add(1);
        totals.bytes = totals.bytes.saturating_add(entry.bytes());
        check_bytes(totals.bytes, order, entry)
    })?;
    Ok(totals)
}

fn check_bytes(bytes: u64, order: &Order, entry: &Entry<'_>) -> Result<(), Failure> {
    let max = order.bounds.bytes_max;
    match bytes > max {
        true => Err(Failure::new(
            Code::PersistFull,
            format!(
                "{} and what comes before it are more than {max} bytes, holes of sparse files among them.",
                entry.path.display()
            ),
        )),
        false => Ok(()),
    }
}

/// Writes an archive of the folder, with databases after all other files, since databases change most. So a download
/// broken off within the other files can be resumed although a database has changed.
///
/// # Errors
/// Errors of [`totals`]; `busy` for a locked database; errors of the disk and of `to`.
pub(super) fn write<W: Write>(order: &Order, to: W) -> Result<(W, DataReport), Failure> {
    let root = files::folder(&order.data)?;
    totals(&root, order)?;
    let output = |error: io::Error| Failure::io("writing", "the archive", &error);
    let mut encoder = Encoder::new(to, LEVEL).map_err(output)?;
    encoder.include_checksum(true).map_err(output)?;
    let (tar, report) = (Builder::new(encoder), DataReport::default());
    let mut archive = Archive { order, tar, report, databases: HashSet::new() };
    files::walk(&root, order.bounds.files_max, |entry| archive.add(entry))?;
    let databases = std::mem::take(&mut archive.databases);
    if !databases.is_empty() {
        files::walk(&root, order.bounds.files_max, |entry| match databases.contains(&path_digest(entry)) {
            true => archive.add_last(entry),
            false => Ok(()),
        })?;
    }
    let Archive { tar, report, .. } = archive;
    let encoder = tar.into_inner().map_err(output)?;
    Ok((encoder.finish().map_err(output)?, report))
}

struct Archive<'a, W: Write> {
    order: &'a Order,
    tar: Builder<Encoder<'static, W>>,
    report: DataReport,
    /// Digests of the paths of databases still to be added: paths may be long and many.
    databases: HashSet<Digest>,
}

fn path_digest(entry: &Entry<'_>) -> Digest {
    Digest::of(entry.path.as_os_str().as_bytes())
}

impl<W: Write> Archive<'_, W> {
    fn add(&mut self, entry: &Entry<'_>) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("archiving", &entry.path.to_string_lossy(), &error);
        match entry.kind {
            FileType::Directory => {
                let mut header = header(entry, EntryType::Directory);
                // A slash at the end marks a folder in the tar format.
                let mut path = entry.path.as_os_str().to_owned();
                path.push("/");
                self.tar.append_data(&mut header, path, io::empty()).map_err(failed)?;
            }
            FileType::RegularFile => return self.add_file(entry, false).map_err(|error| error.unwrap_or_else(failed)),
            FileType::Symlink => {
                let Ok(target) = readlinkat(entry.parent, entry.name, Vec::new()) else { return Ok(()) };
                let mut header = header(entry, EntryType::Symlink);
                let target = OsStr::from_bytes(target.to_bytes());
                self.tar.append_link(&mut header, entry.path, target).map_err(failed)?;
            }
            _ => {
                self.report.skipped = self.report.skipped.saturating_add(1);
                return Ok(());
            }
        }
        self.report.files = self.report.files.saturating_add(1);
        Ok(())
    }

    /// Adds a file found to be a database, possibly no longer one.
    fn add_last(&mut self, entry: &Entry<'_>) -> Result<(), Failure> {
        if entry.kind != FileType::RegularFile {
            return Ok(());
        }
        let failed = |error: io::Error| Failure::io("archiving", &entry.path.to_string_lossy(), &error);
        self.add_file(entry, true).map_err(|error| error.unwrap_or_else(failed))
    }

    fn add_file(&mut self, entry: &Entry<'_>, is_last: bool) -> Result<(), Broken> {
        if sqlite::is_beside_database(entry.parent, entry.name)? {
            return Ok(());
        }
        let Some(mut file) = files::read(entry.parent, entry.name)? else { return Ok(()) };
        let copy = match sqlite::is_database(&mut file)? {
            true if !is_last => {
                self.databases.insert(path_digest(entry));
                return Ok(());
            }
            true => self.copied_database(entry)?,
            false => None,
        };
        let file = copy.as_ref().map_or(&file, |copy| &copy.file);
        let size = file.metadata()?.len();
        let bytes = self.report.bytes.saturating_add(size);
        // The file may have grown after the count.
        check_bytes(bytes, self.order, entry)?;
        let mut header = header(entry, EntryType::Regular);
        header.set_size(size);
        // A file that shrinks meanwhile is padded, since the size is already written.
        let content = file.chain(io::repeat(0)).take(size);
        self.tar.append_data(&mut header, entry.path, content)?;
        self.report.files = self.report.files.saturating_add(1);
        self.report.bytes = bytes;
        Ok(())
    }

    /// Returns the copy of a database; `None` for a file that only begins like a database.
    fn copied_database(&mut self, entry: &Entry<'_>) -> Result<Option<Copied>, Broken> {
        let path = self.order.snapshots.join(snapshots::DATABASE);
        snapshots::remove_file(&path)?;
        // SQLite writes zeros for the holes of a sparse database, without regard to free space.
        let folder = files::folder(&self.order.snapshots)?;
        snapshots::check_room(&folder, copied_bytes(entry), self.order.bounds)?;
        let copied = Copied {
            file: match sqlite::copy(&self.order.data.join(entry.path), &path)? {
                true => File::open(&path)?,
                false => return Ok(None),
            },
            path,
        };
        self.report.databases = self.report.databases.saturating_add(1);
        Ok(Some(copied))
    }
}

/// Returns the maximum bytes of a database copy, which includes the pages of the write-ahead log.
fn copied_bytes(entry: &Entry<'_>) -> u64 {
    let log = CString::new([entry.name.to_bytes(), b"-wal"].concat()).ok();
    let log = log.and_then(|log| statat(entry.parent, &log, AtFlags::SYMLINK_NOFOLLOW).ok());
    entry.bytes().saturating_add(log.map_or(0, |log| u64::try_from(log.st_size).unwrap_or(0)))
}

/// Copy of a database, removed after archiving.
struct Copied {
    file: File,
    path: PathBuf,
}

impl Drop for Copied {
    fn drop(&mut self) {
        // A remaining copy is removed before the next task.
        snapshots::remove_file(&self.path).ok();
    }
}

/// System error, or a complete failure message.
struct Broken(Option<Failure>, io::Error);

impl Broken {
    fn unwrap_or_else(self, failed: impl FnOnce(io::Error) -> Failure) -> Failure {
        self.0.unwrap_or_else(|| failed(self.1))
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(None, error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self(Some(failure), io::ErrorKind::Other.into())
    }
}

fn header(entry: &Entry<'_>, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(entry.stat.st_mode & 0o777);
    // Times of folders and links are not restored; without them, equal data gives an equal archive.
    let has_time = kind.is_file();
    header.set_mtime(u64::try_from(entry.stat.st_mtime).ok().filter(|_| has_time).unwrap_or(0));
    header.set_size(0);
    header
}
