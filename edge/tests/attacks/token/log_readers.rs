//! Log streams: the holder of a token for one environment cannot block the readers of another environment.

use devanture_config::api::Scope;
use devanture_config::problem::Code;
use http::{Method, StatusCode};

use crate::support::{RunningEdge, edge, got};

/// Stream of an environment's log, open until drop.
async fn tail(edge: &RunningEdge, token: &str, environment: &str, source: &str) -> reqwest::Response {
    let path = format!("/v1/apps/shop/environments/{environment}/logs?tail&source={source}");
    edge.ask(Method::GET, &path, token).send().await.unwrap()
}

#[tokio::test]
async fn readers_of_one_environments_logs_leave_places_to_the_others() {
    let site: &[(&str, &[u8])] = &[("index.html", b"hi")];
    let edge = edge().with_runner().with_app("shop", site).start().await;
    let staging = edge.token_for(Scope::Read, Some("shop"), Some("staging")).await;
    let prod = edge.token_for(Scope::Read, Some("shop"), Some("prod")).await;
    for source in ["requests", "instances"] {
        let mut held = Vec::new();
        let refused = loop {
            let answer = tail(&edge, &staging, "staging", source).await;
            if answer.status() != StatusCode::OK {
                break answer;
            }
            held.push(answer);
        };
        assert_eq!(refused.status(), StatusCode::CONFLICT, "{source}");
        assert_eq!(held.len(), 4, "{source}: half of `log_readers_per_app_max`");
        let first = tail(&edge, &prod, "prod", source).await;
        assert_eq!(first.status(), StatusCode::OK, "{source}");
        let path = format!("/v1/apps/shop/environments/staging/logs?tail&source={source}");
        let refused = got(edge.ask(Method::GET, &path, &staging)).await;
        assert_eq!(refused.code(), Code::TooMany, "{source}");
        let hint = refused.problem().hint.unwrap();
        assert!(hint.contains("log_readers_per_app_max"), "{hint}");
    }
    edge.stop().await;
}
