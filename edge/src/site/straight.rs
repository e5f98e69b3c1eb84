//! The paths of a version that lead straight to a file, as they are sent: for these, nothing need be taken apart.

use std::collections::HashMap;

use devanture_config::path::BundlePath;
use devanture_config::site_toml::HtmlHandling;

use super::resolve::{PathIndex, Resolution, addresses, resolve};
use super::target::{Target, normalise};

/// Paths that are normal as they stand and are neither redirected nor missing, each with its file: what
/// [`normalise`] and [`resolve`] say of most requests, found by one look.
#[derive(Debug, Default)]
pub struct StraightPaths(HashMap<Box<str>, u32, foldhash::fast::RandomState>);

impl StraightPaths {
    /// Those that lead to the files at `paths`, which are those of `index`.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p BundlePath>, index: &PathIndex, handling: HtmlHandling) -> Self {
        let straight = |path: String| match (normalise(&path, path.len()), resolve(index, handling, &path)) {
            (Target::Normal(normal), Resolution::File(number)) if normal == path => Some((path.into(), number)),
            _ => None,
        };
        Self(paths.into_iter().flat_map(|path| addresses(path.as_str())).filter_map(straight).collect())
    }

    /// The number of the file that `path`, as it was sent, leads to; nothing where it takes more to know.
    #[inline]
    #[must_use]
    pub fn file(&self, path: &str) -> Option<u32> {
        self.0.get(path).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [HtmlHandling; 5] = [
        HtmlHandling::AsIs,
        HtmlHandling::None,
        HtmlHandling::AutoTrailingSlash,
        HtmlHandling::DropTrailingSlash,
        HtmlHandling::ForceTrailingSlash,
    ];

    fn paths(of: &[&str]) -> Vec<BundlePath> {
        of.iter().map(|path| path.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_found_by_one_look_is_what_is_found_by_thinking() {
        let paths =
            paths(&["index.html", "app.js", "docs/index.html", "about.html", "about/team.html", "404.html", "ü.js"]);
        let index = PathIndex::new(&paths);
        let asked =
            ["/", "/app.js", "/app.js/", "/docs", "/docs/", "/docs/index", "/docs/index.html", "/about", "/about/"]
                .into_iter()
                .chain(["/about.html", "/about/team", "/about/./team", "//app.js", "/ü.js", "/%C3%BC.js", "", "/none"]);
        for (handling, path) in WAYS.into_iter().flat_map(|way| asked.clone().map(move |path| (way, path))) {
            let straight = StraightPaths::new(&paths, &index, handling);
            let thought = match normalise(path, 100) {
                Target::Normal(normal) => match resolve(&index, handling, &normal) {
                    Resolution::File(number) if normal == path => Some(number),
                    _ => None,
                },
                _ => None,
            };
            assert_eq!(straight.file(path), thought, "{handling:?} {path}");
        }
    }
}
