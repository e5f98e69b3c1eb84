//! Decides the response to a request: one function for the edge, which sends the response, and for the command line,
//! which explains the decision.
//!
//! The first step with a result decides: (1) an unknown method, (2) the edge's own paths, (3) routes, (4) the normal
//! form of the path, (5) access, (6) withdrawn paths, (7) rules, (8) files and pages, (9) the last resort. The backend,
//! the encoding of a file, preconditions and ranges follow from the [`Outcome`], and belong to the edge.
//!
//! The caller is generic in three ways: a [`Site`] is a version in memory or a manifest, a [`Request`] may come from an
//! unknown visitor, and a [`Trace`] receives every step, or is [`Untraced`] and costs no instruction.

mod by_rule;
mod canonical;
mod files;
mod outcome;
mod own_path;
mod request;
mod site;
mod trace;

pub(crate) use by_rule::normal;
pub use canonical::canonical_location;
pub use outcome::{Backend, End, Outcome, Refused};
pub use own_path::OwnPath;
pub use request::Request;
pub(crate) use request::may_have_shell;
pub use site::Site;
pub use trace::{Reason, Stage, Step, Trace, Untraced};

use std::borrow::Cow;

use http::Method as HttpMethod;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN};

use crate::method::Method;
use crate::resolve::{self, Resolution};
use crate::rules::{Access, Varies};
use crate::target::{self, Target, TargetError};

/// Decides the response to `request`.
#[inline]
pub fn decide<'r, S: Site, R: Request<'r>, T: Trace>(site: &S, request: &R, trace: &mut T) -> Outcome<'r, S::Asset> {
    let visit = Visit { site, request };
    // A single call, so that the compiler inlines the function and never moves the outcome.
    let mut outcome = visit.decide(trace);
    let is_options = *request.method() == HttpMethod::OPTIONS;
    if is_options && matches!(outcome.end, End::Backend { .. }) && visit.is_preflight() {
        trace.step(Step::Preflight);
        outcome.end = End::Preflight;
    }
    outcome
}

/// Access to a file, under every path that leads to the file, for a request to `path`.
#[inline]
pub fn access_to_file<'r, S: Site, R: Request<'r>>(site: &S, request: &R, path: &str, file: u32) -> Access {
    Visit { site, request }.access_to(site.file_path(file), None, path, &mut Untraced)
}

/// A path followed by a query.
#[must_use]
pub fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// A request to a site.
struct Visit<'d, S, R> {
    site: &'d S,
    request: &'d R,
}

/// Parts of an outcome that are known before its end.
#[derive(Default)]
struct Found {
    varies: Varies,
    rule: Option<u32>,
}

impl<S, R> Clone for Visit<'_, S, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, R> Copy for Visit<'_, S, R> {}

