//! Walks the folder that is pushed: which files belong to the bundle, and what is wrong with the others.
//!
//! Links are followed inside the folder and refused where they lead out of it, in circles or nowhere. What is most
//! likely secret or left there by a tool is left out, also where a link of another name leads to it. The folder of the
//! backend, which [`server`] walks over by other rules, is no page of anybody's.

mod folders;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use devanture_config::leave_out::is_left_out;
use devanture_config::mistake::{Mistake, Weight};
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::site_toml::{FILE_NAME, overlay_of};

use crate::exit::Failure;
use crate::hash::{self, HashError, Hashed};
use crate::report::{byte_text, counted};

pub(crate) use folders::{Folders, Pages};
pub(crate) use server::ServerScan;

/// Most files that are walked over; the edge's own limit may be lower.
const FILES_MAX: usize = 10_000_000;
/// Most folders below one another.
const DEPTH_MAX: usize = 256;

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it holds.
    pub(crate) hashed: Hashed,
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The files by their paths in the bundle.
    pub(crate) files: BTreeMap<BundlePath, FoundFile>,
    /// Paths that were left out.
    pub(crate) left_out: Vec<String>,
    /// The folder of the backend, where there is one.
    pub(crate) server: Option<ServerScan>,
}

impl Scan {
    /// Files of both folders, links of the backend's among them.
    pub(crate) fn count(&self) -> u64 {
        self.files.len() as u64 + self.server.as_ref().map_or(0, ServerScan::count)
    }

    /// Bytes of all files together.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.page_bytes().saturating_add(self.server.as_ref().map_or(0, ServerScan::total_bytes))
    }

    /// Bytes of all pages together.
    fn page_bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, file| sum.saturating_add(file.hashed.bytes))
    }

    /// How many files there are, and how many bytes they have.
    pub(crate) fn text(&self) -> String {
        let of = |count, bytes| format!("{}, {}", counted(count, "file"), byte_text(bytes));
        let pages = || of(self.files.len() as u64, self.page_bytes());
        match &self.server {
            None => pages(),
            Some(server) if self.files.is_empty() => format!("server {}", of(server.count(), server.total_bytes())),
            Some(server) => format!("{} · server {}", pages(), of(server.count(), server.total_bytes())),
        }
    }
}

/// Walks `root`, a folder of pages, and hashes what it finds.
///
/// With `strict`, what would be left out is refused.
///
/// # Errors
/// `missing_folder`, `empty_bundle`; `bad_bundle` and `unreadable_file` with everything that is wrong.
#[cfg(test)]
pub(crate) fn scan(root: &Path, strict: bool) -> Result<Scan, Failure> {
    scan_apart(root, None, strict)
}

/// Walks `root`, and passes over the folder `apart`, which has no link in its path.
fn scan_apart(root: &Path, apart: Option<PathBuf>, strict: bool) -> Result<Scan, Failure> {
    let shown = root.display().to_string();
    let hint = "build the site first, or say which folder it is: `devanture push DIR`, or `www` in devanture.toml";
    let real_root = real_folder(root, hint)?;
    let mut walk = Walk { root: real_root.clone(), shown, apart, ..Walk::default() };
    walk.folder(&real_root, "", &mut Vec::new());
    if strict {
        walk.refuse_left_out();
    }
    let left_out = std::mem::take(&mut walk.left_out);
    let scan = Scan { files: walk.hashed().collect(), left_out, server: None };
    walk.finish()?;
    if scan.files.is_empty() {
        let failure = Failure::new(Code::EmptyBundle, format!("The folder `{}` holds no file to publish.", walk.shown));
        let hint = match scan.left_out.as_slice() {
            [] => "build the site first".to_owned(),
            left_out => format!("only {} was found, which is left out", left_out.join(", ")),
        };
        return Err(failure.hint(hint));
    }
    Ok(scan)
}

