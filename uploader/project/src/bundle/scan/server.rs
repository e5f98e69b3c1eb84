//! Walks the folder of the backend: all entries unchanged, with run bits and links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use devanture_config::manifest::{InterpreterName, stays_within};
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::site_toml::{FILE_NAME, LeaveOut};

use super::{DEPTH_MAX, FILES_MAX, FoundFile, Reading, Walk, prefix};
use crate::ProjectError;
use crate::beneath::FilePath;
use crate::boundary::Place;
use crate::bundle::hash::hash_all;
use crate::platform::may_run;

/// The result of a walk over the folder of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerScan {
    /// The folder as the user knows it.
    pub folder: PathBuf,
    /// The files by their paths in the folder, with their run bits.
    pub files: BTreeMap<BundlePath, (FoundFile, bool)>,
    /// Links by their paths in the folder, with their targets.
    pub links: BTreeMap<BundlePath, String>,
    /// Paths left out by `exclude`.
    pub excluded: Vec<String>,
}

impl ServerScan {
    /// Files and links.
    pub fn count(&self) -> u64 {
        (self.files.len() + self.links.len()) as u64
    }

    /// Numbers of files and bytes.
    pub fn text(&self) -> String {
        super::files_text(self.count(), self.total_bytes())
    }

    /// Returns the JSON form.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "files": self.count(), "bytes": self.total_bytes() })
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, (file, _)| sum.saturating_add(file.hashed.bytes))
    }
}

/// Walks the folder of a backend and hashes the found files. Returns the mistakes beside the found files:
/// `missing_folder`, `empty_bundle`; `bad_bundle` and `unreadable_file` with all mistakes.
pub(super) fn walk(place: &Place, leave_out: LeaveOut, reading: Reading) -> (Option<ServerScan>, Option<ProjectError>) {
    if place.is_image() {
        return match archive(place) {
            Ok(scan) => (Some(scan), None),
            Err(failure) => (None, Some(failure)),
        };
    }
    let hint = format!("build the backend first, or say where it is: `dir` below [server] in {FILE_NAME}");
    let root = match place.open_folder(&hint) {
        Ok(root) => root,
        Err(failure) => return (None, Some(failure)),
    };
    let walk = Walk::new(root.clone(), place, leave_out);
    let mut walk = ServerWalk { walk, links: BTreeMap::new(), runs: BTreeSet::new() };
    walk.folder(root.path(), "", 0);
    let mut scan = ServerScan {
        folder: place.path().to_owned(),
        links: std::mem::take(&mut walk.links),
        excluded: std::mem::take(&mut walk.walk.excluded),
        ..Default::default()
    };
    let runs = std::mem::take(&mut walk.runs);
    for (path, file) in walk.walk.hashed(reading) {
        let may_run = runs.contains(&path);
        scan.files.insert(path, (file, may_run));
    }
    let failure = walk.walk.finish().or_else(|| {
        scan.files.is_empty().then(|| {
            let message = format!("The folder `{}` of the backend holds no file.", walk.walk.shown);
            ProjectError::new(Code::EmptyBundle, message).hint("build the backend first")
        })
    });
    (Some(scan), failure)
}

/// Scans the file of a container image, which stands for the whole folder.
fn archive(place: &Place) -> Result<ServerScan, ProjectError> {
    let hint = format!("build the image first, or say where it is: `image` below [server] in {FILE_NAME}");
    let shown = place.path().display();
    let cannot = |error: &dyn std::fmt::Display| {
        ProjectError::new(Code::UnreadableFile, format!("The image `{shown}` cannot be read: {error}."))
            .hint(hint.clone())
    };
    let folder = place.parent().open_folder(&hint)?;
    let name = place.path().file_name().and_then(|name| name.to_str()).ok_or_else(|| cannot(&"it has no name"))?;
    let path = FilePath::new(&folder, PathBuf::from(name));
    let key = name.parse::<BundlePath>().map_err(|error| cannot(&error))?;
    let hashed = hash_all(std::slice::from_ref(&path)).pop().ok_or_else(|| cannot(&"it is not there"))?;
    let hashed = hashed.map_err(|error| cannot(&error))?;
    let files = BTreeMap::from([(key, (FoundFile { path, hashed }, false))]);
    Ok(ServerScan { folder: place.path().to_owned(), files, ..Default::default() })
}

