//! A parsed pattern matches the same paths, and is valid here.

use devanture_site::rules::Pattern;
use devanture_site::rules::pattern::{BadPattern, Dialect};
use proptest::prelude::*;

use super::super::source::{for_headers, for_redirects};
use super::*;

/// Returns those of `paths` that the patterns for redirects match.
fn matched(items: &[Item], paths: &[&'static str]) -> Vec<&'static str> {
    let patterns: Vec<Pattern> = for_redirects(items)
        .unwrap()
        .iter()
        .map(|ours| Pattern::parse(&ours.pattern, Dialect::Netlify).unwrap())
        .collect();
    paths.iter().copied().filter(|path| patterns.iter().any(|p| p.matches("h", path).is_some())).collect()
}

#[test]
fn what_is_read_matches_what_it_matched() {
    let paths = ["/", "/a", "/a/x", "/a/x/y", "/b", "/b/x", "/ab", "/a/b.html"];
    for (source, expected) in [
        ("/a/:x*", &["/a", "/a/x", "/a/x/y", "/a/b.html"][..]),
        ("/a/:x+", &["/a/x", "/a/x/y", "/a/b.html"]),
        ("/a/:x?", &["/a", "/a/x", "/a/b.html"]),
        ("/a/:x", &["/a/x", "/a/b.html"]),
        ("/:p(a|b)", &["/a", "/b"]),
        ("/:p(a|b)/:x", &["/a/x", "/b/x", "/a/b.html"]),
        ("/(.*)", &["/", "/a", "/a/x", "/a/x/y", "/b", "/b/x", "/ab", "/a/b.html"]),
        ("/a{/:x}?", &["/a", "/a/x", "/a/b.html"]),
        ("/a{b}?", &["/a", "/ab"]),
    ] {
        assert_eq!(matched(&path_to_regexp(source).unwrap(), &paths), expected, "{source}");
    }
    for (source, expected) in [
        ("/a{,/**}", &["/a", "/a/x", "/a/x/y", "/a/b.html"][..]),
        ("/@(a|b)", &["/a", "/b"]),
        ("/a/*", &["/a/x", "/a/b.html"]),
        ("/*", &["/a", "/b", "/ab"]),
    ] {
        assert_eq!(matched(&glob(source).unwrap(), &paths), expected, "{source}");
    }
}

proptest! {
    #[test]
    fn whatever_is_read_is_a_pattern_of_ours(text in r"([/a:*+?(){}|!@\\\[\].^$,%é]|:x|\(\.\*\)|\*\*|/){0,16}") {
        for items in [path_to_regexp(&text), glob(&text), regex(&text)].into_iter().flatten() {
            for ours in for_redirects(&items).into_iter().flatten() {
                prop_assert!(Pattern::parse(&ours.pattern, Dialect::Netlify).is_ok(), "{} {}", text, ours.pattern);
                let stars = ours.pattern.strip_suffix("/*").unwrap_or(&ours.pattern);
                prop_assert!(!stars.contains('*'), "{} {}", text, ours.pattern);
            }
            for ours in for_headers(&items).into_iter().flatten() {
                // A pattern with too many partial segments is reported when it is written.
                let parsed = Pattern::parse(&ours.pattern, Dialect::NetlifyHeaders);
                prop_assert!(matches!(parsed, Ok(_) | Err(BadPattern::TooLong)), "{} {}", text, ours.pattern);
            }
        }
    }
}
