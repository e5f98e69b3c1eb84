//! Withdrawn paths: no version stored before answers at the path, anywhere; later versions do.

use devanture_config::api::{RestoreReport, Scope, WithdrawReport, WithdrawnList};
use devanture_config::problem::Code;
use devanture_config::site_toml::HtmlHandling;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Got, RunningEdge, edge, got};
use crate::upkeep::{api, handled, navigate, preview, push_served, single_page, store, switch};
use crate::wire::{Protocol, ask, protocols};

async fn withdraw(edge: &RunningEdge, path: &str) -> WithdrawReport {
    api(edge, Method::POST, "withdrawn", json!({"path": path})).await.json()
}

async fn text(edge: &RunningEdge, host: &str, path: &str) -> (u16, String) {
    let Got { status, body, .. } = edge.get(host, path).await;
    (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn law_10_a_withdrawn_path_is_gone_on_every_hostname() {
    let edge = edge().start().await;
    let files: &[(&str, &[u8])] = &[
        ("index.html", b"home"),
        ("404.html", b"gone"),
        ("salaries.pdf", b"secret"),
        ("app-4f2a91bc.js", b"old()"),
        ("docs/index.html", b"docs"),
    ];
    let one = edge.push("shop", files).await;
    api(&edge, Method::PUT, "aliases/feature-x", json!({"version": one.version})).await.json::<Value>();
    switch(&edge, "staging", &one.version.to_string()).await.json::<Value>();
    let hosts = ["shop.localhost", "staging--shop.localhost", "feature-x--shop.localhost", &preview(&one)];
    for host in hosts {
        assert_eq!(text(&edge, host, "/salaries.pdf").await, (200, "secret".to_owned()), "{host}");
    }
    let tag = edge.get("shop.localhost", "/salaries.pdf").await.header("etag").to_owned();
    let report = withdraw(&edge, "/salaries.pdf").await;
    assert_eq!((report.path.as_str(), report.answered), ("/salaries.pdf", true));
    for protocol in protocols(&edge) {
        for host in hosts {
            let request = ask("/salaries.pdf").host(host).with("If-None-Match", &*tag).with("Range", "bytes=0-1");
            let answer = request.send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (404, "gone"), "{host}");
            assert!(!answer.header("cache-control").contains("immutable"));
            assert_eq!(ask("/docs/").host(host).send(&edge, protocol).await.text(), "docs", "{host}");
        }
    }
    // An asset retained after a switch is withdrawn as well, also after a restart.
    edge.push("shop", &[("index.html", b"two")]).await;
    assert_eq!(text(&edge, "shop.localhost", "/app-4f2a91bc.js").await, (200, "old()".to_owned()));
    withdraw(&edge, "/app-4f2a91bc.js").await;
    assert_eq!(edge.get("shop.localhost", "/app-4f2a91bc.js").await.status, 404);
    let edge = edge.restart().await;
    for host in hosts {
        for path in ["/salaries.pdf", "/app-4f2a91bc.js"] {
            assert_eq!(edge.get(host, path).await.status, 404, "{host}{path}");
        }
    }
    // A rollback does not restore the path.
    switch(&edge, "prod", &one.version.to_string()).await.json::<Value>();
    assert_eq!(text(&edge, "shop.localhost", "/").await.1, "home");
    assert_eq!(edge.get("shop.localhost", "/salaries.pdf").await.status, 404);
    edge.stop().await;
}

#[tokio::test]
async fn a_version_stored_later_answers_the_path_again() {
    let edge = edge().start().await;
    let one = edge.push("shop", &[("index.html", b"home"), ("prices.pdf", b"wrong")]).await;
    withdraw(&edge, "/prices.pdf").await;
    // The same content is the same version, and so was stored before.
    let same = edge.push("shop", &[("index.html", b"home"), ("prices.pdf", b"wrong")]).await;
    assert_eq!(same.version, one.version);
    assert_eq!(edge.get("shop.localhost", "/prices.pdf").await.status, 404);
    let two = edge.push("shop", &[("index.html", b"home"), ("prices.pdf", b"right")]).await;
    assert_eq!(text(&edge, "shop.localhost", "/prices.pdf").await, (200, "right".to_owned()));
    assert_eq!(edge.get(&preview(&one), "/prices.pdf").await.status, 404);
    assert_eq!(text(&edge, &preview(&two), "/prices.pdf").await, (200, "right".to_owned()));
    // And a second time.
    withdraw(&edge, "/prices.pdf").await;
    assert_eq!(edge.get("shop.localhost", "/prices.pdf").await.status, 404);
    // A version deleted and pushed again is the same version, with valid signatures.
    assert_eq!(api(&edge, Method::DELETE, &format!("versions/{}", one.version), Value::Null).await.status, 200);
    store(&edge, &[("index.html", b"home"), ("prices.pdf", b"wrong")]).await;
    assert_eq!(edge.get(&preview(&one), "/prices.pdf").await.status, 404);
    assert_eq!(text(&edge, &preview(&one), "/").await, (200, "home".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn a_withdrawal_is_taken_back_by_name_and_not_by_a_push_of_the_same() {
    let edge = edge().start().await;
    let files: &[(&str, &[u8])] = &[("index.html", b"home"), ("about.html", b"about"), ("prices.pdf", b"right")];
    let one = edge.push("shop", files).await;
    assert!(one.withdrawn.is_empty());
    let hosts = ["shop.localhost", &preview(&one)];
    for path in ["/prices.pdf", "/", "/about", "/never.txt"] {
        withdraw(&edge, path).await;
    }
    let same = edge.push("shop", files).await;
    assert_eq!((same.version, same.switched), (one.version, false));
    assert_eq!(same.withdrawn, ["/", "/about", "/prices.pdf"]);
    let restore = async |path: &str| api(&edge, Method::DELETE, &format!("withdrawn?path={path}"), Value::Null).await;
    for path in ["/", "/prices.pdf", "/about"] {
        for host in hosts {
            assert_eq!(edge.get(host, path).await.status, 404, "{host}{path}");
        }
        let report: RestoreReport = restore(path).await.json();
        assert_eq!((report.path.as_str(), report.answers), (path, true));
        for host in hosts {
            assert_eq!(edge.get(host, path).await.status, 200, "{host}{path}");
        }
        assert_eq!(restore(path).await.code(), Code::NotFound);
    }
    let misspelt: RestoreReport = restore("/%6eever.txt").await.json();
    assert_eq!((misspelt.path.as_str(), misspelt.answers), ("/never.txt", false));
    for bad in ["withdrawn", "withdrawn?path=", "withdrawn?path=prices.pdf", "withdrawn?path=/a%00"] {
        assert_eq!(api(&edge, Method::DELETE, bad, Value::Null).await.code(), Code::BadRequest, "{bad}");
    }
    let token = edge.token_for(Scope::Push, Some("shop"), Some("prod")).await;
    let request = edge.ask(Method::DELETE, "/v1/apps/shop/withdrawn?path=/prices.pdf", &token);
    assert_eq!(got(request).await.code(), Code::Forbidden);
    // A later withdrawal starts again.
    withdraw(&edge, "/prices.pdf").await;
    let edge = edge.restart().await;
    assert_eq!(edge.get("shop.localhost", "/prices.pdf").await.status, 404);
    assert_eq!(edge.get("shop.localhost", "/about").await.status, 200);
    assert!(edge.push("shop", &[("index.html", b"new"), ("prices.pdf", b"new")]).await.withdrawn.is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn a_page_is_gone_at_each_of_its_addresses() {
    let edge = edge().start().await;
    let files: &[(&str, &[u8])] = &[
        ("index.html", b"home"),
        ("about.html", b"about"),
        ("page.html", b"page"),
        ("page/index.html", b"folder"),
        ("docs/index.html", b"docs"),
        ("data.json", b"{}"),
        ("data.json.gz", b"no gzip at all"),
    ];
    use HtmlHandling::{AsIs, AutoTrailingSlash, DropTrailingSlash, ForceTrailingSlash, None};
    #[rustfmt::skip]
    let cases: &[(HtmlHandling, &str, &[&str], &[&str])] = &[
        // handling, withdrawn path, paths gone, paths that stay
        (AutoTrailingSlash,  "/about",           &["/about"],                            &["/page", "/page/", "/"]),
        (AutoTrailingSlash,  "/about.html",      &["/about"],                            &["/page"]),
        (AutoTrailingSlash,  "/about/",          &["/about"],                            &["/page"]),
        (AutoTrailingSlash,  "/page",            &["/page"],                             &["/page/", "/about"]),
        (AutoTrailingSlash,  "/page/",           &["/page/"],                            &["/page", "/about"]),
        (AutoTrailingSlash,  "/page/index.html", &["/page/"],                            &["/page"]),
        (AutoTrailingSlash,  "/docs",            &["/docs/"],                            &["/about"]),
        (AutoTrailingSlash,  "/",                &["/"],                                 &["/about"]),
        (AutoTrailingSlash,  "/index.html",      &["/"],                                 &["/about"]),
        (AutoTrailingSlash,  "/data.json",       &["/data.json", "/data.json.gz"],       &["/about"]),
        (DropTrailingSlash,  "/docs/",           &["/docs"],                             &["/about"]),
        (ForceTrailingSlash, "/about",           &["/about/"],                           &["/docs/"]),
        (AsIs,               "/about",           &["/about", "/about.html"],             &["/page", "/docs/", "/docs"]),
        (AsIs,               "/docs/",           &["/docs/", "/docs", "/docs/index.html"], &["/about"]),
        (AsIs,               "/docs/index",      &["/docs/index", "/docs/", "/docs", "/docs/index.html"], &["/about", "/"]),
        (AsIs,               "/index",           &["/index", "/", "/index.html"],        &["/about", "/docs/"]),
        (AutoTrailingSlash,  "/docs/index",      &["/docs/"],                            &["/about", "/"]),
        (None,               "/about.html",      &["/about.html"],                       &["/page.html"]),
        (None,               "//x/../about%2Ehtml", &["/about.html"],                    &["/page.html"]),
    ];
    for (number, (handling, path, gone, stays)) in cases.iter().enumerate() {
        let case = format!("{handling:?} {path}");
        // A separate version, stored after the withdrawals of earlier cases.
        let text = number.to_string();
        let files: Vec<(&str, &[u8])> = files.iter().copied().chain([("n.txt", text.as_bytes())]).collect();
        push_served(&edge, handled(*handling), &files).await;
        for path in gone.iter().chain(stays.iter()) {
            assert_eq!(edge.get("shop.localhost", path).await.status, 200, "{case}: before, {path}");
        }
        assert!(withdraw(&edge, path).await.answered, "{case}");
        for path in *gone {
            assert_eq!(edge.get("shop.localhost", path).await.status, 404, "{case}: {path}");
        }
        for path in *stays {
            assert_eq!(edge.get("shop.localhost", path).await.status, 200, "{case}: {path}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn no_page_of_an_application_stands_in_for_a_withdrawn_path() {
    let edge = edge().start().await;
    let one = push_served(&edge, single_page(), &[("index.html", b"shell"), ("salaries.pdf", b"secret")]).await;
    let protocol = Protocol::Http2;
    assert_eq!(navigate("/salaries").send(&edge, protocol).await.text(), "shell");
    withdraw(&edge, "/salaries.pdf").await;
    assert_eq!(navigate("/salaries.pdf").send(&edge, protocol).await.status, 404);
    assert_eq!(navigate("/salaries").send(&edge, protocol).await.text(), "shell");
    // The shell is an ordinary file, wherever it would be served.
    withdraw(&edge, "/").await;
    for path in ["/", "/salaries"] {
        assert_eq!(navigate(path).send(&edge, protocol).await.status, 404, "{path}");
        assert_eq!(navigate(path).host(&preview(&one)).send(&edge, protocol).await.status, 404, "{path}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_is_withdrawn_is_listed_and_limited() {
    let edge = edge()
        .with_limit("withdrawn_paths_max", 2)
        .with_toml("[retention]\nundelete_hours = 0")
        .with_app("shop", &[("index.html", b"home"), ("a.txt", b"a")])
        .with_app("other", &[("a.txt", b"other")])
        .start()
        .await;
    assert!(withdraw(&edge, "/a.txt").await.answered);
    let unknown = withdraw(&edge, "/b \u{fc}.txt").await;
    assert_eq!((unknown.path.as_str(), unknown.answered), ("/b \u{fc}.txt", false));
    let listed: WithdrawnList = api(&edge, Method::GET, "withdrawn", Value::Null).await.json();
    let listed: Vec<(&str, &str)> =
        listed.withdrawn.iter().map(|entry| (entry.path.as_str(), entry.who.as_str())).collect();
    assert_eq!(listed, [("/a.txt", "test"), ("/b \u{fc}.txt", "test")]);
    let third = api(&edge, Method::POST, "withdrawn", json!({"path": "/c.txt"})).await;
    assert_eq!(third.code(), Code::TooMany);
    // A repeated withdrawal does not count again.
    assert!(!withdraw(&edge, "/a.txt").await.answered);
    for path in ["a.txt", "", "/a?b", "/a#b", "/..%2fx", "/a\\b", "/%zz", "/a\u{0}"] {
        let answer = api(&edge, Method::POST, "withdrawn", json!({"path": path})).await;
        assert_eq!(answer.code(), Code::BadRequest, "{path}");
    }
    let no_app = got(edge.api(Method::POST, "/v1/apps/none/withdrawn").json(&json!({"path": "/"}))).await;
    assert_eq!(no_app.code(), Code::NotFound);
    // Another app's path is unaffected.
    assert_eq!(text(&edge, "other.localhost", "/a.txt").await.1, "other");
    let stranger = edge.token_for(Scope::Read, Some("other"), None).await;
    assert_eq!(got(edge.ask(Method::GET, "/v1/apps/shop/withdrawn", &stranger)).await.code(), Code::NotFound);
    // A withdrawal without an affected version is removed in time.
    let one = edge.live("shop").await.unwrap();
    edge.push("shop", &[("index.html", b"two")]).await;
    assert_eq!(api(&edge, Method::DELETE, &format!("versions/{one}"), Value::Null).await.status, 200);
    withdraw(&edge, "/c.txt").await;
    let listed: WithdrawnList = api(&edge, Method::GET, "withdrawn", Value::Null).await.json();
    assert_eq!(listed.withdrawn.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["/c.txt"]);
    edge.stop().await;
}

#[tokio::test]
async fn a_file_that_came_compressed_alone_is_gone_under_both_names() {
    let mut encoded = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut &b"run()"[..], &mut encoded, &parameters).unwrap();
    for withdrawn in ["/app.js", "/app.js.br"] {
        let edge = edge().start().await;
        edge.push("shop", &[("index.html", b"home"), ("app.js.br", &encoded)]).await;
        for path in ["/app.js", "/app.js.br"] {
            assert_eq!(text(&edge, "shop.localhost", path).await, (200, "run()".to_owned()), "{path}");
        }
        assert!(withdraw(&edge, withdrawn).await.answered, "{withdrawn}");
        for path in ["/app.js", "/app.js.br"] {
            assert_eq!(edge.get("shop.localhost", path).await.status, 404, "{withdrawn} {path}");
        }
        edge.stop().await;
    }
}
