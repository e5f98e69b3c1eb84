//! Console: installed from a package, served beside the API to logged-in accounts, and on no hostname of an app.

#![allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]

use std::path::{Path, PathBuf};

use devanture_config::api::{ConsoleStatus, Scope};
use devanture_config::problem::Code;
use devanture_edge::server;
use http::{Method, StatusCode};

use super::safekeeping::base;
use crate::support::archives::{archive, gzip, tar};
use crate::support::{Files, Got, RunningEdge, edge, eventually, got};

const PAGE: &[u8] =
    b"<!doctype html><title>Console</title><script type=module src=/console/assets/app-1a2b3c4d.js></script>";
const SCRIPT: &[u8] =
    b"document.title = 'Console of an edge'; // and more, so that it is worth to be compressed by an encoding: \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const CONSOLE: Files<'_> = &[("index.html", PAGE), ("assets/app-1a2b3c4d.js", SCRIPT)];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; frame-src https:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types devanture";

fn package(folder: &Path, files: Files<'_>) -> PathBuf {
    let path = folder.join("console.tar.gz");
    std::fs::write(&path, archive("tar.gz", files)).unwrap();
    path
}

async fn install(edge: &RunningEdge, files: Files<'_>) -> ConsoleStatus {
    let package = package(&base(edge), files);
    server::install_console(edge.file(), &base(edge), &package).await.unwrap().unwrap()
}

async fn page(edge: &RunningEdge, path: &str) -> Got {
    got(edge.api(Method::GET, path).header("accept", "text/html")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_is_installed_answers_below_its_folder_and_says_what_its_pages_may_do() {
    let edge = edge().start().await;
    assert_eq!(page(&edge, "/console/").await.code(), Code::NotFound);
    let status = install(&edge, CONSOLE).await;
    let installed = status.installed.as_ref().unwrap();
    assert_eq!((installed.files, installed.bytes, status.served), (2, (PAGE.len() + SCRIPT.len()) as u64, true));
    for path in ["/", "/console"] {
        let redirect = page(&edge, path).await;
        assert_eq!((redirect.status, redirect.header("location")), (StatusCode::SEE_OTHER, "/console/"), "{path}");
    }
    // Every page of the application serves the same document.
    for path in ["/console/", "/console/apps/shop/environments/prod"] {
        let answer = page(&edge, path).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, PAGE), "{path}");
        for (name, value) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "private, no-cache"),
        ] {
            assert_eq!(answer.header(name), value, "{path} {name}");
        }
    }
    // A path in another spelling is redirected within the folder, like an app's path on the app's host.
    for (path, location) in [
        ("/console//", "/console/"),
        ("/console//x", "/console/x"),
        ("/console///apps//shop", "/console/apps/shop"),
        ("/console//evil.example/x?y=1", "/console/evil.example/x?y=1"),
    ] {
        let redirect = page(&edge, path).await;
        assert!(redirect.status.is_redirection(), "{path}: {redirect:?}");
        assert_eq!(redirect.header("location"), location, "{path}");
    }
    let script = "/console/assets/app-1a2b3c4d.js";
    let compressed = got(edge.api(Method::GET, script).header("accept-encoding", "br")).await;
    assert_eq!(compressed.header("content-encoding"), "br");
    assert_eq!(compressed.header("cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(compressed.header("content-security-policy"), POLICY);
    let head = got(edge.api(Method::HEAD, script).header("accept-encoding", "identity")).await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, &*SCRIPT.len().to_string()));
    let again = edge.api(Method::GET, script).header("accept-encoding", "br");
    let again = got(again.header("if-none-match", compressed.header("etag"))).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    let missing = got(edge.api(Method::GET, "/console/assets/no.js")).await;
    assert_eq!((missing.status, missing.header("content-security-policy")), (StatusCode::NOT_FOUND, POLICY));
    assert_eq!(got(edge.api(Method::POST, "/console/")).await.status, StatusCode::METHOD_NOT_ALLOWED);
    // The console is no app, and the API keeps working.
    assert!(!got(edge.api(Method::GET, "/v1/apps")).await.text().contains("console"));
    assert!(!got(edge.api(Method::GET, "/v1/apps/_console/usage")).await.status.is_success());
    let status: ConsoleStatus = got(edge.api(Method::GET, "/v1/console")).await.json();
    assert_eq!(status.installed, Some(installed.clone()));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_is_for_who_is_logged_in_and_on_no_name_of_an_app() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    install(&edge, CONSOLE).await;
    let port = edge.admin().port();
    for path in ["/", "/console", "/console/", "/console/assets/app-1a2b3c4d.js"] {
        let stranger = got(edge.client().get(format!("https://localhost:{port}{path}"))).await;
        assert_eq!(stranger.code(), Code::Unauthenticated, "{path}");
        let bad = got(edge.ask(Method::GET, path, "dvt_0_0")).await;
        assert_eq!(bad.code(), Code::BadToken, "{path}");
        // Cookies of a name are sent to all ports: an app would receive the cookies of console users.
        for host in ["shop.localhost", "other.localhost", "staging--shop.localhost"] {
            let there = || edge.api_by_name(Method::GET, host, path);
            let with_token = || there().bearer_auth(edge.admin_token());
            assert_eq!(got(there()).await.code(), Code::Unauthenticated, "{host}{path}");
            assert_eq!(got(with_token()).await.code(), Code::CrossSite, "{host}{path}");
            for (request, status) in [(there(), StatusCode::UNAUTHORIZED), (with_token(), StatusCode::FORBIDDEN)] {
                let refused = got(request.header("accept", "text/html")).await;
                assert_eq!(refused.status, status, "{host}{path}");
                assert!(refused.text().contains("Not at this hostname"), "{}", refused.text());
            }
        }
        // Visitors of the app get no part of the console.
        let visitor = edge.get("shop.localhost", path).await;
        assert!(visitor.body != PAGE && visitor.body != SCRIPT, "{path}");
    }
    let by_address = edge.client().get(format!("https://127.0.0.1:{port}/console/")).bearer_auth(edge.admin_token());
    assert_eq!(got(by_address).await.body, PAGE);
    // Scripts of the console have the reader's rights: installation requires access to the machine.
    for method in [Method::PUT, Method::DELETE] {
        let request = edge.api(method.clone(), "/v1/console").header("content-type", "application/gzip");
        assert_eq!(got(request.body("x")).await.code(), Code::Forbidden, "{method}");
    }
    let of_shop = edge.token_for(Scope::Admin, Some("shop"), None).await;
    assert_eq!(got(edge.ask(Method::GET, "/v1/console", &of_shop)).await.code(), Code::Forbidden);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_with_a_session_gets_the_console_until_it_logs_out() {
    let edge = edge().start().await;
    install(&edge, CONSOLE).await;
    let at = |method: Method, path: &str| {
        let url = format!("https://localhost:{}{path}", edge.admin().port());
        edge.client().request(method, url).header("sec-fetch-site", "same-origin").header("accept", "text/html")
    };
    let begun = got(at(Method::POST, "/v1/session").json(&serde_json::json!({ "token": edge.admin_token() }))).await;
    assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.text());
    let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
    for (path, body) in [("/console/", PAGE), ("/console/apps/shop", PAGE), ("/console/assets/app-1a2b3c4d.js", SCRIPT)]
    {
        let answer = got(at(Method::GET, path).header("cookie", &cookie)).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, body), "{path}");
        assert_eq!(answer.header("set-cookie"), "", "{path}");
        let foreign = at(Method::GET, path).header("cookie", &cookie).header("sec-fetch-site", "cross-site");
        assert_ne!(got(foreign).await.body, body, "{path}");
    }
    let ended = got(at(Method::DELETE, "/v1/session").header("cookie", &cookie)).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text());
    for path in ["/", "/console/", "/console/assets/app-1a2b3c4d.js"] {
        let answer = got(at(Method::GET, path).header("cookie", &cookie)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.body != PAGE && answer.body != SCRIPT, "{path}");
    }
    edge.stop().await;
}

