//! Unpacks a zip: first spooled to a temporary file, since its directory is at the end.
//!
//! Only the directory determines the contents; the whole directory is checked against every limit before any
//! decompression. The `zip` crate keeps the directory in memory, so its length is limited before the crate reads it.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;

use ::zip::CompressionMethod;
use ::zip::ZipArchive;
use ::zip::read::{ArchiveOffset, Config};
use ::zip::result::ZipError;
use devanture_config::limits::Limits;
use devanture_config::manifest::halves::Half;
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};

use super::feed::FeedReader;
use super::gate::entries_max;
use super::gate::{EntryKind, Gate, Verdict};
use super::gate::{Refusal, bad, broken, cut_off, damaged, shown, too_large};
use super::store::{Piece, Sink, copy};
use super::untar::OWNER_RUNS;
use devanture_base::durable::{self, Draft};
use devanture_store::blobs::{self, Blobs};

/// Bytes of a directory entry besides its name (APPNOTE 4.3.12), with room for common extra fields.
const DIRECTORY_ENTRY_BYTES: u64 = 96;
/// End of the directory with the longest comment (APPNOTE 4.3.16).
const END_BYTES: usize = 22;
const TAIL_BYTES_MAX: u64 = 65_535 + 22;
/// Header of an entry before its name (APPNOTE 4.3.7).
const LOCAL_HEADER_BYTES: u64 = 30;
/// End of a zip64 directory, and its locator (APPNOTE 4.3.14, 4.3.15).
const LOCATOR_BYTES: u64 = 20;

/// Reason for a failed spool.
pub(crate) enum SpoolError {
    Blobs(blobs::Error),
    Refusal(Refusal),
}

/// Writes `feed` into a temporary file in `folder`, deleted on drop.
pub(crate) fn spool(mut feed: FeedReader, folder: &Path, store: &dyn Blobs) -> Result<Draft, SpoolError> {
    let slot = feed.slot();
    // A deleted folder is created again.
    let draft = durable::make_folder(folder).and_then(|()| Draft::create(folder));
    let mut draft = draft.map_err(|error| SpoolError::Blobs(error.into()))?;
    loop {
        let chunk = feed.next_chunk().map_err(|_stopped| SpoolError::Refusal(slot.reason(|| Refusal::BrokenOff)))?;
        if chunk.is_empty() {
            return Ok(draft);
        }
        store.check_free_space().and_then(|()| Ok(draft.write(&chunk)?)).map_err(SpoolError::Blobs)?;
    }
}

/// Unpacks the archive in `file` into `sink`.
pub(crate) fn unzip(file: File, (limits, half): (&Limits, Option<Half>), sink: &mut dyn Sink) -> Result<(), Refusal> {
    let packed = file.metadata().map_err(|error| unreadable(&error))?.len();
    check_counts(&file, packed, limits)?;
    let budget = Rc::new(Cell::new(
        entries_max(limits).saturating_mul(DIRECTORY_ENTRY_BYTES).saturating_add(limits.manifest_bytes_max),
    ));
    let directory = file.try_clone().map_err(|error| unreadable(&error))?;
    let reader = Budgeted { inner: BufReader::new(file), left: Rc::clone(&budget) };
    // Bytes before the first entry would be a self-extractor, which no bundle is.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, reader).map_err(|error| wrong(&error, None))?;
    budget.set(u64::MAX);
    let taken = check_directory(&archive, &directory, packed, (limits, half))?;
    check_nothing_hidden(&archive, &directory)?;
    for (index, path, size) in taken {
        let name = path.clone();
        let mut entry = archive.by_index(index).map_err(|error| wrong(&error, Some(&name)))?;
        let failed = |error: io::Error| broken(&error, format!("`{name}` in the archive is damaged: {error}.")).into();
        if entry.unix_mode().is_some_and(|mode| mode & OWNER_RUNS != 0) {
            sink.put(Piece::MayRun(name.clone()))?;
        }
        // One byte beyond the declared size: reading to the end verifies the CRC, and reveals excess data.
        let came = copy(&mut entry, path, size.saturating_add(1), sink, failed)?;
        if came != size {
            let detail = format!("`{name}` in the archive does not have the {size} bytes that it promises.");
            return Err(damaged(detail).into());
        }
    }
    Ok(())
}

/// Decides on every entry of the directory. Returns the files of the bundle.
fn check_directory<R: Read + Seek>(
    archive: &ZipArchive<R>,
    file: &File,
    packed: u64,
    (limits, half): (&Limits, Option<Half>),
) -> Result<Vec<(usize, BundlePath, u64)>, Refusal> {
    if archive.has_duplicate_names() {
        let problem = Problem::new(Code::DuplicatePath, "Two entries of the archive have the same name.");
        return Err(problem.hint("keep one of the two").into());
    }
    let mut gate = Gate::new(limits).of_half(half);
    let mut taken = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(|error| wrong(&error, None))?;
        let name = entry.name_raw();
        let kind = kind(name, entry.unix_mode());
        check_local_name(file, entry.header_start(), name)?;
        let path = match gate.entry(name, kind, entry.size())? {
            Verdict::Skip => continue,
            Verdict::Take(path) => path,
            Verdict::Link(path) => {
                let problem = Problem::new(Code::ArchiveLink, format!("`{path}` in the archive is a symbolic link."));
                return Err(problem.hint("a tar may hold links of a backend; `zip` without -y puts copies in").into());
            }
        };
        if entry.encrypted() {
            return Err(bad(format!("`{path}` in the archive is encrypted."))
                .hint("make it without a password")
                .into());
        }
        let method = entry.compression();
        if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
            let detail = format!("`{path}` in the archive is compressed by the method {method}.");
            return Err(bad(detail).hint("make the archive with deflate, as `zip` does").into());
        }
        taken.push((index, path, entry.size()));
    }
    gate.finish(packed)?;
    Ok(taken)
}

