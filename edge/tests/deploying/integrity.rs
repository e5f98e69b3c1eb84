//! Pages with integrity hashes of their scripts and styles, and the matching content security policy.

#![allow(clippy::disallowed_methods, reason = "a test moves a stored file away, as an accident would")]

use devanture_config::Digest;
use devanture_config::api::{DeployOptions, DeployReport, IntegrityReports, LiveIntegrity};
use devanture_config::problem::Code;
use devanture_config::site_toml::Integrity;
use http::{Method, StatusCode};
use serde_json::json;

use super::gate::push;
use crate::support::{Got, RunningEdge, edge, eventually, got};

const HOST: &str = "shop.localhost";
const REPORTS: &str = "/.well-known/devanture/integrity";
/// Script with a known hash, as browsers compute the hash.
const SCRIPT: &[u8] = b"alert('Hello, world.');";
const HASH: &str = "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=";
const PAGE: &str = "<!doctype html><script src=\"a.js\"></script><script src=/api/a.js></script>";
const SITE: &[(&str, &[u8])] = &[
    ("index.html", PAGE.as_bytes()),
    ("a.js", SCRIPT),
    ("api/a.js", SCRIPT),
    ("404.html", b"<script src=/a.js></script>"),
];
const TOML: &str = "integrity = \"enforce\"\n[[routes]]\npath = \"/api/*\"\nto = \"https://api.example.org\"\n\
    [env.staging]\nintegrity = \"report\"\nroutes = []\n[env.preview]\nintegrity = \"off\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_names_the_hashes_of_its_own_files_and_has_a_policy() {
    let edge = edge().start().await;
    let plain = push(&edge, "prod", "", DeployOptions::default(), SITE).await.unwrap();
    let before = edge.get(HOST, "/").await;
    assert_eq!((before.text(), before.headers.get("integrity-policy")), (PAGE.to_owned(), None));
    let pushed = push(&edge, "prod", TOML, DeployOptions::default(), SITE).await.unwrap();
    push(&edge, "staging", TOML, DeployOptions::default(), SITE).await.unwrap();
    assert_ne!(plain.version, pushed.version);
    let compress = pushed.steps.iter().find(|step| step.name == "compress").unwrap();
    assert!(compress.detail.contains("hashes in"), "{}", compress.detail);

    let hashed = format!(" integrity=\"{HASH}\" crossorigin=\"\"");
    let page = edge.get(HOST, "/").await;
    let expected = PAGE.replace("<script src=\"a.js\"", &format!("<script{hashed} src=\"a.js\""));
    assert_eq!(page.text(), expected);
    assert_eq!(page.header("content-length"), expected.len().to_string());
    assert_ne!(page.header("etag"), before.header("etag"));
    let policy = "blocked-destinations=(script), endpoints=(devanture-integrity)";
    assert_eq!(page.header("integrity-policy"), policy);
    assert_eq!(page.header("reporting-endpoints"), format!("devanture-integrity=\"{REPORTS}\""));
    let again = got(edge.visit(Method::GET, HOST, "/").header("if-none-match", page.header("etag"))).await;
    assert_eq!((again.status, again.header("integrity-policy")), (StatusCode::NOT_MODIFIED, policy));
    // The page for missing paths is a page, too.
    let missing = edge.get(HOST, "/missing").await;
    assert_eq!((missing.status, missing.header("integrity-policy")), (StatusCode::NOT_FOUND, policy));
    assert!(missing.text().contains(HASH));
    let script = edge.get(HOST, "/a.js").await;
    assert_eq!((script.text().as_bytes(), script.headers.get("integrity-policy")), (SCRIPT, None));

    // Without the route, both scripts are files of the version.
    let staging = edge.get("staging--shop.localhost", "/").await;
    assert_eq!(staging.text(), PAGE.replace("<script", &format!("<script{hashed}")));
    assert_eq!(staging.header("integrity-policy-report-only"), policy);
    assert_eq!(staging.headers.get("integrity-policy"), None);
    let preview = edge.get(&format!("{}--shop.localhost", pushed.version.short()), "/").await;
    assert_eq!((preview.text(), preview.headers.get("integrity-policy")), (PAGE.to_owned(), None));
    for (place, mode) in [("prod", Some(Integrity::Enforce)), ("staging", Some(Integrity::Report)), ("preview", None)] {
        let url = format!("/v1/apps/shop/environments/{place}/integrity");
        let live = got(edge.api(Method::GET, &url)).await.json::<IntegrityReports>().live;
        let expected = mode.map(|mode| LiveIntegrity { version: pushed.version, mode, pages: 2 });
        assert_eq!(live, expected, "{place}");
    }
    edge.stop().await;
}

