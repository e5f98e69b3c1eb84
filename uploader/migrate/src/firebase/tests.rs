//! Cases of <https://firebase.google.com/docs/hosting/full-config> and of superstatic's own tests.

use super::super::testing::{NOTHING, headers as header_lines, notes, rules as rule_lines, written};
use super::*;
use crate::moved::NoteKind;
use devanture_config::manifest::halves::Half;
use devanture_config::site_toml::FolderGlobs;

fn moved(hosting: &serde_json::Value) -> Moved {
    read(&serde_json::json!({ "hosting": hosting }).to_string(), None, &NOTHING).unwrap()
}

#[test]
fn sources_of_firebase_become_patterns_of_ours() {
    for (key, source, destination, expected) in [
        // full-config#redirects
        ("source", "/foo", "/bar", &["/foo -> /bar 301 force"][..]),
        ("source", "/foo{,/**}", "/bar", &["/foo -> /bar 301 force", "/foo/* -> /bar 301 force"]),
        ("source", "/firebase/**", "https://www.firebase.com", &["/firebase/* -> https://www.firebase.com 301 force"]),
        (
            "source",
            "/blog/:post*",
            "https://blog.myapp.com/:post",
            &["/blog/* -> https://blog.myapp.com/:splat 301 force"],
        ),
        (
            "source",
            "/users/:id/profile",
            "/users/:id/newProfile",
            &["/users/:id/profile -> /users/:id/newProfile 301 force"],
        ),
        (
            "regex",
            "/blog/(?P<post>.+)",
            "https://b.example.com/:post",
            &[
                "/blog/:post -> https://b.example.com/:post 301 force",
                "/blog/:post/* -> https://b.example.com/:post/:splat 301 force",
            ],
        ),
        ("regex", "^/old/([^/]+)/x$", "/new/:1", &["/old/:part2/x -> /new/:part2 301 force"]),
        // superstatic: test/unit/middleware/redirects.spec.js
        ("glob", "/source", "/redirect", &["/source -> /redirect 301 force"]),
        ("source", "source", "/redirect", &["/source -> /redirect 301 force"]),
        ("source", "/old/:value?", "/new/:value?", &["/old -> /new 301 force", "/old/:value -> /new/:value 301 force"]),
        (
            "source",
            "/old/:value/path/:loc",
            "/new/:value/path/:loc",
            &["/old/:value/path/:loc -> /new/:value/path/:loc 301 force"],
        ),
        ("source", "/blog/:post*", "/new/:post*", &["/blog -> /new 301 force", "/blog/* -> /new/:splat 301 force"]),
        ("source", "/@(en|de)/x", "/y", &["/en/x -> /y 301 force", "/de/x -> /y 301 force"]),
        ("source", "/?(en/)x", "/y", &["/x -> /y 301 force", "/en/x -> /y 301 force"]),
        ("source", "/a/*", "/y", &["/a/:part2 -> /y 301 force"]),
        ("source", "/a/*/b", "/y", &["/a/:part2/b -> /y 301 force"]),
        ("source", "**", "/y", &["/* -> /y 301 force"]),
        ("source", "!source", "/y", &[]),
        ("source", "/**/old", "/y", &[]),
        ("source", "/*.php", "/y", &[]),
        ("source", "/!(a|b)", "/y", &[]),
        ("source", "/a?b", "/y", &[]),
        ("source", "/[ab]", "/y", &[]),
        ("source", "/{a,b", "/y", &[]),
        ("regex", "/post/\\d+", "/y", &[]),
        ("regex", "/foo/(.+)bar/baz", "/:1", &[]),
    ] {
        let item = serde_json::json!({ key: source, "destination": destination, "type": 301 });
        let moved = moved(&serde_json::json!({ "redirects": [item] }));
        assert_eq!(rule_lines(&moved), expected, "{source} {:?}", moved.notes);
        assert_eq!(notes(&moved, NoteKind::Lost).len(), usize::from(expected.is_empty()), "{source} {:?}", moved.notes);
        written(&moved);
    }
    let item = serde_json::json!({ "source": "/a", "destination": "/b", "type": 302 });
    assert_eq!(rule_lines(&moved(&serde_json::json!({ "redirects": [item] }))), ["/a -> /b 302 force"]);
}

#[test]
fn too_many_alternatives_are_refused() {
    let choice = "@(a|b|c|d)";
    let item = serde_json::json!({ "source": format!("/{choice}/{choice}/{choice}"), "destination": "/x" });
    let moved = moved(&serde_json::json!({ "redirects": [item] }));
    assert!(notes(&moved, NoteKind::Lost)[0].contains("more than 32 rules"), "{:?}", moved.notes);
}

