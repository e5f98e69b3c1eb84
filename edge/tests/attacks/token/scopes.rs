//! Every API operation, requested with tokens of one environment for foreign objects. A new operation fails here until
//! the table states the rights of such a token.

use std::fmt::Write as _;

use devanture_config::api::{BeginDeploy, DeployBegun, DeployOptions, Scope, Source, TokenMade};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::description::operations;
use crate::support::{Files, Got, RunningEdge, edge, got, manifest};

/// Marker in every name, text and path hidden from the tokens.
const MARKER: &str = "marker";
/// Operations that need no token.
const OPEN: [&str; 13] = [
    "GET /health/live",
    "GET /health/ready",
    "GET /v1/invitations",
    "GET /v1/openapi.yaml",
    "POST /v1/device",
    "POST /v1/device/token",
    "POST /v1/exchange",
    "POST /v1/invitations",
    "POST /v1/login",
    "POST /v1/logout",
    "POST /v1/refresh",
    "POST /v1/session",
    "POST /v1/session/challenge",
];

fn is_open(method: &str, path: &str) -> bool {
    OPEN.contains(&format!("{method} {path}").as_str())
}

/// Expected response for a token of one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// `forbidden`, whatever the scope.
    Forbidden,
    /// `forbidden` without the scope; with the scope, a response without data of another environment.
    Own(Scope),
    /// `forbidden` without the scope; with the scope, promotable data of another environment.
    Taken(Scope),
    /// `not_found`, or `forbidden`.
    Hidden,
}

/// Ids of objects in `prod` of the app `shop`.
struct ProdObjects {
    version: String,
    deploy: String,
    digest: String,
    token: String,
}

async fn push(edge: &RunningEdge, app: &str, environment: &str, text: &str) -> String {
    let files: Files<'_> = &[("index.html", text.as_bytes())];
    let source = Source { message: Some(format!("{environment} of {app}: {text}")), ..Source::default() };
    let begin = BeginDeploy { manifest: manifest(files), source, options: DeployOptions::default() };
    edge.try_push(app, environment, begin, files).await.unwrap().version.to_string()
}

async fn admin(edge: &RunningEdge, method: Method, path: &str, body: Value) -> Got {
    let request = edge.api(method, &format!("/v1/{path}"));
    let answer = got(if body.is_null() { request } else { request.json(&body) }).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text());
    answer
}

/// Creates an app with every kind of object in `prod`, and few in `staging`.
async fn plant(edge: &RunningEdge) -> ProdObjects {
    push(edge, "shop", "staging", "of staging").await;
    let gone = push(edge, "shop", "prod", "marker of a version that goes").await;
    let version = push(edge, "shop", "prod", "marker of what is live").await;
    push(edge, "shop", "marker-gone", "marker of an environment that goes").await;
    push(edge, "blog", "staging", "marker of the other app").await;
    let of = |rest: &str| format!("apps/shop/{rest}");
    let aliased = push(edge, "shop", "marker-place", "marker of an alias").await;
    for (method, path, body) in [
        (Method::DELETE, "environments/marker-gone", Value::Null),
        (Method::PUT, "aliases/marker-alias", json!({ "version": aliased })),
        (Method::PUT, "environments/prod/hostnames/marker.example.org", Value::Null),
        (Method::PATCH, "environments/prod/settings", json!({ "set": { "A": { "value": "marker" } } })),
        (Method::PUT, "environments/prod/lock", json!({ "reason": "marker" })),
        (Method::POST, "environments/prod/pause", json!({ "message": "marker" })),
        (Method::PUT, "webhooks/marker-alias", json!({ "url": "http://127.0.0.1:9/marker" })),
        (Method::POST, "withdrawn", json!({ "path": "/marker.pdf" })),
    ] {
        admin(edge, method, &of(path), body).await;
    }
    admin(edge, Method::POST, &of("environments/prod/resume"), Value::Null).await;
    drop(gone);
    let account = json!({ "name": MARKER, "scope": "read", "password": "correct horse battery" });
    admin(edge, Method::POST, "accounts", account).await;
    let token = json!({ "name": "marker", "app": "shop", "environment": "prod", "scope": "read" });
    let token: TokenMade = admin(edge, Method::POST, "tokens", token).await.json();
    let files: Files<'_> = &[("index.html", b"marker of a push under way")];
    let begin = BeginDeploy {
        manifest: manifest(files),
        source: Source::default(),
        options: DeployOptions { no_switch: true, ..DeployOptions::default() },
    };
    let path = "apps/shop/environments/prod/deploys";
    let begun: DeployBegun = admin(edge, Method::POST, path, serde_json::to_value(begin).unwrap()).await.json();
    ProdObjects { version, deploy: begun.deploy, digest: begun.missing[0].to_string(), token: token.id }
}

