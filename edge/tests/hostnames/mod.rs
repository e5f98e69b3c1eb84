//! Custom hostnames of environments, over sockets: the canonical name, permissions, proof by DNS, and immediate effect.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod api;
mod authority_proofs;
mod dns;
mod http3;
mod previews;
mod proof;
mod pushes;
mod redirect;

use crate::support::{Files, Got, RunningEdge, edge, got, manifest};
use bytes::Bytes;
use devanture_config::Manifest;
use devanture_config::api::{
    BeginDeploy, DeployBegun, DeployOptions, DeployReport, HostnameList, HostnameRemoved, HostnameSet,
};
use devanture_config::problem::Problem;
use devanture_config::site_toml::SiteFile;
use http::Method;
use serde_json::json;

/// Files of most sites.
const SITE: Files<'static> = &[("index.html", b"home"), ("about.html", b"about")];

/// Site with the tables of a `devanture.toml`.
fn site(files: Files<'_>, toml: &str) -> Manifest {
    let site = SiteFile::parse("devanture.toml", toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut manifest = manifest(files);
    manifest.base = site.base;
    manifest.env = site.env;
    manifest
}

/// Pushes with a token, by default the edge's admin token.
async fn push_with(
    edge: &RunningEdge,
    token: &str,
    place: (&str, &str),
    files: Files<'_>,
    toml: &str,
) -> Result<DeployReport, Box<Problem>> {
    push_so(edge, token, place, files, toml, DeployOptions::default()).await
}

async fn push_so(
    edge: &RunningEdge,
    token: &str,
    place: (&str, &str),
    files: Files<'_>,
    toml: &str,
    options: DeployOptions,
) -> Result<DeployReport, Box<Problem>> {
    let (app, environment) = place;
    let begin = BeginDeploy { manifest: site(files, toml), source: Default::default(), options };
    let path = format!("/v1/apps/{app}/environments/{environment}/deploys");
    let begun: DeployBegun = got(edge.ask(Method::POST, &path, token).json(&begin)).await.into_result()?;
    for digest in &begun.missing {
        let bytes = files.iter().map(|(_, bytes)| *bytes).find(|bytes| devanture_config::Digest::of(bytes) == *digest);
        let path = format!("/v1/apps/{app}/blobs/{digest}?deploy={}", begun.deploy);
        got(edge.ask(Method::PUT, &path, token).body(Bytes::copy_from_slice(bytes.unwrap()))).await;
    }
    let path = format!("/v1/apps/{app}/deploys/{}/finish", begun.deploy);
    got(edge.ask(Method::POST, &path, token)).await.into_result()
}

/// Pushes to `prod` as an admin of all apps.
async fn push(edge: &RunningEdge, app: &str, files: Files<'_>, toml: &str) -> DeployReport {
    let token = edge.admin_token().to_owned();
    push_with(edge, &token, (app, "prod"), files, toml).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

/// Pushes `shop` as an admin of all apps, with options.
async fn push_as(edge: &RunningEdge, files: Files<'_>, toml: &str, options: DeployOptions) -> DeployReport {
    let token = edge.admin_token().to_owned();
    let pushed = push_so(edge, &token, ("shop", "prod"), files, toml, options).await;
    pushed.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

/// Sends a request for one hostname with a token, such as `("PUT", "shop", "prod", "www.example.org")`.
async fn name_with(edge: &RunningEdge, token: &str, ask: (&str, &str, &str, &str), body: &str) -> Got {
    let (method, app, environment, host) = ask;
    let path = format!("/v1/apps/{app}/environments/{environment}/hostnames/{host}");
    let request = edge.ask(method.parse().unwrap(), &path, token);
    got(match body {
        "" => request,
        body => request.header("content-type", "application/json").body(body.to_owned()),
    })
    .await
}

/// Adds a hostname to `prod` of an app, as an admin of all apps.
async fn add(edge: &RunningEdge, app: &str, host: &str) -> HostnameSet {
    let token = edge.admin_token().to_owned();
    name_with(edge, &token, ("PUT", app, "prod", host), "").await.json()
}

/// Adds a hostname to `prod` as the canonical name, so that the other names redirect there.
async fn add_canonical(edge: &RunningEdge, app: &str, host: &str) -> HostnameSet {
    let token = edge.admin_token().to_owned();
    let body = json!({"canonical": true}).to_string();
    name_with(edge, &token, ("PUT", app, "prod", host), &body).await.json()
}

async fn remove(edge: &RunningEdge, app: &str, host: &str) -> HostnameRemoved {
    let token = edge.admin_token().to_owned();
    name_with(edge, &token, ("DELETE", app, "prod", host), "").await.json()
}

async fn list(edge: &RunningEdge, app: &str, environment: &str) -> HostnameList {
    got(edge.api(Method::GET, &format!("/v1/apps/{app}/environments/{environment}/hostnames"))).await.json()
}

/// Names of `prod`, each with a prefix: `=` for canonical, `>` for a redirect, none for serving.
async fn names(edge: &RunningEdge, app: &str) -> Vec<String> {
    let list = list(edge, app, "prod").await;
    let word = |host: &devanture_config::api::HostnameStatus| match (host.canonical, &host.redirects_to) {
        (true, None) => format!("={}", host.name),
        (false, Some(to)) => {
            assert_eq!(Some(to), list.canonical.as_ref());
            format!(">{}", host.name)
        }
        (false, None) => host.name.to_string(),
        (true, Some(_)) => panic!("{host:?}"),
    };
    list.hostnames.iter().map(word).collect()
}
