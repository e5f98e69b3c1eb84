//! The only way to create a file: temporary file, write, fsync, rename, fsync of the folder (law 6).
//!
//! A reader of the final name finds the whole old file or the whole new file, even after a power loss; after `Ok` the
//! file is on stable storage. No code outside of this module creates, replaces or moves a file of the data folder:
//! lints of the workspace enforce the rule. A temporary file is locked by the writer, so that any process can
//! distinguish abandoned files from files in use.

#![expect(clippy::disallowed_methods, reason = "this is the helper that the lint sends everybody to")]

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

mod batch;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
mod guarded;
mod heir;
mod lock;
mod remove;
mod reown;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use batch::Batch;
pub use error::Error;
pub use guarded::{Guarded, open_file};
pub use heir::make_for_owner_of;
pub use lock::{Lock, is_locked, lock, lock_in_turn};
pub use remove::{empty_folder, empty_opened_folder, remove_folder, remove_owned};
pub use reown::reown;
pub use tree::{Owner, link_file, link_to, make_folder_as, move_folder, new_file, sync_file_system};

/// Default mode of a file: read and write for the owner.
pub const FILE_MODE: u32 = 0o600;
/// Mode of every created folder.
pub const FOLDER_MODE: u32 = 0o700;

/// Maximum attempts to find an unused random name.
const NAME_TRIES_MAX: usize = 16;
/// Bytes written by [`probe`], the size of a small record.
const PROBE_BYTES: usize = 4_096;
/// Buffer size of [`write_again`] in bytes.
const AGAIN_BYTES: usize = 1024 * 1024;

/// Disk operation, as counted by the fault injection of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Creates a file under a temporary name.
    Create,
    /// Creates a folder.
    Folder,
    /// Removes a file or a folder.
    Remove,
    /// Renames a file.
    Rename,
    /// Syncs a file.
    SyncFile,
    /// Syncs a folder.
    SyncFolder,
    /// Writes bytes.
    Write,
}

/// Lets tests fail or die at any step.
fn before(step: Step, path: &Path) -> std::io::Result<()> {
    #[cfg(any(test, feature = "testing"))]
    fault::check(step, path)?;
    #[cfg(not(any(test, feature = "testing")))]
    let (_, _) = (step, path);
    Ok(())
}

/// Returns true if `error` reports a lack of room on the disk or in a quota.
#[must_use]
pub fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Returns true if `error` reports that files can neither be created nor written: the disk failed, is read-only or
/// gone, or the process lacks permission.
#[must_use]
pub fn is_unwritable(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied || is_failed_disk(error)
}

/// Returns true for the errors of [`is_unwritable`] that no permission would cure. A file system becomes read-only by
/// itself after an error.
#[must_use]
pub fn is_failed_disk(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    let is_errno = |errno| matches!(errno, Errno::IO | Errno::NODEV | Errno::NXIO | Errno::STALE | Errno::UCLEAN);
    error.kind() == ErrorKind::ReadOnlyFilesystem || errno.is_some_and(is_errno)
}

/// Checks that a folder is writable: writes a small file, syncs and removes the file.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn probe(folder: &Path) -> Result<(), Error> {
    let (prefix, suffix) = (".probe.", ".tmp");
    remove_abandoned(folder, |name| name.starts_with(prefix) && name.ends_with(suffix))?;
    let mut draft = Draft::named(folder, prefix, suffix)?;
    draft.write(&[0; PROBE_BYTES])?;
    draft.sync()
}

/// Converts a system error into an [`Error`], for `map_err`.
pub fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |source| if is_full(&source) { Error::Full { path } } else { Error::Io { doing, path, source } }
}

