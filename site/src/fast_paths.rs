//! The paths of a version that lead straight to a file, as they are sent: for these, nothing need be taken apart.

use std::collections::HashMap;

use devanture_config::heap::HeapBytes;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::HtmlHandling;

use super::resolve::{PathIndex, Resolution, addresses, resolve};
use super::target::{Target, normalise};

/// Paths that are normal as they stand and are neither redirected nor missing, each with its file: what
/// [`normalise`] and [`resolve`] say of most requests, found by one look.
#[derive(Debug, Default)]
pub struct FastPaths(HashMap<Box<str>, u32, foldhash::fast::RandomState>);

impl FastPaths {
    /// Those that lead to the files at `paths`, which are those of `index`.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p BundlePath>, index: &PathIndex, handling: HtmlHandling) -> Self {
        let straight = |path: String| match (normalise(&path, path.len()), resolve(index, handling, &path)) {
            (Target::Normal(normal), Resolution::File(number)) if normal == path => Some((path.into(), number)),
            _ => None,
        };
        Self(paths.into_iter().flat_map(|path| addresses(path.as_str())).filter_map(straight).collect())
    }

    /// The number of the file that `path`, as it was sent, leads to; `None` where the full look-up has to decide.
    #[inline]
    #[must_use]
    pub fn file(&self, path: &str) -> Option<u32> {
        self.0.get(path).copied()
    }
}

impl HeapBytes for FastPaths {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAYS: [HtmlHandling; 5] = [
        HtmlHandling::AsIs,
        HtmlHandling::None,
        HtmlHandling::AutoTrailingSlash,
        HtmlHandling::DropTrailingSlash,
        HtmlHandling::ForceTrailingSlash,
    ];

    /// The result of the full look-up of a path that is sent in normal form.
    fn thought(index: &PathIndex, handling: HtmlHandling, path: &str) -> Option<u32> {
        let Target::Normal(normal) = normalise(path, 1_000) else { return None };
        match resolve(index, handling, &normal) {
            Resolution::File(number) if normal == path => Some(number),
            _ => None,
        }
    }

    #[test]
    fn what_leads_to_a_page_by_its_own_place_is_straight_and_what_is_redirected_or_encoded_is_not() {
        let paths: Vec<BundlePath> =
            ["index.html", "docs/index.html", "\u{fc}.js"].map(|path| path.parse().unwrap()).into();
        let index = PathIndex::new(&paths);
        let straight = FastPaths::new(&paths, &index, HtmlHandling::AutoTrailingSlash);
        for (path, file) in [("/", Some(0)), ("/docs/", Some(1)), ("/docs", None), ("/docs/index.html", None)] {
            assert_eq!(straight.file(path), file, "{path}");
        }
        for path in ["", "/%C3%BC.js", "/\u{fc}.js", "//", "/./", "/none"] {
            assert_eq!(straight.file(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_by_one_look_is_what_is_found_by_thinking(
            paths in proptest::collection::btree_set("([ab]/){0,2}(a|b|index|404)(\\.html|\\.js|)", 0..8),
            generated in "(/|//|/\\./|)(([ab]|index|404|%61|\u{fc})(\\.html|\\.js|/|)){0,3}",
        ) {
            let paths: Vec<BundlePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
            let index = PathIndex::new(&paths);
            for handling in WAYS {
                let straight = FastPaths::new(&paths, &index, handling);
                let own = paths.iter().flat_map(|path| addresses(path.as_str()));
                for path in own.chain([generated.clone()]) {
                    // A path that names no file takes more to decide.
                    let file = straight.file(&path);
                    prop_assert!(file.is_none() || file == thought(&index, handling, &path), "{:?} {}", handling, path);
                }
                for path in paths.iter().flat_map(|path| addresses(path.as_str())) {
                    prop_assert_eq!(straight.file(&path), thought(&index, handling, &path), "{:?} {}", handling, path);
                }
            }
        }
    }
}
