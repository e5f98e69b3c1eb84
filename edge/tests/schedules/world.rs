//! Backends with schedules, and the edge's reports.

use devanture_config::api::{DeployReport, RunOutcome, ScheduleList, ScheduleStatus};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::backends::Backend;
use crate::support::{Got, RunningEdge, eventually, got};

pub(crate) const APP: &str = "shop";
const SCHEDULES: &str = "/v1/apps/shop/environments/prod/schedules";

/// Backend of one idle process with the given schedules.
pub(crate) fn backend(page: &str, schedules: &Value) -> Backend {
    Backend::new(page)
        .with("command", vec!["sleep", "1000000"])
        .with("kind", "worker")
        .with("health", Value::Null)
        .with("routes", Value::Null)
        .with("schedule", schedules.clone())
}

/// Schedule that runs a shell script.
pub(crate) fn script(cron: &str, script: &str) -> Value {
    json!({ "cron": cron, "command": ["sh", "-c", script] })
}

/// Schedule that runs a shell script, with more keys.
pub(crate) fn script_with(cron: &str, text: &str, more: &Value) -> Value {
    let mut table = script(cron, text);
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    table
}

pub(crate) async fn push(edge: &RunningEdge, backend: &Backend) -> DeployReport {
    let pushed = edge.push_backend(edge.admin_token(), (APP, "prod"), backend).await;
    pushed.unwrap_or_else(|problem| panic!("{problem:#?}"))
}

pub(crate) async fn list(edge: &RunningEdge) -> ScheduleList {
    got(edge.api(Method::GET, SCHEDULES)).await.json()
}

pub(crate) async fn status(edge: &RunningEdge, name: &str) -> ScheduleStatus {
    let list = list(edge).await;
    let found = list.schedules.iter().find(|schedule| schedule.name.as_str() == name).cloned();
    found.unwrap_or_else(|| panic!("{name} is not there: {list:#?}"))
}

/// Requests a run.
pub(crate) async fn request(edge: &RunningEdge, name: &str) -> Got {
    got(edge.api(Method::POST, &format!("{SCHEDULES}/{name}/run"))).await
}

/// Starts a run on request.
pub(crate) async fn begin(edge: &RunningEdge, name: &str) -> ScheduleStatus {
    let answer = request(edge, name).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    answer.json()
}

/// Waits until the last run of a schedule was for the given time.
pub(crate) async fn ran_for(edge: &RunningEdge, name: &str, due_ms: u64) {
    let has_run = async || status(edge, name).await.last.is_some_and(|last| last.run.due_ms == Some(due_ms));
    eventually(&format!("{name} runs for {due_ms}"), has_run).await;
}

/// Waits for the end of the last requested run; returns the outcome.
pub(crate) async fn outcome(edge: &RunningEdge, begun: &ScheduleStatus) -> (RunOutcome, Option<i32>) {
    let (name, run) = (begun.name.as_str(), begun.running.last().unwrap());
    eventually(&format!("a run of {name} ends"), async || {
        status(edge, name).await.last.is_some_and(|last| last.run == *run)
    })
    .await;
    let last = status(edge, name).await.last.unwrap();
    (last.outcome, last.exit_code)
}

/// Log lines of a schedule from all nodes, including the edge's lines.
pub(crate) async fn lines(edge: &RunningEdge, name: &str) -> Vec<String> {
    let path = format!("/v1/apps/shop/environments/prod/logs?source=schedule.{name}&lines=1000");
    let text = got(edge.api(Method::GET, &path)).await.text();
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    text.lines().filter(|text| !text.is_empty()).map(line).collect()
}

/// Returns true if a process has the word among its arguments.
pub(crate) fn is_running(word: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    commands
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .any(|text| text.split('\0').any(|part| part == word))
}
