//! What a version answers to an address, as far as its bundle alone decides that: asked before anything is sent.
//!
//! The edge decides the same in `handler`, with a request at hand; paths, pages and rules are read by one code for both.
//! Where an answer depends on what is not known here, a backend or the visitor, that is what is said.

use url::Url;

use crate::manifest::Manifest;
use crate::names::HostPattern;
use crate::path::BundlePath;
use crate::resolve::{self, PathIndex, Resolution};
use crate::rules::pattern::Ending;
use crate::rules::query::{parameters, query_matches};
use crate::rules::redirect::Filled;
use crate::rules::{At, Redirect, RuleSet};
use crate::site_toml::{HtmlHandling, NotFound, Route};
use crate::target::{self, Target};

/// Stands for the host of the site, whichever it is.
pub const HOST: &str = "site.invalid";
/// Below this the edge answers for every version itself.
const OWN_PATHS: &str = "/.well-known/devanture/";
/// Redirects that are followed; browsers give up after about as many.
const REDIRECTS_MAX: usize = 20;
/// Longest path that is looked at; the edge's own limit is not known here.
const PATH_BYTES_MAX: usize = 65_536;

/// How a browser asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asking {
    /// A person follows a link, or a page shows another in a frame.
    Navigation,
    /// A page is made with it.
    Subresource,
}

/// What an address answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A file of the bundle, by its number in the order of the manifest.
    File(u32),
    /// Somebody else's: a backend, another site, or the edge itself; or it depends on who asks.
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
    routes: Vec<Route>,
    redirects: Vec<Redirect>,
    upstreams: Vec<String>,
    hosts: Vec<String>,
}

/// What one address leads to, redirects not followed.
enum Step {
    End(Answer),
    To { location: String, by: Option<At> },
}

