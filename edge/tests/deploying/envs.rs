//! Environments with different configurations: overlays, settings and secrets, under rollbacks and promotions.

#![allow(clippy::disallowed_methods, reason = "tests move files of the edge away, as an accident would")]

mod api;
mod front;
mod overlays;
mod rollback;
mod sealed;

use devanture_config::Manifest;
use devanture_config::api::{
    BeginDeploy, DeployOptions, DeployReport, History, SettingsList, SettingsReport, SwitchReport,
};
use devanture_config::site_toml::{OverlayText, SiteFile, overlay_of};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Files, Got, RunningEdge, edge, got, manifest};

/// Files of most sites.
const SITE: Files<'static> = &[("index.html", b"home"), ("about.html", b"about")];
/// Path where the front reads the settings.
const ENV: &str = "/.well-known/devanture/env.json";

/// Site with a `devanture.toml` and overlays, each with a file name.
fn site(files: Files<'_>, toml: &str, overlays: &[(&str, &str)]) -> Manifest {
    let overlays: Vec<OverlayText<'_>> = overlays
        .iter()
        .map(|(file, text)| OverlayText { file, place: overlay_of("devanture.toml", file).unwrap(), text })
        .collect();
    let site = SiteFile::parse_with("devanture.toml", Some(toml), &overlays);
    let site = site.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut manifest = manifest(files);
    manifest.base = site.base;
    manifest.env = site.env;
    manifest
}

async fn push_site(edge: &RunningEdge, environment: &str, manifest: Manifest, files: Files<'_>) -> DeployReport {
    let begin = BeginDeploy { manifest, source: Default::default(), options: DeployOptions::default() };
    let pushed = edge.try_push("shop", environment, begin, files).await;
    pushed.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

/// Pushes a page with `text`.
async fn push(edge: &RunningEdge, environment: &str, text: &str) -> DeployReport {
    let files: Files<'_> = &[("index.html", text.as_bytes())];
    push_site(edge, environment, manifest(files), files).await
}

/// Edge with a page in `prod` of the app `shop`.
async fn started() -> RunningEdge {
    edge().with_app("shop", SITE).start().await
}

fn settings_path(environment: &str) -> String {
    format!("/v1/apps/shop/environments/{environment}/settings")
}

async fn patch_with(edge: &RunningEdge, token: &str, environment: &str, body: &Value) -> Got {
    got(edge.ask(Method::PATCH, &settings_path(environment), token).json(body)).await
}

/// Changes settings as an admin.
async fn patch(edge: &RunningEdge, environment: &str, body: Value) -> SettingsReport {
    let token = edge.admin_token().to_owned();
    patch_with(edge, &token, environment, &body).await.json()
}

/// Sets one public setting.
async fn publish(edge: &RunningEdge, environment: &str, name: &str, value: &str) -> SettingsReport {
    patch(edge, environment, json!({ "set": { name: { "value": value, "public": true } } })).await
}

async fn settings(edge: &RunningEdge, environment: &str) -> SettingsList {
    got(edge.api(Method::GET, &settings_path(environment))).await.json()
}

/// Settings that the front reads at a host.
async fn shown(edge: &RunningEdge, host: &str) -> Value {
    edge.get(host, ENV).await.json()
}

async fn post(edge: &RunningEdge, environment: &str, operation: &str, body: Value) -> Got {
    let path = format!("/v1/apps/shop/environments/{environment}/{operation}");
    got(edge.api(Method::POST, &path).json(&body)).await
}

async fn promote(edge: &RunningEdge, from: &str, to: &str) -> SwitchReport {
    post(edge, to, "promote", json!({ "from": from })).await.json()
}

async fn rollback(edge: &RunningEdge, body: Value) -> SwitchReport {
    post(edge, "prod", "rollback", body).await.json()
}

async fn history(edge: &RunningEdge, environment: &str) -> History {
    got(edge.api(Method::GET, &format!("/v1/apps/shop/environments/{environment}/history"))).await.json()
}

/// Hostname of a version.
fn preview(report: &DeployReport) -> String {
    format!("{}--shop.localhost", report.version.short())
}
