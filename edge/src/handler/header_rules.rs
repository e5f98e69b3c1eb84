//! Applies the rules of a site to a request, and to the head of its answer.

use std::sync::Arc;

use devanture_config::Hostname;
use devanture_site::cache::{self, Kept};
use devanture_site::resolve::{self, Resolution};
use devanture_site::rules::pattern::Ending;
use devanture_site::rules::redirect::Filled;
use devanture_site::rules::{Access, FieldChanges, Redirect, Varies, Visitor, append_member};
use devanture_site::target::{self, Target};
use http::header::{
    ACCEPT_LANGUAGE, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, LINK, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::decision::{Decision, ProxyTo, RouteId, with_query};
use super::refused::Refused;
use super::site_request::SiteRequest;
use crate::live::Place;
use crate::version::Version;

/// Fields that caches of some providers read before `Cache-Control`.
const CDN_CACHE_CONTROLS: [&str; 5] = [
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "netlify-cdn-cache-control",
    "surrogate-control",
    "vercel-cdn-cache-control",
];

/// Changes by the site's rules to the head of one answer. Without any, nothing is allocated.
#[derive(Debug, Default)]
pub struct HeaderRules(Option<Box<Said>>);

#[derive(Debug)]
struct Said {
    changes: FieldChanges,
    varies: Varies,
    /// Whether only some may see it.
    is_private: bool,
}

impl HeaderRules {
    fn new(changes: FieldChanges, varies: Varies, is_private: bool) -> Self {
        match changes.is_empty() && varies == Varies::default() && !is_private {
            true => Self(None),
            false => Self(Some(Box::new(Said { changes, varies, is_private }))),
        }
    }

    /// Whether anything is said.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether only some may see what is answered.
    pub(super) fn is_private(&self) -> bool {
        self.0.as_ref().is_some_and(|said| said.is_private)
    }

    /// The `Access-Control-Allow-Origin` of the answer.
    pub(super) fn allowed_origin(&self) -> Option<&HeaderValue> {
        self.0.as_ref()?.changes.set(&ACCESS_CONTROL_ALLOW_ORIGIN)
    }

    /// Carries out what is said, over the fields that the answer has without it.
    pub(super) fn apply(&self, headers: &mut HeaderMap, kept: Kept, status: StatusCode) {
        let Some(said) = &self.0 else {
            if kept == Kept::StandIn {
                shorten(headers, kept);
            }
            return;
        };
        let offered = headers.get(LINK).cloned();
        said.changes.apply(headers);
        if let (Some(offered), Some(link)) = (offered, headers.get(LINK))
            && offered != *link
        {
            // What the site links to stands beside the dictionaries that its pages offer.
            append_member(headers, &LINK, &offered);
        }
        // What a rule calls a page is one.
        let is_page = headers.get(CONTENT_TYPE).is_some_and(|value| cache::is_page("", value.as_bytes()));
        let kept = if kept == Kept::File && is_page { Kept::Page } else { kept };
        if status == StatusCode::NOT_MODIFIED {
            // RFC 9110 §15.4.5: what describes the content stays with the content.
            headers.remove(CONTENT_TYPE);
        }
        if !said.changes.cache_is_forced() || kept == Kept::StandIn {
            shorten(headers, kept);
        }
        if said.varies.by_language {
            // The language may also be said by a cookie.
            append_member(headers, &VARY, &HeaderValue::from_static("accept-language, cookie"));
        } else if said.varies.by_cookie {
            append_member(headers, &VARY, &HeaderValue::from_static("cookie"));
        }
        if said.is_private {
            make_private(headers);
        }
    }
}

/// Keeps what must not be kept for long from being kept, whatever a rule said.
fn shorten(headers: &mut HeaderMap, kept: Kept) {
    let value = headers.get(CACHE_CONTROL).map(HeaderValue::as_bytes).unwrap_or_default();
    if let Some(instead) = cache::instead_of(value, kept) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(instead));
    }
    if kept != Kept::File {
        forget_cdns(headers);
    }
}

/// Takes away what caches of other providers would read before `Cache-Control` (RFC 9213).
fn forget_cdns(headers: &mut HeaderMap) {
    for name in CDN_CACHE_CONTROLS {
        headers.remove(name);
    }
}

