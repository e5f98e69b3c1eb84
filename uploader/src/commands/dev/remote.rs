//! The half of a site from an environment in place of this machine: `--api remote`, `--front remote`.
//!
//! Its address comes from the edge of the settings, requested with the user's own credential, and never from a file of
//! the project. Requests to that address are like a visitor's, without a credential.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use devanture_config::PlaceName;
use devanture_config::api::{SettingName, SettingWanted, SettingsPatch};
use devanture_config::manifest::halves::Half;
use devanture_config::problem::Code;
use devanture_config::site_toml::{Route, RouteTo, UpstreamUrl};
use url::Url;

use super::forward::Forwarder;
use crate::args::{API_PATH, ApiRoute, DevArgs};
use crate::context::Context;
use crate::edge::client::{CONNECT_TIME_MAX, Edge, no_tls, with_proxy};
use crate::edge::trust;
use crate::output::exit::Failure;
use crate::settings::Source;

/// The paths of the front that no other route has.
const FRONT_PATH: &str = "/*";
/// The placeholder page for a remote front. No visitor gets the page: all paths are routes.
const STAND_IN: &str = "<!doctype html><title>The front is remote</title>\n";

/// An environment with one half of the site.
#[derive(Debug)]
pub(super) struct RemoteSite {
    half: Half,
    /// The address for visitors.
    origin: Url,
    http: reqwest::Client,
    /// The public settings.
    settings: BTreeMap<SettingName, String>,
}

impl RemoteSite {
    /// Returns the environment of the settings, if one half is remote. Sends no request to its visitors' address.
    ///
    /// # Errors
    /// `usage` if the flags conflict or no edge is set; `nothing_live`; the error of the edge.
    pub(super) async fn find(context: &Context, args: &DevArgs) -> Result<Option<Self>, Failure> {
        let Some(half) = args.remote_half()? else { return Ok(None) };
        let (access, place) = (context.settings.edge_access()?, context.place()?);
        let edge = context.edge()?;
        let Some(urls) = edge.status(&place).await?.urls else {
            let message = format!("Nothing is live in {place} of {}, so it has no half to use.", edge.app());
            return Err(Failure::new(Code::NothingLive, message).hint(format!(
                "push a version first: `devanture push --env {place}`; or name another one with --env"
            )));
        };
        let origin: Option<Url> = urls.live.parse().ok();
        let Some(origin) = origin.filter(|url| url.scheme() == "https" && url.host().is_some()) else {
            let message =
                format!("The edge gives {} as the address of {place}, which is not an address of https.", urls.live);
            return Err(Failure::new(Code::Usage, message));
        };
        if context.settings.environment()?.source != Source::Flag {
            context.progress.note(&format!("the {half} is that of {place}; --env names another environment"));
        }
        let http = client(&origin, access.ca.as_deref())?;
        let settings = match edge.settings(&place).await {
            Ok(found) => {
                let public = found.settings.into_iter().filter(|setting| setting.public);
                public.filter_map(|setting| Some((setting.name, setting.value?))).collect()
            }
            // A token that may read the environment may lack the right to read its settings.
            Err(failure) => {
                let why = failure.message;
                context.progress.note(&format!("the front has no public settings of {place}: {why}"));
                BTreeMap::new()
            }
        };
        Ok(Some(Self { half, origin, http, settings }))
    }

    /// Directs `routing` to the environment, through a forwarder for the site at `local`; required files are in `run`,
    /// the folder of the run.
    ///
    /// # Errors
    /// `internal` without a free port or with an unusable folder.
    pub(super) async fn forward(&self, routing: &mut Routing, local: &str, run: &Path) -> Result<Forwarder, Failure> {
        let bad = |error: &dyn std::fmt::Display| Failure::new(Code::Internal, format!("{error}."));
        let local: Url = local.parse().map_err(|error| bad(&error))?;
        let forwarder = Forwarder::start(self.http.clone(), &local, &self.origin).await?;
        let to = format!("http://{}", forwarder.address()).parse().map_err(|error| bad(&error))?;
        let site = self.origin.origin().ascii_serialization().parse().map_err(|error| bad(&error))?;
        routing.remote = Some(Remote { half: self.half, to, site });
        if self.half == Half::Front {
            routing.dir = Some(stand_in(run)?);
        }
        Ok(forwarder)
    }

    /// Sets the public settings of the environment at the local `edge`: a front reads them from a path that an edge
    /// answers before every route.
    ///
    /// # Errors
    /// The error of the local edge.
    pub(super) async fn give_settings(&self, edge: &Edge, place: &PlaceName) -> Result<(), Failure> {
        let setting = |value: &String| SettingWanted {
            value: value.clone(),
            public: Some(true),
            secret: None,
            development: None,
        };
        let set = self.settings.iter().map(|(name, value)| (name.to_string(), setting(value))).collect();
        let patch = SettingsPatch { set, unset: Vec::new() };
        if !patch.set.is_empty() {
            edge.change_settings(place, &patch, &[]).await?;
        }
        Ok(())
    }
}

/// Creates a client like a visitor's: without a credential, with the trust roots of the API client, and without
/// redirects.
fn client(origin: &Url, ca: Option<&Path>) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        // Connections are upgraded in HTTP/1.1 alone.
        .http1_only()
        .connect_timeout(CONNECT_TIME_MAX)
        .tcp_nodelay(true)
        .referer(false)
        .redirect(reqwest::redirect::Policy::none());
    let name = origin.domain().filter(|name| *name == "localhost" || name.ends_with(".localhost"));
    if let Some(name) = name {
        // Not every system resolves these names to this machine (RFC 6761, section 6.3). The port is that of the URL.
        builder = builder.resolve(name, ([127, 0, 0, 1], 0).into());
    }
    builder = with_proxy(builder, origin)?;
    if let Some(ca) = ca {
        let mut tls = trust::with_file(ca)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        builder = builder.tls_backend_preconfigured(tls);
    }
    builder.build().map_err(|error| no_tls(&error))
}

