//! Exchange of an identity token: the resulting token, single use, and the audit record.

use devanture_config::api::{AuditLog, Scope, TokenList};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::issuer::{Issuer, SigningKey, now_s, token};
use super::world::{AUDIENCE, World, claims, exchange, exchanged, trust};
use crate::support::{edge, eventually, got};

#[tokio::test]
async fn an_identity_token_becomes_a_token_for_its_environment_that_ends() {
    let world = World::start().await;
    let made = world.is_exchanged().await;
    assert_eq!((made.trust.as_deref(), made.scope, made.expires_in_s), (Some("ci-main"), Scope::Push, 900));
    assert_eq!((made.app.unwrap().as_str(), made.environment.unwrap().as_str()), ("shop", "prod"));
    assert!(made.expires_ms > now_s() * 1_000 && made.expires_ms <= (now_s() + 901) * 1_000);
    let ask = |method, path: &str| got(world.edge.ask(method, path, made.token.expose()));
    let pushed = ask(Method::POST, "/v1/apps/shop/environments/prod/deploys").await;
    assert_ne!(pushed.status, StatusCode::UNAUTHORIZED, "{pushed:?}");
    assert_ne!(pushed.status, StatusCode::FORBIDDEN, "{pushed:?}");
    for (method, path) in [
        (Method::POST, "/v1/apps/shop/environments/staging/deploys"),
        (Method::GET, "/v1/tokens"),
        (Method::DELETE, "/v1/apps/shop"),
    ] {
        assert_eq!(ask(method.clone(), path).await.code(), Code::Forbidden, "{method} {path}");
    }
    assert_eq!(ask(Method::GET, "/v1/apps/blog").await.code(), Code::NotFound);
    world.edge.stop().await;
}

#[tokio::test]
async fn an_exchange_is_in_the_audit_log_the_list_of_tokens_and_the_metrics() {
    let world = World::start().await;
    let made = world.is_exchanged().await;
    let log: AuditLog = got(world.edge.api(Method::GET, "/v1/audit?app=shop")).await.json();
    let entry = log.entries.iter().find(|entry| entry.action == "exchange_token").unwrap();
    assert_eq!((entry.who.as_str(), entry.credential.as_deref()), ("trust:ci-main", Some(made.id.as_str())));
    assert_eq!(entry.what, format!("{} ci-main, push, for repo:acme/shop:ref:refs/heads/main", made.id));
    let list: TokenList = got(world.edge.api(Method::GET, "/v1/tokens?app=shop")).await.json();
    let listed = list.tokens.iter().find(|listed| listed.id == made.id).unwrap();
    assert_eq!((listed.name.as_str(), listed.expires_ms), ("trust:ci-main", Some(made.expires_ms)));
    world.is_refused("x", "no token").await;
    let metrics = got(world.edge.api(Method::GET, "/metrics")).await.text();
    for outcome in ["trust=\"ci-main\",outcome=\"ok\"", "trust=\"\",outcome=\"refused\""] {
        assert!(metrics.contains(&format!("devanture_identity_tokens_total{{{outcome}}}")), "{outcome}: {metrics}");
    }
    let revoked = got(world.edge.api(Method::DELETE, &format!("/v1/tokens/{}", made.id))).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let after = got(world.edge.ask(Method::GET, "/v1/apps/shop", made.token.expose())).await;
    assert_eq!(after.code(), Code::BadToken);
    world.edge.stop().await;
}

#[tokio::test]
async fn an_identity_token_is_exchanged_once_also_by_two_at_once_and_after_a_restart() {
    let world = World::start().await;
    let good = world.signed(&world.claims());
    let answers = futures_util::future::join_all((0..8).map(|_| world.exchange(&good))).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(made, 1, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
        assert_eq!(refused.code(), Code::BadIdentityToken, "{refused:?}");
        assert!(refused.problem().detail.contains("exchanged before"), "{refused:?}");
    }
    let World { edge, issuer, key } = world;
    let world = World { edge: edge.restart().await, issuer, key };
    let again = world.exchange(&good).await;
    assert!(again.problem().detail.contains("exchanged before"), "{again:?}");
    world.is_exchanged().await;
    world.edge.stop().await;
}

#[tokio::test]
async fn many_identity_tokens_at_once_are_all_exchanged() {
    let world = World::start().await;
    let tokens: Vec<String> = (0..12).map(|_| world.signed(&world.claims())).collect();
    let answers = futures_util::future::join_all(tokens.iter().map(|token| world.exchange(token))).await;
    for answer in &answers {
        exchanged(answer);
    }
    assert_eq!(world.issuer.lists(), 1, "the keys are fetched once");
    world.edge.stop().await;
}

#[tokio::test]
async fn a_signature_in_another_form_is_the_same_identity_token() {
    // Without a token id, the signed content identifies the token; an ECDSA signature has several forms for the same
    // content.
    let key = SigningKey::new("ES256");
    let issuer = Issuer::start(&[("k1", &key)]).await;
    let edge = super::world::setup(&issuer).start().await;
    let mut claims = claims(&issuer);
    claims.as_object_mut().unwrap().remove("jti");
    let sign = || token(&json!({ "alg": "ES256", "kid": "k1" }), &claims, |bytes| key.sign("ES256", bytes));
    let (first, second) = (sign(), sign());
    assert_ne!(first, second, "the signature is random");
    let body = |token: &str| json!({ "identity_token": token, "app": "shop" });
    exchanged(&exchange(&edge, &body(&first)).await);
    let again = exchange(&edge, &body(&second)).await;
    assert!(again.problem().detail.contains("exchanged before"), "{again:?}");
    edge.stop().await;
}

