//! Cases of <https://docs.netlify.com/routing/redirects/> and related pages, in the form of `netlify.toml`.

use super::super::testing::{NOTHING, headers, notes, rules, written};
use super::*;
use crate::moved::NoteKind;

fn moved(text: &str) -> Moved {
    read(Some(text), &NOTHING).unwrap()
}

/// Returns the rules for an entry of `[[redirects]]`.
fn one(keys: &str) -> Vec<String> {
    let moved = moved(&format!("[[redirects]]\n{keys}\n"));
    written(&moved);
    rules(&moved)
}

#[test]
fn redirects_of_netlify_are_the_same_here() {
    for (keys, expected) in [
        // redirects/#syntax-for-the-netlify-configuration-file
        ("from = '/old-path'\nto = '/new-path'", "/old-path -> /new-path 301"),
        ("from = '/a'\nto = '/b'\nstatus = 302\nforce = true", "/a -> /b 302 force"),
        ("from = '/a'\nto = '/b'\nstatus = '302!'", "/a -> /b 302 force"),
        ("from = '/store'\nto = '/blog/:id'\n[redirects.query]\nid = ':id'", "/store -> /blog/:id 301 ?id=:id"),
        ("from = '/x'\nto = '/y'\nquery = {path = 'a'}", "/x -> /y 301 ?path=a"),
        // redirects/redirect-options/#splats, #placeholders
        ("from = '/news/*'\nto = '/blog/:splat'", "/news/* -> /blog/:splat 301"),
        // Forms accepted by Netlify's engine.
        ("from = '/docs/preset-*'\nto = '/docs/babel-:splat'", "/docs/preset-* -> /docs/babel-:splat 301"),
        ("from = '/x/*/y'\nto = '/z/:splat'", "/x/*/y -> /z/:splat 301"),
        ("from = '/a/:post-slug'\nto = '/b/:post-slug'", "/a/:post-slug -> /b/:post-slug 301"),
        ("from = '/a'\nto = '/b/:post-id'\nquery = {id = ':post-id'}", "/a -> /b/:post-id 301 ?id=:post-id"),
        (
            "from = '/news/:month/:date/:year/:slug'\nto = '/blog/:year/:slug'",
            "/news/:month/:date/:year/:slug -> /blog/:year/:slug 301",
        ),
        // redirects/redirect-options/#http-status-codes
        ("from = '/ecommerce'\nto = '/store-closed'\nstatus = 404", "/ecommerce -> /store-closed 404"),
        ("from = '/app/*'\nto = '/app/index.html'\nstatus = 200", "/app/* -> /app/index.html"),
        ("from = '/x/*'\nstatus = 200", "/x/* -> /x/:splat"),
        // redirects/redirect-options/#domain-level-redirects
        (
            "from = 'http://blog.example.com/*'\nto = 'https://www.example.com/blog/:splat'\nforce = true",
            "http://blog.example.com/* -> https://www.example.com/blog/:splat 301 force",
        ),
        // redirects/redirect-options/#redirect-by-country-or-language
        ("from = '/'\nto = '/de'\nstatus = 302\nconditions = {Language = ['de', 'at']}", "/ -> /de 302 de at"),
        ("from = '/'\nto = '/de'\nconditions = {Language = 'de,fr'}", "/ -> /de 301 de fr"),
        // redirects/redirect-options/#redirect-by-cookie-presence
        (
            "from = '/*'\nto = '/b/:splat'\nstatus = 200\nforce = true\nconditions = {Cookie = ['is_beta']}",
            "/* -> /b/:splat force cookie:is_beta",
        ),
        // The older names of the keys.
        ("origin = '/a'\ndestination = '/b'\n[redirects.parameters]\nq = 'x'", "/a -> /b 301 ?q=x"),
    ] {
        assert_eq!(one(keys), [expected], "{keys}");
    }
}

#[test]
fn a_rewrite_to_a_url_is_one_to_an_upstream() {
    let moved = moved(
        "[[redirects]]\nfrom = '/api/*'\nto = 'https://api.example.com/v1/:splat'\nstatus = 200\n\
         [[redirects]]\nfrom = '/more'\nto = 'https://api.example.com/more'\nstatus = 200\n\
         [[redirects]]\nfrom = '/search'\nto = 'http://search.example.com:8080/q'\nstatus = 200\n",
    );
    assert_eq!(
        moved.upstreams,
        [
            ("api-example-com".to_owned(), "https://api.example.com".to_owned()),
            ("search-example-com-8080".to_owned(), "http://search.example.com:8080".to_owned()),
        ]
    );
    assert_eq!(rules(&moved).len(), 3);
    let text = written(&moved);
    assert!(text.contains("[upstreams]\napi-example-com = \"https://api.example.com\"\n"), "{text}");
    assert!(text.contains("\n# netlify.toml:1\n[[rewrites]]\nfrom = \"/api/*\"\n"), "{text}");
}

