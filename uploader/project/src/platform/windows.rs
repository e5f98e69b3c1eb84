//! Windows, and all systems other than Unix: no run bits, no inodes, and a weaker guarantee that no link is followed.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// There are no run bits.
pub(crate) fn may_run(_metadata: &Metadata) -> bool {
    false
}

/// Returns true if the file has the name of a program.
pub fn is_program(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("exe")) && path.is_file()
}

/// Not known; the length and the time of change tell files apart.
pub(crate) fn identity(_metadata: &Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

/// A folder by its path. Links are looked for before an entry is opened: a link created in between is followed.
#[derive(Debug, Clone)]
pub(crate) struct OpenFolder(Arc<Path>);

impl OpenFolder {
    /// Opens the folder at `path`, which contains no link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path.is_dir() { Ok(Self(path.into())) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    /// Opens a folder beneath this one, by plain names.
    pub(crate) fn folder(&self, relative: &Path) -> io::Result<Self> {
        Self::open(&self.without_links(relative)?)
    }

    /// Opens a file beneath this folder, by plain names, for reading.
    pub(crate) fn file(&self, relative: &Path) -> io::Result<File> {
        File::open(self.without_links(relative)?)
    }

    /// Returns the whole path, if no component below the folder is a link now.
    fn without_links(&self, relative: &Path) -> io::Result<PathBuf> {
        let mut path = self.0.to_path_buf();
        for name in relative {
            path.push(name);
            if path.symlink_metadata()?.file_type().is_symlink() {
                return Err(io::Error::other("a link stands in its path"));
            }
        }
        Ok(path)
    }
}