/// The folder without links in its path; `hint` says what to do where it is none.
fn real_folder(root: &Path, hint: &str) -> Result<PathBuf, Failure> {
    let shown = root.display();
    let missing =
        |why: &str| Failure::new(Code::MissingFolder, format!("The folder `{shown}` {why}.")).hint(hint.to_owned());
    let real_root = fs::canonicalize(root).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing("does not exist"),
        _ => Failure::new(Code::UnreadableFile, format!("The folder `{shown}` cannot be read: {error}.")),
    })?;
    if real_root.is_dir() { Ok(real_root) } else { Err(missing("is not a folder")) }
}

#[derive(Default)]
struct Walk {
    /// The folder, without links.
    root: PathBuf,
    /// The folder as the person knows it.
    shown: String,
    /// A folder that is passed over, without links.
    apart: Option<PathBuf>,
    /// By path in the bundle: the path as the file system spells it, and where it leads.
    found: BTreeMap<BundlePath, (String, PathBuf)>,
    left_out: Vec<String>,
    mistakes: Vec<Mistake>,
    has_refused: bool,
    is_full: bool,
}

impl Walk {
    /// Walks `folder`, which has no link in its path; `relative` is how it was reached; `above` is every folder on the way.
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
            Err(error) => {
                self.unreadable(relative, &error.to_string());
                return;
            }
        };
        // The order of a folder is the file system's own; what is reported must not depend on it.
        entries.sort_by_key(fs::DirEntry::file_name);
        above.push(folder.to_owned());
        for entry in entries {
            if self.is_full {
                break;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let name = format!("{}{}", prefix(relative), name.to_string_lossy());
                self.refuse(&name, "its name is not UTF-8", Some("rename it"));
                continue;
            };
            let path = format!("{}{name}", prefix(relative));
            if relative.is_empty() && overlay_of(FILE_NAME, name).is_some() {
                // It was read beside `devanture.toml`, and travels within the manifest.
                continue;
            }
            if is_left_out(name) {
                self.left_out.push(path);
            } else {
                self.entry(&entry, path, above);
            }
        }
        above.pop();
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
            drop(self.file(path, entry.path()));
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
        let Ok(inside) = target.strip_prefix(&self.root) else {
            let why = format!("it is a link that leads out of the folder, to {}", target.display());
            return self.refuse(&path, &why, Some("put a copy in its place"));
        };
        if self.is_apart(&target) {
            return;
        }
        // A harmless name must not publish what another name keeps out.
        if inside.to_str().is_some_and(|inside| overlay_of(FILE_NAME, inside).is_some()) {
            return;
        }
        if inside.components().any(|part| part.as_os_str().to_str().is_some_and(is_left_out)) {
            self.left_out.push(path);
        } else if target.is_dir() {
            self.folder(&target, &path, above);
        } else if target.is_file() {
            drop(self.file(path, target));
        } else {
            self.refuse(&path, "it is a link to what is neither a file nor a folder", Some("remove it"));
        }
    }

    /// Whether it stands in the folder that is passed over.
    fn is_apart(&self, real: &Path) -> bool {
        self.apart.as_ref().is_some_and(|apart| real.starts_with(apart))
    }

    /// The path in the bundle, where it can be one.
    fn key(&mut self, path: &str) -> Option<BundlePath> {
        let key = BundlePath::normalised(path);
        key.map_err(|error| self.refuse(path, &error.to_string(), Some("rename it"))).ok()
    }

    /// Adds a file. Returns its path in the bundle, where it was added.
    fn file(&mut self, path: String, real: PathBuf) -> Option<BundlePath> {
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
        self.found.insert(key.clone(), (path, real));
        Some(key)
    }

    fn refuse_left_out(&mut self) {
        for path in self.left_out.clone() {
            self.refuse(&path, "it is not published", Some("remove it, or push without --strict, which leaves it out"));
        }
    }

    /// The files that were found, with what they hold.
    fn hashed(&mut self) -> impl Iterator<Item = (BundlePath, FoundFile)> + use<> {
        let mut files = Vec::new();
        let mut found = std::mem::take(&mut self.found);
        // What is refused already need not be read.
        if self.has_refused {
            found.clear();
        }
        let paths: Vec<PathBuf> = found.values().map(|(_, real)| real.clone()).collect();
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
        let file =
            if path.is_empty() { self.shown.clone() } else { format!("{}/{path}", self.shown.trim_end_matches('/')) };
        let hint = hint.map(str::to_owned);
        self.mistakes.push(Mistake { file, line: 0, weight: Weight::Mistake, message, hint });
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let mistakes = std::mem::take(&mut self.mistakes);
        let count = match mistakes.len() {
            0 => return Ok(()),
            1 => "something".to_owned(),
            count => format!("{count} things"),
        };
        let (code, what) = match self.has_refused {
            true => (Code::BadBundle, "cannot be published"),
            false => (Code::UnreadableFile, "cannot be read"),
        };
        let message = format!("The folder `{}` holds {count} that {what}.", self.shown);
        Err(Failure::new(code, message).with_mistakes(mistakes))
    }
}

