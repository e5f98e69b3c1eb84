//! `routes` reports for every path the later answer of the edge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use devanture_config::manifest::FileEntry;
use devanture_config::site_toml::SiteFile;
use devanture_config::{Digest, Manifest};
use devanture_site::answers::{BackendTo, End, ManifestSite, Request};
use devanture_site::rules::{At, headers::Change, of_manifest, restricted::RestrictedPaths};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use reqwest::Method;

use crate::e2e::backends::echo;
use crate::support::edge::{Edge, Ran, edge, files};

const HOST: &str = "shop.localhost";
const PAGE: &str = "text/html,*/*;q=0.8";

/// Every kind of rule; `BACKEND` is a backend's address.
const REDIRECTS: &str = "/old/* /about.html 301\n/moved /docs/ 302\n/gone /404.html 410\n/shadowed /about.html 200!\n\
    /query id=:id /:id.html 301\n/lang/* /docs/guide 302 Language=de\n/beta /about 200! Cookie=beta\n\
    /only/* /private/:splat 200\n/proxied/* BACKEND/sub/:splat 200\n/inner/* /api/:splat 200\n\
    https://shop.localhost/here /about 302\nhttps://other.example/there /about 302\n/abroad /about 302 Country=fr\n\
    /same/* /same/:splat 301!\n/far https://other.example/x 302\n/app/* /index.html 200\n";
const HEADERS: &str = "/*\n  X-Rule-All: 1\n/docs/*\n  X-Rule-Docs: 1\n/private/*\n  Basic-Auth: ann:secret\n  X-Rule-Private: 1\n\
    /api/*\n  X-Rule-Api: 1\n";
const ROUTES: &str = "[[routes]]\npath = \"/api/*\"\nto = \"BACKEND\"\n[[routes]]\npath = \"/api/v2/*\"\nto = \"pool\"\n\
    strip_prefix = true\n[[routes]]\npath = \"/hook\"\nto = \"pool\"\n[upstreams.pool]\nto = [\"BACKEND\"]\n";
const FILES: [&str; 16] = [
    "index.html",
    "about.html",
    "docs/index.html",
    "docs/guide.html",
    "docs/404.html",
    "both.html",
    "both/index.html",
    "a b.html",
    "shadowed.html",
    "404.html",
    "caf\u{e9}.txt",
    "private/page.html",
    "api/file.html",
    "img/leaf.png",
    ".hidden",
    ".well-known/devanture/other.json",
];

/// Paths, each with a distinct behaviour.
const PATHS: [&str; 40] = [
    "/",
    "/index.html",
    "/about",
    "/about/",
    "/about.html?x=1",
    "/ABOUT",
    "/docs",
    "/docs/guide.html",
    "/docs/none",
    "/both",
    "/a%20b.html",
    "/%61bout.html",
    "/cafe%CC%81.txt",
    "/.hidden",
    "/_redirects",
    "/.well-known/devanture/release.json",
    "/.well-known/devanture/other.json",
    "/.well-known/devanture/none",
    "/old/thing?a=b",
    "/old//thing",
    "/moved",
    "/gone",
    "/shadowed",
    "/query?id=about",
    "/query",
    "/lang/x",
    "/beta",
    "/only/page.html",
    "/proxied/a/b?c=d",
    "/inner/x",
    "/here",
    "/there",
    "/abroad",
    "/same/x",
    "/far",
    "/app/cart",
    "/api/x?y=z",
    "/api/v2/users",
    "/API/x",
    "/api%2Fx",
];

/// Paths in a form avoided by well-behaved clients.
const RUDE: [&str; 8] = [
    "/docs/../about",
    "/docs/./guide",
    "/api/../about.html",
    "/x/../api/v2/y",
    "/api/./x?q",
    "/x/%2e%2e/about",
    "/api/..%2Fx",
    "/about\\x",
];

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A site on the disk, with its answers by `routes`.
struct Known {
    manifest: Manifest,
    site: SiteFile,
    redirects: Vec<u8>,
    headers: Vec<u8>,
}

