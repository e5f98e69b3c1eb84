//! Predicts the answers of a version to an address, as far as its bundle alone decides them.
//!
//! The edge decides the same in `handler`, with a request at hand; paths, pages and rules are read by one code for
//! both. Where an answer depends on what is not known here, a backend or the visitor, that is what is said.

mod by_rule;
mod decide;
mod end;
mod explain;
mod notes;

pub use end::{BackendTo, Decided, End, Refused, Request};
pub use explain::{Explanation, Shadowed};
pub use notes::{Note, Stage, Stands};

use devanture_config::Sha256;
use devanture_config::manifest::Manifest;
use devanture_config::names::{Canonical, HostPattern};
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{HtmlHandling, NotFound, Route, Serving, UpstreamUrl, sort_routes};
use url::Url;

use crate::resolve::{self, PathIndex, Resolution};
use crate::rules::restricted::{RestrictedPaths, served_plain_paths};
use crate::rules::{At, Redirect, RuleSet};
use crate::target;
use by_rule::normal;
use decide::{Asked, Who};
use notes::Notes;

/// Stands for the host of the site, whichever it is.
pub const HOST: &str = "site.invalid";
/// Below it lie the edge's own paths; a site's files may lie there, too.
const OWN_FOLDER: &str = "/.well-known/devanture/";
/// Below that, the dictionaries of pages, by their SHA-256.
const DICTIONARIES: &str = "dictionary/";
/// Redirects that are followed; browsers give up after about as many.
const REDIRECTS_MAX: usize = 20;

/// A path of the edge's own: it is answered before routes, rules and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPath {
    /// The settings that the environment shows to its front.
    Env,
    /// The version.
    Release,
    /// The compression dictionary of its pages that has this SHA-256.
    Dictionary(Sha256),
}

impl OwnPath {
    /// The one at `path`, as it was sent, if there is one.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        match path.strip_prefix(OWN_FOLDER)? {
            "env.json" => Some(Self::Env),
            "release.json" => Some(Self::Release),
            other => Some(Self::Dictionary(other.strip_prefix(DICTIONARIES)?.parse().ok()?)),
        }
    }

    /// Where the dictionary with this SHA-256 is.
    #[must_use]
    pub fn of_dictionary(sha256: Sha256) -> String {
        format!("{OWN_FOLDER}{DICTIONARIES}{sha256}")
    }
}

/// The request of a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asking {
    /// A person follows a link, or a page shows another in a frame.
    Navigation,
    /// A page is made with it.
    Subresource,
}

/// The answer at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A file of the bundle, by its number in the order of the manifest.
    File(u32),
    /// Not the site's: a backend, another site or the edge itself answers, or the answer depends on the request.
    Elsewhere,
    /// Nothing: a 404, or a status that a rule gives, after the rule at this place where one led there.
    Nothing(Option<At>),
    /// No path that anything answers.
    BadPath,
    /// A circle of redirects, through the rule at this place.
    Circle(Option<At>),
}

/// A version as it would answer in one environment.
#[derive(Debug)]
pub struct Site<'m> {
    manifest: &'m Manifest,
    paths: Vec<&'m BundlePath>,
    index: PathIndex,
    html_handling: HtmlHandling,
    not_found: NotFound,
    /// In the order in which they are asked, each with its place in the list as it is written.
    routes: Vec<(usize, Route)>,
    rules: RuleSet,
    upstreams: Vec<String>,
    hosts: Vec<String>,
    /// The hostname that the others lead to.
    canonical: Option<String>,
    serving: Serving,
}