/// The addresses of the environment's half.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) half: Half,
    /// The target of the local edge: the forwarder.
    pub(super) to: UpstreamUrl,
    /// The target of the forwarder.
    pub(super) site: UpstreamUrl,
}

/// The targets of requests without a file in the folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Routing {
    /// Backends of `--api`.
    pub(super) api: Vec<ApiRoute>,
    /// The folder, if different from that of `devanture.toml`.
    pub(super) dir: Option<PathBuf>,
    /// The half from an environment, if any.
    pub(super) remote: Option<Remote>,
}

impl Routing {
    /// Returns the forwarder, if it is for this half.
    fn to(&self, half: Half) -> Option<RouteTo> {
        self.remote.as_ref().filter(|remote| remote.half == half).map(|remote| RouteTo::Address(remote.to.clone()))
    }

    /// Redirects the routes of `devanture.toml` to an environment with the backend. The environment applies its own
    /// routes to the rest, such as fields and prefixes, which must not be changed twice.
    pub(super) fn turned(&self, routes: Vec<Route>) -> Vec<Route> {
        let Some(to) = self.to(Half::Backend) else { return routes };
        if routes.is_empty() {
            return API_PATH.parse().map(|path| Route::new(path, to)).into_iter().collect();
        }
        let turned = routes.into_iter().map(|route| Route {
            body_bytes_max: route.body_bytes_max,
            files_first: route.files_first,
            first_byte_timeout_ms: route.first_byte_timeout_ms,
            idle_timeout_ms: route.idle_timeout_ms,
            timeout_ms: route.timeout_ms,
            total_timeout_ms: route.total_timeout_ms,
            ..Route::new(route.path, to.clone())
        });
        turned.collect()
    }

    /// Returns the route of all pages, if the environment has them.
    pub(super) fn front(&self) -> Option<Route> {
        let to = self.to(Half::Front)?;
        FRONT_PATH.parse().map(|path| Route::new(path, to)).ok()
    }

    /// Checks that a route of `routes` leads to the environment.
    ///
    /// # Errors
    /// `usage` without such a route.
    pub(super) fn check(&self, routes: &[Route]) -> Result<(), Failure> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let leads_there = |route: &Route| matches!(&route.to, RouteTo::Address(to) if *to == remote.to);
        if routes.iter().any(leads_there) {
            return Ok(());
        }
        let (flag, why) = match remote.half {
            Half::Backend => ("--api remote", "each route leads to another address of --api"),
            Half::Front => ("--front remote", "a route leads every path to a backend"),
        };
        Err(Failure::new(Code::Usage, format!("`{flag}` has no effect: {why}.")).hint("leave one of the two out"))
    }

    /// Returns the routes as a user knows them: with the environment's address, not the forwarder's.
    pub(super) fn shown(&self, mut routes: Vec<Route>) -> Vec<Route> {
        for route in &mut routes {
            if let Some(remote) = &self.remote
                && matches!(&route.to, RouteTo::Address(to) if *to == remote.to)
            {
                route.to = RouteTo::Address(remote.site.clone());
            }
        }
        routes
    }
}

/// Creates the placeholder folder for a remote front, below the folder of the run.
///
/// # Errors
/// `internal` if the folder cannot be created.
fn stand_in(run: &Path) -> Result<PathBuf, Failure> {
    let folder = run.join("front");
    let made = DirBuilder::new().create(&folder).and_then(|()| {
        let file = OpenOptions::new().write(true).create_new(true).open(folder.join("index.html"));
        file?.write_all(STAND_IN.as_bytes())
    });
    made.map_err(|error| Failure::new(Code::Internal, format!("{} cannot be made: {error}.", folder.display())))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(half: Half) -> Routing {
        let remote =
            Remote { half, to: "http://127.0.0.1:1".parse().unwrap(), site: "https://s.example".parse().unwrap() };
        Routing { remote: Some(remote), ..Routing::default() }
    }

    fn route(path: &str) -> Route {
        let to = "http://a".parse().unwrap();
        Route { strip_prefix: true, timeout_ms: Some(5), files_first: true, ..Route::new(path.parse().unwrap(), to) }
    }

    #[test]
    fn routes_to_an_environment_leave_paths_to_its_own_routes() {
        let turned = routing(Half::Backend).turned(vec![route("/rpc/*")]);
        let [only] = turned.as_slice() else { panic!("{turned:?}") };
        assert_eq!((only.path.as_str(), only.to.to_string().as_str()), ("/rpc/*", "http://127.0.0.1:1"));
        assert_eq!((only.strip_prefix, only.timeout_ms, only.files_first), (false, Some(5), true));
        assert_eq!(routing(Half::Backend).turned(Vec::new())[0].path.as_str(), "/api/*");
        assert_eq!(routing(Half::Front).turned(vec![route("/rpc/*")]), [route("/rpc/*")]);
        assert_eq!(routing(Half::Backend).shown(turned)[0].to.to_string(), "https://s.example");
    }

    #[test]
    fn a_remote_half_without_a_path_is_refused() {
        for half in [Half::Backend, Half::Front] {
            let routing = routing(half);
            assert!(routing.check(&[route("/*")]).is_err());
            let all = routing.turned(vec![route("/rpc/*")]).into_iter().chain(routing.front());
            assert!(routing.check(&all.collect::<Vec<_>>()).is_ok());
        }
        assert!(Routing::default().check(&[]).is_ok());
    }
}
