//! `server` folder of a bundle: unchanged files, with run bits and links.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::InterpreterName;
use crate::digest::Digest;
use crate::path::BundlePath;

/// Maximum length of a link's target, in bytes.
pub const LINK_BYTES_MAX: usize = 4_096;

/// File of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFile {
    /// BLAKE3 of the bytes.
    pub hash: Digest,
    /// True for an executable file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run: bool,
    /// Length in bytes.
    pub size: u64,
}

/// Folder of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFolder {
    /// Files by path.
    pub files: BTreeMap<BundlePath, ServerFile>,
    /// Targets of links by path: relative, and within the folder, or an [`InterpreterName`] of the edge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<BundlePath, String>,
}

/// Reason to reject a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadServerFolder {
    /// The folder has no file.
    #[error("the server folder holds no file")]
    Empty,
    /// A path has two meanings.
    #[error("`{0}` of the server folder is two things at once")]
    Double(BundlePath),
    /// A link leads out of the folder, or is not a relative path.
    #[error("the link `{0}` of the server folder leads out of it")]
    Link(BundlePath),
}

impl ServerFolder {
    /// Checks the rules beyond the types: no path is below a file or a link, and no link leads out of the folder.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), BadServerFolder> {
        if self.files.is_empty() {
            return Err(BadServerFolder::Empty);
        }
        for path in self.files.keys().chain(self.links.keys()) {
            let below = format!("{path}/");
            let bounds = || (Bound::Included(below.as_str()), Bound::Unbounded);
            let file = self.files.range::<str, _>(bounds()).next().map(|(other, _)| other);
            let link = self.links.range::<str, _>(bounds()).next().map(|(other, _)| other);
            let is_folder = file.into_iter().chain(link).any(|other| other.as_str().starts_with(&below));
            if is_folder || (self.files.contains_key(path) && self.links.contains_key(path)) {
                return Err(BadServerFolder::Double(path.clone()));
            }
        }
        let may_stay = |path, target: &str| stays_within(path, target) || InterpreterName::of_link(target).is_some();
        match self.links.iter().find(|(path, target)| !may_stay(*path, target)) {
            Some((path, _)) => Err(BadServerFolder::Link(path.clone())),
            None => Ok(()),
        }
    }

    /// Returns the path that prevents the creation of the persistent folder `persist`: a file or a link at, below or
    /// above this path.
    #[must_use]
    pub fn in_the_way_of(&self, persist: &BundlePath) -> Option<&BundlePath> {
        let is_below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let persist = persist.as_str();
        self.files.keys().chain(self.links.keys()).find(|path| {
            let path = path.as_str();
            path == persist || is_below(path, persist) || is_below(persist, path)
        })
    }

    /// Iterates over the edge's interpreters behind links, with the paths of the links.
    pub fn interpreters(&self) -> impl Iterator<Item = (&BundlePath, InterpreterName)> {
        self.links.iter().filter_map(|(path, target)| Some((path, InterpreterName::of_link(target)?)))
    }

    /// Iterates over all blobs, with their lengths.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.files.values().map(|file| (file.hash, file.size))
    }
}

/// Returns true if a link at `path` with this target stays within the folder, independent of other links. Each step up
/// counts from the link's folder by names alone, so no step up may follow a name that could itself be a link elsewhere.
#[must_use]
pub fn stays_within(path: &BundlePath, target: &str) -> bool {
    if target.is_empty() || target.len() > LINK_BYTES_MAX || target.starts_with('/') || target.contains(['\0', '\\']) {
        return false;
    }
    let depth = path.as_str().matches('/').count();
    let ups = target.split('/').take_while(|segment| *segment == "..").count();
    let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
    let mut rest = target.split('/').skip(ups).peekable();
    ups <= depth && (rest.peek().is_some() || ups > 0) && rest.all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str], links: &[(&str, &str)]) -> ServerFolder {
        let file = |path: &&str| {
            (path.parse().unwrap(), ServerFile { hash: Digest::of(path.as_bytes()), run: false, size: 1 })
        };
        let link = |(path, target): &(&str, &str)| (path.parse().unwrap(), (*target).to_owned());
        ServerFolder { files: files.iter().map(file).collect(), links: links.iter().map(link).collect() }
    }

    #[test]
    fn what_stays_has_a_place_of_its_own() {
        let folder = folder(&["server.js", "data/a", "database.js"], &[("link", "server.js")]);
        for (persist, taken) in [
            ("data", Some("data/a")),
            ("data/a", Some("data/a")),
            ("data/a/b", Some("data/a")),
            ("link", Some("link")),
            ("server.js/x", Some("server.js")),
            ("data/b", None),
            ("dat", None),
            ("database", None),
        ] {
            let found = folder.in_the_way_of(&persist.parse().unwrap());
            assert_eq!(found.map(BundlePath::as_str), taken, "{persist}");
        }
    }

    #[test]
    fn a_link_stays_within_its_folder() {
        for (path, target, stays) in [
            ("node_modules/.bin/tsc", "../typescript/bin/tsc", true),
            ("a", "b/c", true),
            ("a/b", "..", true),
            ("a/b", "../..", false),
            ("a", "..", false),
            ("a", "/etc/passwd", false),
            ("a", "", false),
            ("a", "b/../c", false),
            ("a", "./b", false),
            ("a", "b//c", false),
            ("a/b/c", "../../d", true),
            ("a/b/c", "../../../d", false),
        ] {
            assert_eq!(stays_within(&path.parse().unwrap(), target), stays, "{path} → {target}");
        }
    }

    #[test]
    fn a_path_is_one_thing() {
        assert_eq!(folder(&["a/b", "c"], &[("d", "a")]).check(), Ok(()));
        assert_eq!(folder(&[], &[]).check(), Err(BadServerFolder::Empty));
        let double = |path: &str| Err(BadServerFolder::Double(path.parse().unwrap()));
        assert_eq!(folder(&["a", "a/b"], &[]).check(), double("a"));
        assert_eq!(folder(&["a/b"], &[("a", "c")]).check(), double("a"));
        assert_eq!(folder(&["a"], &[("a/b", "c")]).check(), double("a"));
        assert_eq!(folder(&["a"], &[("a", "c")]).check(), double("a"));
        assert_eq!(folder(&["a"], &[(".venv/bin/python3", "/interpreters/python3.11")]).check(), Ok(()));
        let elsewhere = folder(&["a"], &[("b", "/interpreters/../etc/passwd")]);
        assert_eq!(elsewhere.check(), Err(BadServerFolder::Link("b".parse().unwrap())));
        assert_eq!(folder(&["a"], &[("b", "../x")]).check(), Err(BadServerFolder::Link("b".parse().unwrap())));
    }
}
