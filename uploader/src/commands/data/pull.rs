//! Receives an archive of data: as a file, or unpacked into a new folder. Neither has its name before the archive is
//! known to be complete; until then an archive has the name of a part, from which the next download resumes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, Write};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf as _, Bytes};
use devanture_config::problem::Code;
use tokio::sync::mpsc;
use zstd::Decoder;

use super::blocking;
use super::bound::Bound;
use super::download::{Received, Source, download};
use super::entries::for_each;
use crate::output::exit::Failure;

/// Pieces queued for the disk.
const PIECES_WAITING: usize = 16;
/// The extension of an incomplete file.
const PARTIAL: &str = ".partial";
/// Upper bound of downloads that begin again because the data have changed.
const ROUNDS_MAX: u32 = 3;
/// Bytes of a part that are read at once.
const READ_BYTES: usize = 256 * 1024;
/// Upper bound of the path of an entry, in bytes, as in Linux.
const PATH_BYTES_MAX: usize = 4_096;
/// The hint about a stored part.
const KEPT: &str = "run the command again: it goes on with the part that has come, which is kept beside the archive";

/// The result of a download.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pulled {
    /// Unpacked files; 0 for an archive.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Number of omitted links.
    pub(super) skipped: u64,
}

/// Receives an archive into `to`. Begins again if the stored part is not the beginning of the current data.
///
/// # Errors
/// `archive_cut_off` if the download breaks off, after which an archive resumes at the next call; `path_escapes` for a
/// path that leads out of the folder, and `path_too_long`; `archive_bomb` if the archive unpacks to more than its
/// bound, or to more than `max_bytes`; errors of the disk. In these cases no file is left.
pub(super) async fn pull(
    source: &Source<'_>,
    to: &Path,
    is_archive: bool,
    max_bytes: Option<u64>,
) -> Result<Pulled, Failure> {
    let mut rounds = 1;
    loop {
        match round(source, to, (is_archive, max_bytes)).await {
            Err(failure) if failure.is(Code::PreconditionFailed) && rounds < ROUNDS_MAX => rounds += 1,
            pulled => return pulled,
        }
        source.progress.note("the data has changed since the download broke off: it begins again");
    }
}

/// Receives an archive, as long as it stays the same.
async fn round(
    source: &Source<'_>,
    to: &Path,
    (is_archive, max_bytes): (bool, Option<u64>),
) -> Result<Pulled, Failure> {
    let begun = {
        let to = to.to_owned();
        blocking(move || if is_archive { Partial::file(&to) } else { Ok((Partial::folder(&to)?, Received::default())) })
    };
    let (partial, received) = begun.await?;
    let partial = Arc::new(partial);
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let written = {
        let (from, partial, to) = (Pieces { receiver, now: Bytes::new() }, Arc::clone(&partial), to.to_owned());
        blocking(move || if is_archive { keep(from, &partial, &to) } else { unpack(from, (&partial, &to), max_bytes) })
    };
    // After a break, the end of the archive is missing.
    let (downloaded, written) = tokio::join!(download(source, received, sender), written);
    let is = |code| written.as_ref().is_err_and(|failure| failure.is(code));
    let (is_cut_off, is_damaged) = (is(Code::ArchiveCutOff), is(Code::ArchiveDamaged));
    match downloaded {
        // The stored bytes are not part of the current data, or never were: a crash may leave zeros at the end.
        Err(failure) if failure.is(Code::PreconditionFailed) && (is_cut_off || is_damaged) => {
            partial.stays.store(false, Ordering::Relaxed);
            Err(failure)
        }
        // The reason of the break is more precise than the missing end.
        Err(failure) if is_cut_off && !failure.is(Code::ArchiveCutOff) => Err(failure),
        _ if partial.stays() => written.map_err(|failure| failure.hint(KEPT)),
        _ => written,
    }
}

/// The pieces of a download, as a reader.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    now: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.now.is_empty() {
            self.now = self.receiver.blocking_recv().unwrap_or_default();
        }
        let count = self.now.len().min(buffer.len());
        self.now.copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

