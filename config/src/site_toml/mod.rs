//! `devanture.toml`: which folder is which app, and how it is to be served.

pub mod check;
pub mod command;
mod cors;
mod field_rules;
mod from_procfile;
mod layers;
mod media_types;
mod mistaken;
mod overlays;
mod process;
pub mod procfile;
mod routes;
pub mod rules;
mod server;
mod serving;
mod smoke;
mod upstream_url;
mod upstreams;

use std::collections::BTreeMap;

use crate::names::{AppName, Canonical, PlaceName};
use crate::parsing::reader::{Reader, Table};
use crate::parsing::{Mistake, Mistakes, Weight};
use crate::rules::tables::{self, TableMistake};
use crate::rules::{At, RuleTable};

pub use cors::{BadCorsOrigin, CORS_ORIGINS_MAX, CorsOrigin};
pub use field_rules::FieldRules;
pub use from_procfile::{FindProcfile, FromProcfile};
pub use layers::{Explained, Layer, Origin, PlaceLines};
pub use media_types::MediaTypes;
pub use mistaken::Mistaken;
pub use overlays::{OverlayText, overlay_of};
pub use process::{All, BadProcessName, Instances, Kind, ListenOn, ProcessName};
pub use routes::{
    BadHostRule, BadRoutePath, BadRouteTo, HostRule, ROUTE_CONNECT_TIMEOUT_MS, ROUTE_TIMEOUT_MS, ROUTE_TIMEOUT_MS_MAX,
    ROUTES_MAX, Route, RoutePath, RouteTimes, RouteTo, sort_routes, without_prefix,
};
pub use server::{
    DRAIN_MS, INSTANCES_MAX, PROCESSES_MAX, Process, ProcessTable, SERVER_DIR, SERVER_UPSTREAM, START_MS, STOP_MS,
    Server, ServerTable, WARM_MS, WEB,
};
pub use serving::{HtmlHandling, NotFound, Rules, Serving};
pub use smoke::{SMOKE_CHECKS_MAX, SMOKE_STATUS, SMOKE_TIMEOUT_MS, SMOKE_TIMEOUT_MS_MAX, SmokeCheck, SmokeMethod};
pub use upstream_url::{BadUpstreamName, BadUpstreamUrl, UpstreamName, UpstreamUrl};
pub use upstreams::{
    BadStatusRange, Declared, EJECT_AFTER, EJECT_MS, HEALTH_INTERVAL_MS, HEALTH_TIMEOUT_MS, HEALTHY_AFTER, HealthCheck,
    MEMBERS_MAX, Protocol, QUEUE_MAX, QUEUE_MS, RETRIES, RETRY_PERCENT, StatusRange, UNHEALTHY_AFTER, Upstream,
};

use check::CheckTable;
use mistaken::{is_token, shown};
use rules::{CacheTable, HeadersTable, RedirectTable};
use serving::{HTML_HANDLING, NOT_FOUND, RULES};

/// The name of the file.
pub const FILE_NAME: &str = "devanture.toml";
/// Keys that stand in the table of each app where there are several; `canonical` and `hostnames` never stand above one.
const KEYS_OF_AN_APP: [&str; 18] = [
    "app",
    "cache",
    "check",
    "cors",
    "env",
    "headers",
    "html_handling",
    "not_found",
    "public_source",
    "redirects",
    "rewrites",
    "routes",
    "rules",
    "server",
    "smoke",
    "types",
    "upstreams",
    "www",
];

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteFile {
    /// The app.
    pub app: Option<AppName>,
    /// The folder to push, relative to the file.
    pub www: Option<String>,
    /// The folder of the backend, relative to the file.
    pub server_dir: Option<String>,
    /// The `Procfile` that says its commands, where it does.
    pub procfile: Option<FromProcfile>,
    /// `[apps.*]`: the apps of a repository that has more than one, each as if it had a file of its own.
    pub apps: BTreeMap<AppName, Self>,
    /// The address of the edge's admin listener.
    pub url: Option<String>,
    /// Settings of every environment.
    pub base: Serving,
    /// Settings of one environment: its table, under its overlay.
    pub env: BTreeMap<PlaceName, Serving>,
    /// Media types of files whose names do not say them; part of the version, so for every environment alike.
    pub types: MediaTypes,
    /// Findings that `check` ignores; not a part of the version.
    pub check: CheckTable,
    /// Every table of it that says something about serving, a weaker one before a stronger, and where its values stand.
    pub layers: Vec<Layer>,
}

