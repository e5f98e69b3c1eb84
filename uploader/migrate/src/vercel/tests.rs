//! Cases of <https://vercel.com/docs/project-configuration> and of vercel's `routing-utils`.

use super::super::testing::{NOTHING, headers as header_lines, notes, rules as rule_lines, written};
use super::*;
use crate::moved::NoteKind;

fn moved(text: &str) -> Moved {
    read(text, &NOTHING).unwrap()
}

fn redirected(source: &str, destination: &str) -> Moved {
    let item = serde_json::json!({ "source": source, "destination": destination });
    moved(&serde_json::json!({ "redirects": [item] }).to_string())
}

#[test]
fn sources_of_vercel_become_patterns_of_ours() {
    for (source, destination, expected) in [
        // project-configuration#redirects
        ("/me", "/profile.html", &["/me -> /profile.html 308 force"][..]),
        (
            "/view-source",
            "https://github.com/vercel/vercel",
            &["/view-source -> https://github.com/vercel/vercel 308 force"],
        ),
        ("/user/:id", "/api/user?u=:id", &["/user/:id -> /api/user?u=:id 308 force"]),
        (
            "/view-source/:path*",
            "https://github.com/v/:path*",
            &[
                "/view-source -> https://github.com/v 308 force",
                "/view-source/* -> https://github.com/v/:splat 308 force",
            ],
        ),
        ("/:path((?!uk/).*)", "/uk/:path*", &[]),
        // path-to-regexp: modifiers
        ("/a/:path+", "/b/:path+", &["/a/:path -> /b/:path 308 force", "/a/:path/* -> /b/:path/:splat 308 force"]),
        ("/a/:id?", "/b/:id?", &["/a -> /b 308 force", "/a/:id -> /b/:id 308 force"]),
        ("/a/:id?/x", "/b/:id?/x", &["/a/x -> /b/x 308 force", "/a/:id/x -> /b/:id/x 308 force"]),
        ("/:path*", "https://new.example.com/:path*", &["/* -> https://new.example.com/:splat 308 force"]),
        // unnamed groups and alternatives
        ("/blog/(.*)", "/news/$1", &["/blog/* -> /news/:splat 308 force"]),
        ("/post/:slug(.*)", "/news/:slug", &["/post/* -> /news/:splat 308 force"]),
        (
            "/:lang(en|de)/about",
            "/about-:lang",
            &["/en/about -> /about-en 308 force", "/de/about -> /about-de 308 force"],
        ),
        ("/(a|b)/:x", "/$1/y/:x", &["/a/:x -> /a/y/:x 308 force", "/b/:x -> /b/y/:x 308 force"]),
        ("/:slug([^/]+)/x", "/:slug", &["/:slug/x -> /:slug 308 force"]),
        ("/old{/:x}?", "/new", &["/old -> /new 308 force", "/old/:x -> /new 308 force"]),
        ("/a\\.b/\\(c\\)", "/d", &["/a.b/(c) -> /d 308 force"]),
        ("/a/:b.html", "/:b", &[]),
        ("/post/:id(\\d{1,})", "/news/:id", &[]),
        ("/feed(.*)", "/rss", &[]),
        ("/a/(.*)/z", "/z", &[]),
        ("/a/*", "/z", &[]),
        ("no-slash", "/z", &[]),
    ] {
        let moved = redirected(source, destination);
        assert_eq!(rule_lines(&moved), expected, "{source} {:?}", moved.notes);
        let lost = moved.notes.iter().filter(|note| note.kind == NoteKind::Lost).count();
        assert_eq!(lost, usize::from(expected.is_empty()), "{source} {:?}", moved.notes);
        written(&moved);
    }
}

