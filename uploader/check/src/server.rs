//! Secrets in the folder of the backend: hidden from visitors, but readable with the right to read the version's files.

use std::io::Read as _;

use devanture_config::path::BundlePath;
use devanture_config::site_toml::check::{CheckTable, SECRET};
use devanture_project::bundle::scan::{FoundFile, ServerScan};

use super::analyze::FILE_BYTES_MAX;
use super::finding::Finding;
use super::secrets;

/// The folder of third-party packages: their content is not a secret of this app.
const PACKAGES: &str = "node_modules";
/// Forms of a settings file that are meant to be read.
const EXAMPLES: [&str; 4] = [".env.dist", ".env.example", ".env.sample", ".env.template"];

/// Returns true if the file at `path` is a settings file by its name.
fn is_settings(path: &BundlePath) -> bool {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    (name == ".env" || name.starts_with(".env.")) && !EXAMPLES.contains(&name)
}

/// Returns true if the file at `path` belongs to a third-party package.
fn is_of_a_package(path: &BundlePath) -> bool {
    path.as_str().split('/').any(|segment| segment == PACKAGES)
}

/// Returns true if a file of a backend is a settings file, by its path.
#[must_use]
pub fn is_settings_of_a_backend(path: &BundlePath) -> bool {
    is_settings(path) && !is_of_a_package(path)
}

/// Doubts about secrets in the files of a backend, each file reported once.
pub(super) fn secrets(server: &ServerScan, table: &CheckTable) -> Vec<Finding> {
    let own = server.files.iter().filter(|(path, _)| !is_of_a_package(path));
    own.filter_map(|(path, (file, _))| finding(server, path, file, table)).collect()
}

fn finding(server: &ServerScan, path: &BundlePath, file: &FoundFile, table: &CheckTable) -> Option<Finding> {
    if table.ignores(SECRET, path.as_str(), None) {
        return None;
    }
    let what = if is_settings(path) {
        "a file of settings, which stays in every version that has it".to_owned()
    } else if file.hashed.bytes <= FILE_BYTES_MAX {
        // The upload reports unreadable files.
        let mut bytes = Vec::new();
        file.path.open().ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        secrets::scan(path.as_str(), &bytes).into_iter().find(|secret| secret.code == SECRET)?.what
    } else {
        return None;
    };
    Some(Finding {
        file: server.folder.join(path.as_str()).display().to_string(),
        line: 0,
        column: 0,
        code: SECRET,
        is_doubt: true,
        message: format!("the backend holds {what}"),
        hint: Some(
            "`devanture env set` gives settings and secrets to the instances of an environment, and `exclude` below \
             [server] leaves a file out"
                .to_owned(),
        ),
        target: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::site_toml::SiteFile;
    use devanture_project::Project;
    use std::fs;
    use std::io::Write as _;

    #[test]
    fn a_file_of_settings_in_a_backend_is_a_doubt_and_packages_are_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let key = format!("const a = \"ghp_{}\";", "a".repeat(36));
        for (path, text) in [
            (".env", "A=b"),
            (".env.example", "A="),
            ("node_modules/x/.env", "A=b"),
            ("node_modules/x/index.js", key.as_str()),
            ("server.js", key.as_str()),
            ("other.js", ""),
        ] {
            let path = folder.path().join("dist/server").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::OpenOptions::new().create_new(true).write(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        let site = SiteFile::parse("f", "[server]\ncommand = [\"node\"]\n").unwrap();
        let project = Project { folder: folder.path().to_owned(), site, ..Project::default() };
        let scan = project.folders(None).unwrap().scan(true).unwrap();
        let found = secrets(scan.server.as_ref().unwrap(), &CheckTable::default());
        let files: Vec<&str> = found.iter().map(|one| one.file.rsplit('/').next().unwrap()).collect();
        assert_eq!(files, [".env", "server.js"]);
        assert!(found.iter().all(|one| one.is_doubt && one.code == SECRET));
    }
}