/// RFC 9111 §3.5: `public` would let a shared cache give to anybody what only some may see.
fn make_private(headers: &mut HeaderMap) {
    forget_cdns(headers);
    let value = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kept = value.split(',').map(str::trim).filter(|directive| {
        let name = directive.split('=').next().unwrap_or_default().to_ascii_lowercase();
        !directive.is_empty() && !matches!(name.as_str(), "public" | "private" | "s-maxage")
    });
    let private = std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", ");
    if let Ok(private) = HeaderValue::from_str(&private) {
        headers.insert(CACHE_CONTROL, private);
    }
}

impl SiteRequest<'_, '_> {
    /// The result of the first rule that applies, if it comes before the files or there is no file.
    #[inline]
    pub(super) fn by_rule(&mut self) -> Option<Decision> {
        if self.current.version.rules.has_redirects() { self.by_first_rule() } else { None }
    }

    fn by_first_rule(&mut self) -> Option<Decision> {
        let version = Arc::clone(&self.current.version);
        let (accept_language, cookie) = (self.field(&ACCEPT_LANGUAGE), self.field(&COOKIE));
        let visitor = Visitor {
            host: self.head.host,
            query: self.head.query,
            accept_language: accept_language.as_deref(),
            cookie: cookie.as_deref(),
        };
        let matched = version.rules.redirect(&visitor, self.path);
        drop((accept_language, cookie));
        self.varies = matched.varies;
        let (rule, filled) = matched.rule?;
        if !rule.force {
            if resolve::resolve(&version.index, version.html_handling, self.path) != Resolution::Missing {
                return None;
            }
            // An asset of the version that a page was made with goes before a rule for every path (law 10).
            if self.by_method().is_none()
                && let Some(decision) = self.kept_asset(self.path)
            {
                return Some(decision);
            }
        }
        self.carry_out(rule, &filled)
    }

    /// As [`SiteRequest::by_rule`], where that is a redirect.
    pub(super) fn redirected_by_rule(mut self) -> Option<Decision> {
        if self.access(self.path) == Access::Refused {
            return None;
        }
        match self.by_rule()? {
            Decision::Small(answer) if answer.status.is_redirection() => Some(Decision::Small(answer)),
            _ => None,
        }
    }

    fn carry_out(&self, rule: &Redirect, filled: &Filled) -> Option<Decision> {
        if rule.is_redirect() {
            return self.redirect_by(rule, filled);
        }
        if let Some(origin) = &filled.origin {
            let number = self.current.version.upstream(&origin.parse().ok()?)?;
            return Some(self.proxy_to(RouteId::Upstream(number), rule, filled));
        }
        let path = normal(&filled.path, self.head.target_bytes_max)?;
        let version = &self.current.version;
        if let Some(route) = version.route(&path)
            && rule.status == 200
        {
            return Some(self.proxy_to(RouteId::Route(route), rule, filled));
        }
        if let Some(decision) = self.by_method() {
            return Some(decision);
        }
        if self.access(&path) == Access::Refused {
            return Some(self.refuse(Refused::Unauthorised));
        }
        Some(match rule.status {
            200 => self.rewrite(rule, filled, &path),
            status => self.page_by(status, &path),
        })
    }

    fn redirect_by(&self, rule: &Redirect, filled: &Filled) -> Option<Decision> {
        let query = self.query_beside(rule);
        let location = filled.location(query);
        let own = target::encode_path(self.path);
        let host = filled.origin.as_deref().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        let is_here = |host: &str| host.eq_ignore_ascii_case(self.head.host) || self.leads_here(host);
        if filled.path == own && host.is_none_or(is_here) && filled.query.as_deref().or(query) == self.head.query {
            // It would lead here again.
            return None;
        }
        Some(self.redirect(StatusCode::from_u16(rule.status).ok()?, &location))
    }

    /// The request's query, where the rule did not ask for it: what a rule asks for has been used.
    fn query_beside(&self, rule: &Redirect) -> Option<&str> {
        self.head.query.filter(|_| rule.query.is_empty())
    }