impl Known {
    fn read(folder: &Path) -> Self {
        let contents: BTreeMap<String, Vec<u8>> = files(&folder.join("www"));
        let entry = |bytes: &[u8]| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
        let entries = contents.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes)));
        let mut manifest = Manifest::of_files(entries.collect());
        let text = std::fs::read_to_string(folder.join("devanture.toml")).unwrap();
        let site = SiteFile::parse("devanture.toml", &text).unwrap();
        (manifest.base, manifest.env) = (site.base.clone(), site.env.clone());
        let file = |name: &str| contents[name].clone();
        Self { manifest, site, redirects: file("_redirects"), headers: file("_headers") }
    }

    fn site(&self) -> ManifestSite<'_> {
        let lines = self.site.lines_in(None);
        let at = |table, index| -> At { lines.at(table, index) };
        let (redirects, headers) = (Some(&self.redirects[..]), Some(&self.headers[..]));
        let (rules, _) = of_manifest(&self.manifest, "prod", redirects, headers, 1000, "devanture.toml", &at);
        let restricted = RestrictedPaths::of(&self.manifest, redirects, headers, 1000);
        ManifestSite::new(&self.manifest, "prod", rules, restricted.as_ref())
    }
}

fn build(folder: &Path, handling: &str, not_found: &str, meaning: &str, backend: &str) {
    for path in FILES {
        write(folder, &format!("www/{path}"), &format!("this is {path}"));
    }
    let redirects: String = match meaning {
        "netlify" => REDIRECTS.to_owned(),
        // Cloudflare has none of the remaining rules.
        _ => {
            let others = ['!', '='];
            let fine = |line: &&str| !line.contains(others) && !line.contains("410") && !line.starts_with("https:");
            REDIRECTS.lines().filter(fine).map(|line| format!("{line}\n")).collect()
        }
    };
    // Only Netlify has passwords.
    let headers =
        if meaning == "netlify" { HEADERS.to_owned() } else { HEADERS.replace("  Basic-Auth: ann:secret\n", "") };
    write(folder, "www/_redirects", &redirects.replace("BACKEND", backend));
    write(folder, "www/_headers", &headers);
    let toml = format!(
        "app = \"shop\"\nhtml_handling = \"{handling}\"\nnot_found = \"{not_found}\"\nrules = \"{meaning}\"\ncors = [\"http://localhost:5173\"]\n{ROUTES}"
    );
    write(folder, "devanture.toml", &toml.replace("BACKEND", backend));
}

/// The compared parts of an answer.
#[derive(Debug)]
struct Came {
    status: u16,
    location: Option<String>,
    fields: BTreeSet<String>,
    /// True if pages of a second origin may read the answer.
    is_readable: bool,
    body: String,
}

/// Returns the difference between the edge's answer and the explanation, if any.
fn differs(site: &ManifestSite<'_>, request: &Request<'_>, came: &Came) -> Option<String> {
    let explained = site.explain(request);
    let is_head = request.method == "HEAD";
    let is_so = match &explained.decided.end {
        End::Backend { path_and_query, to } => {
            let line = format!("{} {path_and_query} HTTP/1.1", request.method);
            let is_there = match to {
                BackendTo::Route(number) => site.routes().get(*number).is_some(),
                BackendTo::Origin(_) => true,
            };
            is_there && came.status == 200 && (is_head || came.body.contains(&line))
        }
        End::File { file, status } => {
            let path = site.path(*file).unwrap();
            came.status == *status && (is_head || came.body == format!("this is {path}"))
        }
        End::Methods => came.status == 204 && !came.is_readable,
        End::Preflight => came.status == 204 && came.is_readable,
        End::Nothing => came.status == 404 && !came.body.starts_with("this is "),
        End::Own(_) => came.status == 200 && (is_head || came.body.starts_with('{')),
        End::Redirect { status, location } => came.status == *status && came.location.as_ref() == Some(location),
        End::Refused(why) => came.status == why.status(),
    };
    let names = |number: &usize| {
        let rule = site.field_rule(*number).unwrap();
        rule.changes.iter().filter_map(|change| match change {
            Change::Set { name, .. } => Some(name.clone()),
            Change::Remove(_) => None,
        })
    };
    let fields: BTreeSet<String> = explained.fields.iter().flat_map(names).collect();
    let last = explained.notes.last().is_some_and(|note| note.answers);
    let one = explained.notes.iter().filter(|note| note.answers).count() == 1;
    let may_read = explained.cors.is_some() == came.is_readable;
    let is_whole = may_read && is_so && fields == came.fields && last && one;
    (!is_whole).then(|| format!("{request:?}\n{came:?}\n{explained:#?}"))
}

