//! Runs on request: outcome, leftovers, and the end of the edge.

use devanture_config::api::RunOutcome;
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{APP, backend, begin, is_running, lines, outcome, push, request, script, script_with, status};
use crate::support::{RunningEdge, edge, eventually, got};

/// Far from now.
const NEVER: &str = "0 0 29 feb *";

/// Number of seconds that no other test sleeps for.
fn seconds() -> String {
    (1_000_000_000 + u64::from(rand::random::<u32>())).to_string()
}

async fn start(schedules: &Value) -> RunningEdge {
    let edge = edge().with_runner().start().await;
    push(&edge, &backend("one", schedules)).await;
    edge
}

#[tokio::test]
async fn a_run_ends_as_its_command_does_and_leaves_nothing_behind() {
    let (forked, flood) = (seconds(), "yes 0123456789 | head -c 20000000");
    let edge = start(&json!({
        "good": script(NEVER, "echo hello from $DEVANTURE_INSTANCE in $DEVANTURE_ENVIRONMENT"),
        "bad": script(NEVER, "echo no >&2; exit 3"),
        "missing": { "cron": NEVER, "command": ["no-such-program"] },
        "forks": script_with(NEVER, &format!("setsid sleep {forked} & setsid sleep {forked}"), &json!({ "timeout_ms": 1_500 })),
        "leaves": script(NEVER, &format!("setsid sleep {forked} & echo left")),
        "flood": script(NEVER, flood),
    }))
    .await;
    for (name, expected) in [
        ("good", (RunOutcome::Succeeded, Some(0))),
        ("bad", (RunOutcome::Failed, Some(3))),
        ("missing", (RunOutcome::Failed, None)),
        ("forks", (RunOutcome::TimedOut, None)),
        ("leaves", (RunOutcome::Succeeded, Some(0))),
    ] {
        let begun = begin(&edge, name).await;
        assert_eq!(outcome(&edge, &begun).await, expected, "{name}");
        eventually("nothing of it is left", async || !is_running(&forked)).await;
    }
    assert_eq!(lines(&edge, "good").await, ["hello from schedule.good in prod"]);
    assert_eq!(lines(&edge, "bad").await, ["no", "exited with code 3"]);
    assert!(status(&edge, "missing").await.last.unwrap().detail.unwrap().contains("no-such-program"));
    assert_eq!(request(&edge, "other").await.code(), Code::NotFound);
    let answer = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/schedules/bad/run?dry_run=true")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(lines(&edge, "bad").await.len(), 2, "nothing ran");
    // The output displaces older lines of the environment.
    let begun = begin(&edge, "flood").await;
    assert_eq!(outcome(&edge, &begun).await, (RunOutcome::Succeeded, Some(0)));
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    assert!(metrics.lines().any(|line| {
        line.starts_with("devanture_schedule_runs_total") && line.contains("timed-out") && line.ends_with(" 1")
    }));
    edge.stop().await;
}

