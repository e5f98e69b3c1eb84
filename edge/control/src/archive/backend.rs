//! The backend's half in an archive: the folder `server/` as it is, with run bits and links, and how it is started.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::Manifest;
use devanture_config::manifest::{ServerFile, ServerFolder};
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::procfile::PROCFILE;
use devanture_config::site_toml::{FILE_NAME, SiteFile, overlay_of};

use super::tree::{Tree, of_config};
use crate::ledger::Error;

/// The folder of the backend in an archive, whatever `dir` of `[server]` says of a project's own folder.
pub(super) const SERVER: &str = "server";
/// The folder of git, which no program needs to run.
const GIT: &str = ".git";

/// What an entry of the archive of a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Something of the folder `server/`.
    Folder,
    /// A file of settings in the root.
    Settings,
    /// Nothing that a backend has.
    Other,
}

/// Tells what of an archive belongs to its backend; everything may lie in one folder that wraps it.
pub(super) fn part(path: &str) -> Part {
    let mut segments = path.split('/');
    let (first, second, third) = (segments.next().unwrap_or_default(), segments.next(), segments.next());
    if path.split('/').any(|segment| segment.eq_ignore_ascii_case(GIT)) {
        return Part::Other;
    }
    let is_settings = |name: &str| name == FILE_NAME || name == PROCFILE || overlay_of(FILE_NAME, name).is_some();
    match (second, third) {
        (Some(_), _) if first == SERVER => Part::Folder,
        (Some(SERVER), Some(_)) => Part::Folder,
        (None, _) if is_settings(first) => Part::Settings,
        (Some(name), None) if is_settings(name) => Part::Settings,
        _ => Part::Other,
    }
}

/// The manifest of the backend's half.
///
/// # Errors
/// `bad_config` where nothing says how the backend is started; `empty_bundle` without a folder `server/`.
pub(super) fn manifest(
    site: SiteFile,
    tree: &Tree,
    (runs, links): (&BTreeSet<String>, &BTreeMap<String, String>),
) -> Result<Manifest, Error> {
    let inside = |path: &str| -> Option<BundlePath> { path.strip_prefix(SERVER)?.strip_prefix('/')?.parse().ok() };
    let files = tree.iter().filter_map(|(path, file)| {
        Some((inside(path)?, ServerFile { hash: file.hash, run: runs.contains(path), size: file.size }))
    });
    let folder = ServerFolder {
        files: files.collect(),
        links: links.iter().filter_map(|(path, target)| Some((inside(path)?, target.clone()))).collect(),
    };
    if folder.files.is_empty() {
        let detail = "The archive holds no folder `server/` with files.";
        return Err(Problem::new(Code::EmptyBundle, detail).hint("`tar -cz devanture.toml server`").into());
    }
    if site.base.server.is_none() {
        let why = "`?only=backend` wants [server] with `command`, or a Procfile".to_owned();
        return Err(of_config(FILE_NAME, 0, why).into());
    }
    let mut manifest = Manifest::of_files(BTreeMap::new());
    (manifest.base, manifest.env, manifest.server) = (site.base, site.env, Some(folder));
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_backend_is_taken_whole_and_nothing_else() {
        for (path, what) in [
            ("server/main.js", Part::Folder),
            ("server/node_modules/x/.env", Part::Folder),
            ("game-1.0/server/main.js", Part::Folder),
            ("devanture.toml", Part::Settings),
            ("game-1.0/devanture.staging.toml", Part::Settings),
            ("Procfile", Part::Settings),
            ("server", Part::Other),
            ("server/.git/config", Part::Other),
            ("index.html", Part::Other),
            ("a/b/server/main.js", Part::Other),
            ("servers/main.js", Part::Other),
        ] {
            assert_eq!(part(path), what, "{path}");
        }
    }
}
