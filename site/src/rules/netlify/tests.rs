//! Tables of Netlify files and their results, from its documentation and from the tests of its parsers.

use proptest::prelude::*;

use crate::rules::expected::{assert_findings, hint};
use crate::rules::headers::Change;
use crate::rules::redirect::QueryValue;
use crate::rules::{Findings, HeaderRule, Redirect};

fn redirects(text: &str) -> (Vec<String>, Findings) {
    let mut findings = Findings::default();
    let rules = super::redirects(text, 10_000, &mut findings);
    (rules.iter().map(shown).collect(), findings)
}

/// `line from [query] > to status[!] [conditions]`
fn shown(rule: &Redirect) -> String {
    let mut shown = format!("{} {}", rule.at.line, rule.from);
    for parameter in &rule.query {
        match &parameter.value {
            QueryValue::Capture(name) => shown.push_str(&format!(" {}=:{name}", parameter.name)),
            QueryValue::Text(text) => shown.push_str(&format!(" {}={text}", parameter.name)),
        }
    }
    shown.push_str(&format!(" > {} {}{}", rule.to, rule.status, if rule.force { "!" } else { "" }));
    for (name, list) in [("Language", &rule.languages), ("Cookie", &rule.cookies)] {
        if !list.is_empty() {
            shown.push_str(&format!(" {name}={}", list.join(",")));
        }
    }
    shown + if rule.is_unknowable { " never" } else { "" }
}

fn headers(text: &str) -> (Vec<String>, Findings) {
    let mut findings = Findings::default();
    let rules = super::headers(text, 10_000, &mut findings);
    (rules.iter().map(block).collect(), findings)
}

/// `line path; name: value; ! name; (user)`
fn block(rule: &HeaderRule) -> String {
    let mut shown = format!("{} {}", rule.at.line, rule.path);
    for change in &rule.changes {
        match change {
            Change::Set { name, value } => shown.push_str(&format!("; {name}: {value}")),
            Change::Remove(name) => shown.push_str(&format!("; ! {name}")),
        }
    }
    rule.users.iter().for_each(|user| shown.push_str(&format!("; ({} {})", user.name, user.password)));
    shown
}

