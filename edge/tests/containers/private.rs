//! Registry with a password, and the operator's file of credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devanture_config::problem::{Code, Problem};
use http::Method;
use serde_json::json;

use super::engine::{Engine, bundle, is_installed, push};
use super::image::Image;
use crate::support::podman::{PASSWORD, USER};
use crate::support::{RunningEdge, got};

/// Pushes an image of the registry.
async fn pushed(edge: &RunningEdge, engine: &Engine) -> Result<(), Problem> {
    let image = format!("{}:1", engine.name("api"));
    let server = json!({ "image": image, "routes": ["/api/*"], "instances": 1, "start_ms": 20_000 });
    push(edge, "prod", bundle(&server, None), None).await.map(drop).map_err(|problem| *problem)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_is_used_with_the_credentials_of_the_file_and_no_message_shows_them() {
    if !is_installed() {
        return;
    }
    let engine = Engine::private();
    engine.put("api", "1", &Image::new("one", &json!({}))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registries.json");
    let write = |user: &str, password: &str| {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        let text = json!({ "auths": { format!("{}/team", engine.address): { "auth": pair } } }).to_string();
        std::fs::write(&file, text).unwrap();
        pair
    };
    write("nobody", "wrong-secret");
    let setup = engine.edge(&format!("auth_file = \"{}\"\n", file.display()));
    let edge = setup.start().await;
    let mut messages = Vec::new();
    let mut refused = async |why: &str| {
        let problem = pushed(&edge, &engine).await.unwrap_err();
        assert_eq!(problem.code, Code::ImageRefused, "{why}: {problem:?}");
        assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains("auth_file")), "{why}: {problem:?}");
        messages.push(serde_json::to_string(&problem).unwrap());
    };
    let wrong = write("nobody", "wrong-secret");
    refused("a user that is not there").await;
    let half_wrong = write(USER, "wrong-secret");
    refused("another password").await;
    std::fs::write(&file, format!("{{ \"auths\": {PASSWORD} }}")).unwrap();
    refused("a file that is no JSON").await;
    let broken = json!({ "auths": { engine.address.to_string(): { "auth": "wrong-secret" } } });
    std::fs::write(&file, broken.to_string()).unwrap();
    refused("no user name and password").await;
    std::fs::write(&file, "{}").unwrap();
    refused("no credentials for that registry").await;
    // The file is read for each fetch: new credentials need no restart.
    let right = write(USER, PASSWORD);
    pushed(&edge, &engine).await.unwrap();
    assert!(edge.get("shop.localhost", "/api/").await.text().starts_with("one "));
    for path in ["environments/prod/logs?source=instances", "environments/prod/history"] {
        messages.push(got(edge.api(Method::GET, &format!("/v1/apps/shop/{path}"))).await.text());
    }
    messages.push(got(edge.api(Method::GET, "/v1/audit?app=shop")).await.text());
    messages.push(edge.get("shop.localhost", "/api/env").await.text());
    for secret in ["wrong-secret", PASSWORD, &wrong, &half_wrong, &right] {
        assert!(!messages.iter().any(|message| message.contains(secret)), "{secret}: {messages:#?}");
    }
    edge.stop().await;
}
