//! Snapshots of an environment: archives in a separate folder, with limits on number, bytes and age; and the
//! replacement of the persistent folder by a draft.
//!
//! A replacement is a sequence of renames within one file system. The previous content is moved to `OUT`; once
//! complete, `OUT` is renamed to `OLD`, and the draft is moved in. After a crash in between, recovery runs before any
//! other task: backwards while `OUT` exists, and forwards once `OLD` exists.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use devanture_config::api::{DataReport, SnapshotInfo, SnapshotName};
use devanture_config::problem::Code;
use rustix::fs::{AtFlags, CWD, Mode, RenameFlags, fsync, mkdirat, renameat, renameat_with, syncfs, unlinkat};
use rustix::io::Errno;

use super::order::{Bounds, Failure, Order};
use super::{archive, files};
use devanture_base::durable;

/// Copy of a database on the way into an archive.
pub(super) const DATABASE: &str = ".database";
/// Replacement for the content of the folder.
const DRAFT: &str = ".draft";
/// Previous content while being moved out.
const OUT: &str = ".out";
/// Previous content after being moved out.
const OLD: &str = ".old";
/// Incomplete archive.
const PARTIAL: &str = ".partial";
/// File name extension of archives.
const ENDING: &str = ".tar.zst";
/// Maximum names read in the folder of snapshots.
const NAMES_MAX: u64 = 100_000;
/// Bytes of an archive between two checks of free disk space.
const LOOK_BYTES: u64 = 8 * 1024 * 1024;

/// Returns the file name of a snapshot.
pub(super) fn file_name(name: &SnapshotName) -> String {
    format!("{name}{ENDING}")
}

/// Returns all snapshots, oldest first.
pub(super) fn list(folder: &Path) -> Result<Vec<SnapshotInfo>, Failure> {
    let opened = files::folder(folder)?;
    let names = files::names(opened.as_fd(), NAMES_MAX).map_err(|error| Failure::io("reading", "snapshots", &error))?;
    let mut found = Vec::new();
    for file in names {
        let name = file.to_str().ok().and_then(|name| name.strip_suffix(ENDING));
        let Some(name) = name.and_then(|name| name.parse::<SnapshotName>().ok()) else { continue };
        let read = files::read(opened.as_fd(), &file).and_then(|file| file.map(|file| file.metadata()).transpose());
        let Ok(Some(read)) = read else { continue };
        let made_ms = u64::try_from(read.mtime().saturating_mul(1_000).saturating_add(read.mtime_nsec() / 1_000_000));
        let made_ms = made_ms.unwrap_or(0);
        found.push(SnapshotInfo { is_automatic: name.is_automatic(), name, bytes: read.len(), made_ms });
    }
    found.sort_by(|a, b| (a.made_ms, &a.name).cmp(&(b.made_ms, &b.name)));
    Ok(found)
}

/// Opens the archive of a snapshot.
pub(super) fn open(folder: &Path, name: &SnapshotName) -> Result<File, Failure> {
    let opened = files::folder(folder)?;
    let file = std::ffi::CString::new(file_name(name)).map_err(|_nul| missing(name))?;
    let read = files::read(opened.as_fd(), &file).map_err(|error| Failure::io("opening", name.as_str(), &error))?;
    read.ok_or_else(|| missing(name))
}

fn missing(name: &SnapshotName) -> Failure {
    Failure::new(Code::NotFound, format!("There is no snapshot {name}."))
}

