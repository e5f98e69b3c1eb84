//! Checks of all rules together: loops, rules that never apply, rewrites that are not allowed.
//!
//! What a provider accepts in its files stays a doubt, since a site that works there shall work here; what is certain
//! to be wrong in a table of `devanture.toml` is a mistake. The work is bounded: of many thousands of rules with names
//! and stars some may be looked at alone.

mod hosts;
mod index;
mod loops;
#[cfg(test)]
mod tests;

use devanture_config::parsing::{Mistake, nearest};
use devanture_config::site_toml::{Route, Serving};
use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;
use url::Url;

use self::index::{Budget, Index};
use super::pattern::{Ending, Pattern, Segment, next_name};
use super::template::known_name;
use super::{Findings, HEADERS_FILE, REDIRECTS_FILE, Redirect, RuleSet};

/// Looks for what the rules of one environment do to each other, to its routes and to its files; `has_file` says
/// whether a decoded path, as a visitor asks for it, is answered by a file.
#[must_use]
pub fn check(rules: &RuleSet, serving: &Serving, has_file: &dyn Fn(&str) -> bool) -> Vec<Mistake> {
    let mut findings = Findings::default();
    let index = Index::new(&rules.redirects);
    let routes = serving.routes.as_deref().unwrap_or_default();
    let mut budget = Budget::default();
    for (at, rule) in rules.redirects.iter().enumerate() {
        if let Some(route) = routes.iter().find(|route| lies_under(&rule.from, route)) {
            let message =
                format!("{} never applies: the route `{}` takes every path of it before", shown(rule), route.path);
            findings.doubt(&rule.at, message, Some("take the rule away, or the path out of the route"));
            continue;
        }
        covered(rules, &index, at, &mut budget, &mut findings);
        target(rule, serving, has_file, &mut findings);
        if !is_of_a_file(rule) {
            // The readers of the files say it in their providers' words.
            destination(rule, &mut findings);
        }
    }
    loops::find(&rules.redirects, &index, routes, has_file, &mut findings);
    hosts::find(&rules.redirects, serving, &mut findings);
    findings.0
}

/// A rule as messages show it.
fn shown(rule: &Redirect) -> String {
    format!("`{} → {}`", rule.from, rule.to)
}

/// Whether a rule is written in a file of a provider, which accepts more than is meant.
fn is_of_a_file(rule: &Redirect) -> bool {
    [REDIRECTS_FILE, HEADERS_FILE].contains(&rule.at.file.as_ref())
}

/// A path of a target, decoded and in NFC as requests' paths are compared.
fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().nfc().collect()
}

/// Whether a rule that stands before another takes every path of it, so that the other never applies.
#[must_use]
pub fn takes_all_of(earlier: &Redirect, later: &Redirect) -> bool {
    // Where a file stands, a forced rule still applies after one that is not forced.
    let always = earlier.is_unconditional() && (earlier.force || !later.force) && earlier.to.has_constant_host();
    always && earlier.from.covers(&later.from)
}

/// Says that an earlier rule takes every path of the rule at `at`.
fn covered(rules: &RuleSet, index: &Index<'_>, at: usize, budget: &mut Budget, findings: &mut Findings) {
    let Some(rule) = rules.redirects.get(at) else { return };
    let covers = |earlier: &Redirect| takes_all_of(earlier, rule) && !differ_by_scheme(&earlier.from, &rule.from);
    let Some(earlier) = index.first_before(at, &rule.from, budget, covers) else { return };
    let place = match earlier.at.line {
        0 => earlier.at.file.to_string(),
        line if earlier.at.file == rule.at.file => format!("line {line}"),
        line => format!("{}:{line}", earlier.at.file),
    };
    let what = match earlier.from == rule.from {
        true => "has the same path and comes first",
        false => "takes every path of it before",
    };
    let message = format!("{} never applies: {} of {place} {what}", shown(rule), shown(earlier));
    findings.doubt(&rule.at, message, Some("write the narrower rule first, or take one of them away"));
}

/// Netlify wants a rule for a host twice, with `http://` and with `https://`: the second is no slip.
fn differ_by_scheme(one: &Pattern, other: &Pattern) -> bool {
    let rest = |pattern: &str| pattern.split_once("://").map(|(_, rest)| rest.to_owned());
    one.as_str() != other.as_str() && one.has_host() && rest(one.as_str()) == rest(other.as_str())
}

