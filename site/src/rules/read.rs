//! Reads the rules of all sources into one set, within its bounds.

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

/// How often a path is compared with a rule that asks for a password: once as it is requested, once where a rule leads,
/// and for each name of the file that answers.
const GUARD_LOOKS: usize = 9;

/// Reads the rules. What cannot be read is left out of them, and said.
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
    // Rules of files go before those of tables, as at Netlify.
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

/// Leaves out rules with more captures, or places for them, than [`CAPTURES_MAX`].
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

/// The places for captures in the value that has most of them.
fn most_places(rule: &HeaderRule) -> usize {
    let of_change = |change: &Change| match change {
        Change::Remove(_) => 0,
        Change::Set { value, .. } => value.places(),
    };
    rule.changes.iter().map(of_change).max().unwrap_or(0)
}

/// Leaves out rules with conditions beyond [`CONDITIONS_MAX`]. Those without do not count: the first that matches is
/// the last one that is looked at.
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

/// What the rules for one path may add up to.
#[derive(Default)]
struct Parts {
    /// Of rules that begin with a placeholder or `*`.
    shared: usize,
    /// Of others, by their first segment, or by the whole path where it is one alone, however that is spelled.
    apart: HashMap<(bool, String), usize>,
}

impl Parts {
    /// Adds `looks` at the parts of a rule, of which `own` are no segments; whether there is room for them.
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

/// Leaves out rules whose segments, fields and users go beyond [`PARTS_MAX`], but for those that ask for a password:
/// one path may have all of them. A redirect for one path alone is the last that is looked at, or has conditions.
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

/// Leaves out patterns that take parts of segments beyond [`EXPRESSIONS_MAX`] or [`EXPRESSION_COST_MAX`]: each may be
/// asked for every path. One that asks for a password does so for a whole folder then: a version of another program may
/// be live with it.
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

/// How often a redirect or rewrite may be looked at for one request: where its path is compared with the rules, and
/// once more where targets are too long. What it captures takes as long as two looks more.
fn looks_at_redirect(rule: &Redirect) -> usize {
    if rule.to.places() > 0 { 6 } else { 2 }
}

/// The same of a rule for fields.
fn looks_at_fields(rule: &HeaderRule) -> usize {
    let of_values = if most_places(rule) > 0 { 3 } else { 1 };
    if rule.users.is_empty() { of_values } else { of_values + GUARD_LOOKS }
}

/// Leaves out rules that would set or remove more than [`FIELD_NAMES_MAX`] different fields: one answer may get them
/// all.
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

/// The text of a file of rules; one that is none is a mistake.
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
