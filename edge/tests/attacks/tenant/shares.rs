//! Total limits of one app: stored bytes, pushes, concurrent requests, sent bytes; and the figures in problems and in
//! `usage`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::api::{AppUsage, BeginDeploy, LimitUsage, Scope};
use devanture_config::problem::{Code, Problem};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::attacks::world::push;
use crate::support::archives::archive;
use crate::support::{Files, Got, RunningEdge, edge, eventually, got, manifest};

async fn refused(edge: &RunningEdge, app: &str, files: Files<'_>) -> Box<Problem> {
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
    edge.try_push(app, "prod", begin, files).await.expect_err("it was taken")
}

async fn usage(edge: &RunningEdge, app: &str) -> AppUsage {
    got(edge.api(Method::GET, &format!("/v1/apps/{app}/usage"))).await.json()
}

async fn usage_of(edge: &RunningEdge, app: &str, name: &str) -> LimitUsage {
    usage(edge, app).await.limits.into_iter().find(|limit| limit.name == name).unwrap()
}

/// Name of the limit, allowed amount, used amount.
fn reached(problem: &Problem) -> (&str, u64, u64) {
    let limit = problem.limit.as_ref().unwrap_or_else(|| panic!("{problem:?}"));
    assert!(problem.hint.as_ref().unwrap().contains(&limit.name), "{problem:?}");
    (&limit.name, limit.max, limit.used)
}

#[tokio::test]
async fn law_11_an_app_stores_as_many_bytes_as_it_may_and_equal_ones_once() {
    let own = "[limits.apps.large]\nstored_bytes_per_app_max = 0\n";
    let edge = edge().with_limit("stored_bytes_per_app_max", 100).with_toml(own).start().await;
    let (half, other, small) = ([b'a'; 60], [b'b'; 60], [b'c'; 40]);
    edge.push("shop", &[("index.html", &half), ("copy.html", &half)]).await;
    let problem = refused(&edge, "shop", &[("index.html", &other)]).await;
    assert_eq!((problem.code, reached(&problem)), (Code::StorageFull, ("stored_bytes_per_app_max", 100, 60)));
    for kind in ["zip", "tar.gz"] {
        // A push too large for the remaining space, and a push larger than the limit.
        for (size, used) in [(60, 60), (5_000, 0)] {
            let (bytes, path) = (vec![b'd'; size], "/v1/apps/shop/environments/prod/deploys");
            let body = archive(kind, &[("index.html", &bytes)]);
            let kind = crate::support::archives::media_type(kind);
            let got = got(edge.api(Method::POST, path).header("content-type", kind).body(body)).await;
            assert_eq!((got.code(), reached(&got.problem()).2), (Code::StorageFull, used), "{kind} {size}");
        }
    }
    assert_eq!(edge.get("shop.localhost", "/").await.text(), String::from_utf8_lossy(&half));
    // Stored files cost nothing, a fitting file is accepted, and another app has a separate budget.
    let more: Files<'_> = &[("index.html", &half), ("small.html", &small)];
    edge.push("shop", more).await;
    edge.push("blog", &[("index.html", &half)]).await;
    edge.push("large", &[("index.html", &[b'e'; 500])]).await;
    let stored = async |app: &str| usage_of(&edge, app, "stored_bytes_per_app_max").await;
    let limit = stored("shop").await;
    assert_eq!((limit.used, limit.max, limit.own), (Some(100), Some(100), false));
    let limit = stored("large").await;
    assert_eq!((limit.used, limit.max, limit.own), (Some(500), None, true));
    // The limits survive a restart.
    let edge = edge.restart().await;
    assert_eq!(refused(&edge, "shop", &[("index.html", &other)]).await.code, Code::StorageFull);
    edge.push("shop", &[("index.html", &small)]).await;
    edge.stop().await;
}

