//! Files that every visitor of a page gets for the addresses in the page, at any address of the page.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use devanture_config::Manifest;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{HtmlHandling, NotFound};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use super::notes::Differs;
use super::predicted::PredictedRequest;
use super::steps::{Steps, TooMany, steps};
use super::{Asking, HOST, ManifestSite};
use crate::decide::{End, decide};
use crate::integrity::Asset;
use crate::precompressed::{SUFFIXES, is_svgz};
use crate::rules::Varies;

/// Rules of a site checked in one step.
const RULES_PER_STEP: usize = 64;
/// Files with names counted in one step.
const FILES_PER_STEP: usize = 64;
/// Bytes of addresses in the cache of lookups.
const KNOWN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A version whose pages are searched for the files that they load.
#[derive(Debug)]
pub struct SameForAll<'s> {
    site: &'s ManifestSite<'s>,
    /// Number of files by name.
    names: HashMap<&'s str, usize>,
    /// True if rewrites may serve pages at other addresses.
    has_rewrites: bool,
    steps: &'s Steps,
    /// Cache of the files at addresses.
    known: RefCell<HashMap<String, Option<&'s BundlePath>>>,
    /// The bytes of the cached addresses.
    known_bytes: Cell<usize>,
}

impl<'s> SameForAll<'s> {
    /// Counts the names of the files. Every lookup takes some of the `steps`.
    ///
    /// # Errors
    /// [`TooMany`] if too few steps are left to begin.
    pub fn new(site: &'s ManifestSite<'s>, steps: &'s Steps) -> Result<Self, TooMany> {
        steps.take(Self::steps_of(site.paths.len(), rules(site)))?;
        let mut names: HashMap<&str, usize> = HashMap::new();
        for path in &site.paths {
            *names.entry(name(path.as_str())).or_default() += 1;
        }
        let has_rewrites = site.rules.redirects.iter().any(|rule| !(300..400).contains(&rule.status));
        Ok(Self { site, names, has_rewrites, steps, known: RefCell::default(), known_bytes: Cell::default() })
    }

    fn steps_of(files: usize, rules: usize) -> u64 {
        steps((files / FILES_PER_STEP).saturating_add(rules).saturating_add(1))
    }

    /// The remaining steps.
    pub(super) const fn steps(&self) -> &'s Steps {
        self.steps
    }

    /// The file of the bundle that every visitor gets for `asset` of the page at `page`; `None` if a rule, a redirect
    /// or a route may answer differently, or for another origin.
    ///
    /// # Errors
    /// [`TooMany`] if no steps are left.
    pub fn file(&self, page: &BundlePath, asset: &Asset) -> Result<Option<&'s BundlePath>, TooMany> {
        self.steps.take(1)?;
        let Some(url) = self.url(page, asset) else { return Ok(None) };
        let Some(path) = self.at(&url)? else { return Ok(None) };
        let is_relative = [Some(asset.address.as_str()), asset.base.as_deref()].into_iter().flatten().all(is_relative);
        // At another address of the page, a relative address could name another file.
        let may_be_another = is_relative && self.is_at_others(page) && self.names.get(name(path.as_str())) != Some(&1);
        Ok((!may_be_another).then_some(path))
    }

    /// The address of `asset` in the page at `page`.
    #[must_use]
    pub fn url(&self, page: &BundlePath, asset: &Asset) -> Option<Url> {
        self.base(page, asset.base.as_deref())?.join(&asset.address).ok()
    }

    /// The base of relative addresses in a page.
    #[must_use]
    pub fn base(&self, page: &BundlePath, base: Option<&str>) -> Option<Url> {
        let own = self.site.address_of(page).ok()?;
        match base {
            Some(base) => own.join(base).ok(),
            None => Some(own),
        }
    }

    /// Returns true if some file has the last segment of an address as its name: few addresses in a script match.
    pub(super) fn may_be_there(&self, url: &Url) -> bool {
        let decoded = percent_decode_str(name(url.path())).decode_utf8_lossy();
        self.names.contains_key(&*decoded)
    }

    /// The version.
    pub(super) const fn manifest(&self) -> &'s Manifest {
        self.site.manifest
    }

    /// The file that every visitor gets at `url`.
    pub(super) fn at(&self, url: &Url) -> Result<Option<&'s BundlePath>, TooMany> {
        if url.scheme() != "https" || url.host_str() != Some(HOST) || url.port().is_some() {
            return Ok(None);
        }
        let key = &url[Position::BeforePath..Position::AfterQuery];
        self.steps.take(1)?;
        if let Some(known) = self.known.borrow().get(key) {
            return Ok(*known);
        }
        self.steps.take(steps(rules(self.site) / RULES_PER_STEP))?;
        let found = self.found(url);
        let bytes = self.known_bytes.get().saturating_add(key.len());
        if bytes <= KNOWN_BYTES_MAX {
            self.known_bytes.set(bytes);
            self.known.borrow_mut().insert(key.to_owned(), found);
        }
        Ok(found)
    }

    fn found(&self, url: &Url) -> Option<&'s BundlePath> {
        let mut trace = Differs::default();
        let predicted = PredictedRequest::by_anybody(url.path(), url.query(), Asking::Subresource);
        let outcome = decide(self.site, &predicted, &mut trace);
        let End::File { file, status: 200, .. } = outcome.end else { return None };
        if trace.may_differ || outcome.varies != Varies::default() {
            return None;
        }
        let path = self.site.path(file)?;
        // A plain file decoded from its encoding has other bytes.
        let is_decoded = |suffix: &&str| {
            let suffix = format!(".{suffix}");
            path.as_str().ends_with(&suffix) && !url.path().ends_with(&suffix)
        };
        (!is_svgz(path) && !SUFFIXES.iter().any(is_decoded)).then_some(path)
    }

    /// Returns true if a page may answer at addresses other than its own.
    fn is_at_others(&self, page: &BundlePath) -> bool {
        let is_shell = self.site.not_found == NotFound::SinglePageApplication && page.as_str() == "index.html";
        // `/x` and `/x/` both answer with `x/index.html`, and no redirect leads from one to the other.
        let is_folder = self.site.html_handling == HtmlHandling::AsIs && page.as_str().ends_with("/index.html");
        self.has_rewrites || is_shell || is_folder || name(page.as_str()) == "404.html"
    }
}