#[tokio::test]
async fn the_first_trust_that_matches_gives_its_scope_and_its_environment() {
    let key = SigningKey::new("EdDSA");
    let issuer = Issuer::start(&[("k1", &key)]).await;
    let previews =
        trust(&issuer, "previews", "environments = \"preview\"\nlifetime_s = 60\nclaims = { repository = \"acme/*\" }");
    let reads =
        trust(&issuer, "reads", "environments = \"prod\"\nscope = \"read\"\nclaims = { repository = \"acme/shop\" }");
    let edge = edge().with_toml(&format!("{previews}{reads}")).start().await;
    let signed = || token(&json!({ "alg": "EdDSA", "kid": "k1" }), &claims(&issuer), |bytes| key.sign("EdDSA", bytes));
    let unsaid = exchanged(&exchange(&edge, &json!({ "identity_token": signed(), "app": "shop" })).await);
    assert_eq!(
        (unsaid.trust.as_deref(), unsaid.environment.unwrap().as_str(), unsaid.expires_in_s),
        (Some("previews"), "preview", 60)
    );
    let said = json!({ "identity_token": signed(), "app": "shop", "environment": "prod" });
    let said = exchanged(&exchange(&edge, &said).await);
    assert_eq!((said.trust.as_deref(), said.scope), (Some("reads"), Scope::Read));
    edge.stop().await;
}

#[tokio::test]
async fn a_trust_uses_up_the_tokens_of_nobody_else() {
    let world = World::start_with("EdDSA", |setup| {
        setup.with_limit("tokens_per_trust_max", 2).with_limit("tokens_per_app_max", 2)
    })
    .await;
    for _ in 0..2 {
        assert_eq!(world.exchange(&world.signed(&world.claims())).await.status, StatusCode::CREATED);
    }
    let full = world.exchange(&world.signed(&world.claims())).await;
    assert_eq!((full.code(), full.problem().limit.unwrap().name.as_str()), (Code::TooMany, "tokens_per_trust_max"));
    let token = json!({ "name": "ci", "app": "shop", "scope": "push" });
    let made = got(world.edge.api(Method::POST, "/v1/tokens").json(&token)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    world.edge.stop().await;
}

#[tokio::test]
async fn half_of_the_remembered_identity_tokens_are_for_one_trust_at_most() {
    let world = World::start_with("EdDSA", |setup| setup.with_limit("identity_tokens_max", 4)).await;
    for _ in 0..2 {
        assert_eq!(world.exchange(&world.signed(&world.claims())).await.status, StatusCode::CREATED);
    }
    let limit = world.exchange(&world.signed(&world.claims())).await.problem().limit.unwrap();
    assert_eq!((limit.name.as_str(), limit.max), ("identity_tokens_max", 2));
    world.edge.stop().await;
}

#[tokio::test]
async fn expired_tokens_and_identity_tokens_make_room() {
    let world = World::start_with("EdDSA", |setup| {
        setup.with_limit("identity_tokens_max", 1).with_limit("tokens_per_app_max", 100)
    })
    .await;
    // Within the leeway the token is valid for a few more seconds, and then the record is obsolete.
    let last = async || {
        let claims = world.with("exp", now_s() - 57);
        world.exchange(&world.signed(&claims)).await.status == StatusCode::CREATED
    };
    eventually("one in its last seconds is exchanged", last).await;
    let full = world.exchange(&world.signed(&world.claims())).await;
    if full.status != StatusCode::CREATED {
        assert_eq!(full.code(), Code::TooMany, "{full:?}");
        assert_eq!(full.problem().limit.unwrap().name, "identity_tokens_max");
        let next = async || world.exchange(&world.signed(&world.claims())).await.status == StatusCode::CREATED;
        eventually("there is room again", next).await;
    }
    world.edge.stop().await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
async fn a_reload_changes_what_is_trusted() {
    let key = SigningKey::new("EdDSA");
    let issuer = Issuer::start(&[("k1", &key)]).await;
    let edge = super::world::setup(&issuer).in_a_process().start().await;
    let signed = || token(&json!({ "alg": "EdDSA", "kid": "k1" }), &claims(&issuer), |bytes| key.sign("EdDSA", bytes));
    let attempt = async || exchange(&edge, &json!({ "identity_token": signed(), "app": "shop" })).await.status;
    assert_eq!(attempt().await, StatusCode::CREATED);
    let path = edge.data_dir().with_file_name("edge.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(AUDIENCE, "https://other.example.org")).unwrap();
    edge.process().reload();
    eventually("the audience is another one", async || attempt().await == StatusCode::UNAUTHORIZED).await;
    std::fs::write(&path, text).unwrap();
    edge.process().reload();
    eventually("the audience is as before", async || attempt().await == StatusCode::CREATED).await;
    edge.stop().await;
}
