//! Explains the response to a request, and lists files and rules shadowed by routes.

use std::collections::BTreeSet;
use std::convert::Infallible;

use devanture_config::site_toml::{
    Declared, HostRule, NotFound, Route, RouteTo, Serving, Upstream, UpstreamUrl, without_prefix,
};

use super::ManifestSite;
use super::end::{BackendTo, Decided, End, Request};
use super::notes::{Note, Notes};
use super::predicted::{PATH_BYTES_MAX, PredictedRequest};
use crate::decide::{self, Backend, Outcome, Refused, Site as _, normal, with_query};
use crate::resolve::{self, Resolution};
use crate::rules::check::route_before;
use crate::rules::{HeaderRule, Redirect};

/// Explanation of the response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub decided: Decided,
    /// The stages, in order; the last one decides.
    pub notes: Vec<Note>,
    /// The numbers of the rules that change the response fields, in order.
    pub fields: Vec<usize>,
    /// The origin of pages that may read a backend's response, if the request comes from an origin in `cors`.
    pub cors: Option<String>,
}

/// Paths of the bundle shadowed by a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadowed {
    /// The numbers of files that no visitor gets.
    pub files: Vec<u32>,
    /// The numbers of redirects and rewrites that never apply.
    pub rules: Vec<usize>,
}

