//! Decides the answer to one request as the edge's `handler` does, with notes on the way.

use std::borrow::Cow;

use devanture_config::site_toml::{HtmlHandling, NotFound, Route, RoutePath, without_prefix};

use super::by_rule::shown;
use super::end::{BackendTo, Decided, End, Refused, Request};
use super::notes::{Notes, Stage, Stands};
use super::{Asking, OwnPath, Site, with_query};
use crate::method::Method;
use crate::navigation;
use crate::resolve::{self, Resolution};
use crate::rules::access::Users;
use crate::rules::visitor::Visitor;
use crate::rules::{HeaderRule, Redirect};
use crate::target::{self, Target};

/// Longest path that is looked at; the edge's own limit is not known here.
pub(super) const PATH_BYTES_MAX: usize = 65_536;
/// Endings of files that may be encodings of another.
const CODINGS: [&str; 3] = [".br", ".gz", ".zst"];

/// Known properties of the sender of a request.
#[derive(Clone, Copy)]
pub(super) enum Who<'q> {
    /// Nothing: any visitor.
    Anybody(Asking),
    /// The sender of this request.
    Known(&'q Request<'q>),
}

/// The request.
#[derive(Clone, Copy)]
pub(super) struct Asked<'q> {
    /// The path as it is sent.
    pub(super) path: &'q str,
    pub(super) query: Option<&'q str>,
    pub(super) who: Who<'q>,
}

impl<'q> Asked<'q> {
    pub(super) fn method(&self) -> &'q str {
        match self.who {
            Who::Anybody(_) => "GET",
            Who::Known(request) => request.method,
        }
    }

    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match &self.who {
            Who::Anybody(_) => None,
            Who::Known(request) => request.field(name),
        }
    }

    pub(super) fn may_have_shell(&self, path: &str) -> bool {
        match &self.who {
            Who::Anybody(asking) => *asking == Asking::Navigation,
            Who::Known(request) => {
                let (mode, dest) = (request.field("sec-fetch-mode"), request.field("sec-fetch-dest"));
                let accept = request.field("accept");
                navigation::may_have_shell(mode.as_deref(), dest.as_deref(), accept.as_deref(), path)
            }
        }
    }

    /// Why a rule whose path matches does not apply to this request.
    pub(super) fn unsuited(&self, rule: &Redirect, notes: &mut Notes) -> Option<&'static str> {
        let has_tastes = !rule.languages.is_empty() || !rule.cookies.is_empty();
        let Who::Known(request) = self.who else {
            let depends = rule.from.has_host() || has_tastes;
            notes.may_differ |= depends;
            return depends.then_some("depends on the visitor");
        };
        let (accept_language, cookie) = (request.field("accept-language"), request.field("cookie"));
        let (accept_language, cookie) = (accept_language.as_deref(), cookie.as_deref());
        let visitor = Visitor { host: request.host, query: self.query, accept_language, cookie };
        let suits = !has_tastes || visitor.tastes().suit(&rule.languages, &rule.cookies);
        (!suits).then_some("asks for another language or cookie")
    }
}

