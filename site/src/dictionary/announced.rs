//! Files of a version announced as dictionaries, with their path patterns, and the selection of a browser among them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::fingerprint;
use super::matching::{Pattern, exact_pattern};

/// The files of a version that are announced, each with one pattern.
///
/// Of several files with the same pattern only the largest has the pattern: a browser keeps all of them under the
/// pattern, and uses the one fetched last, which is unknown. The largest script of a folder stands in for the other
/// scripts of the folder, including new ones.
#[derive(Debug, Clone, Default)]
pub struct Announced<'f> {
    /// Files by the prefix of their patterns.
    by_prefix: HashMap<&'f str, Vec<AnnouncedFile<'f>>>,
    /// Files announced for their own path alone.
    exact: BTreeSet<&'f str>,
}

#[derive(Debug, Clone, Copy)]
struct AnnouncedFile<'f> {
    pattern: Pattern<'f>,
    /// The length of the pattern as sent, which browsers compare.
    length: usize,
    file: Sized<'f>,
}

/// A file, ordered so that the largest is the greatest; of two of equal length, the first by path.
type Sized<'f> = (u64, Reverse<&'f str>);

impl<'f> Announced<'f> {
    /// Announces the files, each given by its path and its length in bytes.
    pub fn new(files: impl IntoIterator<Item = (&'f str, u64)>) -> Self {
        let mut largest: BTreeMap<Pattern<'f>, Sized<'f>> = BTreeMap::new();
        let mut scripts: BTreeMap<Pattern<'f>, BTreeSet<Sized<'f>>> = BTreeMap::new();
        for (path, size) in files {
            let Some(own) = Pattern::own(path) else { continue };
            let file = (size, Reverse(path));
            let known = largest.entry(own).or_insert(file);
            *known = file.max(*known);
            if let (true, Some(broad)) = (is_script(path), Pattern::broad(path)) {
                scripts.entry(broad).or_default().insert(file);
            }
        }
        let own = Self::of(largest);
        let mut broadest: BTreeMap<Pattern<'f>, Sized<'f>> = BTreeMap::new();
        for (broad, scripts) in scripts {
            let length = broad.text().len();
            // A file whose successor would match another file's longer pattern needs its own: `index-legacy-*` beside
            // `index-*`.
            let needs_own = |(_, Reverse(path)): &Sized<'f>| {
                let pattern = Pattern::own(path);
                own.taking(path).any(|entry| entry.length > length && Some(entry.pattern) != pattern)
            };
            let stands_in = scripts.iter().rev().find(|file| !needs_own(file)).or_else(|| scripts.last());
            broadest.extend(stands_in.map(|file| (broad, *file)));
        }
        let stand_ins: BTreeSet<Sized<'f>> = broadest.values().copied().collect();
        let own = own.by_prefix.into_values().flatten();
        let own = own.filter(|entry| !broadest.contains_key(&entry.pattern) && !stand_ins.contains(&entry.file));
        let own: Vec<_> = own.map(|entry| (entry.pattern, entry.file)).collect();
        Self::of(own.into_iter().chain(broadest))
    }

    fn of(files: impl IntoIterator<Item = (Pattern<'f>, Sized<'f>)>) -> Self {
        let mut announced = Self::default();
        for (pattern, file) in files {
            let entry = AnnouncedFile { pattern, length: pattern.text().len(), file };
            announced.by_prefix.entry(pattern.before).or_default().push(entry);
        }
        announced
    }

    /// Adds the paths of files under names that could change: files offered by pages, and files that browsers keep by a
    /// rule of the site.
    #[must_use]
    pub fn with_exact(mut self, paths: impl IntoIterator<Item = &'f str>) -> Self {
        self.exact.extend(paths);
        self
    }

    /// The paths of the announced files, each with its pattern as sent.
    pub fn patterns(&self) -> impl Iterator<Item = (&'f str, String)> {
        let exact = self.exact.iter().map(|path| (*path, exact_pattern(path)));
        self.entries().map(|(path, pattern)| (path, pattern.text())).chain(exact)
    }

    fn entries(&self) -> impl Iterator<Item = (&'f str, Pattern<'f>)> {
        self.by_prefix
            .values()
            .flatten()
            .map(|AnnouncedFile { pattern, file: (_, Reverse(path)), .. }| (*path, *pattern))
    }

    /// The path of the dictionary that a browser with all files sends with a request for `path`: the file with the
    /// longest pattern (RFC 9842 §2.2.3).
    #[must_use]
    pub fn preferred(&self, path: &str) -> Option<&'f str> {
        let longest = self.taking(path).map(|entry| (entry.length, entry.file)).max();
        let exact = self.exact.get(path).map(|path| (exact_pattern(path).len(), *path));
        match (longest, exact) {
            (Some((length, (_, Reverse(path)))), Some((exact, _))) if length > exact => Some(path),
            (_, Some((_, path))) => Some(path),
            (Some((_, (_, Reverse(path)))), None) => Some(path),
            (None, None) => None,
        }
    }

    fn taking<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a AnnouncedFile<'f>> + 'a {
        let beginnings = (0..=path.len()).filter_map(|end| path.get(..end));
        let entries = beginnings.filter_map(|before| self.by_prefix.get(before)).flatten();
        entries.filter(|entry| entry.pattern.takes(path))
    }
}

