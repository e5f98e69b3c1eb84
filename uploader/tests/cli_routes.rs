//! `devanture routes`: the source of an answer, its position, the stages tried before, and files hidden by routes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on should stop where it is")]

use crate::cli_support::Project;
use serde_json::{Value, json};

const TOML: &str = "app = \"shop\"\nwww = \"dist\"\nrules = \"netlify\"\n\
    [[routes]]\npath = \"/*\"\nto = \"http://127.0.0.1:1\"\n\
    [[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:2\"\nhost = \"upstream\"\n\
    [[routes]]\npath = \"/api/v2/*\"\nto = \"pool\"\nstrip_prefix = true\ntimeout_ms = 3000\n\
    [[routes]]\npath = \"/api/v2/ping\"\nto = \"http://127.0.0.1:3\"\n\
    [upstreams.pool]\nto = [\"http://10.0.0.5:3000\", \"http://10.0.0.6:3000\"]\n";

fn project(toml: &str, files: &[(&str, &str)]) -> Project {
    let project = Project::new(&[("devanture.toml", toml), ("dist/index.html", "hi")]);
    for (path, text) in files {
        project.file(&format!("dist/{path}"), text);
    }
    project
}

#[track_caller]
fn explained(project: &Project, arguments: &[&str]) -> Value {
    let ran = project.run(&[&["routes", "--json"], arguments].concat());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran.json()
}

#[test]
fn the_longest_route_answers_wherever_it_stands() {
    let project = project(TOML, &[]);
    for (path, route, line, asked_for) in [
        ("/api/v2/ping", "/api/v2/ping", 16, "/api/v2/ping"),
        ("/api/v2/ping/", "/api/v2/*", 11, "/ping/"),
        ("/api/v2", "/api/v2/*", 11, "/"),
        ("/api/v2/a%20b?x=1", "/api/v2/*", 11, "/a%20b?x=1"),
        ("/api/v3", "/api/*", 7, "/api/v3"),
        ("/api/a%2Fb", "/api/*", 7, "/api/a%2Fb"),
        ("/api%2Fv2/x", "/*", 4, "/api%2Fv2/x"),
        ("/apix", "/*", 4, "/apix"),
        ("/", "/*", 4, "/"),
    ] {
        let json = explained(&project, &[path]);
        let answer = &json["answer"];
        assert_eq!(
            (&answer["kind"], &answer["by"], &answer["route"]),
            (&json!("backend"), &json!("routes"), &json!(route))
        );
        assert_eq!((&answer["file"], &answer["line"]), (&json!("devanture.toml"), &json!(line)), "{path}");
        assert_eq!(answer["asked_for"], asked_for, "{path}");
        // Earlier stages had no answer, and the last had.
        let way = json["way"].as_array().unwrap();
        let answers: Vec<bool> = way.iter().map(|note| note["answers"].as_bool().unwrap()).collect();
        assert!(answers.split_last().is_some_and(|(last, before)| *last && !before.contains(&true)), "{json}");
    }
    let pool = explained(&project, &["/api/v2/x"]);
    let pool = &pool["answer"];
    assert_eq!((&pool["upstream"], &pool["to"], &pool["strip_prefix"]), (&json!("pool"), &json!("pool"), &json!(true)));
    assert_eq!(pool["members"], json!(["http://10.0.0.5:3000", "http://10.0.0.6:3000"]));
    let times = json!({ "connect_ms": 3000, "first_byte_ms": 3000, "idle_ms": 3000, "total_ms": null });
    assert_eq!(pool["timeouts"], times);
    let plain = explained(&project, &["/api/x"]);
    assert_eq!((&plain["answer"]["host"], &plain["answer"]["upstream"]), (&json!("target"), &Value::Null));
    assert_eq!(plain["answer"]["timeouts"]["connect_ms"], 10_000);
}

#[test]
fn a_route_that_leaves_files_to_the_site_says_so() {
    let toml = "app = \"shop\"\nwww = \"dist\"\n[[routes]]\npath = \"/*\"\nto = \"http://127.0.0.1:1\"\n\
        files_first = true\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:2\"\n";
    let project = project(toml, &[("a.css", "")]);
    let json = explained(&project, &[]);
    let first: Vec<&Value> = json["routes"].as_array().unwrap().iter().map(|route| &route["files_first"]).collect();
    assert_eq!(first, [&json!(false), &json!(true)], "{json}");
    assert_eq!(explained(&project, &["/x"])["answer"]["files_first"], true);
    assert_eq!(explained(&project, &["/a.css"])["answer"]["kind"], "file");
    let (list, answer) = (project.run(&["routes"]).stdout, project.run(&["routes", "/x"]).stdout);
    assert!(list.contains("http://127.0.0.1:1 (files_first)") && !list.contains("127.0.0.1:2 (files"), "{list}");
    assert!(answer.contains("by the route `/*` (files_first)"), "{answer}");
}

