//! A version live in one place, as an input of the decision.

use devanture_config::site_toml::{HtmlHandling, NotFound};

use super::OwnPath;
use crate::resolve::PathIndex;
use crate::rules::CompiledRules;

/// A version live in one place, as an input of the decision. Facts known only to an edge are absent by default.
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

    /// Returns true if the site has a route.
    fn has_routes(&self) -> bool;

    /// The number of the route of `path`, in the form of [`normalise_for_route`](crate::target::normalise_for_route).
    fn route(&self, path: &str) -> Option<usize>;

    /// The number of the pool with a member at `origin`, if declared by the site: the edge is no open proxy.
    fn upstream(&self, origin: &str) -> Option<usize>;

    /// Returns true if pages of `origin` may use the backends.
    fn has_cors_origin(&self, origin: &[u8]) -> bool;

    /// Returns true if visitors of `host` are redirected to `canonical`.
    fn leads(&self, host: &str, canonical: &str) -> bool;

    /// The path of a file in the bundle.
    fn file_path(&self, file: u32) -> &str;

    /// Returns true if a file is a page.
    fn is_page(&self, file: u32) -> bool;

    /// The file of `path`, as sent, if found without a full lookup.
    fn fast_path(&self, path: &str) -> Option<u32> {
        let _ = path;
        None
    }

    /// Returns true if the site has a status page.
    fn has_status_page(&self) -> bool {
        false
    }

    /// Returns true if browsers report resources that pages load without a hash.
    fn takes_reports(&self) -> bool {
        false
    }

    /// Returns true if the site has the own path of the edge.
    fn has_own(&self, own: OwnPath) -> bool {
        match own {
            OwnPath::Integrity => self.takes_reports(),
            OwnPath::Status => self.has_status_page(),
            OwnPath::Dictionary(_) | OwnPath::Env | OwnPath::Release | OwnPath::Share => true,
        }
    }

    /// Returns true if `path` was withdrawn.
    fn hides(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// Returns true if a file was withdrawn, under any of its paths.
    fn hides_file(&self, file: u32) -> bool {
        let _ = file;
        false
    }

    /// The fingerprinted asset at `path` in an earlier version, or in a version about to go live (law 10).
    fn asset(&self, path: &str) -> Option<Self::Asset> {
        let _ = path;
        None
    }

    /// The path of an asset in its own bundle, and the rules of its version.
    fn asset_parts<'a>(&'a self, asset: &'a Self::Asset) -> (&'a str, &'a CompiledRules);
}