/// Number of rules and routes of a site.
const fn rules(site: &ManifestSite<'_>) -> usize {
    site.rules.redirects.len().saturating_add(site.rules.headers.len()).saturating_add(site.routes.len())
}

/// The last segment of a path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns true if an address depends on the path of its page.
fn is_relative(address: &str) -> bool {
    let address = address.trim_start();
    !address.starts_with(['/', '\\']) && Url::parse(address).is_err()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devanture_config::manifest::FileEntry;
    use devanture_config::{Digest, site_toml};

    use super::*;
    use crate::integrity::PageAssets;
    use crate::rules::RuleSet;

    /// The file that `html` at `page` loads, in a site with `settings`.
    fn file(settings: &str, page: &str, html: &str) -> Option<String> {
        let paths = ["index.html", "404.html", "a.js", "x/index.html", "x/a.js", "x/b.js", "api/c.js", "only.js.gz"];
        let entry = || FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
        let mut manifest =
            Manifest::of_files(paths.iter().map(|path| (path.parse().unwrap(), entry())).collect::<BTreeMap<_, _>>());
        manifest.base = serde_json::from_str::<site_toml::Serving>(settings).unwrap();
        let rules = RuleSet::default();
        let site = ManifestSite::new(&manifest, "prod", rules, None);
        let steps = Steps::new(1_000);
        let found = SameForAll::new(&site, &steps).unwrap();
        let assets = PageAssets::read(html.as_bytes()).unwrap();
        found.file(&page.parse().unwrap(), &assets.tags()[0]).unwrap().map(ToString::to_string)
    }

    #[test]
    fn an_address_means_the_file_that_everybody_gets() {
        let routes = r#"{"routes":[{"path":"/api/*","to":"http://127.0.0.1:1"}]}"#;
        let shell = r#"{"not_found":"single-page-application"}"#;
        let as_is = r#"{"html_handling":"as-is"}"#;
        for (settings, page, html, expected) in [
            ("{}", "index.html", "<script src=a.js>", Some("a.js")),
            ("{}", "index.html", "<script src='/a.js?v=1#x'>", Some("a.js")),
            ("{}", "x/index.html", "<script src=a.js>", Some("x/a.js")),
            ("{}", "x/index.html", "<script src=../a.js>", Some("a.js")),
            ("{}", "x/index.html", "<base href=/><script src=a.js>", Some("a.js")),
            ("{}", "index.html", "<base href='https://cdn.example/'><script src=a.js>", None),
            ("{}", "index.html", "<script src=//cdn.example/a.js>", None),
            ("{}", "index.html", "<script src=http:a.js>", None),
            ("{}", "index.html", "<script src=data:,1>", None),
            ("{}", "index.html", "<script src=/none.js>", None),
            ("{}", "index.html", "<script src=/only.js>", None),
            ("{}", "index.html", "<script src=/x//a.js>", None),
            ("{}", "index.html", "<script src=/api/c.js>", Some("api/c.js")),
            (routes, "index.html", "<script src=/api/c.js>", None),
            // A page shown at any address names different files by the same words.
            ("{}", "404.html", "<script src=a.js>", None),
            ("{}", "404.html", "<script src=x/b.js>", Some("x/b.js")),
            ("{}", "404.html", "<script src=/a.js>", Some("a.js")),
            (shell, "index.html", "<script src=a.js>", None),
            // A folder's page answers at `/x` too, where `a.js` is another file.
            (as_is, "x/index.html", "<script src=a.js>", None),
            (as_is, "x/index.html", "<script src=b.js>", Some("x/b.js")),
            (as_is, "x/index.html", "<base href=/x/><script src=a.js>", Some("x/a.js")),
            (as_is, "index.html", "<script src=a.js>", Some("a.js")),
            (shell, "index.html", "<base href=/><script src=a.js>", Some("a.js")),
        ] {
            assert_eq!(file(settings, page, html).as_deref(), expected, "{settings} {page} {html}");
        }
    }
}