#[test]
fn a_folder_that_only_its_insides_were_redirected_of_is_reported_and_keeps_its_own_rule() {
    let rules = serde_json::json!([
        { "source": "/blog/(.*)", "destination": "/news/$1" },
        { "source": "/blog", "destination": "/all" },
    ]);
    let moved = moved(&serde_json::json!({ "redirects": rules }).to_string());
    assert_eq!(rule_lines(&moved), ["/blog -> /all 308 force", "/blog/* -> /news/:splat 308 force"]);
    let justified = notes(&moved, NoteKind::Differs);
    assert!(justified.iter().any(|note| note.contains("`/blog/*` takes `/blog` too here")), "{justified:?}");
}

#[test]
fn the_status_of_a_redirect_is_vercels() {
    for (keys, status) in [
        (serde_json::json!({}), 308),
        (serde_json::json!({ "permanent": true }), 308),
        (serde_json::json!({ "permanent": false }), 307),
        (serde_json::json!({ "statusCode": 301 }), 301),
        (serde_json::json!({ "permanent": false, "statusCode": 301 }), 307),
    ] {
        let mut item = serde_json::json!({ "source": "/a", "destination": "/b" });
        item.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let moved = moved(&serde_json::json!({ "redirects": [item] }).to_string());
        assert_eq!(moved.redirects[0].status, Some(status), "{keys}");
    }
}

