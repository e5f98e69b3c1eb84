//! Which file of an earlier version a new file has most in common with: its predecessor. Pure.

use std::collections::{HashMap, HashSet};

use devanture_config::Digest;
use devanture_config::path::BundlePath;

use super::named::{Named, Places};
use crate::site::fingerprint;
use crate::site::media::extension;

/// What the names of two files have in common, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// They have the same path.
    Path,
    /// Their fingerprinted names differ in nothing but the token.
    Pattern,
    /// A page names both, in the same place.
    Entry,
    /// They are of one type and of one folder, or of one type at least.
    Kind,
}

impl Likeness {
    /// Of how many hundredths of a file it lets hope that they are in its predecessor.
    pub(super) const fn percent(self) -> u64 {
        match self {
            Self::Path | Self::Pattern => 90,
            Self::Entry => 70,
            Self::Kind => 30,
        }
    }
}

/// A file, as far as its predecessor depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'f> {
    /// Its path.
    pub(super) path: &'f BundlePath,
    /// Its content.
    pub(super) hash: Digest,
    /// Its length in bytes.
    pub(super) size: u64,
}

/// The files of an earlier version that may serve as dictionaries, made ready for look-ups.
pub(super) struct Earlier<'f> {
    by_path: HashMap<&'f str, File<'f>>,
    by_pattern: HashMap<(&'f str, &'f str), Vec<File<'f>>>,
    /// By the page that names them, their ending, and their place among those of that ending.
    by_entry: HashMap<&'f str, HashMap<(String, usize), File<'f>>>,
    /// The largest of each folder and ending, and under no folder's name of each ending alone.
    largest: HashMap<(Option<&'f str>, String), File<'f>>,
}

impl<'f> Earlier<'f> {
    /// Of `files`, and of what its pages name.
    pub(super) fn new(files: impl IntoIterator<Item = File<'f>>, named: &'f Named) -> Self {
        let mut earlier = Self {
            by_path: HashMap::new(),
            by_pattern: HashMap::new(),
            by_entry: HashMap::new(),
            largest: HashMap::new(),
        };
        for file in files {
            let path = file.path.as_str();
            earlier.by_path.insert(path, file);
            if let Some(pattern) = fingerprint::pattern(path) {
                earlier.by_pattern.entry(pattern).or_default().push(file);
            }
            let Some(ending) = extension(path) else { continue };
            for folder in [Some(folder_of(path)), None] {
                let largest = earlier.largest.entry((folder, ending.clone())).or_insert(file);
                if (file.size, file.hash) > (largest.size, largest.hash) {
                    *largest = file;
                }
            }
        }
        for (page, ending, place, path) in named.entries() {
            if let Some(file) = earlier.by_path.get(path.as_str()) {
                earlier.by_entry.entry(page).or_default().insert((ending, place), *file);
            }
        }
        earlier
    }

