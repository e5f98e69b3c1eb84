//! Clients with a dictionary receive a delta, from both engines alike; all other clients get the usual response.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod site;

use std::path::Path;

use crate::lane::ask::{self, Got, TestRequest};
use devanture_config::Digest;
use devanture_store::blobs::DeltaForm;
use http::{Method, StatusCode};
use serde_json::json;
use site::{
    APP, CHUNK, FOREIGN, NEW_APP, NEW_CHUNK, NEW_LIB, OLD_APP, OLD_LIB, OLD_PAGE, SAME_CHUNK, Site, available, delta,
    site,
};

/// `Accept-Encoding` of a browser with a dictionary.
const CODINGS: &str = "gzip, deflate, br, zstd, dcb, dcz";
const VARY: &str = "accept-encoding, available-dictionary";

/// Sends the request to both engines, whose responses must be equal.
async fn answer(site: &Site, request: &TestRequest<'_>) -> Got {
    let by_lane = ask::by_lane(&site.served.handler, request).await.expect("it needs no waiting");
    assert_eq!(by_lane, ask::by_handle(&site.served.handler, request).await, "{request:?}");
    by_lane
}

fn get(path: &str) -> TestRequest<'_> {
    TestRequest::new("shop.localhost", path)
}

/// Fetch of the dictionary that pages link.
fn link_fetch(path: &str) -> TestRequest<'_> {
    site::LINK_FETCH.into_iter().fold(get(path), |request, (name, value)| request.with(name, value))
}

fn field<'g>(got: &'g Got, name: &str) -> Option<&'g str> {
    got.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn app() -> String {
    format!("/{APP}")
}

/// Response for every client without a dictionary.
async fn plain(site: &Site, path: &str) -> Got {
    let got = answer(site, &get(path).with("accept-encoding", CODINGS)).await;
    assert_eq!(field(&got, "content-encoding"), Some("br"), "{path}");
    got
}