#[test]
fn redirects_are_read_as_netlifys_documentation_writes_them() {
    // docs.netlify.com, "Redirects and rewrites" and "Redirect options", and netlify/build, packages/redirect-parser,
    // tests/line-parser.test.ts with its fixtures.
    for (text, rules) in [
        (
            "/home /\n/blog/my-post.php /blog/my-post",
            &["1 /home > / 301", "2 /blog/my-post.php > /blog/my-post 301"][..],
        ),
        ("  /home\t / \r\n\n# all\n/a /b # note", &["1 /home > / 301", "4 /a > /b 301"]),
        ("/a /b#ads", &["1 /a > /b#ads 301"]),
        ("/my-redirect / 302", &["1 /my-redirect > / 302"]),
        ("/ecommerce /store-closed 404", &["1 /ecommerce > /store-closed 404"]),
        ("/pass-through /index.html 200", &["1 /pass-through > /index.html 200"]),
        ("/gone /gone.html 410", &["1 /gone > /gone.html 410"]),
        ("/a /b 303\n/c /d 307\n/e /f 308", &["1 /a > /b 303", "2 /c > /d 307", "3 /e > /f 308"]),
        ("/news/* /blog/:splat", &["1 /news/* > /blog/:splat 301"]),
        ("/news/:month/:date/:slug /blog/:date/:slug", &["1 /news/:month/:date/:slug > /blog/:date/:slug 301"]),
        ("/* https://www.bitballoon.com/:splat 301!", &["1 /* > https://www.bitballoon.com/:splat 301!"]),
        (
            "http://hello.bitballoon.com/* http://www.hello.com/:splat",
            &["1 http://hello.bitballoon.com/* > http://www.hello.com/:splat 301"],
        ),
        ("/admin/* 200\n/admin/* 200!", &["1 /admin/* > /admin/:splat 200", "2 /admin/* > /admin/:splat 200!"]),
        ("/api/* https://api.example.com/:splat 200", &["1 /api/* > https://api.example.com/:splat 200"]),
        ("/ page=news /news", &["1 / page=news > /news 301"]),
        ("/blog post=:post_id /blog/:post_id", &["1 /blog post=:post_id > /blog/:post_id 301"]),
        ("/ _escaped_fragment_=/about /about", &["1 / _escaped_fragment_=/about > /about 301"]),
        ("/articles id=:id tag=:tag /posts/:tag/:id 301", &["1 /articles id=:id tag=:tag > /posts/:tag/:id 301"]),
        ("/a q=x%20y+z /b", &["1 /a q=x y z > /b 301"]),
        ("/a q= /b", &["1 /a q= > /b 301"]),
        ("/ /de 302 Language=de,DE-at", &["1 / > /de 302 Language=de,de-at"]),
        ("/ /de 302 language=de", &["1 / > /de 302 Language=de"]),
        ("/* /preview/:splat 302! Cookie=is_staff,beta", &["1 /* > /preview/:splat 302! Cookie=is_staff,beta"]),
        ("/gatedpage /gatedpage/ 200! Cookie=a", &["1 /gatedpage > /gatedpage/ 200! Cookie=a"]),
        // Rules that the engine accepts, the package `netlify-redirector` of npm.
        ("/docs/preset-* /docs/babel-:splat", &["1 /docs/preset-* > /docs/babel-:splat 301"]),
        (
            "/.well-known/webfinger* https://fed.example/.well-known/webfinger:splat 301",
            &["1 /.well-known/webfinger* > https://fed.example/.well-known/webfinger:splat 301"],
        ),
        ("/x/*/y /z/:splat", &["1 /x/*/y > /z/:splat 301"]),
        ("/a*/b/* /c/:splat.html", &["1 /a*/b/* > /c/:splat.html 301"]),
        ("/news/:post-slug /blog/:post-slug", &["1 /news/:post-slug > /blog/:post-slug 301"]),
        ("/news id=:post-id /blog/:post-id", &["1 /news id=:post-id > /blog/:post-id 301"]),
        (
            "/authors/c%C3%A9line /authors/about-c%C3%A9line",
            &["1 /authors/c%C3%A9line > /authors/about-c%C3%A9line 301"],
        ),
    ] {
        let (found, findings) = redirects(text);
        assert_eq!(found, rules, "{text}");
        assert_findings(text, &findings, &[]);
    }
}

#[test]
fn redirects_that_cannot_be_read_are_mistakes_and_do_not_stop_the_rest() {
    // netlify/build, packages/redirect-parser, tests/line-parser.test.ts: "Validate syntax errors".
    for (line, expected) in [
        ("/a", "does not say where to"),
        ("/a #b", "does not say where to"),
        ("/a/* 301", "status `301` and does not say where to"),
        ("/a 200", "does not say where to"),
        ("/a b", "nothing after it begins with /"),
        ("/a b=c", "nothing after it begins with /"),
        ("/a b 301", "nothing after it begins with /"),
        ("X-Frame-Options: DENY", "nothing after it begins with /"),
        ("/.netlify/x /b", "reserved"),
        ("https://example.org/.netlify/x /b", "reserved"),
        ("/a /b forever", "`forever` stands where the status belongs"),
        ("/a /b Country=us", "stands where the status belongs"),
        ("http:// /b", "no host"),
        ("/a javascript:alert(1)", "another scheme"),
        ("/a ftp://example.org/b 301", "another scheme"),
        ("/a HTTPS://example.org/", "small letters"),
        ("/a https://", "no host"),
    ] {
        let text = format!("# first\n{line}\n/x /y");
        let (found, findings) = redirects(&text);
        assert_eq!(found, ["3 /x > /y 301"], "{line}");
        assert_findings(&text, &findings, &[(2, 'm', expected)]);
    }
    let (found, findings) = redirects(&format!("/{} /b\n/x /y", "a".repeat(super::LINE_BYTES_MAX)));
    assert_eq!(found, ["2 /x > /y 301"]);
    assert_findings("long", &findings, &[(1, 'm', "8192 bytes are the most")]);
    let text = format!("/a {} /b", "a=b ".repeat(101));
    assert_findings(&text, &redirects(&text).1, &[(1, 'm', "100 parameters")]);
}

