//! Checks of all rules together: loops, rules that never apply, forbidden rewrites.
//!
//! A line that a provider accepts in its files is only a warning, since a site that works there must work here; a
//! certain error in a table of `devanture.toml` is a mistake. The work is bounded: among many thousands of rules with
//! names and stars some may be checked only on their own.

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

/// Checks the rules of one environment against each other, its routes and its files; `has_file` returns true if a file
/// answers a decoded path, as requested by a visitor.
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
            // The parsers of the files report destinations in their providers' words.
            destination(rule, &mut findings);
        }
    }
    loops::find(&rules.redirects, &index, routes, has_file, &mut findings);
    hosts::find(&rules.redirects, serving, &mut findings);
    findings.0
}

/// A rule in messages.
fn shown(rule: &Redirect) -> String {
    format!("`{} → {}`", rule.from, rule.to)
}

/// Returns true if a rule comes from a file of a provider, which accepts more than intended.
fn is_of_a_file(rule: &Redirect) -> bool {
    [REDIRECTS_FILE, HEADERS_FILE].contains(&rule.at.file.as_ref())
}

/// A path of a target, decoded and in NFC, as paths of requests are compared.
fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().nfc().collect()
}

/// Returns true if an earlier rule matches every path of a later one, which then never applies.
#[must_use]
pub fn takes_all_of(earlier: &Redirect, later: &Redirect) -> bool {
    // For an existing file, a forced rule still applies after an unforced one.
    let always = earlier.is_unconditional() && (earlier.force || !later.force) && earlier.to.has_constant_host();
    always && earlier.from.covers(&later.from)
}

/// Reports that an earlier rule matches every path of the rule at `at`.
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

/// Netlify requires a rule for a host twice, with `http://` and with `https://`: the second is no mistake.
fn differ_by_scheme(one: &Pattern, other: &Pattern) -> bool {
    let rest = |pattern: &str| pattern.split_once("://").map(|(_, rest)| rest.to_owned());
    one.as_str() != other.as_str() && one.has_host() && rest(one.as_str()) == rest(other.as_str())
}

/// The number of the first of `routes` that matches every path of a rule, which then never applies.
pub fn route_before<'r>(rule: &Redirect, mut routes: impl Iterator<Item = &'r Route>) -> Option<usize> {
    routes.position(|route| lies_under(&rule.from, route))
}

/// Returns true if every path of a pattern lies under a route, which precedes every rule.
fn lies_under(pattern: &Pattern, route: &Route) -> bool {
    let (segments, ending) = pattern.steps();
    let (prefix, is_folder) = route.path.prefix();
    let mut wanted = prefix.trim_matches('/').split('/').filter(|segment| !segment.is_empty());
    let mut own = segments.iter();
    let begins = wanted.all(|wanted| matches!(own.next(), Some(Segment::Text(text)) if **text == *wanted));
    begins && (is_folder || (ending == Ending::Exact && own.all(|rest| *rest == Segment::Text(Box::default()))))
}

/// Checks the target of a rewrite: an existing file, or a declared upstream.
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

/// Checks that a rewrite to another origin has an upstream declared by the site, to avoid an open proxy.
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

/// A name for an undeclared upstream: the first specific label of its host.
fn upstream_name(origin: &str) -> String {
    let host = Url::parse(origin).ok().and_then(|url| url.domain().map(str::to_owned)).unwrap_or_default();
    let label = host.split('.').find(|label| !label.is_empty() && *label != "www").unwrap_or("backend");
    label.to_owned()
}

/// Reports a `:name` without a value, or a `*`, which would be sent literally: most likely a mistake.
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
        // `Special:Search` is a name in use; a whole segment or value is a placeholder.
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