#[test]
fn a_page_of_an_origin_that_is_named_may_use_a_backend() {
    let toml = TOML.replacen('\n', "\ncors = [\"http://localhost:5173\"]\n", 1);
    let project = project(&toml, &[]);
    let requests = |method: &str, origin: &str| {
        let origin = format!("Origin: {origin}");
        let preflight = "Access-Control-Request-Method: POST";
        explained(&project, &["/api/x", "--method", method, "--header", &origin, "--header", preflight])
    };
    let ours = requests("OPTIONS", "http://localhost:5173");
    assert_eq!((&ours["answer"]["kind"], &ours["answer"]["status"]), (&json!("preflight"), &json!(204)), "{ours}");
    assert_eq!((&ours["cors"], &ours["answer"]["by"]), (&json!("http://localhost:5173"), &json!("routes")));
    let post = requests("POST", "http://localhost:5173");
    assert_eq!((&post["cors"], &post["answer"]["kind"]), (&json!("http://localhost:5173"), &json!("backend")));
    let others = requests("OPTIONS", "http://localhost:1");
    assert_eq!((&others["cors"], &others["answer"]["kind"]), (&Value::Null, &json!("backend")));
}

#[test]
fn an_overlay_and_a_table_of_an_environment_say_otherwise() {
    let toml = "app = \"shop\"\nwww = \"dist\"\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n[env.next]\nroutes = []\n";
    let project = project(toml, &[("404.html", "none")]);
    project.file("devanture.staging.toml", "\n[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:2\"\n");
    let answer = |env: &str| explained(&project, &["/api/x", "--env", env])["answer"].clone();
    assert_eq!((&answer("prod")["to"], &answer("prod")["line"]), (&json!("http://127.0.0.1:1"), &json!(3)));
    let staging = answer("staging");
    assert_eq!((&staging["to"], &staging["file"]), (&json!("http://127.0.0.1:2"), &json!("devanture.staging.toml")));
    assert_eq!(staging["line"], 2);
    let next = answer("next");
    assert_eq!(
        (&next["status"], &next["answered_with"], &next["by"]),
        (&json!(404), &json!("404.html"), &json!("not-found"))
    );
}

#[test]
fn what_a_visitor_sends_decides() {
    let rules =
        "/lang/* /de 302 Language=de\n/beta /new 200! Cookie=beta\n/q id=:id /item/:id 301\n/* /index.html 200\n";
    let headers = "/private/*\n  Basic-Auth: ann:secret\n/new*\n  X-New: yes\n";
    let toml = "app = \"shop\"\nwww = \"dist\"\nrules = \"netlify\"\n";
    let files =
        [("_redirects", rules), ("_headers", headers), ("new.html", "n"), ("beta.html", "b"), ("private/a.html", "p")];
    let project = project(toml, &files);
    let end = |arguments: &[&str]| {
        let answer = &explained(&project, arguments)["answer"];
        let what = ["answered_with", "location"].into_iter().find_map(|key| answer[key].as_str()).unwrap_or("-");
        format!("{} {what} by {}", answer["status"], answer["by"].as_str().unwrap())
    };
    for (arguments, expected) in [
        (&["/cart"][..], "200 index.html by rules"),
        (&["/cart", "--header", "Accept: application/json"], "404 - by not-found"),
        (&["/cart.js"], "404 - by not-found"),
        (&["/lang/x", "--header", "accept-language: de-CH, en;q=0.5"], "302 /de by rules"),
        (&["/lang/x", "--header", "accept-language: en"], "200 index.html by rules"),
        (&["/beta"], "200 beta.html by files"),
        (&["/beta", "--header", "Cookie: beta=1"], "200 new.html by forced-rules"),
        (&["/q?id=7"], "301 /item/7 by rules"),
        (&["/private/a"], "401 - by access"),
        (&["/private/a", "--header", "Authorization: Basic YW5uOnNlY3JldA=="], "200 private/a.html by files"),
        (&["/new", "--method", "POST"], "405 - by files"),
        (&["/new", "--method", "OPTIONS"], "204 - by files"),
        (&["/x/../new"], "308 /new by spelling"),
        (&["/.well-known/devanture/env.json"], "200 - by own"),
        (&["/%zz"], "400 - by spelling"),
    ] {
        assert_eq!(end(arguments), expected, "{arguments:?}");
    }
    let json = explained(&project, &["/new"]);
    let fields = json!([{ "for": "/new*", "changes": ["x-new: yes"], "file": "dist/_headers", "line": 3 }]);
    assert_eq!(json["headers"], fields);
    let secret = project.run(&["routes", "/private/a", "--header", "Authorization: Basic YW5uOnNlY3JldA=="]);
    assert!(!format!("{secret:?}").contains("secret"), "{secret:#?}");
    // Reason why the page precedes the catch-all rule.
    let passed: Vec<&Value> =
        json["way"].as_array().unwrap().iter().filter(|note| note["stage"] == "forced-rules").collect();
    assert_eq!(passed.len(), 1, "{json}");
    assert_eq!((&passed[0]["file"], &passed[0]["line"]), (&json!("dist/_redirects"), &json!(4)));
}

