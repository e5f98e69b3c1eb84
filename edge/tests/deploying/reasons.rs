//! Reasons of a switch: given with a push, a switch, a rollback or a promotion, and stored in the history.

use devanture_config::api::{DeployKind, DeployOptions, Outcome};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::gate::{history, post, push};
use crate::support::archives::archive;
use crate::support::{edge, got};

const FIRST: &[(&str, &[u8])] = &[("index.html", b"first")];
const SECOND: &[(&str, &[u8])] = &[("index.html", b"second")];

#[tokio::test]
async fn the_history_keeps_why_something_went_live_or_failed_to() {
    let edge = edge().start().await;
    let because = |reason: &str| DeployOptions { reason: Some(reason.to_owned()), ..DeployOptions::default() };
    let first = push(&edge, "prod", "", because("the first one"), FIRST).await.unwrap().version;
    let second = push(&edge, "prod", "", DeployOptions::default(), SECOND).await.unwrap().version;
    let failing = "[[smoke]]\npath = \"/no\"\n";
    push(&edge, "prod", failing, because("nobody knows"), FIRST).await.unwrap_err();
    let back = post(&edge, "prod/rollback", json!({ "reason": "Prices were wrong. \u{202e} <b>" })).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text());
    let forth = post(&edge, "prod/switch", json!({ "version": second, "reason": "It was the cache" })).await;
    assert_eq!(forth.status, StatusCode::OK, "{}", forth.text());
    let found: Vec<_> = history(&edge, "prod").await.deploys;
    let found: Vec<_> = found.iter().map(|deploy| (deploy.kind, deploy.outcome, deploy.reason.as_deref())).collect();
    assert_eq!(
        found,
        [
            (DeployKind::Switch, Outcome::Live, Some("It was the cache")),
            (DeployKind::Rollback, Outcome::Live, Some("Prices were wrong. \u{202e} <b>")),
            (DeployKind::Push, Outcome::Failed, Some("nobody knows")),
            (DeployKind::Push, Outcome::Live, None),
            (DeployKind::Push, Outcome::Live, Some("the first one")),
        ]
    );
    let promoted = post(&edge, "staging/promote", json!({ "from": "prod", "reason": "To look at it" })).await;
    assert_eq!(promoted.status, StatusCode::OK, "{}", promoted.text());
    assert_eq!(history(&edge, "staging").await.deploys[0].reason.as_deref(), Some("To look at it"));
    assert_ne!(first, second);
    edge.stop().await;
}

#[tokio::test]
async fn a_reason_comes_with_an_archive_and_has_a_bound() {
    let edge = edge().start().await;
    let deploys = "/v1/apps/shop/environments/prod/deploys";
    let pushed =
        edge.api(Method::POST, &format!("{deploys}?reason=as+an+archive")).header("content-type", "application/zip");
    assert_eq!(got(pushed.body(archive("zip", FIRST))).await.status, StatusCode::OK);
    let longest = "ü".repeat(500);
    push(&edge, "prod", "", DeployOptions { reason: Some(longest.clone()), ..DeployOptions::default() }, SECOND)
        .await
        .unwrap();
    for reason in [format!("{longest}x"), "two\nlines".to_owned(), "a \u{1b}[31m colour".to_owned()] {
        let options = DeployOptions { reason: Some(reason.clone()), ..DeployOptions::default() };
        assert_eq!(push(&edge, "prod", "", options, FIRST).await.unwrap_err().code, Code::BadRequest, "{reason:?}");
        for operation in ["prod/rollback", "prod/switch", "staging/promote"] {
            let body = match operation {
                "prod/switch" => json!({ "version": "abcdef", "reason": reason }),
                "staging/promote" => json!({ "from": "prod", "reason": reason }),
                _ => json!({ "reason": reason }),
            };
            assert_eq!(post(&edge, operation, body).await.code(), Code::BadRequest, "{operation} {reason:?}");
        }
    }
    let reasons: Vec<_> = history(&edge, "prod").await.deploys.into_iter().map(|deploy| deploy.reason).collect();
    assert_eq!(reasons, [Some(longest), Some("as an archive".to_owned())]);
    edge.stop().await;
}