impl<'m> Site<'m> {
    /// Makes a version ready to be asked, as it would be in `table`, an environment's name or `preview`; `rules` are
    /// those that hold there, and `restricted` what the whole manifest and its files of rules keep from visitors.
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
        // A file that came compressed alone answers under its plain name too, which the edge decodes.
        for (name, plain) in served_plain_paths(manifest, restricted) {
            if index.exact(plain.as_str()).is_none() {
                index.name_also(&plain, &name);
            }
        }
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
            rules,
            serving,
        }
    }

    /// The path of a file in the bundle, by its number.
    #[must_use]
    pub fn path(&self, file: u32) -> Option<&'m BundlePath> {
        self.paths.get(usize::try_from(file).ok()?).copied()
    }

    /// The address at which a visitor sees the page at `path` of the bundle, so that its links lead on from there.
    ///
    /// # Errors
    /// Where the path makes no URL, which no path does.
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

    /// Whether a URL is one of the site's own.
    #[must_use]
    pub fn is_own(&self, url: &Url) -> bool {
        let is_web = matches!(url.scheme(), "http" | "https");
        is_web && url.port().is_none() && url.host_str().is_some_and(|h| h == HOST || self.hosts.iter().any(|n| n == h))
    }

    /// Follows redirects from `url`, an address of the site itself, and returns what answers in the end.
    #[must_use]
    pub fn ask(&self, url: &Url, asking: Asking) -> Answer {
        let mut url = url.clone();
        let mut led_by = None;
        for _ in 0..REDIRECTS_MAX {
            let mut notes = Notes::default();
            let asked = Asked { path: url.path(), query: url.query(), who: Who::Anybody(asking) };
            let Decided { end, rule, .. } = self.decide(&asked, &mut notes);
            led_by = rule.and_then(|rule| self.redirect(rule)).map(|rule| rule.at.clone()).or(led_by);
            match end {
                End::Redirect { location, .. } => {
                    url = match url.join(&location) {
                        Ok(next) if self.is_own(&next) => next,
                        Ok(_) | Err(_) => return Answer::Elsewhere,
                    };
                }
                End::File { file, status: 200 } => return Answer::File(file),
                End::Backend { .. } | End::Own(_) => return Answer::Elsewhere,
                End::Refused(_) => return Answer::BadPath,
                End::File { .. } | End::Nothing | End::Methods | End::Preflight if notes.may_differ => {
                    return Answer::Elsewhere;
                }
                End::File { .. } | End::Nothing | End::Methods | End::Preflight => return Answer::Nothing(led_by),
            }
        }
        Answer::Circle(led_by)
    }

    /// The number of the route that `path` belongs to, in the order in which they are asked.
    fn route(&self, path: &str) -> Option<usize> {
        self.routes.iter().position(|(_, route)| route.path.takes(path))
    }

    /// Whether a file is a page, by its declared type or else by its name.
    #[must_use]
    pub fn is_page(&self, file: u32) -> bool {
        let Some(path) = self.path(file) else { return false };
        let said = self.manifest.files.get(path).and_then(|entry| entry.media_type.as_deref());
        match said {
            Some(said) => {
                let essence = said.split(';').next().unwrap_or_default().trim();
                ["text/html", "application/xhtml+xml"].iter().any(|page| essence.eq_ignore_ascii_case(page))
            }
            None => is_page_name(path.as_str()),
        }
    }
}

/// Whether a file's name is that of a page.
#[must_use]
pub fn is_page_name(path: &str) -> bool {
    let ending = crate::fingerprint::extension(path);
    ending.is_some_and(|ending| matches!(ending.as_str(), "htm" | "html" | "xht" | "xhtml"))
}