/// Returns the folder of a file.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// File being written under a temporary name. Removed on drop, unless renamed.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Draft {
    /// Creates a file with a random name in `folder`, which must be on the file system of the later name.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Io`].
    pub fn create(folder: &Path) -> Result<Self, Error> {
        Self::named(folder, "", "")
    }

    fn named(folder: &Path, prefix: &str, suffix: &str) -> Result<Self, Error> {
        for _ in 0..NAME_TRIES_MAX {
            let path = folder.join(format!("{prefix}{:016x}{suffix}", rand::random::<u64>()));
            let created = before(Step::Create, &path)
                .and_then(|()| OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&path));
            match created {
                Ok(file) => {
                    let draft = Self { file, path, renamed: false };
                    heir::give(&draft.file, &draft.path).map_err(failed("giving away", &draft.path))?;
                    if draft.is_ours() {
                        return Ok(draft);
                    }
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("creating", &path)(error)),
            }
        }
        Err(failed("creating a file in", folder)(ErrorKind::AlreadyExists.into()))
    }

    /// Locks the new file. Fails if a concurrent clean-up found the file just before the lock and removes the file.
    fn is_ours(&self) -> bool {
        match self.file.try_lock() {
            Ok(()) => self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0),
            Err(TryLockError::WouldBlock) => false,
            // A file system without locks: no other process can take the lock either, so the file is left alone.
            Err(TryLockError::Error(_)) => true,
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Io`]; the draft is unusable then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        before(Step::Write, &self.path).and_then(|()| self.file.write_all(bytes)).map_err(failed("writing", &self.path))
    }

    /// Opens the written file for reading, as a spool: readable as long as the draft lives.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reader(&self) -> Result<File, Error> {
        File::open(&self.path).map_err(failed("opening", &self.path))
    }

    /// Syncs the bytes to stable storage.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Io`]. The draft is unusable then: after a failed write, a system may return `Ok`
    /// for the next sync without having written the data.
    pub fn sync(&self) -> Result<(), Error> {
        before(Step::SyncFile, &self.path).and_then(|()| self.file.sync_all()).map_err(failed("syncing", &self.path))
    }

    /// Reads the written bytes back after [`Draft::sync`]: the bytes stored by the system, possibly corrupt.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_back(&self, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0).map_err(failed("reading", &self.path))?;
        Ok(bytes)
    }

    /// Returns the state of the file, unchanged by a rename.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stamp(&self) -> Result<Stamp, Error> {
        self.file.metadata().map(|metadata| Stamp::of(&metadata)).map_err(failed("reading", &self.path))
    }

    /// Renames the file to `target`, replacing an existing file. Requires a sync before, and [`sync_folder`]
    /// afterwards.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn rename(&mut self, target: &Path) -> std::io::Result<()> {
        before(Step::Rename, target)?;
        std::fs::rename(&self.path, target)?;
        self.renamed = true;
        Ok(())
    }

    /// Syncs and renames the file durably to `target`, replacing an existing file.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Io`]; `target` is then the whole old file or the whole new file.
    pub fn persist(mut self, target: &Path) -> Result<(), Error> {
        self.sync()?;
        self.rename(target).map_err(failed("renaming to", target))?;
        sync_folder(folder_of(target))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A file that cannot be removed now is removed by `remove_abandoned` at the next start.
        if !self.renamed && before(Step::Remove, &self.path).is_ok() {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Writes a small file durably, replacing an existing file. The folder must exist.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`]; `path` is then the whole old file or the whole new file.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let folder = folder_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (prefix, suffix) = (format!(".{name}."), ".tmp");
    remove_abandoned(folder, |name| name.starts_with(&prefix) && name.ends_with(suffix))?;
    let mut draft = Draft::named(folder, &prefix, suffix)?;
    draft.write(bytes)?;
    // The umask of the process reduces the mode at creation; sets the requested mode.
    draft.file.set_permissions(Permissions::from_mode(mode)).map_err(failed("setting the mode of", &draft.path))?;
    draft.persist(path)
}

/// Syncs the names in `folder` to stable storage.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    before(Step::SyncFolder, folder)
        .and_then(|()| File::open(folder))
        .and_then(|opened| opened.sync_all())
        .map_err(failed("syncing", folder))
}

/// Creates the folder `path` and all parents durably; an existing folder is left unchanged.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`], also for a file with the name.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = folder_of(path);
    if parent != path {
        make_folder(parent)?;
    }
    make_folders(parent, std::iter::once(path.to_path_buf()))
}

