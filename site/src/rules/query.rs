//! Matches the query of a request against the query of a rule.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::pattern::Captures;
use super::redirect::{QueryRule, QueryValue};

/// A parameter of a query.
#[derive(Debug)]
pub struct QueryParameter<'q> {
    /// The name, decoded.
    name: Cow<'q, str>,
    /// The value, decoded.
    value: Cow<'q, str>,
    /// The value as in any part of a URL: encodings are preserved.
    encoded: Cow<'q, str>,
}

/// The parameters of a query sorted by name; equal names in their order.
#[must_use]
pub fn parameters(query: Option<&str>) -> Vec<QueryParameter<'_>> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let parameter =
        |(name, value)| QueryParameter { name: decoded(name), value: decoded(value), encoded: encoded(value) };
    let mut parameters: Vec<QueryParameter<'_>> = pairs.map(parameter).collect();
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    parameters
}

/// A plus sign is a space only in a query, and a percent sign begins an encoded byte everywhere.
fn encoded(text: &str) -> Cow<'_, str> {
    let hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    let is_encoded = |at: usize| hex(at + 1) && hex(at + 2);
    let stays = |(at, byte): (usize, u8)| byte != b'+' && (byte != b'%' || is_encoded(at));
    if text.bytes().enumerate().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for (at, character) in text.char_indices() {
        match character {
            '+' => encoded.push_str("%20"),
            '%' if !is_encoded(at) => encoded.push_str("%25"),
            _ => encoded.push(character),
        }
    }
    Cow::Owned(encoded)
}

fn decoded(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()),
        false => percent_decode_str(text).decode_utf8_lossy(),
    }
}

/// Returns true if the query has exactly the parameters of `rules`, in any order; captures are appended, encoded.
/// `parameters` is the result of [`parameters`].
#[must_use]
pub fn query_matches<'a>(
    rules: &'a [QueryRule],
    parameters: &'a [QueryParameter<'_>],
    captures: &mut Captures<'a>,
) -> bool {
    if rules.is_empty() {
        return true;
    }
    if parameters.len() != rules.len() {
        return false;
    }
    rules.iter().all(|rule| {
        let first = parameters.partition_point(|parameter| *parameter.name < *rule.name);
        let Some(found) = parameters.get(first).filter(|found| found.name == rule.name) else { return false };
        match &rule.value {
            QueryValue::Capture(name) => {
                captures.push((name, &found.encoded));
                true
            }
            QueryValue::Text(text) => *text == found.value,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_exactly_what_is_named() {
        let rules = [
            QueryRule { name: "id".to_owned(), value: QueryValue::Capture("id".to_owned()) },
            QueryRule { name: "kind".to_owned(), value: QueryValue::Text("a b".to_owned()) },
        ];
        for (query, expected) in [
            ("id=1&kind=a+b", Some("1")),
            ("kind=a%20b&id=%C3%BC", Some("%C3%BC")),
            ("kind=a%20b&id=a%2Fb%26+c+%2b", Some("a%2Fb%26%20c%20%2b")),
            ("kind=a%20b&id=100%&", Some("100%25")),
            ("kind=a%20b&id=%zz%4", Some("%25zz%254")),
            ("id=1", None),
            ("id=1&kind=x", None),
            ("id=1&kind=a+b&more=1", None),
            ("id=1&id=2", None),
        ] {
            let parameters = parameters(Some(query));
            let mut captures = Vec::new();
            let matches = query_matches(&rules, &parameters, &mut captures);
            assert_eq!(matches.then(|| captures[0].1), expected, "{query}");
        }
        assert!(query_matches(&[], &parameters(Some("x=1")), &mut Vec::new()));
        // Of several parameters of one name the first counts.
        let twice = [rules[0].clone(), rules[0].clone()];
        let parameters = parameters(Some("id=2&id=1"));
        let mut captures = Vec::new();
        assert!(query_matches(&twice, &parameters, &mut captures) && captures[0].1 == "2");
    }
}
