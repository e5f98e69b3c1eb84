//! A round: the current folder becomes the live version, by the code of every push; additions of `dev` are overlaid on
//! the parsed files, and never written to the project.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use devanture_config::api::{BeginDeploy, DeployOptions, Source};
use devanture_config::problem::Code;
use devanture_config::site_toml::{Route, RouteTo, SERVER_UPSTREAM, Serving, SiteFile, UpstreamUrl};
use devanture_config::{Manifest, PlaceName, VersionId};
use devanture_project::Project;
use devanture_project::bundle::rules::{self, RuleFiles};
use devanture_project::bundle::scan::Scan;
use devanture_project::bundle::{self, Bundle};
use devanture_project::folders::Folders;

use super::pages::Pages;
use super::policy;
use super::reload::{ROUTE_PATH, Reload};
use super::remote::Routing;
use crate::edge::client::{Edge, Refusal};
use crate::edge::deploy::{BlobError, missing_blobs};
use crate::output::exit::Failure;
use crate::output::progress::Progress;
use crate::output::report::milliseconds;

/// Number of blobs sent at once.
const JOBS: usize = 8;
/// Divisor of the previous size, below which a folder is likely half built.
const PARTS: usize = 2;
/// The home page: without the page, a folder is likely half built.
const HOME: &str = "index.html";

/// The hint about a fingerprinted name with new content.
const REUSED_HINT: &str = "its name says that its content never changes, so browsers keep the old one, and a push refuses \
                           it, too: let the build give it another name, or restart `devanture dev`";

/// The context of rounds.
pub(super) struct Rounds {
    /// The edge of the run.
    pub(super) edge: Edge,
    /// The environment.
    pub(super) place: PlaceName,
    /// Tells open pages.
    pub(super) reload: Reload,
    /// Copies of pages.
    pub(super) pages: Pages,
    /// The targets of requests without a file.
    pub(super) routing: Routing,
    /// The address of the bundle's backend, if any.
    pub(super) backend: Option<UpstreamUrl>,
    /// The live manifest.
    pub(super) live: Option<Manifest>,
    /// Progress of uploads.
    pub(super) progress: Progress,
}

/// The input of a round.
pub(super) struct RoundOptions {
    /// The settings of the working folder.
    pub(super) project: Project,
    /// The folders.
    pub(super) folders: Folders,
    /// Set if an apparently half-built folder is left alone.
    pub(super) is_patient: bool,
}

/// The outcome of a round.
pub(super) enum Ended {
    /// A new version is live.
    Live(LiveVersion),
    /// The same version is.
    Same,
    /// A build of the folder seems to be running.
    HalfBuilt,
}

/// A version that went live.
pub(super) struct LiveVersion {
    /// The id.
    pub(super) version: VersionId,
    /// The number of files.
    pub(super) files: usize,
    /// Number of changed, added and removed files; 0 for the first version.
    pub(super) changed: Option<usize>,
    /// Duration in milliseconds.
    pub(super) ms: u64,
    /// Warnings for which a push would be refused.
    pub(super) doubts: BTreeSet<String>,
    /// Left-out paths.
    pub(super) left_out: Vec<String>,
    /// The position of a policy under which pages do not reload by themselves.
    pub(super) policy: Option<String>,
    /// The guessed provider of the rule files, if guessed.
    pub(super) guess: Option<String>,
}

impl Rounds {
    /// Makes the current folder live.
    ///
    /// # Errors
    /// The reason why the version did not go live; the previous version still is.
    pub(super) async fn run(&mut self, begin: RoundOptions) -> Result<Ended, Failure> {
        let begun = Instant::now();
        let RoundOptions { mut project, folders, is_patient } = begin;
        let www = folders.www.path().to_owned();
        lay_over(&mut project.site, &self.place, &self.routing, (self.reload.address(), self.backend.as_ref()))?;
        let mut scan = self.scan(folders).await?;
        if is_patient && self.live.as_ref().is_some_and(|live| is_half_built(live, &scan)) {
            return Ok(Ended::HalfBuilt);
        }
        let guessed = bundle::guess_rules(&scan, &project, &www);
        let (rules, doubts) = {
            let bundle = Bundle::of(&scan, &project.site, guessed)?;
            let files = RuleFiles::read(&scan, &www)?;
            let doubts = rules::judge(files.findings(&bundle.manifest, &project, &self.place), Code::BadRules, true)?;
            (files.rules_in(&bundle.manifest, &project, &self.place).0, doubts)
        };
        let tags = self.pages.put_into(&mut scan, &project.site.types)?;
        let bundle = Bundle::of(&scan, &project.site, guessed)?;
        if self.live.as_ref() == Some(&bundle.manifest) {
            return Ok(Ended::Same);
        }
        let version = self.push(&bundle).await?;
        let change = self.live.as_ref().map(|live| Change::between(live, &bundle.manifest));
        self.reload.went_live(tags, change.as_ref().and_then(|change| change.styles.clone()));
        let went = LiveVersion {
            version,
            files: bundle.manifest.files.len(),
            changed: change.map(|change| change.files),
            ms: milliseconds(begun.elapsed()),
            doubts: doubts.iter().map(ToString::to_string).collect(),
            left_out: scan.left_out,
            policy: policy::forbidden_by(&rules),
            guess: guessed.map(bundle::guess_note),
        };
        self.live = Some(bundle.manifest);
        Ok(Ended::Live(went))
    }

