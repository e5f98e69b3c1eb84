//! Cross-site requests from a browser: bodies of media types that need no CORS preflight.

use devanture_config::api::{LoggedIn, Scope};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::description::operations;
use crate::support::{Got, RunningEdge, edge, got};

/// Media types that any site may send without a preflight (Fetch §2.2.2), and near misses of JSON.
const OTHERS: [&str; 6] = [
    "text/plain",
    "text/plain; x=application/json",
    "application/x-www-form-urlencoded",
    "application/jsonp",
    "text/json",
    "",
];
const PASSWORD: &str = "correct horse battery";

async fn open(edge: &RunningEdge, operation: &str, media_type: Option<&str>, body: &Value) -> Got {
    let request = edge.client().post(format!("https://localhost:{}/v1/{operation}", edge.admin().port()));
    let request = match media_type {
        Some(media_type) => request.header("content-type", media_type),
        None => request,
    };
    got(request.body(body.to_string())).await
}

#[tokio::test]
async fn a_login_takes_json_alone() {
    let edge = edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1).start().await;
    let account = json!({ "name": "ada", "scope": "admin", "password": PASSWORD });
    assert_eq!(got(edge.api(Method::POST, "/v1/accounts").json(&account)).await.status, StatusCode::CREATED);
    let login = json!({ "login": "ada", "password": PASSWORD });
    for json_type in ["application/json", "Application/JSON; charset=utf-8"] {
        open(&edge, "login", Some(json_type), &login).await.json::<LoggedIn>();
    }
    let pair: LoggedIn = open(&edge, "login", Some("application/json"), &login).await.json();
    let refresh = json!({ "refresh_token": pair.refresh_token.expose() });
    for (operation, body) in [("login", &login), ("refresh", &refresh), ("logout", &refresh)] {
        for media_type in OTHERS.map(Some).into_iter().chain([None]) {
            let answer = open(&edge, operation, media_type, body).await;
            assert_eq!(answer.code(), Code::UnsupportedType, "{operation} {media_type:?}: {}", answer.text());
        }
        // A request without a token gets 401, as everywhere.
        let url = format!("https://localhost:{}/v1/{operation}", edge.admin().port());
        assert_eq!(got(edge.client().post(url)).await.code(), Code::Unauthenticated, "{operation}");
    }
    // No refused request had an effect.
    open(&edge, "refresh", Some("application/json"), &refresh).await.json::<LoggedIn>();
    edge.stop().await;
}

#[tokio::test]
async fn every_operation_that_takes_json_takes_nothing_else() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let token = edge.token(Scope::Admin).await;
    let mut count = 0;
    for (path, method, expected) in operations() {
        let takes_json = expected.contains("requestBody:") && expected.contains("          application/json:");
        // No token of this test may pause all changes or replace the console.
        if !takes_json
            || [
                "/v1/device",
                "/v1/device/token",
                "/v1/exchange",
                "/v1/login",
                "/v1/refresh",
                "/v1/logout",
                "/v1/session",
                "/v1/session/challenge",
                "/v1/invitations",
                "/v1/pause",
                "/v1/console",
            ]
            .contains(&path.as_str())
        {
            continue;
        }
        count += 1;
        let address = path
            .replace("{app}", "shop")
            .replace("{env}", "prod")
            .replace("{name}", "api")
            .replace("{account}", "ada")
            .replace("{host}", "www.example.org")
            .replace("{address}", "http:%2F%2F203.0.113.7:3000");
        for media_type in OTHERS {
            let request = edge.ask(method.parse().unwrap(), &address, &token);
            let answer = got(request.header("content-type", media_type).body("{}")).await;
            assert_eq!(answer.code(), Code::UnsupportedType, "{method} {path} {media_type}: {}", answer.text());
        }
    }
    assert!(count >= 15, "{count} operations take JSON");
    edge.stop().await;
}
