//! Adds the rules of the tables of a manifest, which may not come from a `devanture.toml`.

use devanture_config::rules::tables::{TableMistake, cache, headers, redirect};

use super::{At, Findings, RuleSet, RuleTable, Sources};

/// Adds the rules of the tables.
pub(super) fn add(sources: &Sources<'_>, rules: &mut RuleSet, findings: &mut Findings) {
    let at = sources.at;
    // A manifest can contain far more rules than allowed; rules that are refused in any case must take no time.
    let is_full = |rules: &RuleSet| rules.redirects.len() + rules.headers.len() > sources.rules_max;
    let serving = sources.serving;
    for (kind, tables) in [(RuleTable::Redirects, &serving.redirects), (RuleTable::Rewrites, &serving.rewrites)] {
        for (index, table) in tables.iter().flatten().enumerate() {
            if is_full(rules) {
                return;
            }
            let at = at(kind, index);
            match redirect(table, kind, at.clone()) {
                Ok(rule) => rules.redirects.push(rule),
                Err(mistakes) => report(findings, &at, name(kind), mistakes),
            }
        }
    }
    for (index, table) in serving.headers.iter().flatten().enumerate() {
        if is_full(rules) {
            return;
        }
        let at = at(RuleTable::Headers, index);
        match headers(table, at.clone()) {
            Ok(rule) => rules.headers.push(rule),
            Err(mistakes) => report(findings, &at, name(RuleTable::Headers), mistakes),
        }
    }
    for (index, (path, table)) in serving.cache.iter().flatten().enumerate() {
        if is_full(rules) {
            return;
        }
        let at = at(RuleTable::Cache, index);
        match cache(path, table, at.clone()) {
            Ok(rule) => rules.headers.push(rule),
            Err(mistakes) => report(findings, &at, name(RuleTable::Cache), mistakes),
        }
    }
}

fn report(findings: &mut Findings, at: &At, table: &str, mistakes: Vec<TableMistake>) {
    for mistake in mistakes {
        findings.mistake(at, format!("`{table}.{}`: {}", mistake.key, mistake.message), mistake.hint.as_deref());
    }
}

const fn name(table: RuleTable) -> &'static str {
    match table {
        RuleTable::Cache => "cache",
        RuleTable::Headers => "headers",
        RuleTable::Redirects => "redirects",
        RuleTable::Rewrites => "rewrites",
    }
}