    /// The predecessors of a file whose pages name files in these places, the best first: few, since each costs an encoding.
    ///
    /// A file that can have no predecessor by its name has one by its place, or its type, only where it is
    /// fingerprinted: nobody asks for another one with a dictionary of another name.
    pub(super) fn predecessors(&self, file: File<'_>, places: &Places<'_>) -> Vec<(File<'f>, Likeness)> {
        let path = file.path.as_str();
        let mut found: Vec<(File<'f>, Likeness)> = Vec::new();
        found.extend(self.by_path.get(path).map(|one| (*one, Likeness::Path)));
        let pattern = fingerprint::pattern(path);
        if let Some(pattern) = pattern {
            let near = |one: &&File<'f>| (one.size.abs_diff(file.size), one.hash);
            let nearest = self.by_pattern.get(&pattern).into_iter().flatten().min_by_key(near);
            found.extend(nearest.map(|one| (*one, Likeness::Pattern)));
        }
        if let (true, true, Some(ending)) = (found.is_empty(), pattern.is_some(), extension(path)) {
            let entry = places
                .0
                .get(file.path)
                .into_iter()
                .flatten()
                .find_map(|(page, ending, place)| self.by_entry.get(page)?.get(&(ending.clone(), *place)).copied());
            found.extend(entry.map(|one| (one, Likeness::Entry)));
            let in_folder = self.largest.get(&(Some(folder_of(path)), ending.clone()));
            let largest = in_folder.or_else(|| self.largest.get(&(None, ending)));
            found.extend(largest.map(|one| (*one, Likeness::Kind)));
        }
        let mut seen = HashSet::new();
        found.retain(|(one, _)| one.hash != file.hash && seen.insert(one.hash));
        found
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Bundle(Vec<(BundlePath, Digest, u64)>);

    impl Bundle {
        fn of(files: &[(&str, u64)]) -> Self {
            let file = |(path, size): &(&str, u64)| {
                (path.parse().unwrap(), Digest::of(format!("{path} {size}").as_bytes()), *size)
            };
            Self(files.iter().map(file).collect())
        }

        fn files(&self) -> Vec<File<'_>> {
            self.0.iter().map(|(path, hash, size)| File { path, hash: *hash, size: *size }).collect()
        }
    }

    /// The predecessors of a file of `now`, by their paths.
    fn predecessors(
        before: &Bundle,
        named_before: &Named,
        path: &str,
        size: u64,
        named: &Named,
    ) -> Vec<(String, Likeness)> {
        let now = Bundle::of(&[(path, size)]);
        let earlier = Earlier::new(before.files(), named_before);
        let found = earlier.predecessors(now.files()[0], &named.places());
        found.into_iter().map(|(file, likeness)| (file.path.to_string(), likeness)).collect()
    }

    #[test]
    fn a_file_comes_after_the_one_whose_name_is_its_own_but_for_the_token() {
        let before = Bundle::of(&[
            ("assets/app-3f2a91bc.js", 50_000),
            ("assets/vendor-77c01d2e.js", 90_000),
            ("other/app-3f2a91bc.js", 50_000),
            ("viewer.js", 40_000),
        ]);
        let none = Named::default();
        let found = |path, size| predecessors(&before, &none, path, size, &none);
        assert_eq!(found("assets/app-8d41f0aa.js", 51_000), [("assets/app-3f2a91bc.js".to_owned(), Likeness::Pattern)]);
        assert_eq!(found("viewer.js", 41_000), [("viewer.js".to_owned(), Likeness::Path)]);
        // A new chunk: the largest script of its folder is what browsers come with.
        assert_eq!(found("assets/cart-8d41f0aa.js", 9_000), [("assets/vendor-77c01d2e.js".to_owned(), Likeness::Kind)]);
        assert_eq!(found("assets/cart-8d41f0aa.css", 9_000), []);
        // Browsers have nothing for a name that could change, but what it was under the same name.
        assert_eq!(found("cart.js", 9_000), []);
    }

    #[test]
    fn of_several_with_one_name_the_nearest_in_length_is_taken() {
        let before = Bundle::of(&[
            ("a/chunk-3f2a91bc.js", 5_000),
            ("a/chunk-77c01d2e.js", 9_000),
            ("a/chunk-1d2e77c0.js", 20_000),
        ]);
        let none = Named::default();
        let found = predecessors(&before, &none, "a/chunk-8d41f0aa.js", 10_000, &none);
        assert_eq!(found, [("a/chunk-77c01d2e.js".to_owned(), Likeness::Pattern)]);
    }

    #[test]
    fn what_a_page_names_in_the_same_place_comes_before_what_is_of_the_same_type() {
        let before = Bundle::of(&[("a/main-3f2a91bc.js", 5_000), ("a/big-77c01d2e.js", 90_000)]);
        let page = |script: &str| {
            let html = format!("<link rel=stylesheet href=x.css><script src='/{script}'></script>");
            let mut named = Named::default();
            named.add(&"index.html".parse().unwrap(), html.as_bytes(), &|path| path.as_str().ends_with(".js"));
            named
        };
        let (was, is) = (page("a/main-3f2a91bc.js"), page("a/start-8d41f0aa.js"));
        assert_eq!(
            predecessors(&before, &was, "a/start-8d41f0aa.js", 6_000, &is),
            [("a/main-3f2a91bc.js".to_owned(), Likeness::Entry), ("a/big-77c01d2e.js".to_owned(), Likeness::Kind)]
        );
    }

    proptest! {
        /// Whatever the names are: few predecessors, none twice, never the file itself, and all of them of that version.
        #[test]
        fn predecessors_are_few_and_of_the_earlier_version(
            files in proptest::collection::btree_map("[ab]{1,2}/(app|x)(-[0-9a-f]{8})?\\.(js|css|txt)", 0_u64..9_000, 0..12),
            path in "[ab]{1,2}/(app|x)(-[0-9a-f]{8})?\\.(js|css|txt)",
            size in 0_u64..9_000,
        ) {
            let files: Vec<(&str, u64)> = files.iter().map(|(path, size)| (path.as_str(), *size)).collect();
            let (before, now, none) = (Bundle::of(&files), Bundle::of(&[(&path, size)]), Named::default());
            let file = now.files()[0];
            let found = Earlier::new(before.files(), &none).predecessors(file, &none.places());
            prop_assert!(found.len() <= 2);
            let hashes: HashSet<Digest> = found.iter().map(|(one, _)| one.hash).collect();
            prop_assert_eq!(hashes.len(), found.len());
            prop_assert!(!hashes.contains(&file.hash));
            prop_assert!(found.is_sorted_by_key(|(_, likeness)| *likeness));
            let known: HashSet<Digest> = before.files().iter().map(|one| one.hash).collect();
            prop_assert!(hashes.is_subset(&known));
            let ending = |path: &str| extension(path);
            prop_assert!(found.iter().all(|(one, _)| ending(one.path.as_str()) == ending(&path)));
        }
    }
}