struct ServerWalk {
    /// The part in common with a walk over pages.
    walk: Walk,
    links: BTreeMap<BundlePath, String>,
    /// Executable files.
    runs: BTreeSet<BundlePath>,
}

impl ServerWalk {
    /// Walks `folder`, at depth `depth`; `relative` is the walked path. Follows no link.
    fn folder(&mut self, folder: &Path, relative: &str, depth: usize) {
        if depth >= DEPTH_MAX {
            return self.walk.refuse(relative, &format!("more than {DEPTH_MAX} folders stand in one another"), None);
        }
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(_) if self.walk.is_below_left_out => return,
            Err(error) => return self.walk.unreadable(relative, &error.to_string()),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if self.walk.is_full {
                return;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.walk.refuse_name(relative, &name);
                continue;
            };
            let (path, before) = (format!("{}{name}", prefix(relative)), self.walk.is_below_left_out);
            if self.walk.is_walked(&entry, &path) {
                self.entry(&entry, path, depth);
            }
            self.walk.is_below_left_out = before;
        }
    }

    fn entry(&mut self, entry: &fs::DirEntry, path: String, depth: usize) {
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => return self.walk.unreadable(&path, &error.to_string()),
        };
        if kind.is_symlink() {
            self.link(&entry.path(), &path);
        } else if kind.is_dir() {
            self.folder(&entry.path(), &path, depth + 1);
        } else if kind.is_file() {
            let may_run = entry.metadata().is_ok_and(|metadata| may_run(&metadata));
            if let Some(key) = self.walk.file(path, &entry.path())
                && may_run
            {
                self.runs.insert(key);
            }
        } else {
            self.walk.refuse(&path, "it is neither a file nor a folder nor a link", Some("remove it"));
        }
    }

    fn link(&mut self, link: &Path, path: &str) {
        let target = match fs::read_link(link) {
            Ok(target) => target,
            Err(error) => return self.walk.unreadable(path, &error.to_string()),
        };
        let Some(key) = self.walk.key(path) else { return };
        let within = target.to_str().filter(|target| stays_within(&key, target)).map(str::to_owned);
        match within.or_else(|| interpreter(link).map(|name| name.link())) {
            Some(target) if self.links.len() < FILES_MAX => drop(self.links.insert(key, target)),
            Some(_) => {
                self.walk.is_full = true;
                self.walk.refuse(path, &format!("the folder holds more than {FILES_MAX} links"), None);
            }
            None => {
                let why =
                    format!("it is a link that leads out of the folder, or is no plain path: {}", target.display());
                self.walk.refuse(path, &why, Some("make it lead to a file of the folder, from where it stands"));
            }
        }
    }
}

