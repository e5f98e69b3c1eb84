//! Reads the rules of all sources into one set, within the bounds.

use std::collections::{BTreeSet, HashMap};

use devanture_config::parsing::Mistake;
use devanture_config::rules::headers::Change;
use devanture_config::rules::pattern::Segment;
use devanture_config::rules::template::CAPTURES_MAX;
use devanture_config::rules::{At, HEADERS_FILE, HeaderRule, Pattern, REDIRECTS_FILE, Redirect};
use devanture_config::site_toml::Rules;

use super::findings::Findings;
use super::rule_set::{CONDITIONS_MAX, EXPRESSION_COST_MAX, EXPRESSIONS_MAX, FIELD_NAMES_MAX, PARTS_MAX, RuleSet};
use super::sources::{FILE_BYTES_MAX, Sources};
use super::{cloudflare, netlify, of_tables};

/// Comparisons of a path with a rule that requires a password: once as requested, once after a rewrite, and once for
/// each name of the file that answers.
const GUARD_LOOKS: usize = 9;

/// Reads the rules. Invalid rules are left out and reported.
#[must_use]
pub fn read(sources: &Sources<'_>) -> (RuleSet, Vec<Mistake>) {
    let mut findings = Findings::default();
    let mut rules = RuleSet::default();
    if sources.meaning == Rules::Cloudflare {
        rules.redirects_have_fields = true;
    }
    if let Some(text) = text_of(sources.redirects, REDIRECTS_FILE, &mut findings) {
        rules.redirects = match sources.meaning {
            Rules::Cloudflare => cloudflare::redirects(text, sources.serving.html_handling, &mut findings),
            Rules::Netlify => netlify::redirects(text, sources.rules_max, &mut findings),
        };
    }
    if let Some(text) = text_of(sources.headers, HEADERS_FILE, &mut findings) {
        rules.headers = match sources.meaning {
            Rules::Cloudflare => cloudflare::headers(text, &mut findings),
            Rules::Netlify => netlify::headers(text, sources.rules_max, &mut findings),
        };
    }
    // Rules of files precede rules of tables, as in Netlify.
    of_tables::add(sources, &mut rules, &mut findings);
    let count = rules.redirects.len() + rules.headers.len();
    if count > sources.rules_max {
        let at = At { file: sources.site_file.into(), line: 0 };
        let message = format!("there are more than {} rules", sources.rules_max);
        findings.mistake(&at, message, Some("put several into one with * or :name, or ask for a higher `rules_max`"));
        rules.redirects.truncate(sources.rules_max);
        rules.headers.truncate(sources.rules_max.saturating_sub(rules.redirects.len()));
    }
    limit_captures(&mut rules, &mut findings);
    limit_conditions(&mut rules, &mut findings);
    limit_parts(&mut rules, &mut findings);
    limit_expressions(&mut rules, &mut findings);
    limit_field_names(&mut rules, &mut findings);
    (rules, findings.0)
}

/// Leaves out rules with more captures, or capture placeholders, than [`CAPTURES_MAX`].
fn limit_captures(rules: &mut RuleSet, findings: &mut Findings) {
    let mut has_room = |count: usize, at: &At, what: &str| {
        let has_room = count <= CAPTURES_MAX;
        if !has_room {
            findings.mistake(at, format!("the rule has {count} {what}; {CAPTURES_MAX} are the most"), None);
        }
        has_room
    };
    let (captures, places) = ("placeholders in its path and query", "placeholders in its target");
    rules.redirects.retain(|rule| {
        has_room(Redirect::names(&rule.from, &rule.query).len(), &rule.at, captures)
            && has_room(rule.to.places(), &rule.at, places)
    });
    rules.headers.retain(|rule| {
        has_room(rule.path.names().len(), &rule.at, "placeholders in its path")
            && has_room(most_places(rule), &rule.at, "placeholders in a value")
    });
}

/// The maximum of capture placeholders in one value.
fn most_places(rule: &HeaderRule) -> usize {
    let of_change = |change: &Change| match change {
        Change::Remove(_) => 0,
        Change::Set { value, .. } => value.places(),
    };
    rule.changes.iter().map(of_change).max().unwrap_or(0)
}

/// Leaves out rules with conditions beyond [`CONDITIONS_MAX`]. Rules without conditions do not count: the first match
/// ends the search.
fn limit_conditions(rules: &mut RuleSet, findings: &mut Findings) {
    let mut count = 0_usize;
    rules.redirects.retain(|rule| {
        let conditions = rule.conditions();
        if conditions == 0 {
            return true;
        }
        count = count.saturating_add(conditions).saturating_add(rule.from.steps().0.len());
        let has_room = count <= CONDITIONS_MAX;
        if !has_room {
            let message = format!(
                "there are too many conditions in all rules: {CONDITIONS_MAX} parameters, languages, cookies and \
                 segments of their paths are the most"
            );
            findings.mistake(&rule.at, message, None);
        }
        has_room
    });
}

/// Sums of the parts of the rules for one path.
#[derive(Default)]
struct Parts {
    /// Rules that begin with a placeholder or `*`.
    shared: usize,
    /// Other rules, by their first segment, or by the whole path for a rule of a single path, in any spelling.
    apart: HashMap<(bool, String), usize>,
}

