//! Predicts the responses of a version to an address, as far as the bundle alone determines them.
//!
//! [`decide`](crate::decide::decide) decides, as for the edge; the module supplies a manifest in place of a loaded
//! version, and the words that explain each step. A response that depends on unknown facts, such as a backend or the
//! visitor, is reported as unknown.

mod end;
mod explain;
mod for_all;
mod modules;
mod notes;
mod predicted;
mod prefixes;
mod steps;

pub use end::{BackendTo, Decided, End, Request};
pub use explain::{Explanation, Shadowed};
pub use for_all::SameForAll;
pub use modules::{Bounds, Module, ModuleFinder, Modules};
pub use notes::{Note, Stands};
pub use predicted::PredictedRequest;
pub use steps::{Steps, TooMany};

pub use crate::decide::{OwnPath, Refused, Stage};

use std::convert::Infallible;

use devanture_config::manifest::Manifest;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{HtmlHandling, Integrity, NotFound, Route, Serving, UpstreamUrl, sort_routes};
use devanture_config::{Canonical, HostPattern};
use url::Url;

use crate::decide::{self, Outcome, decide};
use crate::media;
use crate::resolve::{self, PathIndex, Resolution};
use crate::rules::restricted::{RestrictedPaths, served_plain_paths};
use crate::rules::{At, CompiledRules, RuleSet};
use crate::target;
use notes::Differs;

/// Placeholder for the host of the site.
pub const HOST: &str = "site.invalid";
/// Maximum redirects to follow; browsers give up after about as many.
const REDIRECTS_MAX: usize = 20;

/// Kind of a browser's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asking {
    /// A followed link, or a frame of another page.
    Navigation,
    /// A resource of a page.
    Subresource,
}

/// The response at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A file of the bundle, by its number in the order of the manifest.
    File(u32),
    /// No file of the site: a backend, another site or the edge itself answers, or the response depends on the request.
    Elsewhere,
    /// No content: a 404, or a rule's status, with the place of the rule that led there.
    Nothing(Option<At>),
    /// An invalid path.
    BadPath,
    /// A circle of redirects, through the rule at the place.
    Circle(Option<At>),
}

/// A version as it would answer in one environment, known by its manifest alone.
#[derive(Debug)]
pub struct ManifestSite<'m> {
    manifest: &'m Manifest,
    paths: Vec<&'m BundlePath>,
    index: PathIndex,
    html_handling: HtmlHandling,
    not_found: NotFound,
    /// In the order of matching, each with its position in the written list.
    routes: Vec<(usize, Route)>,
    rules: RuleSet,
    compiled: CompiledRules,
    upstreams: Vec<String>,
    hosts: Vec<String>,
    /// The canonical hostname.
    canonical: Option<String>,
    serving: Serving,
}

impl<'m> ManifestSite<'m> {
    /// Prepares a version as it would be in `table`, an environment's name or `preview`; `rules` are the rules there,
    /// and `restricted` the paths that the whole manifest and its rule files restrict.
    #[must_use]
    pub fn new(manifest: &'m Manifest, table: &str, rules: RuleSet, restricted: Option<&RestrictedPaths>) -> Self {
        let serving = manifest.serving_for(table);
        let paths: Vec<&BundlePath> = manifest.files.keys().collect();
        let hosts = serving.hostnames.iter().flatten().map(HostPattern::as_str).filter(|name| !name.starts_with('*'));
        let hosts: Vec<String> = hosts.map(str::to_owned).collect();
        let canonical = match &serving.canonical {
            Some(Canonical::Name(name)) => Some(name.as_str().to_owned()),
            Some(Canonical::None) => None,
            None => hosts.first().cloned(),
        };
        let mut routes: Vec<(usize, Route)> = serving.routes.iter().flatten().cloned().enumerate().collect();
        sort_routes(&mut routes, |(_, route)| &route.path);
        let mut index = PathIndex::new(paths.iter().copied());
        // A file uploaded compressed alone answers under its plain name too, decoded by the edge.
        let alone = served_plain_paths(manifest, restricted);
        let alone = alone.into_iter().filter(|(_, plain)| index.exact(plain.as_str()).is_none());
        let alone: Vec<_> = alone.collect();
        // With several codings of one file the first counts.
        index.name_also(alone.iter().rev().map(|(name, plain)| (plain, name)));
        Self {
            manifest,
            index,
            paths,
            html_handling: manifest.html_handling_in(&serving),
            not_found: serving.not_found.unwrap_or(NotFound::Page404),
            upstreams: serving.backends().filter_map(UpstreamUrl::origin).collect(),
            hosts,
            canonical,
            routes,
            compiled: CompiledRules::new(rules.clone()),
            rules,
            serving,
        }
    }

