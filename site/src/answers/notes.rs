//! Notes taken during a decision, which explain the response.

use devanture_config::site_toml::{HtmlHandling, NotFound, RoutePath};
use http::header::AUTHORIZATION;

use super::ManifestSite;
use super::predicted::PredictedRequest;
use crate::decide::{OwnPath, Reason, Refused, Request as _, Stage, Step, Trace};
use crate::rules::access::{Sent, Users};
use crate::rules::{At, HeaderRule, Redirect, Skip};

/// Maximum notes of one stage.
const STAGE_NOTES_MAX: usize = 20;

/// Source of a note.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stands {
    /// No source: true for every site.
    #[default]
    Nowhere,
    /// A rule.
    At(At),
    /// A key of `devanture.toml`, such as `routes[0]` or `not_found`.
    Key(String),
}

/// A stage and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The stage.
    pub stage: Stage,
    /// True if the stage decides.
    pub answers: bool,
    /// The reason, as a clause.
    pub why: String,
    /// The source of the reason.
    pub stands: Stands,
}

/// Records whether a response differs between visitors, and the deciding rule.
#[derive(Debug, Default)]
pub(super) struct Differs {
    /// True if a rule depends on the visitor.
    pub(super) may_differ: bool,
    /// The deciding rule.
    pub(super) rule: Option<u32>,
}

impl Trace for Differs {
    const LISTENS: bool = true;

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Rule(_, Skip::UnknownVisitor) => self.may_differ = true,
            Step::Ended(_, rule, _) => self.rule = rule,
            _ => {}
        }
    }
}

/// Records every step, in words.
pub(super) struct Notes<'n> {
    site: &'n ManifestSite<'n>,
    predicted: &'n PredictedRequest<'n>,
    all: Vec<Note>,
    ended: Option<(Stage, Option<u32>)>,
}

impl Trace for Notes<'_> {
    const LISTENS: bool = true;

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Ended(stage, rule, reason) => {
                let (stands, why) = self.reason(stage, rule, reason);
                self.end(stage, rule, stands, why);
            }
            Step::NoFile(path) => self.pass(Stage::Files, Stands::Nowhere, self.no_file(path)),
            Step::NoRoutes => self.pass(Stage::Routes, Stands::Nowhere, "there are none".to_owned()),
            Step::Normal => {
                self.pass(Stage::Spelling, Stands::Nowhere, "it is written in its normal form".to_owned());
            }
            Step::NotOwn => self.pass(Stage::Own, Stands::Nowhere, self.not_own()),
            Step::Open => self.pass(Stage::Access, Stands::Nowhere, "no rule restricts access to it".to_owned()),
            Step::OtherRoutes { path, before } => self.other_routes(path, before),
            Step::Preflight => {
                if let Some(last) = self.all.iter_mut().rev().find(|note| note.answers) {
                    last.why.push_str(", and `cors` names the origin: the edge answers the preflight in its place");
                }
            }
            Step::Rule(number, skip) => self.skipped(number, skip),
        }
    }
}

impl<'n> Notes<'n> {
    /// Notes about the request `predicted`.
    pub(super) const fn of(site: &'n ManifestSite<'n>, predicted: &'n PredictedRequest<'n>) -> Self {
        Self { site, predicted, all: Vec::new(), ended: None }
    }

    /// Notes that the canonical hostname decides.
    pub(super) fn by_canonical_host(&mut self, host: &str, canonical: &str) {
        let why = format!("{host} leads to the canonical hostname, {canonical}");
        self.end(Stage::Host, None, Stands::Key("hostnames".to_owned()), why);
    }

    /// The deciding stage, with its rule, and all notes in the order of the stages, without stages after the decision.
    pub(super) fn in_order(self) -> (Stage, Option<u32>, Vec<Note>) {
        let (last, rule) = self.ended.unwrap_or((Stage::NotFound, None));
        let mut all = self.all;
        all.retain(|note| note.stage <= last);
        all.sort_by_key(|note| (note.stage, note.answers));
        (last, rule, all)
    }