async fn ask(edge: &Edge, client: &reqwest::Client, request: &Request<'_>) -> Came {
    let query = request.query.map_or_else(String::new, |query| format!("?{query}"));
    let method = Method::from_bytes(request.method.as_bytes()).unwrap();
    let mut requests = client.request(method, edge.url(HOST, &format!("{}{query}", request.path)));
    for (name, value) in request.headers {
        requests = requests.header(name, value);
    }
    let answer = requests.send().await.unwrap();
    let fields = answer.headers().keys().map(ToString::to_string).filter(|name| name.starts_with("x-rule-"));
    let is_readable = answer.headers().contains_key("access-control-allow-origin");
    let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    Came {
        status: answer.status().as_u16(),
        location,
        is_readable,
        fields: fields.collect(),
        body: answer.text().await.unwrap(),
    }
}

/// Paths, methods and fields in any combination.
fn requests() -> impl Strategy<Value = (String, Option<&'static str>, &'static str, Vec<(String, String)>)> {
    let segment = proptest::sample::select(vec![
        "",
        "about",
        "about.html",
        "About",
        "docs",
        "guide",
        "guide.html",
        "index",
        "index.html",
        "both",
        "api",
        "v2",
        "API",
        "hook",
        "private",
        "page",
        "page.html",
        "app",
        "old",
        "moved",
        "only",
        "lang",
        "beta",
        "proxied",
        "inner",
        "same",
        "shadowed",
        "a%20b.html",
        "a b",
        "%61bout",
        "x%2Fy",
        "%2f",
        "caf\u{e9}.txt",
        "cafe%CC%81.txt",
        "leaf.png",
        "img",
        "none.js",
        "%5c",
        "%zz",
        "a;b",
        "it's",
        "~x",
        "%7Ex",
        ".hidden",
        "%00",
        "file.html",
        "404.html",
        "far",
        "*",
    ]);
    let path = (proptest::collection::vec(segment, 0..4), any::<bool>())
        .prop_map(|(segments, is_folder)| format!("/{}{}", segments.join("/"), if is_folder { "/" } else { "" }));
    let query = proptest::sample::select(vec![None, None, Some("id=about"), Some("x=1&y=%20")]);
    let method = prop_oneof![6 => Just("GET"), 1 => Just("HEAD"), 1 => Just("POST"), 2 => Just("OPTIONS"), 1 => Just("BREW"), 1 => Just("TRACE")];
    let field = |name: &'static str, values: Vec<&'static str>| {
        proptest::sample::select(values)
            .prop_map(move |value| (!value.is_empty()).then(|| (name.to_owned(), value.to_owned())))
    };
    let fields = (
        field("accept", vec![PAGE, "*/*", "application/json"]),
        field("accept-language", vec!["", "de", "fr, de;q=0.5"]),
        field("cookie", vec!["", "", "beta=1"]),
        // ann:secret
        field("authorization", vec!["", "", "Basic YW5uOnNlY3JldA==", "Basic eDp5"]),
        field("origin", vec!["", "http://localhost:5173", "http://localhost:1"]),
        field("access-control-request-method", vec!["", "POST"]),
        field("sec-fetch-dest", vec!["", "", "document", "image", "empty"]),
    );
    let fields =
        fields.prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].into_iter().flatten().collect::<Vec<_>>());
    (path, query, method, fields)
}