impl SiteFile {
    /// Reads `text`; `file` is the name that mistakes are reported under.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        Self::read(file, text)?.with_its_routes()
    }

    /// As [`SiteFile::parse`], but for what only all files together can tell.
    fn read(file: &str, text: &str) -> Result<Self, Mistakes> {
        let reader = Reader::new(file, text);
        let document = reader.document();
        let root = reader.table(document.get_ref(), 0..0, "");
        let mut site = Self::of_table(file, &root);
        for (name, table) in root.named_tables("apps") {
            match name.parse::<AppName>() {
                Ok(app) => {
                    let mut one = Self::of_table(file, &table);
                    for key in ["app", "apps", "url"] {
                        table.misplaced(
                            key,
                            format!("`{}` is said by the name of the table, or above it", table.full(key)),
                            "leave it out",
                        );
                    }
                    table.finish();
                    one.url.clone_from(&site.url);
                    one.app = Some(app.clone());
                    site.apps.insert(app, one);
                }
                Err(error) => root.mistake("apps", error.to_string(), None),
            }
        }
        if !site.apps.is_empty() {
            for key in KEYS_OF_AN_APP {
                root.misplaced(key, format!("`{key}` is said by each of [apps.*]"), "move it below [apps.NAME]");
            }
        }
        root.finish();
        drop(root);
        drop(document);
        reader.finish(Some(site))
    }

    /// The settings of an app in one table: the root, or one of `[apps.*]`. The caller finishes the table.
    fn of_table(file: &str, root: &Table<'_, '_>) -> Self {
        let app = root.parsed("app");
        let www = root.string("www");
        let url = root.string("url");
        let base = serving(root);
        let mut layers = vec![Layer::new(file, None, base.clone(), root)];
        root.finish_serving_hostnames();
        let mut env = BTreeMap::new();
        for (name, table) in root.named_tables("env") {
            let place = match name.parse::<PlaceName>() {
                Ok(place) => Some(place),
                Err(error) => {
                    root.mistake("env", error.to_string(), None);
                    None
                }
            };
            let over = serving(&table);
            table.finish_canonical(&over);
            table.finish();
            if let Some(place) = place {
                layers.push(Layer::new(file, Some(place.clone()), over.clone(), &table));
                env.insert(place, over);
            }
        }
        let types = MediaTypes::read(root);
        let check = CheckTable::read(root);
        let server_dir = root.table("server").and_then(|table| server::dir(&table));
        Self { app, www, server_dir, procfile: None, apps: BTreeMap::new(), url, base, env, types, check, layers }
    }
}

impl SiteFile {
    /// Where `[server]` stands.
    fn server_at(&self) -> (String, usize) {
        let layer = self.layers.iter().find(|layer| layer.serving.server.is_some());
        layer.map_or_else(|| (FILE_NAME.to_owned(), 0), |layer| layer.place_of("server"))
    }

