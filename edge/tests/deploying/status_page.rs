//! Status page of an environment: public for anyone with the URL, if the site enables the page.

use devanture_config::api::DeployOptions;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::gate::push;
use crate::support::{Got, RunningEdge, edge, got};

const PATH: &str = "/.well-known/devanture/status";
const SITE: &[(&str, &[u8])] = &[("index.html", b"a site")];
const HOST: &str = "shop.localhost";

async fn page(edge: &RunningEdge, host: &str, accept: &str) -> Got {
    got(edge.visit(Method::GET, host, PATH).header("accept", accept)).await
}

async fn state(edge: &RunningEdge) -> Value {
    page(edge, HOST, "application/json").await.json()
}

async fn change(edge: &RunningEdge, method: Method, path: &str, body: Value) {
    let answer = got(edge.api(method, &format!("/v1/apps/shop/environments/prod/{path}")).json(&body)).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_page_says_what_is_live_and_whether_it_is_up() {
    let edge = edge().start().await;
    // The page sends no request to the backend: healthy means that the pool has a member accepting requests.
    let member = "http://127.0.0.1:9";
    let toml =
        format!("status_page = true\n[upstreams]\napi = \"{member}\"\n[[routes]]\npath = \"/api/*\"\nto = \"api\"\n");
    let pushed = push(&edge, "prod", &toml, DeployOptions::default(), SITE).await.unwrap();
    let found = state(&edge).await;
    let expected =
        json!({ "app": "shop", "environment": "prod", "state": "up", "up": true, "version": pushed.version });
    let shown: serde_json::Map<String, Value> = found
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| *key != "live_since_ms")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    assert_eq!((Value::from(shown), found["live_since_ms"].as_u64() > Some(1_700_000_000_000)), (expected, true));
    let html = page(&edge, HOST, "text/html,application/json;q=0.9").await;
    assert_eq!(html.status, StatusCode::OK);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex"),
    ] {
        assert_eq!(html.header(name), value, "{name}");
    }
    assert!(html.header("content-security-policy").contains("default-src 'none'"));
    let text = html.text();
    assert!(
        text.contains("It is up.") && text.contains(&pushed.version.short()) && !text.contains("<script"),
        "{text}"
    );
    assert!(!text.contains(member) && !found.to_string().contains(member), "{text}");
    let head = got(edge.visit(Method::HEAD, HOST, PATH)).await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, &*text.len().to_string()));
    assert_eq!(got(edge.visit(Method::POST, HOST, PATH)).await.status, StatusCode::METHOD_NOT_ALLOWED);
    // A preview has no status page, nor has an environment outside the table.
    let preview = format!("{}--shop.localhost", pushed.version.short());
    assert_eq!(page(&edge, &preview, "*/*").await.status, StatusCode::NOT_FOUND);
    let members = format!("upstreams/api/members/{}", member.replace('/', "%2F"));
    change(&edge, Method::PUT, &members, json!({ "desired": "drain" })).await;
    assert_eq!((state(&edge).await["state"].clone(), state(&edge).await["up"].clone()), ("down".into(), false.into()));
    assert!(page(&edge, HOST, "*/*").await.text().contains("do not answer"));
    change(&edge, Method::PUT, &members, json!({ "desired": "in" })).await;
    assert_eq!(state(&edge).await["state"], "up");
    change(&edge, Method::POST, "pause", json!({ "message": "of nobody's business" })).await;
    let paused = page(&edge, HOST, "text/html").await;
    assert!(paused.status == StatusCode::OK && paused.text().contains("It is paused"), "{}", paused.text());
    assert_eq!(edge.get(HOST, "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    change(&edge, Method::POST, "resume", json!({})).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_without_a_status_page_answers_as_before() {
    let edge = edge().start().await;
    let toml = "[env.staging]\nstatus_page = true\n";
    push(&edge, "prod", toml, DeployOptions::default(), SITE).await.unwrap();
    push(&edge, "staging", toml, DeployOptions::default(), SITE).await.unwrap();
    assert_eq!(page(&edge, HOST, "*/*").await.status, StatusCode::NOT_FOUND);
    assert_eq!(page(&edge, "staging--shop.localhost", "*/*").await.status, StatusCode::OK);
    change(&edge, Method::POST, "pause", json!({})).await;
    assert_eq!(page(&edge, HOST, "*/*").await.status, StatusCode::SERVICE_UNAVAILABLE);
    change(&edge, Method::POST, "resume", json!({})).await;
    // A site's own file takes precedence.
    let own: &[(&str, &[u8])] = &[("index.html", b"a site"), (".well-known/devanture/status", b"its own")];
    push(&edge, "prod", "", DeployOptions::default(), own).await.unwrap();
    assert_eq!(page(&edge, HOST, "*/*").await.text(), "its own");
    push(&edge, "prod", "status_page = true", DeployOptions::default(), own).await.unwrap();
    assert!(page(&edge, HOST, "*/*").await.text().contains("It is up."));
    // A site's protection covers the status page, too.
    let kept = "status_page = true\n[[headers]]\nfor = \"/*\"\nbasic_auth = [\"ada:a password\"]\n";
    push(&edge, "prod", kept, DeployOptions::default(), own).await.unwrap();
    assert_eq!(page(&edge, HOST, "*/*").await.status, StatusCode::UNAUTHORIZED);
    edge.stop().await;
}
