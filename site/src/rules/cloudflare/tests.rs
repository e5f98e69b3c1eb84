//! Tables of Cloudflare files and their results, from its documentation and from the tests of its parsers.

use devanture_config::site_toml::HtmlHandling;
use proptest::prelude::*;

use crate::rules::expected::{assert_findings, hint};
use crate::rules::headers::Change;
use crate::rules::{Findings, HeaderRule, Redirect};

fn redirects(text: &str) -> (Vec<String>, Findings) {
    redirects_with(text, None)
}

fn redirects_with(text: &str, html_handling: Option<HtmlHandling>) -> (Vec<String>, Findings) {
    let mut findings = Findings::default();
    let rules = super::redirects(text, html_handling, &mut findings);
    for rule in &rules {
        assert!(rule.force && rule.follows_html_handling && rule.is_unconditional(), "{rule:?}");
    }
    (rules.iter().map(shown).collect(), findings)
}

/// `line from > to status`
fn shown(rule: &Redirect) -> String {
    format!("{} {} > {} {}", rule.at.line, rule.from, rule.to, rule.status)
}

fn headers(text: &str) -> (Vec<String>, Findings) {
    let mut findings = Findings::default();
    let rules = super::headers(text, &mut findings);
    (rules.iter().map(block).collect(), findings)
}

/// `line path; name: value; ! name`, a value with capture placeholders in brackets
fn block(rule: &HeaderRule) -> String {
    let mut shown = format!("{} {}", rule.at.line, rule.path);
    for change in &rule.changes {
        match change {
            Change::Set { name, value } if value.is_constant() => shown.push_str(&format!("; {name}: {value}")),
            Change::Set { name, value } => shown.push_str(&format!("; {name}: [{value}]")),
            Change::Remove(name) => shown.push_str(&format!("; ! {name}")),
        }
    }
    assert!(rule.users.is_empty());
    shown
}

#[test]
fn redirects_are_read_as_cloudflares_documentation_writes_them() {
    // developers.cloudflare.com, "Redirects" of Workers' static assets and of Pages, and cloudflare/workers-sdk,
    // packages/workers-shared, utils/tests/parseRedirects.valid.test.ts.
    for (text, rules) in [
        ("/a /b 301", &["1 /a > /b 301"][..]),
        ("\n  /a\t/b 301 \r\n# c\n/c /d", &["2 /a > /b 301", "4 /c > /d 302"]),
        ("/a /b # note", &["1 /a > /b 302"]),
        ("/a /b 308 #note", &["1 /a > /b 308"]),
        ("/a /b?query=string 302", &["1 /a > /b?query=string 302"]),
        ("/a /b##blah-1 302", &["1 /a > /b##blah-1 302"]),
        ("/a https://example.com/b##blah-1", &["1 /a > https://example.com/b##blah-1 302"]),
        (
            "/ext https://some.domain:1234/route?q=string#anchor",
            &["1 /ext > https://some.domain:1234/route?q=string#anchor 302"],
        ),
        ("/cat https://cat.com:12345 307", &["1 /cat > https://cat.com:12345/ 307"]),
        ("/foo https://bar.com/index.html", &["1 /foo > https://bar.com/index.html 302"]),
        ("/a /b 200\n/c /d 303", &["1 /a > /b 200", "2 /c > /d 303"]),
        ("/* /foo 200", &["1 /* > /foo 200"]),
        ("/some%20page /somewhere%20else", &["1 /some%20page > /somewhere%20else 302"]),
        ("/://so;`me /nons:/&@%+~{}ense", &["1 /://so;%60me > /nons:/&@%+~%7B%7Dense 302"]),
        ("yeah.com https://nah.com", &["1 /yeah.com > https://nah.com/ 302"]),
        ("/ü/../x/./y /z/../w", &["1 /x/y > /w 302"]),
        ("/blog/* https://blog.my.domain/:splat", &["1 /blog/* > https://blog.my.domain/:splat 302"]),
        ("/movies/:title /media/:title 301", &["1 /movies/:title > /media/:title 301"]),
        ("/a*b /c/:splat", &["1 /a*b > /c/:splat 302"]),
        // Rules of a single path come first, unless preceded by a rule with `*` or `:name`.
        ("/a /b\n/c/* /d\n/e /f\n/:g /h", &["1 /a > /b 302", "2 /c/* > /d 302", "3 /e > /f 302", "4 /:g > /h 302"]),
        ("/a /b\n/b /a", &["1 /a > /b 302", "2 /b > /a 302"]),
    ] {
        let (found, findings) = redirects(text);
        assert_eq!(found, rules, "{text}");
        assert_findings(text, &findings, &[]);
    }
}

