//! Identity tokens with a valid signature and claims outside the trust.

use devanture_config::problem::Code;
use http::StatusCode;
use serde_json::{Value, json};

use super::issuer::now_s;
use super::world::{World, exchange, exchanged};

#[tokio::test]
async fn another_issuer_audience_or_claim_is_refused() {
    let world = World::start().await;
    for (claim, value) in [
        ("iss", json!("https://token.actions.githubusercontent.com")),
        ("iss", json!(format!("{}/", world.issuer.name()))),
        ("iss", json!([world.issuer.name()])),
        ("aud", json!("https://edge.example.org")),
        ("aud", json!(["https://other.example.org"])),
        ("aud", Value::Null),
        ("repository", json!("acme/shop2")),
        ("repository", json!("Acme/shop")),
        ("repository", json!(["acme/shop"])),
        ("repository", Value::Null),
        ("ref", json!("refs/heads/main/x")),
        ("ref", json!("refs/heads/other")),
        ("ref", json!("refs/tags/v")),
        ("ref", json!("refs/tags/v1/x")),
        ("ref", json!("refs/tags/*")),
    ] {
        world.is_refused(&world.signed(&world.with(claim, value.clone())), &format!("{claim} {value}")).await;
    }
    for (claim, value) in [
        ("ref", json!("refs/tags/v1.2")),
        ("aud", json!(["https://other.example.org", "https://edge.example.org:8444"])),
    ] {
        exchanged(&world.exchange(&world.signed(&world.with(claim, value))).await);
    }
    world.edge.stop().await;
}

#[tokio::test]
async fn another_app_or_environment_than_the_trusts_is_refused() {
    let world = World::start().await;
    for (app, environment) in [("blog", "prod"), ("shop", "preview"), ("shop", "production")] {
        let identity_token = world.signed(&world.claims());
        let body = json!({ "identity_token": identity_token, "app": app, "environment": environment });
        let answer = exchange(&world.edge, &body).await;
        assert_eq!(answer.code(), Code::BadIdentityToken, "{app} {environment}: {answer:?}");
        // A refused token counts as unused.
        exchanged(&world.exchange(&identity_token).await);
    }
    let body = json!({ "identity_token": world.signed(&world.claims()), "app": "shop", "environment": "staging" });
    assert_eq!(exchanged(&exchange(&world.edge, &body).await).environment.unwrap().as_str(), "staging");
    world.edge.stop().await;
}

#[tokio::test]
async fn an_identity_token_has_a_time() {
    let world = World::start().await;
    let now = now_s();
    for (claim, value) in [
        ("exp", json!(now - 120)),
        ("exp", json!(now + 8 * 86_400)),
        ("exp", json!("later")),
        ("exp", Value::Null),
        ("nbf", json!(now + 3_600)),
        ("iat", json!(now + 3_600)),
    ] {
        world.is_refused(&world.signed(&world.with(claim, value.clone())), &format!("{claim} {value}")).await;
    }
    let mut endless = world.claims();
    endless.as_object_mut().unwrap().remove("exp");
    world.is_refused(&world.signed(&endless), "no end").await;
    world.edge.stop().await;
}

#[tokio::test]
async fn refusals_count_by_address_and_exchanges_do_not() {
    let world = World::start_with("EdDSA", |setup| setup.with_limit("login_attempts_per_address_max", 3)).await;
    for _ in 0..6 {
        world.is_exchanged().await;
    }
    for number in 0..3 {
        world.is_refused("a.b.c", &format!("the attempt {number}")).await;
    }
    let limited = world.exchange(&world.signed(&world.claims())).await;
    assert_eq!((limited.status, limited.code()), (StatusCode::TOO_MANY_REQUESTS, Code::TooManyAttempts));
    assert!(limited.problem().retry_after_s.is_some(), "{limited:?}");
    world.edge.stop().await;
}
