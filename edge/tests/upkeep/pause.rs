//! Paused environment: only the exempt paths answer, and all other sites are unaffected.

use devanture_config::api::{History, Outcome, PauseReport, Scope, Status};
use devanture_config::problem::Code;
use devanture_config::site_toml::{HtmlHandling, Serving};
use http::Method;
use serde_json::{Value, json};

use crate::support::{RunningEdge, edge, got};
use crate::upkeep::{api, closed_port, fetch, long, navigate, preview, push, push_served, routed, switch};
use crate::wire::{Protocol, ask, protocols};

async fn pause(edge: &RunningEdge, body: Value) -> PauseReport {
    api(edge, Method::POST, "environments/prod/pause", body).await.json()
}

async fn resume(edge: &RunningEdge) -> PauseReport {
    api(edge, Method::POST, "environments/prod/resume", Value::Null).await.json()
}

async fn status(edge: &RunningEdge) -> Status {
    api(edge, Method::GET, "environments/prod", Value::Null).await.json()
}

const RELEASE: &str = "/.well-known/devanture/release.json";

#[tokio::test]
async fn while_paused_only_what_was_left_open_answers() {
    let edge = edge().start().await;
    let files: &[(&str, &[u8])] =
        &[("index.html", b"home"), ("status.html", b"fine"), ("a/app-4f2a91bc.js", b"go()"), ("404.html", b"gone")];
    let pushed = push_served(&edge, routed(closed_port()), files).await;
    let report = pause(&edge, json!({"message": "<b>Back</b> at \"ten\".", "allow": ["/status", "/a/*"]})).await;
    assert!(report.changed);
    for protocol in protocols(&edge) {
        for target in ["/", "/missing", "/api/x", "/status/x", "/%00", "/index.html", "//", "/a/../index.html"] {
            let page = navigate(target).send(&edge, protocol).await;
            assert_eq!(
                (page.status, page.header("content-type").as_str()),
                (503, "text/html; charset=utf-8"),
                "{target}"
            );
            assert!(page.text().contains("<p>&lt;b&gt;Back&lt;/b&gt; at &quot;ten&quot;.</p>"), "{}", page.text());
            assert_eq!(
                (page.header("retry-after").as_str(), page.header("cache-control").as_str()),
                ("60", "no-store")
            );
            assert_eq!((page.header("etag").as_str(), page.header("devanture-version")), ("", pushed.version.short()));
            let problem = fetch(target).send(&edge, protocol).await;
            assert_eq!((problem.status, problem.header("content-type").as_str()), (503, "application/problem+json"));
            assert_eq!(
                (problem.header("retry-after").as_str(), problem.header("cache-control").as_str()),
                ("60", "no-store")
            );
            let problem: Value = serde_json::from_slice(&problem.body).unwrap();
            assert_eq!(problem["detail"], "<b>Back</b> at \"ten\".");
        }
        for method in ["POST", "PUT", "OPTIONS", "HEAD", "BREW"] {
            assert_eq!(fetch("/").method(method).send(&edge, protocol).await.status, 503, "{method}");
        }
        for (target, code, text) in [
            ("/status", 200, "fine"),
            ("/a/app-4f2a91bc.js", 200, "go()"),
            ("/a/missing", 404, "gone"),
            ("//status", 308, ""),
            ("/%73tatus", 308, ""),
        ] {
            let answer = navigate(target).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (code, text), "{target}");
        }
        let release = fetch(RELEASE).send(&edge, protocol).await;
        assert_eq!(release.status, 200);
        assert!(release.text().contains(&pushed.version.to_string()));
        // The version's preview is not paused.
        assert_eq!(navigate("/").host(&preview(&pushed)).send(&edge, protocol).await.text(), "home");
    }
    assert!(resume(&edge).await.changed);
    for protocol in protocols(&edge) {
        assert_eq!(navigate("/").send(&edge, protocol).await.text(), "home");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_page_that_is_left_open_by_one_address_answers_at_its_own_place() {
    use HtmlHandling::{AsIs, AutoTrailingSlash, DropTrailingSlash, ForceTrailingSlash};
    /// Path, status, and body or location.
    type TestRequest = &'static [(&'static str, u16, &'static str)];
    let edge = edge().start().await;
    let files: &[(&str, &[u8])] = &[
        ("index.html", b"home"),
        ("status/index.html", b"fine"),
        ("status/more.html", b"more"),
        ("about.html", b"about"),
        ("both.html", b"page"),
        ("both/index.html", b"folder"),
        ("api/index.html", b"shadowed"),
    ];
    #[rustfmt::skip]
    let cases: &[(HtmlHandling, &[&str], TestRequest)] = &[
        (AutoTrailingSlash,  &["/status"],            &[("/status", 307, "/status/"), ("/status/", 200, "fine"),
            ("/status/index.html", 307, "/status/"), ("/status/more", 503, ""), ("/about", 503, ""), ("/", 503, "")]),
        (AutoTrailingSlash,  &["/about/"],            &[("/about/", 307, "/about"), ("/about", 200, "about"), ("/abou", 503, "")]),
        (AutoTrailingSlash,  &["/about.html"],        &[("/about.html", 307, "/about"), ("/about", 200, "about")]),
        (AutoTrailingSlash,  &["/index.html"],        &[("/index.html", 307, "/"), ("/", 200, "home"), ("/about", 503, "")]),
        (AutoTrailingSlash,  &["/status/index.html"], &[("/status/", 200, "fine"), ("/status/more", 503, "")]),
        // Another page of the same name is a different page.
        (AutoTrailingSlash,  &["/both"],              &[("/both", 200, "page"), ("/both/", 503, "")]),
        (AutoTrailingSlash,  &["/both/"],             &[("/both/", 200, "folder"), ("/both", 503, "")]),
        (DropTrailingSlash,  &["/status/"],           &[("/status/", 307, "/status"), ("/status", 200, "fine")]),
        (ForceTrailingSlash, &["/about"],             &[("/about", 307, "/about/"), ("/about/", 200, "about")]),
        (AsIs,               &["/status"],            &[("/status", 200, "fine"), ("/status/", 200, "fine"), ("/status/index", 200, "fine"),
            ("/status/more", 503, "")]),
        // Neither routed paths nor missing paths.
        (AutoTrailingSlash,  &["/api.html", "/none"], &[("/api", 503, ""), ("/api/", 503, ""), ("/none/", 503, ""), ("/none", 404, "")]),
    ];
    for (handling, open, request) in cases {
        let serving = Serving { html_handling: Some(*handling), ..routed(closed_port()) };
        push_served(&edge, serving, files).await;
        pause(&edge, json!({ "allow": open })).await;
        for (target, status, expected) in *request {
            let answer = ask(target).send(&edge, Protocol::Http1).await;
            assert_eq!(answer.status, *status, "{handling:?} {open:?} {target}");
            match status {
                200 => assert_eq!(answer.text(), *expected, "{handling:?} {open:?} {target}"),
                307 => assert_eq!(answer.header("location"), *expected, "{handling:?} {open:?} {target}"),
                _ => {}
            }
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_sites_own_page_says_that_it_is_paused() {
    let edge = edge().start().await;
    let page = long("paused");
    let files: &[(&str, &[u8])] = &[("index.html", b"home"), ("503.html", &page), ("5xx.html", b"any")];
    push_served(&edge, routed(closed_port()), files).await;
    pause(&edge, json!({"retry_after_s": 600})).await;
    for protocol in protocols(&edge) {
        for target in ["/", "/api/x", "/503"] {
            let answer = navigate(target).send(&edge, protocol).await;
            assert!(answer.body == page, "{target}: {answer:?}");
            assert_eq!((answer.status, answer.header("retry-after").as_str()), (503, "600"));
            assert_eq!((answer.header("cache-control").as_str(), answer.header("etag").as_str()), ("no-store", ""));
            assert_eq!(answer.header("vary"), "accept-encoding");
        }
        let packed = navigate("/").with("Accept-Encoding", "gzip").send(&edge, protocol).await;
        assert_eq!((packed.status, packed.header("content-encoding").as_str()), (503, "gzip"));
        let script = ask("/app.js").with("Sec-Fetch-Mode", "no-cors").with("Sec-Fetch-Dest", "script");
        let script = script.send(&edge, protocol).await;
        assert_eq!(script.header("content-type"), "application/problem+json");
        assert!(script.text().contains("This site is paused for maintenance."));
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_pause_is_of_one_environment_alone() {
    let edge = edge()
        .with_app("shop", &[("index.html", b"home")])
        .with_app("other", &[("index.html", b"other")])
        .start()
        .await;
    let staged =
        push(&edge, "staging", Default::default(), Default::default(), &[("index.html", b"staged")]).await.unwrap();
    api(&edge, Method::PUT, "aliases/feature-x", json!({"version": staged.version})).await.json::<Value>();
    pause(&edge, Value::Null).await;
    for (host, status) in [
        ("shop.localhost", 503),
        ("staging--shop.localhost", 200),
        ("feature-x--shop.localhost", 200),
        ("other.localhost", 200),
    ] {
        assert_eq!(edge.get(host, "/").await.status, status, "{host}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_push_while_paused_works_and_a_restart_changes_nothing() {
    let edge = edge().with_app("shop", &[("index.html", b"one")]).start().await;
    pause(&edge, json!({"message": "Soon."})).await;
    let first = status(&edge).await;
    assert_eq!(first.paused.unwrap().message.as_deref(), Some("Soon."));
    let second = edge.push("shop", &[("index.html", b"two")]).await;
    assert!(second.switched);
    assert_eq!(second.paused.unwrap().message.as_deref(), Some("Soon."), "the answer says what hides it");
    assert_eq!(edge.get("shop.localhost", "/").await.status, 503);
    let edge = edge.restart().await;
    assert_eq!(edge.get("shop.localhost", "/").await.status, 503);
    assert!(edge.get("shop.localhost", RELEASE).await.text().contains(&second.version.to_string()));
    let switched = switch(&edge, "prod", &first.version.unwrap().to_string()).await;
    assert_eq!((switched.status.as_u16(), &switched.json::<Value>()["paused"]["message"]), (200, &json!("Soon.")));
    assert!(status(&edge).await.paused.is_some());
    resume(&edge).await;
    assert_eq!(edge.push("shop", &[("index.html", b"one")]).await.paused, None);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    let edge = edge.restart().await;
    assert_eq!((edge.get("shop.localhost", "/").await.text(), status(&edge).await.paused), ("one".to_owned(), None));
    edge.stop().await;
}

#[tokio::test]
async fn a_pause_is_in_the_history_and_no_rollback_stops_at_it() {
    let edge = edge().with_app("shop", &[("index.html", b"one")]).start().await;
    edge.push("shop", &[("index.html", b"two")]).await;
    assert!(pause(&edge, json!({"message": "a"})).await.changed);
    assert!(!pause(&edge, json!({"message": "a"})).await.changed);
    assert!(pause(&edge, json!({"message": "b"})).await.changed);
    assert!(resume(&edge).await.changed);
    assert!(!resume(&edge).await.changed);
    let history = api(&edge, Method::GET, "environments/prod/history", Value::Null).await.json::<History>();
    let kinds: Vec<String> = history.deploys.iter().map(|d| format!("{:?}", d.kind)).collect();
    assert_eq!(kinds, ["Resume", "Pause", "Pause", "Push", "Push"]);
    assert!(history.deploys[..3].iter().all(|d| d.outcome == Outcome::Done && d.who == "test"));
    let status = api(&edge, Method::GET, &format!("deploys/{}", history.deploys[0].id), Value::Null).await;
    assert_eq!(status.json::<Value>()["state"], "live");
    assert_eq!(api(&edge, Method::POST, "environments/prod/rollback", Value::Null).await.status, 200);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    let further = api(&edge, Method::POST, "environments/prod/rollback", Value::Null).await;
    assert_eq!(further.code(), Code::NoPrevious);
    edge.stop().await;
}

#[tokio::test]
async fn what_no_pause_can_be_is_refused() {
    let edge = edge()
        .with_limit("pause_message_characters_max", 10)
        .with_limit("pause_paths_max", 2)
        .with_app("shop", &[("index.html", b"home")])
        .start()
        .await;
    for (body, code) in [
        (json!({"message": "eleven char"}), Code::BadRequest),
        (json!({"message": "a\u{7}b"}), Code::BadRequest),
        (json!({"allow": ["/a", "/b", "/c"]}), Code::BadRequest),
        (json!({"allow": ["a"]}), Code::BadRequest),
        (json!({"allow": ["/a/*/b"]}), Code::BadRequest),
        (json!({"allow": "/a"}), Code::BadRequest),
        (json!({"retry_after_s": 0}), Code::BadRequest),
        (json!({"retry_after_s": 604_801}), Code::BadRequest),
        (json!({"reason": "x"}), Code::BadRequest),
    ] {
        let answer = api(&edge, Method::POST, "environments/prod/pause", body.clone()).await;
        assert_eq!(answer.code(), code, "{body}");
    }
    let nothing = api(&edge, Method::POST, "environments/staging/pause", json!({})).await;
    assert_eq!(nothing.code(), Code::NothingLive);
    let no_app = got(edge.api(Method::POST, "/v1/apps/none/environments/prod/pause")).await;
    assert_eq!(no_app.code(), Code::NotFound);
    let no_app = got(edge.api(Method::POST, "/v1/apps/none/environments/prod/resume")).await;
    assert_eq!(no_app.code(), Code::NotFound);
    assert_eq!(edge.get("shop.localhost", "/").await.status, 200);
    // Ten characters of four bytes each count as ten.
    let message = "\u{1f600}".repeat(10);
    assert_eq!(
        pause(&edge, json!({"message": message, "allow": ["/a", "/b"]})).await.paused.unwrap().message.unwrap(),
        message
    );
    let (read, elsewhere) = (edge.token(Scope::Read).await, edge.token_for(Scope::Push, None, Some("staging")).await);
    for token in [read, elsewhere] {
        for operation in ["pause", "resume"] {
            let path = format!("/v1/apps/shop/environments/prod/{operation}");
            assert_eq!(got(edge.ask(Method::POST, &path, &token)).await.code(), Code::Forbidden, "{operation}");
        }
    }
    assert_eq!(edge.get("shop.localhost", "/").await.status, 503);
    edge.stop().await;
}
