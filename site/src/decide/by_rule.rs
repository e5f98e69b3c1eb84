//! Applies redirects and rewrites to a request.

use devanture_config::rules::pattern::Ending;
use devanture_config::rules::redirect::Filled;
use http::Method;
use http::header::{ACCEPT_LANGUAGE, COOKIE};

use super::outcome::{Backend, End, Refused};
use super::trace::{Reason, Stage, Step, Trace};
use super::{Found, Request, Site, Visit, with_query};
use crate::cache::Kept;
use crate::resolve::{self, Resolution};
use crate::rules::{Access, Matched, Redirect, Skip, Visitor};
use crate::sent_path::SentPath;
use crate::target::{self, Target};

/// A rule that applies to a request.
#[derive(Clone, Copy)]
struct Applied<'a> {
    number: u32,
    rule: &'a Redirect,
    filled: &'a Filled,
    /// The path of the request, normalized and decoded.
    path: &'a str,
}

impl Applied<'_> {
    /// The stage of the rule.
    const fn stage(&self) -> Stage {
        Stage::of_rule(self.rule)
    }
}

impl<'d, 'r, S: Site, R: Request<'r>> Visit<'d, S, R> {
    /// The result of the first rule that applies, if the rule precedes files or the path has no file.
    #[inline]
    pub(super) fn by_rule<T: Trace>(self, path: &str, found: &mut Found, trace: &mut T) -> Option<End<S::Asset>> {
        if self.site.rules().has_redirects() { self.by_first_rule(path, found, trace) } else { None }
    }

    // Out of line, to keep the common path short.
    #[inline(never)]
    fn by_first_rule<T: Trace>(self, path: &str, found: &mut Found, trace: &mut T) -> Option<End<S::Asset>> {
        let mut skipped = |number, skip| trace.step(Step::Rule(number, skip));
        let skipped: Option<&mut dyn FnMut(u32, Skip)> = if T::LISTENS { Some(&mut skipped) } else { None };
        let matched = self.by_visitor(|visitor| self.site.rules().redirect(visitor, path, skipped));
        found.varies = matched.varies;
        let (number, rule, filled) = matched.rule?;
        if !rule.force {
            if self.has_file(path) {
                trace.step(Step::Rule(number, Skip::File));
                return None;
            }
            trace.step(Step::NoFile(path));
            // An asset of the version that a page belongs to precedes a rule for every path (law 10).
            if Self::has_files(self.request.method())
                && let Some(end) = self.asset(path)
            {
                return Some(end);
            }
        }
        self.apply(Applied { number, rule, filled: &filled, path }, found, trace)
    }

    /// The first rule for a visitor, by the search `first`.
    fn by_visitor(self, first: impl FnOnce(&Visitor<'_>) -> Matched<'d>) -> Matched<'d> {
        let request = self.request;
        let (accept_language, cookie) = (request.field(&ACCEPT_LANGUAGE), request.field(&COOKIE));
        first(&Visitor {
            host: request.host(),
            query: request.query(),
            accept_language: accept_language.as_deref(),
            cookie: cookie.as_deref(),
        })
    }

    fn has_file(self, path: &str) -> bool {
        resolve::resolve(self.site.index(), self.site.html_handling(), path) != Resolution::Missing
    }

    /// The result of the first rule for the path as sent, if the rule leads to another server, directly or in one more
    /// step: the meaning of the path there is not for the edge to decide (RFC 3986 §2.2). `path` is its normal form,
    /// which decides all local matters: access, files, and the preceding rules.
    pub(super) fn passed_on<T: Trace>(self, path: &str, found: &mut Found, trace: &mut T) -> Option<End<S::Asset>> {
        let rules = self.site.rules();
        if !rules.has_redirects() {
            return None;
        }
        let sent = SentPath::of(self.request.path(), self.request.path_bytes_max())?;
        if !rules.can_compare(sent.text()) {
            return None;
        }
        let matched = self.by_visitor(|visitor| rules.redirect_as_sent(visitor, &sent));
        let (number, rule, filled) = matched.rule?;
        if !self.keeps_spelling(rule, &filled) || (!rule.force && (self.has_file(path) || self.asset(path).is_some())) {
            return None;
        }
        // No spelling may bypass a preceding rule, which may protect a part of a backend.
        let first = self.by_visitor(|visitor| rules.redirect(visitor, path, None));
        if first.rule.is_some_and(|(before, ..)| before < number) {
            return None;
        }
        found.varies = matched.varies;
        found.varies.join(first.varies);
        let end = self.apply(Applied { number, rule, filled: &filled, path }, found, trace)?;
        if sent.is_as_sent() || !matches!(end, End::Backend { .. }) {
            return Some(end);
        }
        // Dot segments and doubled slashes differ in meaning between the edge and a backend.
        found.rule = None;
        let to = sent.as_str();
        trace.step(Step::Ended(Stage::Spelling, None, Reason::Spelling { to, is_moved: false }));
        let location = with_query(to.to_owned(), self.request.query());
        Some(End::Redirect { status: 308, location, is_by_site: false })
    }

