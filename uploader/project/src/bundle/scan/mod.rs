//! Walks the pushed folder: selects the files of the bundle, and reports mistakes of the rest.
//!
//! Links are followed inside the folder and refused if they lead out of it, in circles or to a missing target. Files
//! that are probably secret, left there by a tool or meant for a different provider, or named by `exclude`, are left
//! out, even behind a link of a different name. The folder of the backend, which [`server`] walks by separate rules, is
//! hidden from visitors.

mod folders;
mod server;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use devanture_config::parsing::{Mistake, Weight};
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::site_toml::{FILE_NAME, LeaveOut, LeftOutReason, overlay_of};
use devanture_config::text::{byte_text, counted};

use super::hash::{self, HashError, Hashed};
use crate::ProjectError;
use crate::beneath::{FilePath, Folder};
use crate::boundary::Place;

pub use server::ServerScan;

/// Upper bound of walked files; the edge's own limit may be lower.
const FILES_MAX: usize = 10_000_000;
/// Upper bound of nested folders.
const DEPTH_MAX: usize = 256;

/// The reason and the remedy for a left-out path that `--strict` refuses.
const NOT_PUBLISHED: &str = "it is not published";
const NOT_PUBLISHED_HINT: &str = "remove it, or push without --strict, which leaves it out";

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// The path.
    pub path: FilePath,
    /// The content.
    pub hashed: Hashed,
}

/// The result of a walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// The files by their paths in the bundle.
    pub files: BTreeMap<BundlePath, FoundFile>,
    /// Paths left out by their names.
    pub left_out: Vec<String>,
    /// Paths left out by `exclude`.
    pub excluded: Vec<String>,
    /// The folder of the backend, if any.
    pub server: Option<ServerScan>,
}

impl Scan {
    /// Returns the number of files in both folders, including the backend's links.
    pub fn count(&self) -> u64 {
        self.files.len() as u64 + self.server.as_ref().map_or(0, ServerScan::count)
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.page_bytes().saturating_add(self.server.as_ref().map_or(0, ServerScan::total_bytes))
    }

    /// Bytes of all pages together.
    fn page_bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, file| sum.saturating_add(file.hashed.bytes))
    }

    /// Returns a file or link of this scan that a later scan of the same folders lacks; `www` is the folder of the
    /// pages.
    pub fn first_gone_in(&self, later: &Self, www: &Path) -> Option<String> {
        let shown = |folder: &Path, path: &BundlePath| folder.join(path.as_str()).display().to_string();
        let gone = self.files.keys().find(|path| !later.files.contains_key(*path));
        if let Some(path) = gone {
            return Some(shown(www, path));
        }
        let server = self.server.as_ref()?;
        let is_there = |path: &BundlePath| {
            later.server.as_ref().is_some_and(|now| now.files.contains_key(path) || now.links.contains_key(path))
        };
        let gone = server.files.keys().chain(server.links.keys()).find(|path| !is_there(path))?;
        Some(shown(&server.folder, gone))
    }

    /// Numbers of files and bytes.
    pub fn text(&self) -> String {
        let pages = || files_text(self.files.len() as u64, self.page_bytes());
        match &self.server {
            None => pages(),
            Some(server) if self.files.is_empty() => format!("server {}", server.text()),
            Some(server) => format!("{} · server {}", pages(), server.text()),
        }
    }
}

/// Numbers of files and bytes.
fn files_text(count: u64, bytes: u64) -> String {
    format!("{}, {}", counted(count, "file"), byte_text(bytes))
}

/// Selects the files that a walk reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// No file if any is refused, since no upload can follow.
    OnlySound,
    /// All files that are not refused themselves.
    All,
}

/// Walks `root`, a folder of pages, and hashes the found files.
///
/// With `strict`, files that would be left out are refused.
///
/// # Errors
/// `missing_folder`, `empty_bundle`; `bad_bundle` and `unreadable_file` with all mistakes.
#[cfg(test)]
pub(crate) fn scan(root: &Path, strict: bool) -> Result<Scan, ProjectError> {
    use devanture_config::manifest::halves::Half;
    use devanture_config::site_toml::FolderGlobs;

    let leave_out = FolderGlobs::default().of(Half::Front);
    let place = Place::anywhere(root.to_owned());
    let (scan, failure) = walk_apart(&place, None, leave_out, (strict, Reading::OnlySound));
    failure.map_or(Ok(scan), Err)
}