    async fn scan(&self, folders: Folders) -> Result<Scan, Failure> {
        let scan = tokio::task::spawn_blocking(move || folders.scan_pages(false)).await;
        Ok(scan.map_err(|error| Failure::new(Code::Internal, format!("The scan failed: {error}.")))??)
    }

    async fn push(&self, bundle: &Bundle) -> Result<VersionId, Failure> {
        let options = DeployOptions {
            // There are no other pushes here.
            force: true,
            // Warnings are printed, and do not stop the version.
            allow_warnings: true,
            // A check may need a backend, which may be down: the front is served all the same.
            no_smoke: true,
            ..DeployOptions::default()
        };
        let begin = BeginDeploy { manifest: bundle.manifest.clone(), source: Source::default(), options };
        let begun = self.edge.begin(&self.place, &begin).await?;
        let missing = missing_blobs(bundle, &begun)?;
        let (files, bytes) = missing.iter().fold((0, 0), |(f, b), (_, blob)| (f + blob.files, b + blob.bytes));
        let sending = self.progress.sending("upload", files, bytes);
        self.edge.put_missing(&begun, &missing, JOBS, &sending.sent).await.map_err(|error| match error {
            BlobError::Changed(path) => {
                let message = format!("{} cannot be read: it has changed.", path.display());
                Failure::new(Code::UnreadableFile, message)
            }
            BlobError::Failed(failure) => failure,
        })?;
        drop(sending);
        match self.edge.finish(&begun.deploy, &mut |_| {}).await.map_err(Refusal::into_failure) {
            Ok(report) => Ok(report.version),
            // There is no flag for this case: the next run is independent of this run.
            Err(failure) if failure.is(Code::FingerprintReused) => Err(failure.hint(REUSED_HINT)),
            Err(failure) => Err(failure),
        }
    }
}

/// The difference of a manifest from the previous one.
struct Change {
    /// Number of changed, added and removed files.
    files: usize,
    /// The paths of changed stylesheets, if no other file has changed.
    styles: Option<Vec<String>>,
}

impl Change {
    fn between(before: &Manifest, now: &Manifest) -> Self {
        let gone = before.files.keys().filter(|path| !now.files.contains_key(*path)).count();
        let other: BTreeMap<_, _> =
            now.files.iter().filter(|(path, entry)| before.files.get(*path) != Some(entry)).collect();
        let is_serving_alike =
            (&before.base, &before.env, before.guessed_rules) == (&now.base, &now.env, now.guessed_rules);
        let are_styles = !other.is_empty()
            && gone == 0
            && other.keys().all(|path| before.files.contains_key(*path) && path.as_str().ends_with(".css"));
        let styles = (is_serving_alike && are_styles).then(|| other.keys().map(|path| format!("/{path}")).collect());
        Self { files: gone + other.len(), styles }
    }
}

/// Returns true if a build that empties the folder first seems to be running: the home page is gone, or most files are.
fn is_half_built(live: &Manifest, scan: &Scan) -> bool {
    let is_without_home = live.files.contains_key(HOME) && !scan.files.contains_key(HOME);
    is_without_home || scan.files.len().saturating_mul(PARTS) < live.files.len()
}

