//! Tests of the bounds that hold for the rules of a site, so that no request costs more than a few milliseconds (law
//! 11).

use std::fmt::Write as _;

use devanture_config::parsing::Mistake;
use devanture_config::site_toml::{Rules, Serving};
use http::{HeaderMap, HeaderValue};

use super::{At, CompiledRules, RuleSet, Sources, Visitor, read};

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

/// Where the rules lead from `path`.
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
    // Without conditions they cost a look-up.
    let text = (0..10_000).fold(String::new(), |text, number| text + &format!("/a/b/c/d/e/f/g/h/i/j/k/{number} /x\n"));
    let (rules, mistakes) = read_as(Rules::Netlify, &text, "");
    assert_eq!((rules.redirects.len(), mistakes.len()), (10_000, 0));
}

#[test]
fn of_many_rules_that_take_one_path_the_first_counts() {
    // The index finds those of short paths first.
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
    // What is taken away is taken away all the same.
    assert_eq!(fields(&format!("/x/{}", "y".repeat(5_000))), Vec::<String>::new());
}