    /// The path of a file in the bundle, by its number.
    #[must_use]
    pub fn path(&self, file: u32) -> Option<&'m BundlePath> {
        self.paths.get(usize::try_from(file).ok()?).copied()
    }

    /// The visitor's address of the page at `path` of the bundle, the base of its links.
    ///
    /// # Errors
    /// The path makes no URL, which no path does.
    pub fn address_of(&self, path: &BundlePath) -> Result<Url, url::ParseError> {
        let own = format!("/{path}");
        let place = match resolve::resolve(&self.index, self.html_handling, &own) {
            Resolution::Redirect(to) => to,
            // A folder's page is linked as the folder.
            Resolution::File(_) if self.html_handling == HtmlHandling::AsIs && own.ends_with("/index.html") => {
                own.trim_end_matches("index.html").to_owned()
            }
            Resolution::File(_) | Resolution::Missing => own,
        };
        Url::parse(&format!("https://{HOST}{}", target::encode_path(&place)))
    }

    /// Integrity settings of the pages.
    #[must_use]
    pub fn integrity(&self) -> Integrity {
        self.serving.integrity.unwrap_or(Integrity::Off)
    }

    /// Returns true if a URL belongs to the site.
    #[must_use]
    pub fn is_own(&self, url: &Url) -> bool {
        let is_web = matches!(url.scheme(), "http" | "https");
        is_web && url.port().is_none() && url.host_str().is_some_and(|h| h == HOST || self.hosts.iter().any(|n| n == h))
    }

    /// Follows redirects from `url`, an address of the site itself, and returns the final response.
    #[must_use]
    pub fn ask(&self, url: &Url, asking: Asking) -> Answer {
        use decide::End;
        let mut url = url.clone();
        let mut led_by = None;
        for _ in 0..REDIRECTS_MAX {
            let mut trace = Differs::default();
            let predicted = PredictedRequest::by_anybody(url.path(), url.query(), asking);
            let Outcome { end, .. } = decide(self, &predicted, &mut trace);
            let rule = trace.rule.and_then(|rule| self.redirect(usize::try_from(rule).ok()?));
            led_by = rule.map(|rule| rule.at.clone()).or(led_by);
            match end {
                End::Redirect { location, .. } => {
                    url = match url.join(&location) {
                        Ok(next) if self.is_own(&next) => next,
                        Ok(_) | Err(_) => return Answer::Elsewhere,
                    };
                }
                End::File { file, status: 200, .. } => return Answer::File(file),
                End::Asset { .. } | End::Backend { .. } | End::Own(_) => return Answer::Elsewhere,
                End::Refused(_) => return Answer::BadPath,
                End::File { .. } | End::Nothing | End::Methods | End::Preflight if trace.may_differ => {
                    return Answer::Elsewhere;
                }
                End::File { .. } | End::Nothing | End::Methods | End::Preflight => return Answer::Nothing(led_by),
            }
        }
        Answer::Circle(led_by)
    }

    /// Returns true if a file is a page, by its declared type or else by its name.
    #[must_use]
    pub fn is_page(&self, file: u32) -> bool {
        let Some(path) = self.path(file) else { return false };
        let declared = self.manifest.files.get(path).and_then(|entry| entry.media_type.as_deref());
        match declared {
            Some(declared) => {
                let essence = declared.split(';').next().unwrap_or_default().trim();
                ["text/html", "application/xhtml+xml"].iter().any(|page| essence.eq_ignore_ascii_case(page))
            }
            None => is_page_name(path.as_str()),
        }
    }

    /// Returns true if the edge inserts hashes into the page.
    #[must_use]
    pub fn is_html(&self, file: u32) -> bool {
        let declared = |path| self.manifest.files.get(path).and_then(|entry| entry.media_type.as_deref());
        self.path(file).is_some_and(|path| media::is_html(path.as_str(), declared(path)))
    }
}

/// Returns true if a file's name is a page's.
#[must_use]
pub fn is_page_name(path: &str) -> bool {
    let ending = crate::fingerprint::extension(path);
    ending.is_some_and(|ending| matches!(ending.as_str(), "htm" | "html" | "xht" | "xhtml"))
}

impl decide::Site for ManifestSite<'_> {
    type Asset = Infallible;

    fn index(&self) -> &PathIndex {
        &self.index
    }

    fn html_handling(&self) -> HtmlHandling {
        self.html_handling
    }

    fn not_found(&self) -> NotFound {
        self.not_found
    }

    fn rules(&self) -> &CompiledRules {
        &self.compiled
    }

    fn has_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    fn route(&self, path: &str) -> Option<usize> {
        let number = self.routes.iter().position(|(_, route)| route.path.takes(path))?;
        let is_files = |(_, route): &(_, Route)| route.files_first && self.index.exact(path).is_some();
        (!self.routes.get(number).is_some_and(is_files)).then_some(number)
    }

    fn upstream(&self, origin: &str) -> Option<usize> {
        self.upstreams.iter().position(|own| own == origin)
    }

    fn has_cors_origin(&self, origin: &[u8]) -> bool {
        self.serving.cors.iter().flatten().any(|named| named.as_str().as_bytes() == origin)
    }

    fn leads(&self, host: &str, canonical: &str) -> bool {
        host != canonical && self.canonical.as_deref() == Some(canonical) && self.hosts.iter().any(|own| own == host)
    }

    fn has_status_page(&self) -> bool {
        self.serving.status_page.unwrap_or(false)
    }

    fn takes_reports(&self) -> bool {
        self.integrity() != Integrity::Off
    }

    fn file_path(&self, file: u32) -> &str {
        self.path(file).map_or("", BundlePath::as_str)
    }

    fn is_page(&self, file: u32) -> bool {
        ManifestSite::is_page(self, file)
    }

    fn asset_parts<'a>(&'a self, asset: &'a Infallible) -> (&'a str, &'a CompiledRules) {
        match *asset {}
    }
}

#[cfg(test)]
mod tests;