#[tokio::test]
async fn a_run_whose_time_is_over_is_asked_to_end_before_it_is_killed() {
    let long = seconds();
    // Some shells report on standard error which signal ended their children.
    let asked = "exec 2>/dev/null; trap 'echo asked; echo done; exit' TERM; while :; do sleep 0.01; done";
    let deaf = format!("exec 2>/dev/null; trap '' TERM; while :; do sleep {long}; done");
    let limited = json!({ "timeout_ms": 2_000 });
    let schedules =
        json!({ "asked": script_with(NEVER, asked, &limited), "deaf": script_with(NEVER, &deaf, &limited) });
    let edge = edge().with_runner().start().await;
    push(&edge, &backend("one", &schedules).with("stop_ms", 300)).await;
    let begun = [begin(&edge, "asked").await, begin(&edge, "deaf").await];
    for one in &begun {
        assert_eq!(outcome(&edge, one).await, (RunOutcome::TimedOut, None), "{}", one.name);
    }
    let over = "was not done within 2000 ms, and was ended";
    assert_eq!(lines(&edge, "asked").await, ["asked", "done", over]);
    assert_eq!(lines(&edge, "deaf").await, [over]);
    eventually("what does not end is killed", async || !is_running(&long)).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_run_whose_edge_ends_is_asked_to_end() {
    let long = seconds();
    let waits = format!("trap 'touch $DEVANTURE_DATA/asked; exit' TERM; sleep {long} & wait");
    let schedules = json!({ "waits": script(NEVER, &waits), "asked": script(NEVER, "rm $DEVANTURE_DATA/asked") });
    let mut edge = edge().with_runner().with_toml("[drain]\ndeploys_ms = 100").start().await;
    push(&edge, &backend("one", &schedules)).await;
    for end in ["takeover", "restart"] {
        let begun = begin(&edge, "waits").await;
        eventually("it waits", async || is_running(&long)).await;
        edge = if end == "takeover" { edge.taken_over().await } else { edge.restart().await };
        assert_eq!(outcome(&edge, &begun).await, (RunOutcome::Interrupted, None), "{end}");
        let asked = begin(&edge, "asked").await;
        assert_eq!(outcome(&edge, &asked).await, (RunOutcome::Succeeded, Some(0)), "{end}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn one_run_of_a_schedule_and_two_of_an_app_are_under_way_at_most() {
    let long = seconds();
    let sleep = format!("sleep {long}");
    let edge = start(&json!({
        "one": script(NEVER, &sleep),
        "both": script_with(NEVER, &sleep, &json!({ "overlap": true })),
        "other": script(NEVER, "true"),
    }))
    .await;
    begin(&edge, "one").await;
    assert_eq!(request(&edge, "one").await.code(), Code::Busy);
    begin(&edge, "both").await;
    for beyond in ["both", "other"] {
        assert_eq!(request(&edge, beyond).await.code(), Code::Busy, "{beyond}");
    }
    // The deletion of an environment ends the runs.
    let deleted = got(edge.api(Method::DELETE, &format!("/v1/apps/{APP}/environments/prod"))).await;
    assert!(deleted.status.is_success(), "{}", deleted.text());
    eventually("its runs are ended", async || !is_running(&long)).await;
    edge.stop().await;
}

#[tokio::test]
async fn schedules_that_overlap_run_beside_themselves() {
    let wait = "until [ -e $DEVANTURE_DATA/go ]; do sleep 0.05; done; echo went";
    let edge = start(&json!({
        "both": script_with(NEVER, wait, &json!({ "overlap": true })),
        "go": script(NEVER, "touch $DEVANTURE_DATA/go"),
    }))
    .await;
    begin(&edge, "both").await;
    let second = begin(&edge, "both").await;
    assert_eq!(second.running.len(), 2, "{second:?}");
    assert_eq!(request(&edge, "go").await.code(), Code::Busy, "as many of the app run as may");
    edge.stop().await;
}

#[tokio::test]
async fn a_run_under_way_at_a_switch_ends_in_the_folder_of_its_own_version() {
    let wait = "until [ -e $DEVANTURE_DATA/go ]; do sleep 0.05; done; cat name.txt";
    let schedules = json!({ "waits": script(NEVER, wait), "go": script(NEVER, "touch $DEVANTURE_DATA/go") });
    let edge = edge().with_runner().start().await;
    let of = |name: &str| backend(name, &schedules).with_file("name.txt", name, false);
    let first = push(&edge, &of("one")).await;
    let waits = begin(&edge, "waits").await;
    push(&edge, &of("two")).await;
    let go = begin(&edge, "go").await;
    assert_eq!(outcome(&edge, &go).await, (RunOutcome::Succeeded, Some(0)));
    assert_eq!(outcome(&edge, &waits).await, (RunOutcome::Succeeded, Some(0)));
    assert_eq!(lines(&edge, "waits").await, ["one"]);
    assert_eq!(waits.running[0].version, first.version);
    edge.stop().await;
}

#[tokio::test]
async fn a_run_whose_edge_ends_is_interrupted_however_it_ends() {
    let long = seconds();
    let schedules = json!({ "long": script(NEVER, &format!("sleep {long}")), "short": script(NEVER, "true") });
    let mut edge = edge().with_runner().with_toml("[drain]\ndeploys_ms = 100").start().await;
    push(&edge, &backend("one", &schedules)).await;
    for end in ["kill", "takeover", "restart"] {
        let begun = begin(&edge, "long").await;
        edge = match end {
            "kill" => edge.killed_and_started().await,
            "takeover" => edge.taken_over().await,
            _ => edge.restart().await,
        };
        assert_eq!(outcome(&edge, &begun).await, (RunOutcome::Interrupted, None), "{end}");
        eventually("nothing of it is left", async || !is_running(&long)).await;
        let short = begin(&edge, "short").await;
        assert_eq!(outcome(&edge, &short).await, (RunOutcome::Succeeded, Some(0)), "{end}");
    }
    edge.stop().await;
}
