//! PHP scripts of a bundle: a request's path reaches only these, and never files written by the application.

use std::collections::{BTreeMap, BTreeSet};

use crate::heap::{HeapBytes, allocated};
use crate::path::BundlePath;

/// End of a script's name, as in `security.limit_extensions` of PHP-FPM.
const ENDING: &str = ".php";
/// Maximum number of consecutive links in a path.
const LINKS_MAX: usize = 8;

/// Scripts of a backend's folder. Links count as in the bundle, so a link into the persistent folder leads to no
/// script.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BundleScripts {
    /// Folder open to requests, below the backend's folder; empty for the backend's folder itself.
    root: Box<str>,
    /// Paths of the scripts below the backend's folder, sorted.
    files: Box<[Box<str>]>,
    /// Links on the way to scripts, and the links' targets.
    links: BTreeMap<Box<str>, Box<str>>,
}

impl BundleScripts {
    /// Returns the scripts below `root`, or linked from `root`, of a folder with these files and links.
    pub(crate) fn below<F>(root: &str, files: &BTreeMap<BundlePath, F>, links: &BTreeMap<BundlePath, String>) -> Self {
        let root = if root == "." { "" } else { root };
        let targets = links.iter().filter_map(|(path, to)| Some((path.as_str(), target_of(path.as_str(), to)?)));
        let mut links: BTreeMap<Box<str>, Box<str>> =
            targets.map(|(path, to)| (path.into(), to.into_boxed_str())).collect();
        let mut reached: BTreeSet<Box<str>> = [root.into()].into();
        for _ in 0..LINKS_MAX {
            let count = reached.len();
            let more: Vec<Box<str>> =
                links.iter().filter(|(path, _)| leads_on(path, &reached)).map(|(_, to)| to.clone()).collect();
            reached.extend(more);
            if reached.len() == count {
                break;
            }
        }
        // Saves memory: most links of a project do not lead to scripts of its root.
        links.retain(|path, _| leads_on(path, &reached));
        let scripts = files.keys().map(BundlePath::as_str).filter(|path| path.ends_with(ENDING));
        let mut files: Vec<Box<str>> = scripts.filter(|path| is_within(path, &reached)).map(Box::from).collect();
        files.sort_unstable();
        Self { root: root.into(), files: files.into(), links }
    }

    /// Returns true if `path`, relative to the root, is a script.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        let mut path = joined(&self.root, path);
        for _ in 0..=LINKS_MAX {
            let Some(next) = self.behind_link(&path) else {
                return self.files.binary_search_by(|file| (**file).cmp(path.as_str())).is_ok();
            };
            path = next;
        }
        false
    }

    /// Resolves the first link of `path`, if any.
    fn behind_link(&self, path: &str) -> Option<String> {
        if self.links.is_empty() {
            return None;
        }
        path_and_parents(path).find_map(|(start, rest)| Some(joined(self.links.get(start)?, rest)))
    }
}

impl HeapBytes for BundleScripts {
    fn heap_bytes(&self) -> usize {
        let entry = 2 * allocated(2 * size_of::<Box<str>>());
        let links = self.links.iter().map(|(path, to)| path.heap_bytes() + to.heap_bytes() + entry);
        self.root.heap_bytes() + self.files.heap_bytes() + links.sum::<usize>()
    }
}

/// Iterates over the parent folders of a path, the outermost first, and the path itself, each with the rest.
fn path_and_parents(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(move |end| Some((path.get(..end)?, path.get(end..)?.trim_start_matches('/'))))
}

/// Returns true if a path is in `folders`, or below one.
fn is_within(path: &str, folders: &BTreeSet<Box<str>>) -> bool {
    folders.contains("") || path_and_parents(path).any(|(start, _)| folders.contains(start))
}

/// Returns true if a link at `path` is in one of `folders`, or above one.
fn leads_on(path: &str, folders: &BTreeSet<Box<str>>) -> bool {
    let below: Box<str> = format!("{path}/").into();
    is_within(path, folders)
        || folders.range::<Box<str>, _>(&below..).next().is_some_and(|folder| folder.starts_with(&*below))
}

/// Returns the target of a link, if in the backend's folder.
fn target_of(path: &str, to: &str) -> Option<String> {
    let mut segments: Vec<&str> = path.split('/').collect();
    segments.pop();
    for segment in to.split('/') {
        match segment {
            // A link to an interpreter of the edge is no script.
            "" => return None,
            ".." => {
                segments.pop()?;
            }
            segment => segments.push(segment),
        }
    }
    Some(segments.join("/"))
}

fn joined(folder: &str, path: &str) -> String {
    let between = if folder.is_empty() || path.is_empty() { "" } else { "/" };
    format!("{folder}{between}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts(root: &str, files: &[&str], links: &[(&str, &str)]) -> BundleScripts {
        let files: BTreeMap<BundlePath, ()> = files.iter().map(|path| (path.parse().unwrap(), ())).collect();
        let links = links.iter().map(|(path, to)| (path.parse().unwrap(), (*to).to_owned())).collect();
        BundleScripts::below(root, &files, &links)
    }

    #[test]
    fn a_script_is_a_file_of_the_bundle_below_the_root() {
        let files = ["lib/x.php", "public/admin/tool.php", "public/index.php", "public/photo.jpg", "public-2/a.php"];
        let all = scripts("public", &files, &[]);
        for (path, is_there) in [
            ("index.php", true),
            ("admin/tool.php", true),
            ("uploads/evil.php", false),
            ("admin", false),
            ("photo.jpg", false),
            ("../lib/x.php", false),
            ("lib/x.php", false),
            ("", false),
        ] {
            assert_eq!(all.holds(path), is_there, "{path}");
        }
        assert_eq!(all.files.len(), 2, "what no request reaches is not in memory");
        assert!(scripts(".", &files, &[]).holds("lib/x.php"));
    }

    #[test]
    fn links_of_the_bundle_lead_to_its_scripts_and_nowhere_else() {
        let files = ["core/wp/a.php", "core/b.php", "web/index.php"];
        let links = [
            ("public", "web"),
            ("web/core", "../core"),
            ("web/one.php", "../core/b.php"),
            ("core/wp/again", "../wp"),
            // A link like Laravel's, into the persistent folder.
            ("web/storage", "../storage/app"),
            ("web/php", "/interpreters/php8.2"),
            ("core/round", "round"),
        ];
        let all = scripts("public", &files, &links);
        for path in ["index.php", "core/b.php", "core/wp/a.php", "one.php", "core/wp/again/again/a.php"] {
            assert!(all.holds(path), "{path}");
        }
        for path in ["storage/evil.php", "php", "php/a.php", "core/round/a.php", "core/round", "core"] {
            assert!(!all.holds(path), "{path}");
        }
        assert!(scripts("a", &["b.php"], &[("a/up", "..")]).holds("up/b.php"));
        assert!(!scripts("a", &["b.php"], &[("a/up", "../..")]).holds("up/b.php"));
    }
}
