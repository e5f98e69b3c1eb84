//! Whole file, parsed.

use std::collections::BTreeMap;

use super::check::CheckTable;
use super::file_name::FILE_NAME;
use super::folder_globs::FolderGlobs;
use super::layer::{Layer, Origin};
use super::media_types::MediaTypes;
use super::mistaken::EntryMistake;
use super::procfile::FromProcfile;
use super::server::{self, SERVER_UPSTREAM};
use super::serving::Serving;
use super::serving_table::serving;
use crate::api::{ROLLOUTS, Rollout};
use crate::names::{AppName, PlaceName};
use crate::parsing::reader::{Reader, Table};
use crate::parsing::{Mistake, Mistakes, Weight};

/// Keys required in the table of each app if there are several; `canonical` and `hostnames` are never common to several
/// apps.
const KEYS_OF_AN_APP: [&str; 25] = [
    "app",
    "cache",
    "check",
    "cors",
    "env",
    "exclude",
    "headers",
    "html_handling",
    "include",
    "integrity",
    "not_found",
    "pin",
    "pin_idle_ms",
    "public_source",
    "redirects",
    "rewrites",
    "rollout",
    "routes",
    "rules",
    "server",
    "smoke",
    "status_page",
    "types",
    "upstreams",
    "www",
];

/// Content of the whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteFile {
    /// The app.
    pub app: Option<AppName>,
    /// Folder to push, relative to the file.
    pub www: Option<String>,
    /// Filter of the folder.
    pub pages: FolderGlobs,
    /// Rollout over the nodes of a cluster; the command line takes precedence.
    pub rollout: Option<Rollout>,
    /// Folder of the backend, relative to the file.
    pub server_dir: Option<String>,
    /// Filter of the folder.
    pub backend: FolderGlobs,
    /// `Procfile` with the commands, if used.
    pub procfile: Option<FromProcfile>,
    /// `[apps.*]`: apps of a repository with several apps, each as if in a separate file.
    pub apps: BTreeMap<AppName, Self>,
    /// URL of the edge's admin listener.
    pub url: Option<String>,
    /// Settings of every environment.
    pub base: Serving,
    /// Settings of one environment: its table, overlaid by its overlay.
    pub env: BTreeMap<PlaceName, Serving>,
    /// Media types of files whose names do not determine the type; part of the version, so the same for every
    /// environment.
    pub types: MediaTypes,
    /// Findings ignored by `check`; not part of the version.
    pub check: CheckTable,
    /// Every table about serving, from weak to strong, with the positions of the values.
    pub layers: Vec<Layer>,
}

impl SiteFile {
    /// Parses `text`; `file` is the name in errors.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        Self::read(file, text)?.with_its_routes()
    }

    /// Reads the app, the edge's URL and the rollout from `text`, independent of other mistakes.
    #[must_use]
    pub fn address(file: &str, text: &str) -> Self {
        if let Some(site) = Self::sound_address(file, text) {
            return site;
        }
        // In invalid TOML, a reader may take part of a value for the whole: only complete lines count.
        let top = text.lines().take_while(|line| !line.trim_start().starts_with('['));
        let is_kept = |line: &&str| {
            let key = line.split('=').next().unwrap_or_default().trim();
            ["app", "rollout", "url"].contains(&key)
        };
        let kept: String = top.filter(is_kept).flat_map(|line| [line, "\n"]).collect();
        Self::sound_address(file, &kept).unwrap_or_default()
    }

    /// Reads the same from valid TOML.
    fn sound_address(file: &str, text: &str) -> Option<Self> {
        let reader = Reader::new(file, text);
        let document = reader.document();
        let root = reader.table(document.get_ref(), 0..0, "");
        if root.is_broken() {
            return None;
        }
        let of_table = |table: &Table<'_, '_>| Self {
            app: table.parsed("app"),
            url: table.string("url"),
            rollout: table.word("rollout", ROLLOUTS),
            ..Self::default()
        };
        let mut site = of_table(&root);
        for (name, table) in root.named_tables("apps") {
            let Ok(app) = name.parse::<AppName>() else {
                // The intended app is unknown from here on.
                site.apps.clear();
                break;
            };
            let one = Self { app: Some(app.clone()), url: site.url.clone(), ..of_table(&table) };
            site.apps.insert(app, one);
        }
        Some(site)
    }

    /// Parses like [`SiteFile::parse`], without checks across files.
    pub(super) fn read(file: &str, text: &str) -> Result<Self, Mistakes> {
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

    /// Reads the settings of an app from one table: the root, or one of `[apps.*]`. The caller finishes the table.
    fn of_table(file: &str, root: &Table<'_, '_>) -> Self {
        let app = root.parsed("app");
        let www = root.string("www");
        let url = root.string("url");
        let rollout = root.word("rollout", ROLLOUTS);
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
        let pages = FolderGlobs::read(root);
        let of_server = root.table("server");
        let server_dir = of_server.as_ref().and_then(server::dir);
        let backend = of_server.as_ref().map(FolderGlobs::read).unwrap_or_default();
        Self {
            app,
            www,
            pages,
            rollout,
            server_dir,
            backend,
            procfile: None,
            apps: BTreeMap::new(),
            url,
            base,
            env,
            types,
            check,
            layers,
        }
    }
}