#[test]
fn conditions_of_vercel_are_carried_over_where_they_are_known_here() {
    for (key, list, expected) in [
        ("has", r#"[{"type":"query","key":"id","value":"(?<id>.*)"}]"#, Ok("/a -> /b/:id 308 force ?id=:id")),
        ("has", r#"[{"type":"query","key":"id"}]"#, Ok("/a -> /b/:id 308 force ?id=:id")),
        ("has", r#"[{"type":"query","key":"kind","value":"x"}]"#, Ok("/a -> /b/:id 308 force ?kind=x")),
        ("has", r#"[{"type":"cookie","key":"beta"}]"#, Ok("/a -> /b/:id 308 force cookie:beta")),
        (
            "has",
            r#"[{"type":"host","value":"old\\.example\\.com"}]"#,
            Ok("https://old.example.com/a -> /b/:id 308 force"),
        ),
        ("has", r#"[{"type":"host","value":"(.*)\\.example\\.com"}]"#, Err("hosts like")),
        ("has", r#"[{"type":"query","key":"id","value":"[0-9]+"}]"#, Err("values of `id`")),
        ("has", r#"[{"type":"cookie","key":"a","value":"1"}]"#, Err("one value of the cookie")),
        ("has", r#"[{"type":"cookie","key":"a"},{"type":"cookie","key":"b"}]"#, Err("several cookies")),
        ("has", r#"[{"type":"header","key":"x-a"}]"#, Err("a condition on `header x-a`")),
        ("has", r#"[{"type":"header","key":"Accept-Language","value":"de"}]"#, Err("Accept-Language")),
        ("missing", r#"[{"type":"cookie","key":"a"}]"#, Err("not there")),
    ] {
        let text = format!(r#"{{"redirects":[{{"source":"/a","destination":"/b/:id","{key}":{list}}}]}}"#);
        let moved = moved(&text);
        match expected {
            Ok(rule) => assert_eq!(rule_lines(&moved), [rule], "{list}"),
            Err(why) => {
                assert!(rule_lines(&moved).is_empty());
                assert!(notes(&moved, NoteKind::Lost)[0].contains(why), "{:?}", moved.notes);
            }
        }
        written(&moved);
    }
}

#[test]
fn rewrites_of_vercel_go_after_files_and_to_upstreams() {
    let text = r#"{ "rewrites": [
        { "source": "/about", "destination": "/about-our-company.html" },
        { "source": "/resize/:width/:height", "destination": "/api/sharp" },
        { "source": "/proxy/:match*", "destination": "https://api.example.com/:match*" }
    ] }"#;
    let moved = moved(text);
    assert_eq!(
        rule_lines(&moved),
        [
            "/about -> /about-our-company.html",
            "/resize/:width/:height -> /api/sharp",
            "/proxy/* -> https://api.example.com/:splat",
        ]
    );
    assert_eq!(moved.upstreams, [("api-example-com".to_owned(), "https://api.example.com".to_owned())]);
    written(&moved);
}

#[test]
fn vercels_ways_to_an_applications_page_are_a_single_page_application() {
    for source in ["/(.*)", "/:path*", "/:match*", "/:any(.*)", "(.*)", "/((?!api/.*).*)", "/((?!api|assets/(?:x)).*)"]
    {
        for destination in ["/index.html", "/"] {
            let item = serde_json::json!({ "source": source, "destination": destination });
            let late = serde_json::json!({ "source": "/late", "destination": "/x" });
            let moved = moved(&serde_json::json!({ "rewrites": [item, late] }).to_string());
            assert_eq!(
                moved.not_found.as_ref().map(|justified| justified.word),
                Some(NotFound::SinglePageApplication),
                "{source}"
            );
            assert!(moved.rewrites.is_empty());
            assert_eq!(notes(&moved, NoteKind::Stays).len(), 1, "{:?}", moved.notes);
            let excludes = source.contains("(?!");
            let reported = notes(&moved, NoteKind::Differs).iter().filter(|note| note.contains("rewrites")).count();
            assert_eq!(reported, usize::from(excludes), "{source}");
        }
    }
    // Paths left out by the page are still available to later rules.
    for (source, api, is_kept) in [
        ("/((?!api/).*)", "/api/:path*", true),
        ("/((?!api|static).*)", "/api/:path*", true),
        ("/((?!api|static).*)", "/:any*", true),
        ("/((?!api/.*).*)", "/api/v1/users", true),
        ("/((?!static/).*)", "/api/:path*", false),
        ("/(.*)", "/api/:path*", false),
    ] {
        let shell = serde_json::json!({ "source": source, "destination": "/index.html" });
        let api = serde_json::json!({ "source": api, "destination": "https://api.example.com/x" });
        let moved = moved(&serde_json::json!({ "rewrites": [shell, api] }).to_string());
        assert_eq!(moved.rewrites.is_empty(), !is_kept, "{source} {:?}", moved.notes);
        assert_eq!(notes(&moved, NoteKind::Stays).is_empty(), is_kept, "{source}");
        written(&moved);
    }
    let routes =
        r#"{"routes":[{"handle":"filesystem"},{"src":"/api","dest":"/x"},{"src":"/(.*)","dest":"/index.html"}]}"#;
    let moved = moved(routes);
    assert_eq!(moved.not_found.as_ref().map(|justified| justified.word), Some(NotFound::SinglePageApplication));
    assert_eq!(notes(&moved, NoteKind::Lost).len(), 1);
}

#[test]
fn headers_of_vercel_are_the_same_here() {
    for (source, expected) in [
        ("/(.*)", &["/* X-A: b"][..]),
        ("/:path*", &["/* X-A: b"]),
        ("/service-worker.js", &["/service-worker.js X-A: b"]),
        ("/assets/(.*)", &["/assets/* X-A: b"]),
        ("/(.*)\\.(js|css)", &["/*.js X-A: b", "/*.css X-A: b"]),
        ("/(.*\\.woff2?)", &["/*.woff X-A: b", "/*.woff2 X-A: b"]),
        ("/:page/x", &["/:page/x X-A: b"]),
        ("/static/:file.js", &["/static/*.js X-A: b"]),
        ("/((?!api).*)", &[]),
        ("/:id(\\d+)", &[]),
    ] {
        let field = serde_json::json!({ "key": "X-A", "value": "b" });
        let item = serde_json::json!({ "source": source, "headers": [field] });
        let moved = moved(&serde_json::json!({ "headers": [item] }).to_string());
        assert_eq!(header_lines(&moved), expected, "{source} {:?}", moved.notes);
        assert_eq!(notes(&moved, NoteKind::Lost).is_empty(), !expected.is_empty(), "{source}");
        let is_wider = notes(&moved, NoteKind::Differs).iter().any(|note| note.contains("takes slashes too"));
        assert_eq!(is_wider, source.contains("file.js"), "{source}");
        written(&moved);
    }
    let text = r#"{"headers":[{"source":"/u/:id/(.*)","headers":[
        {"key":"X-Id","value":":id https://x:443"},{"key":"x-id","value":":id again"},{"key":"Connection","value":"close"}]},
        {"source":"/x","has":[{"type":"cookie","key":"a"}],"headers":[{"key":"A","value":"b"}]}]}"#;
    let moved = moved(text);
    assert_eq!(header_lines(&moved), ["/u/:id/* x-id: :id again"]);
    assert_eq!(notes(&moved, NoteKind::Lost).len(), 2, "{:?}", moved.notes);
}

#[test]
fn nothing_stands_for_a_placeholder_of_a_field_that_is_absent() {
    let values = [("X-A", ":path"), ("X-B", "in=:path"), ("X-C", "/x/:path")];
    let fields = values.map(|(key, value)| serde_json::json!({ "key": key, "value": value }));
    let moved = moved(&serde_json::json!({ "headers": [{ "source": "/docs/:path?", "headers": fields }] }).to_string());
    let lines = header_lines(&moved);
    assert!(lines.contains(&"/docs X-B: in=; X-C: /x/".to_owned()), "{lines:?}");
    assert!(lines.contains(&"/docs/:path X-A: :path; X-B: in=:path; X-C: /x/:path".to_owned()), "{lines:?}");
    assert!(notes(&moved, NoteKind::Lost)[0].contains("`X-A` has no value"), "{:?}", moved.notes);
    written(&moved);
}

#[test]
fn clean_urls_and_trailing_slash_of_vercel_have_a_way_each() {
    use HtmlHandling::{AsIs, AutoTrailingSlash, DropTrailingSlash, ForceTrailingSlash};
    for (clean_urls, trailing_slash, expected, is_exact) in [
        (true, Some(false), DropTrailingSlash, true),
        (true, Some(true), ForceTrailingSlash, true),
        (true, None, DropTrailingSlash, false),
        (false, None, AsIs, false),
        (false, Some(true), AutoTrailingSlash, false),
        (false, Some(false), DropTrailingSlash, false),
    ] {
        let text = serde_json::json!({ "cleanUrls": clean_urls, "trailingSlash": trailing_slash }).to_string();
        let moved = moved(&text);
        assert_eq!(moved.html_handling.as_ref().map(|justified| justified.word), Some(expected), "{text}");
        assert_eq!(notes(&moved, NoteKind::Differs).is_empty(), is_exact, "{text}");
        written(&moved);
    }
}

#[test]
fn everything_else_of_vercel_json_is_reported_with_its_line() {
    let text = "{\n\"$schema\": \"x\", \"version\": 2,\n\"name\": \"shop\",\n\"outputDirectory\": \"./build/client/\",\n\
        \"buildCommand\": \"x\",\n\"framework\": null,\n\"functions\": {},\n\"crons\": [],\n\"regions\": [],\n\
        \"images\": {},\n\"env\": {},\n\"git\": {},\n\"fluid\": true\n}";
    let moved = moved(text);
    assert_eq!((moved.app.as_deref(), moved.www.as_deref()), (Some("shop"), Some("build/client")));
    let lost: Vec<(usize, &str)> =
        moved.notes.iter().filter(|n| n.kind == NoteKind::Lost).map(|n| (n.line, n.setting.as_str())).collect();
    let expected = ["buildCommand", "framework", "functions", "crons", "regions", "images", "env", "git", "fluid"];
    assert_eq!(lost, (5..).zip(expected).collect::<Vec<_>>());
    let around = Around { has: &|path| ["api", "www/_headers"].contains(&path), www: "www", is_explicit: false };
    let reported: Vec<String> = read("{}", &around).unwrap().notes.into_iter().map(|note| note.setting).collect();
    assert_eq!(reported, ["cleanUrls, trailingSlash", "api/", "_headers"]);
}