/// Returns the routes for `place`; routes to the backend of the bundle lead to `backend`, or are left out without one.
pub(super) fn routes_of(
    site: &SiteFile,
    place: &PlaceName,
    routing: &Routing,
    backend: Option<&UpstreamUrl>,
) -> Vec<Route> {
    let over = site.env.get(place).cloned().unwrap_or_default();
    let serving = site.base.clone().overlaid_by(&over);
    let mut routes = match serving.server {
        Some(_) => without_pool(routing.turned(serving.with_server_routes().routes.unwrap_or_default()), backend),
        None => routing.turned(serving.routes.unwrap_or_default()),
    };
    for wanted in &routing.api {
        let to = RouteTo::Address(wanted.to.clone());
        match routes.iter_mut().find(|route| route.path == wanted.path) {
            Some(own) => own.to = to,
            None => routes.push(Route::new(wanted.path.clone(), to)),
        }
    }
    let front = routing.front().filter(|front| !routes.iter().any(|route| route.path == front.path));
    routes.extend(front);
    routes
}

/// Returns the routes, with those to the pool of the bundle's own instances directed to `backend`.
fn without_pool(routes: Vec<Route>, backend: Option<&UpstreamUrl>) -> Vec<Route> {
    let turned = routes.into_iter().filter_map(|mut route| {
        if matches!(&route.to, RouteTo::Upstream(name) if name.as_str() == SERVER_UPSTREAM) {
            route.to = RouteTo::Address(backend?.clone());
        }
        Some(route)
    });
    turned.collect()
}