/// Makes a snapshot. Automatic snapshots are removed if too old and, with `may_replace`, for room: the right to make
/// snapshots includes no right to delete snapshots of people.
///
/// # Errors
/// `conflict` for an existing name; `too_many` if the other snapshots leave no room; errors of [`archive::write`].
pub(super) fn make(order: &Order, name: &SnapshotName, may_replace: bool) -> Result<DataReport, Failure> {
    let mut there = list(&order.snapshots)?;
    if there.iter().any(|snapshot| snapshot.name == *name) {
        return Err(Failure::new(Code::Conflict, format!("There is a snapshot {name} already.")));
    }
    let mut removed = Vec::new();
    let oldest_ms = order.now_ms.saturating_sub(order.bounds.snapshot_age_ms_max);
    let is_old = |snapshot: &SnapshotInfo| snapshot.is_automatic && snapshot.made_ms < oldest_ms;
    while let Some(old) = there.iter().position(is_old) {
        removed.push(take(order, &mut there, old)?);
    }
    while count(&there) >= order.bounds.snapshots_max {
        removed.push(give_way(order, &mut there, may_replace)?);
    }
    let path = order.snapshots.join(PARTIAL);
    let file = new_file(&path)?;
    let (mut writer, mut report) = archive::write(order, Bounded::new(&file, order.bounds))?;
    writer.flush().map_err(|error| Failure::io("writing", name.as_str(), &error))?;
    let bytes = writer.written;
    while bytes.saturating_add(there.iter().map(|snapshot| snapshot.bytes).sum()) > order.bounds.snapshot_bytes_max {
        removed.push(give_way(order, &mut there, may_replace)?);
    }
    file.sync_all().map_err(|error| Failure::io("writing", name.as_str(), &error))?;
    let to = order.snapshots.join(file_name(name));
    renameat(CWD, &path, CWD, &to).map_err(|error| files::io_failure("naming", &to, error))?;
    // The file is already synced. Syncing the whole file system would wait for the writes of others.
    fsync(files::folder(&order.snapshots)?).map_err(|error| files::io_failure("syncing", &order.snapshots, error))?;
    report.snapshot = Some(name.clone());
    report.removed = removed;
    Ok(report)
}

fn count(there: &[SnapshotInfo]) -> u64 {
    u64::try_from(there.len()).unwrap_or(u64::MAX)
}

/// Removes the oldest automatic snapshot, if permitted.
fn give_way(order: &Order, there: &mut Vec<SnapshotInfo>, may_replace: bool) -> Result<SnapshotName, Failure> {
    let oldest = there.iter().position(|snapshot| snapshot.is_automatic);
    if let Some(oldest) = oldest.filter(|_| may_replace) {
        return take(order, there, oldest);
    }
    let Bounds { snapshots_max, snapshot_bytes_max, .. } = order.bounds;
    let why = match oldest {
        Some(_) => " Its own ones give way to those of who may delete them alone.",
        None => "",
    };
    let detail = format!(
        "The environment has as many snapshots as the edge allows: {snapshots_max}, with {snapshot_bytes_max} bytes in \
         all.{why}"
    );
    Err(Failure::new(Code::TooMany, detail))
}

fn take(order: &Order, there: &mut Vec<SnapshotInfo>, at: usize) -> Result<SnapshotName, Failure> {
    let SnapshotInfo { name, .. } = there.remove(at);
    remove(&order.snapshots, &name)?;
    Ok(name)
}

/// Removes a snapshot.
///
/// # Errors
/// `not_found`; errors of the disk.
pub(super) fn remove(folder: &Path, name: &SnapshotName) -> Result<(), Failure> {
    let path = folder.join(file_name(name));
    match unlinkat(CWD, &path, AtFlags::empty()) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => Err(missing(name)),
        Err(error) => Err(files::io_failure("removing", &path, error)),
    }
}

/// Removes a file, if present.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn new_file(path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| Failure::io("making", &path.to_string_lossy(), &error);
    remove_file(path).map_err(failed)?;
    let parent = files::folder(path.parent().unwrap_or(path))?;
    files::create(parent.as_fd(), path.file_name().unwrap_or_default()).map_err(failed)
}

/// Writer within the limit of all snapshot bytes and the free disk space.
struct Bounded<'f> {
    file: &'f File,
    bounds: Bounds,
    written: u64,
    looked: u64,
}

