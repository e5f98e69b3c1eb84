//! Redirects that lead in a circle, or onwards without end.

use std::collections::BTreeSet;

use devanture_config::site_toml::Route;
use url::Url;

use super::index::{Budget, Index};
use super::{decoded, is_of_a_file, shown};
use crate::rules::Findings;
use crate::rules::pattern::{Pattern, next_name};
use crate::rules::redirect::Redirect;

/// Maximum redirects to follow; browsers follow about twenty.
const HOPS_MAX: usize = 16;
/// Characters of a path in a message.
const SHOWN_CHARACTERS_MAX: usize = 60;
/// Placeholder for a capture while redirects are followed: a path that a visitor may well request.
const SAMPLE: &str = "some-page";

/// The repetition found by following redirects.
struct Circle {
    /// The rules of the circle.
    rules: BTreeSet<usize>,
    /// The paths, from the first repeated one; for a growing path, a few.
    paths: Vec<String>,
    /// True if a path repeats, and not only a rule.
    is_exact: bool,
}

/// Follows every redirect through the rules that apply to all visitors.
pub(super) fn find(
    rules: &[Redirect],
    index: &Index<'_>,
    routes: &[Route],
    has_file: &dyn Fn(&str) -> bool,
    findings: &mut Findings,
) {
    let mut budget = Budget::default();
    let mut known: BTreeSet<usize> = BTreeSet::new();
    for rule in rules {
        if rule.from.has_host() {
            own_host(rule, findings);
            continue;
        }
        if !leads_on(rule) {
            continue;
        }
        let Some(start) = sample(&rule.from) else { continue };
        let Some(circle) = follow(start, index, routes, has_file, &mut budget) else { continue };
        if circle.rules.iter().any(|at| known.contains(at)) {
            continue;
        }
        let first = circle.rules.first().and_then(|at| rules.get(*at)).unwrap_or(rule);
        report(first, &circle, findings);
        known.extend(circle.rules);
    }
}

/// A rule for a host that leads to the same path of the same host: most likely from `http` to `https`, which needs no
/// rule.
fn own_host(rule: &Redirect, findings: &mut Findings) {
    if !rule.is_redirect() || !rule.is_unconditional() {
        return;
    }
    let host = |text: &str| Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
    let Some(own) = host(rule.from.as_str()) else { return };
    let path = rule.from.as_str().split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
    let path = filled(path.unwrap_or("/"));
    let Some(target) = rule.from.matches(&own, &path).and_then(|captures| rule.to.fill(&captures)) else { return };
    if target.origin.as_deref().is_some_and(|origin| host(origin).as_ref() == Some(&own))
        && decoded(&target.path) == path
    {
        let message = format!("{} leads around in a circle: to the path that was asked for", shown(rule));
        findings.doubt(&rule.at, message, Some("http is redirected to https without a rule"));
    }
}

fn report(rule: &Redirect, circle: &Circle, findings: &mut Findings) {
    let shortened = |path: &String| match path.chars().count() > SHOWN_CHARACTERS_MAX {
        true => format!("{}…", path.chars().take(SHOWN_CHARACTERS_MAX).collect::<String>()),
        false => path.clone(),
    };
    let paths: Vec<String> = circle.paths.iter().map(shortened).collect();
    let way = paths.join(" → ");
    if !circle.is_exact {
        let message = format!("{} leads on for ever where there is no file: {way} → …", shown(rule));
        findings.doubt(&rule.at, message, Some("write a rule for what is there already before it"));
        return;
    }
    let message = format!("{} leads around in a circle: {way}", shown(rule));
    match is_of_a_file(rule) {
        true => findings.doubt(&rule.at, message, None),
        false => findings.mistake(&rule.at, message, None),
    }
}

/// Returns true if a rule sends every visitor to a path of the same site.
fn leads_on(rule: &Redirect) -> bool {
    rule.is_redirect() && rule.is_unconditional() && rule.to.origin().is_none()
}

fn follow(
    start: String,
    index: &Index<'_>,
    routes: &[Route],
    has_file: &dyn Fn(&str) -> bool,
    budget: &mut Budget,
) -> Option<Circle> {
    let mut paths = vec![start];
    let mut taken: Vec<usize> = Vec::new();
    while taken.len() < HOPS_MAX {
        let path = paths.last()?.clone();
        if routes.iter().any(|route| route.path.takes(&path)) {
            return None;
        }
        let matches = |rule: &Redirect| rule.is_unconditional() && rule.from.matches("", &path).is_some();
        let (at, rule) = index.first_of(&path, budget, matches)?;
        if !leads_on(rule) || (!rule.force && has_file(&path)) {
            return None;
        }
        let captures = rule.from.matches("", &path)?;
        let next = decoded(&rule.to.fill(&captures)?.path);
        taken.push(at);
        let before = paths.iter().position(|known| *known == next);
        paths.push(next);
        if let Some(before) = before {
            let rules = taken.iter().skip(before).copied().collect();
            return Some(Circle { rules, paths: paths.split_off(before), is_exact: true });
        }
    }
    // A long chain through many rules may still end; a single repeated rule does not.
    let last: Vec<usize> = taken.split_off(HOPS_MAX / 2);
    let rules: BTreeSet<usize> = last.iter().copied().collect();
    (rules.len() < last.len()).then(|| Circle { rules, paths: paths.into_iter().take(3).collect(), is_exact: false })
}

/// A path that a pattern matches.
fn sample(pattern: &Pattern) -> Option<String> {
    let path = filled(pattern.as_str());
    pattern.matches("", &path).is_some().then_some(path)
}

/// The text of a pattern with a sample in place of every name and star, decoded.
pub(super) fn filled(text: &str) -> String {
    let mut path = String::new();
    let mut rest = text;
    loop {
        let (at, length) = match (next_name(rest), rest.find('*')) {
            (Some((at, name)), star) if star.is_none_or(|star| at < star) => (at, 1 + name.len()),
            (_, Some(star)) => (star, 1),
            (_, None) => break,
        };
        path.push_str(rest.get(..at).unwrap_or_default());
        path.push_str(SAMPLE);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    path.push_str(rest);
    decoded(&path)
}
