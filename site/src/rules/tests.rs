//! Tests of the bounds on the rules of a site, so that no request costs more than a few milliseconds (law 11).

use std::fmt::Write as _;

use devanture_config::parsing::Mistake;
use devanture_config::site_toml::{Rules, Serving};
use http::{HeaderMap, HeaderValue};

use super::{Access, At, CompiledRules, RuleSet, Sources, Visitor, read};

fn read_as(meaning: Rules, redirects: &str, headers: &str) -> (RuleSet, Vec<Mistake>) {
    let serving = Serving::default();
    let at = |_, _| At::whole("devanture.toml");
    let (redirects, headers) = (Some(redirects.as_bytes()), Some(headers.as_bytes()));
    let site_file = "devanture.toml";
    read(&Sources { serving: &serving, meaning, redirects, headers, rules_max: 10_000, site_file, at: &at })
}

fn compiled(redirects: &str, headers: &str) -> CompiledRules {
    let (rules, mistakes) = read_as(Rules::Netlify, redirects, headers);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    CompiledRules::new(rules)
}

/// The target of the rules for `path`.
fn led(rules: &CompiledRules, path: &str) -> Option<String> {
    let visitor = Visitor { host: Some("shop.localhost"), ..Visitor::default() };
    rules.redirect(&visitor, path, None).rule.map(|(_, _, filled)| filled.location(None))
}

#[test]
fn law_11_a_rule_has_at_most_64_captures_and_64_places_for_them() {
    let named = |count: usize| (0..count).fold(String::new(), |path, number| path + &format!("/:n{number}"));
    let cases = [
        (format!("{} /x", named(64)), true),
        (format!("{} /x", named(65)), false),
        (format!("/a/:n {}", "/:n".repeat(64)), true),
        (format!("/a/:n {}", "/:n".repeat(65)), false),
        (format!("/a/:n /x?{}", ":n".repeat(65)), false),
        (format!("/a b=:b {} /x", (0..64).fold(String::new(), |all, n| all + &format!(" q{n}=:q{n}"))), false),
    ];
    for (line, is_taken) in cases {
        let (rules, mistakes) = read_as(Rules::Netlify, &line, "");
        assert_eq!((rules.redirects.len(), mistakes.len()), if is_taken { (1, 0) } else { (0, 1) }, "{mistakes:?}");
        assert!(is_taken || mistakes[0].message.contains("64 are the most"), "{mistakes:?}");
    }
    let (rules, mistakes) = read_as(Rules::Cloudflare, "", &format!("/:n/x\n  X-A: {}", ":n".repeat(65)));
    assert_eq!((rules.headers.len(), mistakes.len()), (0, 1), "{mistakes:?}");
}

#[test]
fn law_11_the_conditions_of_all_rules_have_a_bound() {
    let parameters = (0..50).fold(String::new(), |all, number| all + &format!(" q{number}=1"));
    let text = (0..2_500).fold(String::new(), |mut text, number| {
        writeln!(text, "/a/{number}{parameters} /x 301 Language=de").unwrap();
        text
    });
    let (rules, mistakes) = read_as(Rules::Netlify, &text, "");
    // Each has 50 parameters, one language and two segments.
    assert_eq!(rules.redirects.len(), 100_000 / 53);
    assert_eq!(mistakes.len(), 2_500 - 100_000 / 53);
    assert!(mistakes[0].message.contains("100000 parameters"), "{:?}", mistakes[0]);
    // Without conditions, rules cost one lookup.
    let text = (0..10_000).fold(String::new(), |text, number| text + &format!("/a/b/c/d/e/f/g/h/i/j/k/{number} /x\n"));
    let (rules, mistakes) = read_as(Rules::Netlify, &text, "");
    assert_eq!((rules.redirects.len(), mistakes.len()), (10_000, 0));
}