#[test]
fn redirects_that_cannot_be_read_are_mistakes_and_do_not_stop_the_rest() {
    // cloudflare/workers-sdk, packages/workers-shared, utils/tests/parseRedirects.invalid.test.ts.
    for (line, expected) in [
        ("/c", "this line has 1"),
        ("/c # d", "this line has 1"),
        ("/d /e 302 !important", "this line has 4"),
        ("/some page /somewhere else", "this line has 4"),
        ("/c /d 418", "`418` is not a status"),
        ("/c /d 404", "`404` is not a status"),
        ("/c /d 302!", "`302!` is not a status"),
        ("/c /d Country=us", "`Country=us` is not a status"),
        ("/c d", "neither a path"),
        ("/c javascript:alert(1)", "another scheme"),
        ("/c ftp://x.example/", "another scheme"),
        ("/c https://", "no host"),
        ("/c https://user@x.example/", "no host"),
    ] {
        let text = format!("# first\n{line}\n/x /y");
        let (found, findings) = redirects(&text);
        assert_eq!(found, ["3 /x > /y 302"], "{line}");
        assert_findings(&text, &findings, &[(2, 'm', expected)]);
    }
}

#[test]
fn redirects_that_cloudflare_drops_or_cuts_are_doubts() {
    // The same tests, and the application of rules by packages/asset-worker.
    for (text, rules, expected) in [
        ("https://yeah.com https://nah.com", &[][..], &[(1, 'd', "for a host")][..]),
        ("http://yeah.com/x /y", &[], &[(1, 'd', "for a host")]),
        ("/c?this=rejected /d 301", &["1 /c > /d 301"], &[(1, 'd', "holds for every `/c`")]),
        ("/c#x /d 301", &["1 /c > /d 301"], &[(1, 'd', "holds for every `/c`")]),
        ("/a http://x.example/y", &[], &[(1, 'd', "leads to a path or to https://")]),
        ("/a HTTPS://x.example/y", &[], &[(1, 'd', "leads to a path or to https://")]),
        ("/a /b\n/b /a\n/a /c", &["1 /a > /b 302", "2 /b > /a 302"], &[(3, 'd', "line 1 has the path `/a`")]),
        ("/a https://example.com/b 200", &[], &[(1, 'd', "cannot lead to another site")]),
        // The path is already taken.
        ("/a https://example.com/b 200\n/a /c", &[], &[(1, 'd', "another site"), (2, 'd', "line 1 has the path")]),
        ("/* /index.html 200", &[], &[(1, 'd', "would lead to itself")]),
        ("/* /index", &[], &[(1, 'd', "would lead to itself")]),
        ("/app/* /app/index.html 200", &[], &[(1, 'd', "would lead to itself")]),
        ("/ /index.html\n/ /index", &[], &[(1, 'd', "would lead to itself"), (2, 'd', "would lead to itself")]),
        ("/* https://x.example/index.html", &["1 /* > https://x.example/index.html 302"], &[]),
        ("/* /index.html?x 200", &["1 /* > /index.html?x 200"], &[]),
        // A line dropped later has been counted and has made the following lines dynamic.
        ("/*/x/* /y\n/a /b", &["2 /a > /b 302"], &[(1, 'd', "`*` can stand in it only once")]),
        ("/:a/:a /y", &[], &[(1, 'd', "`:a` can stand in it only once")]),
        ("/:splat/* /y", &[], &[(1, 'd', "`*` can stand in it only once")]),
        ("/100% /y", &[], &[(1, 'd', "no path matches it")]),
        ("/a/* /b/*", &["1 /a/* > /b/* 302"], &[(1, 'd', "stays a `*`")]),
        ("/a /b/:rest", &["1 /a > /b/:rest 302"], &[(1, 'd', "`:rest` stays")]),
        ("/a //evil.example", &["1 /a > //evil.example 302"], &[(1, 'd', "not to another host")]),
    ] {
        let (found, findings) = redirects(text);
        assert_eq!(found, rules, "{text}");
        assert_findings(text, &findings, expected);
    }
}