/// Creates `folders`, all of them in `parent`, with one fsync.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn make_folders(parent: &Path, folders: impl IntoIterator<Item = PathBuf>) -> Result<(), Error> {
    let mut made = Vec::new();
    for folder in folders {
        let result = before(Step::Folder, &folder).and_then(|()| DirBuilder::new().mode(FOLDER_MODE).create(&folder));
        match result {
            Ok(()) => {
                heir::give_folder(&folder).map_err(failed("giving away", &folder))?;
                made.push(folder);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(failed("making the folder", &folder)(error)),
        }
    }
    if made.is_empty() {
        return Ok(());
    }
    let synced = sync_folder(parent);
    if synced.is_err() {
        // The next caller creates and syncs the folders again.
        for folder in made {
            drop(before(Step::Remove, &folder).and_then(|()| std::fs::remove_dir(&folder)));
        }
    }
    synced
}

/// Opens an append-only file, such as a log, creating a missing file. The caller decides about the durability of
/// appended bytes.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn open_append(path: &Path, mode: u32) -> Result<File, Error> {
    open_or_create(path, OpenOptions::new().append(true).mode(mode))
}

/// Opens a file for reading and writing in place, creating a missing file durably.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn open_in_place(path: &Path, mode: u32) -> Result<File, Error> {
    open_or_create(path, OpenOptions::new().read(true).write(true).mode(mode))
}

/// Rewrites every byte of a file in place and syncs: after a failed sync, a system may consider unwritten data as
/// written ([`Draft::sync`]). No other writer may use the file meanwhile.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`]; the file may or may not be on the disk then.
pub fn write_again(path: &Path) -> Result<(), Error> {
    let file = open_in_place(path, FILE_MODE)?;
    let (mut bytes, mut at) = (vec![0; AGAIN_BYTES], 0);
    loop {
        let read = file.read_at(&mut bytes, at).map_err(failed("reading", path))?;
        let read_bytes = bytes.get(..read).unwrap_or_default();
        if read_bytes.is_empty() {
            break;
        }
        before(Step::Write, path).and_then(|()| file.write_all_at(read_bytes, at)).map_err(failed("writing", path))?;
        at = at.saturating_add(read as u64);
    }
    before(Step::SyncFile, path).and_then(|()| file.sync_all()).map_err(failed("syncing", path))
}

/// Sets the length of the file `path` and allocates disk blocks for all of it. The content is undefined.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`]; the file has no more blocks than before then.
pub fn set_allocated(path: &Path, length: u64) -> Result<(), Error> {
    let file = open_in_place(path, FILE_MODE)?;
    let before_bytes = file.metadata().map_err(failed("reading", path))?.len();
    if length > before_bytes {
        let allocated = before(Step::Write, path).and_then(|()| allocate(&file, before_bytes, length - before_bytes));
        if let Err(error) = allocated {
            drop(file.set_len(before_bytes));
            return Err(failed("allocating", path)(error));
        }
    } else {
        file.set_len(length).map_err(failed("shortening", path))?;
    }
    before(Step::SyncFile, path).and_then(|()| file.sync_all()).map_err(failed("syncing", path))
}

fn allocate(file: &File, offset: u64, length: u64) -> std::io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), offset, length) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let zeros = [0; 64 * 1024];
            let (mut at, end) = (offset, offset.saturating_add(length));
            while at < end {
                let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(zeros.len());
                file.write_all_at(zeros.get(..count).unwrap_or(&zeros), at)?;
                at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            }
            Ok(())
        }
        done => Ok(done?),
    }
}

