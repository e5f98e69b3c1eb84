//! `devanture.toml`: which folder is which app, and how it is to be served.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::manifest::is_media_type;
use crate::mistake::Mistakes;
use crate::names::{AppName, Canonical, HostPattern, PlaceName};
use crate::reader::{Reader, Table};

/// The name of the file.
pub const FILE_NAME: &str = "devanture.toml";
/// Most routes that one table may hold.
pub const ROUTES_MAX: usize = 1_000;
/// Longest time that a route may wait, in milliseconds: a day.
pub const ROUTE_TIMEOUT_MS_MAX: u64 = 86_400_000;
/// How long a route waits where it does not say, in milliseconds.
pub const ROUTE_TIMEOUT_MS: u64 = 60_000;

/// How a path without its `.html` finds its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HtmlHandling {
    /// Exactly, then with `.html`, then `/index.html`; never a redirect.
    AsIs,
    /// `page.html` at `/page`, `page/index.html` at `/page/`; anything else is redirected there.
    AutoTrailingSlash,
    /// Every page without a final slash.
    DropTrailingSlash,
    /// Every page with a final slash.
    ForceTrailingSlash,
    /// Files under their own names alone.
    None,
}

/// What answers a path that is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotFound {
    /// The nearest `404.html` upwards, with status 404.
    #[serde(rename = "404-page")]
    Page404,
    /// `/index.html` for navigations, 404 for everything else.
    SinglePageApplication,
    /// A plain 404.
    None,
}

/// Whose meaning `_redirects` and `_headers` have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rules {
    /// Cloudflare's.
    Cloudflare,
    /// Netlify's.
    Netlify,
}

const HTML_HANDLING: &[(&str, HtmlHandling)] = &[
    ("as-is", HtmlHandling::AsIs),
    ("auto-trailing-slash", HtmlHandling::AutoTrailingSlash),
    ("drop-trailing-slash", HtmlHandling::DropTrailingSlash),
    ("force-trailing-slash", HtmlHandling::ForceTrailingSlash),
    ("none", HtmlHandling::None),
];
const NOT_FOUND: &[(&str, NotFound)] = &[
    ("404-page", NotFound::Page404),
    ("single-page-application", NotFound::SinglePageApplication),
    ("none", NotFound::None),
];
const RULES: &[(&str, Rules)] = &[("cloudflare", Rules::Cloudflare), ("netlify", Rules::Netlify)];

/// The path of a route: `/api/*` for everything below and `/api` itself, or one path alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoutePath(String);

/// Says why a text is not the path of a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the path of a route: it begins with /, holds no empty, . or .. segment, and * only as its last segment"
)]
pub struct BadRoutePath(pub String);

impl RoutePath {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before `/*`, and whether there is such an ending.
    #[must_use]
    pub fn prefix(&self) -> (&str, bool) {
        match self.0.strip_suffix("/*") {
            Some(prefix) => (prefix, true),
            None => (&self.0, false),
        }
    }
}

impl FromStr for RoutePath {
    type Err = BadRoutePath;