#[test]
fn what_routes_take_from_the_site_is_named() {
    let toml = "app = \"shop\"\nwww = \"dist\"\nhtml_handling = \"auto-trailing-slash\"\n\
        [[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:1\"\n[[routes]]\npath = \"/about\"\nto = \"http://127.0.0.1:1\"\n";
    let files = [
        ("api/file.js", "f"),
        ("api/404.html", "stands in"),
        ("api/.hidden", "never served"),
        ("api/page.html", "a rewrite gives it"),
        ("apis.js", "another"),
        ("about.html", "only under its route's path"),
        ("about/index.html", "under another path"),
        ("_redirects", "/api/old /new 301\n/p /api/page 404\n/new /index.html 200\n"),
    ];
    let project = project(toml, &files);
    let json = explained(&project, &[]);
    let routes = json["routes"].as_array().unwrap();
    let shadows: Vec<(&str, &Value)> =
        routes.iter().map(|r| (r["path"].as_str().unwrap(), &r["shadows"]["files"])).collect();
    assert_eq!(shadows, [("/about", &json!(["about.html"])), ("/api/*", &json!(["api/file.js"]))]);
    let rule = json!([{ "from": "/api/old", "to": "/new", "file": "dist/_redirects", "line": 1 }]);
    assert_eq!(routes[1]["shadows"]["rules"], rule);
    let output = project.run(&["routes"]).stdout;
    assert!(output.contains("no visitor gets api/file.js") && output.contains("dist/_redirects:1"), "{output}");
    // A check reports the finding, too, and the finding can be silenced.
    let codes = |project: &Project| {
        let json = project.run(&["check", "--json", "--allow-warnings"]).json();
        let findings = json["findings"].as_array().unwrap().clone();
        let of = findings.iter().filter(|finding| finding["code"] == "shadowed-file");
        of.map(|finding| format!("{} {}", finding["file"].as_str().unwrap(), finding["target"])).collect::<Vec<_>>()
    };
    assert_eq!(codes(&project), ["dist/about.html \"/about\"", "dist/api/file.js \"/api/*\""]);
    project.file("devanture.toml", &format!("{toml}[check]\nignore = [\"shadowed-file:/api/*\"]\n"));
    assert_eq!(codes(&project), ["dist/about.html \"/about\""]);
}

#[test]
fn a_folder_or_an_address_may_be_named_and_what_is_neither_is_refused() {
    let project = project(TOML, &[]);
    project.file("other/x.js", "x");
    project.file("plain.toml", "app = \"shop\"\n");
    let file = explained(&project, &["--config", "plain.toml", "/x.js", "other"]);
    assert_eq!(file["answer"]["answered_with"], "x.js");
    assert_eq!(explained(&project, &["--config", "plain.toml", "other"])["routes"], json!([]));
    assert_eq!(explained(&project, &["https://shop.example/api/x?y#z"])["answer"]["asked_for"], "/api/x?y");
    assert_eq!(explained(&project, &["https://shop.example/api/x"])["host"], "shop.example");
    for arguments in [
        &["x", "other"][..],
        &["/x", "--header", "none"],
        &["/x", "--header", "a b: c"],
        &["/x", "--method", "A B"],
        &["https://", "other"],
    ] {
        project.run(&[&["routes", "--json"], arguments].concat()).failed("usage", 2);
    }
    project.run(&["routes", "--json", "/x", "missing"]).failed("missing_folder", 2);
}

#[test]
fn a_listed_hostname_leads_to_the_canonical_one() {
    let toml = "app = \"shop\"\nwww = \"dist\"\n[env.prod]\nhostnames = [\"www.example.org\", \"example.org\"]\n";
    let project = project(toml, &[]);
    let at = |host: &str| explained(&project, &["/?x=1", "--header", &format!("Host: {host}")])["answer"].clone();
    assert_eq!(at("example.org:443")["location"], "https://www.example.org/?x=1");
    assert_eq!((&at("example.org")["status"], &at("example.org")["by"]), (&json!(308), &json!("host")));
    assert_eq!(at("www.example.org")["answered_with"], "index.html");
    assert_eq!(explained(&project, &["/"])["host"], "www.example.org");
}