#[tokio::test]
async fn bytes_of_a_deleted_version_count_until_they_are_collected() {
    // Deleted files stay until the purge.
    let edge = edge().with_limit("stored_bytes_per_app_max", 100).with_limit("grace_ms_max", 0).start().await;
    let old = edge.push("shop", &[("index.html", &[b'a'; 60]), ("shared.html", &[b's'; 5])]).await;
    edge.push("shop", &[("index.html", &[b'b'; 20]), ("shared.html", &[b's'; 5])]).await;
    // Another app keeps the same bytes stored, independent of this app.
    edge.push("blog", &[("index.html", &[b'a'; 60])]).await;
    let path = format!("/v1/apps/shop/versions/{}", old.version);
    assert_eq!(got(edge.api(Method::DELETE, &path)).await.status, StatusCode::OK);
    let mut edge = edge;
    for step in ["deleted", "collected", "restarted", "collected again"] {
        match step {
            "restarted" => edge = edge.restart().await,
            "collected" | "collected again" => {
                assert_eq!(got(edge.api(Method::POST, "/v1/gc")).await.status, StatusCode::OK);
            }
            _ => {}
        }
        let used = usage_of(&edge, "shop", "stored_bytes_per_app_max").await.used;
        assert_eq!(used, Some(85), "{step}");
        let problem = refused(&edge, "shop", &[("index.html", &[b'c'; 20])]).await;
        assert_eq!((problem.code, reached(&problem).2), (Code::StorageFull, 85), "{step}");
    }
    assert_eq!(got(edge.api(Method::DELETE, &format!("{path}?purge=true"))).await.status, StatusCode::OK);
    assert_eq!(usage_of(&edge, "shop", "stored_bytes_per_app_max").await.used, Some(25));
    edge.push("shop", &[("index.html", &[b'c'; 70])]).await;
    edge.stop().await;
}

#[tokio::test]
async fn two_pushes_at_once_do_not_both_get_the_last_bytes() {
    let edge = edge().with_limit("stored_bytes_per_app_max", 100).with_app("shop", &[("index.html", b"0123456789")]);
    let edge = edge.start().await;
    let begin = async |path: &str, byte: u8, options: &str| -> Got {
        let files: Files<'_> = &[(path, &[byte; 60])];
        let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options: Default::default() };
        let path = format!("/v1/apps/shop/environments/prod/deploys{options}");
        got(edge.api(Method::POST, &path).json(&begin)).await
    };
    assert_eq!(begin("a.html", b'a', "").await.status, StatusCode::CREATED);
    assert_eq!(usage_of(&edge, "shop", "stored_bytes_per_app_max").await.used, Some(70));
    for options in ["", "?dry_run"] {
        let got = begin("b.html", b'b', options).await;
        assert_eq!((got.code(), reached(&got.problem()).2), (Code::StorageFull, 70), "{options}");
    }
    // The same bytes count once, and a refused push reserves nothing.
    assert_eq!(begin("c.html", b'a', "").await.status, StatusCode::CREATED);
    edge.stop().await;
}

#[tokio::test]
async fn law_11_pushes_of_one_app_within_an_hour_have_an_end() {
    let own = "[limits.apps.blog]\npushes_per_hour_per_app_max = 3\n";
    let edge = edge().with_limit("pushes_per_hour_per_app_max", 2).with_toml(own).start().await;
    let files: Files<'_> = &[("index.html", b"hi")];
    edge.push("shop", files).await;
    let path = "/v1/apps/shop/environments/prod/deploys";
    let send = || edge.api(Method::POST, path).header("content-type", "application/zip").body(archive("zip", files));
    assert_eq!(got(send()).await.status, StatusCode::OK);
    let problem = refused(&edge, "shop", files).await;
    assert_eq!((problem.code, reached(&problem)), (Code::TooManyPushes, ("pushes_per_hour_per_app_max", 2, 2)));
    let got = got(send()).await;
    let seconds: u64 = got.header("retry-after").parse().unwrap();
    assert!(got.code() == Code::TooManyPushes && (3_000..=3_660).contains(&seconds), "{got:?}");
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS);
    for _ in 0..3 {
        edge.push("blog", files).await;
    }
    let problem = refused(&edge, "blog", files).await;
    assert_eq!(reached(&problem).1, 3);
    let limit = usage_of(&edge, "blog", "pushes_per_hour_per_app_max").await;
    assert_eq!((limit.used, limit.max, limit.own), (Some(3), Some(3), true));
    edge.stop().await;
}