/// Overlays a site with the settings of `dev`: the routes of `--api`, and the route to `reload`. Hostnames are removed,
/// since they would lead visitors away from this machine. The edge of the run runs no instances.
fn lay_over(
    site: &mut SiteFile,
    place: &PlaceName,
    routing: &Routing,
    (reload, backend): (SocketAddr, Option<&UpstreamUrl>),
) -> Result<(), Failure> {
    let bad = |error: &dyn std::fmt::Display| Failure::new(Code::Internal, format!("{error}."));
    let mut routes = routes_of(site, place, routing, backend);
    let to: UpstreamUrl = format!("http://{reload}").parse().map_err(|error| bad(&error))?;
    routes.push(Route::new(ROUTE_PATH.parse().map_err(|error| bad(&error))?, RouteTo::Address(to)));
    site.env.retain(|name, _| name == place);
    for table in site.env.values_mut().chain([&mut site.base]) {
        (table.hostnames, table.canonical, table.routes, table.server) = (None, None, None, None);
        table.upstreams.as_mut().map(|pools| pools.remove(SERVER_UPSTREAM));
    }
    if routing.front().is_some() {
        // The environment has applied its rules to the pages already; the rest is for routes.
        let merged = site.base.clone().overlaid_by(&site.env.remove(place).unwrap_or_default());
        site.base = Serving { cors: merged.cors, upstreams: merged.upstreams, ..Serving::default() };
    }
    site.base.routes = Some(routes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::Digest;
    use devanture_config::manifest::FileEntry;
    use devanture_project::beneath::{FilePath, Folder};

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        let entry = |text: &str| FileEntry { hash: Digest::of(text.as_bytes()), size: 1, media_type: None };
        Manifest::of_files(files.iter().map(|(path, text)| (path.parse().unwrap(), entry(text))).collect())
    }

    #[test]
    fn what_is_typed_goes_before_what_the_file_says_and_nothing_leads_away() {
        let text = "[[routes]]\npath = \"/api/*\"\nto = \"http://a\"\ntimeout_ms = 5\n\
                    [[routes]]\npath = \"/b\"\nto = \"http://b\"\n[env.prod]\nhostnames = [\"www.example.org\"]\n\
                    [env.staging]\nhostnames = [\"x.example\"]\ncanonical = \"x.example\"\n\
                    [[env.staging.routes]]\npath = \"/c\"\nto = \"http://c\"\n[env.other]\nnot_found = \"none\"\n";
        let site = SiteFile::parse("devanture.toml", text).unwrap();
        let api = vec!["http://127.0.0.1:1".parse().unwrap(), "/new=http://new".parse().unwrap()];
        let routing = Routing { api, ..Routing::default() };
        let routes = |place: &str| -> Vec<String> {
            let mut site = site.clone();
            lay_over(&mut site, &place.parse().unwrap(), &routing, (([127, 0, 0, 1], 9).into(), None)).unwrap();
            assert_eq!(site.env.len(), 1);
            let merged = site.base.overlaid_by(site.env.values().next().unwrap());
            assert_eq!((&merged.hostnames, &merged.canonical), (&None, &None));
            merged.routes.unwrap().iter().map(|r| format!("{} {} {:?}", r.path, r.to, r.timeout_ms)).collect()
        };
        let own = "/.devanture-dev/* http://127.0.0.1:9 None";
        assert_eq!(
            routes("prod"),
            ["/api/* http://127.0.0.1:1 Some(5)", "/b http://b None", "/new http://new None", own]
        );
        assert_eq!(
            routes("staging"),
            ["/c http://c None", "/api/* http://127.0.0.1:1 None", "/new http://new None", own]
        );
    }

    #[test]
    fn routes_to_the_backend_of_the_bundle_lead_to_where_it_answers_or_nowhere() {
        let text = "[[routes]]\npath = \"/rpc/*\"\nto = \"server\"\n[server]\ncommand = [\"node\"]\n\
                    routes = [\"/api/*\"]\n[upstreams.server]\nto = []\n[env.prod.server]\ninstances = 2\n";
        let site = SiteFile::parse("devanture.toml", text).unwrap();
        let routes = |backend: Option<&str>, api: &[&str]| -> Vec<String> {
            let (mut site, backend) = (site.clone(), backend.map(|to| to.parse::<UpstreamUrl>().unwrap()));
            let routing = Routing { api: api.iter().map(|one| one.parse().unwrap()).collect(), ..Routing::default() };
            let to = (([127, 0, 0, 1], 9).into(), backend.as_ref());
            lay_over(&mut site, &PlaceName::prod(), &routing, to).unwrap();
            let merged = site.base.overlaid_by(site.env.values().next().unwrap());
            assert!(merged.server.is_none() && merged.routes_to_nothing().next().is_none());
            merged.routes.unwrap().iter().map(|r| format!("{} {}", r.path, r.to)).collect()
        };
        let own = "/.devanture-dev/* http://127.0.0.1:9";
        assert_eq!(routes(None, &[]), [own]);
        assert_eq!(routes(None, &["http://127.0.0.1:1"]), ["/api/* http://127.0.0.1:1", own]);
        let to = "http://127.0.0.1:2";
        assert_eq!(routes(Some(to), &[]), [&format!("/rpc/* {to}"), &format!("/api/* {to}"), own]);
    }

    #[test]
    fn a_change_of_stylesheets_alone_is_distinguished_from_others() {
        let before = manifest(&[("a.css", "1"), ("b.css", "1"), ("index.html", "1")]);
        let between = |files: &[(&str, &str)]| {
            let change = Change::between(&before, &manifest(files));
            (change.files, change.styles.map(|paths| paths.join(" ")))
        };
        let styles = |paths: &str| Some(paths.to_owned());
        assert_eq!(between(&[("a.css", "2"), ("b.css", "2"), ("index.html", "1")]), (2, styles("/a.css /b.css")));
        assert_eq!(between(&[("a.css", "2"), ("b.css", "1"), ("index.html", "2")]), (2, None));
        assert_eq!(between(&[("a.css", "2"), ("index.html", "1")]), (2, None));
        assert_eq!(between(&[("a.css", "1"), ("b.css", "1"), ("c.css", "1"), ("index.html", "1")]), (1, None));
        let mut served = before.clone();
        served.guessed_rules = Some(devanture_config::site_toml::Rules::Netlify);
        let change = Change::between(&before, &served);
        assert_eq!((change.files, change.styles), (0, None));
    }

    #[test]
    fn a_folder_that_a_build_has_emptied_looks_half_built() {
        let folder = tempfile::tempdir().unwrap();
        let open = Folder::open(&std::fs::canonicalize(folder.path()).unwrap()).unwrap();
        let scan = |names: &[&str]| {
            let mut scan = Scan::default();
            for name in names {
                let path = FilePath::new(&open, name.into());
                let hashed = bundle::hash::Hashed { digest: Digest::of(name.as_bytes()), bytes: 1 };
                scan.files.insert(name.parse().unwrap(), bundle::scan::FoundFile { path, hashed });
            }
            scan
        };
        let live = manifest(&[("a.js", "1"), ("b.js", "1"), ("c.js", "1"), ("index.html", "1")]);
        assert!(is_half_built(&live, &scan(&["a.js", "b.js", "c.js"])), "the home page is gone");
        assert!(is_half_built(&live, &scan(&["index.html"])), "most is gone");
        assert!(!is_half_built(&live, &scan(&["d.js", "index.html"])));
        assert!(!is_half_built(&manifest(&[("a.js", "1")]), &scan(&["b.js"])));
    }
}
