//! Paths of a version that lead directly to a file, as sent, without parsing.

use std::sync::Arc;

use devanture_config::heap::HeapBytes;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::HtmlHandling;

use super::name_table::{NameTable, Span};
use super::resolve::{PathIndex, Resolution, addresses, resolve};
use super::target::{Target, normalise};

/// Normal paths that are neither redirected nor missing, each with its file: the results of [`normalise`] and
/// [`resolve`] for most requests, by a single lookup.
#[derive(Debug, Default)]
pub struct FastPaths {
    /// The text of the index.
    text: Arc<str>,
    files: NameTable<u32>,
}

impl FastPaths {
    /// The fast paths of the files at `paths`, the files of `index`.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p BundlePath>, index: &PathIndex, handling: HtmlHandling) -> Self {
        let straight = |path: &str| match (normalise(path, path.len()), resolve(index, handling, path)) {
            (Target::Normal(normal), Resolution::File(number)) if normal == path => Some(number),
            _ => None,
        };
        let text = Arc::clone(index.text());
        let (mut files, mut begin) = (NameTable::default(), 0);
        for path in paths.into_iter().filter(|path| !path.is_private()) {
            for address in addresses(path.as_str()) {
                if let (Some(number), Some(span)) = (straight(&address), span_of(&address, path, begin)) {
                    files.change(&text, (address.as_str(), span), number, |_| {});
                }
            }
            // The text has the path after a slash, as in the index.
            begin += path.as_str().len() + 1;
        }
        files.shrink();
        Self { text, files }
    }

    /// The number of the file of `path`, as sent; `None` if a full lookup must decide.
    #[inline]
    #[must_use]
    pub fn file(&self, path: &str) -> Option<u32> {
        self.files.get(&self.text, path)
    }
}

impl HeapBytes for FastPaths {
    fn heap_bytes(&self) -> usize {
        self.files.heap_bytes()
    }
}

/// The span of an address of the file at `path` in the text, which has `path` after a slash at `begin`: the address
/// starts there, and may end with a further slash.
fn span_of(address: &str, path: &BundlePath, begin: usize) -> Option<Span> {
    let is_in = |name: &str| name.strip_prefix('/').is_some_and(|name| path.as_str().starts_with(name));
    match address.strip_suffix('/') {
        _ if is_in(address) => Span::new(begin, address.len()),
        Some(name) if is_in(name) => Some(Span::new(begin, name.len())?.slashed()),
        _ => None,
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

    /// The result of the full lookup of a path sent in normal form.
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
                    // A path without a file needs the full lookup.
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
