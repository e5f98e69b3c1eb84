//! `_redirects` and `_headers` in Cloudflare's meaning.

use super::{Findings, HeaderRule, Redirect};
use crate::site_toml::HtmlHandling;

/// Reads `_redirects`; `html_handling` is what `devanture.toml` says.
pub(super) fn redirects(_text: &str, _html_handling: Option<HtmlHandling>, _findings: &mut Findings) -> Vec<Redirect> {
    Vec::new()
}

/// Reads `_headers`.
pub(super) fn headers(_text: &str, _findings: &mut Findings) -> Vec<HeaderRule> {
    Vec::new()
}