impl Site<'_> {
    /// The answer: by the edge's own paths, then routes, then what the site says of its paths, then files.
    pub(super) fn decide(&self, asked: &Asked<'_>, notes: &mut Notes) -> Decided {
        if let Some(decided) = self.at_the_door(asked, notes) {
            return decided;
        }
        if let Some(decided) = self.by_route(asked, notes) {
            return decided;
        }
        match target::normalise(asked.path, PATH_BYTES_MAX) {
            Target::Normal(path) => self.at(asked, &path, notes),
            Target::Redirect(to) => self.moved(asked, to, notes),
            Target::Refuse(error) => refused(Stage::Spelling, None, Refused::BadTarget(error), notes),
        }
    }

    /// The canonical hostname, methods without a path, the edge's own paths.
    fn at_the_door(&self, asked: &Asked<'_>, notes: &mut Notes) -> Option<Decided> {
        if let Who::Known(request) = asked.who
            && let Some(canonical) = self.canonical.as_deref().filter(|name| self.leads(request.host, name))
            && asked.path.starts_with('/')
        {
            notes.ended(Stage::Host, Stands::Key("hostnames".to_owned()), || {
                format!("{} leads to the canonical hostname, {canonical}", request.host)
            });
            let location = with_query(format!("https://{canonical}{}", target::for_location(asked.path)), asked.query);
            return Some(decided(Stage::Host, None, End::Redirect { status: 308, location }));
        }
        match asked.method() {
            "CONNECT" => return Some(refused(Stage::Method, None, Refused::MethodNotAllowed, notes)),
            "OPTIONS" if asked.path == "*" => {
                notes.ended(Stage::Method, Stands::Nowhere, || "it asks about the server as a whole".to_owned());
                return Some(decided(Stage::Method, None, End::Methods));
            }
            _ => {}
        }
        let Some(own) = OwnPath::of(asked.path) else {
            notes.passed(Stage::Own, Stands::Nowhere, || "it is none of the edge's own".to_owned());
            return None;
        };
        if let Some(guard) = self.guard(asked, asked.path) {
            return Some(kept_out(guard, notes));
        }
        Some(match Method::of(asked.method()) {
            Method::Get | Method::Head => {
                notes.ended(Stage::Own, Stands::Nowhere, || "the edge answers it for every version".to_owned());
                decided(Stage::Own, None, End::Own(own))
            }
            _ => refused(Stage::Own, None, Refused::MethodNotAllowed, notes),
        })
    }

    /// A path that belongs to a route is answered by its backend alone, whatever its spelling.
    fn by_route(&self, asked: &Asked<'_>, notes: &mut Notes) -> Option<Decided> {
        if self.routes.is_empty() {
            notes.passed(Stage::Routes, Stands::Nowhere, || "there are none".to_owned());
            return None;
        }
        match target::normalise_for_route(asked.path, PATH_BYTES_MAX) {
            Target::Normal(text) => {
                let number = self.route(&text);
                self.note_routes(number, &text, notes);
                let number = number?;
                if asked.method() == "TRACE" {
                    return Some(refused(Stage::Routes, None, Refused::MethodUnknown, notes));
                }
                let (_, route) = self.routes.get(number)?;
                let path = sent_on(route, asked.path);
                notes.ended(Stage::Routes, self.key_of_route(number), || format!("`{}` takes it", route.path));
                let path_and_query = with_query(path, asked.query);
                Some(decided(Stage::Routes, None, End::Backend { to: BackendTo::Route(number), path_and_query }))
            }
            Target::Redirect(to) => {
                let Target::Normal(text) = target::normalise_for_route(&to, PATH_BYTES_MAX) else { return None };
                let number = self.route(&text);
                self.note_routes(number, &text, notes);
                let (_, route) = self.routes.get(number?)?;
                notes.ended(Stage::Routes, self.key_of_route(number?), || {
                    format!("`{}` takes it, and its backend gets normal paths alone: {to} is this one's", route.path)
                });
                let location = with_query(to.clone(), asked.query);
                Some(decided(Stage::Routes, None, End::Redirect { status: 308, location }))
            }
            Target::Refuse(error) => Some(refused(Stage::Spelling, None, Refused::BadTarget(error), notes)),
        }
    }

    /// Says of the routes before that of `number`, or of all, why they do not apply.
    fn note_routes(&self, number: Option<usize>, text: &str, notes: &mut Notes) {
        if !notes.are_wanted() {
            return;
        }
        let folded = text.to_ascii_lowercase();
        for (at, (_, route)) in self.routes.iter().enumerate().take(number.unwrap_or(usize::MAX)) {
            notes.passed(Stage::Routes, self.key_of_route(at), || {
                let differs = route.path.as_str().to_ascii_lowercase().parse::<RoutePath>();
                match differs.is_ok_and(|path| path.takes(&folded)) {
                    true => format!("`{}` is written in another case", route.path),
                    false => format!("`{}` takes other paths", route.path),
                }
            });
        }
    }

    fn key_of_route(&self, number: usize) -> Stands {
        self.routes.get(number).map_or(Stands::Nowhere, |(index, _)| Stands::Key(format!("routes[{index}]")))
    }

    /// Sends to the normal form `to`; where that would be redirected in its turn, to there at once.
    fn moved(&self, asked: &Asked<'_>, to: String, notes: &mut Notes) -> Decided {
        let mut place = None;
        if let Who::Known(_) = asked.who
            && let Target::Normal(path) = target::normalise(&to, to.len())
            && self.route(&path).is_none()
        {
            if self.guard(asked, &path).is_none() {
                let ruled = self.by_rule(asked, &path, &mut Notes::default());
                if let Some(decided @ Decided { end: End::Redirect { .. }, .. }) = ruled {
                    notes.ended(Stage::Spelling, self.stands(decided.rule), || {
                        format!("its normal form is {to}, which a rule sends on: that is done at once")
                    });
                    return Decided { stage: Stage::Spelling, ..decided };
                }
            }
            if let Resolution::Redirect(page) = resolve::resolve(&self.index, self.html_handling, &path) {
                place = Some(target::encode_path(&page));
            }
        }
        notes.ended(Stage::Spelling, Stands::Nowhere, || match &place {
            Some(_) => format!("its normal form is {to}, another spelling of a page's place"),
            None => format!("its normal form is {to}"),
        });
        let (status, to) = place.map_or((308, to), |place| (307, place));
        decided(Stage::Spelling, None, End::Redirect { status, location: with_query(to, asked.query) })
    }

    /// The answer for `path`, which is normal and decoded, and no route's.
    fn at(&self, asked: &Asked<'_>, path: &str, notes: &mut Notes) -> Decided {
        notes.passed(Stage::Spelling, Stands::Nowhere, || "it is written in its normal form".to_owned());
        if let Some(guard) = self.guard(asked, path) {
            return kept_out(guard, notes);
        }
        if self.rules.headers.iter().any(|rule| !rule.users.is_empty()) {
            notes.passed(Stage::Access, Stands::Nowhere, || "no rule restricts access to it".to_owned());
        }
        if let Some(decided) = self.by_rule(asked, path, notes) {
            return decided;
        }
        if let Some(decided) = by_method(asked, Stage::Files, None, notes) {
            return decided;
        }
        match resolve::resolve(&self.index, self.html_handling, path) {
            Resolution::File(number) => {
                self.file(asked, path, Page { number, status: 200, stage: Stage::Files, rule: None }, notes)
            }
            Resolution::Redirect(to) => {
                notes.ended(Stage::Files, Stands::Key("html_handling".to_owned()), || {
                    format!("it is another spelling of a page's place: {}", self.html_handling.word())
                });
                let location = with_query(target::encode_path(&to), asked.query);
                decided(Stage::Files, None, End::Redirect { status: 307, location })
            }
            Resolution::Missing => {
                self.note_missing(path, notes);
                self.missing(asked, path, path, None, notes)
            }
        }
    }

    pub(super) fn note_missing(&self, path: &str, notes: &mut Notes) {
        notes.passed(Stage::Files, Stands::Nowhere, || {
            let name = path.strip_prefix('/').unwrap_or(path);
            let there = self.paths.iter().find(|own| own.as_str() == name || own.as_str() == format!("{name}.html"));
            match there {
                Some(own) if own.is_private() => format!("`{own}` is never served"),
                Some(own) if self.html_handling == HtmlHandling::None => format!("only `/{own}` itself asks for that"),
                _ => "no file or page has this path".to_owned(),
            }
        });
    }

    /// The answer where there is no file: the page of an application, for who navigates there; else the nearest page
    /// that says so, seen from `wanted`.
    pub(super) fn missing(
        &self,
        asked: &Asked<'_>,
        path: &str,
        wanted: &str,
        rule: Option<usize>,
        notes: &mut Notes,
    ) -> Decided {
        let is_application = self.not_found == NotFound::SinglePageApplication;
        match self.index.shell().filter(|_| is_application) {
            Some(number) if asked.may_have_shell(path) => {
                self.file(asked, path, Page { number, status: 200, stage: Stage::NotFound, rule }, notes)
            }
            _ => self.not_found(asked, path, wanted, rule, notes),
        }
    }

    pub(super) fn not_found(
        &self,
        asked: &Asked<'_>,
        path: &str,
        wanted: &str,
        rule: Option<usize>,
        notes: &mut Notes,
    ) -> Decided {
        let page = (self.not_found == NotFound::Page404).then(|| resolve::not_found_page(&self.index, wanted));
        if let Some(number) = page.flatten() {
            return self.file(asked, path, Page { number, status: 404, stage: Stage::NotFound, rule }, notes);
        }
        notes.ended(Stage::NotFound, Stands::Key("not_found".to_owned()), || match self.not_found {
            NotFound::Page404 => "no folder on the way up has a 404.html".to_owned(),
            NotFound::SinglePageApplication => "the application's page answers navigations alone".to_owned(),
            NotFound::None => "no page is to say so".to_owned(),
        });
        decided(Stage::NotFound, rule, End::Nothing)
    }

    /// A file, if the request may see it under every path that leads to it.
    pub(super) fn file(&self, asked: &Asked<'_>, path: &str, page: Page, notes: &mut Notes) -> Decided {
        let Page { number, status, stage, rule } = page;
        let own = self.path(number).map_or("", |path| path.as_str());
        let plain = CODINGS.iter().find_map(|ending| own.strip_suffix(ending)).unwrap_or(own);
        let mut paths = resolve::addresses(plain);
        paths.extend([path.to_owned(), format!("/{own}")]);
        if let Some(guard) = paths.iter().find_map(|path| self.guard(asked, path)) {
            return kept_out(guard, notes);
        }
        let stands = match (stage, rule) {
            (Stage::NotFound, _) => Stands::Key("not_found".to_owned()),
            (_, rule) => self.stands(rule),
        };
        notes.ended(stage, stands, || match (stage, rule.and_then(|rule| self.rules.redirects.get(rule))) {
            (Stage::NotFound, _) if status == 404 => format!("`{own}` is the nearest page that says so"),
            (Stage::NotFound, _) => format!("`{own}` is the application's page"),
            (_, Some(rule)) => format!("{} is the first that applies", shown(rule)),
            (_, None) => format!("`{own}` has this path"),
        });
        decided(stage, rule, End::File { file: number, status })
    }

    fn stands(&self, rule: Option<usize>) -> Stands {
        let rule = rule.and_then(|rule| self.rules.redirects.get(rule));
        rule.map_or(Stands::Nowhere, |rule| Stands::At(rule.at.clone()))
    }

    /// The rule that denies `path` to this request; `None` for any visitor, whose credentials are not known.
    pub(super) fn guard(&self, asked: &Asked<'_>, path: &str) -> Option<&HeaderRule> {
        let Who::Known(request) = asked.who else { return None };
        let authorization = asked.field("authorization");
        self.rules.headers.iter().filter(|rule| !rule.users.is_empty()).find(|rule| {
            rule.path.matches(request.host, path).is_some() && !Users::new(&rule.users).hold(authorization.as_deref())
        })
    }
}