impl ManifestSite<'_> {
    /// Explains the response to `request`.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let predicted = PredictedRequest::known(request);
        let mut notes = Notes::of(self, &predicted);
        let Outcome { end, path, .. } = match self.canonical_redirect(request) {
            Some((location, canonical)) => {
                notes.by_canonical_host(request.host, canonical);
                decide::End::Redirect { status: 308, location, is_by_site: false }.into()
            }
            None => decide::decide(self, &predicted, &mut notes),
        };
        let fields = if self.has_fields(&end, &path) { self.fields_of(request.host, &path) } else { Vec::new() };
        let is_backends = matches!(end, decide::End::Backend { .. } | decide::End::Preflight);
        let cors = request.field("origin").filter(|origin| is_backends && self.has_cors_origin(origin));
        let cors = cors.map(|origin| String::from_utf8_lossy(&origin).into_owned());
        let (stage, rule, notes) = notes.in_order();
        let rule = rule.and_then(|rule| usize::try_from(rule).ok());
        Explanation { decided: Decided { end: self.end_of(request, end), stage, rule }, notes, fields, cors }
    }

    /// The target of a request for a hostname that is not the canonical one, and the canonical hostname.
    fn canonical_redirect(&self, request: &Request<'_>) -> Option<(String, &str)> {
        let canonical = self.canonical.as_deref().filter(|name| self.leads(request.host, name))?;
        let location = decide::canonical_location(format!("https://{canonical}"), request.path, request.query)?;
        Some((location, canonical))
    }

    /// The end as `routes` prints it: the path seen by a backend, and names in place of numbers.
    fn end_of(&self, request: &Request<'_>, end: decide::End<Infallible>) -> End {
        match end {
            decide::End::Asset { asset, .. } => match asset {},
            decide::End::Backend { to, path_and_query } => {
                let (path, query) = match &path_and_query {
                    Some(target) => target.split_once('?').map_or((target.as_str(), None), |(p, q)| (p, Some(q))),
                    None => (request.path, request.query),
                };
                let (to, path) = match to {
                    Backend::Route(number) => {
                        let route = self.routes.get(number).map(|(_, route)| route);
                        (BackendTo::Route(number), route.map_or_else(|| path.to_owned(), |route| sent_on(route, path)))
                    }
                    Backend::Upstream(number) => {
                        let origin = self.upstreams.get(number).cloned().unwrap_or_default();
                        (BackendTo::Origin(origin), path.to_owned())
                    }
                };
                End::Backend { to, path_and_query: with_query(path, query) }
            }
            decide::End::File { file, status, .. } => End::File { file, status },
            decide::End::Methods => End::Methods,
            decide::End::Nothing => End::Nothing,
            decide::End::Own(own) => End::Own(own),
            decide::End::Preflight => End::Preflight,
            decide::End::Redirect { status, location, .. } => End::Redirect { status, location },
            decide::End::Refused(refused) => End::Refused(refused),
        }
    }

    /// Returns true if rules change the fields of a response. Rules never change the response of a backend or of the
    /// edge, and a request without a path has no rules.
    fn has_fields(&self, end: &decide::End<Infallible>, path: &str) -> bool {
        match end {
            decide::End::File { .. } | decide::End::Nothing => true,
            decide::End::Methods | decide::End::Refused(Refused::MethodNotAllowed | Refused::MethodUnknown) => {
                !path.is_empty()
            }
            // The redirect to the normal form belongs to the edge.
            decide::End::Redirect { is_by_site, .. } => *is_by_site && self.rules.redirects_have_fields,
            _ => false,
        }
    }

    /// The rules that change the fields of the response at `path`.
    fn fields_of(&self, host: &str, path: &str) -> Vec<usize> {
        let rules = self.rules.headers.iter().enumerate();
        rules.filter(|(_, rule)| rule.path.is_for(host, path)).map(|(number, _)| number).collect()
    }

    /// The routes, in the order of matching, each with its position in the written list, from 0.
    #[must_use]
    pub fn routes(&self) -> &[(usize, Route)] {
        &self.routes
    }

    /// A redirect or rewrite, by its number.
    #[must_use]
    pub fn redirect(&self, number: usize) -> Option<&Redirect> {
        self.rules.redirects.get(number)
    }

    /// A rule for fields, by its number.
    #[must_use]
    pub fn field_rule(&self, number: usize) -> Option<&HeaderRule> {
        self.rules.headers.get(number)
    }

    /// The settings of the environment.
    #[must_use]
    pub const fn serving(&self) -> &Serving {
        &self.serving
    }

    /// The final hostname for visitors of the environment, if the bundle names one.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.canonical.as_deref().or_else(|| self.hosts.first().map(String::as_str))
    }

    /// The members of a backend's pool, and the pool's name below `[upstreams]`, if any.
    #[must_use]
    pub fn pool(&self, to: &BackendTo) -> (Option<&str>, Vec<UpstreamUrl>) {
        let pools = || self.serving.upstreams.iter().flatten();
        match to {
            BackendTo::Route(number) => match self.routes.get(*number).map(|(_, route)| &route.to) {
                Some(RouteTo::Address(to)) => (None, vec![to.clone()]),
                Some(RouteTo::Upstream(name)) => {
                    let found = pools().find(|(own, _)| own.as_str() == name.as_str());
                    // The pool of the bundle's own instances need not be declared.
                    (Some(name.as_str()), found.map_or_else(Vec::new, |(_, pool)| pool.to().to_vec()))
                }
                None => (None, Vec::new()),
            },
            BackendTo::Origin(origin) => {
                let is_member = |pool: &Declared| pool.to().iter().any(|to| to.origin().as_deref() == Some(origin));
                let found = pools().find(|(_, pool)| is_member(pool));
                let alone = || origin.parse().map_or_else(|_| Vec::new(), |to| vec![to]);
                (found.map(|(name, _)| name.as_str()), found.map_or_else(alone, |(_, pool)| pool.to().to_vec()))
            }
        }
    }

    /// The `Host` that a backend gets, if the redirect or rewrite of number `rule` led there.
    #[must_use]
    pub fn host_rule(&self, to: &BackendTo, rule: Option<usize>) -> HostRule {
        let by_rule = rule.and_then(|rule| self.redirect(rule)?.host.clone());
        if let (BackendTo::Origin(_), Some(host)) = (to, by_rule) {
            return host;
        }
        let (name, members) = self.pool(to);
        let declared = name.and_then(|name| self.serving.upstreams.as_ref()?.get(name));
        let pool = declared.map_or_else(|| Upstream { to: members, ..Upstream::default() }, Declared::pool);
        let route = match to {
            BackendTo::Route(number) => self.routes.get(*number).map(|(_, route)| route),
            BackendTo::Origin(_) => None,
        };
        HostRule::of(route, &pool)
    }

    /// Paths of the bundle shadowed by each route, in the order of [`ManifestSite::routes`].
    #[must_use]
    pub fn shadowed(&self) -> Vec<Shadowed> {
        let mut all = vec![Shadowed::default(); self.routes.len()];
        if all.is_empty() {
            return all;
        }
        let rewrites = Rewrites::of(self);
        for (number, path) in (0_u32..).zip(&self.paths) {
            if !path.is_private()
                && let Some(shadowed) = self.taken(number, path.as_str(), &rewrites).and_then(|at| all.get_mut(at))
            {
                shadowed.files.push(number);
            }
        }
        for (number, rule) in self.rules.redirects.iter().enumerate() {
            let by = route_before(rule, self.routes.iter().map(|(_, route)| route));
            if let Some(shadowed) = by.and_then(|at| all.get_mut(at)) {
                shadowed.rules.push(number);
            }
        }
        all
    }

    /// The route that matches every path of the file `number`.
    fn taken(&self, number: u32, path: &str, rewrites: &Rewrites) -> Option<usize> {
        if is_stand_in(path) || (self.not_found == NotFound::SinglePageApplication && path == "index.html") {
            return None;
        }
        // An encoding of an existing file counts as the file.
        let plain = path.rsplit_once('.').filter(|(_, ending)| matches!(*ending, "br" | "gz" | "zst"));
        if plain.is_some_and(|(plain, _)| self.index.exact(plain).is_some()) || rewrites.may_reach(number) {
            return None;
        }
        let addresses = resolve::addresses(path);
        if rewrites.has_captures && addresses.iter().any(|address| self.route(address).is_none()) {
            return None;
        }
        let own = addresses
            .iter()
            .filter(|at| resolve::resolve(&self.index, self.html_handling, at) == Resolution::File(number));
        let mut routes = own.map(|address| self.route(address));
        let first = routes.next()??;
        routes.all(|route| route.is_some()).then_some(first)
    }
}

