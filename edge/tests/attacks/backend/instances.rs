//! Managed backends that fail at the start, or soon after the switch.

use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::backends::Backend;
use crate::support::{RunningEdge, edge, eventually, got};

const PROD: &str = "shop.localhost";
const SHOP: (&str, &str) = ("shop", "prod");

async fn json_of(edge: &RunningEdge, path: &str) -> Value {
    got(edge.api(Method::GET, &format!("/v1/apps/shop/environments/prod{path}"))).await.json()
}

/// Backend that runs `script` first and configures no health check.
fn unasked(page: &str, script: &str) -> Backend {
    Backend::new(page)
        .with("health", Value::Null)
        .with("start_ms", 3_000)
        .with("command", json!(["node", "start.js"]))
        .with_file("start.js", script, false)
}

/// Without a health check path, any process that accepted a connection counted as healthy and replaced a working
/// backend.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_only_listens_is_not_healthy() {
    let edge = edge().with_runner().with_limit("instance_restart_ms_min", 10).start().await;
    edge.push_backend(edge.admin_token(), SHOP, &unasked("one", "require('./server.js')")).await.unwrap();
    let listens = "listen(process.env.SOCKET || +process.env.PORT)";
    for script in [
        // Like a master process whose workers fail to load the application.
        format!("require('net').createServer((socket) => socket.destroy()).{listens}"),
        format!("require('http').createServer((_, answer) => answer.writeHead(503).end()).{listens}"),
        format!("require('net').createServer((socket) => socket.end('SSH-2.0-x\\r\\n')).{listens}"),
        // Answers once, and ends before the next request.
        format!(
            "require('http').createServer((_, answer) => answer.end('x', () => setTimeout(process.exit, 100))).{listens}"
        ),
    ] {
        let refused = edge.push_backend(edge.admin_token(), SHOP, &unasked("bad", &script)).await.unwrap_err();
        assert!(matches!(refused.code, Code::InstanceFailed | Code::CrashLoop), "{script}: {refused:?}");
    }
    assert_eq!(edge.get(PROD, "/").await.text(), "one");
    assert_eq!(edge.evaluate(PROD, "1 + 1").await, 2);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_whose_instances_all_fail_is_undone() {
    let edge = edge().with_runner().with_limit("instance_restart_ms_min", 10).start().await;
    let first = edge.push_backend(edge.admin_token(), SHOP, &Backend::new("one")).await.unwrap();
    let breaks = "if (require('fs').existsSync('data/broken')) process.exit(3); require('./server.js')";
    let second = Backend::new("two").with("command", json!(["node", "start.js"])).with_file("start.js", breaks, false);
    edge.push_backend(edge.admin_token(), SHOP, &second).await.unwrap();
    let status = json_of(&edge, "").await;
    assert!(status["went_back"].is_null() && status["version"] != json!(first.version), "{status}");
    edge.evaluate(PROD, "fs.writeFileSync('data/broken', ''), setTimeout(process.exit, 10), 1").await;
    eventually("it went back", async || json_of(&edge, "").await["version"] == json!(first.version)).await;
    let why = json_of(&edge, "").await["went_back"].as_str().unwrap_or_default().to_owned();
    assert!(why.starts_with("all new instances failed; web.1 "), "{why}");
    assert_eq!(edge.get(PROD, "/").await.text(), "one");
    assert_eq!(edge.evaluate(PROD, "fs.existsSync('start.js')").await, false);
    let history = json_of(&edge, "/history").await;
    assert_eq!(
        (&history["deploys"][0]["kind"], &history["deploys"][0]["went_back"]),
        (&json!("rollback"), &json!(why))
    );
    edge.stop().await;
}

/// Versions that run a process, with the number of live instances.
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