/// A reader of the stored and of the new bytes, which writes the new ones.
struct Copying<R> {
    file: File,
    /// Stored bytes of the file that are still to be read.
    before: u64,
    from: R,
    bytes: u64,
    /// The reason why the file cannot be written, which is not a fault of the archive.
    unwritten: Option<io::Error>,
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = if self.before > 0 {
            let count = Read::by_ref(&mut self.file).take(self.before).read(buffer)?;
            if count == 0 && !buffer.is_empty() {
                return Err(io::Error::other("the part has become shorter"));
            }
            self.before -= count as u64;
            count
        } else {
            let count = self.from.read(buffer)?;
            if let Err(error) = self.file.write_all(buffer.get(..count).unwrap_or_default()) {
                self.unwritten = Some(error);
                return Err(io::Error::other("the part cannot be written"));
            }
            count
        };
        self.bytes += count as u64;
        Ok(count)
    }
}

/// A partial download, which is removed unless it becomes complete or can be resumed.
struct Partial {
    path: PathBuf,
    /// The file of an archive, locked against a concurrent download.
    file: Option<File>,
    /// Number of stored bytes.
    before: u64,
    stays: AtomicBool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.stays() {
            drop(if self.path.is_dir() { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) });
        }
    }
}

fn partial_path(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
}

/// Returns the failure of an existing path, which belongs to a different program and stays.
fn cannot_begin(partial: &Path, error: &io::Error) -> Failure {
    let failure = unwritable(partial, error);
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::WouldBlock => {
            failure.hint("remove it, unless another download is under way")
        }
        io::ErrorKind::NotFound => failure.hint("make the folder that it lies in first"),
        _ => failure,
    }
}

impl Partial {
    /// Opens the part of an archive, and returns its state.
    fn file(to: &Path) -> Result<(Self, Received), Failure> {
        let path = partial_path(to);
        let failed = |error: io::Error| cannot_begin(&path, &error);
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        file.try_lock().map_err(|error| failed(error.into()))?;
        let (mut received, mut before, mut buffer) = (Received::default(), 0, vec![0; READ_BYTES]);
        loop {
            let count = file.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            received.add(buffer.get(..count).unwrap_or_default());
            before += count as u64;
        }
        file.rewind().map_err(failed)?;
        Ok((Self { file: Some(file), before, stays: AtomicBool::new(false), path }, received))
    }

    /// A new folder.
    fn folder(to: &Path) -> Result<Self, Failure> {
        let path = partial_path(to);
        fs::create_dir(&path).map_err(|error| cannot_begin(&path, &error))?;
        Ok(Self { path, file: None, before: 0, stays: AtomicBool::new(false) })
    }

    fn stays(&self) -> bool {
        self.stays.load(Ordering::Relaxed)
    }

    #[expect(clippy::disallowed_methods, reason = "a download of a person's own, which is no state of the edge")]
    fn finish(&self, to: &Path) -> Result<(), Failure> {
        if to.symlink_metadata().is_ok() {
            return Err(Failure::new(Code::Usage, format!("{} exists by now.", to.display())));
        }
        fs::rename(&self.path, to).map_err(|error| unwritable(to, &error))
    }
}

fn keep(from: impl Read, partial: &Partial, to: &Path) -> Result<Pulled, Failure> {
    let file = partial.file.as_ref().and_then(|file| file.try_clone().ok());
    let file = file.ok_or_else(|| unwritable(&partial.path, &io::Error::other("it cannot be opened twice")))?;
    let mut from = Copying { file, before: partial.before, from, bytes: 0, unwritten: None };
    let read = read_whole(&mut from);
    if let Some(error) = from.unwritten.take() {
        return Err(unwritable(&partial.path, &error));
    }
    if read.as_ref().is_err_and(|failure| failure.is(Code::ArchiveCutOff)) {
        partial.stays.store(from.bytes > 0, Ordering::Relaxed);
    }
    read?;
    from.file.sync_all().map_err(|error| unwritable(to, &error))?;
    partial.finish(to)?;
    Ok(Pulled { bytes: from.bytes, ..Pulled::default() })
}

/// Reads an archive to its end, which has the checksum, without a use of the content.
fn read_whole(from: impl Read) -> Result<(), Failure> {
    let mut decoder = Decoder::new(from).map_err(|error| unreadable(&error))?.single_frame();
    io::copy(&mut decoder, &mut io::sink()).map_err(|error| unreadable(&error)).map(drop)
}

