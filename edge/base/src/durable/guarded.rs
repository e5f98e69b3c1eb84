//! Reads in folders filled by another user: by descriptors, without links, regular files only. All files that root
//! reads belong to the owner of the folder, so that no user obtains the file of another user through root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::walk::FOLDER;
use super::{Error, failed};

/// Flags for opening the folder itself, a path chosen by the operator.
const TOP: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Flags for opening a file. A pipe is opened without waiting, and then refused.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
/// Maximum depth of folders.
const DEPTH_MAX: usize = 32;
/// Reason of a refusal.
const NO_FILE: &str = "it is a link or no regular file, and is not read";

/// Folder with files that are read although another user may change the content.
#[derive(Debug)]
pub struct Guarded {
    path: PathBuf,
    folder: OwnedFd,
    /// Required owner of files when root reads.
    owner: Option<u32>,
}

impl Guarded {
    /// Opens a folder by a path that may contain links, since the caller chose the path.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::of(openat(rustix::fs::CWD, path, TOP, Mode::empty()), path.to_owned())
    }

    /// Opens a subfolder. The files of the subfolder must belong to the subfolder's owner.
    ///
    /// # Errors
    /// [`Error::Io`], also for a link on the way.
    pub fn folder(&self, name: &str) -> Result<Self, Error> {
        Self::of(self.enter(Path::new(name)), self.path.join(name))
    }

    fn of(opened: Result<OwnedFd, Errno>, path: PathBuf) -> Result<Self, Error> {
        let found = opened.and_then(|folder| {
            let found = fstat(&folder)?;
            Ok((folder, found.st_uid))
        });
        let (folder, owner) = found.map_err(|errno| not_opened(&path, errno))?;
        let owner = rustix::process::geteuid().is_root().then_some(owner);
        Ok(Self { path, folder, owner })
    }

    /// Returns the names of the files below the folder `below`, each beginning with `below/`; empty if the folder is
    /// missing.
    ///
    /// # Errors
    /// [`Error::Io`], also for an entry that is neither a file nor a folder.
    pub fn files(&self, below: &str) -> Result<Vec<String>, Error> {
        let (mut folders, mut files) = (vec![below.to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            let opened = match self.enter(Path::new(&folder)) {
                // The folder was removed meanwhile, or never existed.
                Err(Errno::NOENT) => continue,
                opened => opened.map_err(|errno| not_opened(&self.path.join(&folder), errno))?,
            };
            let entries = list(&opened).map_err(|errno| not_opened(&self.path.join(&folder), errno))?;
            for (name, kind) in entries {
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                match kind {
                    FileType::Directory => folders.push(name),
                    FileType::RegularFile => files.push(name),
                    _ => return Err(refused(&self.path.join(name), NO_FILE)),
                }
            }
        }
        Ok(files)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`Error::Io`], also for a link on the way, for anything but a regular file and, if root reads, for a file with a
    /// different owner than the folder.
    pub fn file(&self, name: &str) -> Result<File, Error> {
        let (name, path) = (Path::new(name), self.path.join(name));
        let opened = self.enter(name.parent().unwrap_or_else(|| Path::new(""))).and_then(|folder| {
            let name: &OsStr = name.file_name().ok_or(Errno::INVAL)?;
            openat(&folder, name, FILE, Mode::empty())
        });
        let file = File::from(opened.map_err(|errno| not_opened(&path, errno))?);
        let found = file.metadata().map_err(failed("reading", &path))?;
        if !found.is_file() {
            return Err(refused(&path, NO_FILE));
        }
        if self.owner.is_some_and(|owner| owner != found.uid()) {
            let reason = format!("it belongs to another user than {}, and root does not read it", self.path.display());
            return Err(refused(&path, &reason));
        }
        Ok(file)
    }

    /// Reads a small file, opened as by [`Guarded::file`].
    ///
    /// # Errors
    /// Errors of [`Guarded::file`], and an error for a file with more than `bytes_max` bytes.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let (file, path) = (self.file(name)?, self.path.join(name));
        let mut bytes = Vec::new();
        let count = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed("reading", &path))?;
        match u64::try_from(count).is_ok_and(|count| count <= bytes_max) {
            true => Ok(bytes),
            false => Err(refused(&path, &format!("it has more than {bytes_max} bytes"))),
        }
    }

    /// Opens a subfolder without following links.
    fn enter(&self, below: &Path) -> Result<OwnedFd, Errno> {
        let mut folder = openat(&self.folder, c".", FOLDER, Mode::empty())?;
        for (depth, component) in below.components().enumerate() {
            let Component::Normal(name) = component else { return Err(Errno::INVAL) };
            if depth >= DEPTH_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            folder = openat(&folder, name, FOLDER, Mode::empty())?;
        }
        Ok(folder)
    }
}