/// Backend that answers one request per permit.
async fn waiting_backend() -> (u16, Arc<Semaphore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, gate) = (listener.local_addr().unwrap().port(), Arc::new(Semaphore::new(0)));
    let opened = Arc::clone(&gate);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let gate = Arc::clone(&opened);
            tokio::spawn(async move {
                let mut head = [0; 8_192];
                while matches!(stream.read(&mut head).await, Ok(1..)) {
                    gate.acquire().await.unwrap().forget();
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await);
                }
            });
        }
    });
    (port, gate)
}

#[tokio::test]
async fn law_11_requests_of_one_app_that_are_under_way_have_an_end_and_its_neighbours_do_not_see_it() {
    let (port, gate) = waiting_backend().await;
    let edge = edge().with_limit("requests_per_app_max", 2).start().await;
    let route = format!("[[routes]]\npath = \"/api/*\"\nto = \"http://127.0.0.1:{port}\"\n");
    let files: Files<'_> = &[("index.html", b"hi"), ("503.html", b"a page of the site")];
    push(&edge, "shop", files, &route).await;
    edge.push("blog", files).await;
    let ask = || tokio::spawn(got(edge.visit(Method::GET, "shop.localhost", "/api/x")));
    let under_way = [ask(), ask()];
    let used = async || usage_of(&edge, "shop", "requests_per_app_max").await.used;
    eventually("both are under way", async || used().await == Some(2)).await;
    for path in ["/", "/api/x", "/missing"] {
        let busy = edge.get("shop.localhost", path).await;
        assert_eq!((busy.status, busy.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"), "{path}");
        let problem: serde_json::Value = serde_json::from_str(&busy.text()).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&"app-busy".into(), &503.into()), "{path}");
        assert!(!busy.header("devanture-version").is_empty(), "{path}");
    }
    let page = edge.visit(Method::GET, "shop.localhost", "/").header("accept", "text/html");
    let page = got(page.header("sec-fetch-mode", "navigate")).await;
    assert_eq!(page.text(), "This site has as many requests under way as it may.");
    assert_eq!(edge.get("blog.localhost", "/").await.status, StatusCode::OK);
    gate.add_permits(2);
    for request in under_way {
        assert_eq!(request.await.unwrap().text(), "done");
    }
    eventually("nothing is under way", async || used().await == Some(0)).await;
    // Immediate responses release their permits as well, each at its end.
    for path in ["/", "/missing", "/", "/503", "/"] {
        assert_ne!(edge.get("shop.localhost", path).await.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    eventually("nothing is under way", async || used().await == Some(0)).await;
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.contains("devanture_app_busy_total{app=\"shop\"}"));
    edge.stop().await;
}

#[tokio::test]
async fn law_11_bytes_that_an_app_sends_wait_for_their_time_and_stay_as_they_are() {
    let own = "[limits.apps.shop]\nsent_bytes_per_second_per_app_max = 400_000\n";
    let edge = edge().with_limit("memory_file_bytes_max", 300_000).with_toml(own).start().await;
    // One file cached in memory and one read from the disk; random bytes, so that no encoding is smaller.
    let mut state = 1_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 33).to_le_bytes()[0]
        };
        (0..length).map(|_| next(&mut state)).collect()
    };
    let (memory, disk) = (noise(250_000), noise(500_000));
    let files: Files<'_> = &[("memory.bin", &memory), ("disk.bin", &disk), ("index.html", b"hi")];
    edge.push("shop", files).await;
    edge.push("blog", files).await;
    let began = Instant::now();
    for (path, bytes) in [("/memory.bin", &memory), ("/disk.bin", &disk)] {
        let sent = edge.get("shop.localhost", path).await;
        assert!(sent.status == StatusCode::OK && sent.body == bytes[..], "{path}");
        assert_eq!(sent.header("content-length"), bytes.len().to_string());
    }
    // Bytes beyond the burst are delayed; a busy machine permits no upper bound.
    assert!(began.elapsed() > Duration::from_millis(800), "{:?}", began.elapsed());
    let part = edge.visit(Method::GET, "shop.localhost", "/disk.bin").header("range", "bytes=10-19");
    let part = got(part).await;
    assert!(part.status == StatusCode::PARTIAL_CONTENT && part.body == disk[10..20]);
    let head = got(edge.visit(Method::HEAD, "shop.localhost", "/disk.bin")).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("500000", 0));
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "hi");
    assert!(edge.get("blog.localhost", "/disk.bin").await.body == disk[..]);
    let limit = usage_of(&edge, "shop", "sent_bytes_per_second_per_app_max").await;
    assert!(limit.used.is_some() && limit.max == Some(400_000) && limit.own, "{limit:?}");
    let limit = usage_of(&edge, "blog", "sent_bytes_per_second_per_app_max").await;
    assert_eq!((limit.used, limit.max), (None, None));
    edge.stop().await;
}