/// Opens the folder of pages.
fn open(place: &Place) -> Result<Folder, ProjectError> {
    place.open_folder(
        "build the site first, or say which folder it is: `devanture push DIR`, or `www` in devanture.toml",
    )
}

/// Walks `place`, except `apart`, a folder or a file without a link in its path. Returns the mistakes beside the found
/// files.
fn walk_apart(
    place: &Place,
    apart: Option<PathBuf>,
    leave_out: LeaveOut,
    (strict, reading): (bool, Reading),
) -> (Scan, Option<ProjectError>) {
    let root = match open(place) {
        Ok(root) => root,
        Err(failure) => return (Scan::default(), Some(failure)),
    };
    let mut walk = Walk { apart, ..Walk::new(root.clone(), place, leave_out) };
    walk.folder(root.path(), "", &mut Vec::new());
    if strict {
        walk.refuse_left_out();
    }
    let (left_out, excluded) = (std::mem::take(&mut walk.left_out), std::mem::take(&mut walk.excluded));
    let scan = Scan { files: walk.hashed(reading).collect(), left_out, excluded, server: None };
    let failure = walk.finish().or_else(|| {
        scan.files.is_empty().then(|| {
            let message = format!("The folder `{}` holds no file to publish.", walk.shown);
            let out: Vec<&str> = scan.left_out.iter().chain(&scan.excluded).map(String::as_str).collect();
            let hint = match out.as_slice() {
                [] => "build the site first".to_owned(),
                out => format!("only {} was found, which is left out", out.join(", ")),
            };
            ProjectError::new(Code::EmptyBundle, message).hint(hint)
        })
    });
    (scan, failure)
}

struct Walk {
    /// The folder, without links.
    root: Folder,
    /// The folder as the user knows it.
    shown: String,
    /// An excepted folder or file, without links.
    apart: Option<PathBuf>,
    leave_out: LeaveOut,
    /// Set if the walked folder is below a left-out folder, so that only paths of `include` count.
    is_below_left_out: bool,
    /// Found files by path in the bundle: the path as spelled by the file system, and its target.
    found: BTreeMap<BundlePath, (String, FilePath)>,
    left_out: Vec<String>,
    excluded: Vec<String>,
    mistakes: Vec<Mistake>,
    has_refused: bool,
    is_full: bool,
}

impl Walk {
    /// Creates a walk over `root`, the target of `place`.
    fn new(root: Folder, place: &Place, leave_out: LeaveOut) -> Self {
        Self {
            root,
            shown: place.path().display().to_string(),
            apart: None,
            leave_out,
            is_below_left_out: false,
            found: BTreeMap::new(),
            left_out: Vec::new(),
            excluded: Vec::new(),
            mistakes: Vec::new(),
            has_refused: false,
            is_full: false,
        }
    }