fn unpack(from: impl Read, (partial, to): (&Partial, &Path), max_bytes: Option<u64>) -> Result<Pulled, Failure> {
    let (mut bound, from) = Bound::new(from, &partial.path, max_bytes);
    let decoder = Decoder::new(from).map_err(|error| unreadable(&error))?.single_frame();
    let mut pulled = Pulled::default();
    let mut rest = for_each(decoder, unreadable, |entry| {
        let path = entry.path().map_err(|error| unreadable(&error))?.into_owned();
        // Links are not created, so that no path leads outside.
        let target = partial.path.join(checked(&path)?);
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            bound.begin(0)?;
            fs::create_dir_all(&target).map_err(|error| unwritable(&target, &error))?;
        } else if kind.is_file() {
            bound.begin(entry.size())?;
            write(entry, &target, &mut bound)?;
            pulled.files += 1;
            pulled.bytes += entry.size();
        } else {
            pulled.skipped += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    io::copy(&mut rest, &mut io::sink()).map_err(|error| unreadable(&error))?;
    partial.finish(to)?;
    Ok(pulled)
}

fn write(entry: &mut impl Read, target: &Path, bound: &mut Bound) -> Result<(), Failure> {
    let failed = |error: io::Error| unwritable(target, &error);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = File::create_new(target).map_err(failed)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = entry.read(&mut buffer).map_err(|error| unreadable(&error))?;
        if count == 0 {
            return Ok(());
        }
        bound.add(count as u64)?;
        file.write_all(buffer.get(..count).unwrap_or_default()).map_err(failed)?;
    }
}

/// Checks that a path stays in its folder on every system.
fn checked(path: &Path) -> Result<PathBuf, Failure> {
    let mut checked = PathBuf::new();
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES_MAX {
        let message = format!("The archive has a path of {bytes} bytes; {PATH_BYTES_MAX} are the most.");
        return Err(Failure::new(Code::PathTooLong, message).hint("pull it as an archive, and look at it first"));
    }
    for component in path.components() {
        match component {
            Component::Normal(name) if !(cfg!(windows) && name.to_string_lossy().contains([':', '\\'])) => {
                checked.push(name);
            }
            Component::CurDir => {}
            _ => {
                let message = format!("{} of the archive leads out of the folder.", path.display());
                return Err(
                    Failure::new(Code::PathEscapes, message).hint("pull it as an archive, and look at it first")
                );
            }
        }
    }
    Ok(checked)
}

fn unreadable(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Failure::new(Code::ArchiveCutOff, "The download broke off before its end.").hint("run the command again")
        }
        _ => Failure::new(Code::ArchiveDamaged, format!("The archive cannot be read: {error}.")),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::UnreadableFile, format!("{} cannot be written: {error}.", path.display()))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        for (path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if content.starts_with("->") {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name("/").unwrap();
            }
            let content = if content.starts_with("->") { "" } else { content };
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    /// Receives an archive with these bytes.
    fn kept(from: &[u8], to: &Path) -> (u64, Result<Pulled, Failure>) {
        let (partial, _) = Partial::file(to).unwrap();
        (partial.before, keep(from, &partial, to))
    }

    fn unpacked(from: &[u8], to: &Path) -> Result<Pulled, Failure> {
        unpack(from, (&Partial::folder(to).unwrap(), to), None)
    }

    #[test]
    fn a_download_has_its_name_when_it_is_whole_and_a_part_of_an_archive_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let (file, to) = (folder.path().join("data.tar.zst"), folder.path().join("data"));
        let whole = archive(&[("a/b", "hello"), ("link", "->"), ("link/x", "below")]);
        let mut came = 0;
        for end in [0, 1, whole.len() / 2, whole.len() - 1] {
            let (before, kept) = kept(&whole[came..end], &file);
            let (kept, unpacked) = (kept.unwrap_err(), unpacked(&whole[..end], &to).unwrap_err());
            assert!(kept.is(Code::ArchiveCutOff) && unpacked.is(Code::ArchiveCutOff), "{end}: {kept:?} {unpacked:?}");
            assert_eq!((before, names()), (came as u64, usize::from(end > 0)), "{end}");
            came = end;
        }
        assert_eq!(kept(&whole[came..], &file).1.unwrap().bytes, whole.len() as u64);
        assert_eq!(fs::read(&file).unwrap(), whole);
        assert_eq!(unpacked(&whole, &to).unwrap(), Pulled { files: 2, bytes: 10, skipped: 1 });
        assert_eq!(fs::read_to_string(to.join("a/b")).unwrap(), "hello");
        // Below the path of an omitted link.
        assert_eq!(fs::read_to_string(to.join("link/x")).unwrap(), "below");
        assert_eq!(names(), 2);
    }

    #[test]
    fn two_downloads_do_not_share_a_part_and_nothing_else_is_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("data.tar.zst");
        let first = Partial::file(&to).unwrap();
        assert!(Partial::file(&to).is_err());
        drop(first);
        assert!(!partial_path(&to).exists() && Partial::file(&to).is_ok());
        fs::create_dir(partial_path(&to)).unwrap();
        assert!(Partial::file(&to).is_err() && Partial::folder(&to).is_err() && partial_path(&to).exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_no_damage_of_the_archive() {
        let to = Path::new("/dev/null/data.tar.zst");
        let file = Some(OpenOptions::new().read(true).write(true).open("/dev/full").unwrap());
        let partial = Partial { path: partial_path(to), file, before: 0, stays: AtomicBool::new(false) };
        let full = keep(&*archive(&[("a", "x")]), &partial, to).unwrap_err();
        assert!(full.is(Code::UnreadableFile) && full.message.contains(".partial cannot be written"), "{full:?}");
    }

    /// A small archive that would take any amount of memory: its repetitions are compressed.
    #[test]
    fn a_name_that_is_longer_than_names_are_is_not_read_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (to, longest) = (folder.path().join("data"), 64 * 1024 * 1024);
        let with_name = |bytes: usize| {
            let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::GNULongName);
            header.set_size(bytes as u64);
            header.set_cksum();
            tar.append(&header, vec![b'n'; bytes].as_slice()).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_size(5);
            header.set_cksum();
            tar.append(&header, &b"hello"[..]).unwrap();
            tar.into_inner().unwrap().finish().unwrap()
        };
        let refused = unpacked(&with_name(longest), &to).unwrap_err();
        assert!(refused.is(Code::ArchiveDamaged), "{refused:?}");
        assert!(refused.message.contains("more than 65536 bytes of headers"), "{}", refused.message);
        let refused = unpacked(&with_name(5_000), &to).unwrap_err();
        assert!(refused.is(Code::PathTooLong) && refused.message.len() < 100, "{refused:?}");
        assert_eq!(unpacked(&with_name(200), &to).unwrap().bytes, 5);
        assert!(to.join("n".repeat(200)).exists());
    }

    #[test]
    fn an_archive_that_unpacks_to_more_than_may_be_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (to, whole) = (folder.path().join("data"), archive(&[("a", "hello"), ("b", "world")]));
        let up_to = |bytes| unpack(&*whole, (&Partial::folder(&to).unwrap(), &to), Some(bytes));
        let refused = up_to(9).unwrap_err();
        assert!(refused.is(Code::ArchiveBomb), "{refused:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(up_to(10).unwrap().bytes, 10);
    }

    #[test]
    fn files_that_are_larger_than_what_is_before_them_are_unpacked_and_content_that_nobody_wants_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (to, content) = (folder.path().join("data"), vec![b'x'; 3 * 1024 * 1024]);
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        for (path, kind) in
            [("one", tar::EntryType::Regular), ("two", tar::EntryType::new(b'!')), ("three", tar::EntryType::Regular)]
        {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_slice()).unwrap();
        }
        let whole = tar.into_inner().unwrap().finish().unwrap();
        let bytes = 2 * content.len() as u64;
        assert_eq!(unpacked(&whole, &to).unwrap(), Pulled { files: 2, bytes, skipped: 1 });
        assert_eq!(fs::read(to.join("three")).unwrap(), content);
    }

    #[test]
    fn a_path_that_leads_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["../up", "/root", "a/../../up"] {
            let refused = unpacked(&archive(&[(path, "x")]), &folder.path().join("data")).unwrap_err();
            assert!(refused.is(Code::PathEscapes), "{path}: {refused:?}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
