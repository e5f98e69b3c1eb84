//! One developer's day: push, check, push again, roll back, roll back further, and review the history.

use std::path::Path;

use serde_json::Value;

use crate::support::edge::{Edge, edge};

fn site(folder: &Path, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("index.html"), format!("<!doctype html><title>{text}</title>")).unwrap();
}

async fn title(edge: &Edge, host: &str) -> String {
    let answer = edge.client(true).get(edge.url(host, "/")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    text.trim_start_matches("<!doctype html><title>").trim_end_matches("</title>").to_owned()
}

fn host_of(url: &Value) -> String {
    reqwest::Url::parse(url.as_str().unwrap()).unwrap().host_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_go_live_and_back_in_the_order_of_history() {
    let edge = edge().start();
    let www = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        site(www.path(), text);
        let report = edge.push("shop", www.path());
        assert_eq!(report["previous"], ids.last().cloned().unwrap_or(Value::Null));
        assert_eq!(title(&edge, "shop.localhost").await, text);
        assert_eq!(title(&edge, &host_of(&report["urls"]["preview"])).await, text);
        ids.push(report["version"].clone());
    }
    let rolled = edge.json("shop", &["rollback"]);
    assert_eq!((&rolled["version"], &rolled["previous"]), (&ids[1], &ids[2]));
    assert_eq!(title(&edge, "shop.localhost").await, "two");
    assert_eq!(edge.json("shop", &["rollback"])["version"], ids[0]);
    assert_eq!(title(&edge, "shop.localhost").await, "one");
    let none_left = edge.run("shop", &["rollback", "--json"]);
    assert_eq!((none_left.problem().as_str(), none_left.code), ("no_previous", Some(1)));

    let third = ids[2].as_str().unwrap();
    assert_eq!(edge.json("shop", &["rollback", &third[..8]])["version"], ids[2]);
    assert_eq!(edge.json("shop", &["switch", &ids[0].as_str().unwrap()[..6]])["previous"], ids[2]);
    assert_eq!(title(&edge, "shop.localhost").await, "one");
    assert_eq!(edge.json("shop", &["switch", ids[0].as_str().unwrap()])["switched"], false);

    let history = edge.json("shop", &["history"]);
    let kinds: Vec<&str> = history["deploys"].as_array().unwrap().iter().map(|d| d["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["switch", "rollback", "rollback", "rollback", "push", "push", "push"]);
    assert_eq!(history["deploys"][0]["who"], "test");
    assert_eq!(edge.json("shop", &["status"])["version"], ids[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_can_wait_behind_its_preview() {
    let edge = edge().start();
    let www = tempfile::tempdir().unwrap();
    site(www.path(), "live");
    let live = edge.push("shop", www.path());
    site(www.path(), "waiting");
    let waiting = edge.json("shop", &["push", www.path().to_str().unwrap(), "--no-switch"]);
    assert_eq!(waiting["previous"], live["version"]);
    assert_eq!(title(&edge, "shop.localhost").await, "live");
    assert_eq!(title(&edge, &host_of(&waiting["urls"]["preview"])).await, "waiting");
    assert_eq!(edge.json("shop", &["status"])["version"], live["version"]);
    edge.json("shop", &["switch", waiting["version"].as_str().unwrap()]);
    assert_eq!(title(&edge, "shop.localhost").await, "waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_and_aliases_have_hosts_of_their_own() {
    let edge = edge().start();
    let www = tempfile::tempdir().unwrap();
    site(www.path(), "tested");
    let folder = www.path().to_str().unwrap();
    let report = edge.json("shop", &["push", folder, "--env", "staging"]);
    assert_eq!(title(&edge, "staging--shop.localhost").await, "tested");
    assert_eq!(edge.client(true).get(edge.url("staging--shop.localhost", "/")).send().await.unwrap().status(), 200);
    let promoted = edge.json("shop", &["promote", "--from", "staging", "--to", "prod"]);
    assert_eq!(promoted["version"], report["version"]);
    assert_eq!(title(&edge, "shop.localhost").await, "tested");
    edge.json("shop", &["alias", "set", "feature-x", report["version"].as_str().unwrap()]);
    let answer = edge.client(true).get(edge.url("feature-x--shop.localhost", "/")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-robots-tag"].to_str().unwrap()), (200, "noindex"));
    edge.json("shop", &["alias", "delete", "feature-x"]);
    let gone = edge.client(true).get(edge.url("feature-x--shop.localhost", "/")).send().await;
    assert!(gone.is_err(), "the local authority makes no certificate for a name that nobody has");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_can_be_traced_to_its_version() {
    let edge = edge().start();
    let www = tempfile::tempdir().unwrap();
    site(www.path(), "hi");
    let report = edge.push("shop", www.path());
    let answer = edge.client(true).get(edge.url("shop.localhost", "/.well-known/devanture/release.json")).send().await;
    let release: Value = serde_json::from_str(&answer.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(release["version"], report["version"]);
    let answer =
        edge.client(false).get(format!("http://shop.localhost:{}/a?b=c", edge.http().port())).send().await.unwrap();
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.headers()["location"].to_str().unwrap(), edge.url("shop.localhost", "/a?b=c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_says_nothing_without_a_token() {
    let edge = edge().start();
    let get = async |path: &str| {
        let answer = edge.client(true).get(format!("https://{}{path}", edge.admin())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for path in ["/health/live", "/health/ready", "/v1/openapi.yaml"] {
        assert_eq!(get(path).await.0, 200, "{path}");
    }
    for path in ["/", "/metrics", "/v1/apps/shop/environments/prod", "/v1/tokens", "/x"] {
        let (status, body) = get(path).await;
        assert_eq!(status, 401, "{path}");
        assert!(body.contains("\"code\":\"unauthenticated\""), "{body}");
    }
    let www = tempfile::tempdir().unwrap();
    site(www.path(), "hi");
    let report = edge.push("shop", www.path());
    title(&edge, "shop.localhost").await;
    let (status, metrics) = edge.api("GET", "/metrics", None).await;
    assert_eq!(status, 200);
    let short = &report["version"].as_str().unwrap()[..12];
    for line in [
        format!("devanture_requests_total{{app=\"shop\",environment=\"prod\",version=\"{short}\",status=\"2xx\"}} 1"),
        "devanture_pushes_total{app=\"shop\",environment=\"prod\",outcome=\"live\"} 1".to_owned(),
        "devanture_switches_total{app=\"shop\",environment=\"prod\"} 1".to_owned(),
        "devanture_request_seconds_bucket{app=\"shop\",environment=\"prod\",le=\"0.0001\"}".to_owned(),
        "devanture_connections_total{listener=\"https\",protocol=\"h2\"}".to_owned(),
    ] {
        assert!(metrics.as_str().unwrap().contains(&line), "{line}\n{metrics}");
    }
}

#[test]
fn a_token_does_what_its_scope_says_and_no_more() {
    let mut edge = edge().start();
    let www = tempfile::tempdir().unwrap();
    site(www.path(), "hi");
    let folder = www.path().to_str().unwrap();
    let version = edge.push("shop", www.path())["version"].as_str().unwrap().to_owned();
    let staging = edge.new_token(&["--name", "staging", "--app", "shop", "--env", "staging", "--scope", "push"]);
    let reader = edge.new_token(&["--name", "reader", "--scope", "read"]);
    let mut problem = |token: &str, app: &str, arguments: &[&str]| {
        token.clone_into(&mut edge.token);
        let ran = edge.run(app, arguments);
        if ran.code == Some(0) { "fine".to_owned() } else { ran.problem() }
    };
    assert_eq!(problem(&staging, "shop", &["push", folder, "--env", "staging", "--json"]), "fine");
    assert_eq!(problem(&staging, "shop", &["push", folder, "--json"]), "forbidden");
    assert_eq!(problem(&staging, "other", &["push", folder, "--env", "staging", "--json"]), "not_found");
    assert_eq!(problem(&reader, "shop", &["status", "--json"]), "fine");
    assert_eq!(problem(&reader, "shop", &["switch", &version, "--json"]), "forbidden");
    let other_end = if staging.ends_with('0') { '1' } else { '0' };
    let forged = format!("{}{other_end}", &staging[..staging.len() - 1]);
    assert_eq!(problem(&forged, "shop", &["status", "--env", "staging", "--json"]), "bad_token");
}