#[test]
fn what_netlify_alone_can_do_is_reported_with_its_line() {
    for (keys, line, setting, why, instead) in [
        (
            "to = '/b'\nfrom = '/a'\nconditions = {Country = ['US']}",
            1,
            "redirects",
            "visitors of a country",
            Some("languages"),
        ),
        (
            "to = '/b'\nfrom = '/a'\nconditions = {Role = ['admin']}",
            1,
            "redirects",
            "people with a role",
            Some("basic_auth"),
        ),
        (
            "to = '/.netlify/functions/x'\nfrom = '/a'\nstatus = 200",
            1,
            "redirects",
            "runs at Netlify alone",
            Some("[[routes]]"),
        ),
        (
            "to = 'https://:splat.example.com'\nfrom = '/*'\nstatus = 200",
            1,
            "redirects",
            "differs from request to request",
            Some("[upstreams]"),
        ),
        (
            "to = 'https://x.example.com/'\nfrom = '/a'\nstatus = 200\nheaders = {X-From = 'Netlify'}",
            5,
            "redirects.headers",
            "cannot add fields",
            None,
        ),
        ("to = '/b'\nfrom = '/a'\nstatus = 418", 1, "redirects", "`/a`: 418 is not a status", Some("301")),
        ("to = '/b'\nfrom = '/a'\nstatus = 'soon'", 1, "redirects", "no status", None),
        ("from = '/a'", 1, "redirects", "`to` is missing", None),
        ("to = '/a'", 1, "redirects", "`from` is missing", None),
        ("to = 'ftp://x/'\nfrom = '/a'", 1, "redirects", "another scheme", Some("a path")),
    ] {
        let moved = moved(&format!("[[redirects]]\n{keys}\n"));
        let lost: Vec<_> = moved.notes.iter().filter(|note| note.kind == NoteKind::Lost).collect();
        assert_eq!(lost.len(), 1, "{keys} {:#?}", moved.notes);
        assert_eq!((lost[0].line, lost[0].setting.as_str()), (line, setting), "{keys}");
        assert!(lost[0].message.contains(why), "{}", lost[0]);
        assert_eq!(lost[0].instead.is_some(), instead.is_some(), "{}", lost[0]);
        assert!(instead.is_none_or(|text| lost[0].instead.as_ref().unwrap().contains(text)), "{}", lost[0]);
        written(&moved);
    }
    let signed = moved("[[redirects]]\nfrom='/a'\nto='https://x.example.com/'\nstatus=200\nsigned='SECRET'\n");
    assert!(notes(&signed, NoteKind::Differs)[0].starts_with("5 redirects.signed: "), "{:?}", signed.notes);
    assert_eq!(rules(&signed).len(), 1);
}

#[test]
fn everything_else_of_netlify_toml_is_reported_with_its_line() {
    let moved = moved(
        "[build]\n  base = 'site/'\n  publish = './dist/'\n  command = 'npm run build'\n  functions = 'functions'\n\
         [build.environment]\n  NODE_VERSION = '22'\n[build.processing.html]\n  pretty_urls = true\n\
         [context.deploy-preview]\n  command = 'x'\n[functions]\n  node_bundler = 'esbuild'\n\
         [[plugins]]\n  package = 'p'\n[[edge_functions]]\n  path = '/*'\n[dev]\n  port = 1\n[images]\n[template]\n",
    );
    assert_eq!(moved.www.as_deref(), Some("site/dist"));
    let settings: Vec<(usize, &str)> = moved.notes.iter().map(|note| (note.line, note.setting.as_str())).collect();
    for expected in [
        (4, "build.command"),
        (5, "build.functions"),
        (6, "build.environment"),
        (8, "build.processing.html"),
        (10, "context.deploy-preview"),
        (12, "functions"),
        (14, "plugins"),
        (16, "edge_functions"),
        (18, "dev"),
        (20, "images"),
        (21, "template"),
    ] {
        assert!(settings.contains(&expected), "{expected:?} {settings:?}");
    }
    assert!(moved.notes.iter().all(|note| note.kind == NoteKind::Lost));
    written(&moved);
}