#[test]
fn rewrites_of_firebase_go_after_files_and_what_runs_elsewhere_is_reported() {
    let text = r#"{ "hosting": { "rewrites": [
        { "source": "/newest", "destination": "/index.html" },
        { "source": "/api/**", "function": { "functionId": "helloWorld", "region": "us-central1" } },
        { "source": "/old/**", "function": "old" },
        { "source": "/hello", "run": { "serviceId": "hello" } },
        { "source": "/links/**", "dynamicLinks": true },
        { "source": "**", "destination": "/index.html" },
        { "source": "/late", "destination": "/x.html" }
    ] } }"#;
    let moved = read(text, None, &NOTHING).unwrap();
    assert_eq!(rule_lines(&moved), ["/newest -> /index.html"]);
    assert_eq!(moved.not_found.as_ref().map(|justified| justified.word), Some(NotFound::SinglePageApplication));
    let lost: Vec<String> = moved.notes.iter().filter(|n| n.kind == NoteKind::Lost).map(ToString::to_string).collect();
    assert_eq!(
        lost,
        [
            "firebase.json:3: rewrites: `/api/**` leads to helloWorld, which runs at Google's ([[routes]] path = \"/api/*\" to = \"https://…\", with the address of helloWorld)",
            "firebase.json:4: rewrites: `/old/**` leads to old, which runs at Google's ([[routes]] path = \"/old/*\" to = \"https://…\", with the address of old)",
            "firebase.json:5: rewrites: `/hello` leads to hello, which runs at Google's ([[routes]] path = \"/hello\" to = \"https://…\", with the address of hello)",
            "firebase.json:6: rewrites: `/links/**` makes dynamic links, a service of Firebase (nothing replaces it)",
        ]
    );
    assert_eq!(notes(&moved, NoteKind::Stays), ["8 rewrites: it never applied: line 7 takes every path first"]);
    written(&moved);
}

#[test]
fn headers_of_firebase_are_the_same_here() {
    for (source, expected) in [
        // full-config#headers
        ("**/*.@(eot|otf|ttf)", &["/*.eot X-A: b", "/*.otf X-A: b", "/*.ttf X-A: b"][..]),
        ("**/*.@(jpg|gif)", &["/*.jpg X-A: b", "/*.gif X-A: b"]),
        ("404.html", &["/404.html X-A: b"]),
        ("/**", &["/* X-A: b"]),
        ("**", &["/* X-A: b"]),
        ("**/*", &["/* X-A: b"]),
        ("/assets/**", &["/assets/* X-A: b"]),
        ("/assets/**/*.js", &["/assets/*.js X-A: b"]),
        ("**/sw.js", &["/*/sw.js X-A: b"]),
        ("/a/*", &["/a/:part2 X-A: b"]),
        ("/a/*.js", &["/a/*.js X-A: b"]),
        ("/*.{js,css}", &["/*.js X-A: b", "/*.css X-A: b"]),
        ("!/anything/**", &[]),
    ] {
        let item = serde_json::json!({ "source": source, "headers": [{ "key": "X-A", "value": "b" }] });
        let moved = moved(&serde_json::json!({ "headers": [item] }));
        assert_eq!(header_lines(&moved), expected, "{source} {:?}", moved.notes);
        let is_wider = notes(&moved, NoteKind::Differs).iter().any(|note| note.contains("takes slashes too"));
        assert_eq!(is_wider, ["/a/*.js", "/*.{js,css}"].contains(&source), "{source}");
        written(&moved);
    }
}

#[test]
fn clean_urls_and_trailing_slash_of_firebase_have_a_way_each() {
    use HtmlHandling::{AutoTrailingSlash, DropTrailingSlash, ForceTrailingSlash};
    for (clean_urls, trailing_slash, expected, is_exact) in [
        (true, Some(false), DropTrailingSlash, true),
        (true, Some(true), ForceTrailingSlash, true),
        (true, None, DropTrailingSlash, false),
        (false, None, AutoTrailingSlash, false),
        (false, Some(true), AutoTrailingSlash, false),
        (false, Some(false), DropTrailingSlash, false),
    ] {
        let moved = moved(&serde_json::json!({ "cleanUrls": clean_urls, "trailingSlash": trailing_slash }));
        assert_eq!(moved.html_handling.as_ref().map(|justified| justified.word), Some(expected));
        assert_eq!(notes(&moved, NoteKind::Differs).is_empty(), is_exact);
        written(&moved);
    }
}