#[test]
fn redirects_that_netlify_takes_but_that_have_no_effect_are_doubts() {
    // Netlify's parser, hosting forum answers 2552, 10084, 13433, 48523, and docs.netlify.com, "Redirect options".
    for (text, rules, expected) in [
        ("/a /b 301 Country=us,ca", &["1 /a > /b 301 never"][..], &[(1, 'd', "country")][..]),
        ("/a /b 301 country=us language=en", &["1 /a > /b 301 Language=en never"], &[(1, 'd', "country")]),
        ("/admin/* 200! Role=admin", &["1 /admin/* > /admin/:splat 200! never"], &[(1, 'd', "roles")]),
        (
            "/api/* https://x.example/:splat 200! Sign=KEY",
            &["1 /api/* > https://x.example/:splat 200!"],
            &[(1, 'd', "signature")],
        ),
        (
            "/api/* https://x.example/:splat 200! signed=KEY",
            &["1 /api/* > https://x.example/:splat 200!"],
            &[(1, 'd', "signature")],
        ),
        ("/a /b 301 Langauge=de", &["1 /a > /b 301 never"], &[(1, 'd', "`Langauge` is not a condition")]),
        ("/a /b 301 cookie=x", &["1 /a > /b 301 never"], &[(1, 'd', "`cookie` is not a condition")]),
        ("/a /b 301 Language=", &["1 /a > /b 301 never"], &[(1, 'd', "names nothing")]),
        ("/a /b 301 !", &["1 /a > /b 301"], &[(1, 'd', "`!` behind the status")]),
        ("/a /b 301x", &["1 /a > /b 301"], &[(1, 'd', "read as the status 301")]),
        ("/a /b 418", &[], &[(1, 'd', "status 418 is not carried out")]),
        ("/admin/* /401.html 401", &[], &[(1, 'd', "stays open to everybody")]),
        ("/a /b -1", &[], &[(1, 'd', "status -1")]),
        ("/a /b 99999999999999999999", &[], &[(1, 'd', "is not carried out")]),
        ("/a x /b", &[], &[(1, 'd', "no parameter with a value")]),
        ("/a =x /b", &[], &[(1, 'd', "no parameter with a value")]),
        ("/a a=1&b=2 /b", &[], &[(1, 'd', "several `=`"), (1, 'd', "never the value")]),
        ("/a a=1 a=2 /b", &["1 /a a=2 > /b 301"], &[(1, 'd', "said twice")]),
        ("/a?id=1 /b", &[], &[(1, 'd', "matches no path")]),
        ("/a#b /b", &[], &[(1, 'd', "matches no path")]),
        ("https://x.example?id=1 /b", &[], &[(1, 'd', "matches no path")]),
        ("a /b", &[], &[(1, 'd', "every path begins with /")]),
        ("/a*b /c", &[], &[(1, 'd', "only at the end of a part")]),
        ("/a** /c", &[], &[(1, 'd', "only at the end of a part")]),
        ("/:a* /c", &[], &[(1, 'd', "only at the end of a part")]),
        ("/*.html /:splat", &[], &[(1, 'd', "only at the end of a part")]),
        ("/*.php /:splat", &[], &[(1, 'd', "only at the end of a part")]),
        ("/a-:id /c", &["1 /a-:id > /c 301"], &[(1, 'd', "`:id`")]),
        ("/100% /c", &[], &[(1, 'd', "no path matches it")]),
        ("/api/* /.netlify/functions/:splat 200", &[], &[(1, 'd', "a service of Netlify")]),
        ("/a https://x.example/ 404", &[], &[(1, 'd', "one of this site")]),
        ("/a/* /b/*", &["1 /a/* > /b/* 301"], &[(1, 'd', "stays a `*`")]),
        ("/a/* /b/:rest", &["1 /a/* > /b/:rest 301"], &[(1, 'd', "`:rest` stays as it is")]),
        ("/a //evil.example", &["1 /a > //evil.example 301"], &[(1, 'd', "not to another host")]),
        ("/a /a", &[], &[(1, 'd', "leads to itself")]),
        ("/* /:splat 302", &[], &[(1, 'd', "leads to itself")]),
        ("/blog/title/ /blog/title 301!", &[], &[(1, 'd', "a final slash makes no difference")]),
        ("https://x.example/a /a", &[], &[(1, 'd', "leads to itself")]),
        ("https://x.example/a https://x.example/a/", &[], &[(1, 'd', "leads to itself")]),
        ("/a /a 301 Cookie=x", &["1 /a > /a 301 Cookie=x"], &[]),
        ("https://x.example/a https://y.example/a", &["1 https://x.example/a > https://y.example/a 301"], &[]),
        ("/a /wiki/Special:Search", &["1 /a > /wiki/Special:Search 301"], &[]),
    ] {
        let (found, findings) = redirects(text);
        assert_eq!(found, rules, "{text}");
        assert_findings(text, &findings, expected);
    }
}