impl<'f> Bounded<'f> {
    fn new(file: &'f File, bounds: Bounds) -> Self {
        Self { file, bounds, written: 0, looked: 0 }
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written > self.bounds.snapshot_bytes_max {
            let max = self.bounds.snapshot_bytes_max;
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, format!("a snapshot has at most {max} bytes")));
        }
        if self.written >= self.looked {
            self.looked = self.written.saturating_add(LOOK_BYTES);
            check_room(self.file, LOOK_BYTES, self.bounds)?;
        }
        let count = self.file.write(bytes)?;
        self.written = self.written.saturating_add(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Checks that the disk has room for `bytes` beyond the minimum of free space.
pub(super) fn check_room(on: impl AsFd, bytes: u64, bounds: Bounds) -> io::Result<()> {
    let disk = rustix::fs::fstatvfs(on)?;
    // A smaller disk keeps a sixteenth.
    let keep = bounds.disk_free_bytes_min.min(disk.f_blocks.saturating_mul(disk.f_frsize) / 16);
    match disk.f_bavail.saturating_mul(disk.f_frsize) < keep.saturating_add(bytes) {
        true => Err(io::Error::new(io::ErrorKind::StorageFull, "the disk has no room left")),
        false => Ok(()),
    }
}

/// Removes an unused draft.
pub(super) fn discard(order: &Order) -> Result<(), Failure> {
    remove_tree(&order.snapshots.join(DRAFT))
}

/// Creates an empty draft.
pub(super) fn draft(order: &Order) -> Result<OwnedFd, Failure> {
    discard(order)?;
    let path = order.snapshots.join(DRAFT);
    mkdirat(CWD, &path, Mode::RWXU).map_err(|error| files::io_failure("making", &path, error))?;
    files::folder(&path)
}

/// Replaces the content of the folder by the draft.
///
/// # Errors
/// Errors of the disk; the previous content is restored then.
pub(super) fn replace(order: &Order) -> Result<(), Failure> {
    let data = files::folder(&order.data)?;
    let draft = files::folder(&order.snapshots.join(DRAFT))?;
    sync(&draft)?;
    let out = order.snapshots.join(OUT);
    mkdirat(CWD, &out, Mode::RWXU).map_err(|error| files::io_failure("making", &out, error))?;
    let out = files::folder(&out)?;
    let max = order.bounds.files_max;
    if let Err(failure) = move_all(&data, &out, max) {
        move_all(&out, &data, max)?;
        recover(order)?;
        return Err(failure);
    }
    sync(&out)?;
    let (out, old) = (order.snapshots.join(OUT), order.snapshots.join(OLD));
    renameat_with(CWD, &out, CWD, &old, RenameFlags::NOREPLACE)
        .map_err(|error| files::io_failure("naming", &old, error))?;
    sync(&draft)?;
    finish(order, &data)
}

/// Moves the draft in, and removes the previous content.
fn finish(order: &Order, data: &OwnedFd) -> Result<(), Failure> {
    let draft = files::folder(&order.snapshots.join(DRAFT))?;
    move_all(&draft, data, order.bounds.files_max)?;
    sync(data)?;
    remove_tree(&order.snapshots.join(OLD))?;
    remove_tree(&order.snapshots.join(DRAFT))
}

/// Completes or reverts a replacement interrupted by a crash, and removes other leftovers.
pub(super) fn recover(order: &Order) -> Result<(), Failure> {
    let is_there = |name: &str| std::fs::symlink_metadata(order.snapshots.join(name)).is_ok();
    if is_there(OLD) {
        finish(order, &files::folder(&order.data)?)?;
    }
    if is_there(OUT) {
        let out = order.snapshots.join(OUT);
        move_all(&files::folder(&out)?, &files::folder(&order.data)?, order.bounds.files_max)?;
        remove_tree(&out)?;
    }
    tidy(order)
}

/// Checks that no replacement was interrupted.
///
/// # Errors
/// `busy`.
pub(super) fn check_whole(order: &Order) -> Result<(), Failure> {
    let is_there = |name: &&str| std::fs::symlink_metadata(order.snapshots.join(name)).is_ok();
    match [OUT, OLD].iter().any(is_there) {
        true => Err(Failure::new(Code::Busy, "A replacement of the data was cut off, and is not made good yet.")),
        false => Ok(()),
    }
}

/// Removes leftovers of incomplete archives.
pub(super) fn tidy(order: &Order) -> Result<(), Failure> {
    [PARTIAL, DATABASE].into_iter().try_for_each(|name| {
        let path = order.snapshots.join(name);
        remove_file(&path).map_err(|error| Failure::io("removing", name, &error))
    })
}

/// Moves every entry of a folder into another folder.
fn move_all(from: &OwnedFd, to: &OwnedFd, max: u64) -> Result<(), Failure> {
    let names = files::names(from.as_fd(), max).map_err(|error| Failure::io("reading", "a folder", &error))?;
    for name in names {
        renameat(from, name.as_c_str(), to, name.as_c_str())
            .map_err(|error| Failure::io("moving", &name.to_string_lossy(), &error.into()))?;
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<(), Failure> {
    durable::remove_folder(path).map(drop).map_err(|error| Failure::new(Code::Internal, error.to_string()))
}

fn sync(folder: &OwnedFd) -> Result<(), Failure> {
    syncfs(folder).map_err(|error| files::io_failure("syncing", Path::new("the folder"), error))
}