impl SiteFile {
    /// Returns the position of `[server]`.
    fn server_at(&self) -> (String, usize) {
        let layer = self.layers.iter().find(|layer| layer.serving.server.is_some());
        layer.map_or_else(|| (FILE_NAME.to_owned(), 0), |layer| layer.place_of("server"))
    }

    /// Checks that every route's pool exists in each environment, and that a backend is complete.
    pub(super) fn with_its_routes(mut self) -> Result<Self, Mistakes> {
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
            if let Some(EntryMistake { key, message }) = mistaken {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::{HtmlHandling, NotFound};

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
    fn the_address_of_an_app_is_read_whatever_is_wrong_with_the_rest() {
        for (text, app) in [
            ("app = \"shop\"\nnot_fuond = \"none\"\n[[routes]]\npath = 3\n", Some("shop")),
            ("app = \"shop\"\n[env.prod]\nhostnames = [\"a\n", Some("shop")),
            ("not_found = \napp = \"shop\"\n", Some("shop")),
            ("app = \"shop\n", None),
            ("app = \"Shop\"\n", None),
            ("[server]\napp = \"shop\"\nx = \n", None),
            ("", None),
        ] {
            let site = SiteFile::address("f", text);
            assert_eq!(site.app.as_ref().map(AppName::as_str), app, "{text}");
            assert_eq!(site.url, None);
        }
        let apps = |text: &str| SiteFile::address("f", text).apps.into_keys().map(|app| app.to_string()).collect();
        let names: Vec<String> = apps("url = \"https://e\"\n[apps.one]\n[apps.two]\nnot_foundd = \"x\"\n");
        assert_eq!(names, ["one", "two"]);
        let names: Vec<String> = apps("[apps.one]\n[apps.Two]\n");
        assert!(names.is_empty(), "whether there is one alone is not known");
    }

    #[test]
    fn globs_are_said_for_both_folders_and_once() {
        let text = "exclude = [\"*.map\"]\ninclude = [\"/node_modules/\"]\n[server]\ncommand = [\"a\"]\n\
            exclude = [\".env\"]\n";
        let site = SiteFile::parse("f", text).unwrap();
        let counts = [&site.pages, &site.backend].map(|globs| (globs.exclude.len(), globs.include.len()));
        assert_eq!(counts, [(1, 1), (1, 0)]);
        for (bad, line) in [
            ("exclude = \"*.map\"", 1),
            ("exclude = [\"a{b\"]", 1),
            ("include = [\"\"]", 1),
            ("[env.staging]\nexclude = [\"a\"]", 2),
            ("[server]\ncommand = [\"a\"]\n[env.staging.server]\nexclude = [\"a\"]", 4),
            ("exclude = [\"a\"]\n[apps.one]\n", 1),
        ] {
            let mistakes = SiteFile::parse("f", bad).unwrap_err().0;
            assert_eq!(mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [line], "{bad}: {mistakes:?}");
        }
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
        // Names added through the API are not in the file.
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
}