#[test]
fn of_the_same_rule_twice_the_last_one_stays() {
    // netlify/build, packages/redirect-parser, tests/merge.test.ts.
    let text = "/a /b\n/a /c\n/a  /b # again\n/x k=1 /y\n/a /b 301\n/x k=2 /y";
    let (found, findings) = redirects(text);
    let rules = ["2 /a > /c 301", "3 /a > /b 301", "4 /x k=1 > /y 301", "5 /a > /b 301", "6 /x k=2 > /y 301"];
    assert_eq!(found, rules);
    assert_findings(text, &findings, &[(1, 'd', "line 3 says the same")]);
}

#[test]
fn no_more_rules_are_read_than_the_caller_can_take_and_one() {
    let text = (0..100).map(|n| format!("/{n} /x\n")).collect::<String>();
    assert_eq!(super::redirects(&text, 10, &mut Findings::default()).len(), 11);
    let text = (0..100).map(|n| format!("/{n}\n  a: b\n")).collect::<String>();
    assert_eq!(super::headers(&text, 10, &mut Findings::default()).len(), 11);
}

#[test]
fn hints_say_what_to_write() {
    for (text, hinted) in [
        ("/a", "write `/a /where-to`"),
        ("/a/* 301", "write `/a/* /where-to 301`"),
        ("/a b 302", "write `/a /b 302`"),
        ("/a /b Country=us # x", "write `/a /b 302 Country=us # x`"),
        ("/a /b 301 Langauge=de", "did you mean `Language=`?"),
        ("/a /b 301 cookie=x", "did you mean `Cookie=`?"),
        ("/a x /b", "write `x=:x` for any value"),
        ("/a?id=1&b=2 /b 302", "write `/a id=1 b=2 /b 302`"),
        ("a /b 302", "write `/a /b 302`"),
        ("/a //evil.example/x", "write `https://evil.example/x` or `/evil.example/x`"),
        ("X-Frame-Options: DENY", "fields of answers are written in _headers"),
        ("/a/ /a", "final slashes are set by `html_handling"),
    ] {
        let (_, findings) = redirects(text);
        assert!(hint(&findings).contains(hinted), "{text}: {}", hint(&findings));
    }
}