/// Opens a file that another user may have replaced: without following links, and without waiting for a pipe or a
/// device, which is refused.
///
/// # Errors
/// Errors of the system, and an error of the kind `Other` for anything but a regular file.
pub fn open_file(path: &Path) -> std::io::Result<File> {
    let file = match openat(rustix::fs::CWD, path, FILE, Mode::empty()) {
        // System errors for a link, and for a socket or device without a server.
        Err(Errno::LOOP | Errno::NXIO) => return Err(std::io::Error::other(NO_FILE)),
        opened => File::from(opened?),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other(NO_FILE)) }
}

/// Returns the entries of a folder.
fn list(folder: &OwnedFd) -> Result<Vec<(String, FileType)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            stat => found.push((name.to_string_lossy().into_owned(), FileType::from_raw_mode(stat?.st_mode))),
        }
    }
    Ok(found)
}

fn not_opened(path: &Path, errno: Errno) -> Error {
    match errno {
        // System errors for a link that is not followed, and for a link in place of a folder.
        Errno::LOOP | Errno::NOTDIR => {
            refused(path, "a link, or what is no folder, is on the way, and is not followed")
        }
        errno => failed("opening", path)(errno.into()),
    }
}

fn refused(path: &Path, reason: &str) -> Error {
    failed("reading", path)(std::io::Error::other(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    use super::super::{make_folder, write_file};

    const OWNER: u32 = 2_100_000_105;

    fn folder_with(name: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        make_folder(&folder.path().join("tls/acme")).unwrap();
        write_file(&folder.path().join(name), b"secret", 0o600).unwrap();
        folder
    }

    #[test]
    fn files_are_listed_and_read() {
        let folder = folder_with("tls/acme/a.pem");
        let guarded = Guarded::open(folder.path()).unwrap();
        assert_eq!(guarded.files("tls").unwrap(), ["tls/acme/a.pem"]);
        assert_eq!(guarded.files("none").unwrap(), [""; 0]);
        assert_eq!(guarded.folder("tls/acme").unwrap().files("").unwrap(), ["a.pem"]);
        assert_eq!(guarded.read("tls/acme/a.pem", 6).unwrap(), b"secret");
        assert!(guarded.read("tls/acme/a.pem", 5).is_err());
        assert!(guarded.read("tls/../tls/acme/a.pem", 6).is_err());
    }

    #[test]
    fn folders_are_gone_into_to_a_bounded_depth() {
        let folder = tempfile::tempdir().unwrap();
        let deepest = vec!["d"; DEPTH_MAX].join("/");
        make_folder(&folder.path().join(&deepest).join("d")).unwrap();
        for name in [format!("{deepest}/file"), format!("{deepest}/d/file")] {
            write_file(&folder.path().join(name), b"bytes", 0o600).unwrap();
        }
        let guarded = Guarded::open(folder.path()).unwrap();
        assert_eq!(guarded.read(&format!("{deepest}/file"), 5).unwrap(), b"bytes");
        assert!(guarded.read(&format!("{deepest}/d/file"), 5).is_err());
        assert!(guarded.files("").is_err() && guarded.folder(&format!("{deepest}/d")).is_err());
    }

    #[test]
    fn no_link_is_followed_and_a_pipe_holds_nothing_up() {
        let folder = folder_with("secret");
        let (secret, tls) = (folder.path().join("secret"), folder.path().join("tls"));
        symlink(&secret, tls.join("ca.key")).unwrap();
        symlink(folder.path(), tls.join("d")).unwrap();
        let pipe = tls.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let guarded = Guarded::open(folder.path()).unwrap();
        for name in ["tls/ca.key", "tls/d/secret", "tls/d", "tls/pipe"] {
            let refused = guarded.read(name, 100).unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
        assert!(guarded.files("tls").is_err() && guarded.files("tls/d").is_err() && guarded.folder("tls/d").is_err());
        for path in [tls.join("ca.key"), pipe, tls.clone(), Path::new("/dev/null").to_owned()] {
            let refused = open_file(&path).unwrap_err();
            assert_eq!((refused.kind(), refused.to_string()), (std::io::ErrorKind::Other, NO_FILE.to_owned()));
        }
        assert_eq!(open_file(&tls.join("none")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
        open_file(&secret).unwrap();
    }

    #[test]
    fn root_reads_what_belongs_to_the_owner_of_the_folder_alone() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let folder = folder_with("tls/ca.key");
        chown(folder.path(), Some(OWNER), Some(OWNER)).unwrap();
        let refused = Guarded::open(folder.path()).unwrap().read("tls/ca.key", 100).unwrap_err().to_string();
        assert!(refused.contains("tls/ca.key") && refused.contains("another user"), "{refused}");
        chown(folder.path().join("tls/ca.key"), Some(OWNER), None).unwrap();
        assert_eq!(Guarded::open(folder.path()).unwrap().read("tls/ca.key", 100).unwrap(), b"secret");
    }
}
