//! Upstream members added and removed by the API while requests are served, over sockets.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by panicking, in its helpers too"
)]

mod backend;
mod kept_reach;
mod lasting;
mod rights;
mod saying;
mod serving;

use std::collections::BTreeSet;

use crate::support::{Files, Got, RunningEdge, got, manifest};
use crate::wire;
use backend::Backend;
use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport, UpstreamReport, UpstreamsReport};
use devanture_config::site_toml::SiteFile;
use http::{Method, StatusCode};
use serde_json::{Value, json};

const SITE: Files<'static> = &[("index.html", b"home")];
/// Path of most tests' upstreams.
const UPSTREAMS: &str = "/v1/apps/shop/environments/prod/upstreams";

/// `devanture.toml` with the upstream `api`, the route `/api/*` and further keys of the upstream.
fn api(to: &[&Backend], more: &str) -> String {
    let to: Vec<String> = to.iter().map(|backend| format!("\"{}\"", backend.url())).collect();
    format!("[[routes]]\npath = \"/api/*\"\nto = \"api\"\n[upstreams.api]\nto = [{}]\n{more}", to.join(", "))
}

async fn push(edge: &RunningEdge, environment: &str, toml: &str, files: Files<'_>) -> DeployReport {
    let site = SiteFile::parse("devanture.toml", toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut manifest = manifest(files);
    (manifest.base, manifest.env) = (site.base, site.env);
    // A push may remove the routes to the last member.
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest, source: Default::default(), options };
    edge.try_push("shop", environment, begin, files).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

/// API path of a member of the upstream `name`.
fn member(name: &str, address: &str) -> String {
    format!("{UPSTREAMS}/{}/members/{}", name.replace('/', "%2F"), address.replace('/', "%2F"))
}

/// Requests the state `desired` of a member of `api`, with a token.
async fn put_with(edge: &RunningEdge, token: &str, address: &str, desired: &str) -> Got {
    got(edge.ask(Method::PUT, &member("api", address), token).json(&json!({ "desired": desired }))).await
}

async fn put(edge: &RunningEdge, address: &str, desired: &str) -> UpstreamReport {
    put_with(edge, edge.admin_token(), address, desired).await.json()
}

async fn remove_with(edge: &RunningEdge, token: &str, address: &str) -> Got {
    got(edge.ask(Method::DELETE, &member("api", address), token)).await
}

async fn remove(edge: &RunningEdge, address: &str) -> UpstreamReport {
    remove_with(edge, edge.admin_token(), address).await.json()
}

/// Upstream `api` of an environment.
async fn listed(edge: &RunningEdge, environment: &str) -> UpstreamReport {
    let path = format!("/v1/apps/shop/environments/{environment}/upstreams");
    let list: UpstreamsReport = got(edge.api(Method::GET, &path)).await.json();
    list.upstreams.into_iter().find(|upstream| upstream.name == "api").unwrap()
}

/// Members in the report: address, states, and the requested state.
fn listed_members(report: &UpstreamReport) -> Vec<(String, Vec<String>, Value)> {
    let of = |backends: &[devanture_config::api::Backend]| backends.iter().map(|one| one.state.clone()).collect();
    let members = report.members.iter();
    members.map(|one| (one.address.to_string(), of(&one.backends), json!(one.desired))).collect()
}

/// Requests in flight to a member.
fn requests(report: &UpstreamReport, address: &str) -> u64 {
    let member = report.members.iter().find(|member| member.address.to_string() == address).unwrap();
    member.backends.iter().map(|backend| backend.requests).sum()
}

/// Names of the backends that answer many requests to `host`.
async fn who_of(edge: &RunningEdge, host: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..60 {
        let answer = edge.get(host, "/api/who").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        names.insert(answer.text());
    }
    names
}

async fn who(edge: &RunningEdge) -> BTreeSet<String> {
    who_of(edge, wire::HOST).await
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