    /// Returns true if a rule leads to another site, to a backend, or to a local path without a file, which a route or
    /// a rule may forward, now or in another step.
    fn keeps_spelling(self, rule: &Redirect, filled: &Filled) -> bool {
        let is_routed = || {
            let to = target::normalise_for_route(&filled.path, self.request.path_bytes_max());
            matches!(to, Target::Normal(to) if self.site.route(&to).is_some())
        };
        filled.origin.is_some()
            || (rule.status < 400 && is_routed())
            || (rule.is_redirect() && !self.leads_to_file(&filled.path))
    }

    /// Returns true if a redirect leads to a file or a page, which has a single name. A redirect must not reveal a page
    /// that is protected from the visitor or withdrawn.
    fn leads_to_file(self, path: &str) -> bool {
        normal(path, self.request.path_bytes_max()).is_some_and(|to| {
            self.site.rules().can_compare(&to)
                && self.access(&to) != Access::Refused
                && !self.site.hides(&to)
                && self.has_file(&to)
        })
    }

    fn apply<T: Trace>(self, applied: Applied<'_>, found: &mut Found, trace: &mut T) -> Option<End<S::Asset>> {
        let Applied { number, rule, filled, .. } = applied;
        let skip = |why, trace: &mut T| {
            trace.step(Step::Rule(number, why));
            None
        };
        if rule.is_redirect() {
            let query = self.query_beside(rule);
            if self.leads_here(applied, query) {
                return skip(Skip::LeadsHere, trace);
            }
            return Some(self.sent_to(applied, rule.status, filled.location(query), found, trace));
        }
        if let Some(origin) = &filled.origin {
            return match self.site.upstream(origin) {
                Some(upstream) => Some(self.backend(applied, Backend::Upstream(upstream), found, trace)),
                None => skip(Skip::Undeclared, trace),
            };
        }
        let to = normal(&filled.path, self.request.path_bytes_max()).filter(|to| self.site.rules().can_compare(to));
        let Some(to) = to else { return skip(Skip::NoPath, trace) };
        if rule.status == 200
            && let Some(route) = self.site.route(&to)
        {
            return Some(self.backend(applied, Backend::Route(route), found, trace));
        }
        if let Some(end) = self.by_method(applied.stage(), Some(number), trace).or_else(|| self.kept_out(&to, trace)) {
            return Some(end);
        }
        found.rule = Some(number);
        Some(match rule.status {
            200 => self.rewrite(applied, &to, found, trace),
            status => self.page_by(applied, status, &to, found, trace),
        })
    }

