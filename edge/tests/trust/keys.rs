//! Keys of an issuer: fetched, rotated, missing, and invalid responses in place of a key list.

use devanture_config::problem::Code;
use http::StatusCode;
use serde_json::json;

use super::issuer::{Answer, Issuer, SigningKey, token};
use super::world::{World, exchanged};
use crate::support::{Got, eventually};

async fn by(world: &World, key: &SigningKey, id: &str) -> Got {
    let header = json!({ "alg": "EdDSA", "kid": id });
    world.exchange(&token(&header, &world.claims(), |bytes| key.sign("EdDSA", bytes))).await
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_ends() {
    let world = World::start().await;
    world.is_exchanged().await;
    let next = SigningKey::new("EdDSA");
    assert_eq!(by(&world, &next, "k2").await.code(), Code::BadIdentityToken, "nobody published it");
    world.issuer.publish(&[("k2", &next)]);
    eventually("the new key is known", async || by(&world, &next, "k2").await.status == StatusCode::CREATED).await;
    let old = by(&world, &world.key, "k1").await;
    assert_eq!(old.code(), Code::BadIdentityToken, "the issuer has taken it back: {old:?}");
    world.edge.stop().await;
}

#[tokio::test]
async fn unknown_keys_make_no_storm_of_requests() {
    let world = World::start_with("EdDSA", |setup| setup.with_limit("identity_fetch_pause_ms_min", 3_600_000)).await;
    world.is_exchanged().await;
    let stranger = SigningKey::new("EdDSA");
    for number in 0..20 {
        assert_eq!(by(&world, &stranger, &format!("x{number}")).await.code(), Code::BadIdentityToken);
    }
    assert_eq!(world.issuer.lists(), 1);
    world.edge.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_down_is_said_and_keys_at_hand_go_on() {
    let world = World::start().await;
    world.issuer.answer_discovery(Answer::Status(503));
    let down = world.exchange(&world.signed(&world.claims())).await;
    assert_eq!((down.status, down.code()), (StatusCode::SERVICE_UNAVAILABLE, Code::IdentityKeysUnavailable));
    assert!(down.problem().retry_after_s.is_some() && !down.header("retry-after").is_empty(), "{down:?}");
    world.issuer.answer_discovery(None);
    let good = world.signed(&world.claims());
    eventually("it is up again", async || world.exchange(&good).await.status == StatusCode::CREATED).await;
    // From now on the issuer never answers.
    world.issuer.answer_discovery(Answer::Silence);
    world.is_exchanged().await;
    let next = SigningKey::new("EdDSA");
    eventually("a key that cannot be looked up is not refused", async || {
        by(&world, &next, "k2").await.code() == Code::IdentityKeysUnavailable
    })
    .await;
    world.is_exchanged().await;
    world.edge.stop().await;
}

#[tokio::test]
async fn what_is_no_list_of_keys_of_this_issuer_is_not_taken() {
    let world = World::start_with("EdDSA", |setup| {
        setup.with_limit("identity_keys_bytes_max", 4_096).with_limit("identity_keys_max", 3)
    })
    .await;
    let key = world.key.jwk("k1");
    let elsewhere = Issuer::start(&[("k1", &world.key)]).await;
    let document = |issuer: &str, keys: &str| Answer::Body(json!({ "issuer": issuer, "jwks_uri": keys }).to_string());
    let (name, keys) = (world.issuer.name(), format!("{}/keys", world.issuer.name()));
    let padded = json!({ "keys": [key], "padding": "a".repeat(4_096) }).to_string();
    for (discovery, list, what) in [
        (None, Some(Answer::Body(padded)), "a huge list"),
        (None, Some(Answer::Body(json!({ "keys": [key, {}, {}, {}] }).to_string())), "too many keys"),
        (None, Some(Answer::Body("[]".to_owned())), "no list"),
        (None, Some(Answer::Body("<html>".to_owned())), "a page"),
        (None, Some(Answer::Redirect(format!("{name}/elsewhere"))), "a redirect of the keys"),
        (Some(Answer::Redirect(format!("{}/.well-known/openid-configuration", elsewhere.name()))), None, "a redirect"),
        (Some(document(&elsewhere.name(), &keys)), None, "a document of another issuer"),
        (Some(document(&format!("{name}/"), &keys)), None, "nearly the same issuer"),
        (Some(document(&name, "http://192.0.2.1/keys")), None, "keys over plain HTTP"),
        (Some(document(&name, "file:///etc/passwd")), None, "a file"),
        (Some(Answer::Body("{}".to_owned())), None, "an empty document"),
        (Some(Answer::Silence), None, "silence"),
    ] {
        world.issuer.answer_discovery(discovery);
        world.issuer.answer_list(list);
        let answer = world.exchange(&world.signed(&world.claims())).await;
        assert_eq!(answer.code(), Code::IdentityKeysUnavailable, "{what}: {answer:?}");
        // The next round fetches again.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    world.issuer.answer_discovery(None);
    world.issuer.answer_list(None);
    let good = world.signed(&world.claims());
    eventually("its own list is taken", async || world.exchange(&good).await.status == StatusCode::CREATED).await;
    assert_eq!(elsewhere.lists(), 0, "a redirect was followed");
    exchanged(&world.exchange(&world.signed(&world.claims())).await);
    world.edge.stop().await;
}
