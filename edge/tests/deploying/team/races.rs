//! Concurrent pushes to one environment and to one alias: one wins, files never mix, and at least one push succeeds.

use devanture_config::api::{DeployBegun, DeployOptions, DeployReport};
use devanture_config::problem::{Code, Problem};
use futures_util::future::join_all;

use super::{finish, ready};
use crate::support::{RunningEdge, edge};

/// Number of concurrent pushes.
const PUSHES: usize = 6;

/// Starts pushes one after another and finishes all at once; returns the results in starting order.
async fn race(
    edge: &RunningEdge,
    environment: &str,
    options: impl Fn(usize) -> DeployOptions,
    text: &str,
) -> Vec<(DeployBegun, Result<DeployReport, Box<Problem>>)> {
    let mut begun = Vec::new();
    for number in 0..PUSHES {
        begun.push(ready(edge, environment, options(number), &format!("{text} {number}")).await);
    }
    let ends = join_all(begun.iter().map(|begun| finish(edge, &begun.deploy))).await;
    begun.into_iter().zip(ends).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pushes_at_once_the_one_that_began_last_is_live_in_the_end() {
    let edge = edge().with_app("shop", &[("index.html", b"before")]).start().await;
    for round in 0..5 {
        let ended = race(&edge, "prod", |_| DeployOptions::default(), &format!("round {round}")).await;
        let (last, end) = ended.last().unwrap();
        assert!(end.as_ref().unwrap().switched, "the newest is never refused");
        assert_eq!(edge.live("shop").await, Some(last.version));
        for (_, end) in &ended {
            match end {
                Ok(report) => assert!(report.switched),
                Err(problem) => assert_eq!(problem.code, Code::Superseded),
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pushes_at_once_to_an_alias_the_one_that_began_last_has_it_in_the_end() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let to_alias = |_| DeployOptions { alias: Some("feature-x".parse().unwrap()), ..DeployOptions::default() };
    for round in 0..5 {
        let text = format!("round {round}");
        let ended = race(&edge, "preview", to_alias, &text).await;
        assert!(ended.last().unwrap().1.is_ok(), "the newest is never refused");
        let page = edge.get("feature-x--shop.localhost", "/").await;
        assert_eq!(page.text(), format!("{text} {}", PUSHES - 1));
        for (_, end) in &ended {
            assert!(end.as_ref().map_or_else(|problem| problem.code == Code::Superseded, |report| !report.switched));
        }
    }
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "live");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pushes_at_once_that_expect_the_same_version_one_goes_live() {
    let edge = edge().with_app("shop", &[("index.html", b"before")]).start().await;
    for round in 0..5 {
        let live = edge.live("shop").await.unwrap().to_string();
        let options = |_| DeployOptions { if_live: Some(live.clone()), ..DeployOptions::default() };
        let ended = race(&edge, "prod", options, &format!("round {round}")).await;
        let won: Vec<_> = ended.iter().filter(|(_, end)| end.is_ok()).collect();
        assert_eq!(won.len(), 1);
        assert_eq!(edge.live("shop").await, Some(won[0].0.version));
        let lost = ended.iter().filter_map(|(_, end)| end.as_ref().err());
        lost.for_each(|problem| assert_eq!(problem.code, Code::LiveMoved));
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_push_that_is_forced_goes_live_after_a_newer_one() {
    let edge = edge().with_app("shop", &[("index.html", b"before")]).start().await;
    let options = |number: usize| DeployOptions { force: number == 0, ..DeployOptions::default() };
    let older = ready(&edge, "prod", options(0), "older").await;
    let newer = ready(&edge, "prod", options(1), "newer").await;
    finish(&edge, &newer.deploy).await.unwrap();
    assert!(finish(&edge, &older.deploy).await.unwrap().switched);
    assert_eq!(edge.live("shop").await, Some(older.version));
    edge.stop().await;
}
