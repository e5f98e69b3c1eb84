//! A temporarily wrong clock: no object is ended for good, and caches still notice each switch.

use http::Method;
use serde_json::{Value, json};

use crate::support::clock::Clock;
use crate::support::{RunningEdge, edge, got};
use crate::wire::{Protocol, ask};

/// Leap ahead in seconds. Certificates are backdated by a day, so that certificates of the leap are valid for the test.
const AHEAD_S: u64 = 20 * 3_600;

/// Collects, and checks that no object ends.
async fn collect_nothing(edge: &RunningEdge) {
    let collected = got(edge.api(Method::POST, "/v1/gc")).await;
    assert_eq!(collected.status, 200, "{}", collected.text());
    let report: Value = collected.json();
    assert_eq!(report["apps"], json!([]), "{report}");
}

/// In a running edge, and at a start with a fast clock.
#[tokio::test]
async fn what_a_clock_that_is_ahead_would_end_is_there_when_it_is_right_again() {
    let Some(clock) = Clock::new() else { return };
    let kept = "[retention]\nundelete_hours = 10\ncollect_every_s = 0";
    let edge = clock.on(edge().with_toml(kept)).start().await;
    edge.push("blog", &[("index.html", b"blog")]).await;
    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/blog")).await.status, 200);
    collect_nothing(&edge).await;

    clock.set(AHEAD_S);
    collect_nothing(&edge).await;
    let edge = edge.restart().await;
    collect_nothing(&edge).await;
    clock.set(0);
    collect_nothing(&edge).await;
    assert_eq!(got(edge.api(Method::POST, "/v1/apps/blog/undelete").json(&json!({}))).await.status, 200);
    assert_eq!(edge.get("blog.localhost", "/").await.text(), "blog");
    edge.stop().await;
}

#[tokio::test]
async fn a_switch_after_one_by_a_clock_that_was_ahead_is_seen_by_who_has_that_one() {
    let Some(clock) = Clock::new() else { return };
    let edge = clock.on(edge()).start().await;
    clock.set(AHEAD_S);
    edge.push("shop", &[("index.html", b"one")]).await;
    let one = ask("/").send(&edge, Protocol::Http1).await;
    clock.set(0);
    let have = format!("If-Modified-Since: {}", one.header("last-modified"));
    let moment = |text: String| httpdate::parse_http_date(&text).unwrap();
    for text in ["two", "three"] {
        edge.push("shop", &[("index.html", text.as_bytes())]).await;
        let next = ask("/").with_lines(&[have.as_str()]).send(&edge, Protocol::Http1).await;
        assert_eq!((next.status, next.text().as_str()), (200, text));
        assert!(moment(next.header("last-modified")) <= moment(next.header("date")), "of a time to come");
    }
    edge.stop().await;
}