#[test]
fn law_11_patterns_of_parts_of_segments_have_a_bound_on_what_they_cost_together() {
    let names = (0..49).fold(String::new(), |all, n| all + &format!("/:n{n}"));
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).fold(String::new(), |all, n| all + &line(n));
    let named = |n: usize| format!("/*/*/*{names}/:m{n}/*x*x*x*\n  X: 1\n");
    let long = |n: usize| format!("/{}{n}*\n  X: :splat\n", "x".repeat(490));
    let guard = |n: usize| format!("/*x{n}*\n  Basic-Auth: ann:one\n");
    let short = |n: usize| format!("/x{n}/*/y.:ext /y/:splat.:ext 301\n");
    // The shortest rules always fit, with all their captures.
    for (meaning, redirects, headers, taken) in [
        (Rules::Cloudflare, lines(100, &short), String::new(), 100),
        (Rules::Netlify, String::new(), lines(100, &named), 100),
        (Rules::Cloudflare, String::new(), lines(100, &long), 44),
        (Rules::Netlify, String::new(), lines(100, &guard), 60),
    ] {
        let (rules, mistakes) = read_as(meaning, &redirects, &headers);
        let guards = rules.headers.iter().filter(|rule| !rule.users.is_empty()).count();
        // A password is still required: for the folder.
        assert_eq!(rules.redirects.len() + rules.headers.len(), if guards > 0 { 100 } else { taken }, "{mistakes:?}");
        assert_eq!(mistakes.len(), 100 - taken, "{mistakes:?}");
        assert!(mistakes.iter().all(|mistake| mistake.message.contains("may cost 1200 together")), "{mistakes:?}");
        let rules = CompiledRules::new(rules);
        let stranger = |path: &str| rules.access("shop.localhost", path, None);
        assert_eq!(stranger("/ax99y") == Access::Refused, guards > 0);
        assert_eq!(stranger("/a") == Access::Refused, guards > 0);
    }
}

#[test]
fn law_11_a_path_too_long_for_patterns_of_parts_of_segments_is_seen_by_nobody() {
    let (rules, _) = read_as(Rules::Netlify, "", "/*x.html\n  Basic-Auth: ann:one\n/b/*\n  X: 1");
    let rules = CompiledRules::new(rules);
    let path = |length: usize| format!("/{}", "y".repeat(length - 1));
    assert!(rules.can_compare(&path(2_048)) && !rules.can_compare(&path(2_049)));
    assert_eq!(rules.access("shop.localhost", &path(2_048), None), Access::Everybody);
    assert_eq!(rules.access("shop.localhost", &path(4_097), None), Access::Refused);
    let rules = compiled("", "/b/*\n  X: 1");
    assert!(rules.can_compare(&path(60_000)));
    // A pattern of a host is not compared with paths.
    let (rules, mistakes) = read_as(Rules::Cloudflare, "", "https://:sub.example.org/y/:page\n  X: :sub");
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let rules = CompiledRules::new(rules);
    let path = format!("/y{}", path(60_000));
    assert!(rules.can_compare(&path));
    assert!(!rules.fields("a.example.org", &path).is_empty() && rules.fields("a.b.example.org", &path).is_empty());
}

#[test]
fn of_a_path_and_of_a_query_what_they_capture_is_used_whatever_their_conditions_are() {
    let rules = compiled("/:a/:b/* id=:id /:a/:b/:splat/:id 301 Cookie=beta\n/:a/:b/* /:b/:a 301", "");
    let led = |query: &str, cookie: &str| {
        let (query, cookie) = (Some(query), Some(cookie.as_bytes()));
        let visitor = Visitor { host: Some("shop.localhost"), query, cookie, ..Visitor::default() };
        rules.redirect(&visitor, "/x/y/z/w", None).rule.map(|(_, _, filled)| filled.location(None))
    };
    assert_eq!(led("id=7", "beta=1").as_deref(), Some("/x/y/z/w/7"));
    assert_eq!(led("id=7", "other=1").as_deref(), Some("/y/x"));
    assert_eq!(led("id=7&c=8", "beta=1").as_deref(), Some("/y/x"));
}

