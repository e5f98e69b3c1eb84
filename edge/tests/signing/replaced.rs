//! Replaced versions: without the required signatures, a replaced version serves no visitor, not even assets of open
//! pages.

use http::StatusCode;

use super::world::{APP, TWO, key, push, sign, signature, want, want_none};
use crate::support::{Files, RunningEdge, edge, eventually};

const OLD: Files<'static> = &[("index.html", b"one"), ("app-4f2a91bc.js", b"one()")];

/// Status of an asset of the first live version.
async fn asset(edge: &RunningEdge) -> StatusCode {
    edge.get("shop.localhost", "/app-4f2a91bc.js").await.status
}

#[tokio::test]
async fn an_unsigned_version_that_was_replaced_answers_nobody_once_signatures_are_wanted() {
    let edge = edge().with_app(APP, OLD).start().await;
    let one = edge.live(APP).await.unwrap();
    push(&edge, TWO, &[]).await.unwrap();
    assert_eq!(asset(&edge).await, StatusCode::OK);
    let ada = key("ada");
    want(&edge, &[&ada], 1).await;
    assert_eq!(asset(&edge).await, StatusCode::NOT_FOUND);
    // The signatures are checked after a restart, too.
    let edge = edge.restart().await;
    assert_eq!(asset(&edge).await, StatusCode::NOT_FOUND);
    sign(&edge, one, &signature(&ada, one)).await;
    eventually("the asset of a version that is signed", async || asset(&edge).await == StatusCode::OK).await;
    let bob = key("bob");
    want(&edge, &[&bob], 1).await;
    assert_eq!(asset(&edge).await, StatusCode::NOT_FOUND);
    want_none(&edge).await;
    eventually("the asset where no signature is wanted", async || asset(&edge).await == StatusCode::OK).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_live_version_without_signatures_answers_nobody_once_it_is_replaced() {
    let edge = edge().with_app(APP, OLD).start().await;
    let ada = key("ada");
    want(&edge, &[&ada], 1).await;
    assert_eq!(asset(&edge).await, StatusCode::OK);
    push(&edge, TWO, &[&ada]).await.unwrap();
    assert_eq!(asset(&edge).await, StatusCode::NOT_FOUND);
    edge.stop().await;
}
