//! Files found, refused and left out by a walk over pages.

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

    fn scan(&self) -> Result<Scan, ProjectError> {
        scan(&self.path(), false)
    }

    fn names(&self) -> Vec<String> {
        self.scan().unwrap().files.keys().map(ToString::to_string).collect()
    }

    fn refused(&self) -> (String, String) {
        let failure = self.scan().unwrap_err();
        (failure.code.as_str().to_owned(), failure.to_string())
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
    assert_eq!(folder.scan().unwrap_err().code, Code::EmptyBundle);
    folder.file("index.html");
    folder.file("monkey");
    let scan = folder.scan().unwrap();
    assert_eq!(scan.left_out, [".DS_Store", ".env", ".env.local", ".git", "a/key.PEM", "node_modules", "server.key"]);
    assert_eq!(folder.names(), ["index.html", "monkey"]);
    let failure = super::scan(&folder.path(), true).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.mistakes.len()), ("bad_bundle", 7));
}

#[test]
fn overlays_are_no_files_of_the_bundle() {
    let folder = Folder::new(&["a/devanture.staging.toml", "devanture.staging.toml", "devanture.toml"]);
    folder.link("config.txt", "devanture.staging.toml");
    // The overlays were read, so that there is no report about them.
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
    let latin = folder.path().join(OsStr::from_bytes(b"caf\xe9"));
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
    assert_eq!(scan(&folder.path().join("_redirects"), false).unwrap_err().code, Code::MissingFolder);
}