/// Fills in a described path with an object of another app, or of `prod`.
fn concrete(path: &str, app: &str, planted: &ProdObjects) -> String {
    let mut concrete = path
        .replace("{app}", app)
        .replace("{env}", "prod")
        .replace("{host}", "marker.example.org")
        .replace("{address}", "http:%2F%2F203.0.113.7:3000")
        .replace("{account}", MARKER)
        .replace("{snapshot}", MARKER)
        .replace("{digest}", &planted.digest)
        .replace("{deploy}", &planted.deploy);
    let id = if path.starts_with("/v1/tokens") { &planted.token } else { &planted.version };
    concrete = concrete.replace("{id}", id);
    concrete = concrete.replace("{name}", if path.contains("upstreams") { "api" } else { "marker-alias" });
    match path {
        "/v1/apps/{app}/blobs" | "/v1/apps/{app}/blobs/{digest}" => {
            write!(concrete, "?deploy={}", planted.deploy).unwrap();
        }
        "/v1/apps/{app}/diff" => concrete.push_str("?from=staging&to=prod&env=staging"),
        _ => {}
    }
    concrete
}

/// Body for operations that parse the body before the authorization.
fn body(path: &str) -> Value {
    match path {
        "/v1/tokens" => json!({ "name": "x", "app": "shop", "environment": "prod", "scope": "read" }),
        "/v1/passkeys" => json!({ "name": "x", "attestation_object": "", "client_data_json": "" }),
        "/v1/apps/{app}/confirmations" => json!({ "confirm": [] }),
        "/v1/apps/{app}/shares" => json!({ "target": "prod" }),
        "/v1/apps/{app}/environments/{env}/rollback" => json!({ "with_settings": true }),
        _ => json!({}),
    }
}

/// Expected response for a token of `staging` of the app `shop` about `prod` and about objects without environment.
fn expected(method: &str, path: &str) -> Expected {
    if path.contains("{env}") {
        return Expected::Forbidden;
    }
    match (method, path) {
        (
            "GET",
            "/v1/apps"
            | "/v1/apps/{app}"
            | "/v1/apps/{app}/aliases"
            | "/v1/apps/{app}/confirmations"
            | "/v1/apps/{app}/deleted"
            | "/v1/apps/{app}/protection"
            | "/v1/apps/{app}/shares"
            | "/v1/session"
            | "/v1/sessions",
        ) => Expected::Own(Scope::Read),
        ("GET", "/v1/audit" | "/v1/tokens") => Expected::Own(Scope::Admin),
        // The promote scope takes the live version of another environment, and may read the version before.
        ("GET", "/v1/apps/{app}/diff") => Expected::Taken(Scope::Promote),
        ("DELETE", "/v1/apps/{app}/shares/{id}" | "/v1/sessions/{id}" | "/v1/tokens/{id}") => Expected::Hidden,
        // A token is no session.
        ("DELETE", "/v1/session") | ("POST", "/v1/session/confirm") | (_, "/v1/passkeys" | "/v1/passkeys/{id}") => {
            Expected::Forbidden
        }
        (
            _,
            "/metrics"
            | "/v1/accounts"
            | "/v1/accounts/{account}"
            | "/v1/accounts/{account}/invitation"
            | "/v1/accounts/{account}/password"
            | "/v1/apps/{app}"
            | "/v1/apps/{app}/aliases/{name}"
            | "/v1/apps/{app}/blobs"
            | "/v1/apps/{app}/blobs/{digest}"
            | "/v1/apps/{app}/confirmations"
            | "/v1/apps/{app}/deploys/{deploy}"
            | "/v1/apps/{app}/deploys/{deploy}/finish"
            | "/v1/apps/{app}/shares"
            | "/v1/apps/{app}/undelete"
            | "/v1/apps/{app}/usage"
            | "/v1/apps/{app}/versions/{id}"
            | "/v1/apps/{app}/versions/{id}/manifest"
            | "/v1/apps/{app}/versions/{id}/signatures"
            | "/v1/apps/{app}/webhooks"
            | "/v1/apps/{app}/webhooks/{name}"
            | "/v1/apps/{app}/webhooks/{name}/deliveries/{id}/redeliver"
            | "/v1/apps/{app}/webhooks/{name}/rotate"
            | "/v1/apps/{app}/webhooks/{name}/test"
            | "/v1/apps/{app}/withdrawn"
            | "/v1/backup"
            | "/v1/console"
            | "/v1/gc"
            | "/v1/nodes"
            | "/v1/pause"
            | "/v1/records"
            | "/v1/repair"
            | "/v1/verify",
        )
        | ("POST", "/v1/tokens") => Expected::Forbidden,
        _ => panic!("{method} {path} is new: say here what a token of one environment may do with it"),
    }
}

