//! API request bodies sent byte by byte, so that no pause is long, or never completed.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::{BeginDeploy, DeployBegun};
use devanture_config::problem::Code;
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};

use crate::support::{edge, got, manifest};

/// Pause between two bytes, a small part of the read timeout.
const PACE: Duration = Duration::from_millis(50);

/// Endless body of spaces, which JSON permits before the first value.
fn dripping() -> reqwest::Body {
    reqwest::Body::wrap_stream(stream::unfold((), |()| async {
        tokio::time::sleep(PACE).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
    }))
}

/// Body that starts and never continues, as over a connection broken in one direction.
fn stalled() -> reqwest::Body {
    let begin = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"ab")) });
    reqwest::Body::wrap_stream(begin.chain(stream::pending()))
}

#[tokio::test]
async fn a_body_that_stops_may_be_sent_again_and_is_no_wrong_request() {
    let edge = edge().with_limit("admin_body_idle_ms_max", 200).start().await;
    let manifest = manifest(&[("index.html", b"abcdef")]);
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    let begun = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/deploys").json(&begin)).await;
    let DeployBegun { deploy, missing, .. } = begun.json();
    let blob = edge.api(Method::PUT, &format!("/v1/apps/shop/blobs/{}?deploy={deploy}", missing[0]));
    let settings = edge.api(Method::PATCH, "/v1/apps/shop/environments/prod/settings");
    for request in [blob, settings.header("content-type", "application/json")] {
        let refused = got(request.body(stalled())).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::REQUEST_TIMEOUT, Code::BodyStalled));
        assert!(refused.problem().hint.unwrap().contains("admin_body_idle_ms_max"), "{}", refused.text());
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_does_not_hold_its_place_for_ever() {
    let edge = edge().with_limit("admin_body_ms_max", 500).with_limit("admin_body_idle_ms_max", 60_000).start().await;
    // A login needs no token.
    let login = edge.client().post(format!("https://localhost:{}/v1/login", edge.admin().port()));
    let refused = got(login.header("content-type", "application/json").body(dripping())).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::UNAUTHORIZED, Code::Unauthenticated));
    assert!(refused.text().contains("did not come within 500 ms"), "{}", refused.text());
    let set = edge.api(Method::PATCH, "/v1/apps/shop/environments/prod/settings");
    let token = edge.api(Method::POST, "/v1/tokens");
    for request in [set, token] {
        let refused = got(request.header("content-type", "application/json").body(dripping())).await;
        assert_eq!(refused.code(), Code::BodyStalled, "{}", refused.text());
        assert!(refused.problem().hint.unwrap().contains("admin_body_ms_max"), "{}", refused.text());
    }
    edge.stop().await;
}
