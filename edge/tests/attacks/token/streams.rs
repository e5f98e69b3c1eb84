//! Deploy streams: the holder of one token leaves capacity to others.

use devanture_config::api::{BeginDeploy, DeployBegun, DeployOptions, Scope, Source};
use devanture_config::problem::Code;
use http::{Method, StatusCode};

use crate::support::{RunningEdge, edge, eventually, got, manifest};

/// Maximum streams of one token.
const STREAMS: usize = 32;

async fn follow(edge: &RunningEdge, token: &str, deploy: &str) -> reqwest::Response {
    let path = format!("/v1/apps/shop/deploys/{deploy}");
    edge.ask(Method::GET, &path, token).header("accept", "text/event-stream").send().await.unwrap()
}

#[tokio::test]
async fn one_token_follows_so_many_deploys_and_others_find_a_place() {
    let site: &[(&str, &[u8])] = &[("index.html", b"hi")];
    let edge = edge().with_app("shop", site).start().await;
    let files: &[(&str, &[u8])] = &[("index.html", b"never sent")];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options: DeployOptions::default() };
    let path = "/v1/apps/shop/environments/prod/deploys";
    let begun: DeployBegun = got(edge.api(Method::POST, path).json(&begin)).await.json();
    let greedy = edge.token_for(Scope::Read, None, None).await;
    let other = edge.token_for(Scope::Read, Some("shop"), None).await;
    let mut held = Vec::new();
    let refused = loop {
        let answer = follow(&edge, &greedy, &begun.deploy).await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        held.push(answer);
    };
    assert_eq!((held.len(), refused.status()), (STREAMS, StatusCode::TOO_MANY_REQUESTS));
    let path = format!("/v1/apps/shop/deploys/{}", begun.deploy);
    let refused = got(edge.ask(Method::GET, &path, &greedy).header("accept", "text/event-stream")).await;
    assert_eq!(refused.code(), Code::TooManyStreams);
    // Log streams share the limit, and streams with an end do not count.
    let logs = "/v1/apps/shop/environments/prod/logs";
    let refused = got(edge.ask(Method::GET, &format!("{logs}?tail"), &greedy)).await;
    assert_eq!(refused.code(), Code::TooManyStreams);
    assert_eq!(got(edge.ask(Method::GET, logs, &greedy)).await.status, StatusCode::OK);
    assert_eq!(got(edge.ask(Method::GET, &path, &greedy)).await.status, StatusCode::OK);
    let others = follow(&edge, &other, &begun.deploy).await;
    assert_eq!(others.status(), StatusCode::OK);
    held.pop();
    eventually("a place is free again", async || {
        follow(&edge, &greedy, &begun.deploy).await.status() == StatusCode::OK
    })
    .await;
    drop((held, others));
    edge.stop().await;
}
