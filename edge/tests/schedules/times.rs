//! Schedule times, by a test clock.

use devanture_config::api::{RunOutcome, SkipReason};
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{APP, backend, lines, list, push, ran_for, script, script_with, status};
use crate::support::clock::Clock;
use crate::support::{edge, eventually, got};

const HOUR_S: u64 = 3_600;
const HOUR_MS: u64 = HOUR_S * 1_000;

/// Daily schedule at an hour in UTC.
fn daily(hour: u64) -> String {
    format!("0 {hour} * * *")
}

#[tokio::test]
async fn a_time_runs_once_and_what_was_missed_is_made_up_for_as_the_schedule_says() {
    let Some(clock) = Clock::new() else { return };
    // The certificate is valid at the current time.
    let hour = Clock::hour_far_from_now();
    let edge = clock.on(edge().with_runner()).start().await;
    let digest = json!({
        "digest": script(&daily(hour), "echo ran"),
        "strict": script_with(&daily(hour), "echo ran", &json!({ "missed": "skip" })),
    });
    push(&edge, &backend("one", &digest)).await;
    let due_ms = clock.set_to(1, hour * HOUR_S + 5) + hour * HOUR_MS;
    for name in ["digest", "strict"] {
        ran_for(&edge, name, due_ms).await;
        let status = status(&edge, name).await;
        assert_eq!(status.last.unwrap().outcome, RunOutcome::Succeeded);
        assert_eq!(status.next_ms, Some(due_ms + 24 * HOUR_MS));
    }

    // The machine sleeps for some days.
    let last = clock.set_to(5, hour * HOUR_S + 600) + hour * HOUR_MS;
    ran_for(&edge, "digest", last).await;
    eventually("what was missed is passed over", async || status(&edge, "strict").await.skipped.is_some()).await;
    let skipped = status(&edge, "strict").await.skipped.unwrap();
    assert_eq!((skipped.due_ms, skipped.reason), (last, SkipReason::Missed));

    // A clock set back and forth repeats no run.
    clock.set_to(5, hour * HOUR_S - 600);
    clock.set_to(6, hour * HOUR_S + 5);
    for name in ["digest", "strict"] {
        ran_for(&edge, name, last + 24 * HOUR_MS).await;
    }
    assert_eq!(lines(&edge, "digest").await, ["ran"; 3]);
    assert_eq!(lines(&edge, "strict").await, ["ran"; 2]);
    edge.stop().await;
}

#[tokio::test]
async fn times_follow_what_is_live_and_stop_for_a_pause() {
    let Some(clock) = Clock::new() else { return };
    let hour = Clock::hour_far_from_now();
    let edge = clock.on(edge().with_runner()).start().await;
    push(&edge, &backend("one", &json!({ "digest": script(&daily(hour), "echo one") }))).await;
    let two = push(&edge, &backend("two", &json!({ "report": script(&daily(hour), "echo two") }))).await;
    let preview = format!("/v1/apps/{APP}/aliases/feature");
    let aliased = got(edge.api(Method::PUT, &preview).json(&json!({ "version": two.version.to_string() }))).await;
    assert!(aliased.status.is_success(), "{}", aliased.text());
    let names = async || list(&edge).await.schedules.iter().map(|one| one.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names().await, ["report"]);
    let due_ms = clock.set_to(1, hour * HOUR_S + 5) + hour * HOUR_MS;
    ran_for(&edge, "report", due_ms).await;
    assert_eq!(lines(&edge, "digest").await, Vec::<String>::new());

    // After the return, runs missed meanwhile are not repeated.
    let place = format!("/v1/apps/{APP}/environments/prod");
    let post = async |operation: &str| {
        let answer = got(edge.api(Method::POST, &format!("{place}/{operation}")).json(&json!({}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    };
    post("rollback").await;
    assert_eq!(names().await, ["digest"]);

    // No run begins during a pause; afterwards, one run stands for all missed runs.
    post("pause").await;
    assert!(list(&edge).await.paused);
    let due_ms = clock.set_to(3, hour * HOUR_S + 5) + hour * HOUR_MS;
    assert!(status(&edge, "digest").await.last.is_none());
    post("resume").await;
    ran_for(&edge, "digest", due_ms).await;
    assert_eq!(lines(&edge, "digest").await, ["one"]);
    assert_eq!(lines(&edge, "report").await, ["two"], "neither the alias nor the version before ran it");
    edge.stop().await;
}