#[test]
fn a_rewrite_of_everything_to_the_page_is_a_single_page_application() {
    let text =
        "[[redirects]]\nfrom = '/*'\nto = '/index.html'\nstatus = 200\n[[redirects]]\nfrom = '/late'\nto = '/x'\n";
    let moved = moved(text);
    assert_eq!(moved.not_found.as_ref().map(|justified| justified.word), Some(NotFound::SinglePageApplication));
    assert!(rules(&moved).is_empty());
    assert_eq!(notes(&moved, NoteKind::Stays), ["5 redirects: `/late` never applied: line 1 takes its paths first"]);
    assert!(written(&moved).contains("not_found = \"single-page-application\""));
    // A rule that precedes files is not such a page.
    assert_eq!(one("from = '/*'\nto = '/index.html'\nstatus = 200\nforce = true"), ["/* -> /index.html force"]);
}

#[test]
fn a_redirect_after_a_rewrite_of_its_paths_is_reported() {
    let order = |first: &str, second: &str| {
        let text = format!(
            "[[redirects]]\nfrom = '{first}'\nto = '/x'\nstatus = 200\n[[redirects]]\nfrom = '{second}'\nto = '/y'\n"
        );
        notes(&moved(&text), NoteKind::Differs)
    };
    let justified = "5 redirects: `/*` goes before the rewrite of line 1 here, which came first";
    assert_eq!(order("/app/*", "/*"), [justified]);
    assert_eq!(order("/:a/b", "/a/:b").len(), 1);
    assert!(order("/app/*", "/other/*").is_empty());
    assert!(order("/app", "/app/x").is_empty());
}

#[test]
fn headers_of_netlify_toml_are_the_same_here() {
    let text = r#"
[[headers]]
  for = "/*"
  [headers.values]
    X-Frame-Options = "DENY"
    cache-control = '''
    max-age=0,
    no-cache,
    must-revalidate'''
    Link = ["</a.css>; rel=preload; as=style", "</b.js>; rel=preload; as=script"]
    Server = "mine"
[[headers]]
  for = "secret/*"
  [headers.values]
    Basic-Auth = "ann:one bob:two"
"#;
    let moved = moved(text);
    assert_eq!(
        headers(&moved),
        [
            "/* X-Frame-Options: DENY; cache-control: max-age=0, no-cache, must-revalidate; \
         Link: </a.css>; rel=preload; as=style | </b.js>; rel=preload; as=script",
            "/secret/*",
        ]
    );
    assert_eq!(moved.headers[1].basic_auth, ["ann:one", "bob:two"]);
    assert_eq!(
        notes(&moved, NoteKind::Lost),
        ["2 headers: `Server` cannot be set or removed: it belongs to the connection"]
    );
    let text = written(&moved);
    assert!(text.contains("set.Link = [\"</a.css>; rel=preload; as=style\", "), "{text}");
    assert!(text.contains("basic_auth = [\"ann:one\", \"bob:two\"]"), "{text}");
}

#[test]
fn functions_of_netlify_are_hidden_wherever_their_path_leads_among_the_pages() {
    for (base, publish, functions, expected) in [
        ("/site/", "dist", "../site/dist/fn", &["/fn/"][..]),
        ("site", "./dist/", "dist/fn", &["/fn/"]),
        ("site", "../dist", "../dist/fn", &["/fn/"]),
        ("site", "dist", "../fn", &[]),
        ("", ".", "x/../fn", &["/fn/"]),
    ] {
        let text = format!("[build]\nbase = \"{base}\"\npublish = \"{publish}\"\nfunctions = \"{functions}\"\n");
        let moved = read(Some(&text), &NOTHING).unwrap();
        assert_eq!(moved.exclude, expected, "{text}");
        written(&moved);
    }
}

#[test]
fn rule_files_stay_where_they_are() {
    let around = Around { has: &|path| path == "dist/_redirects", www: "dist", is_explicit: false };
    let moved = read(None, &around).unwrap();
    let settings: Vec<&str> = moved.notes.iter().map(|note| note.setting.as_str()).collect();
    assert_eq!(settings, ["file", "_redirects"]);
    assert!(written(&moved).contains("rules = \"netlify\""));
}
