//! Canaries: a share of the visitors gets a version before all visitors do.

use std::time::{Duration, Instant};

use devanture_config::VersionId;
use devanture_config::api::{AppInfo, CanaryStatus, DeployKind, DeployOptions, Outcome, SwitchReport};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{call, history, push};
use crate::support::{Files, Got, RunningEdge, edge, got};

const CANARY: &str = "environments/prod/canary";
const OLD: Files<'_> = &[("index.html", b"old"), ("data.json", b"{}"), ("assets/app-1a2b3c4d.js", b"1")];
const NEW: Files<'_> = &[("index.html", b"new"), ("data.json", b"[]"), ("assets/app-5e6f7a8b.js", b"2")];
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const CRAWLER: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
/// Longest wait for an expected state.
const PATIENCE: Duration = Duration::from_secs(60);

/// Edge with the old version live and the new version stored.
async fn two_versions() -> (RunningEdge, VersionId) {
    let edge = edge().with_app("shop", OLD).start().await;
    let version = stored(&edge, NEW).await;
    (edge, version)
}

async fn stored(edge: &RunningEdge, files: Files<'_>) -> VersionId {
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    push(edge, "prod", options, files).await.unwrap().version
}

async fn set(edge: &RunningEdge, body: Value) -> CanaryStatus {
    call(edge, Method::PUT, CANARY, Some(body)).await.json()
}

async fn status(edge: &RunningEdge) -> CanaryStatus {
    call(edge, Method::GET, CANARY, None).await.json()
}

/// Canary of the environment in the list of apps: version and share.
async fn canary_of_the_list(edge: &RunningEdge) -> Option<(VersionId, u8)> {
    let app: AppInfo = got(edge.ask(Method::GET, "/v1/apps/shop", edge.admin_token())).await.json();
    app.environments[0].canary.map(|canary| (canary.version, canary.share.percent()))
}

/// Page as navigated to by a browser, with the cookie of an earlier response.
async fn navigate(edge: &RunningEdge, path: &str, cookie: Option<&str>) -> Got {
    let request = edge.visit(Method::GET, "shop.localhost", path).header("accept", "text/html");
    let request = request.header("sec-fetch-mode", "navigate").header("user-agent", BROWSER);
    got(match cookie {
        Some(cookie) => request.header("cookie", cookie),
        None => request,
    })
    .await
}

/// Cookie of a response, in the form a browser sends.
fn cookie(answer: &Got) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// New visitors: the page and the cookie of each.
async fn visitors(edge: &RunningEdge, count: usize) -> Vec<(String, String)> {
    let mut visitors = Vec::new();
    for _ in 0..count {
        let answer = navigate(edge, "/", None).await;
        visitors.push((answer.text(), cookie(&answer)));
    }
    visitors
}

/// Cookies of one visitor with the old version and one with the new version.
async fn one_on_each_side(edge: &RunningEdge) -> [String; 2] {
    let mut sides = [None, None];
    while sides.iter().any(Option::is_none) {
        let answer = navigate(edge, "/", None).await;
        sides[usize::from(answer.text() == "new")] = Some(cookie(&answer));
    }
    sides.map(Option::unwrap)
}

