//! Matches the query of a request against that of a rule.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::pattern::Captures;
use super::redirect::{QueryRule, QueryValue};

/// A parameter of a query, decoded: its name and its value.
pub type Parameter<'q> = (Cow<'q, str>, Cow<'q, str>);

/// The parameters of a query, decoded, in their order.
#[must_use]
pub fn parameters(query: Option<&str>) -> Vec<Parameter<'_>> {
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
#[must_use]
pub fn query_matches<'a>(rules: &'a [QueryRule], parameters: &'a [Parameter<'_>], captures: &mut Captures<'a>) -> bool {
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