#[tokio::test]
async fn routes_says_of_every_path_what_the_edge_answers() {
    let backend = format!("http://{}", echo());
    let edge = edge().with_table("[upstreams]\nallow = [\"127.0.0.0/8\"]\n").start();
    let client = edge.client(true);
    let mut runner = TestRunner::deterministic();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (handling, not_found, meaning) in [
        ("as-is", "404-page", "netlify"),
        ("auto-trailing-slash", "single-page-application", "netlify"),
        ("drop-trailing-slash", "404-page", "cloudflare"),
        ("force-trailing-slash", "single-page-application", "cloudflare"),
        ("none", "none", "netlify"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        build(folder.path(), handling, not_found, meaning, &backend);
        let arguments = ["push", "--json", "--allow-warnings"];
        let pushed = Ran::of(edge.command(folder.path(), "shop", &arguments).output().unwrap());
        assert_eq!(pushed.code, Some(0), "{pushed:#?}");
        let known = Known::read(folder.path());
        let site = known.site();
        let fixed = PATHS.iter().flat_map(|path| {
            [PAGE, "*/*"].map(|accept| {
                let (path, query) = path.split_once('?').map_or((*path, None), |(path, query)| (path, Some(query)));
                (path.to_owned(), query, "GET", vec![("accept".to_owned(), accept.to_owned())])
            })
        });
        let any: Vec<_> = (0..150).map(|_| requests().new_tree(&mut runner).unwrap().current()).collect();
        let preflights = ["/api/x", "/api/v2/y", "/proxied/z", "/hook", "/about"].map(|path| {
            let fields =
                [("accept", "*/*"), ("origin", "http://localhost:5173"), ("access-control-request-method", "PUT")];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            (path.to_owned(), None, "OPTIONS", fields.to_vec())
        });
        for (path, query, method, headers) in fixed.chain(preflights).chain(any) {
            // In the form sent by the client.
            let sent: url::Url = edge.url(HOST, &path).parse().unwrap();
            let request = Request { method, path: sent.path(), query, host: HOST, headers: &headers };
            let came = ask(&edge, &client, &request).await;
            let wrong = differs(&site, &request, &came);
            assert!(wrong.is_none(), "{handling} {not_found} {meaning}: {}", wrong.unwrap());
            let kind = match site.explain(&request).decided.end {
                End::Backend { .. } => "backend",
                End::File { .. } => "file",
                End::Methods => "methods",
                End::Preflight => "preflight",
                End::Nothing => "nothing",
                End::Own(_) => "own",
                End::Redirect { .. } => "redirect",
                End::Refused(_) => "refused",
            };
            *kinds.entry(kind).or_default() += 1;
        }
        for path in RUDE {
            let came = rudely(&edge, path);
            let headers = [("accept".to_owned(), PAGE.to_owned())];
            let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
            let request = Request { method: "GET", path, query, host: HOST, headers: &headers };
            let wrong = differs(&site, &request, &came);
            assert!(wrong.is_none(), "{handling} {not_found} {meaning}: {}", wrong.unwrap());
        }
    }
    // A test with a single outcome would prove little.
    assert!(kinds.len() == 8 && kinds.values().all(|count| *count >= 5), "{kinds:?}");
}

/// Requests a path exactly as written.
fn rudely(edge: &Edge, path: &str) -> Came {
    let resolve = format!("{HOST}:{}:127.0.0.1", edge.https().port());
    let ca = edge.ca();
    let requests = Command::new("curl")
        .args(["-sS", "-i", "--http1.1", "--path-as-is", "--max-time", "20", "--resolve", &resolve, "-H"])
        .arg(format!("accept: {PAGE}"))
        .arg("--cacert")
        .arg(ca)
        .arg(edge.url(HOST, path))
        .output()
        .unwrap();
    assert!(requests.status.success(), "{requests:?}");
    let text = String::from_utf8(requests.stdout).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let lines = || head.lines().filter_map(|line| line.split_once(": "));
    Came {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        location: lines().find(|(name, _)| *name == "location").map(|(_, value)| value.to_owned()),
        fields: lines().map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("x-rule-")).collect(),
        is_readable: lines().any(|(name, _)| name == "access-control-allow-origin"),
        body: body.to_owned(),
    }
}

#[tokio::test]
async fn the_command_says_what_the_edge_answers() {
    let backend = format!("http://{}", echo());
    let edge = edge().with_table("[upstreams]\nallow = [\"127.0.0.0/8\"]\n").start();
    let client = edge.client(true);
    let folder = tempfile::tempdir().unwrap();
    build(folder.path(), "auto-trailing-slash", "404-page", "netlify", &backend);
    let run = |arguments: &[&str]| Ran::of(edge.command(folder.path(), "shop", arguments).output().unwrap());
    assert_eq!(run(&["push", "--json", "--allow-warnings"]).code, Some(0));
    for text in PATHS.into_iter().step_by(3) {
        let accept = format!("Accept: {PAGE}");
        let ran = run(&["routes", "--json", "--header", &accept, "--header", "Host: shop.localhost", text]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let printed = &ran.json()["answer"];
        let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
        let headers = [("accept".to_owned(), PAGE.to_owned())];
        let came = ask(&edge, &client, &Request { method: "GET", path, query, host: HOST, headers: &headers }).await;
        let place = format!("{text}: {printed}, and {came:?} came");
        match printed["kind"].as_str().unwrap() {
            "backend" => {
                assert!(came.body.contains(&format!("GET {} ", printed["asked_for"].as_str().unwrap())), "{place}");
            }
            _ => assert_eq!(printed["status"], came.status, "{place}"),
        }
        if let Some(file) = printed["answered_with"].as_str() {
            assert_eq!(came.body, format!("this is {file}"), "{place}");
        }
        assert_eq!(printed["location"].as_str(), came.location.as_deref(), "{place}");
    }
}
