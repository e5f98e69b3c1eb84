//! `Procfile` as the source of commands missing from `[server]`.

use super::layer::Layer;
use super::process::WEB;
use super::procfile::{self, FindProcfile, FromProcfile};
use super::route_path::RoutePath;
use super::routes::RouteTo;
use super::server::{SERVER_DIR, SERVER_UPSTREAM, ServerTable};
use super::serving::Serving;
use super::site_file::SiteFile;
use crate::parsing::Mistakes;

/// Default route, if the file sets none.
const ROUTE: &str = "/api/*";

impl SiteFile {
    /// Returns the folder of the backend, relative to the file: as set, or the default.
    #[must_use]
    pub fn server_folder(&self) -> &str {
        self.server_dir.as_deref().unwrap_or(SERVER_DIR)
    }

    /// Iterates over all tables.
    fn tables(&self) -> impl Iterator<Item = &Serving> {
        std::iter::once(&self.base).chain(self.env.values())
    }

    /// Returns true if a table sets the start of a backend.
    fn says_commands(&self) -> bool {
        let says = |server: &ServerTable| server.command.is_some() || server.processes.is_some();
        self.tables().filter_map(|table| table.server.as_ref()).any(says)
    }

    /// Returns true if a table has routes to the backend.
    fn says_routes(&self) -> bool {
        self.tables().any(|table| {
            let to_server = |to: &RouteTo| matches!(to, RouteTo::Upstream(name) if name.as_str() == SERVER_UPSTREAM);
            table.server.as_ref().is_some_and(|server| server.routes.is_some())
                || table.routes.iter().flatten().any(|route| to_server(&route.to) || route.path.as_str() == ROUTE)
        })
    }

    /// Adds the processes of a `Procfile` if no other command is set.
    ///
    /// # Errors
    /// All mistakes of the Procfiles.
    pub(super) fn with_procfiles(mut self, find: &mut FindProcfile<'_>) -> Result<Self, Mistakes> {
        if self.apps.is_empty() {
            return self.with_procfile(find);
        }
        // A `Procfile` in the folder of an app's own backend belongs to this app.
        let taken: Vec<String> = self.apps.values().filter(|app| app.base.server.is_some()).map(dir_of).collect();
        for app in self.apps.values_mut() {
            if app.base.server.is_some() || !taken.contains(&dir_of(app)) {
                *app = std::mem::take(app).with_procfile(find)?;
            }
        }
        Ok(self)
    }

    fn with_procfile(mut self, find: &mut FindProcfile<'_>) -> Result<Self, Mistakes> {
        if self.says_commands() {
            return Ok(self);
        }
        let Some((file, text)) = find(self.server_folder()) else { return Ok(self) };
        let read = procfile::parse(&file, &text)?;
        let has_web = read.processes.keys().any(|name| name.as_str() == WEB);
        let route: Option<RoutePath> = if has_web && !self.says_routes() { ROUTE.parse().ok() } else { None };
        let mut server = self.base.server.take().unwrap_or_default();
        server.processes = Some(read.processes);
        server.release = server.release.or(read.release);
        server.routes = server.routes.or_else(|| Some(vec![route.clone()?]));
        let of_procfile = ServerTable {
            processes: server.processes.clone(),
            release: server.release.clone(),
            routes: route.clone().map(|route| vec![route]),
            ..ServerTable::default()
        };
        // Settings of `devanture.toml` take precedence.
        let serving = Serving { server: Some(of_procfile), ..Serving::default() };
        self.layers.insert(0, Layer::of_whole(&file, serving));
        self.base.server = Some(server);
        self.procfile = Some(FromProcfile { file, route });
        Ok(self)
    }
}

fn dir_of(site: &SiteFile) -> String {
    site.server_folder().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::{FILE_NAME, Instances};

    const PROCFILE: &str = "web: node server.js\nmailer: node mail.js\nrelease: npm run migrate\n";

    fn read(text: &str) -> Result<SiteFile, Mistakes> {
        let mut find = |dir: &str| (dir == SERVER_DIR).then(|| ("Procfile".to_owned(), PROCFILE.to_owned()));
        SiteFile::parse_with_procfile(FILE_NAME, Some(text), &[], &mut find)
    }

    #[test]
    fn a_procfile_stands_in_for_commands_that_nobody_says() {
        let site = read("app = \"game\"\n[env.staging.server]\ninstances = 3\n").unwrap();
        let from = site.procfile.clone().unwrap();
        assert_eq!((from.file.as_str(), from.route.unwrap().as_str()), ("Procfile", "/api/*"));
        let counts = |place: &str| -> Vec<(String, Instances)> {
            let over = site.env.get(&place.parse::<crate::PlaceName>().unwrap()).cloned().unwrap_or_default();
            let server = site.base.clone().overlaid_by(&over).server.unwrap().resolved();
            assert_eq!(server.release.unwrap(), ["/bin/sh", "-c", "exec npm run migrate"]);
            server.processes.iter().map(|process| (process.name.to_string(), process.instances)).collect()
        };
        let is = |name: &str, count| (name.to_owned(), Instances::Count(count));
        assert_eq!(counts("prod"), [is("mailer", 1), is("web", 1)]);
        assert_eq!(counts("staging"), [is("mailer", 1), is("web", 3)]);
    }

    #[test]
    fn what_devanture_toml_says_goes_before_a_procfile() {
        let route = |text: &str| read(text).unwrap().procfile.map(|from| from.route.is_some());
        assert_eq!(route("[server]\ncommand = [\"a\"]\n"), None);
        assert_eq!(route("[server]\ndir = \"out\"\ncommand = [\"a\"]\n"), None);
        assert_eq!(route(""), Some(true));
        assert_eq!(route("[server]\nhealth = \"/healthz\"\n"), Some(true));
        assert_eq!(route("[server]\nroutes = [\"/x\"]\n"), Some(false));
        assert_eq!(route("[[routes]]\npath = \"/rpc/*\"\nto = \"server\"\n"), Some(false));
        assert_eq!(route("[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n"), Some(false));
        // Without a `Procfile`, such a route has no target.
        assert!(SiteFile::parse(FILE_NAME, "[[routes]]\npath = \"/rpc/*\"\nto = \"server\"\n").is_err());
    }

    #[test]
    fn of_several_apps_each_has_the_procfile_of_its_own_folder_alone() {
        let text = "[apps.a.server]\ncommand = [\"a\"]\n[apps.b]\nwww = \"b\"\n";
        let site = read(text).unwrap();
        assert!(site.apps.values().all(|app| app.procfile.is_none()), "it is a's, and a says its command");
        let site = read("[apps.a.server]\ninstances = 2\n[apps.b]\nwww = \"b\"\n").unwrap();
        let with: Vec<&str> =
            site.apps.iter().filter(|(_, app)| app.procfile.is_some()).map(|(name, _)| name.as_str()).collect();
        assert_eq!(with, ["a"]);
    }

    #[test]
    fn a_mistake_of_a_procfile_has_its_name_and_line() {
        let mut find = |_: &str| Some(("dist/server/Procfile".to_owned(), "web: a\nWeb: b\n".to_owned()));
        let mistakes = SiteFile::parse_with_procfile(FILE_NAME, None, &[], &mut find).unwrap_err().0;
        assert_eq!((mistakes[0].file.as_str(), mistakes[0].line), ("dist/server/Procfile", 2));
    }
}