impl Parts {
    /// Adds `looks` times the parts of a rule, of which `own` are no segments; returns true if the sum is within the
    /// limit.
    fn have_room(&mut self, pattern: &Pattern, own: usize, looks: usize) -> bool {
        let segments = pattern.steps().0;
        let parts = own.saturating_add(segments.len()).saturating_mul(looks);
        let text = |segment: &Segment| match segment {
            Segment::Text(text) => Some(text.to_string()),
            Segment::Name(_) => None,
        };
        let key = match segments.first().and_then(text) {
            _ if pattern.is_static() => segments.iter().filter_map(text).collect::<Vec<_>>().join("/"),
            Some(first) => first,
            None => {
                self.shared = self.shared.saturating_add(parts);
                return self.shared <= PARTS_MAX;
            }
        };
        let apart = self.apart.entry((pattern.is_static(), key)).or_default();
        *apart = apart.saturating_add(parts);
        self.shared.saturating_add(*apart) <= PARTS_MAX
    }
}

/// Leaves out rules with segments, fields and users beyond [`PARTS_MAX`], except for rules that require a password: one
/// path may match all of them. A redirect of a single path ends the search, or has conditions.
fn limit_parts(rules: &mut RuleSet, findings: &mut Findings) {
    let mut parts = Parts::default();
    let mut say = |has_room: bool, at: &At| {
        if !has_room {
            let message = format!(
                "there is too much in all rules for one path: {PARTS_MAX} segments, fields and users are the most"
            );
            findings.mistake(at, message, Some("put several rules into one"));
        }
        has_room
    };
    rules.redirects.retain(|rule| say(rule.from.is_static() || parts.have_room(&rule.from, 0, 2), &rule.at));
    rules.headers.retain(|rule| {
        let looks = if rule.users.is_empty() { 1 } else { 1 + GUARD_LOOKS };
        let has_room = parts.have_room(&rule.path, rule.changes.len() + rule.users.len(), looks);
        say(has_room, &rule.at) || !rule.users.is_empty()
    });
}

/// Leaves out patterns of partial segments beyond [`EXPRESSIONS_MAX`] or [`EXPRESSION_COST_MAX`]: each may be compared
/// with every path. A pattern that requires a password is widened to a whole folder instead: a version of another
/// release may be live with the rule.
fn limit_expressions(rules: &mut RuleSet, findings: &mut Findings) {
    let (mut count, mut cost) = (0, 0_usize);
    let mut has_room = |pattern: &Pattern, looks: usize, at: &At| {
        if !pattern.is_expression() {
            return true;
        }
        count += 1;
        cost = cost.saturating_add(pattern.cost().saturating_mul(looks));
        let most = if count > EXPRESSIONS_MAX {
            format!("{EXPRESSIONS_MAX} paths in which `*` or `:name` is a part of a segment are the most")
        } else if cost > EXPRESSION_COST_MAX {
            format!(
                "paths in which `*` or `:name` is a part of a segment may cost {EXPRESSION_COST_MAX} together, and \
                 this one makes it {cost}"
            )
        } else {
            return true;
        };
        let message = format!("`{pattern}` is one too many: {most}");
        findings.mistake(at, message, Some("let `*` be the last segment, and `:name` a whole one"));
        false
    };
    rules.redirects.retain(|rule| has_room(&rule.from, looks_at_redirect(rule), &rule.at));
    rules.headers.retain_mut(|rule| {
        let has_room = has_room(&rule.path, looks_at_fields(rule), &rule.at);
        if !has_room {
            rule.path = rule.path.widened();
        }
        has_room || !rule.users.is_empty()
    });
}

/// Maximum comparisons of a redirect or rewrite for one request: once with the other rules, and once more if targets
/// are too long. Captures cost as much as two further comparisons.
fn looks_at_redirect(rule: &Redirect) -> usize {
    if rule.to.places() > 0 { 6 } else { 2 }
}

/// Maximum comparisons of a rule for fields for one request.
fn looks_at_fields(rule: &HeaderRule) -> usize {
    let of_values = if most_places(rule) > 0 { 3 } else { 1 };
    if rule.users.is_empty() { of_values } else { of_values + GUARD_LOOKS }
}

/// Leaves out rules that would set or remove more than [`FIELD_NAMES_MAX`] different fields: one response may get all
/// of them.
fn limit_field_names(rules: &mut RuleSet, findings: &mut Findings) {
    let mut names: BTreeSet<String> = BTreeSet::new();
    rules.headers.retain(|rule| {
        let own = rule.changes.iter().map(|change| match change {
            Change::Remove(name) | Change::Set { name, .. } => name.clone(),
        });
        names.extend(own);
        let has_room = names.len() <= FIELD_NAMES_MAX;
        if !has_room {
            let message = format!("there are too many different fields in all rules: {FIELD_NAMES_MAX} are the most");
            findings.mistake(&rule.at, message, None);
        }
        has_room
    });
}

/// The text of a rule file; invalid UTF-8 is a mistake.
fn text_of<'t>(bytes: Option<&'t [u8]>, file: &str, findings: &mut Findings) -> Option<&'t str> {
    let bytes = bytes?;
    let at = |line| At { file: file.into(), line };
    if bytes.len() > FILE_BYTES_MAX {
        findings.mistake(&at(0), format!("the file has more than {FILE_BYTES_MAX} bytes"), None);
        return None;
    }
    match std::str::from_utf8(bytes) {
        // A byte order mark is no part of the first rule.
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let line = bytes.iter().take(error.valid_up_to()).filter(|b| **b == b'\n').count() + 1;
            findings.mistake(&at(line), "this is not UTF-8", None);
            None
        }
    }
}
