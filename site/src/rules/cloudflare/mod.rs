//! `_redirects` and `_headers` in Cloudflare's meaning.

mod headers;
mod redirects;
#[cfg(test)]
mod tests;

use devanture_config::site_toml::HtmlHandling;
use url::Url;

use super::pattern::next_name;
use super::{Findings, HeaderRule, Redirect};

/// Longest line, in UTF-16 units.
const LINE_UNITS_MAX: usize = 2_000;

/// Parses `_redirects`; `html_handling` is the setting of `devanture.toml`.
pub(super) fn redirects(text: &str, html_handling: Option<HtmlHandling>, findings: &mut Findings) -> Vec<Redirect> {
    redirects::read(text, html_handling, findings)
}

/// Parses `_headers`.
pub(super) fn headers(text: &str, findings: &mut Findings) -> Vec<HeaderRule> {
    headers::read(text, findings)
}

fn is_too_long(line: &str) -> bool {
    line.len() > LINE_UNITS_MAX && line.encode_utf16().count() > LINE_UNITS_MAX
}

/// A path in the form of a URL: encoded, without dot segments.
fn url_of(path: &str) -> Option<Url> {
    Url::parse(&format!("relative://{path}")).ok()
}

/// The name that a pattern captures twice: in Cloudflare such a rule never applies.
fn repeated_capture(pattern: &str) -> Option<String> {
    let mut seen = Vec::new();
    let mut rest = pattern;
    while let Some((at, name)) = next_name(rest) {
        if seen.contains(&name) {
            return Some(format!(":{name}"));
        }
        seen.push(name);
        rest = rest.get(at + 1 + name.len()..).unwrap_or_default();
    }
    let stars = pattern.matches('*').count();
    (stars > 1 || (stars == 1 && seen.contains(&super::pattern::SPLAT))).then(|| "*".to_owned())
}