    /// Itself, where every route that names a pool finds it in each environment, and a backend says all that it needs.
    fn with_its_routes(mut self) -> Result<Self, Mistakes> {
        let mut mistakes: Vec<Mistake> = Vec::new();
        for place in std::iter::once(None).chain(self.env.keys().map(Some)) {
            if !self.apps.is_empty() {
                break;
            }
            let over = place.and_then(|place| self.env.get(place));
            let serving = over.map_or_else(|| self.base.clone(), |over| self.base.clone().overlaid_by(over));
            let mistaken = serving.mistaken_server();
            let mut lost = serving.routes_to_nothing().peekable();
            if lost.peek().is_none() && mistaken.is_none() {
                continue;
            }
            let explained = self.explain(place, None);
            if let Some(Mistaken { key, message }) = mistaken {
                let full =
                    if key == "upstreams" { format!("upstreams.{SERVER_UPSTREAM}") } else { format!("server.{key}") };
                let at = explained.iter().find(|one| one.key == full).map(|one| &one.origin);
                let (file, line) = match at {
                    Some(Origin::File(at)) => (at.file.to_string(), at.line),
                    _ => self.server_at(),
                };
                let message = format!("`{full}` {message}");
                let mistake = Mistake { file, line, weight: Weight::Mistake, message, hint: None };
                if !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
            }
            for (number, route) in lost {
                let key = format!("routes[{number}]");
                let at = explained.iter().find(|one| one.key == key).map(|one| &one.origin);
                let (file, line) = match at {
                    Some(Origin::File(at)) => (at.file.to_string(), at.line),
                    _ => (FILE_NAME.to_owned(), 0),
                };
                let message =
                    format!("the route {} leads to `{}`, which is not below [upstreams]", route.path, route.to);
                let hint = format!("write below [upstreams]: {} = \"http://127.0.0.1:3000\"", route.to);
                let mistake = Mistake { file, line, weight: Weight::Mistake, message, hint: Some(hint) };
                if !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
            }
        }
        let mut apps = BTreeMap::new();
        for (name, app) in std::mem::take(&mut self.apps) {
            match app.with_its_routes() {
                Ok(app) => drop(apps.insert(name, app)),
                Err(found) => mistakes.extend(found.0),
            }
        }
        self.apps = apps;
        if mistakes.is_empty() { Ok(self) } else { Err(Mistakes(mistakes)) }
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
    let cors: Option<Vec<CorsOrigin>> = table.list("cors");
    cors::check(table, cors.as_deref());
    Serving {
        cache: cache_table(table),
        canonical: table.parsed("canonical"),
        cors,
        headers: table.tables("headers").map(|tables| headers_tables(&tables)),
        hostnames: table.list("hostnames"),
        html_handling: table.word("html_handling", HTML_HANDLING),
        not_found: table.word("not_found", NOT_FOUND),
        public_source: table.boolean("public_source"),
        redirects: table.tables("redirects").map(|tables| redirect_tables(&tables, RuleTable::Redirects)),
        rewrites: table.tables("rewrites").map(|tables| redirect_tables(&tables, RuleTable::Rewrites)),
        routes: table.tables("routes").map(|tables| routes::routes(table, &tables)),
        rules: table.word("rules", RULES),
        server: server::server(table),
        smoke: smoke::smoke(table),
        upstreams: upstreams::upstreams(table),
    }
}

/// `[[redirects]]` or `[[rewrites]]`.
fn redirect_tables(tables: &[Table<'_, '_>], kind: RuleTable) -> Vec<RedirectTable> {
    let mut rules = Vec::with_capacity(tables.len());
    for table in tables {
        need(table, &["from", "to"], "from = \"/old/*\"  to = \"/new/:splat\"");
        let (from, to) = (table.string("from"), table.string("to"));
        let status = table.integer("status", 100..=999);
        let query = table.named_strings("query");
        let rest = (table.list("languages"), table.list("cookies"), table.boolean("force"));
        let host = table.parsed("host");
        table.finish();
        let (Some(from), Some(to)) = (from, to) else { continue };
        let rule = RedirectTable {
            cookies: rest.1.unwrap_or_default(),
            force: rest.2.unwrap_or_default(),
            from,
            host,
            languages: rest.0.unwrap_or_default(),
            query: query.into_iter().collect(),
            status: status.and_then(|status| u16::try_from(status).ok()),
            to,
        };
        match tables::redirect(&rule, kind, At::default()) {
            Ok(_) => rules.push(rule),
            Err(mistakes) => report_all(table, mistakes),
        }
    }
    rules
}

/// `[[headers]]`.
fn headers_tables(tables: &[Table<'_, '_>]) -> Vec<HeadersTable> {
    let mut rules = Vec::with_capacity(tables.len());
    for table in tables {
        need(table, &["for"], "for = \"/assets/*\"  set = { \"X-Frame-Options\" = \"DENY\" }");
        let path = table.string("for");
        let set = table.table("set").map(|set| set.all_texts()).unwrap_or_default();
        let (remove, basic_auth, force) = (table.list("remove"), table.list("basic_auth"), table.boolean("force"));
        table.finish();
        let Some(path) = path else { continue };
        let (basic_auth, remove) = (basic_auth.unwrap_or_default(), remove.unwrap_or_default());
        let rule = HeadersTable { basic_auth, force: force.unwrap_or_default(), path, remove, set };
        match tables::headers(&rule, At::default()) {
            Ok(_) => rules.push(rule),
            Err(mistakes) => report_all(table, mistakes),
        }
    }
    rules
}

/// `[cache]`.
fn cache_table(outer: &Table<'_, '_>) -> Option<BTreeMap<String, CacheTable>> {
    let table = outer.table("cache")?;
    let mut rules = BTreeMap::new();
    for (path, value) in table.texts_or_tables() {
        let rule = match value {
            Ok(control) => CacheTable { control, force: false },
            Err(inner) => {
                need(&inner, &["control"], "{ control = \"1h\", force = true }");
                let (control, force) = (inner.string("control"), inner.boolean("force"));
                inner.finish();
                let Some(control) = control else { continue };
                CacheTable { control, force: force.unwrap_or_default() }
            }
        };
        if let Err(mistakes) = tables::cache(&path, &rule, At::default()) {
            for mistake in mistakes {
                table.mistake(&path, format!("`{}`: {}", table.full(&path), mistake.message), mistake.hint.as_deref());
            }
        }
        rules.insert(path, rule);
    }
    Some(rules)
}

/// Reports those of `keys` that `table` does not hold.
fn need(table: &Table<'_, '_>, keys: &[&str], hint: &str) {
    for key in keys {
        if !table.has(key) {
            table.mistake(key, format!("`{}` is missing", table.full(key)), Some(hint));
        }
    }
}

fn report_all(table: &Table<'_, '_>, mistakes: Vec<TableMistake>) {
    for TableMistake { key, message, hint } in mistakes {
        table.mistake(key, format!("`{}`: {message}", table.full(key)), hint.as_deref());
    }
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
    fn a_type_is_set_for_a_path_or_an_ending() {
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
    fn a_route_takes_whole_segments() {
        for (pattern, path, matches) in [
            ("/api/*", "/api", true),
            ("/api/*", "/api/", true),
            ("/api/*", "/api/x/y", true),
            ("/api/*", "/apix", false),
            ("/api/*", "/api%2Fx", false),
            ("/api/*", "/api/a%2Fb", true),
            ("/api/*", "/API/x", false),
            ("/hook", "/hook", true),
            ("/hook", "/hook/", false),
            ("/hook/", "/hook/", true),
            ("/hook/", "/hook", false),
            ("/*", "/", true),
            ("/*", "/x", true),
            ("/", "/", true),
            ("/", "/x", false),
        ] {
            assert_eq!(pattern.parse::<RoutePath>().unwrap().takes(path), matches, "{pattern} {path}");
        }
    }
}
