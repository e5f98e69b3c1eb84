//! Downloads of returning visitors in a real browser: the difference to cached files (RFC 9842).

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::support::browser::{Browser, Page, Trusted};
use crate::support::edge::{Edge, edge};
use crate::support::inputs;

/// The host of the app.
const HOST: &str = "shop.localhost";
/// The time of a push for deltas: by default a busy machine may postpone some.
const DELTA_MS: u64 = 120_000;
/// Possible names of the next version's files.
const NEXT: [&str; 3] =
    ["/assets/swagger-ui-bundle-*.js", "/assets/swagger-ui-standalone-preset-*.js", "/assets/swagger-ui-*.css"];
/// Resources loaded by a page, as counted by the browser: by path, the encoding, the received bytes, and the SHA-256 of
/// the text seen by scripts.
const LOADED: &str = "(async () => {
    const hex = bytes => [...new Uint8Array(bytes)].map(byte => byte.toString(16).padStart(2, '0')).join('');
    const loaded = {};
    for (const entry of performance.getEntriesByType('resource')) {
        const url = new URL(entry.name);
        if (url.search || !['script', 'link'].includes(entry.initiatorType)) continue;
        const answer = await fetch(entry.name, { cache: 'force-cache' });
        const sha256 = hex(await crypto.subtle.digest('SHA-256', await answer.arrayBuffer()));
        loaded[url.pathname] = { coding: entry.contentEncoding, bytes: entry.encodedBodySize, sha256 };
    }
    return loaded;
})()";

/// Bytes received for a page's bundle in this load, with the head.
const TRANSFERRED: &str = "performance.getEntriesByType('resource')
    .filter(entry => entry.name.endsWith('/swagger-ui-bundle.js')).reduce((sum, entry) => sum + entry.transferSize, 0)";

/// Bytes received for a page's bundle at any address, and the bytes of its content in the first encoding; `null` until
/// fetched a second time, as a dictionary.
const DOWNLOADED: &str = "(() => {
    const entries = performance.getEntriesByType('resource').filter(entry => entry.name.includes('/swagger-ui-bundle.js'));
    const all = entries.reduce((sum, entry) => sum + entry.transferSize, 0);
    return entries.length > 1 && entries.every(entry => entry.responseEnd) ? [all, entries[0].encodedBodySize] : null;
})()";

/// A file loaded by a page.
#[derive(Debug, PartialEq, Eq)]
struct Loaded {
    coding: String,
    bytes: u64,
    sha256: String,
}

/// Starts a browser that trusts the key of the edge: a browser that ignores certificate errors uses no dictionaries.
async fn browser_of(edge: &Edge, flags: &[&str], profile: &Path) -> Option<Browser> {
    Browser::start_with(Trusted::Key(&spki_of(edge).await), flags, profile).await
}

/// The SHA-256 of the key of the app's certificate, in base64.
pub(super) async fn spki_of(edge: &Edge) -> String {
    let client = edge.client_with(|builder| builder.tls_info(true));
    let answer = client.get(edge.url(HOST, "/")).send().await.unwrap();
    let reported = answer.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(reported.peer_certificate().unwrap()).unwrap();
    BASE64_STANDARD.encode(digest(&SHA256, certificate.public_key().raw))
}

async fn loaded(page: &Page) -> BTreeMap<String, Loaded> {
    let reported = page.evaluate(LOADED).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let loaded = |file: &Value| Loaded {
        coding: text(&file["coding"]),
        bytes: file["bytes"].as_u64().unwrap(),
        sha256: text(&file["sha256"]),
    };
    reported.as_object().unwrap().iter().map(|(path, file)| (path.clone(), loaded(file))).collect()
}

