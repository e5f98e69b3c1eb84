//! What rules ask about a visitor: the query, the language that is preferred, cookies.

use std::borrow::Cow;

use devanture_config::rules::pattern::Captures;
use devanture_config::rules::redirect::{QueryRule, QueryValue};
use percent_encoding::percent_decode_str;

use crate::site::fields::{members, trimmed};

/// The cookie that says a language before the browser does, as Netlify has it.
const LANGUAGE_COOKIE: &[u8] = b"nf_lang";

/// A visitor, as far as rules depend on one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visitor<'v> {
    /// The host, in lower case.
    pub host: &'v str,
    /// The query as it was sent.
    pub query: Option<&'v str>,
    /// `Accept-Language`.
    pub accept_language: Option<&'v [u8]>,
    /// `Cookie`.
    pub cookie: Option<&'v [u8]>,
}

/// The parameters of a query, decoded, in their order.
#[must_use]
pub(super) fn parameters(query: Option<&str>) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decoded(n), decoded(v))).collect()
}

fn decoded(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()),
        false => percent_decode_str(text).decode_utf8_lossy(),
    }
}

/// Whether the query holds exactly what `rules` name, in any order; what they capture is added.
pub(super) fn query_matches<'a>(
    rules: &'a [QueryRule],
    parameters: &'a [(Cow<'_, str>, Cow<'_, str>)],
    captures: &mut Captures<'a>,
) -> bool {
    if rules.is_empty() {
        return true;
    }
    if parameters.len() != rules.len() {
        return false;
    }
    rules.iter().all(|rule| {
        let Some((_, value)) = parameters.iter().find(|(name, _)| *name == rule.name) else { return false };
        match &rule.value {
            QueryValue::Capture(name) => {
                captures.push((name, value));
                true
            }
            QueryValue::Text(text) => text == value,
        }
    })
}

impl Visitor<'_> {
    /// Whether one of `languages`, in lower case, is what the visitor likes best: of equal weight there may be several
    /// (RFC 9110 §12.5.4). A language stands for its regions too: `fr` for `fr-CH`.
    #[must_use]
    pub fn prefers(&self, languages: &[String]) -> bool {
        if let Some(said) = self.cookie_value(LANGUAGE_COOKIE) {
            return languages.iter().any(|language| stands_for(language, said));
        }
        let Some(accept) = self.accept_language else { return false };
        let best = members(accept).map(|member| weighted(member).1).max().unwrap_or_default();
        best > 0
            && members(accept)
                .map(weighted)
                .filter(|(_, weight)| *weight == best)
                .any(|(tag, _)| languages.iter().any(|language| stands_for(language, tag)))
    }

    /// Whether the visitor sends one of these cookies.
    #[must_use]
    pub fn has_cookie(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.cookie_value(name.as_bytes()).is_some())
    }

    fn cookie_value(&self, name: &[u8]) -> Option<&[u8]> {
        // Lines of HTTP/2 were put together with commas; a cookie's value holds none (RFC 6265 §4.1.1).
        let pairs = self.cookie?.split(|&byte| byte == b';' || byte == b',').map(trimmed);
        pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"=")).next()
    }
}

fn stands_for(language: &str, tag: &[u8]) -> bool {
    let language = language.as_bytes();
    let rest = tag.get(language.len()..).unwrap_or_default();
    tag.get(..language.len()).is_some_and(|start| start.eq_ignore_ascii_case(language))
        && matches!(rest.first(), None | Some(b'-'))
}

/// A tag and its weight in thousandths (RFC 9110 §12.4.2); what cannot be read weighs nothing.
fn weighted(member: &[u8]) -> (&[u8], u16) {
    let mut parts = member.split(|&byte| byte == b';').map(trimmed);
    let tag = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    (tag, weight.map_or(1_000, thousandths))
}

fn thousandths(text: &[u8]) -> u16 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().all(|b| b.is_ascii_digit()) && fraction.len() <= 3;
    match (whole, digits) {
        ("1", true) => 1_000,
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_that_is_liked_best_counts() {
        let prefers = |accept: &str, language: &str| {
            let visitor = Visitor { accept_language: Some(accept.as_bytes()), ..Visitor::default() };
            visitor.prefers(&[language.to_owned()])
        };
        for (accept, language, expected) in [
            ("fr", "fr", true),
            ("fr-CH, fr;q=0.9, en;q=0.8", "fr", true),
            ("fr-CH, fr;q=0.9, en;q=0.8", "en", false),
            ("en;q=0.8, de;q=0.9", "de", true),
            ("de, en", "en", true),
            ("FR-ch", "fr", true),
            ("fra", "fr", false),
            ("fr;q=0", "fr", false),
            ("fr", "fr-ch", false),
            ("", "fr", false),
        ] {
            assert_eq!(prefers(accept, language), expected, "{accept} {language}");
        }
        let visitor = Visitor { cookie: Some(b"a=1; nf_lang=de"), accept_language: Some(b"fr"), ..Visitor::default() };
        assert!(visitor.prefers(&["de".to_owned()]) && !visitor.prefers(&["fr".to_owned()]));
    }

    #[test]
    fn a_cookie_counts_by_its_name_alone() {
        let visitor = Visitor { cookie: Some(b"beta=; other=x"), ..Visitor::default() };
        assert!(visitor.has_cookie(&["no".to_owned(), "beta".to_owned()]));
        assert!(!visitor.has_cookie(&["bet".to_owned()]) && !visitor.has_cookie(&["x".to_owned()]));
    }

    #[test]
    fn a_query_holds_exactly_what_is_named() {
        let rules = [
            QueryRule { name: "id".to_owned(), value: QueryValue::Capture("id".to_owned()) },
            QueryRule { name: "kind".to_owned(), value: QueryValue::Text("a b".to_owned()) },
        ];
        for (query, expected) in [
            ("id=1&kind=a+b", Some("1")),
            ("kind=a%20b&id=%C3%BC", Some("ü")),
            ("id=1", None),
            ("id=1&kind=x", None),
            ("id=1&kind=a+b&more=1", None),
        ] {
            let parameters = parameters(Some(query));
            let mut captures = Vec::new();
            let matches = query_matches(&rules, &parameters, &mut captures);
            assert_eq!(matches.then(|| captures[0].1), expected, "{query}");
        }
        assert!(query_matches(&[], &parameters(Some("x=1")), &mut Vec::new()));
    }
}