#[tokio::test]
async fn a_browser_with_the_old_script_gets_the_smaller_delta() {
    let site = site("", |_| ()).await;
    let (path, old) = (app(), available(OLD_APP));
    for (codings, form) in [(CODINGS, DeltaForm::Dcb), ("br, dcz", DeltaForm::Dcz), ("dcb;q=0.5, dcz", DeltaForm::Dcz)]
    {
        let request = get(&path).with("accept-encoding", codings).with("available-dictionary", &old);
        let got = answer(&site, &request).await;
        let expected = delta(form, OLD_APP, if form == DeltaForm::Dcb { 60 } else { 80 });
        assert_eq!((got.status, &got.body), (StatusCode::OK, &expected));
        let etag = format!("\"{}\"", &Digest::of(&expected).to_string()[..32]);
        for (name, value) in [
            ("content-encoding", form.suffix()),
            ("vary", VARY),
            ("etag", &etag),
            ("content-length", &expected.len().to_string()),
            ("content-type", "text/javascript; charset=utf-8"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("use-as-dictionary", &site::used("/assets/*.js", NEW_APP)),
        ] {
            assert_eq!(field(&got, name), Some(value), "{name}");
        }
        let head = answer(&site, &request.clone().method(Method::HEAD)).await;
        assert_eq!((head.status, &head.fields, head.body), (StatusCode::OK, &got.fields, vec![]));
        let same = answer(&site, &request.with("if-none-match", &etag)).await;
        assert_eq!(
            (same.status, field(&same, "etag"), field(&same, "vary")),
            (StatusCode::NOT_MODIFIED, Some(etag.as_str()), Some(VARY))
        );
    }
}

#[tokio::test]
async fn a_client_that_has_the_plain_file_learns_that_it_is_the_same() {
    let mut site = site("", |_| ()).await;
    let (library, old) = (plain(&site, "/lib.js").await, available(OLD_LIB));
    let etag = field(&library, "etag").unwrap();
    let request = |etag| get("/lib.js").with("accept-encoding", CODINGS).with("if-none-match", etag);
    let unknown = available(77);
    let with = |dictionary| request(etag).with("available-dictionary", dictionary);
    for request in [request(etag), with(&old), with(&unknown)] {
        let same = answer(&site, &request).await;
        assert_eq!((same.status, field(&same, "etag")), (StatusCode::NOT_MODIFIED, Some(etag)), "{request:?}");
        assert_eq!(field(&same, "vary"), Some(VARY));
    }
    let other = answer(&site, &request("\"other\"").with("available-dictionary", &old)).await;
    assert_eq!((other.status, field(&other, "content-encoding")), (StatusCode::OK, Some("dcb")));
    assert!(site.misses.try_recv().is_err(), "nobody lacks a delta");
}

#[tokio::test]
async fn what_a_rule_has_browsers_keep_is_no_dictionary_where_a_rewrite_answers_with_it() {
    let rules = json!({"rewrites": [{"from": "/alias.js", "to": "/lib.js"}]});
    let site = site::serving("/lib.js\n  Cache-Control: public, max-age=604800\n", rules, |_| ()).await;
    for (path, is_one) in [("/lib.js", true), ("/alias.js", false)] {
        let got = answer(&site, &get(path).with("accept-encoding", CODINGS)).await;
        assert_eq!((got.status, field(&got, "use-as-dictionary").is_some()), (StatusCode::OK, is_one), "{path}");
    }
}

#[tokio::test]
async fn any_other_client_gets_the_plain_answer() {
    let site = site("", |_| ()).await;
    let (path, old) = (app(), available(OLD_APP));
    let expected = plain(&site, &path).await;
    assert_eq!((field(&expected, "vary"), &expected.body), (Some(VARY), &vec![0x42; 500]));
    for bad in [
        "",
        ":",
        "::",
        &old[1..],
        &old[..old.len() - 1],
        &old.replace('=', ""),
        &format!("{old}, {old}"),
        &format!("({old})"),
        &format!("{old};"),
        &format!("\"{old}\""),
        &format!("{old} x"),
        &available(77),
        &available(FOREIGN),
    ] {
        // Valid even without padding.
        if bad == old.replace('=', "") {
            continue;
        }
        let request = get(&path).with("accept-encoding", CODINGS).with("available-dictionary", bad);
        assert_eq!(answer(&site, &request).await, expected, "{bad}");
    }
    let twice = get(&path).with("available-dictionary", &old).with("available-dictionary", &old);
    assert_eq!(answer(&site, &twice.with("accept-encoding", CODINGS)).await, expected);
    let with_old = || get(&path).with("available-dictionary", &old);
    for codings in ["gzip, br", "br, *", "br, *;q=1", "br, dcb;q=0, dcz;q=0", "br, dcb;q=0.5", "br, dcb;x=1, dcz;q=2"] {
        assert_eq!(answer(&site, &with_old().with("accept-encoding", codings)).await, expected, "{codings}");
    }
    for codings in [None, Some("identity"), Some("*;q=0")] {
        let request = codings.map_or_else(with_old, |codings| with_old().with("accept-encoding", codings));
        let got = answer(&site, &request).await;
        assert_eq!((field(&got, "content-encoding"), got.body.len()), (None, 4_000), "{codings:?}");
    }
    let with_old = || with_old().with("accept-encoding", CODINGS);
    assert_eq!(answer(&site, &with_old().with("dictionary-id", "not a string")).await, expected);
    assert_ne!(answer(&site, &with_old().with("dictionary-id", "\"v1\"")).await, expected);
    let part = answer(&site, &with_old().with("range", "bytes=0-9")).await;
    assert_eq!((part.status, field(&part, "content-encoding")), (StatusCode::PARTIAL_CONTENT, Some("br")));
    assert_eq!((&part.body, field(&part, "use-as-dictionary")), (&vec![0x42; 10], None));
}

#[tokio::test]
async fn a_page_of_another_origin_gets_a_delta_only_of_what_it_may_read() {
    let cors = "/assets/*\n  Access-Control-Allow-Origin: https://other.example\n";
    for (headers, allowed) in [("", false), (cors, true)] {
        let site = site(headers, |_| ()).await;
        let (path, old) = (app(), available(OLD_APP));
        let request = || get(&path).with("accept-encoding", CODINGS).with("available-dictionary", &old);
        let cross = |mode| request().with("sec-fetch-site", "cross-site").with("sec-fetch-mode", mode);
        let coding = |got: &Got| field(got, "content-encoding").unwrap().to_owned();
        let by_cors = |origin| cross("cors").with("origin", origin);
        for (request, may) in [
            (request().with("sec-fetch-site", "same-origin").with("sec-fetch-mode", "no-cors"), true),
            (cross("navigate"), true),
            (cross("no-cors"), false),
            (by_cors("https://other.example"), allowed),
            (by_cors("https://third.example"), false),
        ] {
            let expected = if may { "dcb" } else { "br" };
            assert_eq!(coding(&answer(&site, &request).await), expected, "{request:?}");
        }
    }
}

#[tokio::test]
async fn what_only_some_may_see_is_no_dictionary_and_no_delta() {
    let site = site("/secret/*\n  Basic-Auth: me:pass\n", |_| ()).await;
    let old = available(OLD_APP);
    let request = get("/secret/app.3f2a91bc.js").with("accept-encoding", CODINGS).with("available-dictionary", &old);
    assert_eq!(answer(&site, &request).await.status, StatusCode::UNAUTHORIZED);
    let got = answer(&site, &request.with("authorization", "Basic bWU6cGFzcw==")).await;
    assert_eq!((got.status, field(&got, "content-encoding")), (StatusCode::OK, Some("br")));
    assert_eq!(field(&got, "use-as-dictionary"), None);
}

#[tokio::test]
async fn what_a_rule_has_nobody_keep_is_no_dictionary() {
    for (rule, is_one) in [
        ("Cache-Control: no-store", false),
        ("Cache-Control: private, max-age=60", false),
        ("Cache-Control: max-age=0", false),
        ("Cache-Control: no-cache", false),
        ("Cache-Control: public, max-age=60", true),
        ("Cache-Control: public, max-age=86400", true),
        ("X-Other: 1", true),
    ] {
        let site = site(&format!("/*\n  {rule}\n  Vary: x-mine\n"), |_| ()).await;
        for (path, old) in [(app(), OLD_APP), (site::LIBRARY.to_owned(), OLD_LIB), (site::pages_path(), OLD_PAGE)] {
            let old = available(old);
            let request = link_fetch(&path).with("accept-encoding", CODINGS).with("available-dictionary", &old);
            let got = answer(&site, &request).await;
            // On its own, a dictionary is worth while only if cached until the next release.
            let is_too_short = path == app() && rule.ends_with("max-age=60");
            assert_eq!(field(&got, "use-as-dictionary").is_some(), is_one && !is_too_short, "{rule} {path}");
            let vary = if path == site::LIBRARY { "*" } else { VARY };
            // A browser caches a script for at most an hour if registered as a service worker.
            let is_longer = rule.ends_with("max-age=86400") && path.ends_with(".js");
            let worker = if is_longer { ", service-worker" } else { "" };
            assert_eq!(field(&got, "vary"), Some(format!("{vary}, x-mine{worker}").as_str()), "{rule} {path}");
        }
        // No `Link` header asks browsers to fetch the dictionary.
        assert_eq!(field(&answer(&site, &get("/")).await, "link").is_some(), is_one, "{rule}");
    }
}

#[tokio::test]
async fn what_a_rule_has_browsers_keep_is_a_dictionary_for_its_own_path_and_is_not_offered_again() {
    for (rule, used) in [
        ("Cache-Control: public, max-age=604800", Some(site::used("/lib.js", NEW_LIB))),
        ("Cache-Control: public, no-cache", None),
        ("Cache-Control: public, max-age=600", None),
        ("X-Other: 1", None),
    ] {
        let site = site(&format!("/lib.js\n  {rule}\n"), |_| ()).await;
        let request = get("/lib.js").with("accept-encoding", CODINGS);
        for request in [request.clone(), request.with("available-dictionary", &available(OLD_LIB))] {
            let got = answer(&site, &request).await;
            assert_eq!(field(&got, "use-as-dictionary"), used.as_deref(), "{rule}");
        }
        let page = answer(&site, &get("/")).await;
        let is_offered = field(&page, "link").unwrap().contains(&format!("<{}>", site::LIBRARY));
        assert_eq!(is_offered, rule == "X-Other: 1", "{rule}");
    }
}

#[tokio::test]
async fn of_scripts_that_a_rule_has_nobody_keep_another_one_stands_in_for_the_folder() {
    let site = site(&format!("/{APP}\n  Cache-Control: no-store\n"), |_| ()).await;
    let used = async |path: &str| {
        let got = answer(&site, &get(&format!("/{path}"))).await;
        field(&got, "use-as-dictionary").map(str::to_owned)
    };
    assert_eq!(used(APP).await, None);
    assert_eq!(used(CHUNK).await, Some(site::used("/assets/*.js", NEW_CHUNK)));
}

#[tokio::test]
async fn pages_offer_only_what_comes_to_be_a_dictionary() {
    let (library, pages) = (site::LIBRARY, site::pages_path());
    for (path, rule, library_is, pages_are) in [
        ("/lib.js", "Cache-Control: no-store", false, true),
        ("/lib.js", "! Cache-Control", false, true),
        ("https://shop.localhost/lib.js", "Cache-Control: max-age=0", false, true),
        ("https://shop.localhost/lib.js", "X-Other: 1", true, true),
        ("/.well-known/*", "Cache-Control: no-cache", true, false),
        ("/other.js", "Cache-Control: no-store", true, true),
    ] {
        let site = site::serving(&format!("{path}\n  {rule}\n"), json!({"rules": "cloudflare"}), |_| ()).await;
        let page = answer(&site, &get("/")).await;
        let link = field(&page, "link").unwrap();
        let offers = |address: &str| link.contains(&format!("<{address}>; rel=\"compression-dictionary\""));
        assert_eq!((offers(library), offers(&pages)), (library_is, pages_are), "{path} {rule}: {link}");
    }
    let routed = |path: &str| json!({"routes": [{"path": path, "to": "http://127.0.0.1:9"}]});
    for (path, library_is) in [("/lib.js", false), ("/api/*", true)] {
        let site = site::serving("", routed(path), |_| ()).await;
        let page = answer(&site, &get("/")).await;
        let link = field(&page, "link").unwrap();
        assert_eq!((link.contains("</lib.js>"), link.contains(&pages)), (library_is, true), "{path}: {link}");
    }
}

#[tokio::test]
async fn of_files_with_one_pattern_the_largest_is_the_dictionary_and_small_ones_never_are() {
    let site = site("", |_| ()).await;
    let used = async |path: &str| {
        let got = answer(&site, &get(&format!("/{path}"))).await;
        assert_eq!(got.status, StatusCode::OK);
        field(&got, "use-as-dictionary").map(str::to_owned)
    };
    assert_eq!(
        used(APP).await.as_deref(),
        Some(site::used("/assets/*.js", NEW_APP).as_str()),
        "the largest of the folder stands in for all"
    );
    assert_eq!(used(CHUNK).await.as_deref(), Some(site::used("/assets/chunk.*.js", NEW_CHUNK).as_str()));
    assert_eq!([used(SAME_CHUNK).await, used("small.js").await, used("lib.js").await], [None, None, None]);
    let small = answer(&site, &get("/small.js")).await;
    assert_eq!(field(&small, "vary"), None);
}

#[tokio::test]
async fn pages_offer_dictionaries_and_are_answered_by_them() {
    let site = site("/linked\n  Link: </x>; rel=preload\n", |_| ()).await;
    let offered = format!(
        "<{}>; rel=\"compression-dictionary\", <{}>; rel=\"compression-dictionary\"",
        site::LIBRARY,
        site::pages_path()
    );
    let old = available(OLD_PAGE);
    let request = get("/").with("accept-encoding", CODINGS).with("available-dictionary", &old);
    let page = answer(&site, &request).await;
    assert_eq!((field(&page, "link"), field(&page, "content-encoding")), (Some(offered.as_str()), Some("dcz")));
    assert_eq!((field(&page, "vary"), field(&page, "use-as-dictionary")), (Some(VARY), None));
    let same = answer(&site, &request.with("if-none-match", field(&page, "etag").unwrap())).await;
    assert_eq!((same.status, field(&same, "link")), (StatusCode::NOT_MODIFIED, Some(offered.as_str())));
    let missing = get("/missing").with("accept-encoding", CODINGS).with("available-dictionary", &old);
    let missing = answer(&site, &missing).await;
    assert_eq!((missing.status, field(&missing, "content-encoding")), (StatusCode::NOT_FOUND, Some("br")));
    assert_eq!((field(&missing, "link"), field(&missing, "use-as-dictionary")), (None, None));
    let dictionary = answer(&site, &get(&site::pages_path())).await;
    assert_eq!((dictionary.status, dictionary.body.len()), (StatusCode::OK, 5_000));
    for (name, value) in [
        ("cache-control", "public, max-age=2592000, immutable"),
        ("use-as-dictionary", &format!("match=\"/*\", match-dest=(\"document\"), id=\"{}\"", "06".repeat(8))),
        ("content-type", "application/octet-stream"),
        ("vary", VARY),
    ] {
        assert_eq!(field(&dictionary, name), Some(value), "{name}");
    }
    let other = format!("/.well-known/devanture/dictionary/{}", "ab".repeat(32));
    assert_eq!(answer(&site, &get(&other)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(answer(&site, &get(&site::pages_path()).method(Method::POST)).await.status, 405);
}

#[tokio::test]
async fn a_site_that_links_itself_keeps_its_links() {
    let site = site("/\n  Link: </x.css>; rel=preload\n", |_| ()).await;
    let link = answer(&site, &get("/")).await;
    let link = field(&link, "link").unwrap();
    assert!(link.starts_with("</x.css>; rel=preload, </lib.js>;"), "{link}");
}

#[tokio::test]
async fn a_file_that_pages_offer_becomes_a_dictionary_at_its_own_address() {
    let site = site("", |_| ()).await;
    let (old, used) = (available(OLD_LIB), site::used("/lib.js", NEW_LIB));
    let script = || get("/lib.js").with("sec-fetch-dest", "script").with("sec-fetch-mode", "no-cors");
    for (request, is_fetch) in [
        (link_fetch("/lib.js"), true),
        (link_fetch("/lib.js?x"), false),
        (link_fetch("/lib.js").with("referer", "https://shop.localhost/"), false),
        (script(), false),
        (get("/lib.js"), false),
    ] {
        let request = request.with("accept-encoding", CODINGS);
        for (request, coding) in [(request.clone(), "br"), (request.with("available-dictionary", &old), "dcb")] {
            let got = answer(&site, &request).await;
            assert_eq!((got.status, field(&got, "content-encoding")), (StatusCode::OK, Some(coding)), "{request:?}");
            let etag = field(&got, "etag").unwrap().to_owned();
            let same = answer(&site, &request.clone().with("if-none-match", &etag)).await;
            assert_eq!((same.status, same.body.len()), (StatusCode::NOT_MODIFIED, 0), "{request:?}");
            // Even a 304 turns the browser's copy into a dictionary; every other use of the file is revalidated as
            // before.
            for got in [&got, &same] {
                let expected = match is_fetch {
                    true => ("max-age=2592000, s-maxage=0", "*", Some(used.as_str())),
                    false => ("public, max-age=0, must-revalidate", VARY, None),
                };
                let [cache, vary] = ["cache-control", "vary"].map(|name| field(got, name).unwrap());
                assert_eq!((cache, vary, field(got, "use-as-dictionary")), expected, "{request:?}");
                assert_eq!(field(got, "etag"), Some(etag.as_str()));
            }
        }
    }
}

#[tokio::test]
async fn a_browser_that_was_sent_a_script_is_not_sent_it_again_as_a_dictionary() {
    let site = site("", |_| ()).await;
    let script = get("/lib.js").with("accept-encoding", "gzip, br").with("sec-fetch-dest", "script");
    let first = answer(&site, &script).await;
    assert_eq!((first.status, first.body.len()), (StatusCode::OK, 500));
    let link = field(&answer(&site, &get("/")).await, "link").unwrap().to_owned();
    let address = link.split_once("</lib.js").map(|(_, rest)| rest.split('>').next().unwrap());
    // A file at another path is downloaded, whatever the browser has.
    assert_eq!(address, Some(""), "{link}");
    let etag = field(&first, "etag").unwrap();
    let fetch = link_fetch("/lib.js").with("accept-encoding", "gzip, br").with("if-none-match", etag);
    let kept = answer(&site, &fetch).await;
    assert_eq!((kept.status, kept.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(field(&kept, "use-as-dictionary"), Some(site::used("/lib.js", NEW_LIB).as_str()));
}

#[tokio::test]
async fn a_dictionary_that_nothing_was_made_with_is_reported_once() {
    let mut site = site("", |_| ()).await;
    let (path, unknown) = (app(), available(77));
    for _ in 0..3 {
        answer(&site, &get(&path).with("accept-encoding", CODINGS).with("available-dictionary", &unknown)).await;
    }
    let miss = site.misses.try_recv().unwrap();
    assert_eq!((miss.app.as_str(), miss.blob), ("shop", Digest::of(&site::text('a', 4_000))));
    assert_eq!(miss.sha256.as_bytes(), &[77; 32]);
    assert!(site.misses.try_recv().is_err());
    // A client that cannot use a delta triggers no creation of a delta.
    for request in [
        get(&path).with("accept-encoding", "br").with("available-dictionary", &available(78)),
        get("/small.js").with("accept-encoding", CODINGS).with("available-dictionary", &available(78)),
        get(&path).with("accept-encoding", CODINGS).with("available-dictionary", &available(OLD_APP)),
    ] {
        answer(&site, &request).await;
        assert!(site.misses.try_recv().is_err(), "{request:?}");
    }
}

/// Flips the last bit of each delta below a folder.
fn spoil(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let one = |path: std::path::PathBuf| match path.extension().and_then(std::ffi::OsStr::to_str) {
        _ if path.is_dir() => spoil(&path),
        Some("dcb") => {
            let mut bytes = std::fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            1
        }
        _ => 0,
    };
    entries.map(one).sum()
}

#[tokio::test]
async fn a_delta_with_a_flipped_bit_is_left_out_and_the_version_is_served() {
    let site = site("", |stores| assert!(spoil(stores.folder()) > 1)).await;
    let (path, old) = (app(), available(OLD_APP));
    let request = || get(&path).with("available-dictionary", &old);
    let got = answer(&site, &request().with("accept-encoding", CODINGS)).await;
    assert_eq!(field(&got, "content-encoding"), Some("dcz"), "that one is sound");
    let got = answer(&site, &request().with("accept-encoding", "br, dcb")).await;
    assert_eq!(got, plain(&site, &path).await);
}