    fn from_str(text: &str) -> Result<Self, BadRoutePath> {
        let bad = || BadRoutePath(text.chars().take(200).collect());
        let rest = text.strip_prefix('/').ok_or_else(bad)?;
        let segments: Vec<&str> = rest.split('/').collect();
        let count = segments.len();
        let fine = segments.iter().enumerate().all(|(index, segment)| match *segment {
            "*" => index + 1 == count,
            // `/` alone is a path too, and so is `/api/` with its final slash.
            "" => index + 1 == count,
            "." | ".." => false,
            s => !s.contains(['*', '?', '#', '\\', '%']) && !s.chars().any(|c| c.is_control() || c.is_whitespace()),
        });
        if fine { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RoutePath {
    type Error = BadRoutePath;

    fn try_from(text: String) -> Result<Self, BadRoutePath> {
        text.parse()
    }
}

impl From<RoutePath> for String {
    fn from(path: RoutePath) -> Self {
        path.0
    }
}

/// The address of a backend: an `http` or `https` URL without a query, a fragment or a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamUrl(Url);

/// Says why a text is not the address of a backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the address of a backend: http://HOST[:PORT] or https://HOST[:PORT] is wanted, with nothing after it"
)]
pub struct BadUpstreamUrl(pub String);

impl UpstreamUrl {
    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for UpstreamUrl {
    type Err = BadUpstreamUrl;

    fn from_str(text: &str) -> Result<Self, BadUpstreamUrl> {
        let bad = || BadUpstreamUrl(text.chars().take(200).collect());
        let url: Url = text.parse().map_err(|_reason| bad())?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let plain = plain && url.password().is_none() && url.path() == "/" && url.host().is_some();
        if plain && matches!(url.scheme(), "http" | "https") { Ok(Self(url)) } else { Err(bad()) }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl TryFrom<String> for UpstreamUrl {
    type Error = BadUpstreamUrl;

    fn try_from(text: String) -> Result<Self, BadUpstreamUrl> {
        text.parse()
    }
}

impl From<UpstreamUrl> for String {
    fn from(url: UpstreamUrl) -> Self {
        url.to_string()
    }
}

/// Sends a path to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Which paths.
    pub path: RoutePath,
    /// How long the backend may take to begin its answer, and then rest within it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Where to.
    pub to: UpstreamUrl,
}

/// What a table says about serving; what it does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// Which of the hostnames the others lead to; the first that is no wildcard where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<Canonical>,
    /// Hostnames of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostnames: Option<Vec<HostPattern>>,
    /// How pages are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html_handling: Option<HtmlHandling>,
    /// What answers a path that is no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_found: Option<NotFound>,
    /// Paths that go to backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    /// Whose meaning the rule files have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
}

impl Serving {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Lays `over` upon it: what `over` says counts, a list as a whole.
    #[must_use]
    pub fn overlaid_by(self, over: &Self) -> Self {
        Self {
            canonical: over.canonical.clone().or(self.canonical),
            hostnames: over.hostnames.clone().or(self.hostnames),
            html_handling: over.html_handling.or(self.html_handling),
            not_found: over.not_found.or(self.not_found),
            routes: over.routes.clone().or(self.routes),
            rules: over.rules.or(self.rules),
        }
    }
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteFile {
    /// Which app.
    pub app: Option<AppName>,
    /// The folder to push, relative to the file.
    pub www: Option<String>,
    /// The address of the edge's admin listener.
    pub url: Option<String>,
    /// What holds in every environment.
    pub base: Serving,
    /// What holds in one.
    pub env: BTreeMap<PlaceName, Serving>,
    /// Media types of files whose names do not say them; part of the version, so for every environment alike.
    pub types: MediaTypes,
}

/// `[types]`: media types by the path of a file, or by the ending of its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaTypes {
    by_ending: BTreeMap<String, String>,
    by_path: BTreeMap<String, String>,
}

impl MediaTypes {
    /// The type that was said for the file at `path` of a bundle: for itself, else for the longest ending of its name,
    /// whose letters have no case.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&str> {
        if let Some(media_type) = self.by_path.get(path) {
            return Some(media_type);
        }
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let dots = name.match_indices('.');
        let mut endings = dots.filter_map(|(at, _)| name.get(at..));
        endings.find_map(|ending| self.by_ending.get(ending)).map(String::as_str)
    }

    fn read(table: &Table<'_, '_>) -> Self {
        let mut types = Self::default();
        for (name, media_type) in table.named_strings("types") {
            if !is_media_type(&media_type) {
                table.mistake(
                    "types",
                    format!("`{media_type}`, of `{name}`, is not a media type"),
                    Some("\"text/plain\""),
                );
            }
            if let Some(path) = name.strip_prefix('/') {
                types.by_path.insert(path.to_owned(), media_type);
            } else if name.starts_with('.') && name.len() > 1 && !name.contains('/') {
                types.by_ending.insert(name.to_ascii_lowercase(), media_type);
            } else {
                let message = format!("`{name}` is neither an ending nor a path");
                table.mistake("types", message, Some("\".md\" is an ending, \"/docs/data\" a path"));
            }
        }
        types
    }
}

impl SiteFile {
    /// Reads `text`; `file` is the name that mistakes are reported under.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        let reader = Reader::new(file, text);
        let document = reader.document();
        let root = reader.table(document.get_ref(), 0..0, "");
        let app = root.parsed("app");
        let www = root.string("www");
        let url = root.string("url");
        let base = serving(&root);
        root.finish_serving_hostnames();
        let mut env = BTreeMap::new();
        for (name, table) in root.named_tables("env") {
            let over = serving(&table);
            table.finish_canonical(&over);
            table.finish();
            match name.parse::<PlaceName>() {
                Ok(name) => {
                    env.insert(name, over);
                }
                Err(error) => root.mistake("env", error.to_string(), None),
            }
        }
        let types = MediaTypes::read(&root);
        root.finish();
        drop(root);
        drop(document);
        reader.finish(Some(Self { app, www, url, base, env, types }))
    }
}