    /// Notes that a stage does not decide.
    fn pass(&mut self, stage: Stage, stands: Stands, why: String) {
        let count = self.all.iter().filter(|note| note.stage == stage).count();
        if count < STAGE_NOTES_MAX {
            self.all.push(Note { stage, answers: false, why, stands });
        } else if count == STAGE_NOTES_MAX {
            let why = "and more that do not apply".to_owned();
            self.all.push(Note { stage, answers: false, why, stands: Stands::Nowhere });
        }
    }

    /// Notes the decision.
    fn end(&mut self, stage: Stage, rule: Option<u32>, stands: Stands, why: String) {
        self.ended = Some((stage, rule));
        self.all.push(Note { stage, answers: true, why, stands });
    }

    fn not_own(&self) -> String {
        let why = match OwnPath::is_for_proofs(self.predicted.path()) {
            // Only the edge knows the names.
            true => "it is the site's at hostnames of its own alone; below the edge's domains it is the edge's",
            false => "it is none of the edge's own",
        };
        why.to_owned()
    }

    fn rule(&self, number: Option<u32>) -> Option<&'n Redirect> {
        self.site.redirect(usize::try_from(number?).ok()?)
    }

    /// The source and the reason of the decision.
    fn reason(&self, stage: Stage, rule: Option<u32>, reason: Reason<'_>) -> (Stands, String) {
        let rule = self.rule(rule);
        let by_rule = || rule.map_or(Stands::Nowhere, |rule| Stands::At(rule.at.clone()));
        let applies = || rule.map_or_else(String::new, |rule| format!("{} is the first that applies", shown(rule)));
        let key = |key: &str| Stands::Key(key.to_owned());
        match reason {
            Reason::File { file, status } => {
                let own = self.site.path(file).map_or("", |path| path.as_str());
                match (stage, rule) {
                    (Stage::NotFound, _) if status == 404 => {
                        (key("not_found"), format!("`{own}` is the nearest page that says so"))
                    }
                    (Stage::NotFound, _) => (key("not_found"), format!("`{own}` is the application's page")),
                    (_, Some(_)) => (by_rule(), applies()),
                    (_, None) => (Stands::Nowhere, format!("`{own}` has this path")),
                }
            }
            Reason::HtmlHandling => {
                let word = self.site.html_handling.word();
                (key("html_handling"), format!("it is another spelling of a page's place: {word}"))
            }
            Reason::KeptOut(path) => match self.guard(path) {
                Some(guard) => {
                    let why = format!("`{}` is for those who have a name and a password", guard.path);
                    (Stands::At(guard.at.clone()), why)
                }
                None => (Stands::Nowhere, refused(Refused::Unauthorised)),
            },
            Reason::Methods => (Stands::Nowhere, "files have GET, HEAD and OPTIONS".to_owned()),
            Reason::Nothing => {
                let why = match self.site.not_found {
                    NotFound::Page404 => "no folder on the way up has a 404.html",
                    NotFound::SinglePageApplication => "the application's page answers navigations alone",
                    NotFound::None => "no page is to say so",
                };
                (key("not_found"), why.to_owned())
            }
            Reason::Own => (Stands::Nowhere, "the edge answers it for every version".to_owned()),
            Reason::Refused(why) => (Stands::Nowhere, refused(why)),
            Reason::Route(number) => (self.key_of_route(number), format!("`{}` takes it", self.route_path(number))),
            Reason::RouteSpelling(number, to) => {
                let path = self.route_path(number);
                let why = format!("`{path}` takes it, and its backend gets normal paths alone: {to} is this one's");
                (self.key_of_route(number), why)
            }
            Reason::Rule => (by_rule(), applies()),
            Reason::Spelling { to, is_moved } => {
                let why = match (rule, is_moved) {
                    (Some(_), _) => {
                        format!("its normal form is {to}, which a rule sends on: that is done at once")
                    }
                    (None, true) => format!("its normal form is {to}, another spelling of a page's place"),
                    (None, false) => format!("its normal form is {to}"),
                };
                (by_rule(), why)
            }
            Reason::WholeServer => (Stands::Nowhere, "it asks about the server as a whole".to_owned()),
        }
    }

    fn skipped(&mut self, number: u32, skip: Skip) {
        let Some(rule) = self.rule(Some(number)) else { return };
        let why = match skip {
            Skip::File => "applies only where no file is",
            Skip::LeadsHere => "leads to the very address that is asked for",
            Skip::NoAddress => "would lead to what is no address",
            Skip::NoPath => "leads to what is no path",
            Skip::OtherHost => "is for another host",
            // The usual case.
            Skip::OtherPath => return,
            Skip::OtherQuery => "asks for another query",
            Skip::OtherVisitor => "asks for another language or cookie",
            Skip::PagesAlone => "answers pages alone",
            Skip::Undeclared => "leads to what `[upstreams]` does not declare",
            Skip::Unknowable => "asks for what the edge never knows",
            Skip::UnknownVisitor => "depends on the visitor",
        };
        // A file precedes all rules that wait for a file, so the note precedes theirs.
        let stage = if skip == Skip::File { Stage::ForcedRules } else { Stage::of_rule(rule) };
        self.pass(stage, Stands::At(rule.at.clone()), format!("{} {why}", shown(rule)));
    }

    /// Explains why the routes before number `before`, or all routes, do not match `path`.
    fn other_routes(&mut self, path: &str, before: Option<usize>) {
        let folded = path.to_ascii_lowercase();
        let site = self.site;
        for (number, (_, route)) in site.routes.iter().enumerate().take(before.unwrap_or(usize::MAX)) {
            let differs = route.path.as_str().to_ascii_lowercase().parse::<RoutePath>();
            let why = match differs.is_ok_and(|path| path.takes(&folded)) {
                true => format!("`{}` is written in another case", route.path),
                false => format!("`{}` takes other paths", route.path),
            };
            self.pass(Stage::Routes, self.key_of_route(number), why);
        }
    }

    fn key_of_route(&self, number: usize) -> Stands {
        self.site.routes.get(number).map_or(Stands::Nowhere, |(index, _)| Stands::Key(format!("routes[{index}]")))
    }

    fn route_path(&self, number: usize) -> &str {
        self.site.routes.get(number).map_or("", |(_, route)| route.path.as_str())
    }

    /// The reason that no file is at `path`.
    fn no_file(&self, path: &str) -> String {
        let name = path.strip_prefix('/').unwrap_or(path);
        let mut paths = self.site.paths.iter();
        match paths.find(|own| own.as_str() == name || own.as_str() == format!("{name}.html")) {
            Some(own) if own.is_private() => format!("`{own}` is never served"),
            Some(own) if self.site.html_handling == HtmlHandling::None => {
                format!("only `/{own}` itself asks for that")
            }
            _ => "no file or page has this path".to_owned(),
        }
    }

    /// The rule that protects `path` from the sender of the request.
    fn guard(&self, path: &str) -> Option<&'n HeaderRule> {
        let (host, authorization) = (self.predicted.host()?, self.predicted.field(&AUTHORIZATION));
        let sent = Sent::of(authorization.as_deref());
        self.site
            .rules
            .headers
            .iter()
            .filter(|rule| !rule.users.is_empty())
            .find(|rule| rule.path.is_for(host, path) && !Users::new(&rule.users).hold(sent.as_ref()))
    }
}

/// A rule in messages.
fn shown(rule: &Redirect) -> String {
    format!("`{} → {}`", rule.from, rule.to)
}

fn refused(why: Refused) -> String {
    match why {
        Refused::BadTarget(error) => error.to_string(),
        Refused::BadRewrite => "the path that a rule makes of it is none that is sent on".to_owned(),
        Refused::MethodNotAllowed => "this method is not taken here".to_owned(),
        Refused::MethodUnknown => "this method is known to nobody, or never sent on".to_owned(),
        Refused::Unauthorised => "it asks for a name and a password".to_owned(),
    }
}
