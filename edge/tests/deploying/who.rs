//! Authorization and accountability: accounts and logins, tokens, the audit log.

mod audit;
mod invitations;
mod logins;
mod tokens;

use std::net::{IpAddr, Ipv4Addr};

use devanture_config::api::LoggedIn;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Got, RunningEdge, Setup, edge, got};

const PASSWORD: &str = "correct horse battery";

/// Edge with a cheap password hash.
fn quick() -> Setup {
    edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1)
}

/// Creates an account with [`PASSWORD`].
async fn account(edge: &RunningEdge, name: &str, scope: &str) {
    let wanted = json!({ "name": name, "scope": scope, "password": PASSWORD });
    let made = got(edge.api(Method::POST, "/v1/accounts").json(&wanted)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
}

/// Sends a request without a token.
async fn open(edge: &RunningEdge, operation: &str, body: &Value) -> Got {
    let url = format!("https://localhost:{}/v1/{operation}", edge.admin().port());
    got(edge.client().post(url).json(body)).await
}

async fn try_login(edge: &RunningEdge, login: &str, password: &str) -> Got {
    open(edge, "login", &json!({ "login": login, "password": password })).await
}

async fn login(edge: &RunningEdge, name: &str) -> LoggedIn {
    try_login(edge, name, PASSWORD).await.json()
}

/// Logs in from another address of this machine.
async fn login_from(edge: &RunningEdge, last: u8, login: &str, password: &str) -> Got {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(edge.ca()).unwrap()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://{}/v1/login", edge.admin());
    got(client.post(url).json(&json!({ "login": login, "password": password }))).await
}

async fn refresh(edge: &RunningEdge, token: &str) -> Got {
    open(edge, "refresh", &json!({ "refresh_token": token })).await
}

/// Status of a request with a token: 401 for an invalid token, or 200, even for a missing app.
async fn status_with(edge: &RunningEdge, token: &str) -> StatusCode {
    match got(edge.ask(Method::GET, "/v1/apps/shop/aliases", token)).await.status {
        StatusCode::NOT_FOUND => StatusCode::OK,
        status => status,
    }
}
