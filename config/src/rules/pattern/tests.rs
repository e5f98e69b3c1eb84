//! Patterns in each dialect: what they match and capture, what they cover, what is none.

use super::*;
use proptest::prelude::*;

fn found(dialect: Dialect, pattern: &str, path: &str) -> Option<String> {
    let pattern = Pattern::parse(pattern, dialect).unwrap();
    let captures = pattern.matches("example.org", path)?;
    Some(captures.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
}

#[test]
fn netlifys_patterns_take_segments_and_ignore_a_final_slash() {
    for (pattern, path, expected) in [
        ("/news", "/news", Some("")),
        ("/news", "/news/", Some("")),
        ("/news/", "/news", Some("")),
        ("/news", "/News", None),
        ("/news", "/news/x", None),
        ("/news/*", "/news", Some("splat=")),
        ("/news/*", "/news/", Some("splat=")),
        ("/news/*", "/news/a/b", Some("splat=a/b")),
        ("/news/*", "/newsx", None),
        ("/*", "/", Some("splat=")),
        ("/*", "/a/b", Some("splat=a/b")),
        ("/:a/:b", "/x/y", Some("a=x b=y")),
        ("/:a/:b", "/x", None),
        ("/:a/*", "/x/y/z", Some("a=x splat=y/z")),
        ("/a%20b", "/a b", Some("")),
        ("/a b", "/a b", Some("")),
        ("/a/*/b", "/a/x/b", None),
        ("https://example.org/x", "/x", Some("")),
        ("http://Example.Org:8080/x", "/x", Some("")),
        ("https://other.org/x", "/x", None),
    ] {
        assert_eq!(found(Dialect::Netlify, pattern, path).as_deref(), expected, "{pattern} {path}");
    }
}

#[test]
fn cloudflares_patterns_are_exact_about_slashes_and_take_parts_of_segments() {
    for (pattern, path, expected) in [
        ("/foo/*", "/foo/", Some("splat=")),
        ("/foo/*", "/foo", None),
        ("/foo/*", "/foo/a/b", Some("splat=a/b")),
        ("/foo", "/foo/", None),
        ("/foo/", "/foo/", Some("")),
        ("/foo*", "/foobar/x", Some("splat=bar/x")),
        ("/a/*/b", "/a/x/y/b", Some("splat=x/y")),
        ("/movies/:title", "/movies/heat", Some("title=heat")),
        ("/movies/:title", "/movies/heat/", None),
        ("/:a-:b", "/x-y", Some("a=x b=y")),
        ("/a.:ext", "/a.js", Some("ext=js")),
        ("/a.:ext", "/abjs", None),
        ("/*", "/", Some("splat=")),
        ("https://:sub.org/x", "/x", Some("sub=example")),
        ("https://*.org/x", "/x", Some("splat=example")),
    ] {
        assert_eq!(found(Dialect::Cloudflare, pattern, path).as_deref(), expected, "{pattern} {path}");
    }
}

#[test]
fn netlifys_headers_take_stars_anywhere_without_regard_to_case() {
    for (pattern, path, matches) in [
        ("/*", "/", true),
        ("/*", "/a/b", true),
        ("/templates/*", "/Templates/x", true),
        ("/a/*/b", "/a/x/y/b", true),
        ("/a/*/b", "/a/b", true),
        ("/*.js", "/x/y.js", true),
        ("/*.js", "/x/y.css", false),
        ("/:page", "/about/", true),
        ("/:page", "/about/us", false),
        ("/a//b/", "/A/b", true),
        ("/a/*.js", "/A/x/y.js", true),
        ("/", "/", true),
        ("/", "/a", false),
    ] {
        assert_eq!(found(Dialect::NetlifyHeaders, pattern, path).is_some(), matches, "{pattern} {path}");
    }
}

#[test]
fn what_is_no_pattern_is_distinguished() {
    let bad = |text: &str| Pattern::parse(text, Dialect::Netlify).unwrap_err();
    assert!(matches!(bad("a"), BadPattern::NotAPath(_)));
    assert!(matches!(bad("/%zz"), BadPattern::Encoding(_)));
    assert!(matches!(bad("https://"), BadPattern::Host(_)));
    assert_eq!(bad(&format!("/{}", "a".repeat(PATTERN_BYTES_MAX))), BadPattern::TooLong);
}

#[test]
fn a_pattern_covers_what_it_surely_matches() {
    let covers = |one: &str, other: &str| {
        let pattern = |text| Pattern::parse(text, Dialect::Netlify).unwrap();
        pattern(one).covers(&pattern(other))
    };
    for (one, other) in [("/*", "/a"), ("/a/*", "/a"), ("/a/*", "/a/b/*"), ("/:x", "/a"), ("/:x/*", "/a/b/c")] {
        assert!(covers(one, other), "{one} {other}");
        assert!(!covers(other, one), "{other} {one}");
    }
    assert!(covers("/a", "/a/"));
    assert!(!covers("https://a.example/*", "/b"));
}

proptest! {
    #[test]
    fn no_text_makes_a_pattern_panic(text in "[/a:*%.é-]{0,20}", path in "/[/a:*é]{0,20}") {
        for dialect in [Dialect::Cloudflare, Dialect::Netlify, Dialect::NetlifyHeaders] {
            if let Ok(pattern) = Pattern::parse(&format!("/{text}"), dialect) {
                let captured = pattern.matches("example.org", &path);
                prop_assert!(captured.is_none_or(|captures| captures.len() <= pattern.names().len()));
            }
        }
    }

    #[test]
    fn what_is_covered_is_matched(one in "(/(a|b|:x)){0,3}(/\\*)?", other in "(/(a|b|:x)){0,3}(/\\*)?", path in "(/(a|b|c)){1,4}/?") {
        let pattern = |text: &str| Pattern::parse(&format!("/{}", text.trim_start_matches('/')), Dialect::Netlify).unwrap();
        let (one, other) = (pattern(&one), pattern(&other));
        if one.covers(&other) && other.matches("h", &path).is_some() {
            prop_assert!(one.matches("h", &path).is_some(), "{one} {other} {path}");
        }
    }
}
