//! A watched switch is undone when errors rise, and for no other reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::api::{DeployKind, DeployOptions, DeployReport, Rollout, StepState};
use devanture_config::problem::{Code, Problem};
use http::{Method, StatusCode};
use serde_json::json;

use crate::deploying::backend::Backend;
use crate::deploying::gate::{history, post, push};
use crate::support::{Files, RunningEdge, edge, got};
use crate::webhooks::receiver::{Received, Receiver};
use crate::webhooks::world::add_for;

const OLD: Files<'_> = &[("index.html", b"old"), ("shoes.html", b"shoes")];
const NEW: Files<'_> = &[("index.html", b"new")];
/// Longest wait for an expected state.
const PATIENCE: Duration = Duration::from_secs(30);

async fn watched(edge: &RunningEdge, seconds: u64, toml: &str, files: Files<'_>) -> Result<DeployReport, Box<Problem>> {
    let options = DeployOptions { watch_s: Some(seconds), ..DeployOptions::default() };
    push(edge, "prod", toml, options, files).await
}

async fn visit(edge: &RunningEdge, path: &str, times: usize) {
    for _ in 0..times {
        edge.get("shop.localhost", path).await;
    }
}

async fn until(what: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !what().await {
        assert!(since.elapsed() < PATIENCE, "it did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_new(edge: &RunningEdge) -> impl AsyncFn() -> bool {
    async || edge.get("shop.localhost", "/").await.text() == "new"
}

#[tokio::test]
async fn a_version_that_lacks_what_the_old_one_had_is_undone() {
    let edge = edge().with_app("shop", OLD).start().await;
    let before = edge.live("shop").await.unwrap();
    let receiver = Receiver::start().await;
    add_for(&edge, "ci", &receiver, &["deploy.live", "deploy.failed", "deploy.rollback", "deploy.undone"]).await;
    visit(&edge, "/shoes", 100).await;
    let traffic = async {
        until(is_new(&edge)).await;
        until(async || {
            visit(&edge, "/shoes", 10).await;
            edge.live("shop").await == Some(before)
        })
        .await;
    };
    let began = Instant::now();
    let (pushed, ()) = tokio::join!(watched(&edge, 60, "", NEW), traffic);
    assert!(began.elapsed() < Duration::from_secs(55), "it was undone at the end alone");
    let problem = pushed.unwrap_err();
    assert_eq!((problem.code, problem.status), (Code::WatchFailed, 409));
    // A hundred visits, and the polls for the new version.
    for text in ["404 rose from 0.0 % (0 of 1", "most of them /shoes 404 (", "is live again"] {
        assert!(problem.detail.contains(text), "{}", problem.detail);
    }
    assert_eq!(edge.get("shop.localhost", "/shoes").await.status, StatusCode::OK);
    let deploys = history(&edge, "prod").await.deploys;
    assert_eq!(deploys.len(), 3, "{deploys:#?}");
    assert_eq!((deploys[0].kind, deploys[0].version), (DeployKind::Rollback, before));
    let why = deploys[0].source.message.as_deref().unwrap();
    assert!(why.starts_with("Undone by the watch: 404 rose from"), "{why}");
    // The undone switch is no history: before the old version, no version was live.
    assert_eq!(post(&edge, "prod/rollback", json!({})).await.code(), Code::NoPrevious);
    receiver.has(2).await;
    let mut messages = receiver.received();
    messages.sort_by_key(Received::event);
    assert_eq!(messages.iter().map(Received::event).collect::<Vec<_>>(), ["deploy.live", "deploy.undone"]);
    let undone = messages[1].json();
    assert_eq!(undone["data"]["version"], before.to_string());
    assert_eq!(undone["data"]["previous"], messages[0].json()["data"]["version"]);
    assert!(undone["data"]["reason"].as_str().unwrap().starts_with("404 rose from"), "{undone}");
    edge.stop().await;
}

/// Responses of the undone version are no baseline for the next attempt.
#[tokio::test]
async fn a_version_that_was_undone_is_undone_at_the_second_try_too() {
    let edge = edge().with_app("shop", OLD).start().await;
    let before = edge.live("shop").await.unwrap();
    visit(&edge, "/shoes", 50).await;
    for round in 0..2 {
        let traffic = async {
            until(is_new(&edge)).await;
            visit(&edge, "/shoes", 100).await;
            until(async || {
                visit(&edge, "/shoes", 10).await;
                edge.live("shop").await == Some(before)
            })
            .await;
        };
        let (pushed, ()) = tokio::join!(watched(&edge, 10, "", NEW), traffic);
        let problem = pushed.expect_err(&format!("round {round}"));
        assert_eq!(problem.code, Code::WatchFailed);
        // A visitor's request may be in flight during the undo: the response counts for either version.
        let was_counted = |count: u8| problem.detail.contains(&format!(" % ({count} of "));
        assert!(problem.detail.contains("404 rose from ") && (was_counted(0) || was_counted(1)), "{}", problem.detail);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_backend_that_fails_after_a_switch_undoes_it() {
    let (edge, backend) = (edge().start().await, Backend::start());
    let toml = format!("[[routes]]\npath = \"/api/*\"\nto = \"http://{}\"\n", backend.address);
    let old = push(&edge, "prod", &toml, DeployOptions::default(), OLD).await.unwrap();
    let stored = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let new = push(&edge, "prod", &toml, stored, NEW).await.unwrap();
    visit(&edge, "/api/x", 50).await;
    let traffic = async {
        until(is_new(&edge)).await;
        backend.answers(503);
        until(async || {
            visit(&edge, "/api/x", 10).await;
            edge.live("shop").await == Some(old.version)
        })
        .await;
    };
    let switch = post(&edge, "prod/switch", json!({"version": new.version, "watch_s": 60}));
    let (switched, ()) = tokio::join!(switch, traffic);
    assert_eq!(switched.code(), Code::WatchFailed);
    assert!(switched.problem().detail.starts_with("5xx rose from 0.0 %"), "{}", switched.problem().detail);
    edge.stop().await;
}

#[tokio::test]
async fn a_newer_push_during_a_watch_is_left_alone() {
    let edge = edge().with_app("shop", OLD).start().await;
    let newer = async {
        until(is_new(&edge)).await;
        let newer = edge.push("shop", &[("index.html", b"newer")]).await;
        visit(&edge, "/shoes", 60).await;
        newer
    };
    let (watched, newer) = tokio::join!(watched(&edge, 60, "", NEW), newer);
    let report = watched.unwrap();
    let watch = report.steps.last().unwrap();
    assert_eq!((watch.name.as_str(), watch.state), ("watch", StepState::Done));
    assert!(watch.detail.contains("something else went live"), "{}", watch.detail);
    assert_eq!(edge.live("shop").await, Some(newer.version));
    assert_eq!(history(&edge, "prod").await.deploys.len(), 3);
    edge.stop().await;
}

#[tokio::test]
async fn a_version_without_traffic_passes_and_so_does_one_that_answers_as_before() {
    let edge = edge().with_app("shop", OLD).start().await;
    let report = watched(&edge, 1, "", NEW).await.unwrap();
    let watch = report.steps.last().unwrap();
    assert_eq!(watch.detail, "0 requests: too few to tell");
    visit(&edge, "/gone", 50).await;
    let traffic = async {
        until(async || edge.get("shop.localhost", "/").await.text() == "third").await;
        visit(&edge, "/gone", 40).await;
    };
    let third: Files<'_> = &[("index.html", b"third")];
    let (report, ()) = tokio::join!(watched(&edge, 3, "", third), traffic);
    let report = report.unwrap();
    assert!(report.steps.last().unwrap().detail.contains("404 "), "{:?}", report.steps);
    assert_eq!(edge.live("shop").await, Some(report.version));
    edge.stop().await;
}

/// Requests for missing paths are possible for every visitor, and undo no switch.
#[tokio::test]
async fn requests_for_what_the_version_before_did_not_have_either_undo_nothing() {
    let edge = edge().with_app("shop", OLD).start().await;
    visit(&edge, "/shoes", 50).await;
    let traffic = async {
        until(is_new(&edge)).await;
        visit(&edge, "/nope", 60).await;
    };
    let kept: Files<'_> = &[("index.html", b"new"), ("shoes.html", b"shoes")];
    let (report, ()) = tokio::join!(watched(&edge, 4, "", kept), traffic);
    let report = report.unwrap();
    assert!(report.steps.last().unwrap().detail.contains(" 404 "), "{:?}", report.steps);
    assert_eq!(edge.live("shop").await, Some(report.version));
    edge.stop().await;
}

#[tokio::test]
async fn where_nothing_was_live_there_is_nothing_to_watch_for() {
    let edge = edge().start().await;
    let report = watched(&edge, 60, "", NEW).await.unwrap();
    let watch = report.steps.last().unwrap();
    assert_eq!((watch.name.as_str(), watch.state), ("watch", StepState::Skipped));
    let again = watched(&edge, 60, "", NEW).await.unwrap();
    assert_eq!(again.steps.last().unwrap().detail, "nothing was switched");
    edge.stop().await;
}

#[tokio::test]
async fn a_pause_is_no_error_of_the_version() {
    let edge = edge().with_app("shop", OLD).start().await;
    let traffic = async {
        until(is_new(&edge)).await;
        assert_eq!(post(&edge, "prod/pause", json!({})).await.status, StatusCode::OK);
        visit(&edge, "/", 60).await;
    };
    let (report, ()) = tokio::join!(watched(&edge, 3, "", NEW), traffic);
    assert_eq!(edge.live("shop").await, Some(report.unwrap().version));
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_the_watch() {
    let edge = edge().with_app("shop", OLD).start().await;
    let before = edge.live("shop").await.unwrap();
    visit(&edge, "/shoes", 30).await;
    let stored = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let new = push(&edge, "prod", "", stored, NEW).await.unwrap();
    let request = edge.api(Method::POST, "/v1/apps/shop/environments/prod/switch");
    let request = request.header("accept", "text/event-stream").json(&json!({"version": new.version, "watch_s": 60}));
    drop(request.send().await.unwrap());
    until(is_new(&edge)).await;
    until(async || {
        visit(&edge, "/shoes", 10).await;
        edge.live("shop").await == Some(before)
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn no_more_switches_are_watched_at_once_than_the_limit_says() {
    let edge = Arc::new(edge().in_a_process().with_limit("watches_max", 1).with_app("shop", OLD).start().await);
    let other = Arc::clone(&edge);
    let first = tokio::spawn(async move { watched(&other, 60, "", NEW).await });
    until(is_new(&edge)).await;
    let busy = watched(&edge, 60, "", OLD).await.unwrap_err();
    assert_eq!(busy.code, Code::Busy);
    assert!(is_new(&edge)().await, "nothing was switched");
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(!metrics.contains("devanture_watches_total{"), "none has ended yet");
    first.abort();
}

#[tokio::test]
async fn what_a_watch_may_go_back_to_is_not_deleted_meanwhile() {
    let edge = Arc::new(edge().with_app("shop", OLD).start().await);
    let before = edge.live("shop").await.unwrap();
    visit(&edge, "/shoes", 50).await;
    let other = Arc::clone(&edge);
    let pushed = tokio::spawn(async move { watched(&other, 60, "", NEW).await });
    until(is_new(&edge)).await;
    let path = format!("/v1/apps/shop/versions/{before}");
    // The switch is visible shortly before the watch begins.
    until(async || got(edge.api(Method::DELETE, &path)).await.code() == Code::VersionInUse).await;
    until(async || {
        visit(&edge, "/shoes", 10).await;
        edge.live("shop").await == Some(before)
    })
    .await;
    assert_eq!(pushed.await.unwrap().unwrap_err().code, Code::WatchFailed);
    let stored = push(&edge, "prod", "", DeployOptions::default(), NEW).await.unwrap();
    assert_eq!(edge.live("shop").await, Some(stored.version));
    assert_eq!(got(edge.api(Method::DELETE, &path)).await.status, StatusCode::OK, "no watch needs it any more");
}

#[tokio::test]
async fn a_switch_that_cannot_be_undone_is_reported_as_what_the_watch_saw() {
    let edge = edge().with_limit("grace_versions_max", 0).with_app("shop", OLD).start().await;
    let before = edge.live("shop").await.unwrap();
    visit(&edge, "/shoes", 50).await;
    let traffic = async {
        until(is_new(&edge)).await;
        let manifest = format!("manifests/{}/{before}.json", &before.to_string()[..2]);
        std::fs::remove_file(edge.data_dir().join(manifest)).unwrap();
        visit(&edge, "/shoes", 100).await;
    };
    let (pushed, ()) = tokio::join!(watched(&edge, 60, "", NEW), traffic);
    let problem = pushed.unwrap_err();
    assert_eq!(problem.code, Code::WatchFailed);
    for text in ["404 rose from 0.0 % (0 of", "could not be undone"] {
        assert!(problem.detail.contains(text), "{}", problem.detail);
    }
    assert!(is_new(&edge)().await);
    edge.stop().await;
}

/// Law 11.
#[tokio::test]
async fn switches_of_one_app_leave_watches_for_those_of_others() {
    let edge = Arc::new(edge().with_limit("watches_max", 2).with_app("shop", OLD).start().await);
    let other = Arc::clone(&edge);
    let first = tokio::spawn(async move { watched(&other, 60, "", NEW).await });
    until(is_new(&edge)).await;
    assert_eq!(watched(&edge, 1, "", OLD).await.unwrap_err().code, Code::Busy);
    let options = DeployOptions { watch_s: Some(1), ..DeployOptions::default() };
    for files in [OLD, NEW] {
        let manifest = crate::support::manifest(files);
        let begin =
            devanture_config::api::BeginDeploy { manifest, source: Default::default(), options: options.clone() };
        edge.try_push("blog", "prod", begin, files).await.unwrap();
    }
    // The first watch ends with the edge, and the live version stays live.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let began = Instant::now();
    Arc::into_inner(edge).unwrap().stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "the edge waited for the watch");
}

#[tokio::test]
async fn an_edge_alone_has_no_node_to_move_first() {
    let edge = edge().with_app("shop", OLD).start().await;
    let options = DeployOptions { rollout: Rollout::OneFirst, ..DeployOptions::default() };
    let report = push(&edge, "prod", "", options, NEW).await.unwrap();
    let first = report.steps.iter().find(|step| step.name == "first").unwrap();
    assert_eq!((first.state, first.detail.as_str()), (StepState::Skipped, "no other node is there"));
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "new");
    edge.stop().await;
}