/// The host that a rule is for, as far as it is written out.
fn host_of(rule: &Redirect) -> &str {
    let text = rule.from.as_str();
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

#[cfg(test)]
mod tests {
    use devanture_config::digest::Digest;
    use devanture_config::manifest::FileEntry;
    use devanture_config::site_toml::SiteFile;

    use super::*;
    use crate::rules::of_manifest;

    const FILES: [&str; 8] =
        ["404.html", "a b.html", "about.html", "app.js", "docs/index.html", "index.html", "old.html", "\u{fc}.png"];

    fn manifest(site: &str) -> Manifest {
        let file = || FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
        let mut manifest = Manifest::of_files(FILES.iter().map(|path| (path.parse().unwrap(), file())).collect());
        let site = SiteFile::parse("devanture.toml", site).unwrap();
        (manifest.base, manifest.env) = (site.base, site.env);
        manifest
    }

    fn asked(site: &str, redirects: &str, address: &str, asking: Asking) -> String {
        let manifest = manifest(site);
        let (rules, _) =
            of_manifest(&manifest, "prod", Some(redirects.as_bytes()), None, 100, "devanture.toml", &|_, _| {
                At::whole("devanture.toml")
            });
        let site = Site::new(&manifest, "prod", rules, RestrictedPaths::of(&manifest, None, None, 100).as_ref());
        let url = Url::parse(&format!("https://{HOST}/")).unwrap().join(address).unwrap();
        match site.ask(&url, asking) {
            Answer::File(number) => site.path(number).unwrap().to_string(),
            Answer::Nothing(at) => at.map_or_else(|| "-".to_owned(), |at| format!("- by {}:{}", at.file, at.line)),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_address_ends_where_the_edge_would_send_its_visitor() {
        let site = "html_handling = \"auto-trailing-slash\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n\
                    [env.prod]\nhostnames = [\"example.org\"]\n";
        let rules = "/old /new 301!\n/moved /about\n/far https://other.example/\n/lost /nowhere\n\
                     /round /circle\n/circle /round\n/de/* /about 302 Language=de\n/gone /404.html 410\n/q id=:id /:id\n";
        for (address, expected) in [
            ("/", "index.html"),
            ("/about", "about.html"),
            ("/about.html?x=1", "about.html"),
            ("/docs", "docs/index.html"),
            ("/docs/../app.js", "app.js"),
            ("/a%20b", "a b.html"),
            ("/u%CC%88.png", "\u{fc}.png"),
            ("/nothing", "-"),
            ("/api/x", "Elsewhere"),
            ("/api", "Elsewhere"),
            ("/old", "-"),
            ("/moved", "about.html"),
            ("/far", "Elsewhere"),
            ("/lost", "- by _redirects:4"),
            ("/de/x", "Elsewhere"),
            ("/gone", "- by _redirects:8"),
            ("/q?id=about", "about.html"),
            ("/q", "-"),
            ("/%00", "BadPath"),
            ("https://example.org/about", "about.html"),
            ("/.well-known/devanture/release.json", "Elsewhere"),
        ] {
            let expected = if address == "/old" { "- by _redirects:1" } else { expected };
            assert_eq!(asked(site, rules, address, Asking::Navigation), expected, "{address}");
        }
        assert!(asked(site, rules, "/round", Asking::Navigation).starts_with("Circle"));
    }

    #[test]
    fn the_page_of_an_application_answers_who_navigates() {
        let spa = "not_found = \"single-page-application\"\n";
        assert_eq!(asked(spa, "", "/cart", Asking::Navigation), "index.html");
        assert_eq!(asked(spa, "", "/cart.png", Asking::Subresource), "-");
        let by_rule = "/* /index.html 200\n";
        assert_eq!(asked("", by_rule, "/cart", Asking::Navigation), "index.html");
        assert_eq!(asked("", by_rule, "/cart.png", Asking::Subresource), "- by _redirects:1");
        assert_eq!(asked("", by_rule, "/app.js", Asking::Subresource), "app.js");
    }

    #[test]
    fn a_page_has_the_address_that_its_links_lead_on_from() {
        for (handling, path, expected) in [
            ("auto-trailing-slash", "about.html", "/about"),
            ("auto-trailing-slash", "docs/index.html", "/docs/"),
            ("force-trailing-slash", "about.html", "/about/"),
            ("drop-trailing-slash", "docs/index.html", "/docs"),
            ("as-is", "docs/index.html", "/docs/"),
            ("as-is", "about.html", "/about.html"),
            ("none", "docs/index.html", "/docs/index.html"),
        ] {
            let manifest = manifest(&format!("html_handling = \"{handling}\"\n"));
            let site = Site::new(&manifest, "prod", RuleSet::default(), Some(&RestrictedPaths::default()));
            let address = site.address_of(&path.parse().unwrap()).unwrap();
            assert_eq!(address.path(), expected, "{handling} {path}");
        }
    }
}