#[test]
fn a_folder_may_lead_to_its_page_where_no_page_is_redirected() {
    // parseRedirects.invalid.test.ts: "should allow root patterns to index when HTML handling disabled".
    let text = "/* /index.html 200\n/* /index 200\n/ /index.html\n/ /index";
    for html_handling in [HtmlHandling::None, HtmlHandling::AsIs] {
        let (found, findings) = redirects_with(text, Some(html_handling));
        assert_eq!(found, ["3 / > /index.html 302"]);
        assert_findings(
            text,
            &findings,
            &[(1, 'd', "would lead to itself"), (2, 'd', "would lead to itself"), (4, 'd', "line 3 has the path")],
        );
    }
    assert!(redirects_with(text, Some(HtmlHandling::AutoTrailingSlash)).0.is_empty());
}

#[test]
fn no_more_rules_are_taken_than_cloudflare_takes() {
    // parseRedirects.invalid.test.ts: "should reject a combination of lots of static and dynamic rules".
    let statics = (0..2_050).map(|n| format!("/a/{n} /b/{n}\n"));
    let dynamics = (0..150).map(|n| format!("/a/{n}/* /b/{n}/:splat\n"));
    let (found, findings) = redirects(&statics.chain(dynamics).chain(["/z /y\n".to_owned()]).collect::<String>());
    assert_eq!(found.len(), 2_100);
    assert_eq!(
        (found[1_999].as_str(), found[2_000].as_str()),
        ("2000 /a/1999 > /b/1999 302", "2051 /a/0/* > /b/0/:splat 302",)
    );
    assert_eq!(findings.0.len(), 51);
    assert!(findings.0[..50].iter().all(|finding| finding.message.contains("2000 rules for one path each")));
    assert_eq!(findings.0[50].line, 2_151);
    assert!(findings.0[50].message.contains("all below are dropped"));
    // A rule of a single path below the first dynamic rule is dynamic.
    let many = (0..150).map(|n| format!("/{n} /x\n")).collect::<String>();
    assert_eq!(redirects(&format!("/* /x\n{many}")).0.len(), 100);
    // Lines that fail a later step count, too.
    let bad = "/a/* /b 418\n".repeat(100);
    assert!(redirects(&format!("{bad}/c/* /d")).0.is_empty());
    let long = format!("/a /{}", "b".repeat(2_000));
    assert_findings(&long, &redirects(&long).1, &[(1, 'd', "2000 characters")]);
    assert!(redirects(&format!("# {long}")).1.0.is_empty());
}

#[test]
fn hints_say_what_to_write() {
    for (text, hinted) in [
        (
            "/* /index.html 200",
            "remove the line: `not_found = \"single-page-application\"` in devanture.toml does what was meant",
        ),
        ("/app/* /app/index.html 200", "write `/app/`"),
        ("/ /index.html", "`/` shows the page by itself"),
        ("/c", "write `/c /where-to`"),
        ("/c /d 302!", "`rules = \"netlify\"`"),
        ("/ /de 302 Language=de", "`rules = \"netlify\"`"),
        ("/c d", "write `/d`"),
        ("https://x.example/a/b /c", "write `/a/b /c`"),
        ("/a http://x.example/y", "write `https://x.example/y`"),
        ("/a https://example.com/b 200", "`[[rewrites]]`"),
    ] {
        let (_, findings) = redirects(text);
        assert!(hint(&findings).contains(hinted), "{text}: {}", hint(&findings));
    }
    let (_, findings) = headers("/a\n  !x-content-type");
    assert_eq!(hint(&findings), "write `! x-content-type`");
}

