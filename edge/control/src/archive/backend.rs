//! Backend half of an archive: the folder `server/` with executable bits and links, and its start command.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::Manifest;
use devanture_config::manifest::{ServerFile, ServerFolder};
use devanture_config::path::BundlePath;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::procfile::PROCFILE;
use devanture_config::site_toml::{FILE_NAME, SiteFile, overlay_of};

use super::{Tree, of_config};
use crate::ledger::Error;

/// Folder of the backend in an archive, whatever `dir` of `[server]` names within a project.
pub(super) const SERVER: &str = "server";
/// Git folder, needed by no program.
const GIT: &str = ".git";

/// Part of an archive, from the view of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Within the folder `server/`.
    Folder,
    /// Settings file in the root.
    Settings,
    /// Outside the backend.
    Other,
}

/// Classifies a path of an archive; all paths may share one wrapping folder.
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

/// Returns the manifest of the backend half.
///
/// # Errors
/// `bad_config` without a start command; `empty_bundle` without a folder `server/`.
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