#[test]
fn headers_are_read_as_netlifys_documentation_writes_them() {
    // docs.netlify.com, "Custom headers"; netlify/build, packages/headers-parser, tests/line-parser.test.ts and its
    // fixtures.
    for (text, rules) in [
        ("/path\n  test: one", &["1 /path; test: one"][..]),
        ("/path\ntest: one", &["1 /path; test: one"]),
        (" \n  /path \n\t test :  one ", &["2 /path; test: one"]),
        ("# a\n/path\n\n  # b\n  test: one", &["2 /path; test: one"]),
        ("/path\n  test: one\n  test: two", &["1 /path; test: one, two"]),
        ("/path\n  Test: one\n  test: two", &["1 /path; test: one, two"]),
        (
            "/*\n  X-Frame-Options: DENY\n  X-XSS-Protection: 1; mode=block",
            &["1 /*; x-frame-options: DENY; x-xss-protection: 1; mode=block"],
        ),
        (
            "/*\n  cache-control: max-age=0\n  cache-control: no-cache\n  cache-control: must-revalidate",
            &["1 /*; cache-control: max-age=0, no-cache, must-revalidate"],
        ),
        ("/a\n  Cache-Control: a,b ,  c", &["1 /a; cache-control: a, b, c"]),
        ("/a\n  Link: <https://x.example/a:b>; rel=x", &["1 /a; link: <https://x.example/a:b>; rel=x"]),
        ("/a/:name\n  X-Name: :name", &["1 /a/:name; x-name: :name"]),
        ("/a/*/b/*.js\n  A: b", &["1 /a/*/b/*.js; a: b"]),
        ("/a\n  A: b\n/a\n  A: c", &["1 /a; a: b", "3 /a; a: c"]),
        (
            "/something/*\n  Basic-Auth: someuser:somepassword anotheruser:another:password",
            &["1 /something/*; (someuser somepassword); (anotheruser another:password)"],
        ),
        ("/a\n  basic-auth: u:p,q\n  Basic-Auth: v:\n  A: b", &["1 /a; a: b; (u p,q); (v )"]),
        ("/a\n  ! X-Powered-By\n  A: b", &["1 /a; ! x-powered-by; a: b"]),
        (
            "/a\n  Set-Cookie: a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
            &["1 /a; set-cookie: a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT"],
        ),
    ] {
        let (found, findings) = headers(text);
        assert_eq!(found, rules, "{text}");
        assert_findings(text, &findings, &[]);
    }
}