#[test]
fn headers_are_read_as_cloudflares_documentation_writes_them() {
    // developers.cloudflare.com, "Headers" of Workers' static assets and of Pages, and cloudflare/workers-sdk,
    // packages/workers-shared, utils/tests/parseHeaders.valid.test.ts.
    for (text, rules) in [
        ("/a\n  Name: Value", &["1 /a; name: Value"][..]),
        ("/a\n  !Name: Value", &["1 /a; !name: Value"]),
        ("\n/a\n\nName: Value\n\n", &["2 /a; name: Value"]),
        ("      /a\n  Name    :   Value\r\n", &["1 /a; name: Value"]),
        ("# c\n/a\n  # d\n  Name: Value", &["2 /a; name: Value"]),
        ("/a\n  B: x,y\n  C: :z\n  b: z\n/b\n  A: ABBA", &["1 /a; b: x,y, z; c: :z", "5 /b; a: ABBA"]),
        ("/a\n  Name: Value\n  ! Place", &["1 /a; ! place; name: Value"]),
        ("https://example.com\n  a: a\n/blog\n  d:d", &["1 https://example.com/; a: a", "3 /blog; d: d"]),
        (
            "https://:project.pages.dev/*\n  X-Robots-Tag: noindex",
            &["1 https://:project.pages.dev/*; x-robots-tag: noindex"],
        ),
        ("https://:subdomain.example.*/path\n  e:e", &["1 https://:subdomain.example.*/path; e: e"]),
        (
            "/movies/:title\n  x-movie-name: You are watching \":title\" :other",
            &["1 /movies/:title; x-movie-name: [You are watching \":title\" :other]"],
        ),
        ("/*\n  Link: </:splat>; rel=x", &["1 /*; link: [</:splat>; rel=x]"]),
        ("/some page\n  a: b", &["1 /some%20page; a: b"]),
        ("//yeah.com/blog\n  a: b", &["1 //yeah.com/blog; a: b"]),
        (
            "/secure/page\n  X-Frame-Options: DENY\n/static/*\n  ! X-Robots-Tag",
            &["1 /secure/page; x-frame-options: DENY", "3 /static/*; ! x-robots-tag"],
        ),
    ] {
        let (found, findings) = headers(text);
        assert_eq!(found, rules, "{text}");
        assert_findings(text, &findings, &[]);
    }
}

#[test]
fn headers_that_cannot_be_read_or_are_dropped_are_reported() {
    // cloudflare/workers-sdk, packages/workers-shared, utils/tests/parseHeaders.invalid.test.ts.
    for (text, rules, expected) in [
        ("c\nA: *", &[][..], &[(1, 'm', "before any path"), (2, 'm', "before any path")][..]),
        (
            "/b\n  I'm invalid!\n  !x-type\n  But: I'm okay!\n  ! Type: json",
            &["1 /b; but: I'm okay!"],
            &[
                (2, 'm', "neither a path nor a field"),
                (3, 'm', "neither a path nor a field"),
                (5, 'm', "holds no space"),
            ],
        ),
        ("/b\n  :\n  test:\n  a: b", &["1 /b; a: b"], &[(2, 'm', "name of the field"), (3, 'm', "value of `test`")]),
        ("/b\n  a(b): c", &[], &[(2, 'm', "cannot be the name")]),
        ("http://nah.com/blog\n  a: b\n/c\n  d: e", &["3 /c; d: e"], &[(1, 'd', "neither a path nor a URL")]),
        ("https://nah.com:8080/blog\n  a: b\n  nothing", &[], &[(1, 'd', "names a port")]),
        ("https://*.pages.dev/*\n  a: b", &[], &[(1, 'd', "`*` can stand in")]),
        ("/*/a/*\n  a: b", &[], &[(1, 'd', "`*` can stand in")]),
        ("https://*.pages.dev/:splat\n  a: b", &[], &[(1, 'd', "`*` can stand in")]),
        ("/:a/:a\n  a: b", &[], &[(1, 'd', "`:a` can stand in")]),
        ("/a\n/b\n  a: b", &["2 /b; a: b"], &[(1, 'd', "no fields")]),
        ("/b\n  a: b\n/a", &["1 /b; a: b"], &[(3, 'd', "no fields")]),
        ("/a?x\n  a: b", &["1 /a; a: b"], &[(1, 'd', "holds for every `/a`")]),
        ("/%zz\n  a: b", &[], &[(1, 'd', "no path matches it")]),
        (
            "/a\n  Content-Length: 1\n  ! Server\n  a: b",
            &["1 /a; a: b"],
            &[(2, 'd', "`Content-Length`"), (3, 'd', "`Server`")],
        ),
        ("/a\n  Basic-Auth: user:secret\n  a: b", &["1 /a; a: b"], &[(2, 'd', "show the passwords")]),
        // Of two blocks for the same path the later takes the position of the earlier.
        ("/a\n  a: b\n/b\n  c: d\n/a\n  e: f", &["5 /a; e: f", "3 /b; c: d"], &[(1, 'd', "the block of line 5")]),
        (
            "https://x.example\n  a: b\nhttps://x.example/\n  c: d",
            &["3 https://x.example/; c: d"],
            &[(1, 'd', "the block of line 3")],
        ),
        ("/a\n  Set-Cookie: a=b\n  Set-Cookie: c=d", &["1 /a; set-cookie: a=b, c=d"], &[(3, 'd', "one cookie")]),
    ] {
        let (found, findings) = headers(text);
        assert_eq!(found, rules, "{text}");
        assert_findings(text, &findings, expected);
        assert!(!findings.0.iter().any(|finding| finding.to_string().contains("secret")), "{text}");
    }
}

