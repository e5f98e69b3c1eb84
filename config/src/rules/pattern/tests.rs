//! Tests of patterns in each dialect: matches, captures, coverage, and errors.

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
        ("https://example.org/x", "/x", Some("")),
        ("http://Example.Org:8080/x", "/x", Some("")),
        ("https://other.org/x", "/x", None),
    ] {
        assert_eq!(found(Dialect::Netlify, pattern, path).as_deref(), expected, "{pattern} {path}");
    }
}

/// Matches of Netlify's own engine, the npm package `netlify-redirector`, release 0.5.0.
#[test]
fn netlifys_stars_and_names_take_what_netlifys_engine_takes() {
    for (pattern, path, expected) in [
        // A final slash is part of a last star's match, and otherwise not captured.
        ("/old/*", "/old", Some("splat=")),
        ("/old/*", "/old/", Some("splat=")),
        ("/old/*", "/old/x", Some("splat=x")),
        ("/old/*", "/old/x/", Some("splat=x/")),
        ("/old/*/", "/old/x/y/", Some("splat=x/y/")),
        ("/*", "/a/", Some("splat=a/")),
        ("/:a/*", "/x/y/", Some("a=x splat=y/")),
        ("/n/:a", "/n/x/", Some("a=x")),
        ("/n/:a/", "/n/x", Some("a=x")),
        // A star at the end of a segment.
        ("/docs/preset-*", "/docs/preset-env", Some("splat=env")),
        ("/docs/preset-*", "/docs/preset-env/x/", Some("splat=env/x/")),
        ("/docs/preset-*", "/docs/preset-", Some("splat=")),
        ("/docs/preset-*", "/docs/preset-/x", Some("splat=x")),
        ("/docs/preset-*", "/docs/preset", None),
        ("/docs/preset-*/", "/docs/preset-env/", Some("splat=env/")),
        ("/w*", "/w", Some("splat=")),
        ("/w*", "/w/", Some("splat=")),
        ("/w*", "/w/x/", Some("splat=x/")),
        ("/w*/x", "/w/x/", Some("splat=")),
        ("/w*/:x", "/w/a/b", Some("splat=a x=b")),
        ("/x/y*/z", "/x/y/z", Some("splat=")),
        ("/x/y*/z", "/x/ya/b/z/", Some("splat=a/b")),
        ("/x/y*/z", "/x/yz", None),
        ("/x/y*/:b", "/x/y1/2/z/", Some("splat=1/2 b=z")),
        ("/:b/y*", "/x/y1/", Some("b=x splat=1/")),
        // A star as a segment is optional.
        ("/x/*/y", "/x/a/y", Some("splat=a")),
        ("/x/*/y", "/x/a/b/y/", Some("splat=a/b")),
        ("/x/*/y", "/x/y", Some("splat=")),
        ("/x/*/y", "/x/a/y/c", None),
        ("/x/*/:b", "/x/1/2/z", Some("splat=1/2 b=z")),
        ("/x/*/:b", "/x/z/", Some("splat= b=z")),
        // Of several stars, the first match is longest, and is the splat.
        ("/x/*/y/*", "/x/a/y/b/y/c", Some("splat=a/y/b")),
        ("/x/*/y/*", "/x/y", Some("splat=")),
        ("/*/y*", "/a/c/yb/d", Some("splat=a/c")),
        ("/*/y*", "/yb", Some("splat=")),
        ("/a*/b*", "/ax/b/b/by/c/", Some("splat=x/b/b")),
        ("/a*/b*", "/axbby", None),
        ("/x*/*", "/xa/b/", Some("splat=a/b/")),
        // A star is special at the end of a segment alone.
        ("/a**", "/a*x", Some("splat=x")),
        ("/a**", "/ax", None),
        ("/n/*a*", "/n/*ay", Some("splat=y")),
        ("/*.php", "/a.php", None),
        ("/*.php", "/*.php", Some("")),
        ("/a*b/c", "/axb/c", None),
        // The whole segment is a name.
        ("/n/:post-slug", "/n/x", Some("post-slug=x")),
        ("/n/:a.html", "/n/x.html", Some("a.html=x.html")),
        ("/n/:a-:b", "/n/x-y", Some("a-:b=x-y")),
        ("/n/:1", "/n/x", Some("1=x")),
        ("/n/:", "/n/x", None),
        ("/n/:", "/n/:", Some("")),
        ("/n/x:a", "/n/xy", None),
        // Characters of regular expressions have no special meaning.
        ("/n/(a|b)?[c]+.{2}^$", "/n/(a|b)?[c]+.{2}^$", Some("")),
        ("/n/a.c", "/n/abc", None),
        ("/n/a+*", "/n/a+b", Some("splat=b")),
    ] {
        assert_eq!(found(Dialect::Netlify, pattern, path).as_deref(), expected, "{pattern} {path}");
    }
    // Fields are compared with the same paths.
    assert_eq!(found(Dialect::NetlifyHeaders, "/a/*", "/a/x/").as_deref(), Some("splat=x/"));
    assert_eq!(found(Dialect::NetlifyHeaders, "/a/*/b", "/a/x/b/").as_deref(), Some("splat=x"));
}

#[test]
fn a_star_that_is_none_is_told_apart() {
    for (path, is_plain) in [
        ("/", false),
        ("/*", false),
        ("/*/", false),
        ("/a*/*/:b/c*", false),
        ("/*.php", true),
        ("/a*b/c", true),
        ("/a**", true),
        ("/:a*/b", true),
    ] {
        assert_eq!(has_plain_star(path), is_plain, "{path}");
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
