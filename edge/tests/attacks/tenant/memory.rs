//! Apps, aliases and environments that try to exhaust the memory of the edge.

use std::fmt::Write as _;

use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport};
use devanture_config::problem::{Code, Problem};
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{Files, RunningEdge, edge, got, manifest, try_got};

const MEBIBYTE: u64 = 1024 * 1024;
const REDIRECTS: usize = 10_000;

/// `_redirects` file of `count` rules, unique to `name`.
fn redirects(name: &str, count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "/{name}/{number} /new/{name}/{number} 301").unwrap();
        text
    })
}

/// Pushes files and accepts warnings about rules.
async fn push(
    edge: &RunningEdge,
    app: &str,
    environment: &str,
    files: Files<'_>,
) -> Result<DeployReport, Box<Problem>> {
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Default::default(), options };
    edge.try_push(app, environment, begin, files).await
}

/// Points an alias of `shop` at a version.
async fn set_alias(edge: &RunningEdge, name: &str, version: &impl serde::Serialize) {
    let path = format!("/v1/apps/shop/aliases/{name}");
    let set = got(edge.api(Method::PUT, &path).json(&json!({ "version": version }))).await;
    assert!(set.status.is_success(), "{}", set.text());
}

/// Memory of an app's versions and files, by the metrics.
async fn app_memory(edge: &RunningEdge, app: &str) -> [u64; 2] {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    ["versions", "files"].map(|kind| {
        let series = format!("devanture_app_memory_bytes{{app=\"{app}\",kind=\"{kind}\"}} ");
        let found = metrics.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value.parse().unwrap());
        found.unwrap_or_else(|| panic!("no metric has the memory of {app}"))
    })
}