/// Number of counted reports of the app.
async fn reports(edge: &RunningEdge) -> u64 {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    let count = metrics.lines().find_map(|line| line.strip_prefix("devanture_integrity_reports_total{app=\"shop\"} "));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_counted_and_the_last_distinct_ones_are_kept() {
    let edge = edge().start().await;
    push(&edge, "prod", "", DeployOptions::default(), SITE).await.unwrap();
    assert_ne!(got(edge.visit(Method::POST, HOST, REPORTS)).await.status, StatusCode::NO_CONTENT);
    push(&edge, "prod", TOML, DeployOptions::default(), SITE).await.unwrap();
    let before = reports(&edge).await;
    for body in [r#"[{"type":"integrity-violation"}]"#.to_owned(), "x".repeat(10_000)] {
        let sent = edge.visit(Method::POST, HOST, REPORTS).header("content-type", "application/reports+json");
        assert_eq!(got(sent.body(body)).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(edge.get(HOST, REPORTS).await.status, StatusCode::METHOD_NOT_ALLOWED);
    // Reports are stored for all edges of a process, of which the test may have two: each edge uses a unique URL.
    let cdn = format!("https://cdn.example/{}.js", edge.https().port());
    let body = |page: &str| {
        let body = json!({ "documentURL": page, "blockedURL": format!("{cdn}?q"), "destination": "script" });
        json!([{ "type": "integrity-violation", "url": page, "body": body }])
    };
    let page = format!("https://{HOST}/page?secret");
    for page in [&page, &page, "https://other.example/"] {
        let sent = edge.visit(Method::POST, HOST, REPORTS).header("content-type", "application/reports+json");
        assert_eq!(got(sent.body(body(page).to_string())).await.status, StatusCode::NO_CONTENT);
    }
    let kept = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/integrity")).await.json::<IntegrityReports>();
    let kept: Vec<_> = kept.reports.into_iter().filter(|report| report.blocked == cdn).collect();
    assert_eq!((kept.len(), kept[0].page.as_str(), kept[0].count, kept[0].enforced), (1, "/page", 2, true));
    assert_eq!(got(edge.api(Method::GET, "/v1/apps/no/environments/prod/integrity")).await.code(), Code::NotFound);
    // Metrics belong to the process, which other tests may share.
    let after = reports(&edge).await;
    assert!(after >= before + 2, "{before} {after}");
    edge.stop().await;
}

/// Runs edges in separate processes, since the limits apply per process.
#[tokio::test]
async fn a_message_beyond_the_limits_is_counted_and_not_read() {
    for (limit, value, is_kept) in [
        ("integrity_report_bytes_max", 100, false),
        ("integrity_reports_reading_max", 0, false),
        ("rules_max", 9, true),
    ] {
        let edge = edge().in_a_process().with_limit(limit, value).start().await;
        push(&edge, "prod", TOML, DeployOptions::default(), SITE).await.unwrap();
        let (page, blocked) = (format!("https://{HOST}/"), "https://cdn.example/a.js");
        let body = json!({ "documentURL": page, "blockedURL": blocked, "destination": "script" });
        let sent = edge.visit(Method::POST, HOST, REPORTS).header("content-type", "application/reports+json");
        let body = json!([{ "type": "integrity-violation", "body": body }]).to_string();
        assert_eq!(got(sent.body(body)).await.status, StatusCode::NO_CONTENT, "{limit}");
        assert_eq!(reports(&edge).await, 1, "{limit}");
        let found = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/integrity")).await;
        assert_eq!(found.json::<IntegrityReports>().reports.len(), usize::from(is_kept), "{limit}");
        edge.stop().await;
    }
}

const MODULES: &[(&str, &[u8])] = &[
    ("index.html", b"<!doctype html><script type=module src=/main.js></script>"),
    ("own.html", b"<script type=importmap>{\"imports\":{\"lib\":\"/lib.js\"}}</script><script type=module src=/main.js></script>"),
    ("meta.html", b"<meta http-equiv=content-security-policy content=\"script-src 'self'\"><script type=module src=/main.js></script>"),
    ("404.html", b"<script>import('/lib.js')</script>"),
    ("main.js", b"import './lib.js'; export const late = () => import(\"./late.js\")"),
    ("lib.js", SCRIPT),
    ("late.js", b"/['\"]/.test('x'); import './api/a.js'"),
    ("api/a.js", SCRIPT),
];

/// Import map in the page at a path, and the `Content-Security-Policy` of the response.
async fn map_and_policy(edge: &RunningEdge, path: &str) -> (Option<serde_json::Value>, Option<String>) {
    let page = edge.get(HOST, path).await;
    let text = page.text();
    let map = text.split_once("importmap").and_then(|(_, rest)| rest.split_once('>'));
    let map = map.and_then(|(_, rest)| rest.split_once("</script>"));
    let policy = page.headers.get("content-security-policy").map(|value| value.to_str().unwrap().to_owned());
    if let (Some((text, _)), Some(policy)) = (map, &policy) {
        // Firefox and Safari run an inline import map only by hash.
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
        assert!(policy.contains(&format!("script-src 'self' 'sha256-{hash}'")), "{policy}");
    }
    (map.map(|(map, _)| serde_json::from_str(map).unwrap()), policy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_modules_have_their_hashes_in_an_import_map() {
    let edge = edge().start().await;
    let toml =
        format!("{TOML}[[headers]]\nfor = \"/*\"\nset = {{ content-security-policy = \"script-src 'self'\" }}\n");
    let pushed = push(&edge, "prod", &toml, DeployOptions::default(), MODULES).await.unwrap();
    let compress = pushed.steps.iter().find(|step| step.name == "compress").unwrap();
    assert!(compress.detail.contains("with a Content-Security-Policy that refuses"), "{}", compress.detail);
    let (map, policy) = map_and_policy(&edge, "/").await;
    let integrity = map.unwrap()["integrity"].clone();
    let mut addresses: Vec<&String> = integrity.as_object().unwrap().keys().collect();
    addresses.sort();
    // A backend's response has no hash of the edge, and the entry script's hash is in the script tag.
    assert_eq!(addresses, ["/late.js", "/lib.js"]);
    assert_eq!(integrity["/lib.js"], HASH);
    assert!(policy.is_some());
    let (own, _) = map_and_policy(&edge, "/own").await;
    let own = own.unwrap();
    assert_eq!((&own["imports"]["lib"], &own["integrity"]), (&"/lib.js".into(), &integrity));
    let (missing, policy) = map_and_policy(&edge, "/missing").await;
    assert_eq!(missing.unwrap()["integrity"], json!({ "/lib.js": HASH }));
    assert!(policy.is_some());
    let (none, policy) = map_and_policy(&edge, "/meta").await;
    assert_eq!((none, policy.as_deref()), (None, Some("script-src 'self'")));
    let script = edge.get(HOST, "/lib.js").await;
    assert_eq!(script.header("content-security-policy"), "script-src 'self'");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_reaches_too_many_modules_is_served_as_it_is() {
    for limit in [("integrity_map_bytes_max", 100), ("integrity_modules_max", 2)] {
        let edge = edge().with_limit(limit.0, limit.1).start().await;
        let pushed = push(&edge, "prod", TOML, DeployOptions::default(), MODULES).await.unwrap();
        let compress = pushed.steps.iter().find(|step| step.name == "compress").unwrap();
        assert!(compress.detail.contains("without: too many modules"), "{}", compress.detail);
        let page = edge.get(HOST, "/").await;
        assert_eq!((page.text().as_bytes(), page.headers.get("integrity-policy")), (MODULES[0].1, None));
        edge.stop().await;
    }
}

/// Result of the push's `compress` step, and the page.
async fn compressed(edge: &RunningEdge, site: &[(&str, &[u8])]) -> (String, String) {
    let pushed = push(edge, "prod", TOML, DeployOptions::default(), site).await.unwrap();
    let compress = pushed.steps.iter().find(|step| step.name == "compress").unwrap();
    (compress.detail.clone(), edge.get(HOST, "/").await.text())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_page_neither_fills_the_memory_of_an_edge_nor_keeps_it_busy() {
    let edge = edge().start().await;
    let long = format!("<base href=/{}/>{}", "b".repeat(450_000), "<link rel=stylesheet href=a>".repeat(20_000));
    let names: String = (0..8_000).map(|number| format!("\"p{number}/\":\"/\",")).collect();
    let imports: String = (0..8_000).map(|number| format!("import'b{number}';")).collect();
    let names = format!(
        "<script type=importmap>{{\"imports\":{{{names}\"q/\":\"/\"}}}}</script><script type=module>{imports}</script>"
    );
    for page in [long, names] {
        let (said, served) = compressed(&edge, &[("index.html", page.as_bytes()), ("a.js", SCRIPT)]).await;
        assert!(said.contains("1 page without: `devanture check` says why"), "{said}");
        assert!(served == page);
    }
    edge.stop().await;
    // The cost of a push is bounded for all pages together; pages beyond the limit are served unchanged.
    for (limit, value) in [("integrity_steps_max", 10), ("integrity_memory_bytes_max", 50)] {
        let edge = crate::support::edge().with_limit(limit, value).start().await;
        let (said, served) = compressed(&edge, MODULES).await;
        assert!(said.contains(limit), "{said}");
        assert_eq!(served.as_bytes(), MODULES[0].1, "{limit}");
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_of_a_stored_version_takes_its_pages() {
    let edge = edge().start().await;
    let (said, served) = compressed(&edge, SITE).await;
    assert!(said.contains("hashes in") && !said.contains("as they are stored"), "{said}");
    let (again, unchanged) = compressed(&edge, SITE).await;
    assert!(again.contains("as they are stored"), "{again}");
    assert!(served == unchanged && served.contains(HASH));
    // A lost page is generated again.
    let page = Digest::of(served.as_bytes()).to_string();
    let stored = edge.data_dir().join("blobs").join(&page[..2]).join(&page);
    std::fs::remove_file(&stored).unwrap();
    let (made, unchanged) = compressed(&edge, SITE).await;
    assert!(!made.contains("as they are stored"), "{made}");
    assert_eq!((unchanged, std::fs::read(&stored).unwrap()), (served.clone(), served.into_bytes()));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_were_lost_are_served_again_once_they_are_stored() {
    let edge = edge().start().await;
    let (_, served) = compressed(&edge, SITE).await;
    let page = Digest::of(served.as_bytes()).to_string();
    let stored = edge.data_dir().join("blobs").join(&page[..2]).join(&page);
    let kept = stored.with_extension("kept");
    std::fs::rename(&stored, &kept).unwrap();
    let edge = edge.restart().await;
    let without = edge.get(HOST, "/").await;
    assert_eq!((without.text(), without.headers.get("integrity-policy")), (PAGE.to_owned(), None));
    // By an operator, or by a repair.
    std::fs::rename(&kept, &stored).unwrap();
    eventually("the page with hashes", async || edge.get(HOST, "/").await.text() == served).await;
    assert!(edge.get(HOST, "/").await.headers.contains_key("integrity-policy"));
    std::fs::remove_file(&stored).unwrap();
    let edge = edge.restart().await;
    assert_eq!(edge.get(HOST, "/").await.text(), PAGE);
    let (made, again) = compressed(&edge, SITE).await;
    assert!(!made.contains("as they are stored") && again == served, "{made}: {again}");
    edge.stop().await;
}

/// First bytes of a Zstandard delta (RFC 9842 §5), before the SHA-256 of the dictionary.
const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];

/// Pages of a site with a long common head, and a script that changes with each release.
fn release(number: u8) -> Vec<(String, Vec<u8>)> {
    let common: String =
        (0..100_u8).map(|line| format!("<meta name={line} content={}>\n", Digest::of(&[line]))).collect();
    let page = |name: &str| {
        let own = Digest::of(name.as_bytes());
        format!("<!doctype html>{common}<script src=/a.js></script><p>{own} in release {number}").into_bytes()
    };
    let mut files: Vec<_> = ["index", "about", "cart"].map(|name| (format!("{name}.html"), page(name))).into();
    files.push(("a.js".to_owned(), format!("alert({number})").into_bytes()));
    files
}

async fn push_release(edge: &RunningEdge, place: &str, number: u8) -> DeployReport {
    let files = release(number);
    let named: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    push(edge, place, TOML, DeployOptions::default(), &named).await.unwrap()
}

/// Dictionary offered by the pages of a host.
async fn offered(edge: &RunningEdge, host: &str) -> Vec<u8> {
    let link = edge.get(host, "/").await.header("link").to_owned();
    let (_, path) = link.split_once("</.well-known/devanture/dictionary/").unwrap_or_else(|| panic!("{link}"));
    let path = path.split('>').next().unwrap();
    let answer = edge.get(host, &format!("/.well-known/devanture/dictionary/{path}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}");
    answer.body.to_vec()
}

/// Response for a client with a dictionary.
async fn with_dictionary(edge: &RunningEdge, host: &str, path: &str, dictionary: &[u8]) -> Got {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, dictionary);
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
    let visit = edge.visit(Method::GET, host, path).header("accept-encoding", "br, dcz");
    got(visit.header("available-dictionary", format!(":{hash}:"))).await
}

#[track_caller]
fn decoded(delta: &[u8], dictionary: &[u8], bytes_max: usize) -> Vec<u8> {
    let (magic, rest) = delta.split_at(DCZ_MAGIC.len());
    let (named, stream) = rest.split_at(32);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, dictionary);
    assert_eq!((magic, named), (&DCZ_MAGIC[..], hash.as_ref()));
    zstd::bulk::Decompressor::with_dictionary(dictionary).unwrap().decompress(stream, bytes_max).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_hashes_comes_as_a_delta_of_the_very_bytes_that_are_sent() {
    let staging = "staging--shop.localhost";
    let edge = edge().with_limit("delta_ms_max", 600_000).start().await;
    for place in ["prod", "staging"] {
        push_release(&edge, place, 1).await;
    }
    let dictionary = offered(&edge, HOST).await;
    // The dictionary contains the page as sent, including the hash of the script, which no page of the bundle contains.
    assert!(String::from_utf8_lossy(&dictionary).contains("integrity=\"sha256-"));
    let returning = push_release(&edge, "prod", 2).await.returning.unwrap();
    assert!(returning.bytes * 2 < returning.plain_bytes, "{returning:?}");
    let files = release(2);
    for (path, file) in files.iter().filter(|(path, _)| path.ends_with(".html")) {
        let path = format!("/{}", path.trim_end_matches(".html").trim_end_matches("index"));
        let plain = edge.get(HOST, &path).await;
        assert!(plain.text().contains("integrity=\"sha256-") && plain.text().contains("release 2"), "{path}");
        let delta = with_dictionary(&edge, HOST, &path, &dictionary).await;
        assert_eq!((delta.status, delta.header("content-encoding")), (StatusCode::OK, "dcz"), "{path}");
        assert_eq!(decoded(&delta.body, &dictionary, 100_000), plain.body, "{path}");
        assert!(delta.body.len() * 10 < file.len(), "{path}: {}", delta.body.len());
        assert_eq!(delta.header("integrity-policy"), plain.header("integrity-policy"), "{path}");
        assert_ne!(delta.header("etag"), plain.header("etag"), "{path}");
        // The page as bundled, or as sent, is no dictionary of the edge.
        for other in [file, &plain.body.to_vec()] {
            let answer = with_dictionary(&edge, HOST, &path, other).await;
            assert_eq!(answer.header("content-encoding"), "br", "{path}");
        }
    }
    // In staging the first release is live, with other hashes, since no route exists.
    let dictionary = offered(&edge, staging).await;
    let (plain, delta) = (edge.get(staging, "/").await, with_dictionary(&edge, staging, "/", &dictionary).await);
    assert_eq!(delta.header("content-encoding"), "dcz");
    assert_eq!(decoded(&delta.body, &dictionary, 100_000), plain.body);
    assert!(plain.text().contains("release 1"));

    // On a protected site, no client gets a delta.
    let protection =
        edge.api(Method::PUT, "/v1/apps/shop/environments/prod/protection").json(&json!({"mode": "token"}));
    assert_eq!(got(protection).await.status, StatusCode::OK);
    let dictionary = offered(&edge, staging).await;
    let refused = with_dictionary(&edge, HOST, "/", &dictionary).await;
    assert_eq!((refused.status, refused.header("content-encoding")), (StatusCode::UNAUTHORIZED, ""));
    edge.stop().await;
}