impl Table<'_, '_> {
    /// Hostnames belong to one environment: at the top they would be those of every one.
    fn finish_serving_hostnames(&self) {
        for key in ["canonical", "hostnames"] {
            if self.has(key) {
                let message = format!("`{key}` belongs to one environment");
                self.mistake(key, message, Some("write it below [env.prod]"));
            }
        }
    }

    /// Names that the API gave to the environment are not known here, so only a list beside it can tell.
    fn finish_canonical(&self, serving: &Serving) {
        if let (Some(Canonical::Name(name)), Some(hostnames)) = (&serving.canonical, &serving.hostnames)
            && !hostnames.contains(&name.clone().into())
        {
            let message = format!("`{}`: {name} is not one of `hostnames`", self.full("canonical"));
            self.mistake("canonical", message, Some("add it there, or write canonical = \"none\""));
        }
    }
}

fn serving(table: &Table<'_, '_>) -> Serving {
    Serving {
        canonical: table.parsed("canonical"),
        hostnames: table.list("hostnames"),
        html_handling: table.word("html_handling", HTML_HANDLING),
        not_found: table.word("not_found", NOT_FOUND),
        routes: table.tables("routes").map(|tables| routes(table, &tables)),
        rules: table.word("rules", RULES),
    }
}

fn routes(outer: &Table<'_, '_>, tables: &[Table<'_, '_>]) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::with_capacity(tables.len());
    for table in tables {
        for key in ["path", "to"] {
            if !table.has(key) {
                table.mistake(
                    key,
                    format!("a route needs `{key}`"),
                    Some("path = \"/api/*\"  to = \"http://127.0.0.1:3000\""),
                );
            }
        }
        let path: Option<RoutePath> = table.parsed("path");
        let to = table.parsed("to");
        let timeout_ms = table.integer("timeout_ms", 1..=ROUTE_TIMEOUT_MS_MAX);
        table.finish();
        let (Some(path), Some(to)) = (path, to) else { continue };
        if routes.iter().any(|route| route.path == path) {
            table.mistake("path", format!("`{path}` stands in two routes"), None);
        }
        routes.push(Route { path, timeout_ms, to });
    }
    if tables.len() > ROUTES_MAX {
        outer.mistake("routes", format!("there are more than {ROUTES_MAX} routes"), None);
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
app = "shop"
www = "dist"
html_handling = "auto-trailing-slash"
not_found = "404-page"
rules = "netlify"
[[routes]]
path = "/api/*"
to = "http://127.0.0.1:3000"
[env.staging]
not_found = "none"
hostnames = ["Staging.example.org"]
"#;

    #[test]
    fn the_sample_of_the_contract_is_read() {
        let file = SiteFile::parse("devanture.toml", SAMPLE).unwrap();
        assert_eq!(file.app.unwrap().as_str(), "shop");
        assert_eq!(file.base.routes.as_ref().unwrap()[0].path.prefix(), ("/api", true));
        let staging = file.base.overlaid_by(&file.env[&"staging".parse().unwrap()]);
        assert_eq!(staging.not_found, Some(NotFound::None));
        assert_eq!(staging.html_handling, Some(HtmlHandling::AutoTrailingSlash));
        assert_eq!(staging.hostnames.unwrap()[0].as_str(), "staging.example.org");
    }

    #[test]
    fn a_canonical_is_one_of_the_hostnames() {
        let read = |lines: &str| SiteFile::parse("devanture.toml", &format!("[env.prod]\n{lines}"));
        let hosts = "hostnames = [\"example.org\", \"WWW.example.org\", \"*.example.org\", \"bücher.example\"]\n";
        for fine in ["www.Example.org", "none", "bücher.example", "xn--bcher-kva.example"] {
            let file = read(&format!("{hosts}canonical = \"{fine}\"\n")).unwrap();
            assert_eq!(file.env.values().next().unwrap().canonical, fine.parse().ok(), "{fine}");
        }
        for bad in ["a.example.org", "*.example.org", ""] {
            assert_eq!(read(&format!("{hosts}canonical = \"{bad}\"\n")).unwrap_err().0[0].line, 3, "{bad}");
        }
        // Names that were added by hand are not in the file.
        assert!(read("canonical = \"a.example.org\"\n").is_ok());
        assert!(SiteFile::parse("devanture.toml", "canonical = \"none\"\n").is_err());
    }

    #[test]
    fn all_mistakes_are_reported_with_their_lines() {
        let text = "app = \"Shop\"\nhtml_handling = \"auto-trailing-slsh\"\nnot_fuond = \"none\"\nwww = 3\n[[routes]]\npath = \"api\"\n[env.beef]\n";
        let mistakes = SiteFile::parse("devanture.toml", text).unwrap_err().0;
        let found: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let lines: Vec<usize> = mistakes.iter().map(|m| m.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7], "{found:#?}");
        assert!(found[1].contains("did you mean \"auto-trailing-slash\"?"), "{}", found[1]);
        assert!(found[2].contains("did you mean `not_found`?"), "{}", found[2]);
    }

    #[test]
    fn a_type_is_said_for_a_path_or_an_ending() {
        let text = "[types]\n\".XYZ\" = \"chemical/x-xyz\"\n\".d.ts\" = \"text/x-types\"\n\
            \".ts\" = \"application/typescript\"\n\"/LICENSE\" = \"text/plain; charset=utf-8\"\n";
        let types = SiteFile::parse("devanture.toml", text).unwrap().types;
        for (path, expected) in [
            ("a/water.xyz", Some("chemical/x-xyz")),
            ("a/WATER.Xyz", Some("chemical/x-xyz")),
            ("a.ts", Some("application/typescript")),
            ("a.d.ts", Some("text/x-types")),
            ("a.b.ts", Some("application/typescript")),
            ("LICENSE", Some("text/plain; charset=utf-8")),
            ("a/LICENSE", None),
            ("a.ts/b", None),
            ("ts", None),
        ] {
            assert_eq!(types.of(path), expected, "{path}");
        }
        for bad in [
            "xyz = \"a/b\"",
            "\".x\" = \"text\"",
            "\".x\" = \"a/b\\n\"",
            "\".x\" = 1",
            "\"a/b\" = \"a/b\"",
            "\".\" = \"a/b\"",
        ] {
            assert!(SiteFile::parse("devanture.toml", &format!("[types]\n{bad}\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_toml_is_a_mistake_with_a_line() {
        let mistakes = SiteFile::parse("devanture.toml", "app = \"shop\"\nwww = \n").unwrap_err().0;
        assert_eq!(mistakes[0].line, 2, "{mistakes:?}");
    }

    #[test]
    fn a_route_path_is_whole_segments() {
        for good in ["/", "/*", "/api", "/api/*", "/a/b/*", "/api/"] {
            assert!(good.parse::<RoutePath>().is_ok(), "{good}");
        }
        for bad in ["", "api", "/a//b", "/a/../b", "/a*", "/*/b", "/a?b", "/a b", "/a%2fb"] {
            assert!(bad.parse::<RoutePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_upstream_is_an_origin() {
        for good in ["http://127.0.0.1:3000", "https://api.example.org/", "http://[::1]:8"] {
            assert!(good.parse::<UpstreamUrl>().is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:3000", "ftp://x", "http://x/a", "http://x?y", "http://u@x", "file:///etc"] {
            assert!(bad.parse::<UpstreamUrl>().is_err(), "{bad}");
        }
    }
}
