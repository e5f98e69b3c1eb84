//! Rules of a site about its paths: redirects, rewrites, header fields, caching, access.
//!
//! Rules come in several forms: the files `_redirects` and `_headers` in the meaning of Netlify or Cloudflare, and the
//! tables of `devanture.toml`. Each form is read by a file of its own here, and all come out as one [`RuleSet`], which
//! [`CompiledRules`] prepares for requests. What is wrong comes out beside it, as mistakes and doubts with their lines;
//! [`check`] adds what only shows when all rules are looked at together.

pub mod access;
pub mod check;
mod cloudflare;
mod compiled;
#[cfg(test)]
mod expected;
mod lines;
mod manifest;
mod netlify;
mod of_tables;
pub mod query;
pub mod restricted;
pub mod visitor;

pub use compiled::{Access, CompiledRules, FieldChanges, Keeping, Matched, Skip, Varies, append_member};
/// A single rule, as `devanture.toml` has it too, and so defined in `devanture-config`.
pub use devanture_config::rules::{
    At, HEADERS_FILE, HeaderRule, Pattern, REDIRECTS_FILE, Redirect, RuleTable, headers, pattern, redirect, template,
};
pub use manifest::{of_manifest, tables_checked};
pub use visitor::Visitor;

use std::collections::BTreeSet;

use devanture_config::parsing::{Mistake, Weight};
use devanture_config::site_toml::{Rules, Serving};

/// Most bytes that are read of one of these files.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most patterns of a version in which `*` or `:name` is a part of a segment.
pub const EXPRESSIONS_MAX: usize = 100;
/// Most different fields that the rules of a version may set or remove.
pub const FIELD_NAMES_MAX: usize = 200;

/// Every rule of a version in one environment, in the order in which they are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Redirects and rewrites; the first that applies counts.
    pub redirects: Vec<Redirect>,
    /// Fields; all that match apply, in order.
    pub headers: Vec<HeaderRule>,
    /// Whether redirects get fields by rules too (Cloudflare's meaning).
    pub redirects_have_fields: bool,
}

/// The sources of rules.
#[derive(Clone, Copy)]
pub struct Sources<'s> {
    /// The settings of `devanture.toml` for the environment.
    pub serving: &'s Serving,
    /// Whose meaning the files have.
    pub meaning: Rules,
    /// The bytes of `_redirects`, where there is one.
    pub redirects: Option<&'s [u8]>,
    /// The bytes of `_headers`, where there is one.
    pub headers: Option<&'s [u8]>,
    /// Most rules of both kinds together.
    pub rules_max: usize,
    /// The name of `devanture.toml` as the person knows it.
    pub site_file: &'s str,
    /// Where a rule of one of its tables, by its number from 0, is written: there, or in an overlay.
    pub at: &'s dyn Fn(RuleTable, usize) -> At,
}

/// Collects what is wrong with rules.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Mistake>);

impl Findings {
    /// Errors: text that cannot be parsed or meant.
    pub fn mistake(&mut self, at: &At, message: impl Into<String>, hint: Option<&str>) {
        self.add(at, Weight::Mistake, message.into(), hint);
    }

    /// Warnings: text that the provider itself accepts, or silently drops.
    pub fn doubt(&mut self, at: &At, message: impl Into<String>, hint: Option<&str>) {
        self.add(at, Weight::Doubt, message.into(), hint);
    }

    fn add(&mut self, at: &At, weight: Weight, message: String, hint: Option<&str>) {
        let hint = hint.map(str::to_owned);
        self.0.push(Mistake { file: at.file.to_string(), line: at.line, weight, message, hint });
    }
}

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
    limit_expressions(&mut rules, &mut findings);
    limit_field_names(&mut rules, &mut findings);
    (rules, findings.0)
}

/// Leaves out patterns that take parts of segments beyond [`EXPRESSIONS_MAX`]: each may be asked for every path.
fn limit_expressions(rules: &mut RuleSet, findings: &mut Findings) {
    let mut count = 0;
    let mut has_room = |pattern: &Pattern, at: &At| {
        count += usize::from(pattern.is_expression());
        if count > EXPRESSIONS_MAX && pattern.is_expression() {
            let message = format!(
                "`{pattern}` is one too many: {EXPRESSIONS_MAX} paths in which `*` or `:name` is a part of a segment are the most"
            );
            findings.mistake(at, message, Some("let `*` be the last segment, and `:name` a whole one"));
            return false;
        }
        true
    };
    rules.redirects.retain(|rule| has_room(&rule.from, &rule.at));
    rules.headers.retain(|rule| has_room(&rule.path, &rule.at));
}

/// Leaves out rules that would set or remove more than [`FIELD_NAMES_MAX`] different fields: one answer may get them
/// all.
fn limit_field_names(rules: &mut RuleSet, findings: &mut Findings) {
    let mut names: BTreeSet<String> = BTreeSet::new();
    rules.headers.retain(|rule| {
        let own = rule.changes.iter().map(|change| match change {
            headers::Change::Remove(name) | headers::Change::Set { name, .. } => name.clone(),
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
