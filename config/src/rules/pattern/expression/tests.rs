//! Tests of expressions against the crate `regex`.

use proptest::prelude::*;

use super::super::{Dialect, Pattern, SPLAT, is_name, next_name};

/// Makes a capturing group; a repeated name captures nothing further.
fn group(name: &str, takes: &str, names: &mut Vec<String>) -> String {
    if names.iter().any(|known| known == name) {
        return format!("(?:{takes})");
    }
    names.push(name.to_owned());
    format!("(?P<{name}>{takes})")
}

fn netlify_redirect(path: &str, names: &mut Vec<String>) -> String {
    let (mut source, mut ends_with_star) = (String::new(), false);
    for segment in path.split('/').skip(1) {
        let name = segment.strip_prefix(':').filter(|name| !name.is_empty());
        let star = segment.strip_suffix('*').filter(|_| name.is_none());
        source += &match (name, star) {
            (Some(name), _) => format!("/{}", group(name, "[^/]+", names)),
            (None, Some("")) if ends_with_star => String::new(),
            (None, Some("")) => format!("(?:/{})?", group(SPLAT, ".*", names)),
            (None, Some(text)) => format!("/{}/?{}", regex::escape(text), group(SPLAT, ".*", names)),
            (None, None) => format!("/{}", regex::escape(segment)),
        };
        ends_with_star = star.is_some();
    }
    if ends_with_star { source } else { source + "/?" }
}

fn netlify(path: &str, names: &mut Vec<String>) -> String {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let sources = segments.map(|segment| match segment.strip_prefix(':').filter(|name| is_name(name)) {
        Some(name) => format!("/{}", group(name, "[^/]+", names)),
        None if segment == "*" => format!("(?:/{})?", group(SPLAT, ".*", names)),
        None => format!("/{}", segment.split('*').map(regex::escape).collect::<Vec<_>>().join(".*")),
    });
    sources.collect::<String>() + "/?"
}

fn cloudflare(text: &str, names: &mut Vec<String>) -> String {
    let (mut source, mut rest) = (String::new(), text);
    loop {
        let (name, star) = (next_name(rest), rest.find('*'));
        let (at, length, part) = match (name, star) {
            (Some((at, name)), star) if star.is_none_or(|star| at < star) => {
                (at, name.len() + 1, group(name, "[^/]+", names))
            }
            (_, Some(star)) => (star, 1, group(SPLAT, ".*", names)),
            (_, None) => break,
        };
        source.push_str(&regex::escape(&rest[..at]));
        source.push_str(&part);
        rest = &rest[at + length..];
    }
    source + &regex::escape(rest)
}

/// Returns the captures of the crate `regex`, as `name=value`.
fn expected(source: &str, folds: bool, text: &str) -> Option<Vec<String>> {
    let regex = regex::RegexBuilder::new(&format!("^{source}$"));
    let regex = { regex }.case_insensitive(folds).dot_matches_new_line(true).build().unwrap();
    let found = regex.captures(text)?;
    let value = |name: &str| found.name(name).map_or("", |found| found.as_str());
    Some(regex.capture_names().flatten().map(|name| format!("{name}={}", value(name))).collect())
}

fn assert_same(text: &str, dialect: Dialect, path: &str) {
    let pattern = Pattern::parse(text, dialect).unwrap();
    // Names in the crate consist of letters, digits and `_`.
    let is_foreign = |segment: &str| segment.strip_prefix(':').is_some_and(|name| !name.is_empty() && !is_name(name));
    if !pattern.is_expression() || (dialect == Dialect::Netlify && text.split('/').any(is_foreign)) {
        return;
    }
    let mut names = Vec::new();
    let source = match dialect {
        Dialect::Cloudflare => cloudflare(text, &mut names),
        Dialect::Netlify => netlify_redirect(text.strip_suffix('/').unwrap_or(text), &mut names),
        Dialect::NetlifyHeaders => netlify(text, &mut names),
    };
    let expected = expected(&source, dialect == Dialect::NetlifyHeaders, path);
    let mut captured = pattern.matches("h", path);
    // Whole segments before the expression capture repeated names again; the first capture counts.
    if let Some(captured) = &mut captured {
        let all = captured.clone();
        let mut at = 0;
        captured.retain(|(name, _)| {
            at += 1;
            !all.iter().take(at - 1).any(|(known, _)| known == name)
        });
    }
    let captured = captured.map(|all| all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>());
    assert_eq!(captured, expected, "{text} {path:?} {source}");
    assert_eq!(pattern.is_for("h", path), expected.is_some(), "{text} {path:?}");
}

#[test]
fn a_pattern_of_several_words_matches_and_captures_as_one_of_a_word() {
    for (dialect, text) in [
        (Dialect::Cloudflare, format!("/{}*{}:a-:b{}*x", "y".repeat(61), "z".repeat(62), "q".repeat(200))),
        (Dialect::Netlify, format!("/{}*/{}/*/{}z*", "y".repeat(58), "z".repeat(62), "q".repeat(200))),
        (Dialect::NetlifyHeaders, format!("/{}*/{}/*/{}*z", "y".repeat(58), "z".repeat(62), "q".repeat(200))),
    ] {
        let texts = [
            format!("/{}12/{}r-s{}k/x", "y".repeat(61), "z".repeat(62), "q".repeat(200)),
            format!("/{}/{}/{}z", "y".repeat(58), "z".repeat(62), "q".repeat(200)),
            format!("/{}1/2/{}/3/4/{}/z/z", "y".repeat(58), "z".repeat(62), "q".repeat(200)),
        ];
        for path in texts {
            assert_same(&text, dialect, &path);
            assert_same(&text, dialect, &path[..path.len() - 1]);
        }
    }
}

#[test]
fn letters_are_the_same_in_either_case_where_a_pattern_says_so() {
    for (text, path, matches) in
        [("/Ü*x", "/übX", true), ("/k*s", "/\u{212A}\u{17F}", true), ("/ß*", "/\u{1E9E}", true), ("/a*b", "/aC", false)]
    {
        let pattern = Pattern::parse(text, Dialect::NetlifyHeaders).unwrap();
        assert_eq!(pattern.is_for("h", path), matches, "{text} {path}");
        assert_same(text, Dialect::NetlifyHeaders, path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_expression_matches_and_captures_as_the_crate_regex_does(
        text in "(/(a|b|é|:x|:y|\\*|[ab:*-]{1,4}|:x[a-]:y|\\*:z)){1,5}",
        path in "(/[abAé-]{0,3}){1,6}/?",
    ) {
        for dialect in [Dialect::Cloudflare, Dialect::Netlify, Dialect::NetlifyHeaders] {
            // A final slash is part neither of the pattern nor of a compared path.
            let path = if dialect == Dialect::NetlifyHeaders { path.trim_end_matches('/') } else { &*path };
            if !path.is_empty() && text.matches('*').count() <= 8 {
                assert_same(&text, dialect, path);
            }
        }
    }
}