    /// Walks `folder`, which has no link in its path; `relative` is the walked path; `above` contains every folder on
    /// the way.
    fn folder(&mut self, folder: &Path, relative: &str, above: &mut Vec<PathBuf>) {
        if self.is_apart(folder) {
            return;
        }
        if above.iter().any(|known| known == folder) {
            self.refuse(relative, "it leads in a circle, to a folder that it stands in", None);
            return;
        }
        if above.len() >= DEPTH_MAX {
            self.refuse(relative, &format!("more than {DEPTH_MAX} folders stand in one another"), None);
            return;
        }
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(_) if self.is_below_left_out => return,
            Err(error) => {
                self.unreadable(relative, &error.to_string());
                return;
            }
        };
        // The order of a folder depends on the file system; the order of reports must not.
        entries.sort_by_key(fs::DirEntry::file_name);
        above.push(folder.to_owned());
        for entry in entries {
            if self.is_full {
                break;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.refuse_name(relative, &name);
                continue;
            };
            let path = format!("{}{name}", prefix(relative));
            if relative.is_empty() && overlay_of(FILE_NAME, name).is_some() {
                // The overlay was read beside `devanture.toml`, and travels within the manifest.
                continue;
            }
            let before = self.is_below_left_out;
            if self.is_walked(&entry, &path) {
                self.entry(&entry, path, above);
            }
            self.is_below_left_out = before;
        }
        above.pop();
    }

    /// Returns true if `entry` is walked: not left out, or a folder of which `include` may name a part. Left-out
    /// entries are recorded, without their content.
    fn is_walked(&mut self, entry: &fs::DirEntry, path: &str) -> bool {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let reason = self.leave_out.reason(path, is_folder, self.is_below_left_out);
        match reason {
            None | Some(LeftOutReason::Folder) => {}
            Some(LeftOutReason::Name) => self.left_out.push(path.to_owned()),
            Some(LeftOutReason::Excluded) => self.excluded.push(path.to_owned()),
        }
        self.is_below_left_out = reason.is_some();
        reason.is_none() || (is_folder && self.leave_out.may_include())
    }

    fn refuse_name(&mut self, relative: &str, name: &OsStr) {
        if !self.is_below_left_out {
            let name = format!("{}{}", prefix(relative), name.to_string_lossy());
            self.refuse(&name, "its name is not UTF-8", Some("rename it"));
        }
    }

    fn entry(&mut self, entry: &fs::DirEntry, path: String, above: &mut Vec<PathBuf>) {
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => return self.unreadable(&path, &error.to_string()),
        };
        if kind.is_symlink() {
            self.link(&entry.path(), path, above);
        } else if kind.is_dir() {
            self.folder(&entry.path(), &path, above);
        } else if kind.is_file() {
            if !self.is_apart(&entry.path()) {
                drop(self.file(path, &entry.path()));
            }
        } else {
            self.refuse(&path, "it is neither a file nor a folder nor a link", Some("remove it"));
        }
    }

    fn link(&mut self, link: &Path, path: String, above: &mut Vec<PathBuf>) {
        let target = match fs::canonicalize(link) {
            Ok(target) => target,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.refuse(
                    &path,
                    "it is a link that leads to nothing",
                    Some("remove it, or make what it names"),
                );
            }
            Err(error) => return self.refuse(&path, &format!("it is a link that cannot be followed: {error}"), None),
        };
        let Ok(inside) = target.strip_prefix(self.root.path()) else {
            let why = format!("it is a link that leads out of the folder, to {}", target.display());
            return self.refuse(&path, &why, Some("put a copy in its place"));
        };
        if self.is_apart(&target) {
            return;
        }
        // A harmless name must not publish a file that a different name keeps out.
        if inside.to_str().is_some_and(|inside| overlay_of(FILE_NAME, inside).is_some()) {
            return;
        }
        let parts: Vec<&str> = inside.components().filter_map(|part| part.as_os_str().to_str()).collect();
        if self.leave_out.covers(&parts.join("/"), target.is_dir()) {
            self.left_out.push(path);
        } else if target.is_dir() {
            self.folder(&target, &path, above);
        } else if target.is_file() {
            drop(self.file(path, &target));
        } else {
            self.refuse(&path, "it is a link to what is neither a file nor a folder", Some("remove it"));
        }
    }

    /// Returns true for the excepted path, and for paths below it.
    fn is_apart(&self, real: &Path) -> bool {
        // Pages within the excepted folder are named explicitly, as `public` of an application in PHP.
        let is_own = |apart: &PathBuf| self.root.path().starts_with(apart) && real.starts_with(self.root.path());
        self.apart.as_ref().is_some_and(|apart| real.starts_with(apart) && !is_own(apart))
    }

    /// Returns the path in the bundle, if valid.
    fn key(&mut self, path: &str) -> Option<BundlePath> {
        let key = BundlePath::normalised(path);
        key.map_err(|error| self.refuse(path, &error.to_string(), Some("rename it"))).ok()
    }

    /// Adds a file at `real` below the folder. Returns the path in the bundle if the file was added.
    fn file(&mut self, path: String, real: &Path) -> Option<BundlePath> {
        if self.found.len() >= FILES_MAX {
            self.is_full = true;
            self.refuse(&path, &format!("the folder holds more than {FILES_MAX} files"), None);
            return None;
        }
        let key = self.key(&path)?;
        if let Some((other, _)) = self.found.get(&key) {
            let (one, two) = (other.escape_unicode().to_string(), path.escape_unicode().to_string());
            let why = format!("its name is the same as another's, spelled otherwise in Unicode ({one} and {two})");
            self.refuse(&path, &why, Some("keep one of the two"));
            return None;
        }
        let within = real.strip_prefix(self.root.path()).unwrap_or(real).to_owned();
        self.found.insert(key.clone(), (path, FilePath::new(&self.root, within)));
        Some(key)
    }

    fn refuse_left_out(&mut self) {
        for path in self.left_out.clone() {
            self.refuse(&path, NOT_PUBLISHED, Some(NOT_PUBLISHED_HINT));
        }
    }

    /// Returns the found files, with their content.
    fn hashed(&mut self, reading: Reading) -> impl Iterator<Item = (BundlePath, FoundFile)> + use<> {
        let mut files = Vec::new();
        let mut found = std::mem::take(&mut self.found);
        if self.has_refused && reading == Reading::OnlySound {
            found.clear();
        }
        let paths: Vec<FilePath> = found.values().map(|(_, real)| real.clone()).collect();
        let answers = hash::hash_all(&paths);
        for ((key, (shown, path)), answer) in found.into_iter().zip(answers) {
            match answer {
                Ok(hashed) => {
                    files.push((key, FoundFile { path, hashed }));
                }
                Err(error @ (HashError::Changing | HashError::Io(_))) => self.unreadable(&shown, &error.to_string()),
            }
        }
        files.into_iter()
    }

    fn refuse(&mut self, path: &str, why: &str, hint: Option<&str>) {
        self.has_refused = true;
        self.report(path, why.to_owned(), hint);
    }

    fn unreadable(&mut self, path: &str, why: &str) {
        self.report(path, format!("it cannot be read: {why}"), None);
    }

    fn report(&mut self, path: &str, message: String, hint: Option<&str>) {
        let file = match (path, self.shown.as_str()) {
            ("", shown) => shown.to_owned(),
            (path, ".") => path.to_owned(),
            (path, shown) => format!("{}/{path}", shown.trim_end_matches('/')),
        };
        let hint = hint.map(str::to_owned);
        self.mistakes.push(Mistake { file, line: 0, weight: Weight::Mistake, message, hint });
    }

    /// Returns all mistakes, if any.
    fn finish(&mut self) -> Option<ProjectError> {
        let mistakes = std::mem::take(&mut self.mistakes);
        failure_of(&format!("The folder `{}`", self.shown), mistakes, self.has_refused)
    }
}

