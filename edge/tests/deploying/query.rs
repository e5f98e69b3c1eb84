//! Query parameters of a push by manifest.

use devanture_config::api::{BeginDeploy, DeployBegun, DeployReport, Outcome};
use devanture_config::problem::Code;
use http::{Method, StatusCode};

use super::gate::history;
use crate::support::{Files, Got, RunningEdge, edge, got, manifest};

const ONE: Files<'static> = &[("index.html", b"one")];

/// Starts a push of one page with a query.
async fn begin(edge: &RunningEdge, query: &str, page: &'static [u8]) -> Got {
    let manifest = manifest(&[("index.html", page)]);
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    got(edge.api(Method::POST, &format!("/v1/apps/shop/environments/prod/deploys?{query}")).json(&begin)).await
}

/// Pushes one page with a query.
async fn push(edge: &RunningEdge, query: &str, page: &'static [u8]) -> DeployReport {
    let begun: DeployBegun = begin(edge, query, page).await.json();
    for digest in &begun.missing {
        let path = format!("/v1/apps/shop/blobs/{digest}?deploy={}", begun.deploy);
        assert_eq!(got(edge.api(Method::PUT, &path).body(page)).await.status, StatusCode::NO_CONTENT);
    }
    got(edge.api(Method::POST, &format!("/v1/apps/shop/deploys/{}/finish", begun.deploy))).await.json()
}

#[tokio::test]
async fn the_options_of_a_push_by_manifest_may_stand_in_its_query() {
    let edge = edge().with_app("shop", ONE).start().await;
    let live = edge.live("shop").await.unwrap();
    let stored = push(&edge, "no_switch=true&reason=to+look+at&branch=main", b"two").await;
    assert_eq!((stored.switched, edge.live("shop").await), (false, Some(live)));
    let newest = history(&edge, "prod").await.deploys.remove(0);
    assert_eq!((newest.version, newest.outcome), (stored.version, Outcome::Stored));
    assert_eq!((newest.reason.as_deref(), newest.source.branch.as_deref()), (Some("to look at"), Some("main")));
    let aliased = push(&edge, "alias=feature", b"three").await;
    assert_eq!(aliased.alias.unwrap().name.as_str(), "feature");
    assert_eq!((aliased.switched, edge.live("shop").await), (false, Some(live)));
    // Each parameter is validated like the member of a body.
    assert_eq!(begin(&edge, "with=4f2a91", b"four").await.code(), Code::BadRequest);
    assert_eq!(begin(&edge, "reason=one%0Atwo", b"four").await.code(), Code::BadRequest);
    // A half bundle is combined with the other half of the live version.
    let half: DeployBegun = begin(&edge, "only=front", b"four").await.json();
    assert_eq!(half.with, Some(live));
    edge.stop().await;
}