/// The number of the first of `routes` that takes every path of a rule, which then never applies.
pub fn route_before<'r>(rule: &Redirect, mut routes: impl Iterator<Item = &'r Route>) -> Option<usize> {
    routes.position(|route| lies_under(&rule.from, route))
}

/// Whether every path of a pattern lies under a route, which is asked before every rule.
fn lies_under(pattern: &Pattern, route: &Route) -> bool {
    let (segments, ending) = pattern.steps();
    let (prefix, is_folder) = route.path.prefix();
    let mut wanted = prefix.trim_matches('/').split('/').filter(|segment| !segment.is_empty());
    let mut own = segments.iter();
    let begins = wanted.all(|wanted| matches!(own.next(), Some(Segment::Text(text)) if **text == *wanted));
    begins && (is_folder || (ending == Ending::Exact && own.all(|rest| *rest == Segment::Text(Box::default()))))
}

/// The target of a rewrite: an existing file, or a declared upstream.
fn target(rule: &Redirect, serving: &Serving, has_file: &dyn Fn(&str) -> bool, findings: &mut Findings) {
    if rule.is_redirect() || rule.is_unknowable {
        return;
    }
    if let Some(origin) = rule.to.origin() {
        if rule.status == 200 {
            upstream(rule, origin, serving, findings);
        } else {
            let message =
                format!("{}: with status {} only a page of the site can be answered", shown(rule), rule.status);
            findings.doubt(&rule.at, message, None);
        }
        return;
    }
    let Some(path) = rule.to.constant_path().map(decoded) else { return };
    let routes = serving.routes.as_deref().unwrap_or_default();
    let is_routed = routes.iter().any(|route| route.path.takes(&path));
    if !is_routed && !has_file(&path) {
        let message = format!("{} leads to no file: there is none that answers {path}", shown(rule));
        findings.doubt(&rule.at, message, None);
    }
}

/// A rewrite to another origin leads where the site said that one may lead, or it would make an open proxy.
fn upstream(rule: &Redirect, origin: &str, serving: &Serving, findings: &mut Findings) {
    if !rule.to.has_constant_host() {
        let message = format!("{}: the host of a rewrite must be written out", shown(rule));
        findings.mistake(&rule.at, message, Some("write one rule for each host"));
        return;
    }
    let wanted = Url::parse(origin).map(|url| url.origin().ascii_serialization()).ok();
    let is_declared = wanted.is_some() && serving.backends().any(|known| known.origin() == wanted);
    if is_declared {
        return;
    }
    let message = format!("{} would answer with what {origin} sends, which the site does not declare", shown(rule));
    let hint = format!("write below [upstreams] in devanture.toml: {} = \"{origin}\"", upstream_name(origin));
    findings.mistake(&rule.at, message, Some(&hint));
}

/// A name for an upstream that has none yet: the first label of its host that says something.
fn upstream_name(origin: &str) -> String {
    let host = Url::parse(origin).ok().and_then(|url| url.domain().map(str::to_owned)).unwrap_or_default();
    let label = host.split('.').find(|label| !label.is_empty() && *label != "www").unwrap_or("backend");
    label.to_owned()
}

/// A `:name` that stands for nothing, or a `*`, is sent as it is: most likely something else is meant.
fn destination(rule: &Redirect, findings: &mut Findings) {
    let names = Redirect::names(&rule.from, &rule.query);
    let text = rule.to.as_str();
    if text.contains('*') {
        let message = format!("{}: the `*` is sent as it is", shown(rule));
        findings.doubt(&rule.at, message, Some("what * at the end of the path takes is written `:splat`"));
    }
    let mut from = 0;
    while let Some((at, name)) = text.get(from..).and_then(next_name) {
        let at = from + at;
        from = at + 1 + name.len();
        // `Special:Search` is a name that people have; a segment or value of its own is a placeholder.
        let is_whole = text.get(..at).is_some_and(|before| before.ends_with(['/', '=']))
            && text.get(from..).is_some_and(|after| after.is_empty() || after.starts_with(['/', '?', '#', '&']));
        let is_known = text.get(at + 1..).is_some_and(|after| known_name(after, &names).is_some());
        if is_whole && !is_known {
            let hint = match nearest(name, names.iter().copied()) {
                Some(known) => Some(format!("did you mean `:{known}`?")),
                None if name == "splat" => Some("`:splat` is what * at the end of the path takes".to_owned()),
                None => None,
            };
            let message = format!("{}: nothing of its path is called `:{name}`, so it is sent as it is", shown(rule));
            findings.doubt(&rule.at, message, hint.as_deref());
        }
    }
}