#[tokio::test]
async fn an_app_has_limits_of_its_own_for_all_that_is_counted() {
    let own = "[limits.apps.shop]\nversions_max = 1\nbundle_files_max = 2\naliases_max = 1\nenvironments_max = 2\n\
        hostnames_per_app_max = 1\n";
    let edge = edge().with_toml(own).start().await;
    let one: Files<'_> = &[("index.html", b"one")];
    edge.push("shop", one).await;
    let three: Files<'_> = &[("index.html", b"1"), ("b.html", b"2"), ("c.html", b"3")];
    let problem = refused(&edge, "shop", three).await;
    assert_eq!((problem.code, reached(&problem)), (Code::BundleTooLarge, ("bundle_files_max", 2, 3)));
    let problem = refused(&edge, "shop", &[("index.html", b"two")]).await;
    assert_eq!((problem.code, reached(&problem)), (Code::TooMany, ("versions_max", 1, 1)));
    let sent = blake3::hash(b"two").to_string();
    assert!(!edge.data_dir().join("blobs").join(&sent[..2]).join(&sent).exists(), "it was refused before it was sent");
    edge.push("blog", three).await;
    let version = serde_json::json!({ "version": "live" });
    let version = match edge.live("shop").await {
        Some(id) => serde_json::json!({ "version": id }),
        None => version,
    };
    let alias =
        async |name: &str| got(edge.api(Method::PUT, &format!("/v1/apps/shop/aliases/{name}")).json(&version)).await;
    assert!(alias("next").await.status.is_success());
    let problem = alias("later").await.problem();
    assert_eq!((problem.code, reached(&problem)), (Code::TooMany, ("aliases_max", 1, 1)));
    let hostname = async |name: &str| {
        let path = format!("/v1/apps/shop/environments/prod/hostnames/{name}");
        got(edge.api(Method::PUT, &path)).await
    };
    assert!(hostname("www.example.org").await.status.is_success());
    let problem = hostname("www.example.com").await.problem();
    assert_eq!((problem.code, reached(&problem)), (Code::HostnamesFull, ("hostnames_per_app_max", 1, 1)));
    let push_to = async |environment: &str| {
        let begin = BeginDeploy { manifest: manifest(one), source: Default::default(), options: Default::default() };
        edge.try_push("shop", environment, begin, one).await
    };
    push_to("staging").await.unwrap();
    let problem = push_to("test").await.unwrap_err();
    assert_eq!((problem.code, reached(&problem)), (Code::TooMany, ("environments_max", 2, 2)));
    let usage = usage(&edge, "shop").await;
    let used: Vec<(&str, Option<u64>, Option<u64>)> =
        usage.limits.iter().filter(|limit| limit.own).map(|limit| (&*limit.name, limit.used, limit.max)).collect();
    assert_eq!(
        used,
        [
            ("versions_max", Some(1), Some(1)),
            ("bundle_files_max", Some(1), Some(2)),
            ("aliases_max", Some(1), Some(1)),
            ("environments_max", Some(2), Some(2)),
            ("hostnames_per_app_max", Some(1), Some(1)),
        ]
    );
    // The usage of an app requires read access to the whole app.
    for (app, environment, status) in [
        (Some("shop"), None, StatusCode::OK),
        (Some("shop"), Some("prod"), StatusCode::FORBIDDEN),
        (Some("blog"), None, StatusCode::FORBIDDEN),
    ] {
        let token = edge.token_for(Scope::Read, app, environment).await;
        let got = got(edge.ask(Method::GET, "/v1/apps/shop/usage", &token)).await;
        assert!(got.status == status || (app == Some("blog") && got.status == StatusCode::NOT_FOUND), "{got:?}");
    }
    assert_eq!(got(edge.api(Method::GET, "/v1/apps/nobody/usage")).await.code(), Code::NotFound);
    edge.stop().await;
}