fn prefix(relative: &str) -> String {
    if relative.is_empty() { String::new() } else { format!("{relative}/") }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use devanture_config::Digest;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    pub(super) struct Folder(pub(super) tempfile::TempDir);

    impl Folder {
        pub(super) fn new(files: &[&str]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            for path in files {
                folder.file(path);
            }
            folder
        }

        pub(super) fn path(&self) -> PathBuf {
            self.0.path().join("www")
        }

        fn file(&self, path: &str) {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = fs::OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
            file.write_all(path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }

        pub(super) fn link(&self, path: &str, target: impl AsRef<Path>) {
            symlink(target, self.path().join(path)).unwrap();
        }

        fn scan(&self) -> Result<Scan, Failure> {
            scan(&self.path(), false)
        }

        fn names(&self) -> Vec<String> {
            self.scan().unwrap().files.keys().map(ToString::to_string).collect()
        }

        fn refused(&self) -> (String, String) {
            let failure = self.scan().unwrap_err();
            (failure.code.clone(), failure.to_string())
        }
    }

    #[test]
    fn files_are_found_in_order_with_their_digests() {
        let folder = Folder::new(&["b.js", "a/c.css", "index.html", ".well-known/x"]);
        assert_eq!(folder.names(), [".well-known/x", "a/c.css", "b.js", "index.html"]);
        let scan = folder.scan().unwrap();
        assert_eq!(scan.files["a/c.css"].hashed.digest, Digest::of(b"c.css"));
        assert_eq!(scan.total_bytes(), 20);
    }

    #[test]
    fn secrets_and_litter_are_left_out_with_a_word_and_refused_when_strict() {
        let left_out =
            [".DS_Store", ".env", ".env.local", ".git/config", "a/key.PEM", "node_modules/x/index.js", "server.key"];
        let folder = Folder::new(&left_out);
        assert_eq!(folder.scan().unwrap_err().code, "empty_bundle");
        folder.file("index.html");
        folder.file("monkey");
        let scan = folder.scan().unwrap();
        assert_eq!(
            scan.left_out,
            [".DS_Store", ".env", ".env.local", ".git", "a/key.PEM", "node_modules", "server.key"]
        );
        assert_eq!(folder.names(), ["index.html", "monkey"]);
        let failure = super::scan(&folder.path(), true).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.mistakes.len()), ("bad_bundle", 7));
    }

    #[test]
    fn overlays_are_no_files_of_the_bundle() {
        let folder = Folder::new(&["a/devanture.staging.toml", "devanture.staging.toml", "devanture.toml"]);
        folder.link("config.txt", "devanture.staging.toml");
        // They were read, so that there is nothing to be told about them.
        let scan = scan(&folder.path(), true).unwrap();
        assert_eq!(folder.names(), ["a/devanture.staging.toml", "devanture.toml"]);
        assert!(scan.left_out.is_empty());
    }

    #[test]
    fn links_inside_the_folder_are_followed() {
        let folder = Folder::new(&["a/b.txt", "index.html"]);
        folder.link("again", "a");
        folder.link("home.html", "index.html");
        folder.link("absolute", folder.path().join("a/b.txt"));
        assert_eq!(folder.names(), ["a/b.txt", "absolute", "again/b.txt", "home.html", "index.html"]);
        let whole = folder.0.path().join("link-to-www");
        symlink(folder.path(), &whole).unwrap();
        assert_eq!(scan(&whole, false).unwrap(), folder.scan().unwrap());
    }

    #[test]
    fn links_that_lead_out_or_nowhere_are_refused_all_at_once() {
        let folder = Folder::new(&["index.html"]);
        folder.link("passwd", "/etc/passwd");
        folder.link("up", "..");
        folder.link("nothing", "not-there");
        folder.link("self", "self");
        let (code, text) = folder.refused();
        assert_eq!(code, "bad_bundle");
        assert!(text.contains("www/passwd: it is a link that leads out of the folder"), "{text}");
        assert!(text.contains("www/up: it is a link that leads out"), "{text}");
        assert!(text.contains("www/nothing: it is a link that leads to nothing"), "{text}");
        assert!(text.contains("www/self: it is a link that cannot be followed"), "{text}");
    }

    #[test]
    fn circles_are_refused() {
        let folder = Folder::new(&["a/b/c.txt"]);
        folder.link("a/b/up", "..");
        let (code, text) = folder.refused();
        assert_eq!(code, "bad_bundle");
        assert!(text.contains("www/a/b/up: it leads in a circle"), "{text}");
        let folder = Folder::new(&["index.html"]);
        folder.link("whole", ".");
        assert!(folder.refused().1.contains("www/whole: it leads in a circle"));
        let folder = Folder::new(&["x/1", "y/2"]);
        folder.link("x/to-y", "../y");
        folder.link("y/to-x", "../x");
        assert!(folder.refused().1.contains("in a circle"));
    }

    #[test]
    fn a_harmless_name_does_not_publish_a_secret() {
        let folder = Folder::new(&["index.html", ".env", ".git/config"]);
        folder.link("config.txt", ".env");
        folder.link("history", ".git");
        let scan = folder.scan().unwrap();
        assert_eq!(scan.files.len(), 1);
        assert_eq!(scan.left_out, [".env", ".git", "config.txt", "history"]);
    }

    #[test]
    fn names_are_brought_to_nfc_and_a_clash_is_refused() {
        let folder = Folder::new(&["u\u{308}.txt"]);
        assert_eq!(folder.names(), ["\u{fc}.txt"]);
        folder.file("\u{fc}.txt");
        let (code, text) = folder.refused();
        assert_eq!(code, "bad_bundle");
        assert!(text.contains("spelled otherwise in Unicode"), "{text}");
    }

    #[test]
    fn names_that_no_bundle_can_hold_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        let folder = Folder::new(&["a\\b", "c\nd"]);
        let latin = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        drop(fs::OpenOptions::new().create_new(true).write(true).open(latin).unwrap());
        let failure = folder.scan().unwrap_err();
        assert_eq!((failure.code.as_str(), failure.mistakes.len()), ("bad_bundle", 3), "{failure}");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = Folder::new(&["index.html"]);
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        folder.link("to-socket", "socket");
        let failure = folder.scan().unwrap_err();
        assert_eq!((failure.code.as_str(), failure.mistakes.len()), ("bad_bundle", 2), "{failure}");
    }

    #[test]
    fn a_missing_folder_and_an_empty_one_have_their_own_codes() {
        let folder = Folder::new(&[]);
        assert_eq!(folder.refused().0, "missing_folder");
        fs::create_dir_all(folder.path().join("empty")).unwrap();
        assert_eq!(folder.refused().0, "empty_bundle");
        folder.file("_redirects");
        assert_eq!(folder.names(), ["_redirects"]);
        assert_eq!(scan(&folder.path().join("_redirects"), false).unwrap_err().code, "missing_folder");
    }
}