fn open_or_create(path: &Path, options: &mut OpenOptions) -> Result<File, Error> {
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened.map_err(failed("opening", path)),
    }
    // `create_new` only: through a dangling link, a file would be created at the target of the link.
    let file = match before(Step::Create, path).and_then(|()| options.create_new(true).open(path)) {
        // Another process created the file first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return options.create_new(false).open(path).map_err(failed("opening", path));
        }
        created => created.map_err(failed("creating", path))?,
    };
    if let Err(error) = heir::give(&file, path) {
        drop(before(Step::Remove, path).and_then(|()| std::fs::remove_file(path)));
        return Err(failed("giving away", path)(error));
    }
    sync_folder(folder_of(path))?;
    Ok(file)
}

/// Moves a file within the file system, durably, replacing an existing file. Returns true if the file existed.
///
/// # Errors
/// [`Error::Full`] and [`Error::Io`].
pub fn move_file(from: &Path, to: &Path) -> Result<bool, Error> {
    match before(Step::Rename, to).and_then(|()| std::fs::rename(from, to)) {
        Ok(()) => {
            sync_folder(folder_of(to))?;
            sync_folder(folder_of(from))?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !from.exists() => Ok(false),
        Err(error) => Err(failed("moving a file to", to)(error)),
    }
}

/// Removes a file. Returns true if the file existed. Durable only after [`sync_folder`].
///
/// # Errors
/// [`Error::Io`].
pub fn remove_file(path: &Path) -> Result<bool, Error> {
    match before(Step::Remove, path).and_then(|()| std::fs::remove_file(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("removing", path)(error)),
    }
}

/// Removes the temporary files of dead writers in `folder` that `meant` selects by name.
///
/// # Errors
/// [`Error::Io`] for an unreadable folder. A file that cannot be removed is left for the next time.
pub fn remove_abandoned(folder: &Path, meant: impl Fn(&str) -> bool) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(failed("reading", folder))? {
        let entry = entry.map_err(failed("reading", folder))?;
        let path = entry.path();
        if !meant(&entry.file_name().to_string_lossy()) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // The system frees a lock when the holder dies, so a free lock marks an abandoned file.
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok()
            && let Err(error) = remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "an abandoned file could not be removed");
        }
    }
    Ok(())
}

/// Copies a file into a folder, for a reader that would write to the file. The copy is not durable.
///
/// # Errors
/// Fails if the file is unreadable, or there is no room for the copy.
pub fn copy_for_reading(path: &Path, copy: &Path) -> Result<(), Error> {
    std::fs::copy(path, copy).map(drop).map_err(failed("copying", path))
}

/// Identity of a file or folder on the file system, to detect a replacement under the same name.
#[derive(Debug, Clone)]
pub struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Identity {
    /// Returns the identity of the current file or folder at `path`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn of(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(failed("looking for", path))?;
        Ok(Self { path: path.to_path_buf(), device: metadata.dev(), inode: metadata.ino() })
    }

    /// Checks that the path still names the same file or folder.
    ///
    /// # Errors
    /// [`Error::Replaced`]; [`Error::Io`] if the system does not tell, for example without permission.
    pub fn check(&self) -> Result<(), Error> {
        let is_gone = |error: &std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        match std::fs::metadata(&self.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == (self.device, self.inode) => Ok(()),
            Err(error) if !is_gone(&error) => Err(failed("looking for", &self.path)(error)),
            Ok(_) | Err(_) => Err(Error::Replaced { path: self.path.display().to_string() }),
        }
    }
}

/// State of a file by inode, length and modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Nanoseconds since 1970 UTC: a single number, since very many served files have a stamp each.
    modified_ns: i64,
}

impl Stamp {
    /// Returns the stamp of a file with this metadata.
    #[must_use]
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            // Beyond the year 2262 the number wraps around, and still distinguishes states.
            modified_ns: metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec()),
        }
    }
}
