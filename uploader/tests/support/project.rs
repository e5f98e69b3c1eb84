//! A project with a site built elsewhere.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// Makes a project whose folder `www` holds a copy of `site`, since a project's files must be inside its folder;
/// `settings` are the rest of `devanture.toml`.
pub(crate) fn with_site(app: &str, site: &Path, settings: &str) -> TempDir {
    let project = tempfile::tempdir().unwrap();
    copy(site, &project.path().join("www"));
    let toml = format!("app = {app:?}\nwww = \"www\"\n{settings}");
    fs::write(project.path().join("devanture.toml"), toml).unwrap();
    project
}

/// Copies the content of a folder into a second folder, created if missing.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { assert!(fs::copy(entry.path(), to).is_ok()) }
    }
}