/// Invalid packages, each with the error.
fn bad_packages() -> [(&'static str, Vec<u8>); 5] {
    [
        ("no archive", b"<!doctype html>".to_vec()),
        ("a zip", archive("zip", CONSOLE)),
        ("cut", archive("tar.gz", CONSOLE)[..100].to_vec()),
        ("without a page", gzip(&tar(&[("app.js", SCRIPT)]))),
        ("a bomb", gzip(&tar(&[("index.html", &vec![0; 17 * 1024 * 1024])]))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_that_is_none_leaves_the_console_that_is_installed() {
    let edge = edge().start().await;
    install(&edge, CONSOLE).await;
    let many: Vec<(String, &[u8])> = (0..1_001).map(|number| (format!("{number}.txt"), &b"x"[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
    let more = [
        ("too many", gzip(&tar(&many))),
        ("a path outside", gzip(&crate::support::archives::tar_with(b"../../x", tar::EntryType::Regular, b""))),
    ];
    for (what, bytes) in bad_packages().into_iter().chain(more) {
        let path = base(&edge).join("bad");
        std::fs::write(&path, bytes).unwrap();
        let refused = server::install_console(edge.file(), &base(&edge), &path).await;
        assert!(refused.is_err(), "{what}");
        assert_eq!(page(&edge, "/console/").await.body, PAGE, "{what}");
    }
    // Rule files of a package are ignored: the edge determines how the console is served.
    let rules: Files<'_> = &[
        ("index.html", b"other"),
        ("_headers", b"/*\n  content-security-policy: x"),
        ("_redirects", b"/* https://a.example"),
    ];
    assert_eq!(install(&edge, rules).await.installed.unwrap().files, 1);
    let answer = page(&edge, "/console/x").await;
    assert_eq!((answer.text().as_str(), answer.header("content-security-policy")), ("other", POLICY));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_stays_over_restarts_and_collections_until_it_is_removed() {
    let edge = edge().with_top("console = \"package.tar.gz\"").start().await;
    // The package named in edge.toml is missing: the edge reports the error, and serves.
    assert!(server::check(edge.file(), &base(&edge)).iter().any(|fault| fault.to_string().contains("`console`")));
    std::fs::write(base(&edge).join("package.tar.gz"), archive("tar.gz", CONSOLE)).unwrap();
    let edge = edge.restart().await;
    eventually("the package is installed", async || page(&edge, "/console/").await.body == PAGE).await;
    let collected = got(edge.api(Method::POST, "/v1/gc?purge=true&force=true")).await;
    assert_eq!(collected.status, StatusCode::OK, "{}", collected.text());
    let edge = edge.restart().await;
    eventually("the console is served", async || page(&edge, "/console/").await.body == PAGE).await;
    let removed = server::remove_console(edge.file(), &base(&edge)).await.unwrap();
    assert_eq!((removed.installed, removed.served), (None, false));
    assert_eq!(page(&edge, "/console/").await.code(), Code::NotFound);
    assert!(server::remove_console(edge.file(), &base(&edge)).await.is_err());
    // After a removal, a restart does not reinstall the same package, …
    let edge = edge.restart().await;
    let audit = got(edge.api(Method::GET, "/v1/audit")).await.text();
    assert!(audit.contains("install_console") && audit.contains("remove_console"), "{audit}");
    assert!(server::show_console(edge.file(), &base(&edge)).await.unwrap().installed.is_none());
    // … but installs another package, and a package given to a stopped edge.
    let (folder, file) = edge.stopped().await;
    let package = package(folder.path(), &[("index.html", b"from the machine")]);
    assert!(server::install_console(&file, folder.path(), &package).await.unwrap().is_none());
    let edge = RunningEdge::over(folder, file).await;
    eventually("what waited is installed", async || page(&edge, "/console/").await.text() == "from the machine").await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_and_is_no_package_keeps_no_start_from_installing_the_one_of_the_configuration() {
    for is_large in [false, true] {
        let edge = edge().with_top("console = \"package.tar.gz\"").start().await;
        std::fs::write(base(&edge).join("package.tar.gz"), archive("tar.gz", CONSOLE)).unwrap();
        let waiting = edge.data_dir().join("console-to-install");
        let (folder, file) = edge.stopped().await;
        std::fs::write(&waiting, "no archive").unwrap();
        if is_large {
            // An oversized package is not read at all, and stays.
            std::fs::OpenOptions::new().write(true).open(&waiting).unwrap().set_len(1 << 32).unwrap();
        }
        let edge = RunningEdge::over(folder, file).await;
        eventually("the package is installed", async || page(&edge, "/console/").await.body == PAGE).await;
        assert_eq!(waiting.exists(), is_large);
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_whose_configuration_says_off_serves_no_console() {
    let edge = edge().with_top("console = \"off\"").start().await;
    let status = install(&edge, CONSOLE).await;
    assert!(status.installed.is_some() && !status.served);
    assert_eq!(page(&edge, "/console/").await.code(), Code::NotFound);
    // A start would not install the waiting package, …
    let (folder, mut file) = edge.stopped().await;
    let other = package(folder.path(), &[("index.html", b"other")]);
    let refused = server::install_console(&file, folder.path(), &other).await.unwrap_err().to_string();
    assert!(refused.contains("`console` in edge.toml is \"off\""), "{refused}");
    let waiting = folder.path().join("data/console-to-install");
    assert!(!waiting.exists());
    // … and no later start restores an earlier package.
    file.console = Default::default();
    assert!(server::install_console(&file, folder.path(), &other).await.unwrap().is_none());
    file.console = devanture_config::edge_toml::Console::Off;
    let edge = RunningEdge::over(folder, file).await;
    eventually("what waited is dropped", async || !waiting.exists()).await;
    assert_eq!(server::show_console(edge.file(), &base(&edge)).await.unwrap().installed, status.installed);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_edge_could_install_does_not_wait_for_a_start() {
    let edge = edge().start().await;
    let (folder, file) = edge.stopped().await;
    for (what, bytes) in bad_packages() {
        let path = folder.path().join("bad");
        std::fs::write(&path, bytes).unwrap();
        assert!(server::install_console(&file, folder.path(), &path).await.is_err(), "{what}");
        assert!(!folder.path().join("data/console-to-install").exists(), "{what}");
    }
    let good = package(folder.path(), &[("console/index.html", PAGE), ("console/assets/a.js", SCRIPT)]);
    assert!(server::install_console(&file, folder.path(), &good).await.unwrap().is_none());
}