/// Returns the interpreter at the target of a link in a virtual environment: the edge has its own interpreter of that
/// name.
fn interpreter(link: &Path) -> Option<InterpreterName> {
    let program = fs::canonicalize(link).ok()?;
    let runs = fs::metadata(&program).is_ok_and(|found| found.is_file() && may_run(&found));
    program.file_name()?.to_str()?.parse().ok().filter(|_| runs)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use devanture_config::Digest;
    use devanture_config::manifest::halves::Half;
    use devanture_config::site_toml::FolderGlobs;
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, symlink};

    fn scan(folder: &Path) -> Result<ServerScan, ProjectError> {
        let leave_out = FolderGlobs::default().of(Half::Backend);
        let (scan, failure) = walk(&Place::anywhere(folder.to_owned()), leave_out, Reading::OnlySound);
        failure.map_or_else(|| Ok(scan.unwrap()), Err)
    }

    fn folder(files: &[(&str, u32)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, mode) in files {
            let at = folder.path().join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(*mode).open(&at).unwrap();
            file.write_all(path.as_bytes()).unwrap();
        }
        folder
    }

    #[test]
    fn everything_of_a_backend_is_kept_as_it_is() {
        let folder = folder(&[
            ("server.js", 0o644),
            ("bin/run", 0o744),
            ("for-others", 0o655),
            (".env.example", 0o600),
            ("node_modules/a/index.js", 0o644),
            (".git/config", 0o644),
            ("sub/.git/config", 0o644),
        ]);
        symlink("../a/index.js", folder.path().join("node_modules/link")).unwrap_or_default();
        symlink("node_modules/a", folder.path().join("a")).unwrap();
        fs::create_dir(folder.path().join("empty")).unwrap();
        let scan = scan(folder.path()).unwrap();
        let files: Vec<(&str, bool)> = scan.files.iter().map(|(path, (_, run))| (path.as_str(), *run)).collect();
        assert_eq!(
            files,
            [
                (".env.example", false),
                ("bin/run", true),
                ("for-others", false),
                ("node_modules/a/index.js", false),
                ("server.js", false),
            ]
        );
        let links: Vec<(&str, &str)> = scan.links.iter().map(|(path, to)| (path.as_str(), to.as_str())).collect();
        assert_eq!(links, [("a", "node_modules/a"), ("node_modules/link", "../a/index.js")]);
        assert_eq!(scan.files["server.js"].0.hashed.digest, Digest::of(b"server.js"));
        assert_eq!((scan.count(), scan.total_bytes()), (7, 9 + 7 + 10 + 12 + 23));
    }

    #[test]
    fn links_that_lead_out_are_mistakes_that_name_them() {
        let folder = folder(&[("server.js", 0o644)]);
        symlink("/etc/passwd", folder.path().join("passwd")).unwrap();
        symlink("../secret", folder.path().join("up")).unwrap();
        let failure = scan(folder.path()).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.mistakes.len()), ("bad_bundle", 2));
        assert!(failure.mistakes[0].file.ends_with("/passwd"), "{failure}");
        assert!(failure.mistakes[0].message.contains("/etc/passwd"), "{failure}");
    }

    #[test]
    fn a_link_to_an_interpreter_outside_is_its_name() {
        let elsewhere = folder(&[("python3.11", 0o755), ("node", 0o755), ("python3.12", 0o644), ("tool", 0o755)]);
        symlink("python3.11", elsewhere.path().join("python3")).unwrap();
        let folder = folder(&[("app.py", 0o644)]);
        for (link, program) in [("python", "python3"), ("node", "node")] {
            symlink(elsewhere.path().join(program), folder.path().join(link)).unwrap();
        }
        let links = scan(folder.path()).unwrap().links;
        let links: Vec<(&str, &str)> = links.iter().map(|(path, to)| (path.as_str(), to.as_str())).collect();
        assert_eq!(links, [("node", "/interpreters/node"), ("python", "/interpreters/python3.11")]);
        // Targets that cannot be run, and unrelated programs, are not interpreters.
        for (link, program) in [("a", "python3.12"), ("b", "tool"), ("c", "python3.13")] {
            symlink(elsewhere.path().join(program), folder.path().join(link)).unwrap();
        }
        assert_eq!(scan(folder.path()).unwrap_err().mistakes.len(), 3);
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_folder_must_be_there_and_hold_something() {
        let folder = folder(&[("server.js", 0o644)]);
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        assert!(scan(folder.path()).unwrap_err().mistakes[0].file.ends_with("/socket"));
        let missing = scan(&folder.path().join("not-there")).unwrap_err();
        assert!(missing.is(Code::MissingFolder) && missing.hint.unwrap().contains("build the backend first"));
        let empty = tempfile::tempdir().unwrap();
        assert!(scan(empty.path()).unwrap_err().is(Code::EmptyBundle));
    }
}
