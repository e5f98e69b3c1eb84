//! Consistent copy of an SQLite database through the online backup: each concurrent transaction is copied whole or not
//! at all.
//!
//! The file may be hostile: the process opens the file as the user who wrote the file, within the user's limits.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use devanture_config::problem::Code;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::files;
use super::order::Failure;

/// First bytes of every database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Suffixes of files that belong to a database, with content included in the copy.
const BESIDE: [&[u8]; 3] = [b"-journal", b"-shm", b"-wal"];
/// Longest wait for a writer.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Returns true if a file begins like a database. Rewinds the file.
pub(super) fn is_database(file: &mut File) -> io::Result<bool> {
    let mut start = Vec::with_capacity(MAGIC.len());
    file.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start == MAGIC)
}

/// Returns true if a name belongs to a file of a database in the same folder.
pub(super) fn is_beside_database(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<bool> {
    let bytes = name.to_bytes();
    let Some(base) = BESIDE.iter().find_map(|ending| bytes.strip_suffix(*ending)).filter(|base| !base.is_empty())
    else {
        return Ok(false);
    };
    let Ok(base) = std::ffi::CString::new(base) else { return Ok(false) };
    match files::read(parent, &base)? {
        Some(mut file) => is_database(&mut file),
        None => Ok(false),
    }
}

/// Copies the database `from` into the new file `to`. Returns false if the file only resembles a database.
///
/// # Errors
/// `busy` if a writer does not release the database; errors of the disk.
pub(super) fn copy(from: &Path, to: &Path) -> Result<bool, Failure> {
    match backup(from, to) {
        Ok(StepResult::Done) => Ok(true),
        Ok(_) => Err(busy(from)),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Ok(false),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Err(busy(from)),
            Some(ErrorCode::DiskFull | ErrorCode::TooBig) => {
                Err(Failure::new(Code::DiskFull, "There is no room for the copy of a database."))
            }
            _ => Err(Failure::new(Code::Internal, format!("{} cannot be copied: {error}", from.display()))),
        },
    }
}

fn backup(from: &Path, to: &Path) -> rusqlite::Result<StepResult> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_READ_WRITE;
    // Not read-only: the changes of a killed writer are rolled back first, as at the writer's next start.
    let source = Connection::open_with_flags(from, flags)?;
    source.busy_timeout(WAIT_MAX)?;
    let mut target = Connection::open_with_flags(to, flags | OpenFlags::SQLITE_OPEN_CREATE)?;
    // An incomplete copy is useless.
    target.pragma_update(None, "journal_mode", "off")?;
    target.pragma_update(None, "synchronous", "off")?;
    // In one step: with several steps, every write in between would restart the copy.
    Backup::new(&source, &mut target)?.step(-1)
}

fn busy(path: &Path) -> Failure {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let detail = format!("The database {name} is locked by a writer for more than {} s.", WAIT_MAX.as_secs());
    Failure::new(Code::Busy, detail)
}