#[tokio::test]
async fn sixty_aliases_of_a_version_take_little_more_than_one_also_after_a_restart() {
    let edge = edge().in_a_process().start().await;
    let text = redirects("old", REDIRECTS);
    let files: Files<'_> = &[("index.html", b"hi"), ("_redirects", text.as_bytes())];
    let version = push(&edge, "shop", "prod", files).await.unwrap().version;
    let hosts: Vec<String> = (0..60).map(|number| format!("branch-{number}--shop.localhost")).collect();
    set_alias(&edge, "branch-0", &version).await;
    let visit = async |edge: &RunningEdge, host: &str| {
        let found = edge.get(host, "/old/7").await;
        assert_eq!((found.status, found.header("location")), (StatusCode::MOVED_PERMANENTLY, "/new/old/7"), "{host}");
    };
    visit(&edge, &hosts[0]).await;
    edge.process().rests().await;
    let with_one = edge.process().resident_bytes();
    for number in 1..60 {
        set_alias(&edge, &format!("branch-{number}"), &version).await;
    }
    for host in &hosts {
        visit(&edge, host).await;
    }
    edge.process().rests().await;
    let more = edge.process().resident_bytes().saturating_sub(with_one);
    assert!(more < 32 * MEBIBYTE, "59 more aliases took {} MiB", more / MEBIBYTE);

    // A restart loads the live version and no alias.
    let edge = edge.restart().await;
    let peak = edge.process().peak_bytes();
    assert!(peak < with_one + 32 * MEBIBYTE, "the start took {} MiB", peak / MEBIBYTE);
    for host in hosts.iter().step_by(20) {
        visit(&edge, host).await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn environments_of_one_version_take_little_more_than_one_also_after_a_restart() {
    let edge = edge().in_a_process().start().await;
    let text = redirects("old", REDIRECTS);
    let files: Files<'_> = &[("index.html", b"hi"), ("_redirects", text.as_bytes())];
    let version = push(&edge, "shop", "prod", files).await.unwrap().version;
    let switch = async |number: usize| {
        let path = format!("/v1/apps/shop/environments/env-{number}/switch");
        let switched = got(edge.api(Method::POST, &path).json(&json!({ "version": version }))).await;
        assert!(switched.status.is_success(), "{}", switched.text());
    };
    switch(0).await;
    edge.process().rests().await;
    let with_two = edge.process().resident_bytes();
    // Each switch parses the rules again, and the allocator retains part of the memory, up to a bound: only growth with
    // the number of environments counts.
    for number in 1..10 {
        switch(number).await;
    }
    let with_ten = edge.process().peak_bytes();
    for number in 10..40 {
        switch(number).await;
    }
    let more = edge.process().peak_bytes().saturating_sub(with_ten);
    assert!(more < 128 * MEBIBYTE, "30 more environments took {} MiB", more / MEBIBYTE);
    let [versions, _] = app_memory(&edge, "shop").await;
    assert!(versions < 8 * MEBIBYTE, "{versions} bytes");

    let edge = edge.restart().await;
    let peak = edge.process().peak_bytes();
    assert!(peak < with_two + 32 * MEBIBYTE, "the start took {} MiB", peak / MEBIBYTE);
    for host in ["shop.localhost", "env-0--shop.localhost", "env-39--shop.localhost"] {
        assert_eq!(edge.get(host, "/old/7").await.header("location"), "/new/old/7", "{host}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_app_beyond_its_memory_is_refused_at_prepare_and_the_others_do_not_notice() {
    let edge = edge().with_limit("app_memory_bytes_max", 2 * MEBIBYTE).start().await;
    let texts = ["one", "two", "three"].map(|name| redirects(name, 3_000));
    let files = texts.each_ref().map(|text| [("index.html", &b"hi"[..]), ("_redirects", text.as_bytes())]);
    push(&edge, "blog", "prod", &[("index.html", b"blog")]).await.unwrap();
    push(&edge, "shop", "prod", &files[0]).await.unwrap();
    assert_eq!(edge.get("shop.localhost", "/one/7").await.status, StatusCode::MOVED_PERMANENTLY);
    let [before, _] = app_memory(&edge, "blog").await;

    let refused = push(&edge, "shop", "staging", &files[1]).await.unwrap_err();
    assert_eq!((refused.code, refused.status), (Code::AppMemoryFull, 409), "{refused:#?}");
    assert!(refused.detail.contains("shop") && refused.hint.unwrap().contains("app_memory_bytes_max"));
    let staging = edge.visit(Method::GET, "staging--shop.localhost", "/");
    assert!(try_got(staging).await.is_err(), "nothing is live there: it has no certificate");
    assert_eq!(edge.get("shop.localhost", "/one/7").await.status, StatusCode::MOVED_PERMANENTLY);

    // The version is stored, and the preview fails with a separate code.
    let version = manifest(&files[1]).id();
    let preview = format!("{}--shop.localhost", version.short());
    let program = got(edge.visit(Method::GET, &preview, "/data.json").header("accept", "application/json")).await;
    assert_eq!((program.status, program.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    let problem: serde_json::Value = serde_json::from_slice(&program.body).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("over-memory"), &json!(503)), "{problem}");
    let person = got(edge.visit(Method::GET, &preview, "/").header("accept", "text/html")).await;
    assert_eq!(person.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(person.text().contains("memory"), "{}", person.text());

    // Another app is unaffected.
    assert_eq!(app_memory(&edge, "blog").await[0], before);
    push(&edge, "blog", "prod", &[("index.html", b"blog 2")]).await.unwrap();
    assert_eq!(edge.get("blog.localhost", "/").await.text(), "blog 2");

    // A smaller version can replace the large version and frees the memory.
    push(&edge, "shop", "prod", &[("index.html", b"small")]).await.unwrap();
    push(&edge, "shop", "staging", &files[1]).await.unwrap();
    assert_eq!(edge.get("staging--shop.localhost", "/two/7").await.status, StatusCode::MOVED_PERMANENTLY);
    edge.stop().await;
}

#[tokio::test]
async fn an_app_of_many_files_leaves_memory_for_the_files_of_others() {
    let edge = edge().with_limit("memory_bytes_max", MEBIBYTE).start().await;
    // Random bytes have no compressed variants.
    let noise = |name: &str, number: usize| {
        let mut bytes = vec![0; 16 * 1024];
        blake3::Hasher::new().update(format!("{name} {number}").as_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    };
    let of = |name: &str, count: usize| -> Vec<(String, Vec<u8>)> {
        (0..count).map(|number| (format!("{number}.bin"), noise(name, number))).collect()
    };
    let (greedy, modest) = (of("greedy", 100), of("modest", 10));
    let files = |of: &'static str, list: &[(String, Vec<u8>)]| (of, list.to_vec());
    for (app, list) in [files("greedy", &greedy), files("modest", &modest)] {
        let list: Vec<(&str, &[u8])> = list.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        push(&edge, app, "prod", &list).await.unwrap();
        // Files are served whether or not they are in memory.
        let last = list.len() - 1;
        assert_eq!(edge.get(&format!("{app}.localhost"), &format!("/{last}.bin")).await.body, list[last].1);
    }
    let [_, held] = app_memory(&edge, "greedy").await;
    assert!(held > 0 && held <= MEBIBYTE / 2, "{held}");
    let [_, held] = app_memory(&edge, "modest").await;
    // The overhead per file counts, too.
    let bytes = 10 * 16 * 1024;
    assert!(held > bytes && held < bytes + 10 * 256, "{held}");
    edge.stop().await;
}

/// Each version gets a turn in the end: no task waits for memory while holding memory.
#[tokio::test]
async fn law_11_versions_whose_rules_take_the_whole_share_of_their_app_are_read_in_turns() {
    let edge = edge().with_limit("rules_memory_bytes_max", MEBIBYTE).start().await;
    let rules = redirects("old", 1_000);
    assert!(rules.len() as u64 * 25 > MEBIBYTE / 2);
    let pushed = async |app: &str, environment: &str| {
        let files: Files<'_> = &[("index.html", environment.as_bytes()), ("_redirects", rules.as_bytes())];
        push(&edge, app, environment, files).await.unwrap()
    };
    for app in ["shop", "blog"] {
        pushed(app, "prod").await;
    }
    let mut pushes = Vec::new();
    for environment in ["one", "two", "three", "four"] {
        pushes.extend([pushed("shop", environment), pushed("blog", environment)]);
    }
    assert!(futures_util::future::join_all(pushes).await.iter().all(|report| report.switched));
    for app in ["shop", "blog"] {
        let path = format!("/v1/apps/{app}/diff?from=one&to=two");
        let compared = got(edge.api(Method::GET, &path)).await;
        assert_eq!(compared.status, StatusCode::OK, "{}", compared.text());
        let path = format!("/v1/apps/{app}/environments/prod/promote");
        let promoted = got(edge.api(Method::POST, &path).json(&json!({ "from": "one" }))).await;
        assert_eq!(promoted.status, StatusCode::OK, "{}", promoted.text());
        let found = edge.get(&format!("{app}.localhost"), "/old/7").await;
        assert_eq!((found.status, found.header("location")), (StatusCode::MOVED_PERMANENTLY, "/new/old/7"));
    }
    edge.stop().await;
}
