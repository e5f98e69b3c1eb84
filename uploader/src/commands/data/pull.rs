//! Receives an archive of data: as a file, or unpacked into a new folder. Neither has its name before the archive is
//! known to be whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::{Buf as _, Bytes};
use devanture_config::problem::Code;
use reqwest::Response;
use tokio::sync::mpsc;
use zstd::Decoder;

use crate::output::exit::Failure;

/// Pieces that wait for the disk.
const PIECES_WAITING: usize = 16;
/// The ending of what is not whole yet.
const PARTIAL: &str = ".partial";

/// What was received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pulled {
    /// Unpacked files; 0 for an archive.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Links that were not made.
    pub(super) skipped: u64,
}

/// Receives an archive into `to`.
///
/// # Errors
/// `archive_cut_off` where the download breaks off, `path_escapes` for a path that leads out of the folder; those of the
/// disk. Nothing is left then.
pub(super) async fn pull(mut response: Response, to: &Path, is_archive: bool) -> Result<Pulled, Failure> {
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let to = to.to_owned();
    let writing = tokio::task::spawn_blocking(move || {
        let from = Pieces { receiver, now: Bytes::new() };
        if is_archive { keep(from, &to) } else { unpack(from, &to) }
    });
    // Where it breaks off, the end of the archive is missing.
    while let Ok(Some(piece)) = response.chunk().await {
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    let written = writing.await;
    written.unwrap_or_else(|error| Err(Failure::new(Code::Internal, format!("The download ended: {error}."))))
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

/// A reader that writes what it reads.
struct Copying<R> {
    from: R,
    to: File,
    bytes: u64,
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.to.write_all(buffer.get(..count).unwrap_or_default())?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// What is being received, which is removed unless it becomes whole.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        drop(if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) });
    }
}

fn partial_path(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
}

/// What is there already is somebody else's, and stays.
fn cannot_begin(partial: &Path, error: &io::Error) -> Failure {
    unwritable(partial, error).hint("remove it, unless another download is under way")
}

impl Partial {
    #[expect(clippy::disallowed_methods, reason = "a download of a person's own, which is no state of the edge")]
    fn finish(&self, to: &Path) -> Result<(), Failure> {
        if to.symlink_metadata().is_ok() {
            return Err(Failure::new(Code::Usage, format!("{} exists by now.", to.display())));
        }
        fs::rename(&self.0, to).map_err(|error| unwritable(to, &error))
    }
}

fn keep(from: impl Read, to: &Path) -> Result<Pulled, Failure> {
    let path = partial_path(to);
    let file = File::create_new(&path).map_err(|error| cannot_begin(&path, &error))?;
    let partial = Partial(path);
    let mut from = Copying { from, to: file, bytes: 0 };
    // Read to its end, where its checksum is, though nobody wants the content here.
    let mut decoder = Decoder::new(&mut from).map_err(|error| unreadable(&error))?.single_frame();
    io::copy(&mut decoder, &mut io::sink()).map_err(|error| unreadable(&error))?;
    drop(decoder);
    from.to.sync_all().map_err(|error| unwritable(to, &error))?;
    partial.finish(to)?;
    Ok(Pulled { bytes: from.bytes, ..Pulled::default() })
}

fn unpack(from: impl Read, to: &Path) -> Result<Pulled, Failure> {
    let path = partial_path(to);
    fs::create_dir(&path).map_err(|error| cannot_begin(&path, &error))?;
    let partial = Partial(path);
    let decoder = Decoder::new(from).map_err(|error| unreadable(&error))?.single_frame();
    let mut archive = tar::Archive::new(decoder);
    let mut pulled = Pulled::default();
    for entry in archive.entries().map_err(|error| unreadable(&error))? {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        let path = entry.path().map_err(|error| unreadable(&error))?.into_owned();
        // No link is made, so that no path leads anywhere else.
        let target = partial.0.join(checked(&path)?);
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            fs::create_dir_all(&target).map_err(|error| unwritable(&target, &error))?;
        } else if kind.is_file() {
            write(&mut entry, &target)?;
            pulled.files += 1;
            pulled.bytes += entry.size();
        } else {
            pulled.skipped += 1;
        }
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| unreadable(&error))?;
    partial.finish(to)?;
    Ok(pulled)
}

fn write(entry: &mut impl Read, target: &Path) -> Result<(), Failure> {
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
        file.write_all(buffer.get(..count).unwrap_or_default()).map_err(failed)?;
    }
}

/// A path that stays in its folder on every system.
fn checked(path: &Path) -> Result<PathBuf, Failure> {
    let mut checked = PathBuf::new();
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
            Failure::new(Code::ArchiveCutOff, "The download broke off before its end; nothing of it was kept.")
                .hint("run the command again")
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

    #[test]
    fn a_download_has_its_name_when_it_is_whole_and_else_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let whole = archive(&[("a/b", "hello"), ("link", "->"), ("link/x", "below")]);
        for end in [0, 1, whole.len() / 2, whole.len() - 1] {
            let kept = keep(&whole[..end], &folder.path().join("data.tar.zst")).unwrap_err();
            let unpacked = unpack(&whole[..end], &folder.path().join("data")).unwrap_err();
            assert!(kept.is(Code::ArchiveCutOff) && unpacked.is(Code::ArchiveCutOff), "{end}: {kept:?} {unpacked:?}");
            assert_eq!(names(), 0, "{end}");
        }
        let file = folder.path().join("data.tar.zst");
        assert_eq!(keep(&*whole, &file).unwrap().bytes, whole.len() as u64);
        assert_eq!(fs::read(&file).unwrap(), whole);
        let to = folder.path().join("data");
        assert_eq!(unpack(&*whole, &to).unwrap(), Pulled { files: 2, bytes: 10, skipped: 1 });
        assert_eq!(fs::read_to_string(to.join("a/b")).unwrap(), "hello");
        // Below what would have been a link.
        assert_eq!(fs::read_to_string(to.join("link/x")).unwrap(), "below");
        assert_eq!(names(), 2);
    }

    #[test]
    fn a_path_that_leads_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["../up", "/root", "a/../../up"] {
            let refused = unpack(&*archive(&[(path, "x")]), &folder.path().join("data")).unwrap_err();
            assert!(refused.is(Code::PathEscapes), "{path}: {refused:?}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