impl<'r, S: Site, R: Request<'r>> Visit<'_, S, R> {
    /// Decides by the kind of path: the edge's own, then a route's, then a file's.
    #[inline(always)]
    fn decide<T: Trace>(self, trace: &mut T) -> Outcome<'r, S::Asset> {
        let Self { site, request } = self;
        let path = request.path();
        match *request.method() {
            // RFC 9110 §9.3.6: the edge is no proxy that a client selects; a tunnel has no path for a route to match.
            HttpMethod::CONNECT => return self.refuse(Stage::Method, Refused::MethodNotAllowed, trace).into(),
            // RFC 9110 §9.3.7: about the server as a whole.
            HttpMethod::OPTIONS if path == "*" => {
                trace.step(Step::Ended(Stage::Method, None, Reason::WholeServer));
                return End::Methods.into();
            }
            _ => {}
        }
        if let Some(own) = OwnPath::of(path).filter(|own| site.has_own(*own)) {
            return Outcome::of(self.own(own, trace), Cow::Borrowed(path));
        }
        // Before a backend could read the path as one of the edge's.
        if let Some((_, to)) = OwnPath::respelled(path, request.path_bytes_max()).filter(|(own, _)| site.has_own(*own))
        {
            return self.moved(to, trace);
        }
        trace.step(Step::NotOwn);
        if let Some(end) = self.by_route(trace) {
            return end.into();
        }
        let file = site.fast_path(path).filter(|_| path.len() <= request.path_bytes_max());
        let path = match file {
            Some(_) => Cow::Borrowed(path),
            None => match target::normalise(path, request.path_bytes_max()) {
                Target::Normal(path) => path,
                Target::Redirect(to) => return self.moved(to, trace),
                Target::Refuse(error) => {
                    return self.refuse(Stage::Spelling, Refused::BadTarget(error), trace).into();
                }
            },
        };
        if !site.rules().can_compare(&path) {
            return self.refuse(Stage::Spelling, Refused::BadTarget(TargetError::TooLong), trace).into();
        }
        self.at(path, file, trace)
    }

    /// One of the edge's own paths, protected like the site's paths.
    fn own<T: Trace>(self, own: OwnPath, trace: &mut T) -> End<S::Asset> {
        if let Some(end) = self.kept_out(self.request.path(), trace) {
            return end;
        }
        match own {
            // The dictionary is a file.
            OwnPath::Dictionary(_) => {
                if let Some(end) = self.by_method(Stage::Own, None, trace) {
                    return end;
                }
            }
            OwnPath::Integrity => {
                if *self.request.method() != HttpMethod::POST {
                    return self.refuse(Stage::Own, Refused::MethodNotAllowed, trace);
                }
            }
            OwnPath::Env | OwnPath::Release | OwnPath::Share | OwnPath::Status => {
                if !Method::of(self.request.method().as_str()).is_read() {
                    return self.refuse(Stage::Own, Refused::MethodNotAllowed, trace);
                }
            }
        }
        trace.step(Step::Ended(Stage::Own, None, Reason::Own));
        End::Own(own)
    }

    /// A path of a route is never answered by a file or a fallback, in any spelling (law 9).
    #[inline]
    fn by_route<T: Trace>(self, trace: &mut T) -> Option<End<S::Asset>> {
        if self.site.has_routes() {
            return self.by_spelled_route(trace);
        }
        trace.step(Step::NoRoutes);
        None
    }

    fn by_spelled_route<T: Trace>(self, trace: &mut T) -> Option<End<S::Asset>> {
        let (path, path_bytes_max) = (self.request.path(), self.request.path_bytes_max());
        match target::normalise_for_route(path, path_bytes_max) {
            Target::Normal(text) => {
                let route = self.site.route(&text);
                trace.step(Step::OtherRoutes { path: &text, before: route });
                let route = route?;
                // RFC 9110 §9.3.8: a backend would return fields that a script must not read.
                if *self.request.method() == HttpMethod::TRACE {
                    return Some(self.refuse(Stage::Routes, Refused::MethodUnknown, trace));
                }
                trace.step(Step::Ended(Stage::Routes, None, Reason::Route(route)));
                Some(End::Backend { to: Backend::Route(route), path_and_query: None })
            }
            // Dot segments and doubled slashes differ in meaning between the edge and a backend: only the normal form
            // is forwarded.
            Target::Redirect(to) => {
                let Target::Normal(text) = target::normalise_for_route(&to, path_bytes_max) else { return None };
                let route = self.site.route(&text);
                trace.step(Step::OtherRoutes { path: &text, before: route });
                trace.step(Step::Ended(Stage::Routes, None, Reason::RouteSpelling(route?, &to)));
                let location = with_query(to, self.request.query());
                Some(End::Redirect { status: 308, location, is_by_site: false })
            }
            Target::Refuse(error) => Some(self.refuse(Stage::Spelling, Refused::BadTarget(error), trace)),
        }
    }

    /// Redirects to the normal form `to`. If `to` would be redirected by a rule or to a page's canonical address,
    /// redirects there directly, and only temporarily, since the next version may differ. A rule to another server gets
    /// the path as sent.
    fn moved<T: Trace>(self, to: String, trace: &mut T) -> Outcome<'r, S::Asset> {
        let site = self.site;
        let mut place = None;
        // A normal form needs no second step; the edge's own paths are outside the rules, and a route is answered by
        // its backend. A redirect must not reveal a page that is protected from the visitor or withdrawn.
        if let Target::Normal(path) = target::normalise(&to, to.len())
            && !self.is_edges(&path)
            && site.route(&path).is_none()
            && site.rules().can_compare(&path)
            && self.access(&path) != Access::Refused
            && !site.hides(&path)
        {
            let mut found = Found::default();
            if let Some(end) = self.passed_on(&path, &mut found, trace) {
                let path = Cow::Owned(path.into_owned());
                return Outcome { end, path, varies: found.varies, rule: found.rule };
            }
            let mut found = Found::default();
            if let Some(end @ End::Redirect { .. }) = self.by_rule(&path, &mut found, &mut Untraced) {
                trace.step(Step::Ended(Stage::Spelling, found.rule, Reason::Spelling { to: &to, is_moved: false }));
                let path = Cow::Owned(path.into_owned());
                return Outcome { end, path, varies: found.varies, rule: found.rule };
            }
            if let Resolution::Redirect(page) = resolve::resolve(site.index(), site.html_handling(), &path) {
                place = Some(target::encode_path(&page));
            }
        }
        trace.step(Step::Ended(Stage::Spelling, None, Reason::Spelling { to: &to, is_moved: place.is_some() }));
        let (status, to) = place.map_or((308, to), |place| (307, place));
        End::Redirect { status, location: with_query(to, self.request.query()), is_by_site: false }.into()
    }

    /// Returns true if the edge may answer the normalized `path` before the site's rules and files.
    fn is_edges(self, path: &str) -> bool {
        OwnPath::of(path).is_some_and(|own| self.site.has_own(own)) || OwnPath::is_for_proofs(path)
    }

    /// The outcome for the normalized, decoded `path` without a route; `file` is the file of the path, if known.
    #[inline(always)]
    fn at<T: Trace>(self, path: Cow<'r, str>, file: Option<u32>, trace: &mut T) -> Outcome<'r, S::Asset> {
        let mut found = Found::default();
        let end = self.end_at(&path, file, &mut found, trace);
        Outcome { end, path, varies: found.varies, rule: found.rule }
    }

    #[inline(always)]
    fn end_at<T: Trace>(self, path: &str, file: Option<u32>, found: &mut Found, trace: &mut T) -> End<S::Asset> {
        let site = self.site;
        trace.step(Step::Normal);
        if let Some(end) = self.kept_out(path, trace) {
            return end;
        }
        if site.rules().has_guards() {
            trace.step(Step::Open);
        }
        if site.hides(path) {
            return match self.by_method(Stage::Files, None, trace) {
                Some(end) => end,
                None => self.withdrawn(path, found, trace),
            };
        }
        if let Some(end) = self.by_rule(path, found, trace) {
            return end;
        }
        if let Some(end) = self.by_method(Stage::Files, None, trace) {
            return end;
        }
        self.by_file(path, file, found, trace)
    }

    /// The response to a method that files do not support.
    #[inline]
    fn by_method<T: Trace>(self, stage: Stage, rule: Option<u32>, trace: &mut T) -> Option<End<S::Asset>> {
        if *self.request.method() == HttpMethod::GET { None } else { self.by_other_method(stage, rule, trace) }
    }

    fn by_other_method<T: Trace>(self, stage: Stage, rule: Option<u32>, trace: &mut T) -> Option<End<S::Asset>> {
        let refused = match Method::of(self.request.method().as_str()) {
            Method::Get | Method::Head => return None,
            Method::Options => {
                trace.step(Step::Ended(stage, rule, Reason::Methods));
                return Some(End::Methods);
            }
            Method::NotAllowed => Refused::MethodNotAllowed,
            Method::NotImplemented => Refused::MethodUnknown,
        };
        trace.step(Step::Ended(stage, rule, Reason::Refused(refused)));
        Some(End::Refused(refused))
    }

    fn refuse<T: Trace>(self, stage: Stage, refused: Refused, trace: &mut T) -> End<S::Asset> {
        trace.step(Step::Ended(stage, None, Reason::Refused(refused)));
        End::Refused(refused)
    }

    /// The visitor's access to the path.
    #[inline]
    fn access(self, path: &str) -> Access {
        if self.site.rules().has_guards() { self.guarded_access(path) } else { Access::Everybody }
    }

    fn guarded_access(self, path: &str) -> Access {
        // An unknown visitor may have the right credentials.
        let Some(host) = self.request.host() else { return Access::Everybody };
        self.site.rules().access(host, path, self.request.field(&AUTHORIZATION).as_deref())
    }

    /// The response to a visitor without access to the path.
    #[inline]
    fn kept_out<T: Trace>(self, path: &str, trace: &mut T) -> Option<End<S::Asset>> {
        if self.access(path) != Access::Refused {
            return None;
        }
        trace.step(Step::Ended(Stage::Access, None, Reason::KeptOut(path)));
        Some(End::Refused(Refused::Unauthorised))
    }

    /// Returns true for a preflight to a backend from a page of an allowed origin (Fetch Standard, section 3.2).
    fn is_preflight(self) -> bool {
        let asks = self.request.field(&ACCESS_CONTROL_REQUEST_METHOD).is_some();
        asks && self.request.field(&ORIGIN).is_some_and(|origin| self.site.has_cors_origin(&origin))
    }
}