/// Checks that the page has the exact files of the folder.
#[track_caller]
fn assert_whole(loaded: &BTreeMap<String, Loaded>, site: &Path) {
    assert!(!loaded.is_empty());
    for (path, file) in loaded {
        let bytes = std::fs::read(site.join(path.trim_start_matches('/'))).unwrap();
        assert_eq!(file.sha256, hex(digest(&SHA256, &bytes).as_ref()), "{path}");
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Real bundles in the layout of a build with fingerprints: the scripts and the style of Swagger UI, named by content,
/// and a page that loads all.
fn fingerprinted(release: &str) -> Option<tempfile::TempDir> {
    let package = inputs::swagger(release)?;
    let site = tempfile::tempdir().unwrap();
    std::fs::create_dir(site.path().join("assets")).unwrap();
    let mut page = "<!doctype html><html lang=en><title>Docs</title><link rel=icon href=data:,>\n".to_owned();
    for (name, kind) in [("swagger-ui-bundle", "js"), ("swagger-ui-standalone-preset", "js"), ("swagger-ui", "css")] {
        let bytes = std::fs::read(package.join(format!("{name}.{kind}"))).unwrap();
        let token = &hex(digest(&SHA256, &bytes).as_ref())[..10];
        let path = format!("assets/{name}-{token}.{kind}");
        std::fs::write(site.path().join(&path), bytes).unwrap();
        page.push_str(&match kind {
            "js" => format!("<script src=/{path}></script>\n"),
            _ => format!("<link rel=stylesheet href=/{path}>\n"),
        });
    }
    std::fs::write(site.path().join("index.html"), page).unwrap();
    Some(site)
}

/// The same bundles under their original names, constant from release to release.
fn unfingerprinted(release: &str) -> Option<tempfile::TempDir> {
    let package = inputs::swagger(release)?;
    let site = tempfile::tempdir().unwrap();
    for name in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        std::fs::copy(package.join(name), site.path().join(name)).unwrap();
    }
    let page = "<!doctype html><html lang=en><title>Docs</title><link rel=icon href=data:,>\n\
                <link rel=stylesheet href=/swagger-ui.css><script src=/swagger-ui-bundle.js></script>\n";
    std::fs::write(site.path().join("index.html"), page).unwrap();
    Some(site)
}

fn count_deltas(loaded: &BTreeMap<String, Loaded>) -> usize {
    loaded.values().filter(|file| matches!(file.coding.as_str(), "dcb" | "dcz")).count()
}

/// A visit, after which the browser has recorded each of these dictionaries: some time after receiving the files.
/// `next` are matching addresses, as in the next version, without an answer.
async fn visit(browser: &Browser, edge: &Edge, site: &Path, next: &[&str]) -> BTreeMap<String, Loaded> {
    const TRIES: usize = 400;
    let page = browser.open_in_profile(&edge.url(HOST, "/")).await;
    let seen = loaded(&page).await;
    assert_whole(&seen, site);
    for pattern in next {
        let mut tries = 0..TRIES;
        loop {
            let number = tries.next().unwrap_or_else(|| panic!("no dictionary was noted for {pattern}"));
            let path = pattern.replace('*', &format!("{number:08x}"));
            let element = match path.contains(".css") {
                true => {
                    format!("Object.assign(document.createElement('link'), {{ rel: 'stylesheet', href: '{path}' }})")
                }
                false => format!("Object.assign(document.createElement('script'), {{ src: '{path}' }})"),
            };
            let answered = format!(
                "new Promise(done => {{ const element = {element}; element.onload = element.onerror = () => done(1); \
                 document.head.append(element); }})"
            );
            page.evaluate(&answered).await;
            if page.has_announced(&path) {
                break;
            }
            // A browser just started may fail to record a dictionary: then the browser never does.
            if number % 40 == 39 {
                page.reload_without_cache().await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    page.close().await;
    seen
}

/// Waits until the edge has a delta of a file for clients with `dictionary`.
async fn until_there_is_a_delta(edge: &Edge, path: &str, dictionary: &[u8]) {
    const TRIES: usize = 4_000;
    let announced = format!(":{}:", BASE64_STANDARD.encode(digest(&SHA256, dictionary)));
    for _ in 0..TRIES {
        let request = edge.client(true).get(edge.url(HOST, path)).header("available-dictionary", &announced);
        let answer = request.header("accept-encoding", "gzip, br, dcb, dcz").send().await.unwrap();
        if answer.headers().get("content-encoding").is_some_and(|coding| coding.as_bytes().starts_with(b"dc")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no delta of {path} was made");
}

fn bytes(loaded: &BTreeMap<String, Loaded>) -> u64 {
    loaded.values().map(|file| file.bytes).sum()
}

async fn a_returning_visitor_loads_what_the_report_promised(flags: &[&str], protocol: &str) {
    let (Some(first), Some(second)) = (fingerprinted("5.29.0"), fingerprinted("5.29.1")) else { return };
    let edge = edge().with_limit("delta_ms_max", DELTA_MS).start();
    let profile = tempfile::tempdir().unwrap();
    let report = edge.push("shop", first.path());
    assert!(report.get("returning").is_none(), "{report}");
    let Some(browser) = browser_of(&edge, flags, profile.path()).await else { return };
    let before = visit(&browser, &edge, first.path(), &NEXT).await;
    assert_eq!(count_deltas(&before), 0, "{before:?}");

    let report = edge.push("shop", second.path());
    let page = browser.open_in_profile(&edge.url(HOST, "/")).await;
    let after = loaded(&page).await;
    assert_whole(&after, second.path());
    let protocols = page.evaluate("performance.getEntriesByType('resource').map(e => e.nextHopProtocol)").await;
    assert!(protocols.as_array().unwrap().iter().all(|used| used == protocol), "{protocols}");
    let changed: BTreeMap<String, Loaded> = after.into_iter().filter(|(path, _)| !before.contains_key(path)).collect();
    assert_eq!(count_deltas(&changed), changed.len(), "{changed:?}");
    // The page itself is loaded too, plain.
    let index = edge.client(true).get(edge.url(HOST, "/")).header("accept-encoding", "br").send().await.unwrap();
    let promised = report["returning"]["bytes"].as_u64().unwrap();
    assert_eq!(promised, bytes(&changed) + index.content_length().unwrap(), "{report} {changed:?}");
    assert!(report["returning"]["plain_bytes"].as_u64().unwrap() > 20 * promised, "{report}");
    page.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returning_visitor_loads_what_the_report_promised_over_http_2() {
    a_returning_visitor_loads_what_the_report_promised(&[], "h2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returning_visitor_loads_what_the_report_promised_over_http_1() {
    let flags = ["--disable-http2"];
    a_returning_visitor_loads_what_the_report_promised(&flags, "http/1.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_stay_the_same_have_dictionaries_that_the_page_offers() {
    let (Some(first), Some(second)) = (unfingerprinted("5.29.0"), unfingerprinted("5.29.1")) else { return };
    let edge = edge().with_limit("delta_ms_max", DELTA_MS).start();
    let profile = tempfile::tempdir().unwrap();
    edge.push("shop", first.path());
    let Some(browser) = browser_of(&edge, &[], profile.path()).await else { return };
    let page = browser.open_in_profile(&edge.url(HOST, "/")).await;
    page.wait_for(&format!("{DOWNLOADED} !== null")).await;
    let downloaded = page.evaluate(DOWNLOADED).await;
    let [all, once] = [0, 1].map(|number| downloaded[number].as_u64().unwrap());
    assert!(once > 32_768 && all < once + 2_000, "it is downloaded once: {downloaded}");
    page.close().await;
    let next = ["/swagger-ui-bundle.js?*"];
    visit(&browser, &edge, first.path(), &next).await;
    edge.push("shop", second.path());
    let seen = visit(&browser, &edge, second.path(), &next).await;
    let bundle = &seen["/swagger-ui-bundle.js"];
    assert!(bundle.coding.starts_with("dc") && bundle.bytes < 20_000, "{seen:?}");
    // A file received by a delta is not sent again, although requested with a different tag than the ordinary form's.
    let page = browser.open_in_profile(&edge.url(HOST, "/")).await;
    let seen = loaded(&page).await;
    assert_whole(&seen, second.path());
    assert!(page.evaluate(TRANSFERRED).await.as_u64().unwrap() < 5_000, "{seen:?}");
}

/// A profile outlives its browser through three versions, and a rollback uses a delta backwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_opened_again_goes_on_through_versions_and_back() {
    let (Some(first), Some(second)) = (fingerprinted("5.29.0"), fingerprinted("5.29.1")) else { return };
    // A third release: a line more in every script.
    let third = fingerprinted("5.29.1").unwrap();
    for entry in std::fs::read_dir(third.path().join("assets")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let longer = [&text[..], b"\n/* one more line */\n"].concat();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (stem, ending) = name.rsplit_once('.').unwrap();
        let (base, _) = stem.rsplit_once('-').unwrap();
        let renamed = format!("{base}-{}.{ending}", &hex(digest(&SHA256, &longer).as_ref())[..10]);
        std::fs::write(path.with_file_name(&renamed), longer).unwrap();
        let page = std::fs::read_to_string(third.path().join("index.html")).unwrap();
        std::fs::write(third.path().join("index.html"), page.replace(name, &renamed)).unwrap();
        std::fs::remove_file(path).unwrap();
    }
    let edge = edge().with_limit("delta_ms_max", DELTA_MS).start();
    let profile = tempfile::tempdir().unwrap();
    edge.push("shop", first.path());
    let Some(browser) = browser_of(&edge, &[], profile.path()).await else { return };
    visit(&browser, &edge, first.path(), &NEXT).await;
    browser.quit().await;

    edge.push("shop", second.path());
    let Some(browser) = browser_of(&edge, &[], profile.path()).await else { return };
    let seen = visit(&browser, &edge, second.path(), &NEXT).await;
    assert_eq!(count_deltas(&seen), 1, "{seen:?}");
    browser.quit().await;

    edge.push("shop", third.path());
    let Some(browser) = browser_of(&edge, &[], profile.path()).await else { return };
    let seen = visit(&browser, &edge, third.path(), &NEXT).await;
    assert_eq!(count_deltas(&seen), seen.len(), "{seen:?}");
    browser.quit().await;

    // A browser with only the third release cached goes back to the second.
    let profile = tempfile::tempdir().unwrap();
    let Some(browser) = browser_of(&edge, &[], profile.path()).await else { return };
    visit(&browser, &edge, third.path(), &NEXT).await;
    browser.quit().await;
    edge.json("shop", &["rollback"]);
    let bundle = |site: &tempfile::TempDir| {
        let files = std::fs::read_dir(site.path().join("assets")).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| path.to_str().unwrap().contains("swagger-ui-bundle")).unwrap()
    };
    let path = format!("/assets/{}", bundle(&second).file_name().unwrap().to_str().unwrap());
    until_there_is_a_delta(&edge, &path, &std::fs::read(bundle(&third)).unwrap()).await;
    let Some(browser) = browser_of(&edge, &[], profile.path()).await else { return };
    let seen = loaded(&browser.open_in_profile(&edge.url(HOST, "/")).await).await;
    assert_whole(&seen, second.path());
    assert!(count_deltas(&seen) >= 1, "{seen:?}");
}

/// A page in a private context, and a page whose requests go through a service worker.
#[tokio::test(flavor = "multi_thread")]
async fn pages_without_a_trace_and_behind_a_service_worker_have_the_very_files() {
    let (Some(first), Some(second)) = (fingerprinted("5.29.0"), fingerprinted("5.29.1")) else { return };
    let worker = "self.addEventListener('install', () => self.skipWaiting());\n\
                  self.addEventListener('activate', event => event.waitUntil(clients.claim()));\n\
                  self.addEventListener('fetch', event => event.respondWith(fetch(event.request)));\n";
    for site in [&first, &second] {
        std::fs::write(site.path().join("sw.js"), worker).unwrap();
        let page = std::fs::read_to_string(site.path().join("index.html")).unwrap();
        let page = format!("{page}<script>navigator.serviceWorker.register('/sw.js')</script>\n");
        std::fs::write(site.path().join("index.html"), page).unwrap();
    }
    let edge = edge().with_limit("delta_ms_max", DELTA_MS).start();
    let profile = tempfile::tempdir().unwrap();
    edge.push("shop", first.path());
    let Some(browser) = browser_of(&edge, &[], profile.path()).await else { return };
    let url = edge.url(HOST, "/");
    let page = browser.open(&url).await;
    page.wait_for("navigator.serviceWorker.controller !== null").await;
    // Once more, through the worker.
    page.go(&url).await;
    assert_whole(&loaded(&page).await, first.path());
    edge.push("shop", second.path());
    page.go(&url).await;
    assert_whole(&loaded(&page).await, second.path());
    let seen = page.report().await;
    assert_eq!(seen.failed_requests, [""; 0]);
    assert_eq!(seen.console_errors, [""; 0]);
    page.close().await;
}