/// Returns the failure of a bundle with refused or unreadable files.
fn failure_of(bundle: &str, mistakes: Vec<Mistake>, has_refused: bool) -> Option<ProjectError> {
    let count = match mistakes.len() {
        0 => return None,
        1 => "something".to_owned(),
        count => format!("{count} things"),
    };
    let (code, what) = match has_refused {
        true => (Code::BadBundle, "cannot be published"),
        false => (Code::UnreadableFile, "cannot be read"),
    };
    Some(ProjectError::new(code, format!("{bundle} holds {count} that {what}.")).with_mistakes(mistakes))
}

/// Returns the failure of an archive with left-out paths, under `--strict`; `None` without such paths.
pub fn refuse_left_out_of_archive(shown: &str, left_out: &[String]) -> Option<ProjectError> {
    let mistake = |path: &String| Mistake {
        file: format!("{shown}/{path}"),
        line: 0,
        weight: Weight::Mistake,
        message: NOT_PUBLISHED.to_owned(),
        hint: Some(NOT_PUBLISHED_HINT.to_owned()),
    };
    failure_of(&format!("The archive `{shown}`"), left_out.iter().map(mistake).collect(), true)
}

fn prefix(relative: &str) -> String {
    if relative.is_empty() { String::new() } else { format!("{relative}/") }
}
