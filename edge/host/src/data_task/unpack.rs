//! Unpacks an archive into a folder: no entry leads out of the folder, replaces an existing entry, or exceeds the
//! limits.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use devanture_config::api::DataReport;
use devanture_config::problem::Code;
use rustix::fs::{Mode, Timespec, Timestamps, fchmod, futimens, symlinkat};
use tar::{Archive, EntryType};
use zstd::stream::read::Decoder;

use super::files::{self, DEPTH_MAX, PATH_BYTES_MAX};
use super::order::{Bounds, Failure};

/// Maximum window of zstd as a power of two: 128 MiB of memory.
const WINDOW_LOG_MAX: u32 = 27;

/// Unpacks into `root`, which is empty.
///
/// # Errors
/// `archive_cut_off`, `bad_archive`, `archive_special`, `duplicate_path`, `path_escapes`, `path_too_long`,
/// `persist_full`; errors of the disk.
pub(super) fn unpack(from: impl Read, root: &OwnedFd, bounds: &Bounds) -> Result<DataReport, Failure> {
    let mut decoder = Decoder::new(from).map_err(|error| unreadable(&error))?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|error| unreadable(&error))?;
    let decoder = decoder.single_frame();
    let mut archive = Archive::new(decoder);
    let mut unpacked = Unpacked { report: DataReport::default(), made: 0 };
    let entries = archive.entries().map_err(|error| unreadable(&error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        add(&mut entry, root, bounds, &mut unpacked)?;
    }
    // To the end of the frame, which contains the checksum.
    let mut rest = archive.into_inner();
    io::copy(&mut rest.by_ref().take(bounds.bytes_max), &mut io::sink()).map_err(|error| unreadable(&error))?;
    match rest.read(&mut [0]) {
        Ok(0) => Ok(unpacked.report),
        Ok(_) => Err(Failure::new(Code::BadArchive, "The archive goes on after its end.")),
        Err(error) => Err(unreadable(&error)),
    }
}

/// State of unpacking.
struct Unpacked {
    report: DataReport,
    /// Created files, folders and links. One entry implies up to [`DEPTH_MAX`] folders.
    made: u64,
}

impl Unpacked {
    /// Counts a created entry.
    fn count(&mut self, files_max: u64) -> Result<(), Failure> {
        self.made = self.made.saturating_add(1);
        if self.made > files_max { Err(too_many(files_max)) } else { Ok(()) }
    }

    /// Opens a folder; a missing folder is created and counted.
    fn folder(
        &mut self,
        (parent, name): (&OwnedFd, &OsStr),
        files_max: u64,
        failed: &impl Fn(io::Error) -> Failure,
    ) -> Result<OwnedFd, Failure> {
        let (folder, is_new) = files::make_folder(parent.as_fd(), name).map_err(failed)?;
        if is_new {
            self.count(files_max)?;
        }
        Ok(folder)
    }
}

fn too_many(files_max: u64) -> Failure {
    Failure::new(Code::PersistFull, format!("The archive has more than {files_max} files and folders."))
}

fn add(
    entry: &mut tar::Entry<'_, impl Read>,
    root: &OwnedFd,
    bounds: &Bounds,
    unpacked: &mut Unpacked,
) -> Result<(), Failure> {
    let kind = entry.header().entry_type();
    if kind == EntryType::XGlobalHeader {
        return Ok(());
    }
    let path = entry.path_bytes().into_owned();
    let shown = String::from_utf8_lossy(&path).into_owned();
    let segments = segments(&path, &shown)?;
    let Some((name, parents)) = segments.split_last() else { return Ok(()) };
    unpacked.report.files = unpacked.report.files.saturating_add(1);
    let files_max = bounds.files_max;
    if unpacked.report.files > files_max {
        return Err(too_many(files_max));
    }
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(Code::DuplicatePath, format!("{shown} is in the archive twice.")),
        io::ErrorKind::NotADirectory => {
            Failure::new(Code::BadArchive, format!("{shown} of the archive is below a file or a link."))
        }
        _ => Failure::io("unpacking", &shown, &error),
    };
    // Also checked for entries without bytes: a folder takes a disk block.
    super::snapshots::check_room(root, 0, *bounds).map_err(failed)?;
    let mut parent = root.try_clone().map_err(failed)?;
    for segment in parents {
        parent = unpacked.folder((&parent, segment), files_max, &failed)?;
    }
    let mode = entry.header().mode().unwrap_or(0o600);
    let seconds = i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    match kind {
        EntryType::Directory => {
            let folder = unpacked.folder((&parent, name), files_max, &failed)?;
            // The owner must be able to fill and remove the folder.
            fchmod(&folder, Mode::from_raw_mode(mode & 0o777 | 0o700)).map_err(|error| failed(error.into()))?;
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let (max, bytes) = (bounds.bytes_max, unpacked.report.bytes.saturating_add(entry.size()));
            if bytes > max {
                return Err(Failure::new(Code::PersistFull, format!("The archive unpacks to more than {max} bytes.")));
            }
            unpacked.report.bytes = bytes;
            unpacked.count(files_max)?;
            super::snapshots::check_room(root, entry.size(), *bounds).map_err(failed)?;
            let mut file = files::create(parent.as_fd(), name).map_err(failed)?;
            copy(entry, &mut file, &failed)?;
            fchmod(&file, Mode::from_raw_mode(mode & 0o777)).map_err(|error| failed(error.into()))?;
            futimens(&file, &times).map_err(|error| failed(error.into()))?;
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            unpacked.count(files_max)?;
            symlinkat(OsStr::from_bytes(&target), &parent, *name).map_err(|error| failed(error.into()))?;
        }
        _ => {
            let detail = format!("{shown} is neither a file, a folder nor a symbolic link.");
            return Err(Failure::new(Code::ArchiveSpecial, detail));
        }
    }
    Ok(())
}

/// Copies a file, with separate errors for the archive and the disk.
fn copy(from: &mut impl Read, to: &mut impl io::Write, failed: &impl Fn(io::Error) -> Failure) -> Result<(), Failure> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) => return Err(unreadable(&error)),
        };
        to.write_all(buffer.get(..count).unwrap_or_default()).map_err(failed)?;
    }
}

/// Returns the segments of a path, none of which leads elsewhere.
fn segments<'p>(path: &'p [u8], shown: &str) -> Result<Vec<&'p OsStr>, Failure> {
    let mut segments = Vec::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(segment) => segments.push(segment),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let detail = format!("{shown} of the archive leads out of the folder.");
                return Err(Failure::new(Code::PathEscapes, detail));
            }
        }
    }
    match path.len() > PATH_BYTES_MAX || segments.len() > DEPTH_MAX {
        true => {
            let short: String = shown.chars().take(100).collect();
            Err(Failure::new(Code::PathTooLong, format!("{short}… of the archive is too long, or too deep.")))
        }
        false => Ok(segments),
    }
}

fn unreadable(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::new(Code::ArchiveCutOff, "The archive ends before its end."),
        _ => Failure::new(Code::BadArchive, format!("The archive is no tar that is compressed by zstd: {error}.")),
    }
}
