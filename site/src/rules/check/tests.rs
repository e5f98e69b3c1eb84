//! Tables of rules and their findings.

use devanture_config::parsing::Weight;

use super::*;
use crate::rules::At;
use crate::rules::pattern::Dialect;
use crate::rules::redirect::Target;

const FILES: [&str; 3] = ["/index.html", "/app/index.html", "/there"];

/// Rules of lines `from to status`, in which `!` forces and `?` makes a rule for some visitors alone.
fn rules(file: &str, dialect: Dialect, text: &str) -> RuleSet {
    let rule = |(line, text): (usize, &str)| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let from = Pattern::parse(words[0], dialect).unwrap();
        let to = Target::parse(words[1], &from.names()).unwrap();
        let status = words.get(2).copied().unwrap_or("301");
        Redirect {
            at: At { file: file.into(), line: line + 1 },
            from,
            query: Box::default(),
            to,
            status: status.trim_matches(['!', '?']).parse().unwrap(),
            force: status.ends_with('!'),
            languages: if status.ends_with('?') { ["de".to_owned()].into() } else { Box::default() },
            cookies: Box::default(),
            is_unknowable: false,
            host: None,
            follows_html_handling: false,
        }
    };
    let lines = text.split(';').map(str::trim).enumerate();
    RuleSet { redirects: lines.map(rule).collect(), ..RuleSet::default() }
}

fn serving() -> Serving {
    let text = r#"{
        "routes": [{"path": "/api/*", "to": "https://routed.example"}, {"path": "/hook", "to": "http://127.0.0.1:1"}],
        "upstreams": {"declared": "https://declared.example"}
    }"#;
    serde_json::from_str(text).unwrap()
}

fn found_in(rules: &RuleSet) -> Vec<Mistake> {
    check(rules, &serving(), &|path| FILES.contains(&path))
}

/// Compares line, weight and words of each finding in a file of Netlify's meaning.
#[track_caller]
fn hold(file: &str, text: &str, expected: &[(usize, Weight, &str)]) {
    let found = found_in(&rules(file, Dialect::Netlify, text));
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, (line, weight, words))| {
            found.line == *line && found.weight == *weight && found.message.contains(words)
        });
    assert!(fits, "{text}: {found:#?}");
}

#[test]
fn a_circle_is_found_and_reported_by_its_way() {
    use Weight::{Doubt, Mistake};
    for (text, words) in [
        ("/a /b; /b /a", "/a → /b → /a"),
        ("/a /b; /b /c; /c /b", "/b → /c → /b"),
        ("/a /a/", "/a → /a/"),
        ("/:x /fixed", "/fixed → /fixed"),
        ("/a /b?x=1; /b /a#y", "/a → /b → /a"),
        ("/caf%C3%A9 /café", "/café → /café"),
        ("/there /there!; /there /x", ""),
    ] {
        let text = text.replace("/there!", "/there 301!");
        let found = found_in(&rules("devanture.toml", Dialect::Netlify, &text));
        let circle = found.iter().find(|found| found.message.contains("circle"));
        let circle = circle.unwrap_or_else(|| panic!("{text}: {found:#?}"));
        assert!(circle.weight == Mistake && circle.message.contains(words), "{text}: {found:#?}");
        let found = found_in(&rules("_redirects", Dialect::Netlify, &text));
        assert!(found.iter().all(|found| found.weight == Doubt), "{text}: {found:#?}");
    }
}

#[test]
fn what_leads_on_for_ever_is_a_doubt_and_reported_once() {
    use Weight::Doubt;
    hold("devanture.toml", "/* /en/:splat", &[(1, Doubt, "/some-page → /en/some-page → /en/en/some-page")]);
    hold("_redirects", "/old /new; /* /en/:splat", &[(2, Doubt, "for ever")]);
}

#[test]
fn a_rule_from_http_to_https_of_one_host_is_a_doubt() {
    let found = found_in(&rules("_redirects", Dialect::Netlify, "http://a.example/* https://a.example/:splat 301!"));
    assert_eq!(found[0].hint.as_deref(), Some("http is redirected to https without a rule"), "{found:#?}");
}