#[test]
fn one_of_several_sites_is_chosen_by_name() {
    let text = r#"{ "hosting": [
        { "target": "blog", "public": "blog/dist" },
        { "site": "shop-site", "public": "shop/dist" }
    ], "functions": {} }"#;
    for (wanted, www, app) in [
        (None, "blog/dist", None),
        (Some("blog"), "blog/dist", None),
        (Some("shop-site"), "shop/dist", Some("shop-site")),
        (Some("unknown"), "blog/dist", None),
    ] {
        let moved = read(text, wanted, &NOTHING).unwrap();
        assert_eq!((moved.www.as_deref(), moved.app.as_deref()), (Some(www), app), "{wanted:?}");
        let settings: Vec<&str> =
            moved.notes.iter().filter(|n| n.kind == NoteKind::Lost).map(|n| n.setting.as_str()).collect();
        assert_eq!(settings, ["functions", "hosting"]);
    }
}

#[test]
fn what_firebase_ignores_and_what_lies_among_the_pages_is_excluded() {
    for (text, exclude, lost) in [
        (
            r#"{"hosting":{"public":".","ignore":["firebase.json","**/.*","secret.txt","docs/**","!(a)"]},
                "functions":{"source":"backend"},"firestore":{"rules":"my.rules"}}"#,
            &[
                "/secret.txt",
                "!/secret.txt/",
                "/docs/",
                "/backend/",
                "/my.rules",
                "firebase-debug.log",
                "firebase-debug.*.log",
            ][..],
            1,
        ),
        (
            r#"{"hosting":{"public":"."},"functions":[{"codebase":"a"},{"source":"b"}]}"#,
            &["/functions/", "/b/", "firebase-debug.log", "firebase-debug.*.log"],
            0,
        ),
        (r#"{"hosting":{"public":"dist"},"functions":{},"storage":{"rules":"storage.rules"}}"#, &[], 0),
    ] {
        let moved = read(text, None, &NOTHING).unwrap();
        assert_eq!(moved.exclude, exclude, "{text}");
        assert_eq!(moved.notes.iter().filter(|note| note.setting == "ignore").count(), lost, "{:?}", moved.notes);
        written(&moved);
    }
}

#[test]
fn a_glob_of_firebase_takes_files_and_no_folder_but_before_two_stars() {
    for (ignore, left_out, sent) in [
        (&["docs/*"][..], &["docs/a.html", "docs/.b"][..], &["docs/n/y.html", "a.html"][..]),
        (&["secret"], &["secret"], &["a/secret"]),
        (&["secret"], &[], &["secret/s"]),
        (&["temp*"], &["temp1"], &["temp3/x", "a/temp1"]),
        (&["**/deep"], &["deep", "a/b/deep"], &["a/deep/x"]),
        (&["**/*.map"], &["a.map", "a/b.map", "v.map/b.map"], &["v.map/x"]),
        (&["**"], &["a", "a/b/c"], &[]),
        (&["docs/**/*"], &["docs/a", "docs/b/c"], &["a"]),
        (&["docs/**"], &["docs/a", "docs/b/c"], &["docs"]),
        (&["docs/**", "*"], &["docs/a", "docs/b/c", "a"], &["b/c"]),
        (&["{a,b}/*"], &["a/x", "b/x"], &["a/y/x"]),
    ] {
        let moved = moved(&serde_json::json!({ "public": "dist", "ignore": ignore }));
        let exclude = moved.exclude.iter().map(|glob| glob.parse().unwrap()).collect();
        let globs = FolderGlobs { exclude, ..FolderGlobs::default() }.of(Half::Front);
        for (paths, is_out) in [(left_out, true), (sent, false)] {
            for path in paths {
                assert_eq!(globs.covers(path, false), is_out, "{ignore:?} {path} {:?}", moved.exclude);
            }
        }
        assert!(notes(&moved, NoteKind::Lost).is_empty(), "{:?}", moved.notes);
        written(&moved);
    }
}

#[test]
fn everything_else_of_firebase_json_is_reported_with_its_line() {
    let text = "{\n// a comment\n\"firestore\": {},\n\"hosting\": {\n\"public\": \"dist\",\n\
        \"ignore\": [\"firebase.json\", \"**/.*\", \"**/node_modules/**\",\n\"**/*.map\"],\n\"i18n\": {\"root\": \"/x\"},\n\
        \"appAssociation\": \"AUTO\",\n\"predeploy\": [],\n\"source\": \".\",\n},\n}";
    let moved = read(text, None, &NOTHING).unwrap();
    let lost: Vec<(usize, &str)> =
        moved.notes.iter().filter(|n| n.kind == NoteKind::Lost).map(|n| (n.line, n.setting.as_str())).collect();
    let expected = [(3, "firestore"), (8, "i18n"), (9, "appAssociation"), (10, "predeploy"), (11, "source")];
    assert_eq!(lost, expected);
    assert_eq!(moved.exclude, ["**/*.map", "!**/*.map/", "**/node_modules/"]);
    assert_eq!(moved.www.as_deref(), Some("dist"));
}