#[test]
fn headers_that_cannot_be_read_or_have_no_effect_are_reported() {
    // The same documents: "Validate syntax errors", and the list of names that cannot be set.
    for (text, rules, expected) in [
        ("/a\n  : one\n  b: c", &["1 /a; b: c"][..], &[(2, 'm', "name of the field")][..]),
        ("/a\n  test:\n  b: c", &["1 /a; b: c"], &[(2, 'm', "value of `test`")]),
        ("test: one\n/a\n  b: c", &["2 /a; b: c"], &[(1, 'm', "before any path")]),
        ("/a\n  b c: d", &[], &[(2, 'm', "cannot be the name")]),
        ("/a\n  b: c\u{7}d", &[], &[(2, 'm', "a character")]),
        ("/a\n  nothing\n  b: c", &["1 /a; b: c"], &[(2, 'd', "neither a path nor a field")]),
        ("/a\n/b\n  a: b\n/c", &["2 /b; a: b"], &[(1, 'd', "no fields"), (4, 'd', "no fields")]),
        ("nothing", &[], &[(1, 'd', "neither a path nor a field")]),
        (
            "/a\n  Content-Length: 5\n  Location: /b\n  b: c",
            &["1 /a; b: c"],
            &[(2, 'd', "`Content-Length`"), (3, 'd', "`Location`")],
        ),
        ("/a\n  ! Server", &[], &[(2, 'd', "`Server`")]),
        ("/a\n  Basic-Auth: user secret:", &["1 /a; (secret )"], &[(2, 'm', "number 1 of the users")]),
        ("https://x.example/a\n/b\n  c: d", &["2 /b; c: d"], &[(1, 'd', "is no path here")]),
        ("/a?b\n  c: d", &[], &[(1, 'd', "matches no path")]),
        ("/a # note\n  c: d", &[], &[(1, 'd', "matches no path")]),
        ("/%zz\n  c: d", &[], &[(1, 'd', "no path matches it")]),
        ("/a\n  b: c\n/x\n  y: z\n/a\n  B: c", &["3 /x; y: z", "5 /a; b: c"], &[(1, 'd', "line 5 says the same")]),
        ("/a\n  Set-Cookie: a=b\n  Set-Cookie: c=d", &["1 /a; set-cookie: a=b, c=d"], &[(3, 'd', "one cookie")]),
    ] {
        let (found, findings) = headers(text);
        assert_eq!(found, rules, "{text}");
        assert_findings(text, &findings, expected);
        assert!(!findings.0.iter().any(|finding| finding.to_string().contains("secret")), "{text}");
    }
    let text = format!("/a\n{}", "  b: c\n".repeat(5_000));
    let (_, findings) = headers(&text);
    assert!(findings.0.iter().all(|finding| finding.message.contains("8192 bytes")), "{text}");
    let text = format!("/a\n{}", (0..600).map(|n| format!("  b{n}: c\n")).collect::<String>());
    assert_findings("many", &headers(&text).1, &[(502, 'm', "500 lines are the most")]);
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "([/a:*!#?=&.%é ~\r\n-]|http|s?://|30[12]|Language|netlify){0,40}") {
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
        from in "/[a-z]{1,8}(/:[a-z]{1,4})?",
        parameter in proptest::option::of("[a-z]{1,5}=[a-z0-9]{1,5}"),
        to in "/[A-Z]{1,8}(\\?[a-z]=[a-z])?",
        status in proptest::sample::select(&[200_u16, 301, 302, 303, 307, 308, 404, 410][..]),
        force in any::<bool>(),
        language in proptest::option::of("[a-z]{2}"),
        space in "[ \t]{1,4}",
    ) {
        let mark = if force { "!" } else { "" };
        let parts = [
            Some(from.clone()),
            parameter.clone(),
            Some(to.clone()),
            Some(format!("{status}{mark}")),
            language.as_ref().map(|language| format!("Language={language}")),
        ];
        let line = parts.into_iter().flatten().collect::<Vec<_>>().join(&space);
        let (found, findings) = redirects(&line);
        let parameter = parameter.map_or_else(String::new, |parameter| format!(" {parameter}"));
        let language = language.map_or_else(String::new, |language| format!(" Language={language}"));
        prop_assert_eq!(found, [format!("1 {from}{parameter} > {to} {status}{mark}{language}")]);
        prop_assert!(findings.0.is_empty(), "{:?}", findings);
    }

    #[test]
    fn a_block_that_is_written_by_the_book_has_its_fields(
        path in "/[a-z]{1,8}(/\\*)?",
        fields in proptest::collection::btree_map("x-[a-z]{1,8}", "[!-~&&[^,]]([ -~&&[^,]]{0,20}[!-~&&[^,]])?", 1..5),
    ) {
        let text = fields.iter().fold(path.clone(), |text, (name, value)| format!("{text}\n  {name}: {value}"));
        let (found, findings) = headers(&text);
        let shown = fields.iter().fold(format!("1 {path}"), |text, (name, value)| format!("{text}; {name}: {value}"));
        // A value that begins with // may be mistaken for a URL only after a name of letters alone.
        prop_assert_eq!(found, [shown]);
        prop_assert!(findings.0.is_empty(), "{:?}", findings);
    }
}
