//! Times of schedules, by a clock that the tests set.

use devanture_config::api::{RunOutcome, SkipReason};
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{APP, backend, lines, list, push, ran_for, script, script_with, status};
use crate::support::clock::Clock;
use crate::support::{edge, eventually, got};

const HOUR_S: u64 = 3_600;
const HOUR_MS: u64 = HOUR_S * 1_000;

#[tokio::test]
async fn a_time_runs_once_and_what_was_missed_is_made_up_for_as_the_schedule_says() {
    let Some(clock) = Clock::new() else { return };
    clock.set_to(1, 7 * HOUR_S);
    let mut edge = clock.on(edge().with_runner()).start().await;
    let digest = json!({
        "digest": script("0 8 * * *", "echo ran"),
        "strict": script_with("0 8 * * *", "echo ran", &json!({ "missed": "skip" })),
    });
    push(&edge, &backend("one", &digest)).await;
    let eight = clock.set_to(1, 8 * HOUR_S + 5) + 8 * HOUR_MS;
    for name in ["digest", "strict"] {
        ran_for(&edge, name, eight).await;
        let status = status(&edge, name).await;
        assert_eq!(status.last.unwrap().outcome, RunOutcome::Succeeded);
        assert_eq!(status.next_ms, Some(eight + 24 * HOUR_MS));
    }

    // No edge runs for some days.
    let launch = edge.kill();
    let midnight = clock.set_to(5, 12 * HOUR_S);
    edge = edge.started_again(launch).await;
    let last = midnight + 8 * HOUR_MS;
    ran_for(&edge, "digest", last).await;
    eventually("what was missed is passed over", async || status(&edge, "strict").await.skipped.is_some()).await;
    let skipped = status(&edge, "strict").await.skipped.unwrap();
    assert_eq!((skipped.due_ms, skipped.reason), (last, SkipReason::Missed));

    // A clock that is set back for a while, and on again, repeats nothing.
    clock.set_to(5, 7 * HOUR_S + 1_800);
    clock.set_to(6, 8 * HOUR_S + 5);
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
    clock.set_to(1, 7 * HOUR_S);
    let edge = clock.on(edge().with_runner()).start().await;
    push(&edge, &backend("one", &json!({ "digest": script("0 8 * * *", "echo one") }))).await;
    let two = push(&edge, &backend("two", &json!({ "report": script("0 9 * * *", "echo two") }))).await;
    let preview = format!("/v1/apps/{APP}/aliases/feature");
    let aliased = got(edge.api(Method::PUT, &preview).json(&json!({ "version": two.version.to_string() }))).await;
    assert!(aliased.status.is_success(), "{}", aliased.text());
    let names = async || list(&edge).await.schedules.iter().map(|one| one.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names().await, ["report"]);
    let nine = clock.set_to(1, 9 * HOUR_S + 5) + 9 * HOUR_MS;
    ran_for(&edge, "report", nine).await;
    assert_eq!(lines(&edge, "digest").await, Vec::<String>::new());

    // Back: what would have run meanwhile is not made up for.
    let place = format!("/v1/apps/{APP}/environments/prod");
    let post = async |operation: &str| {
        let answer = got(edge.api(Method::POST, &format!("{place}/{operation}")).json(&json!({}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    };
    post("rollback").await;
    assert_eq!(names().await, ["digest"]);

    // Nothing begins during a pause; after it, one run stands for all.
    post("pause").await;
    assert!(list(&edge).await.paused);
    let eight = clock.set_to(3, 8 * HOUR_S + 5) + 8 * HOUR_MS;
    assert!(status(&edge, "digest").await.last.is_none());
    post("resume").await;
    ran_for(&edge, "digest", eight).await;
    assert_eq!(lines(&edge, "digest").await, ["one"]);
    assert_eq!(lines(&edge, "report").await, ["two"], "neither the alias nor the version before ran it");
    edge.stop().await;
}