async fn ask(edge: &RunningEdge, token: &str, method: &str, path: &str, body: &Value) -> Got {
    let request = edge.ask(method.parse().unwrap(), path, token);
    got(if method == "GET" { request } else { request.json(body) }).await
}

fn check_nothing_of_another(answer: &Got, planted: &ProdObjects, what: &str) {
    let text = answer.text();
    assert!(!text.contains(MARKER) && !text.contains(&planted.version), "{what}: {text}");
}

#[tokio::test]
async fn a_token_of_one_environment_reaches_nothing_of_another() {
    let edge = edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1).start().await;
    let planted = plant(&edge).await;
    for scope in Scope::ALL {
        let token = edge.token_for(scope, Some("shop"), Some("staging")).await;
        for (path, method, _) in operations().into_iter().filter(|(path, method, _)| !is_open(method, path)) {
            let what = format!("{method} {path} with {scope}");
            let address = concrete(&path, "shop", &planted);
            let answer = ask(&edge, &token, &method, &address, &body(&path)).await;
            match expected(&method, &path) {
                Expected::Own(least) if scope.includes(least) => {
                    assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text());
                    check_nothing_of_another(&answer, &planted, &what);
                }
                Expected::Taken(least) if scope.includes(least) => {
                    assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text());
                }
                Expected::Hidden => {
                    assert!(matches!(answer.code(), Code::Forbidden | Code::NotFound), "{what}: {answer:?}");
                }
                _ => assert_eq!(answer.code(), Code::Forbidden, "{what}: {}", answer.text()),
            }
            // Another app appears as missing for every operation.
            if path.contains("{app}") {
                let address = concrete(&path, "blog", &planted);
                let answer = ask(&edge, &token, &method, &address, &body(&path)).await;
                assert_eq!(answer.code(), Code::NotFound, "{what}: {}", answer.text());
            }
            // Readable data of the own environment reveals no data of another.
            if method == "GET" && path.contains("{env}") {
                let address = concrete(&path, "shop", &planted).replace("/prod", "/staging");
                let answer = ask(&edge, &token, &method, &address, &Value::Null).await;
                // Backend data is readable for admins alone, and settings for the push scope.
                let is_refused = path.contains("/data") && scope != Scope::Admin
                    || path.ends_with("/development") && !scope.includes(Scope::Push);
                assert_eq!(answer.status == StatusCode::FORBIDDEN, is_refused, "{what}: {}", answer.text());
                check_nothing_of_another(&answer, &planted, &what);
            }
        }
    }
    // No operation had an effect, and even the deletion of `prod` is hidden.
    let status = admin(&edge, Method::GET, "apps/shop/environments/prod", Value::Null).await;
    assert_eq!(status.json::<Value>()["version"], planted.version);
    admin(&edge, Method::DELETE, "apps/shop/environments/prod", Value::Null).await;
    let token = edge.token_for(Scope::Admin, Some("shop"), Some("staging")).await;
    for (path, method, _) in operations().into_iter().filter(|(path, ..)| path.contains("{env}")) {
        let address = concrete(&path, "shop", &planted);
        let answer = ask(&edge, &token, &method, &address, &body(&path)).await;
        assert_eq!(answer.code(), Code::Forbidden, "{method} {path}: {}", answer.text());
    }
    edge.stop().await;
}

/// Like the test above, for objects of a whole app and of the edge.
#[tokio::test]
async fn a_token_of_one_app_reaches_nothing_of_another_app_or_of_the_edge() {
    let edge = edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1).start().await;
    let planted = plant(&edge).await;
    for scope in Scope::ALL {
        let token = edge.token_for(scope, Some("blog"), None).await;
        for (path, method, _) in operations().into_iter().filter(|(path, method, _)| !is_open(method, path)) {
            let what = format!("{method} {path} with {scope}");
            let answer = ask(&edge, &token, &method, &concrete(&path, "shop", &planted), &body(&path)).await;
            if path.contains("{app}") || matches!(path.as_str(), "/v1/sessions/{id}" | "/v1/tokens/{id}") {
                assert_eq!(answer.code(), Code::NotFound, "{what}: {}", answer.text());
            } else if method == "GET"
                && (matches!(path.as_str(), "/v1/apps" | "/v1/session" | "/v1/sessions")
                    || matches!(path.as_str(), "/v1/audit" | "/v1/tokens") && scope == Scope::Admin)
            {
                // Only the token's own app appears.
                assert!(!answer.text().contains("shop"), "{what}: {}", answer.text());
            } else {
                let code = answer.code();
                // Even the request for a token of another app is refused.
                let is_refused = code == Code::Forbidden || path == "/v1/tokens" && code == Code::NotFound;
                assert!(is_refused, "{what}: {}", answer.text());
            }
        }
    }
    edge.stop().await;
}