    /// Whether visitors of `host`, as a rule wrote it, are sent on to the host that was asked for.
    fn leads_here(&self, host: &str) -> bool {
        let host = host.strip_suffix(":443").unwrap_or(host);
        let leads = |place: &Place| host.parse().is_ok_and(|name: Hostname| place.leads(name.as_str(), self.head.host));
        self.place.is_some_and(leads)
    }

    /// A rewrite to a backend, if the environment has one there: the edge is nobody's open proxy.
    fn proxy_to(&self, number: RouteId, rule: &Redirect, filled: &Filled) -> Decision {
        if *self.head.method == Method::TRACE {
            return self.refuse(Refused::MethodUnknown);
        }
        // What was captured must lead nowhere but below the path that was written: dot segments mean something there.
        if !matches!(target::normalise_for_route(&filled.path, self.head.target_bytes_max), Target::Normal(_)) {
            return self.refuse(Refused::BadTarget);
        }
        let query = filled.query.as_deref().or_else(|| self.query_beside(rule));
        let path_and_query = Some(with_query(filled.path.clone(), query));
        let to = ProxyTo { number, path_and_query, host: rule.host.clone() };
        let ruled = HeaderRules::new(FieldChanges::default(), self.varies, self.access(self.path) == Access::Known);
        Decision::Proxy { current: Arc::clone(self.current), to, ruled, custom_host: self.custom_host }
    }

    /// Answers with the file at `path` as if it were here.
    fn rewrite(&self, rule: &Redirect, filled: &Filled, path: &str) -> Decision {
        let version = &self.current.version;
        if rule.follows_html_handling {
            return match resolve::resolve(&version.index, version.html_handling, path) {
                Resolution::File(number) => self.file(None, number, Kept::StandIn),
                Resolution::Redirect(to) => {
                    let place = Filled { path: target::encode_path(&to), ..filled.clone() };
                    self.redirect(StatusCode::TEMPORARY_REDIRECT, &place.location(self.head.query))
                }
                Resolution::Missing => self.missing(path),
            };
        }
        match version.index.page_at(path) {
            Some(number) if is_shell(rule, version, number) && !rule.force && !self.may_have_shell() => {
                self.not_found(self.path)
            }
            Some(number) => self.file(None, number, Kept::StandIn),
            None => self.missing(path),
        }
    }

    /// The page at `path` with a status of the rule's own.
    fn page_by(&self, status: u16, path: &str) -> Decision {
        let number = self.current.version.index.page_at(path);
        match (number, StatusCode::from_u16(status)) {
            (Some(number), Ok(status)) => self.page(number, status),
            _ => self.not_found(path),
        }
    }

    /// Changes by the rules to the head of an answer to this request.
    pub(super) fn ruled(&self, access: Access) -> HeaderRules {
        let changes = self.current.version.rules.fields(self.head.host, self.path);
        HeaderRules::new(changes, self.varies, access == Access::Known)
    }

    pub(super) fn ruled_redirect(&self) -> HeaderRules {
        let rules = &self.current.version.rules;
        let changes = match rules.redirects_have_fields {
            true => rules.fields(self.head.host, self.path),
            false => FieldChanges::default(),
        };
        let is_private = rules.has_guards() && self.head.fields.contains(&AUTHORIZATION);
        HeaderRules::new(changes, self.varies, is_private)
    }
}

/// Whether a rule gives every path the page of an application: one page for whatever lies below.
fn is_shell(rule: &Redirect, version: &Version, number: u32) -> bool {
    let (_, ending) = rule.from.steps();
    let is_page = version.file(number).is_some_and(|file| file.is_page);
    ending != Ending::Exact && rule.to.constant_path().is_some() && is_page
}

/// The normal form of a rule's target, decoded.
fn normal(path: &str, bytes_max: usize) -> Option<String> {
    match target::normalise(path, bytes_max) {
        Target::Normal(path) => Some(path.into_owned()),
        Target::Redirect(to) => match target::normalise(&to, bytes_max) {
            Target::Normal(path) => Some(path.into_owned()),
            Target::Redirect(_) | Target::Refuse(_) => None,
        },
        Target::Refuse(_) => None,
    }
}