#[test]
fn law_11_rules_that_may_hold_for_one_path_have_a_bound_in_segments_fields_and_users() {
    let removed = |path: &str| format!("{path}\n{}", "  ! X-A\n".repeat(499));
    let blocks = |count: usize, path: &dyn Fn(usize) -> String| {
        (0..count).fold(String::new(), |all, number| all + &removed(&path(number)) + &format!("  ! X-{}\n", number % 9))
    };
    for (headers, taken) in [
        (blocks(300, &|number| format!("/:a/{number}/*")), 199),
        (blocks(300, &|number| format!("/a/{number}/*")), 199),
        (blocks(300, &|number| format!("/{number}/a/*")), 300),
        (blocks(300, &|number| format!("/a/{number}")), 300),
    ] {
        let (rules, mistakes) = read_as(Rules::Netlify, "", &headers);
        assert_eq!((rules.headers.len(), mistakes.len()), (taken, 300 - taken), "{:?}", mistakes.first());
        assert!(mistakes.iter().all(|mistake| mistake.message.contains("100000 segments")), "{mistakes:?}");
    }
}

#[test]
fn what_is_taken_away_twice_is_away_until_it_is_set_again() {
    let headers = "/*\n  X-A: 1\n/*\n  ! X-A\n/a/*\n  ! X-A\n/a/b/*\n  X-A: 2\n/a/b/c/*\n  ! X-A";
    let rules = compiled("", headers);
    for (path, expected) in [("/", None), ("/a/x", None), ("/a/b/x", Some("2")), ("/a/b/c/x", None)] {
        let mut fields = HeaderMap::from_iter([("x-a".parse().unwrap(), HeaderValue::from_static("0"))]);
        rules.fields("shop.localhost", path).apply(&mut fields);
        assert_eq!(fields.get("x-a").map(|value| value.to_str().unwrap()), expected, "{path}");
    }
}

#[test]
fn of_many_rules_that_take_one_path_the_first_counts() {
    // The index finds the rules of short paths first.
    let text =
        (0..100).rev().fold(String::new(), |text, depth| text + &format!("{}/* /depth/{depth}\n", "/a".repeat(depth)));
    let rules = compiled(&text, "");
    assert_eq!(led(&rules, &"/a".repeat(99)).unwrap(), "/depth/99");
    assert_eq!(led(&rules, &"/a".repeat(40)).unwrap(), "/depth/40");
    assert_eq!(led(&rules, "/b").unwrap(), "/depth/0");
}

#[test]
fn law_11_rules_whose_captures_make_no_address_end_the_search_in_time() {
    let long = format!("/x/{}", "y".repeat(5_000));
    let failing = |count: usize| (0..count).fold(String::new(), |text, n| text + &format!("/x/* /{n}/:splat/:splat\n"));
    let few = compiled(&(failing(31) + "/x/* /short"), "");
    assert_eq!(led(&few, &long).unwrap(), "/short");
    assert_eq!(led(&few, "/x/y").unwrap(), "/0/y/y");
    let many = compiled(&(failing(1_000) + "/x/* /short"), "");
    assert_eq!(led(&many, &long), None);
    assert_eq!(led(&many, "/x/y").unwrap(), "/0/y/y");
}

#[test]
fn law_11_values_that_grow_too_long_end_what_rules_set_in_one_answer() {
    let mut text = "/x/*\n".to_owned();
    for number in 0..10 {
        writeln!(text, "  X-Long-{number}: :splat:splat").unwrap();
    }
    writeln!(text, "  X-Last: 1\n  ! X-Known").unwrap();
    let (rules, mistakes) = read_as(Rules::Cloudflare, "", &text);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let rules = CompiledRules::new(rules);
    let fields = |path: &str| {
        let mut headers = HeaderMap::from_iter([("x-known".parse().unwrap(), HeaderValue::from_static("1"))]);
        rules.fields("shop.localhost", path).apply(&mut headers);
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(fields("/x/y").len(), 11);
    // Removals still apply.
    assert_eq!(fields(&format!("/x/{}", "y".repeat(5_000))), Vec::<String>::new());
}
