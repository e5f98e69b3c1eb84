//! Decides the answer to a request: one function for the edge, which sends the answer, and for the command line, which
//! explains it.
//!
//! The first of these that has an answer gives it: (1) a method that no path has, (2) the edge's own paths, (3) routes,
//! (4) the normal form of the path, (5) access, (6) withdrawn paths, (7) rules, (8) files and pages, (9) the last
//! resort. A backend, the encoding of a file, preconditions and ranges follow from the [`Outcome`], and are the edge's.
//!
//! The caller is generic in three ways: a [`Site`] is a version in memory or a manifest, a [`Request`] may come from a
//! visitor of whom nothing is known, and a [`Trace`] hears of every step, or is [`Untraced`] and costs nothing.

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

/// Decides the answer to `request`.
#[inline]
pub fn decide<'r, S: Site, R: Request<'r>, T: Trace>(site: &S, request: &R, trace: &mut T) -> Outcome<'r, S::Asset> {
    let visit = Visit { site, request };
    // One call, which the compiler then puts here, and an outcome that is never moved.
    let mut outcome = visit.decide(trace);
    let is_options = *request.method() == HttpMethod::OPTIONS;
    if is_options && matches!(outcome.end, End::Backend { .. }) && visit.is_preflight() {
        trace.step(Step::Preflight);
        outcome.end = End::Preflight;
    }
    outcome
}

/// Who may see the file of that number, under every path that leads to it, where `path` was requested.
#[inline]
pub fn access_to_file<'r, S: Site, R: Request<'r>>(site: &S, request: &R, path: &str, file: u32) -> Access {
    Visit { site, request }.access_to(site.file_path(file), None, path, &mut Untraced)
}

/// A path with a query after it.
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

/// What is known of an outcome before its end.
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
    /// Decides by what the path is: one of the edge's own, then a route's, then a file's.
    #[inline(always)]
    fn decide<T: Trace>(self, trace: &mut T) -> Outcome<'r, S::Asset> {
        let Self { site, request } = self;
        let path = request.path();
        match *request.method() {
            // RFC 9110 §9.3.6: the edge is no proxy that a client chooses; a tunnel has no path that a route could
            // match.
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
        // Before a backend could read it as the edge's own.
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

    /// One of the edge's own paths. What a site keeps from strangers, it keeps here too.
    fn own<T: Trace>(self, own: OwnPath, trace: &mut T) -> End<S::Asset> {
        if let Some(end) = self.kept_out(self.request.path(), trace) {
            return end;
        }
        match own {
            // That one is a file.
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

    /// A path that belongs to a route is never answered by a file or a fallback, whatever its spelling (law 9).
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
                // RFC 9110 §9.3.8: what a backend would send back holds fields that a script may not read.
                if *self.request.method() == HttpMethod::TRACE {
                    return Some(self.refuse(Stage::Routes, Refused::MethodUnknown, trace));
                }
                trace.step(Step::Ended(Stage::Routes, None, Reason::Route(route)));
                Some(End::Backend { to: Backend::Route(route), path_and_query: None })
            }
            // Dot segments and doubled slashes mean one thing here and another in a backend: only the normal form goes
            // on.
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

    /// Redirects to the normal form `to`; where that would be redirected in its turn, by a rule or to a page's place,
    /// to there at once, and only for now, since the next version may have it elsewhere. What a rule sends to another
    /// server goes there as it came.
    fn moved<T: Trace>(self, to: String, trace: &mut T) -> Outcome<'r, S::Asset> {
        let site = self.site;
        let mut place = None;
        // A normal form is normal; the edge's own paths are no rule's, and a route's answer is its backend's. Whether
        // there is a page behind what this visitor may not see, or what is withdrawn, is nothing that a redirect shows.
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

    /// Whether `path`, which is normal, may be answered by the edge before the site is looked at.
    fn is_edges(self, path: &str) -> bool {
        OwnPath::of(path).is_some_and(|own| self.site.has_own(own)) || OwnPath::is_for_proofs(path)
    }

    /// The outcome for `path`, which is normal, decoded and no route's; `file` is what it leads to, where that is
    /// known.
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

    /// The answer to a method that files do not have.
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

    /// Whether the visitor may see what has this path.
    #[inline]
    fn access(self, path: &str) -> Access {
        if self.site.rules().has_guards() { self.guarded_access(path) } else { Access::Everybody }
    }

    fn guarded_access(self, path: &str) -> Access {
        // The credentials of an unknown visitor may be the right ones.
        let Some(host) = self.request.host() else { return Access::Everybody };
        self.site.rules().access(host, path, self.request.field(&AUTHORIZATION).as_deref())
    }

    /// The answer to those who may not see what has this path.
    #[inline]
    fn kept_out<T: Trace>(self, path: &str, trace: &mut T) -> Option<End<S::Asset>> {
        if self.access(path) != Access::Refused {
            return None;
        }
        trace.step(Step::Ended(Stage::Access, None, Reason::KeptOut(path)));
        Some(End::Refused(Refused::Unauthorised))
    }

    /// Whether a page of an origin that the site names finds out what it may send to a backend (Fetch Standard, section
    /// 3.2).
    fn is_preflight(self) -> bool {
        let asks = self.request.field(&ACCESS_CONTROL_REQUEST_METHOD).is_some();
        asks && self.request.field(&ORIGIN).is_some_and(|origin| self.site.has_cors_origin(&origin))
    }
}