    /// The request's query, unless the rule matches parameters: matched parameters are consumed.
    fn query_beside(self, rule: &Redirect) -> Option<&'r str> {
        self.request.query().filter(|_| rule.query.is_empty())
    }

    /// Returns true if a redirect leads to the requested address.
    fn leads_here(self, applied: Applied<'_>, query: Option<&str>) -> bool {
        let Applied { filled, path, .. } = applied;
        let host = filled.origin.as_deref().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        let is_here = |host: &str| {
            let plain = host.strip_suffix(":443").unwrap_or(host);
            let own = self.request.host();
            own.is_some_and(|own| host.eq_ignore_ascii_case(own) || self.site.leads(plain, own))
        };
        // At the edge, every spelling of a path leads to its normal form.
        let is_same = || {
            filled.path == target::encode_path(path)
                || (filled.path.contains('%')
                    && normal(&filled.path, self.request.path_bytes_max()).is_some_and(|to| to == path))
        };
        host.is_none_or(is_here) && is_same() && filled.query.as_deref().or(query) == self.request.query()
    }

    fn sent_to<T: Trace>(
        self,
        applied: Applied<'_>,
        status: u16,
        location: String,
        found: &mut Found,
        trace: &mut T,
    ) -> End<S::Asset> {
        found.rule = Some(applied.number);
        trace.step(Step::Ended(applied.stage(), found.rule, Reason::Rule));
        End::Redirect { status, location, is_by_site: true }
    }

    /// A rewrite to a backend.
    fn backend<T: Trace>(self, applied: Applied<'_>, to: Backend, found: &mut Found, trace: &mut T) -> End<S::Asset> {
        let Applied { number, rule, filled, .. } = applied;
        found.rule = Some(number);
        let is_path = || {
            let path = target::normalise_for_route(&filled.path, self.request.path_bytes_max());
            matches!(path, Target::Normal(_))
        };
        let refused = if *self.request.method() == Method::TRACE {
            Some(Refused::MethodUnknown)
        } else if !is_path() {
            // A capture must not lead outside the rule's own path: dot segments would.
            Some(Refused::BadRewrite)
        } else {
            None
        };
        if let Some(refused) = refused {
            trace.step(Step::Ended(applied.stage(), found.rule, Reason::Refused(refused)));
            return End::Refused(refused);
        }
        trace.step(Step::Ended(applied.stage(), found.rule, Reason::Rule));
        let query = filled.query.as_deref().or_else(|| self.query_beside(rule));
        End::Backend { to, path_and_query: Some(with_query(filled.path.clone(), query)) }
    }

    /// Answers with the file at `to` in place of the requested path.
    fn rewrite<T: Trace>(self, applied: Applied<'_>, to: &str, found: &mut Found, trace: &mut T) -> End<S::Asset> {
        let Applied { number, rule, filled, path } = applied;
        let Self { site, request } = self;
        if rule.follows_html_handling {
            return match resolve::resolve(site.index(), site.html_handling(), to) {
                Resolution::File(file) => self.file(path, (file, Kept::StandIn), (applied.stage(), found), trace),
                Resolution::Redirect(to) => {
                    let place = Filled { path: target::encode_path(&to), ..filled.clone() };
                    self.sent_to(applied, 307, place.location(request.query()), found, trace)
                }
                Resolution::Missing => self.missing(path, to, found, trace),
            };
        }
        let Some(file) = site.index().page_at(to) else { return self.missing(path, to, found, trace) };
        // A catch-all page must not answer for an image or a script.
        if self.is_shell(rule, file) && !rule.force {
            found.varies.by_navigation = true;
            if !request.may_have_shell(path) {
                trace.step(Step::Rule(number, Skip::PagesAlone));
                return self.not_found(path, path, found, trace);
            }
        }
        self.file(path, (file, Kept::StandIn), (applied.stage(), found), trace)
    }

    /// The page at `to` with the rule's status.
    fn page_by<T: Trace>(
        self,
        applied: Applied<'_>,
        status: u16,
        to: &str,
        found: &mut Found,
        trace: &mut T,
    ) -> End<S::Asset> {
        match self.site.index().page_at(to) {
            Some(file) => self.page(applied.path, (file, status), (applied.stage(), found), trace),
            None => self.not_found(applied.path, to, found, trace),
        }
    }

    /// Returns true if a rule gives every path the page of an application: one page for all paths below.
    fn is_shell(self, rule: &Redirect, file: u32) -> bool {
        let (_, ending) = rule.from.steps();
        ending != Ending::Exact && rule.to.constant_path().is_some() && self.site.is_page(file)
    }
}

/// The normal form of a rule's target, decoded.
pub(crate) fn normal(path: &str, bytes_max: usize) -> Option<String> {
    match target::normalise(path, bytes_max) {
        Target::Normal(path) => Some(path.into_owned()),
        Target::Redirect(to) => match target::normalise(&to, bytes_max) {
            Target::Normal(path) => Some(path.into_owned()),
            Target::Redirect(_) | Target::Refuse(_) => None,
        },
        Target::Refuse(_) => None,
    }
}
