//! Archives of the folder that stays: a tar, compressed by zstd with a checksum, whose end tells that it is whole.

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

/// The level of compression: data comes through at hundreds of megabytes a second.
const LEVEL: i32 = 3;

/// Files and bytes of a folder.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Counts a folder, before anything of an archive is written.
///
/// # Errors
/// `persist_full` where it is beyond the bounds of an archive, as with a sparse file that is larger than the disk.
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

/// Writes an archive of the folder: databases after all other files, as they change most. So a download that broke off
/// within the others goes on behind what came, though a database has changed.
///
/// # Errors
/// As [`totals`]; `busy` where a database is locked; errors of the disk, and of `to`.
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
    /// The paths of databases that are still to be added, by their digests: they may be long, and many.
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
                // A slash at its end is the field's own way to say so.
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

    /// Adds a file that was found to be a database, and may be none any more.
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
        // It may have grown since it was counted.
        check_bytes(bytes, self.order, entry)?;
        let mut header = header(entry, EntryType::Regular);
        header.set_size(size);
        // One that becomes shorter meanwhile is filled up, as its size is written already.
        let content = file.chain(io::repeat(0)).take(size);
        self.tar.append_data(&mut header, entry.path, content)?;
        self.report.files = self.report.files.saturating_add(1);
        self.report.bytes = bytes;
        Ok(())
    }

    /// The copy of a database; `None` of a file that only begins like one.
    fn copied_database(&mut self, entry: &Entry<'_>) -> Result<Option<Copied>, Broken> {
        let path = self.order.snapshots.join(snapshots::DATABASE);
        snapshots::remove_file(&path)?;
        // SQLite writes zeros for the holes of a sparse one, and knows of no room that has to stay free.
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

/// Most bytes of the copy of a database, which has the pages of the log beside it, too.
fn copied_bytes(entry: &Entry<'_>) -> u64 {
    let log = CString::new([entry.name.to_bytes(), b"-wal"].concat()).ok();
    let log = log.and_then(|log| statat(entry.parent, &log, AtFlags::SYMLINK_NOFOLLOW).ok());
    entry.bytes().saturating_add(log.map_or(0, |log| u64::try_from(log.st_size).unwrap_or(0)))
}

/// A copy of a database, which is removed when it is archived.
struct Copied {
    file: File,
    path: PathBuf,
}

impl Drop for Copied {
    fn drop(&mut self) {
        // What is left is removed before the next piece of work.
        snapshots::remove_file(&self.path).ok();
    }
}

/// A failure of the system, or one that is worded already.
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
    // Those of folders and links do not come back, and the same data is the same archive.
    let has_time = kind.is_file();
    header.set_mtime(u64::try_from(entry.stat.st_mtime).ok().filter(|_| has_time).unwrap_or(0));
    header.set_size(0);
    header
}
