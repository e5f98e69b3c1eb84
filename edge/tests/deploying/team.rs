//! Work of a team: aliases, locks, differences, conditions and pages, and concurrent pushes.

mod aliases;
mod canary;
mod canary_caches;
mod canary_connections;
mod diff;
mod history;
mod lists;
mod locks;
mod races;

use devanture_config::api::{BeginDeploy, DeployBegun, DeployOptions, DeployReport, History, Source, Status};
use devanture_config::problem::Problem;
use http::Method;
use serde_json::Value;

use crate::support::{Files, Got, RunningEdge, got, manifest};

/// Pushes files to an environment of the app `shop`.
async fn push(
    edge: &RunningEdge,
    environment: &str,
    options: DeployOptions,
    files: Files<'_>,
) -> Result<DeployReport, Box<Problem>> {
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options };
    edge.try_push("shop", environment, begin, files).await
}

/// Pushes to an alias, as the command line does.
async fn push_alias(edge: &RunningEdge, alias: &str, text: &str) -> DeployReport {
    let options = DeployOptions { alias: Some(alias.parse().unwrap()), ..DeployOptions::default() };
    push(edge, "preview", options, &[("index.html", text.as_bytes())]).await.unwrap()
}

/// Starts a push of one page and uploads the page, so that the push is ready to finish.
async fn ready(edge: &RunningEdge, environment: &str, options: DeployOptions, text: &str) -> DeployBegun {
    let files: Files<'_> = &[("index.html", text.as_bytes())];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options };
    let path = format!("/v1/apps/shop/environments/{environment}/deploys");
    let begun: DeployBegun = got(edge.api(Method::POST, &path).json(&begin)).await.json();
    for digest in &begun.missing {
        let path = format!("/v1/apps/shop/blobs/{digest}?deploy={}", begun.deploy);
        assert!(got(edge.api(Method::PUT, &path).body(text.to_owned())).await.status.is_success());
    }
    begun
}

async fn finish(edge: &RunningEdge, deploy: &str) -> Result<DeployReport, Box<Problem>> {
    got(edge.api(Method::POST, &format!("/v1/apps/shop/deploys/{deploy}/finish"))).await.into_result()
}

/// API request below the app `shop`, with the admin token.
async fn call(edge: &RunningEdge, method: Method, path: &str, body: Option<Value>) -> Got {
    call_as(edge, edge.admin_token(), method, path, body).await
}

async fn call_as(edge: &RunningEdge, token: &str, method: Method, path: &str, body: Option<Value>) -> Got {
    let request = edge.ask(method, &format!("/v1/apps/shop/{path}"), token);
    got(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

async fn history(edge: &RunningEdge, environment: &str) -> History {
    call(edge, Method::GET, &format!("environments/{environment}/history"), None).await.json()
}

async fn status(edge: &RunningEdge, environment: &str) -> Status {
    call(edge, Method::GET, &format!("environments/{environment}"), None).await.json()
}