async fn until(what: &str, fact: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !fact().await {
        assert!(since.elapsed() < PATIENCE, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_share_of_two_thousand_visitors_gets_the_canary_and_nobody_moves_by_themselves() {
    let (edge, version) = two_versions().await;
    let begun = set(&edge, json!({ "version": version, "share": 30 })).await;
    assert_eq!(begun.canary.as_ref().map(|canary| (canary.version, canary.share.percent())), Some((version, 30)));
    let first = visitors(&edge, 2_000).await;
    let taken = first.iter().filter(|(text, _)| text == "new").count();
    // Five standard deviations around 600.
    assert!((498..=702).contains(&taken), "{taken} of 2,000 got the canary");
    let again = async |visitors: &[(String, String)]| {
        let mut texts = Vec::new();
        for (_, cookie) in visitors {
            let answer = navigate(&edge, "/", Some(cookie)).await;
            assert_eq!(answer.header("set-cookie"), "", "who has a cookie keeps it");
            texts.push(answer.text());
        }
        texts
    };
    let some = &first[..200];
    let before: Vec<String> = some.iter().map(|(text, _)| text.clone()).collect();
    assert_eq!(again(some).await, before);
    // A larger share moves no visitor back.
    set(&edge, json!({ "share": 60 })).await;
    let after = again(some).await;
    assert!(before.iter().zip(&after).all(|(before, after)| before == "old" || after == "new"));
    assert!(after.iter().filter(|text| *text == "new").count() > before.iter().filter(|text| *text == "new").count());
    // The original share restores every visitor's version.
    set(&edge, json!({ "share": 30 })).await;
    assert_eq!(again(some).await, before);
    let counts = status(&edge).await.canary.unwrap().counts;
    assert_eq!(counts.live.requests + counts.canary.requests, 2_600);
    edge.stop().await;
}

/// Fields of a response, sorted by name, without the date.
fn fields(answer: &Got) -> Vec<(String, String)> {
    let mut fields: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .collect();
    fields.sort();
    fields
}

/// Expected fields of a response chosen by a cookie, derived from the given fields.
fn chosen(mut fields: Vec<(String, String)>) -> Vec<(String, String)> {
    fields.iter_mut().filter(|(name, _)| name == "cache-control").for_each(|(_, value)| {
        let kept = value.split(", ").filter(|part| *part != "public" && !part.starts_with("s-maxage"));
        *value = std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", ");
    });
    match fields.iter_mut().find(|(name, _)| name == "vary") {
        Some((_, value)) => value.push_str(", cookie"),
        None => fields.push(("vary".to_owned(), "cookie".to_owned())),
    }
    fields.sort();
    fields
}

#[tokio::test]
async fn an_answer_is_what_it_was_but_private_with_a_prepared_head_and_without() {
    let text = "var a = 'a text that is worth to be encoded';".repeat(40);
    let old: Files<'_> = &[("index.html", b"old"), ("app.js", text.as_bytes()), ("data.json", b"{}")];
    let edge = edge().with_app("shop", old).start().await;
    let version = stored(&edge, NEW).await;
    for range in [None, Some("bytes=0-1")] {
        for path in ["/", "/app.js", "/data.json"] {
            let get = async |cookie: &str, etag: &str| {
                let mut request = edge.visit(Method::GET, "shop.localhost", path).header("cookie", cookie);
                request = request.header("accept-encoding", "br, gzip").header("if-none-match", etag);
                got(match range {
                    Some(range) => request.header("range", range),
                    None => request,
                })
                .await
            };
            let plain = get("", "\"none\"").await;
            let etag = plain.header("etag").to_owned();
            let unchanged = get("", &etag).await;
            assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
            set(&edge, json!({ "version": version, "share": 50 })).await;
            // Each canary assigns visitors anew, so that the visitor may be on the other side in the next canary.
            let [cookie, _] = one_on_each_side(&edge).await;
            for etag_and_before in [("\"none\"", &plain), (etag.as_str(), &unchanged)] {
                let (etag, before) = etag_and_before;
                // Once when prepared, and once from memory.
                for _ in 0..2 {
                    let now = get(&cookie, etag).await;
                    assert_eq!((now.status, &now.body), (before.status, &before.body), "{path}");
                    let is_date = |fields: Vec<(String, String)>| {
                        fields.into_iter().filter(|(name, _)| name != "last-modified").collect::<Vec<_>>()
                    };
                    assert_eq!(is_date(fields(&now)), is_date(chosen(fields(before))), "{path}");
                }
            }
            call(&edge, Method::DELETE, CANARY, Some(json!({}))).await;
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_a_cookie_decided_is_private_and_programs_and_crawlers_get_the_live_version() {
    let (edge, version) = two_versions().await;
    let plain = navigate(&edge, "/", None).await;
    assert_eq!((plain.header("vary"), plain.header("set-cookie")), ("", ""));
    set(&edge, json!({ "version": version, "share": 50 })).await;
    let first = navigate(&edge, "/", None).await;
    let given = first.header("set-cookie");
    let (pair, attributes) = given.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-devanture-visitor=") && pair.len() == 41, "{given}");
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
        assert!(attributes.split("; ").any(|one| one == attribute), "{given}");
    }
    let sides = one_on_each_side(&edge).await;
    for (cookie, page, data) in [(&sides[0], "old", "{}"), (&sides[1], "new", "[]")] {
        for (path, text) in [("/", page), ("/data.json", data)] {
            let answer = navigate(&edge, path, Some(cookie)).await;
            assert_eq!(answer.text(), text, "{path}");
            assert_eq!(answer.header("vary"), "cookie", "{path}");
            assert!(answer.header("cache-control").starts_with("private"), "{path} {answer:?}");
        }
        // Pages of both sides find their assets, and shared caches store the assets.
        for path in ["/assets/app-1a2b3c4d.js", "/assets/app-5e6f7a8b.js"] {
            let answer = navigate(&edge, path, Some(cookie)).await;
            assert_eq!((answer.status, answer.header("vary")), (StatusCode::OK, ""), "{path}");
            assert!(answer.header("cache-control").contains("immutable"), "{answer:?}");
        }
        let missing = navigate(&edge, "/missing", Some(cookie)).await;
        assert_eq!((missing.status, missing.header("vary")), (StatusCode::NOT_FOUND, "cookie"));
    }
    for _ in 0..20 {
        for request in [
            edge.visit(Method::GET, "shop.localhost", "/").header("accept", "*/*").header("user-agent", "curl/8.5.0"),
            edge.visit(Method::GET, "shop.localhost", "/").header("accept", "text/html").header("user-agent", CRAWLER),
            edge.visit(Method::GET, "shop.localhost", "/").header("accept", "text/html"),
        ] {
            let answer = got(request).await;
            assert_eq!((answer.text().as_str(), answer.header("set-cookie")), ("old", ""));
            assert_eq!(answer.header("vary"), "cookie");
        }
        // An invalid visitor id counts as no cookie.
        let answer = navigate(&edge, "/", Some("__Host-devanture-visitor=all")).await;
        assert_ne!(answer.header("set-cookie"), "");
    }
    // Previews are served as usual.
    let preview = edge.get(&format!("{}--shop.localhost", version.short()), "/").await;
    assert_eq!((preview.text().as_str(), preview.header("vary")), ("new", ""));
    edge.stop().await;
}

#[tokio::test]
async fn a_cookie_that_the_site_names_tells_visitors_apart() {
    let (edge, version) = two_versions().await;
    set(&edge, json!({ "version": version, "share": 50, "cookie": "session" })).await;
    let mut texts = Vec::new();
    for number in 0..40 {
        let cookie = format!("theme=dark; session=user-{number}");
        let answer = navigate(&edge, "/", Some(&cookie)).await;
        assert_eq!(answer.header("set-cookie"), "");
        assert_eq!(navigate(&edge, "/", Some(&cookie)).await.text(), answer.text());
        texts.push(answer.text());
    }
    assert!(texts.iter().any(|text| text == "new") && texts.iter().any(|text| text == "old"));
    let without = navigate(&edge, "/", None).await;
    assert_eq!((without.text().as_str(), without.header("set-cookie")), ("old", ""));
    edge.stop().await;
}

#[tokio::test]
async fn a_canary_outlives_a_restart_and_nothing_else_goes_live_until_it_is_finished() {
    let (edge, version) = two_versions().await;
    let old = edge.live("shop").await.unwrap();
    assert_eq!(call(&edge, Method::DELETE, CANARY, None).await.code(), Code::NoCanary);
    assert_eq!(call(&edge, Method::PUT, CANARY, Some(json!({ "share": 5 }))).await.code(), Code::NoCanary);
    let same = call(&edge, Method::PUT, CANARY, Some(json!({ "version": old, "share": 5 }))).await;
    assert_eq!(same.code(), Code::BadRequest);
    set(&edge, json!({ "version": version, "share": 50 })).await;
    let sides = one_on_each_side(&edge).await;
    let edge = edge.restart().await;
    for (cookie, text) in sides.iter().zip(["old", "new"]) {
        assert_eq!(navigate(&edge, "/", Some(cookie)).await.text(), text);
    }
    assert_eq!(status(&edge).await.live, old);
    let third = push(&edge, "prod", DeployOptions::default(), &[("index.html", b"third")]).await.unwrap_err();
    assert_eq!(third.code, Code::CanaryRunning);
    for (path, body) in [
        ("environments/prod/rollback", json!({ "version": version })),
        ("environments/prod/switch", json!({ "version": version })),
        (CANARY, json!({ "version": version, "share": 5 })),
    ] {
        let method = if path == CANARY { Method::PUT } else { Method::POST };
        assert_eq!(call(&edge, method, path, Some(body)).await.code(), Code::CanaryRunning, "{path}");
    }
    let deleted = call(&edge, Method::DELETE, &format!("versions/{version}"), None).await;
    assert_eq!(deleted.code(), Code::VersionInUse);
    // The list of apps shows the canary that blocks other switches.
    assert_eq!(canary_of_the_list(&edge).await, Some((version, 50)));
    let finished: SwitchReport = call(&edge, Method::POST, &format!("{CANARY}/finish"), None).await.json();
    assert_eq!((finished.switched, finished.version, finished.previous), (true, version, Some(old)));
    assert_eq!(status(&edge).await.canary, None);
    assert_eq!(canary_of_the_list(&edge).await, None);
    for cookie in &sides {
        let answer = navigate(&edge, "/", Some(cookie)).await;
        assert_eq!((answer.text().as_str(), answer.header("vary"), answer.header("set-cookie")), ("new", "", ""));
    }
    let rolled: SwitchReport = call(&edge, Method::POST, "environments/prod/rollback", None).await.json();
    assert_eq!(rolled.version, old);
    edge.stop().await;
}

#[tokio::test]
async fn an_aborted_canary_leaves_what_was_live_and_its_open_pages_find_their_assets() {
    let (edge, version) = two_versions().await;
    set(&edge, json!({ "version": version, "share": 50 })).await;
    let sides = one_on_each_side(&edge).await;
    let page = navigate(&edge, "/", Some(&sides[1])).await;
    let aborted: CanaryStatus =
        call(&edge, Method::DELETE, CANARY, Some(json!({ "reason": "It was slow." }))).await.json();
    assert_eq!(aborted.canary, None);
    for cookie in &sides {
        assert_eq!(navigate(&edge, "/", Some(cookie)).await.text(), "old");
    }
    // A date alone never confuses the two versions.
    let date = page.header("last-modified");
    let answer = got(edge.visit(Method::GET, "shop.localhost", "/").header("if-modified-since", date)).await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "old"), "{date}");
    assert_eq!(navigate(&edge, "/assets/app-5e6f7a8b.js", Some(&sides[1])).await.text(), "2");
    let deploys = history(&edge, "prod").await.deploys;
    let entry = |index: usize| (deploys[index].kind, deploys[index].outcome, deploys[index].version);
    assert_eq!(entry(0), (DeployKind::Switch, Outcome::Done, version));
    assert_eq!(deploys[0].reason.as_deref(), Some("It was slow."));
    assert_eq!(entry(1), (DeployKind::Switch, Outcome::Stored, version));
    // A version pushed meanwhile goes live again.
    edge.push("shop", &[("index.html", b"third")]).await;
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "third");
    edge.stop().await;
}

/// Waits until the metrics count the end of a canary with an outcome.
async fn is_counted(edge: &RunningEdge, outcome: &str) {
    until("the count", async || {
        let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
        let of_it = |line: &&str| line.starts_with("devanture_canaries_total{") && line.contains(outcome);
        metrics.lines().find(of_it).is_some_and(|line| line.contains("app=\"shop\",environment=\"prod\""))
    })
    .await;
}

#[tokio::test]
async fn a_canary_with_a_plan_takes_its_steps_and_finishes_by_itself() {
    let (edge, version) = two_versions().await;
    let plan = json!({ "shares": [5, 50, 100], "every_s": 1 });
    let begun = set(&edge, json!({ "version": version, "plan": plan })).await.canary.unwrap();
    assert_eq!((begun.share.percent(), begun.next.map(|next| next.percent)), (5, Some(50)));
    until("the end of the plan", async || edge.live("shop").await == Some(version)).await;
    assert_eq!(status(&edge).await.canary, None);
    let deploys = history(&edge, "prod").await.deploys;
    assert_eq!((deploys[0].kind, deploys[0].outcome), (DeployKind::Switch, Outcome::Live));
    assert_eq!(deploys[1].source.message.as_deref(), Some("canary: 50 % of the visitors"));
    is_counted(&edge, "finished").await;
    edge.stop().await;
}

#[tokio::test]
async fn a_canary_that_breaks_goes_back_by_itself_and_nobody_else_sees_an_error() {
    let edge = edge().with_app("shop", &[("index.html", b"old"), ("shoes.html", b"shoes")]).start().await;
    let old = edge.live("shop").await.unwrap();
    let version = stored(&edge, &[("index.html", b"new")]).await;
    let plan = json!({ "shares": [50, 100], "every_s": 600 });
    set(&edge, json!({ "version": version, "plan": plan })).await;
    let sides = one_on_each_side(&edge).await;
    until("the abort", async || {
        for _ in 0..10 {
            assert_eq!(navigate(&edge, "/shoes", Some(&sides[0])).await.status, StatusCode::OK);
            navigate(&edge, "/shoes", Some(&sides[1])).await;
        }
        status(&edge).await.canary.is_none()
    })
    .await;
    assert_eq!(edge.live("shop").await, Some(old));
    assert_eq!(navigate(&edge, "/shoes", Some(&sides[1])).await.status, StatusCode::OK);
    let last = history(&edge, "prod").await.deploys.remove(0);
    assert_eq!((last.kind, last.outcome, last.version), (DeployKind::Switch, Outcome::Failed, version));
    let problem = last.problem.unwrap();
    assert_eq!(problem.code, Code::WatchFailed);
    assert!(problem.detail.starts_with("404 rose from 0.0 %"), "{}", problem.detail);
    is_counted(&edge, "aborted").await;
    edge.stop().await;
}

/// Requests for missing paths are possible for every visitor.
#[tokio::test]
async fn requests_for_what_neither_version_has_abort_no_canary() {
    let (edge, version) = two_versions().await;
    set(&edge, json!({ "version": version, "plan": { "shares": [50, 100], "every_s": 3 } })).await;
    let [_, new] = one_on_each_side(&edge).await;
    for _ in 0..60 {
        assert_eq!(navigate(&edge, "/nope", Some(&new)).await.status, StatusCode::NOT_FOUND);
    }
    until("the end of the plan", async || edge.live("shop").await == Some(version)).await;
    is_counted(&edge, "finished").await;
    edge.stop().await;
}

#[tokio::test]
async fn canaries_one_after_the_other_put_no_time_ahead_of_the_clock() {
    let (edge, version) = two_versions().await;
    let old = edge.live("shop").await.unwrap();
    let mut dates = Vec::new();
    for _ in 0..2 {
        set(&edge, json!({ "version": version, "share": 50 })).await;
        let [_, new] = one_on_each_side(&edge).await;
        dates.push(navigate(&edge, "/", Some(&new)).await.header("last-modified").to_owned());
        call(&edge, Method::DELETE, CANARY, None).await;
        dates.push(navigate(&edge, "/", Some(&new)).await.header("last-modified").to_owned());
    }
    for version in [version, old] {
        let switched = call(&edge, Method::POST, "environments/prod/switch", Some(json!({ "version": version }))).await;
        assert_eq!(switched.status, StatusCode::OK, "{}", switched.text());
    }
    let path = "environments/prod/live-log";
    let log: devanture_config::api::LiveLog = call(&edge, Method::GET, path, None).await.json();
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    assert!(log.entries.iter().all(|entry| u128::from(entry.at_ms) <= now_ms), "{log:#?} by {now_ms}");
    assert!(history(&edge, "prod").await.deploys.iter().all(|deploy| u128::from(deploy.at_ms) <= now_ms));
    // A visitor who changes sides has an older page each time.
    let count = dates.len();
    dates.dedup();
    assert_eq!(dates.len(), count, "{dates:?}");
    edge.stop().await;
}

#[tokio::test]
async fn rules_keep_no_page_in_a_cache_and_no_asset_out_of_it() {
    let headers = "/*\n  X-Frame-Options: DENY\n  X-Accel-Expires: 600\n  CDN-Cache-Control: max-age=600\n";
    let other = format!("{headers}/assets/two-1a2b3c4d.js\n  X-Two: 2\n");
    let files = |page: &'static [u8], headers: &'static str| -> Files<'static> {
        Vec::leak(vec![
            ("index.html", page),
            ("assets/one-1a2b3c4d.js", b"1"),
            ("assets/two-1a2b3c4d.js", b"2"),
            ("_headers", headers.as_bytes()),
        ])
    };
    let (old, new) = (files(b"old", headers), files(b"new", String::leak(other)));
    let edge = edge().with_app("shop", old).start().await;
    let version = stored(&edge, new).await;
    set(&edge, json!({ "version": version, "share": 50 })).await;
    for cookie in one_on_each_side(&edge).await {
        let get = async |path: &str| {
            got(edge.visit(Method::GET, "shop.localhost", path).header("cookie", cookie.as_str())).await
        };
        let page = get("/").await;
        assert_eq!((page.header("x-frame-options"), page.header("x-accel-expires")), ("DENY", ""));
        assert_eq!((page.header("vary"), page.header("cdn-cache-control")), ("cookie", ""));
        assert!(page.header("cache-control").starts_with("private"), "{:?}", page.headers);
        let same = get("/assets/one-1a2b3c4d.js").await;
        assert_eq!((same.header("vary"), same.header("x-accel-expires")), ("", "600"), "{:?}", same.headers);
        assert!(same.header("cache-control").starts_with("public"), "{:?}", same.headers);
        // A path with different rules in the two versions.
        let other = get("/assets/two-1a2b3c4d.js").await;
        assert_eq!((other.header("vary"), other.header("x-accel-expires")), ("cookie", ""), "{:?}", other.headers);
    }
    edge.stop().await;
}
