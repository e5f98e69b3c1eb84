//! Finds the predecessor of a file: the file of an earlier version that browsers use as its dictionary. Pure.

use std::collections::{HashMap, HashSet};

use devanture_config::Digest;
use devanture_config::path::BundlePath;
use devanture_site::dictionary::{Announced, Pattern};

use super::linked_assets::{Named, Places};

/// Likeness of two files' names, greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// Same path.
    Path,
    /// Fingerprinted names that differ only in the fingerprint, without a third of the same pattern.
    Pattern,
    /// Linked by a page at the same position.
    Entry,
    /// Same extension and folder.
    Kind,
}

impl Likeness {
    /// Returns the expected share of the file found in its predecessor, in hundredths.
    pub(super) const fn percent(self) -> u64 {
        match self {
            Self::Path | Self::Pattern => 90,
            Self::Entry => 70,
            Self::Kind => 30,
        }
    }
}

/// File, reduced to the facts that determine its predecessor.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'f> {
    /// Path.
    pub(super) path: &'f BundlePath,
    /// Content.
    pub(super) hash: Digest,
}

/// Dictionary files of an earlier version, indexed for look-ups.
pub(super) struct Earlier<'f> {
    by_path: HashMap<&'f str, File<'f>>,
    /// Announced dictionaries and their paths; browsers send no others.
    announced: Announced<'f>,
    /// Number of files per pattern.
    alike: HashMap<Pattern<'f>, usize>,
    /// By page, extension, and position among links of the same extension.
    by_entry: HashMap<&'f str, HashMap<(String, usize), File<'f>>>,
}

impl<'f> Earlier<'f> {
    /// Indexes `files`, their announcements, and the links of pages.
    pub(super) fn new(files: impl IntoIterator<Item = File<'f>>, announced: Announced<'f>, named: &'f Named) -> Self {
        let by_path: HashMap<&str, File<'f>> = files.into_iter().map(|file| (file.path.as_str(), file)).collect();
        let mut alike: HashMap<Pattern<'f>, usize> = HashMap::new();
        for pattern in by_path.keys().filter_map(|path| Pattern::own(path)) {
            let count = alike.entry(pattern).or_default();
            *count = count.saturating_add(1);
        }
        let mut by_entry: HashMap<&str, HashMap<(String, usize), File<'f>>> = HashMap::new();
        for (page, ending, place, path) in named.entries() {
            if let Some(file) = by_path.get(path.as_str()) {
                by_entry.entry(page).or_default().insert((ending, place), *file);
            }
        }
        Self { by_path, announced, alike, by_entry }
    }