#[test]
fn rules_and_hostnames_do_not_lead_to_each_other() {
    let hostnames = |canonical: &str| -> Serving {
        let canonical = if canonical.is_empty() { String::new() } else { format!(r#""canonical": "{canonical}","#) };
        let names = r#"["*.example.org", "example.org", "www.example.org", "b\u00fccher.example"]"#;
        serde_json::from_str(&format!(r#"{{{canonical} "hostnames": {names}}}"#)).unwrap()
    };
    // The canonical name, a rule, and the finding: `circle`, `never asked` or empty.
    #[rustfmt::skip]
    let cases = [
        ("",                "https://example.org/* https://www.example.org/:splat 301!", "circle"),
        ("",                "http://example.org/* https://www.example.org/:splat 301!",  "circle"),
        ("",                "/* https://www.example.org/:splat 301!",                    "circle"),
        ("",                "/a https://www.example.org/a",                              "circle"),
        ("",                "/* https://b\u{fc}cher.example/:splat",                     "circle"),
        ("www.example.org", "/* https://example.org/:splat",                             "circle"),
        ("",                "https://www.example.org/* https://example.org/:splat 301!", "never asked"),
        ("www.example.org", "https://example.org/* https://www.example.org/:splat 301!", "never asked"),
        ("",                "https://xn--bcher-kva.example/a /b",                        "never asked"),
        ("www.example.org", "/* https://www.example.org/:splat",                         ""),
        ("none",            "https://example.org/* https://www.example.org/:splat 301!", ""),
        ("",                "/a https://www.example.org/b",                              ""),
        ("",                "/a https://www.example.org/a?x=1",                          ""),
        ("",                "/* https://www.example.org/:splat 301?",                    ""),
        ("",                "/* https://shop.example.org/:splat",                        ""),
        ("",                "https://other.example/* https://www.example.org/:splat",    ""),
    ];
    for (canonical, text, words) in cases {
        for (file, weight) in [("devanture.toml", Weight::Mistake), ("_redirects", Weight::Doubt)] {
            let found = check(&rules(file, Dialect::Netlify, text), &hostnames(canonical), &|_| false);
            let weight = if words == "circle" { weight } else { Weight::Doubt };
            let fits = match words {
                "" => found.is_empty(),
                words => found.len() == 1 && found[0].message.contains(words) && found[0].weight == weight,
            };
            assert!(fits, "{canonical} {text}: {found:#?}");
        }
    }
}

#[test]
fn what_ends_is_no_circle() {
    for text in [
        "/a /there; /there /a",
        "/a /b 301?; /b /a",
        "/a /api/x",
        "/a /b; /b https://other.example/a",
        "/a /b; /b /index.html 200",
        "/blog/* /:splat",
        "/x/* /:splat; /y/* /x/:splat",
        "https://a.example/* https://b.example/:splat; https://b.example/* https://a.example/:splat",
        "http://a.example/* https://www.a.example/:splat 301!",
        "http://a.example/old https://a.example/new 301!",
    ] {
        hold("devanture.toml", text, &[]);
    }
    let long: Vec<String> = (0..40).map(|n| format!("/{n} /{}", n + 1)).collect();
    hold("devanture.toml", &long.join(";"), &[]);
}

#[test]
fn a_rule_that_an_earlier_one_covers_never_applies() {
    use Weight::Doubt;
    for (text, line) in [
        ("/a /x; /a /y", 2),
        ("/a /x; /a/ /y", 2),
        ("/* /index.html 200; /a /y", 2),
        ("/* /index.html 200!; /a /y 301!", 2),
        ("/a/* /x; /b /x; /a/:id/c /y", 3),
        ("/:x/* /there; /a/b/* /y", 2),
    ] {
        hold("_redirects", text, &[(line, Doubt, "never applies")]);
    }
    for text in [
        "/a /x; /* /index.html 200",
        // A forced rule applies to an existing file, for which the earlier rule is skipped.
        "/* /index.html 200; /a /y 301!",
        "/a /x 301?; /a /y",
        "/a/* /x; /ab /y",
        "http://a.example/* https://b.example/:splat 301!; https://a.example/* https://b.example/:splat 301!",
        "/:host https://:host.up.example/; /a /y",
    ] {
        hold("_redirects", text, &[]);
    }
}

#[test]
fn a_rule_under_a_route_never_applies() {
    use Weight::Doubt;
    for from in ["/api", "/api/*", "/api/v1/:id", "/hook", "/api/:a/*"] {
        hold("_redirects", &format!("{from} /there"), &[(1, Doubt, "never applies: the route `/")]);
    }
    for from in ["/apis", "/*", "/:x", "/hook/*", "/hooks"] {
        hold("_redirects", &format!("{from} /there"), &[]);
    }
    let found = found_in(&rules("_redirects", Dialect::Cloudflare, "/api/v*/x /there; /api* /there"));
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn a_rewrite_leads_to_declared_upstreams_alone() {
    use Weight::Mistake;
    hold("_redirects", "/x/* https://declared.example/:splat 200", &[]);
    hold("_redirects", "/x/* https://routed.example:443/:splat 200!", &[]);
    hold("_redirects", "/x/* https://api.other.example/:splat 200", &[(1, Mistake, "does not declare")]);
    hold("_redirects", "/x/* http://declared.example/:splat 200", &[(1, Mistake, "does not declare")]);
    hold("_redirects", "/x/:h https://:h.up.example/ 200", &[(1, Mistake, "must be written out")]);
    hold("_redirects", "/x https://declared.example/ 404", &[(1, Weight::Doubt, "only a page of the site")]);
    let found = found_in(&rules("_redirects", Dialect::Netlify, "/x https://www.api.other.example:8443/a 200"));
    let hint = "write below [upstreams] in devanture.toml: api = \"https://www.api.other.example:8443\"";
    assert_eq!(found[0].hint.as_deref(), Some(hint));
}

#[test]
fn a_rewrite_to_a_path_that_no_file_answers_is_a_doubt() {
    use Weight::Doubt;
    hold("_redirects", "/* /index.html 200", &[]);
    hold("_redirects", "/x/* /api/:splat 200; /y /api/y 200; /z /hook 200", &[]);
    hold("_redirects", "/* /indx.html 200", &[(1, Doubt, "leads to no file")]);
    hold("_redirects", "/* /404.html 404", &[(1, Doubt, "leads to no file")]);
    hold("_redirects", "/x /nowhere 301", &[]);
}

#[test]
fn a_name_that_stands_for_nothing_is_a_doubt() {
    let found = found_in(&rules("devanture.toml", Dialect::Netlify, "/news/:year/* /blog/:yaer/:splat"));
    assert_eq!(found[0].hint.as_deref(), Some("did you mean `:year`?"), "{found:#?}");
    let none = "nothing of its path is called `:splat`";
    hold("devanture.toml", "/a /b/:splat", &[(1, Weight::Doubt, none)]);
    hold("devanture.toml", "/a/* /b/*", &[(1, Weight::Doubt, "the `*` is sent as it is")]);
    hold("devanture.toml", "/w https://en.wikipedia.org/wiki/Special:Search; /v https://a.example:8443/", &[]);
    // The parsers of files report destinations themselves.
    hold("_redirects", "/a /b/:splat", &[]);
}

#[test]
fn many_rules_are_looked_at_in_no_time() {
    let mut text: Vec<String> = (0..5_000).map(|n| format!("/old/{n} /new/{n}")).collect();
    text.extend((0..5_000).map(|n| format!("/blog/:x/{n}/* /new/:x/{n}")));
    text.push("/old/7 /again".to_owned());
    let rules = rules("_redirects", Dialect::Netlify, &text.join(";"));
    let begun = std::time::Instant::now();
    let found = found_in(&rules);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].line, 10_001);
}