/// Refuses an entry whose local header has another name than the directory (APPNOTE 4.3.7, 4.3.12): readers that trust
/// one or the other would see different archives.
fn check_local_name(file: &File, header_start: u64, name: &[u8]) -> Result<(), Refusal> {
    let header = read_at(file, header_start, LOCAL_HEADER_BYTES)?;
    let length = u64::from(u16::from_le_bytes(array(&header, 26)));
    let local = match length == name.len() as u64 {
        true => read_at(file, header_start.saturating_add(LOCAL_HEADER_BYTES), length)?,
        false => Vec::new(),
    };
    if header.starts_with(b"PK\x03\x04") && local == name {
        return Ok(());
    }
    let detail = format!("`{}` has another name in the archive's directory than at its own place.", shown(name));
    Err(damaged(detail).hint("make the archive again").into())
}

fn kind(name: &[u8], mode: Option<u32>) -> EntryKind {
    // Type bits of a mode as in stat(2); 0 for an archive without modes.
    match mode.unwrap_or(0) & 0o170_000 {
        0o040_000 => EntryKind::Folder,
        _ if name.ends_with(b"/") => EntryKind::Folder,
        0 | 0o100_000 => EntryKind::File,
        0o010_000 => EntryKind::Fifo,
        0o020_000 | 0o060_000 => EntryKind::Device,
        0o120_000 => EntryKind::SymbolicLink,
        _ => EntryKind::Other,
    }
}

/// Refuses an archive whose directory declares too many entries, before parsing.
fn check_counts(file: &File, length: u64, limits: &Limits) -> Result<(), Refusal> {
    let start = length.saturating_sub(TAIL_BYTES_MAX);
    let tail = read_at(file, start, length - start)?;
    let most = entries_max(limits);
    let mut ends = tail.windows(END_BYTES).enumerate().filter(|(_, end)| end.starts_with(b"PK\x05\x06")).peekable();
    if ends.peek().is_none() {
        return Err(cut_off().into());
    }
    for (place, end) in ends {
        let mut count = u64::from(u16::from_le_bytes(array(end, 10)));
        let place = start + place as u64;
        if let Some(locator) = place.checked_sub(LOCATOR_BYTES)
            && let locator = read_at(file, locator, LOCATOR_BYTES)?
            && locator.starts_with(b"PK\x06\x07")
        {
            let at = u64::from_le_bytes(array(&locator, 8));
            let available = length.saturating_sub(at).min(56);
            let end = read_at(file, at, available)?;
            if end.starts_with(b"PK\x06\x06") {
                count = count.max(u64::from_le_bytes(array(&end, 32)));
            }
        }
        if count > most {
            let detail = format!("The archive says that it has {count} entries; {most} are allowed.");
            return Err(too_large(detail, "bundle_files_max").into());
        }
    }
    Ok(())
}

/// Refuses an archive with more entries than declared, as written by tools limited to 65,535: otherwise only a part of
/// the sent files would be served.
fn check_nothing_hidden<R: Read + Seek>(archive: &ZipArchive<R>, file: &File) -> Result<(), Refusal> {
    let mut last = 0;
    for index in 0..archive.len() {
        last = last.max(archive.by_index_data(index).map_err(|error| wrong(&error, None))?.central_header_start());
    }
    if last == 0 {
        return Ok(());
    }
    let header = read_at(file, last, 46)?;
    let field = |offset| u64::from(u16::from_le_bytes(array(&header, offset)));
    let next = last + 46 + field(28) + field(30) + field(32);
    let length = file.metadata().map_err(|error| unreadable(&error))?.len();
    if read_at(file, next, length.saturating_sub(next).min(4))? == b"PK\x01\x02" {
        return Err(damaged("The archive holds more entries than it counts.")
            .hint("make it with a tool that knows zip64, or as a tar")
            .into());
    }
    Ok(())
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn read_at(file: &File, offset: u64, length: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset).map_err(|error| unreadable(&error))?;
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> Refusal {
    broken(error, format!("The archive cannot be read: {error}.")).into()
}

fn wrong(error: &ZipError, path: Option<&BundlePath>) -> Refusal {
    let place = path.map_or_else(String::new, |path| format!(" at `{path}`"));
    let reported = |why: &str| format!("The zip is damaged, cut off or of an unknown kind{place}: {why}.");
    match error {
        ZipError::Io(error) => broken(error, reported(&error.to_string())),
        ZipError::InvalidArchive(why) => damaged(reported(&shown(why.as_bytes()))),
        other => bad(reported(&other.to_string())),
    }
    .into()
}

/// Limits the bytes read, so that an endless directory ends.
struct Budgeted {
    inner: BufReader<File>,
    left: Rc<Cell<u64>>,
}

impl Read for Budgeted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("its directory is too long"))?);
        Ok(read)
    }
}

impl Seek for Budgeted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
