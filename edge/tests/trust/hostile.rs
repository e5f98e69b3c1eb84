//! Identity tokens without a signature, or signed by a key other than the issuer's.

use aws_lc_rs::hmac;
use devanture_config::problem::Code;
use http::StatusCode;
use serde_json::{Value, json};

use super::issuer::{Issuer, SigningKey, token};
use super::world::{World, claims, exchange, exchanged};
use crate::support::authenticator::text;
use crate::support::edge;

#[tokio::test]
async fn every_algorithm_of_the_list_is_taken_with_its_own_kind_of_key_alone() {
    let algorithms = ["EdDSA", "ES256", "PS256", "RS256"];
    let keys: Vec<SigningKey> = algorithms.iter().map(|algorithm| SigningKey::new(algorithm)).collect();
    let published: Vec<(&str, &SigningKey)> = algorithms.into_iter().zip(&keys).collect();
    let issuer = Issuer::start(&published).await;
    let edge = super::world::setup(&issuer).start().await;
    for (name, key) in &published {
        for algorithm in algorithms {
            let header = json!({ "alg": algorithm, "kid": name });
            let signed = token(&header, &claims(&issuer), |bytes| key.sign(algorithm, bytes));
            let answer = exchange(&edge, &json!({ "identity_token": signed, "app": "shop" })).await;
            // An RSA key is valid for both RSA schemes, unless the key names one.
            let fits = *name == algorithm || (is_rsa(name) && is_rsa(algorithm));
            assert_eq!(answer.status == StatusCode::CREATED, fits, "{algorithm} by {name}: {answer:?}");
        }
    }
    edge.stop().await;
}

fn is_rsa(algorithm: &str) -> bool {
    matches!(algorithm, "PS256" | "RS256")
}

#[tokio::test]
async fn none_and_shared_secrets_are_no_signatures() {
    let world = World::start_with("RS256", |setup| setup).await;
    let claims = world.claims();
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = token(&json!({ "alg": algorithm, "kid": "k1" }), &claims, |_| Vec::new());
        world.is_refused(&unsigned, algorithm).await;
        world.is_refused(&token(&json!({ "alg": algorithm }), &claims, |_| Vec::new()), algorithm).await;
    }
    let jwk = world.key.jwk("k1").to_string();
    for secret in [world.key.public(), jwk.into_bytes(), Vec::new()] {
        for (algorithm, by) in
            [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("RS256", hmac::HMAC_SHA256)]
        {
            let header = json!({ "alg": algorithm, "kid": "k1" });
            let forged =
                token(&header, &claims, |bytes| hmac::sign(&hmac::Key::new(by, &secret), bytes).as_ref().to_vec());
            world.is_refused(&forged, algorithm).await;
        }
    }
    let header = json!({ "alg": "RS256", "kid": "k1" });
    exchanged(&world.exchange(&token(&header, &claims, |bytes| world.key.sign("RS256", bytes))).await);
    world.edge.stop().await;
}

#[tokio::test]
async fn a_key_that_an_identity_token_brings_along_is_not_used() {
    let world = World::start().await;
    let own = SigningKey::new("EdDSA");
    let stranger = Issuer::start(&[("k1", &own)]).await;
    let by_own = |header: Value, claims: &Value| token(&header, claims, |bytes| own.sign("EdDSA", bytes));
    let keys = format!("{}/keys", stranger.name());
    for header in [
        json!({ "alg": "EdDSA", "kid": "k1" }),
        json!({ "alg": "EdDSA", "kid": "k1", "jwk": own.jwk("k1") }),
        json!({ "alg": "EdDSA", "jwk": own.jwk("k1") }),
        json!({ "alg": "EdDSA", "kid": "k1", "jku": keys }),
        json!({ "alg": "EdDSA", "kid": keys }),
        json!({ "alg": "EdDSA", "kid": "../../../../dev/null" }),
        json!({ "alg": "EdDSA", "kid": "k1", "x5u": keys }),
    ] {
        world.is_refused(&by_own(header.clone(), &world.claims()), &header.to_string()).await;
    }
    let claims = world.with("iss", stranger.name());
    world.is_refused(&by_own(json!({ "alg": "EdDSA", "kid": "k1" }), &claims), "an issuer of a stranger").await;
    assert_eq!(stranger.lists(), 0, "a stranger's address was asked");
    world.edge.stop().await;
}

#[tokio::test]
async fn what_was_changed_or_is_not_understood_is_refused() {
    let world = World::start().await;
    let good = world.signed(&world.claims());
    let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
    parts[1] = text(world.with("repository", "acme/other").to_string().as_bytes());
    world.is_refused(&parts.join("."), "other claims").await;
    for header in [
        json!({ "alg": "EdDSA", "kid": "k1", "crit": ["exp"] }),
        json!({ "alg": "EdDSA", "kid": "k1", "crit": [] }),
        json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" }),
        json!({ "alg": "EdDSA", "kid": 1 }),
        json!({ "alg": ["EdDSA"], "kid": "k1" }),
        json!([]),
    ] {
        let signed = token(&header, &world.claims(), |bytes| world.key.sign("EdDSA", bytes));
        world.is_refused(&signed, &header.to_string()).await;
    }
    for text in ["", ".", "..", "...", "a.b.c", &format!("{good}="), &format!("{good}."), &good[1..], "\u{0}", "é.é.é"]
    {
        world.is_refused(text, text).await;
    }
    exchanged(&world.exchange(&good).await);
    world.edge.stop().await;
}

#[tokio::test]
async fn a_huge_identity_token_is_refused_before_it_is_read() {
    let world = World::start().await;
    let long = world.signed(&world.with("padding", "a".repeat(6_100)));
    let refused = world.exchange(&long).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge), "{refused:?}");
    let (problem, bytes) = (refused.problem(), long.len());
    assert_eq!(problem.detail, format!("The identity token has {bytes} bytes, and may have 8192."));
    let limit = problem.limit.unwrap();
    assert_eq!((limit.name.as_str(), limit.max), ("identity_token_bytes_max", 8_192));
    let huge = world.exchange(&"a".repeat(1_000_000)).await;
    assert_eq!((huge.status, huge.code()), (StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge), "{huge:?}");
    assert!(huge.problem().hint.unwrap().contains("identity_token_bytes_max"), "{huge:?}");
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    world.is_refused(&format!("{}.{}.AA", text(deep.as_bytes()), text(deep.as_bytes())), "deep").await;
    assert_eq!(world.issuer.lists(), 0, "nothing of it led to a request");
    world.is_exchanged().await;
    world.edge.stop().await;
}

#[tokio::test]
async fn an_edge_without_trusts_exchanges_nothing() {
    let world = World::start().await;
    let alone = edge().start().await;
    let body = json!({ "identity_token": world.signed(&world.claims()), "app": "shop" });
    assert_eq!(exchange(&alone, &body).await.code(), Code::BadIdentityToken);
    for body in [json!({}), json!([]), json!({ "token": "x", "app": "shop" })] {
        assert_eq!(exchange(&alone, &body).await.code(), Code::Unauthenticated, "{body}");
    }
    alone.stop().await;
    world.edge.stop().await;
}
