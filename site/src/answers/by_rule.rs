//! Applies redirects and rewrites to a request.

use super::decide::{Asked, PATH_BYTES_MAX, Page, Who, by_method, decided, kept_out, refused, sent_on};
use super::end::{BackendTo, Decided, End, Refused};
use super::notes::{Notes, Stage, Stands};
use super::{Site, host_of, with_query};
use crate::resolve::{self, Resolution};
use crate::rules::Redirect;
use crate::rules::pattern::Ending;
use crate::rules::query::{parameters, query_matches};
use crate::rules::redirect::Filled;
use crate::target::{self, Target};

impl Site<'_> {
    /// The result of the first rule that applies, if it comes before the files or there is no file.
    pub(super) fn by_rule(&self, asked: &Asked<'_>, path: &str, notes: &mut Notes) -> Option<Decided> {
        let sent = parameters(asked.query);
        for (number, rule) in self.rules.redirects.iter().enumerate() {
            let host = match asked.who {
                Who::Anybody(_) => host_of(rule),
                Who::Known(request) => request.host,
            };
            let stage = stage_of(rule);
            let mut pass =
                |why: &str| notes.passed(stage, Stands::At(rule.at.clone()), || format!("{} {why}", shown(rule)));
            let Some(mut captures) = rule.from.matches(host, path) else {
                if rule.from.has_host() && rule.from.matches(host_of(rule), path).is_some() {
                    pass("is for another host");
                }
                continue;
            };
            if rule.is_unknowable {
                pass("asks for what the edge never knows");
                continue;
            }
            if !query_matches(&rule.query, &sent, &mut captures) {
                pass("asks for another query");
                continue;
            }
            if let Some(why) = asked.unsuited(rule, notes) {
                notes.passed(stage, Stands::At(rule.at.clone()), || format!("{} {why}", shown(rule)));
                continue;
            }
            let Some(filled) = rule.to.fill(&captures) else {
                notes.passed(stage, Stands::At(rule.at.clone()), || {
                    format!("{} would lead to what is no address", shown(rule))
                });
                continue;
            };
            if !rule.force {
                if resolve::resolve(&self.index, self.html_handling, path) != Resolution::Missing {
                    notes.passed(Stage::ForcedRules, Stands::At(rule.at.clone()), || {
                        format!("{} applies only where no file is", shown(rule))
                    });
                    return None;
                }
                self.note_missing(path, notes);
            }
            return self.carry_out(asked, path, (number, rule), &filled, notes);
        }
        None
    }

    fn carry_out(
        &self,
        asked: &Asked<'_>,
        path: &str,
        (number, rule): (usize, &Redirect),
        filled: &Filled,
        notes: &mut Notes,
    ) -> Option<Decided> {
        let (stage, stands) = (stage_of(rule), Stands::At(rule.at.clone()));
        let ends = |notes: &mut Notes, end| {
            notes.ended(stage, stands.clone(), || format!("{} is the first that applies", shown(rule)));
            Some(decided(stage, Some(number), end))
        };
        let passed = |notes: &mut Notes, why: &str| {
            notes.passed(stage, stands.clone(), || format!("{} {why}", shown(rule)));
            None
        };
        // What the rule asks of the query has been used.
        let query = asked.query.filter(|_| rule.query.is_empty());
        if rule.is_redirect() {
            if self.leads_here(asked, path, filled, query) {
                return passed(notes, "leads to the very address that is asked for");
            }
            return ends(notes, End::Redirect { status: rule.status, location: filled.location(query) });
        }
        let backend = |to| {
            let sent = filled.query.as_deref().or(query);
            let path = match &to {
                BackendTo::Route(number) => self.routes.get(*number).map(|(_, route)| sent_on(route, &filled.path)),
                BackendTo::Origin(_) => None,
            };
            let path = path.unwrap_or_else(|| filled.path.clone());
            End::Backend { to, path_and_query: with_query(path, sent) }
        };
        let proxied = |notes: &mut Notes, to| {
            if asked.method() == "TRACE" {
                return Some(refused(stage, Some(number), Refused::MethodUnknown, notes));
            }
            if !matches!(target::normalise_for_route(&filled.path, PATH_BYTES_MAX), Target::Normal(_)) {
                return Some(refused(stage, Some(number), Refused::BadRewrite, notes));
            }
            ends(notes, backend(to))
        };
        if let Some(origin) = &filled.origin {
            return match self.upstreams.contains(origin) {
                true => proxied(notes, BackendTo::Origin(origin.clone())),
                false => passed(notes, "leads to what `[upstreams]` does not declare"),
            };
        }
        let Some(to) = normal(&filled.path) else { return passed(notes, "leads to what is no path") };
        if let Some(route) = self.route(&to)
            && rule.status == 200
        {
            return proxied(notes, BackendTo::Route(route));
        }
        if let Some(decided) = by_method(asked, stage, Some(number), notes) {
            return Some(decided);
        }
        if let Some(guard) = self.guard(asked, &to) {
            return Some(kept_out(guard, notes));
        }
        let page = |number_of_file, status| Page { number: number_of_file, status, stage, rule: Some(number) };
        if rule.status != 200 {
            return Some(match self.index.page_at(&to) {
                Some(file) => self.file(asked, path, page(file, rule.status), notes),
                None => self.not_found(asked, path, &to, Some(number), notes),
            });
        }
        if rule.follows_html_handling {
            return match resolve::resolve(&self.index, self.html_handling, &to) {
                Resolution::File(file) => Some(self.file(asked, path, page(file, 200), notes)),
                Resolution::Redirect(to) => {
                    let place = Filled { path: target::encode_path(&to), ..filled.clone() };
                    ends(notes, End::Redirect { status: 307, location: place.location(asked.query) })
                }
                Resolution::Missing => Some(self.missing(asked, path, &to, Some(number), notes)),
            };
        }
        Some(match self.index.page_at(&to) {
            // A page for every path is no image and no script.
            Some(file) if !rule.force && self.is_shell(rule, file) && !asked.may_have_shell(path) => {
                notes.passed(stage, stands.clone(), || format!("{} answers pages alone", shown(rule)));
                self.not_found(asked, path, path, Some(number), notes)
            }
            Some(file) => self.file(asked, path, page(file, 200), notes),
            None => self.missing(asked, path, &to, Some(number), notes),
        })
    }

    /// Whether a redirect leads to the very address that was asked for.
    fn leads_here(&self, asked: &Asked<'_>, path: &str, filled: &Filled, query: Option<&str>) -> bool {
        let host = filled.origin.as_deref().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        let is_here = |host: &str| match asked.who {
            Who::Anybody(_) => false,
            Who::Known(request) => {
                let plain = host.strip_suffix(":443").unwrap_or(host);
                host.eq_ignore_ascii_case(request.host) || self.leads(plain, request.host)
            }
        };
        filled.path == target::encode_path(path)
            && host.is_none_or(is_here)
            && filled.query.as_deref().or(query) == asked.query
    }

    /// Whether visitors of `host` are sent to `canonical`.
    pub(super) fn leads(&self, host: &str, canonical: &str) -> bool {
        host != canonical && self.canonical.as_deref() == Some(canonical) && self.hosts.iter().any(|own| own == host)
    }

    fn is_shell(&self, rule: &Redirect, number: u32) -> bool {
        let (_, ending) = rule.from.steps();
        ending != Ending::Exact && rule.to.constant_path().is_some() && self.is_page(number)
    }
}

/// When a rule is asked.
const fn stage_of(rule: &Redirect) -> Stage {
    if rule.force { Stage::ForcedRules } else { Stage::Rules }
}

/// A rule as messages show it.
pub(super) fn shown(rule: &Redirect) -> String {
    format!("`{} → {}`", rule.from, rule.to)
}

/// The normal form of a rule's target, decoded.
pub(super) fn normal(path: &str) -> Option<String> {
    match target::normalise(path, PATH_BYTES_MAX) {
        Target::Normal(path) => Some(path.into_owned()),
        Target::Redirect(to) => match target::normalise(&to, PATH_BYTES_MAX) {
            Target::Normal(path) => Some(path.into_owned()),
            Target::Redirect(_) | Target::Refuse(_) => None,
        },
        Target::Refuse(_) => None,
    }
}
