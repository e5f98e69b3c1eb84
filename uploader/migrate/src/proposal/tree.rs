//! The files of a project, as read and listed by `init`: bounded, and without running any of them.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use devanture_project::platform;

/// Upper bound of bytes of a read file.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// Upper bound of listed entries of a folder.
const ENTRIES_MAX: usize = 10_000;

/// Access to the files of a project. Paths are relative to the project's folder, which is the empty path.
pub(super) trait Tree {
    /// Returns the text of a file; `None` if the file is missing.
    ///
    /// # Errors
    /// The reason why an existing file cannot be read, as a part of a sentence: links and files of more than 1 MiB are
    /// refused.
    fn read(&self, path: &str) -> Result<Option<String>, String>;
    /// Returns the text of a file; `None` if the file is missing, or cannot be read.
    fn text(&self, path: &str) -> Option<String> {
        self.read(path).ok().flatten()
    }
    /// Returns the names in a folder, in order; empty for a missing folder.
    fn names(&self, folder: &str) -> Vec<String>;
    /// Returns true for an existing file.
    fn is_file(&self, path: &str) -> bool;
    /// Returns true for an existing folder.
    fn is_folder(&self, path: &str) -> bool;
    /// Returns true for an existing executable file.
    fn is_program(&self, path: &str) -> bool;
}

/// Joins a folder, which may be empty, and a path in the folder.
pub(super) fn join(folder: &str, path: &str) -> String {
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

/// A project on the disk.
pub(super) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(super) fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

impl Tree for Disk {
    fn read(&self, path: &str) -> Result<Option<String>, String> {
        let path = self.folder.join(path);
        let file = match fs::symlink_metadata(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if file.is_symlink() {
            return Err("it is a link".to_owned());
        }
        if !file.is_file() {
            return Err("it is no file".to_owned());
        }
        if file.len() > TEXT_BYTES_MAX {
            return Err("it has more than 1 MiB".to_owned());
        }
        fs::read_to_string(path).map(Some).map_err(|error| error.to_string())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.join(folder)) else { return Vec::new() };
        let names = entries.take(ENTRIES_MAX).flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn is_file(&self, path: &str) -> bool {
        self.folder.join(path).is_file()
    }

    fn is_folder(&self, path: &str) -> bool {
        self.folder.join(path).is_dir()
    }

    fn is_program(&self, path: &str) -> bool {
        platform::is_program(&self.folder.join(path))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A project in memory: paths and texts.
    #[derive(Debug, Clone, Default)]
    pub(in super::super) struct Files(pub(in super::super) BTreeMap<String, String>);

    impl Files {
        pub(in super::super) fn new(files: &[(&str, &str)]) -> Self {
            Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
        }
    }

    impl Tree for Files {
        fn read(&self, path: &str) -> Result<Option<String>, String> {
            Ok(self.0.get(path).cloned())
        }

        fn names(&self, folder: &str) -> Vec<String> {
            let below = join(folder, "");
            let below = if folder.is_empty() { "" } else { &below };
            let paths = self.0.keys().filter_map(|path| path.strip_prefix(below));
            let mut names: Vec<String> = paths.filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
            names.dedup();
            names
        }

        fn is_file(&self, path: &str) -> bool {
            self.0.contains_key(path)
        }

        fn is_folder(&self, path: &str) -> bool {
            !self.names(path).is_empty()
        }

        fn is_program(&self, path: &str) -> bool {
            self.0.get(path).is_some_and(|text| text.starts_with("#!"))
        }
    }

    #[test]
    fn a_link_and_a_file_that_is_too_large_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| {
            use std::io::Write as _;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).open(folder.path().join(name)).unwrap();
            file.write_all(text).unwrap();
        };
        write("package.json", b"{}");
        write("large.json", &vec![b' '; usize::try_from(TEXT_BYTES_MAX).unwrap() + 1]);
        let disk = Disk::new(folder.path());
        assert_eq!(disk.text("package.json").as_deref(), Some("{}"));
        assert_eq!(disk.read("large.json"), Err("it has more than 1 MiB".to_owned()));
        assert_eq!((disk.read("missing.json"), disk.read("package.json/x")), (Ok(None), Ok(None)));
        assert_eq!(disk.names(""), ["large.json", "package.json"]);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("package.json", folder.path().join("link.json")).unwrap();
            assert_eq!((disk.read("link.json"), disk.text("link.json")), (Err("it is a link".to_owned()), None));
        }
    }
}
