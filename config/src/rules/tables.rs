//! The tables of `devanture.toml` as rules: `[[redirects]]`, `[[rewrites]]`, `[[headers]]`, `[cache]`.

use super::{Findings, RuleSet, Sources};

/// Adds the rules of the tables.
pub(super) fn add(_sources: &Sources<'_>, _rules: &mut RuleSet, _findings: &mut Findings) {}
