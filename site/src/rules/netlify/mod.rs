//! `_redirects` and `_headers` in Netlify's meaning.

mod conditions;
#[cfg(test)]
mod engine;
mod headers;
mod redirects;
#[cfg(test)]
mod tests;

use super::{Findings, HeaderRule, Redirect};

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Parses `_redirects`, until more than `rules_max` rules are found.
pub(super) fn redirects(text: &str, rules_max: usize, findings: &mut Findings) -> Vec<Redirect> {
    redirects::read(text, rules_max, findings)
}

/// Parses `_headers`, until more than `rules_max` rules are found.
pub(super) fn headers(text: &str, rules_max: usize, findings: &mut Findings) -> Vec<HeaderRule> {
    headers::read(text, rules_max, findings)
}