/// Files that rewrites may serve at other paths.
#[derive(Debug, Default)]
struct Rewrites {
    files: BTreeSet<u32>,
    /// True if a rewrite inserts captures into paths of files.
    has_captures: bool,
    /// True if such a rewrite may serve a file at the path of a route.
    any: bool,
}

impl Rewrites {
    fn of(site: &ManifestSite<'_>) -> Self {
        let mut found = Self::default();
        for rule in &site.rules.redirects {
            if rule.is_redirect() || rule.is_unknowable || rule.to.origin().is_some() {
                continue;
            }
            match rule.to.constant_path() {
                Some(path) => {
                    let path =
                        normal(path, PATH_BYTES_MAX).filter(|path| rule.status != 200 || site.route(path).is_none());
                    found.files.extend(path.and_then(|path| site.index.page_at(&path)));
                }
                None => {
                    found.has_captures = true;
                    found.any |= rule.status != 200;
                }
            }
        }
        found
    }

    fn may_reach(&self, number: u32) -> bool {
        self.any || self.files.contains(&number)
    }
}

/// The path that a route's backend sees.
fn sent_on(route: &Route, path: &str) -> String {
    let (prefix, _) = route.path.prefix();
    if route.strip_prefix { without_prefix(path, prefix) } else { path.to_owned() }
}

/// Returns true if a file stands in for others: an error page.
fn is_stand_in(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let status = name.strip_suffix(".html").unwrap_or_default();
    status == "404" || (name == path && status.len() == 3 && status.starts_with(['4', '5']))
}
