//! A version as it is live in one place, as far as answers depend on it.

use devanture_config::site_toml::{HtmlHandling, NotFound};

use super::OwnPath;
use crate::resolve::PathIndex;
use crate::rules::CompiledRules;

/// A version as it is live in one place, as far as answers depend on it. What only an edge knows is by default not
/// there.
pub trait Site {
    /// A file of another version.
    type Asset;

    /// Path to file.
    fn index(&self) -> &PathIndex;

    /// `html_handling`.
    fn html_handling(&self) -> HtmlHandling;

    /// `not_found`.
    fn not_found(&self) -> NotFound;

    /// Redirects, rewrites, fields, access.
    fn rules(&self) -> &CompiledRules;

    /// Whether there is any route.
    fn has_routes(&self) -> bool;

    /// The number of the route that `path` belongs to: as [`normalise_for_route`](crate::target::normalise_for_route)
    /// gives it.
    fn route(&self, path: &str) -> Option<usize>;

    /// The number of the pool with a member at `origin`, if the site declares one: the edge is nobody's open proxy.
    fn upstream(&self, origin: &str) -> Option<usize>;

    /// Whether pages of `origin` may use the backends.
    fn has_cors_origin(&self, origin: &[u8]) -> bool;

    /// Whether visitors of `host` are sent on to `canonical`.
    fn leads(&self, host: &str, canonical: &str) -> bool;

    /// The path of a file in the bundle.
    fn file_path(&self, file: u32) -> &str;

    /// Whether a file is a page.
    fn is_page(&self, file: u32) -> bool;

    /// The file that `path`, as it was sent, leads to, where that needs no thought.
    fn fast_path(&self, path: &str) -> Option<u32> {
        let _ = path;
        None
    }

    /// Whether it has a page that says whether it is up.
    fn has_status_page(&self) -> bool {
        false
    }

    /// Whether browsers report what its pages load without a hash.
    fn takes_reports(&self) -> bool {
        false
    }

    /// Whether it has that path of the edge's own.
    fn has_own(&self, own: OwnPath) -> bool {
        match own {
            OwnPath::Integrity => self.takes_reports(),
            OwnPath::Status => self.has_status_page(),
            OwnPath::Dictionary(_) | OwnPath::Env | OwnPath::Release | OwnPath::Share => true,
        }
    }

    /// Whether `path` was withdrawn.
    fn hides(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// Whether a file was withdrawn, under any of its paths.
    fn hides_file(&self, file: u32) -> bool {
        let _ = file;
        false
    }

    /// The fingerprinted asset at `path` in a version that was replaced here, or is about to be live (law 10).
    fn asset(&self, path: &str) -> Option<Self::Asset> {
        let _ = path;
        None
    }

    /// The path of an asset in its own bundle, and the rules of its version.
    fn asset_parts<'a>(&'a self, asset: &'a Self::Asset) -> (&'a str, &'a CompiledRules);
}