fn is_script(path: &str) -> bool {
    matches!(fingerprint::extension(path).as_deref(), Some("js" | "mjs"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn announced(files: &[(&'static str, u64)]) -> Vec<(&'static str, String)> {
        let announced = Announced::new(files.iter().copied());
        let mut entries: Vec<_> = announced.patterns().collect();
        entries.sort();
        entries
    }

    #[test]
    fn of_one_pattern_the_largest_is_announced_and_the_largest_script_stands_in_for_its_folder() {
        let files = [
            ("a/app-3f2a91bc.js", 9_000),
            ("a/app-77c01d2e.css", 3_000),
            ("a/chunk-1d2e77c0.js", 2_000),
            ("a/chunk-77c01d2e.js", 5_000),
            ("a/lib.js", 90_000),
        ];
        let expected = [
            ("a/app-3f2a91bc.js", "/a/*.js"),
            ("a/app-77c01d2e.css", "/a/app-*.css"),
            ("a/chunk-77c01d2e.js", "/a/chunk-*.js"),
        ];
        assert_eq!(announced(&files), expected.map(|(path, pattern)| (path, pattern.to_owned())));
        let announced = Announced::new(files).with_exact(["a/lib.js"]);
        for (path, expected) in [
            ("a/chunk-8d41f0aa.js", Some("a/chunk-77c01d2e.js")),
            ("a/app-8d41f0aa.js", Some("a/app-3f2a91bc.js")),
            ("a/b/new-8d41f0aa.js", Some("a/app-3f2a91bc.js")),
            ("a/lib.js", Some("a/lib.js")),
            ("a/other.js", Some("a/app-3f2a91bc.js")),
            ("a/other-8d41f0aa.css", None),
            ("b/app-8d41f0aa.js", None),
        ] {
            assert_eq!(announced.preferred(path), expected, "{path}");
        }
    }

    #[test]
    fn no_pattern_is_announced_twice() {
        let chunks = "_next/static/chunks/";
        let files = [
            ("_next/static/chunks/1f9d2c3b4a5e6f70.js", 9_000),
            ("_next/static/chunks/2f9d2c3b4a5e6f70.js", 4_000),
            ("_next/static/chunks/framework-3f2a91bc4d5e6f70.js", 50_000),
        ];
        let largest = ("_next/static/chunks/framework-3f2a91bc4d5e6f70.js", format!("/{chunks}*.js"));
        assert_eq!(announced(&files), [largest]);
    }

    #[test]
    fn a_file_keeps_its_own_pattern_where_another_s_would_take_its_successor() {
        let (large, small, vendor) = ("a/index-legacy-77c01d2e.js", "a/index-3f2a91bc.js", "a/vendor-1d2e77c0.js");
        let announced = Announced::new([(large, 9_000), (small, 4_000), (vendor, 5_000)]);
        assert_eq!(announced.preferred("a/index-legacy-8d41f0aa.js"), Some(large));
        assert_eq!(announced.preferred("a/index-8d41f0aa.js"), Some(small));
        assert_eq!(announced.preferred("a/new-8d41f0aa.js"), Some(vendor));
    }

    proptest! {
        /// Each file at most once, each pattern at most once, and the selected file has the longest announced pattern.
        #[test]
        fn a_browser_comes_with_the_longest_pattern_that_takes_a_path(
            files in prop::collection::btree_map("([ab]/){0,2}(app|x|x-app)?[-.]?[0-9a-f]{8}(\\.min)?\\.(js|css)", 0_u64..9, 0..12),
            path in "([ab]/){0,2}(app|x|x-app)?[-.]?[0-9a-f]{8}(\\.min)?\\.(js|css)",
        ) {
            let announced = Announced::new(files.iter().map(|(path, size)| (path.as_str(), *size)));
            let entries: Vec<(&str, Pattern<'_>)> = announced.entries().collect();
            let paths: BTreeSet<&str> = entries.iter().map(|(path, _)| *path).collect();
            let patterns: BTreeSet<Pattern<'_>> = entries.iter().map(|(_, pattern)| *pattern).collect();
            prop_assert_eq!((paths.len(), patterns.len()), (entries.len(), entries.len()));
            prop_assert!(entries.iter().all(|(path, pattern)| pattern.takes(path)));
            let taking = || entries.iter().filter(|(_, pattern)| pattern.takes(&path));
            let longest = taking().map(|(_, pattern)| pattern.text().len()).max();
            let preferred = announced.preferred(&path);
            prop_assert_eq!(preferred.is_some(), longest.is_some());
            let is_longest = |(path, pattern): &(&str, Pattern<'_>)| {
                Some(*path) == preferred && Some(pattern.text().len()) == longest
            };
            prop_assert!(preferred.is_none() || taking().any(is_longest));
        }
    }
}
