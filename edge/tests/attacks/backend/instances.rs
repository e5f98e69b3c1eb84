//! Backends that the edge runs, and what becomes of their instances at a switch.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::backends::Backend;
use crate::support::{RunningEdge, edge, eventually, got};

const SHOP: (&str, &str) = ("shop", "prod");

async fn json_of(edge: &RunningEdge, path: &str) -> Value {
    got(edge.api(Method::GET, &format!("/v1/apps/shop/environments/prod{path}"))).await.json()
}

/// Versions that run a process, and how many instances of it each has; those that end do not count.
async fn running(edge: &RunningEdge, process: &str) -> Vec<String> {
    let list = json_of(edge, "/instances").await;
    let all = list["instances"].as_array().unwrap().iter();
    let here = all.filter(|one| one["process"] == process && one["state"] != "stopping");
    here.map(|one| one["version"].as_str().unwrap().to_owned()).collect()
}

/// Two versions of a worker would send each mail twice.
#[tokio::test(flavor = "multi_thread")]
async fn only_processes_with_traffic_are_kept_warm() {
    let edge = edge().with_runner().start().await;
    let backend = |page: &str| {
        Backend::new(page)
            .with("warm_ms", 600_000)
            .with("processes", json!({ "mailer": { "command": ["node", "mailer.js"] } }))
            .with_file("mailer.js", &format!("console.log('{page}'); setInterval(() => {{}}, 1000)"), false)
    };
    let one = edge.push_backend(edge.admin_token(), SHOP, &backend("one")).await.unwrap().version.to_string();
    let two = edge.push_backend(edge.admin_token(), SHOP, &backend("two")).await.unwrap().version.to_string();
    eventually("the worker before has ended", async || running(&edge, "mailer").await == [two.clone()]).await;
    assert_eq!(running(&edge, "web").await.len(), 2);
    let scaled = edge.api(Method::PATCH, "/v1/apps/shop/environments/prod/instances");
    let scaled = got(scaled.json(&json!({ "processes": { "mailer": 2 } }))).await;
    assert_eq!(scaled.status, StatusCode::OK, "{}", scaled.text());
    eventually("there are two of it", async || running(&edge, "mailer").await == [two.clone(), two.clone()]).await;

    let back = edge.api(Method::POST, "/v1/apps/shop/environments/prod/rollback").json(&json!({}));
    assert_eq!(got(back).await.status, StatusCode::OK);
    eventually("the workers went back", async || running(&edge, "mailer").await == [one.clone(), one.clone()]).await;
    let log = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?source=mailer")).await.text();
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (page, version) in [("one", &one), ("two", &two)] {
        let mut lines = log.iter().filter(|line| line["text"] == page);
        assert!(lines.next().is_some_and(|line| line["version"] == version[..12]), "{log:?}");
        assert!(lines.all(|line| line["version"] == version[..12]), "{log:?}");
    }
    edge.stop().await;
}