/// A file as it answers.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) number: u32,
    pub(super) status: u16,
    pub(super) stage: Stage,
    pub(super) rule: Option<usize>,
}

pub(super) const fn decided(stage: Stage, rule: Option<usize>, end: End) -> Decided {
    Decided { end, stage, rule }
}

pub(super) fn refused(stage: Stage, rule: Option<usize>, why: Refused, notes: &mut Notes) -> Decided {
    notes.ended(stage, Stands::Nowhere, || match why {
        Refused::BadTarget(error) => error.to_string(),
        Refused::BadRewrite => "the path that a rule makes of it is none that is sent on".to_owned(),
        Refused::MethodNotAllowed => "this method is not taken here".to_owned(),
        Refused::MethodUnknown => "this method is known to nobody, or never sent on".to_owned(),
        Refused::Unauthorised => "it asks for a name and a password".to_owned(),
    });
    decided(stage, rule, End::Refused(why))
}

pub(super) fn kept_out(guard: &HeaderRule, notes: &mut Notes) -> Decided {
    notes.ended(Stage::Access, Stands::At(guard.at.clone()), || {
        format!("`{}` is for those who have a name and a password", guard.path)
    });
    decided(Stage::Access, None, End::Refused(Refused::Unauthorised))
}

/// The answer to a method that files do not have.
pub(super) fn by_method(asked: &Asked<'_>, stage: Stage, rule: Option<usize>, notes: &mut Notes) -> Option<Decided> {
    match Method::of(asked.method()) {
        Method::Get | Method::Head => None,
        Method::Options => {
            notes.ended(stage, Stands::Nowhere, || "files have GET, HEAD and OPTIONS".to_owned());
            Some(decided(stage, rule, End::Methods))
        }
        Method::NotAllowed => Some(refused(stage, rule, Refused::MethodNotAllowed, notes)),
        Method::NotImplemented => Some(refused(stage, rule, Refused::MethodUnknown, notes)),
    }
}

/// The path that a route's backend sees.
pub(super) fn sent_on(route: &Route, path: &str) -> String {
    let (prefix, _) = route.path.prefix();
    if route.strip_prefix { without_prefix(path, prefix) } else { path.to_owned() }
}