#[test]
fn no_more_blocks_are_taken_than_cloudflare_takes() {
    // parseHeaders.invalid.test.ts: "should reject any rules after the first 100", and lines of more than 2,000.
    let text = (0..150).map(|n| format!("/a/{n}\nx-index: {n}\n")).collect::<String>();
    let (found, findings) = headers(&text);
    assert_eq!((found.len(), found[100].as_str()), (101, "201 /a/100; x-index: 100"));
    assert_findings("many", &findings, &[(203, 'd', "all below are dropped")]);
    let text = format!("/b\n  Name: Value\n  {}: c", "a".repeat(2_000));
    let (found, findings) = headers(&text);
    assert_eq!(found, ["1 /b; name: Value"]);
    assert_findings("long", &findings, &[(3, 'd', "2000 characters")]);
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "([/a:*!#?=&.%é ~\r\n-]|http|s?://|30[12]|index|:splat){0,40}") {
        let lines = text.split('\n').count();
        for findings in [redirects(&text).1, headers(&text).1] {
            for finding in &findings.0 {
                prop_assert!((1..=lines).contains(&finding.line), "{finding}");
            }
            prop_assert!(findings.0.is_sorted_by_key(|finding| finding.line));
        }
    }

    #[test]
    fn a_line_that_is_written_by_the_book_has_its_parts(
        from in "/[a-z]{1,8}(/:[a-z]{1,4}|/\\*)?",
        to in "(https://[a-z]{1,8}\\.example(:[1-9][0-9]{0,3})?)?/[A-Z]{1,8}(\\?[a-z]=[a-z])?(#[a-z]{1,3})?",
        status in proptest::option::of(proptest::sample::select(&[301_u16, 302, 303, 307, 308][..])),
        comment in "( #[ a-z]{0,8})?",
        space in "[ \t]{1,4}",
    ) {
        let expected = status.map_or_else(String::new, |status| format!("{space}{status}"));
        let (found, findings) = redirects(&format!("{from}{space}{to}{expected}{comment}"));
        prop_assert_eq!(found, [format!("1 {from} > {to} {}", status.unwrap_or(302))]);
        prop_assert!(findings.0.is_empty(), "{:?}", findings);
    }

    #[test]
    fn a_block_that_is_written_by_the_book_has_its_fields(
        path in "(https://[a-z]{1,8}\\.example)?/[a-z]{1,8}(/\\*)?",
        fields in proptest::collection::btree_map("x-[a-z]{1,8}", "[!-~]([ -9;-~]{0,20}[!-~])?", 1..5),
        removed in "r-[a-z]{1,8}",
    ) {
        let text = fields.iter().fold(path.clone(), |text, (name, value)| format!("{text}\n  {name}: {value}"));
        let (found, findings) = headers(&format!("{text}\n  ! {removed}"));
        let first = format!("1 {path}; ! {removed}");
        let shown = fields.iter().fold(first, |text, (name, value)| format!("{text}; {name}: {value}"));
        prop_assert_eq!(found, [shown]);
        prop_assert!(findings.0.is_empty(), "{:?}", findings);
    }
}
