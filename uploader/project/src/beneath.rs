//! Opens files beneath a folder without following any link, so that the file read is the file checked.
//!
//! A checked path may name a different file when it is opened: any writer to the folder can put a link in the place of
//! a file or of a folder above it. The folder is therefore held open, and each component of a path beneath the folder
//! is opened without following links. Systems other than Unix check the path once more before they open it.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::platform::OpenFolder;

/// An open folder. A clone is the same folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: Arc<Path>,
    open: OpenFolder,
}

impl Folder {
    /// Opens the folder at `path`, which contains no link: the path comes from `fs::canonicalize`.
    ///
    /// # Errors
    /// An error if the folder cannot be read, or is not a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { open: OpenFolder::open(path)?, path: path.into() })
    }

    /// Opens a folder beneath this one.
    ///
    /// # Errors
    /// Like [`Folder::file`].
    pub fn folder(&self, relative: &Path) -> io::Result<Self> {
        if relative.as_os_str().is_empty() {
            return Ok(self.clone());
        }
        check(relative)?;
        Ok(Self { open: self.open.folder(relative)?, path: self.path.join(relative).into() })
    }

    /// Opens a file beneath this folder for reading.
    ///
    /// # Errors
    /// An error if the file is missing, cannot be read, is not a file, is a link, or has a link in its path.
    pub fn file(&self, relative: &Path) -> io::Result<File> {
        check(relative)?;
        let file = self.open.file(relative)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
    }

    /// The folder's own path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file found beneath a folder.
#[derive(Debug, Clone)]
pub struct FilePath {
    folder: Folder,
    relative: PathBuf,
}

impl FilePath {
    /// Returns the file at `relative`, without opening it.
    pub fn new(folder: &Folder, relative: PathBuf) -> Self {
        Self { folder: folder.clone(), relative }
    }

    /// Opens the file for reading.
    ///
    /// # Errors
    /// Like [`Folder::file`].
    pub fn open(&self) -> io::Result<File> {
        self.folder.file(&self.relative)
    }

    /// Returns the path for messages.
    pub fn path(&self) -> PathBuf {
        self.folder.path.join(&self.relative)
    }

    /// Returns the file at `path`, in the test's folder.
    #[cfg(test)]
    pub(crate) fn of(path: &Path) -> Self {
        let folder = std::fs::canonicalize(path.parent().unwrap()).unwrap();
        Self::new(&Folder::open(&folder).unwrap(), PathBuf::from(path.file_name().unwrap()))
    }
}

impl PartialEq for FilePath {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

impl Eq for FilePath {}

/// Refuses a path with components other than plain names.
fn check(relative: &Path) -> io::Result<()> {
    let is_plain = relative.components().all(|component| matches!(component, Component::Normal(_)));
    if is_plain && !relative.as_os_str().is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn not_a_file() -> io::Error {
    io::Error::other("it is not a file")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    fn text(mut file: File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    fn put(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    #[test]
    fn files_are_opened_by_plain_paths_alone() {
        let root = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(root.path()).unwrap();
        put(real.join("in/a/b"), "b");
        put(real.join("secret"), "s");
        symlink("a", real.join("in/link")).unwrap();
        symlink("a/b", real.join("in/b")).unwrap();
        symlink("../secret", real.join("in/secret")).unwrap();
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{CWD, FileType, Mode, mknodat};
            mknodat(CWD, real.join("in/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }
        let folder = Folder::open(&real.join("in")).unwrap();
        assert_eq!(text(folder.file(Path::new("a/b")).unwrap()), "b");
        assert_eq!(text(folder.folder(Path::new("a")).unwrap().file(Path::new("b")).unwrap()), "b");
        for refused in ["b", "link/b", "secret", "../secret", "/etc/passwd", "a/../a/b", "", "a", "none", "pipe"] {
            assert!(folder.file(Path::new(refused)).is_err(), "{refused}");
        }
        assert!(folder.folder(Path::new("link")).is_err());
    }

    #[test]
    fn what_was_put_in_the_place_of_a_checked_path_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(root.path()).unwrap();
        put(real.join("www/sub/file"), "checked");
        put(real.join("other/sub/file"), "secret");
        let folder = Folder::open(&real.join("www")).unwrap();
        let checked = FilePath::new(&folder, PathBuf::from("sub/file"));
        std::fs::remove_dir_all(real.join("www/sub")).unwrap();
        symlink("../other/sub", real.join("www/sub")).unwrap();
        assert!(checked.open().is_err(), "a folder became a link");
        std::fs::remove_file(real.join("www/sub")).unwrap();
        put(real.join("www/sub/file"), "checked");
        rustix::fs::rename(real.join("www"), real.join("moved")).unwrap();
        symlink("other", real.join("www")).unwrap();
        assert_eq!(text(checked.open().unwrap()), "checked", "the folder is held open");
    }
}
