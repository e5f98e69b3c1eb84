//! `_redirects` and `_headers` in Netlify's meaning.

use super::{Findings, HeaderRule, Redirect};

/// Reads `_redirects`.
pub(super) fn redirects(_text: &str, _findings: &mut Findings) -> Vec<Redirect> {
    Vec::new()
}

/// Reads `_headers`.
pub(super) fn headers(_text: &str, _findings: &mut Findings) -> Vec<HeaderRule> {
    Vec::new()
}