    /// Returns the predecessors of a file linked at the positions: the file of the same path, kept by browsers under a
    /// rule of the site, and the announced file.
    pub(super) fn predecessors(&self, file: File<'_>, places: &Places<'_>) -> Vec<(File<'f>, Likeness)> {
        let path = file.path.as_str();
        let mut found: Vec<(File<'f>, Likeness)> = Vec::new();
        found.extend(self.by_path.get(path).map(|one| (*one, Likeness::Path)));
        let preferred = self.announced.preferred(path).and_then(|path| self.by_path.get(path));
        found.extend(preferred.map(|one| (*one, self.likeness(file, *one, places))));
        let mut seen = HashSet::new();
        found.retain(|(one, _)| one.hash != file.hash && seen.insert(one.hash));
        found
    }

    /// Returns the likeness of a file and its announced dictionary.
    fn likeness(&self, file: File<'_>, with: File<'f>, places: &Places<'_>) -> Likeness {
        let pattern = Pattern::own(file.path.as_str());
        // Among several files of one pattern, the predecessor is ambiguous.
        let is_only = || pattern.and_then(|pattern| self.alike.get(&pattern)) == Some(&1);
        let is_with = |(page, ending, place): &(&str, String, usize)| {
            let there = self.by_entry.get(page).and_then(|page| page.get(&(ending.clone(), *place)));
            there.is_some_and(|there| there.path == with.path)
        };
        match pattern {
            Some(_) if pattern == Pattern::own(with.path.as_str()) && is_only() => Likeness::Pattern,
            _ if places.0.get(file.path).into_iter().flatten().any(is_with) => Likeness::Entry,
            _ => Likeness::Kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_site::media::extension;
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
            self.0.iter().map(|(path, hash, _)| File { path, hash: *hash }).collect()
        }

        fn earlier<'b>(&'b self, named: &'b Named) -> Earlier<'b> {
            let announced = Announced::new(self.0.iter().map(|(path, _, size)| (path.as_str(), *size)));
            Earlier::new(self.files(), announced, named)
        }
    }

    /// Returns the predecessors of a file of `now`, by path.
    fn predecessors(
        before: &Bundle,
        named_before: &Named,
        path: &str,
        size: u64,
        named: &Named,
    ) -> Vec<(String, Likeness)> {
        let now = Bundle::of(&[(path, size)]);
        let found = before.earlier(named_before).predecessors(now.files()[0], &named.places());
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
        // A new chunk: browsers use the largest script of its folder.
        assert_eq!(found("assets/cart-8d41f0aa.js", 9_000), [("assets/vendor-77c01d2e.js".to_owned(), Likeness::Kind)]);
        assert_eq!(found("assets/cart-8d41f0aa.css", 9_000), []);
        // For an unfingerprinted name, browsers have only the earlier file of the same name.
        assert_eq!(found("cart.js", 9_000), []);
    }

    #[test]
    fn of_several_with_one_name_the_one_is_taken_that_browsers_know() {
        let before = Bundle::of(&[
            ("a/chunk-3f2a91bc.js", 5_000),
            ("a/chunk-77c01d2e.js", 9_000),
            ("a/chunk-1d2e77c0.js", 20_000),
            ("a/vendor-1d2e77c0.js", 90_000),
        ]);
        let none = Named::default();
        let found = predecessors(&before, &none, "a/chunk-8d41f0aa.js", 10_000, &none);
        assert_eq!(found, [("a/chunk-1d2e77c0.js".to_owned(), Likeness::Kind)]);
    }

    #[test]
    fn what_a_page_names_in_the_same_place_promises_more_than_what_is_of_the_same_type() {
        let page = |script: &str| {
            let html = format!("<link rel=stylesheet href=x.css><script src='/{script}'></script>");
            let mut named = Named::default();
            named.add(&"index.html".parse().unwrap(), html.as_bytes(), &|path| path.as_str().ends_with(".js"));
            named
        };
        let (was, is) = (page("a/main-3f2a91bc.js"), page("a/start-8d41f0aa.js"));
        let found = |main, big| {
            let before = Bundle::of(&[("a/main-3f2a91bc.js", main), ("a/big-77c01d2e.js", big)]);
            predecessors(&before, &was, "a/start-8d41f0aa.js", 6_000, &is)
        };
        assert_eq!(found(90_000, 5_000), [("a/main-3f2a91bc.js".to_owned(), Likeness::Entry)]);
        // Browsers do not use the other file: its announced pattern is its own name.
        assert_eq!(found(5_000, 90_000), [("a/big-77c01d2e.js".to_owned(), Likeness::Kind)]);
    }

    proptest! {
        /// For any names: few predecessors, without repetitions or the file itself, all from the earlier version.
        #[test]
        fn predecessors_are_few_and_of_the_earlier_version(
            files in proptest::collection::btree_map("[ab]{1,2}/(app|x)(-[0-9a-f]{8})?\\.(js|css|txt)", 0_u64..9_000, 0..12),
            path in "[ab]{1,2}/(app|x)(-[0-9a-f]{8})?\\.(js|css|txt)",
            size in 0_u64..9_000,
        ) {
            let files: Vec<(&str, u64)> = files.iter().map(|(path, size)| (path.as_str(), *size)).collect();
            let (before, now, none) = (Bundle::of(&files), Bundle::of(&[(&path, size)]), Named::default());
            let file = now.files()[0];
            let found = before.earlier(&none).predecessors(file, &none.places());
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
