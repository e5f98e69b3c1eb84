//! Site operations beside pushes, and the effects for visitors: error pages, pauses, deletions, withdrawals, immutable
//! names, and assets that survive a switch.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod authority;
mod check_stored;
mod clock_leaps;
mod console;
pub(crate) mod copies;
mod damage;
mod damaged_catalog;
mod delete;
mod dictionaries;
mod disk;
mod doctor;
mod error_pages;
mod fingerprints;
mod first_config;
mod idle_backends;
mod kept;
mod large_files;
mod lost_catalog;
mod metrics;
mod owners;
mod pause;
mod process_memory;
mod restore;
mod s3;
pub(crate) mod safekeeping;
mod takeovers;
mod thread_priorities;
mod verify_backup;
mod withdraw;

use crate::support::{Files, Got, RunningEdge, got, manifest};
use crate::wire;
use crate::wire::RequestSpec;
use devanture_config::api::{BeginDeploy, DeployOptions, DeployReport};
use devanture_config::problem::Problem;
use devanture_config::site_toml::{HtmlHandling, NotFound, Route, Serving};
use http::Method;
use serde_json::{Value, json};
use std::sync::OnceLock;
use tokio::net::TcpSocket;

/// Header fields of a browser's navigation …
const NAVIGATION: &[&str] = &["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html"];
/// … and of a script's `fetch`.
const FETCH: &[&str] = &["Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: */*"];

fn navigate(target: &str) -> RequestSpec<'_> {
    wire::ask(target).with_lines(NAVIGATION)
}

fn fetch(target: &str) -> RequestSpec<'_> {
    wire::ask(target).with_lines(FETCH)
}

/// Pushes to any environment with any settings.
async fn push(
    edge: &RunningEdge,
    environment: &str,
    serving: Serving,
    options: DeployOptions,
    files: Files<'_>,
) -> Result<DeployReport, Box<Problem>> {
    let mut manifest = manifest(files);
    manifest.base = serving;
    let begin = BeginDeploy { manifest, source: Default::default(), options };
    edge.try_push("shop", environment, begin, files).await
}

/// Pushes to `prod` with settings.
async fn push_served(edge: &RunningEdge, serving: Serving, files: Files<'_>) -> DeployReport {
    push(edge, "prod", serving, DeployOptions::default(), files).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

/// Pushes without going live.
async fn store(edge: &RunningEdge, files: Files<'_>) -> DeployReport {
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    push(edge, "prod", Serving::default(), options, files).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

/// Routes `/api/*` to a local port.
fn routed(port: u16) -> Serving {
    let to = format!("http://127.0.0.1:{port}").parse().unwrap();
    let route = Route { timeout_ms: Some(300), ..Route::new("/api/*".parse().unwrap(), to) };
    Serving { routes: Some(vec![route]), ..Serving::default() }
}

fn handled(html_handling: HtmlHandling) -> Serving {
    Serving { html_handling: Some(html_handling), ..Serving::default() }
}

fn single_page() -> Serving {
    Serving { not_found: Some(NotFound::SinglePageApplication), ..Serving::default() }
}

/// Port without a listener, now and later.
fn closed_port() -> u16 {
    static BOUND: OnceLock<TcpSocket> = OnceLock::new();
    let socket = BOUND.get_or_init(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    });
    socket.local_addr().unwrap().port()
}

/// API request about the app.
async fn api(edge: &RunningEdge, method: Method, path: &str, body: Value) -> Got {
    let request = edge.api(method, &format!("/v1/apps/shop/{path}"));
    got(if body.is_null() { request } else { request.json(&body) }).await
}

async fn switch(edge: &RunningEdge, environment: &str, version: &str) -> Got {
    api(edge, Method::POST, &format!("environments/{environment}/switch"), json!({"version": version})).await
}

/// Hostname of a version.
fn preview(report: &DeployReport) -> String {
    format!("{}--shop.localhost", report.version.short())
}

/// Compressible text.
fn long(text: &str) -> Vec<u8> {
    format!("<!doctype html><title>{text}</title>{}", "<p>a text that compresses well</p>\n".repeat(60)).into_bytes()
}
