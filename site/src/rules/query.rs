//! Matches the query of a request against that of a rule.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::pattern::Captures;
use super::redirect::{QueryRule, QueryValue};

/// A parameter of a query, decoded: its name and its value.
pub type Parameter<'q> = (Cow<'q, str>, Cow<'q, str>);

/// The parameters of a query, decoded, by their names; those of one name in their order.
#[must_use]
pub fn parameters(query: Option<&str>) -> Vec<Parameter<'_>> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut parameters: Vec<Parameter<'_>> = pairs.map(|(name, value)| (decoded(name), decoded(value))).collect();
    parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
    parameters
}

fn decoded(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()),
        false => percent_decode_str(text).decode_utf8_lossy(),
    }
}

/// Whether the query holds exactly what `rules` name, in any order; what they capture is added. `parameters` are as
/// [`parameters`] gives them.
#[must_use]
pub fn query_matches<'a>(rules: &'a [QueryRule], parameters: &'a [Parameter<'_>], captures: &mut Captures<'a>) -> bool {
    if rules.is_empty() {
        return true;
    }
    if parameters.len() != rules.len() {
        return false;
    }
    rules.iter().all(|rule| {
        let first = parameters.partition_point(|(name, _)| **name < *rule.name);
        let Some((_, value)) = parameters.get(first).filter(|(name, _)| *name == rule.name) else { return false };
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