impl<'m> Site<'m> {
    /// Makes a version ready to be asked, as it would be in `table`, an environment's name or `preview`; `rules` are those
    /// that hold there.
    #[must_use]
    pub fn new(manifest: &'m Manifest, table: &str, rules: RuleSet) -> Self {
        let serving = manifest.serving_for(table);
        let paths: Vec<&BundlePath> = manifest.files.keys().collect();
        let declared = serving.upstreams.iter().flat_map(|all| all.values());
        let upstreams = declared.chain(serving.routes.iter().flatten().map(|route| &route.to));
        let hosts = serving.hostnames.iter().flatten().map(HostPattern::as_str).filter(|name| !name.starts_with('*'));
        Self {
            manifest,
            index: PathIndex::new(paths.iter().copied()),
            paths,
            html_handling: manifest.html_handling_in(&serving),
            not_found: serving.not_found.unwrap_or(NotFound::Page404),
            upstreams: upstreams.map(|url| url.url().origin().ascii_serialization()).collect(),
            hosts: hosts.map(str::to_owned).collect(),
            routes: serving.routes.clone().unwrap_or_default(),
            redirects: rules.redirects,
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

    /// Whether a path belongs to a backend.
    #[must_use]
    pub fn is_routed(&self, raw_path: &str) -> bool {
        let takes = |path: &str| self.routes.iter().any(|route| route.path.takes(path));
        match target::normalise_for_route(raw_path, PATH_BYTES_MAX) {
            Target::Normal(path) => takes(&path),
            Target::Redirect(to) => {
                matches!(target::normalise_for_route(&to, PATH_BYTES_MAX), Target::Normal(path) if takes(&path))
            }
            Target::Refuse(_) => false,
        }
    }

    /// Where somebody ends who asks for `url`, which is the site's own.
    #[must_use]
    pub fn ask(&self, url: &Url, asking: Asking) -> Answer {
        let mut url = url.clone();
        let mut led_by = None;
        for _ in 0..REDIRECTS_MAX {
            match self.step(url.path(), url.query(), asking) {
                Step::End(Answer::Nothing(None)) => return Answer::Nothing(led_by),
                Step::End(answer) => return answer,
                Step::To { location, by } => {
                    led_by = by.or(led_by);
                    url = match url.join(&location) {
                        Ok(next) if self.is_own(&next) => next,
                        Ok(_) | Err(_) => return Answer::Elsewhere,
                    };
                }
            }
        }
        Answer::Circle(led_by)
    }

    fn step(&self, raw_path: &str, query: Option<&str>, asking: Asking) -> Step {
        if raw_path.starts_with(OWN_PATHS) || self.is_routed(raw_path) {
            return Step::End(Answer::Elsewhere);
        }
        let path = match target::normalise(raw_path, PATH_BYTES_MAX) {
            Target::Normal(path) => path.into_owned(),
            Target::Redirect(to) => match target::normalise(&to, PATH_BYTES_MAX) {
                Target::Normal(path) => path.into_owned(),
                Target::Redirect(_) | Target::Refuse(_) => return Step::End(Answer::BadPath),
            },
            Target::Refuse(_) => return Step::End(Answer::BadPath),
        };
        let (step, may_differ) = self.by_rule(&path, query, asking);
        if let Some(step) = step {
            return step;
        }
        match resolve::resolve(&self.index, self.html_handling, &path) {
            Resolution::File(number) => Step::End(Answer::File(number)),
            Resolution::Redirect(to) => Step::To { location: with_query(target::encode_path(&to), query), by: None },
            Resolution::Missing if may_differ => Step::End(Answer::Elsewhere),
            Resolution::Missing => Step::End(self.missing(None, asking)),
        }
    }

    /// What the first rule says that applies to everybody, and whether one before it may apply to some.
    fn by_rule(&self, path: &str, query: Option<&str>, asking: Asking) -> (Option<Step>, bool) {
        let mut may_differ = false;
        let sent = parameters(query);
        for rule in self.redirects.iter().filter(|rule| !rule.is_unknowable) {
            let Some(mut captures) = rule.from.matches(host_of(rule), path) else { continue };
            if !query_matches(&rule.query, &sent, &mut captures) {
                continue;
            }
            if rule.from.has_host() || !rule.languages.is_empty() || !rule.cookies.is_empty() {
                may_differ = true;
                continue;
            }
            let Some(filled) = rule.to.fill(&captures) else { continue };
            let is_missing = || resolve::resolve(&self.index, self.html_handling, path) == Resolution::Missing;
            if !rule.force && !is_missing() {
                return (None, may_differ);
            }
            let step = self.carry_out(rule, &filled, path, query, asking);
            let is_nothing = matches!(step, Some(Step::End(Answer::Nothing(_))));
            return (if is_nothing && may_differ { Some(Step::End(Answer::Elsewhere)) } else { step }, may_differ);
        }
        (None, may_differ)
    }

    fn carry_out(
        &self,
        rule: &Redirect,
        filled: &Filled,
        path: &str,
        query: Option<&str>,
        asking: Asking,
    ) -> Option<Step> {
        let by = || Some(rule.at.clone());
        if rule.is_redirect() {
            // What the rule asks of the query has been used.
            let query = query.filter(|_| rule.query.is_empty());
            let is_here = filled.origin.is_none() && filled.path == target::encode_path(path);
            let leads_here = is_here && filled.query.as_deref().or(query) == query;
            return (!leads_here).then(|| Step::To { location: filled.location(query), by: by() });
        }
        if let Some(origin) = &filled.origin {
            return self.upstreams.contains(origin).then_some(Step::End(Answer::Elsewhere));
        }
        let to = match target::normalise(&filled.path, PATH_BYTES_MAX) {
            Target::Normal(path) => path.into_owned(),
            Target::Redirect(to) => match target::normalise(&to, PATH_BYTES_MAX) {
                Target::Normal(path) => path.into_owned(),
                Target::Redirect(_) | Target::Refuse(_) => return None,
            },
            Target::Refuse(_) => return None,
        };
        if rule.status != 200 {
            return Some(Step::End(Answer::Nothing(by())));
        }
        if self.routes.iter().any(|route| route.path.takes(&to)) {
            return Some(Step::End(Answer::Elsewhere));
        }
        if rule.follows_html_handling {
            return Some(match resolve::resolve(&self.index, self.html_handling, &to) {
                Resolution::File(number) => Step::End(Answer::File(number)),
                Resolution::Redirect(to) => {
                    let place = Filled { path: target::encode_path(&to), ..filled.clone() };
                    Step::To { location: place.location(query), by: by() }
                }
                Resolution::Missing => Step::End(self.missing(by(), asking)),
            });
        }
        Some(Step::End(match self.index.page_at(&to) {
            // A page for every path is no image and no script.
            Some(number) if asking == Asking::Subresource && !rule.force && self.is_shell(rule, number) => {
                Answer::Nothing(by())
            }
            Some(number) => Answer::File(number),
            None => self.missing(by(), asking),
        }))
    }

    /// What answers where there is no file: the page of an application, for who navigates there.
    fn missing(&self, by: Option<At>, asking: Asking) -> Answer {
        let is_application = self.not_found == NotFound::SinglePageApplication;
        let shell = self.index.shell().filter(|_| is_application && asking == Asking::Navigation);
        shell.map_or(Answer::Nothing(by), Answer::File)
    }

    fn is_shell(&self, rule: &Redirect, number: u32) -> bool {
        let (_, ending) = rule.from.steps();
        ending != Ending::Exact && rule.to.constant_path().is_some() && self.is_page(number)
    }

    /// Whether a file is a page, by what is said of its type, else by its name.
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
    use super::*;
    use crate::digest::Digest;
    use crate::manifest::FileEntry;
    use crate::rules::of_manifest;
    use crate::site_toml::SiteFile;

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
        let site = Site::new(&manifest, "prod", rules);
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
            let site = Site::new(&manifest, "prod", RuleSet::default());
            let address = site.address_of(&path.parse().unwrap()).unwrap();
            assert_eq!(address.path(), expected, "{handling} {path}");
        }
    }
}
