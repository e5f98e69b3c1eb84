//! Logins of persons at the provider of `[oidc]`: rights by groups, and refusals.

use devanture_config::api::{AuditLog, Scope, Session, TokenList};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::issuer::{Answer, now_s};
use super::world::{World, exchange, exchanged};
use crate::support::{Got, eventually, got};

const CLIENT: &str = "devanture-cli";

async fn world() -> World {
    World::start_with_issuer(|setup, issuer| {
        setup.with_toml(&format!(
            "\n[oidc]\nissuer = \"{}\"\nclient_id = \"{CLIENT}\"\nlifetime_s = 600\n\
             [[oidc.groups]]\ngroup = \"web\"\nrole = \"developer\"\napps = [\"shop\"]\n\
             [[oidc.groups]]\ngroup = \"release\"\nrole = \"maintainer\"\napps = [\"shop\"]\n\
             [[oidc.groups]]\ngroup = \"platform\"\nrole = \"ops\"\n",
            issuer.name()
        ))
    })
    .await
}

/// Claims of a person with the given groups.
fn person(world: &World, groups: &[&str]) -> Value {
    let mut claims = world.claims();
    for (claim, value) in [
        ("aud", json!(CLIENT)),
        ("sub", json!("248289761001")),
        ("email", json!("ada@example.org")),
        ("email_verified", json!(true)),
        ("groups", json!(groups)),
    ] {
        claims[claim] = value;
    }
    claims
}

async fn log_in(world: &World, claims: &Value, place: &Value) -> Got {
    let mut body = place.clone();
    body["identity_token"] = json!(world.signed(claims));
    exchange(&world.edge, &body).await
}

#[tokio::test]
async fn groups_give_a_role_in_the_app_that_ends_by_itself() {
    let world = world().await;
    for (groups, place, scope, environment) in [
        (&["web"][..], json!({ "app": "shop" }), Scope::Push, Some("preview")),
        (&["web", "release"], json!({ "app": "shop" }), Scope::Promote, None),
        (&["release"], json!({ "app": "shop", "environment": "prod" }), Scope::Promote, Some("prod")),
        (&["platform"], json!({}), Scope::Admin, None),
        (&["platform", "web"], json!({ "app": "blog" }), Scope::Admin, None),
    ] {
        let made = exchanged(&log_in(&world, &person(&world, groups), &place).await);
        assert_eq!((made.scope, made.expires_in_s), (scope, 600), "{groups:?} {place}");
        assert_eq!(made.environment.as_ref().map(|name| name.as_str()), environment, "{groups:?} {place}");
        assert_eq!(made.app.as_ref().map(|app| app.as_str()), place["app"].as_str(), "{groups:?} {place}");
        assert_eq!((made.person.as_deref(), made.trust), (Some("oidc:ada@example.org"), None));
        let session: Session = got(world.edge.ask(Method::GET, "/v1/session", made.token.expose())).await.json();
        assert_eq!(session.token.as_deref(), Some("oidc:ada@example.org"));
        assert_eq!(session.rights[0].scopes.last(), Some(&scope));
    }
    world.edge.stop().await;
}

#[tokio::test]
async fn a_developer_reaches_no_other_environment_and_no_other_app() {
    let world = world().await;
    let made = exchanged(&log_in(&world, &person(&world, &["web"]), &json!({ "app": "shop" })).await);
    let ask = |method, path: &str| got(world.edge.ask(method, path, made.token.expose()));
    let prod = ask(Method::POST, "/v1/apps/shop/environments/prod/deploys").await;
    assert_eq!(prod.code(), Code::Forbidden, "{prod:?}");
    assert_eq!(ask(Method::GET, "/v1/tokens").await.code(), Code::Forbidden);
    assert_eq!(ask(Method::GET, "/v1/apps/blog").await.code(), Code::NotFound);
    world.edge.stop().await;
}

#[tokio::test]
async fn a_login_is_a_person_of_the_audit_log_and_nobody_else_has_such_a_name() {
    let world = world().await;
    let made = exchanged(&log_in(&world, &person(&world, &["release"]), &json!({ "app": "shop" })).await);
    let mut other = person(&world, &["release"]);
    other["email_verified"] = json!(false);
    let unverified = exchanged(&log_in(&world, &other, &json!({ "app": "shop" })).await);
    assert_eq!(unverified.person.as_deref(), Some("oidc:248289761001"), "an address that nobody has verified");
    let log: AuditLog = got(world.edge.api(Method::GET, "/v1/audit?app=shop")).await.json();
    let entry = log.entries.iter().find(|entry| entry.credential.as_ref() == Some(&made.id)).unwrap();
    assert_eq!((entry.who.as_str(), entry.action.as_str()), ("oidc:ada@example.org", "exchange_token"));
    assert!(entry.what.ends_with("promote, for 248289761001"), "{}", entry.what);
    let list: TokenList = got(world.edge.api(Method::GET, "/v1/tokens?app=shop")).await.json();
    assert!(list.tokens.iter().any(|token| token.id == made.id && token.expires_ms == Some(made.expires_ms)));
    let forged = json!({ "name": "oidc:ada@example.org", "app": "shop", "scope": "read" });
    let refused = got(world.edge.api(Method::POST, "/v1/tokens").json(&forged)).await;
    assert_eq!(refused.code(), Code::BadRequest, "{refused:?}");
    world.edge.stop().await;
}

#[tokio::test]
async fn another_audience_party_issuer_or_time_is_refused() {
    let world = world().await;
    for (claim, value) in [
        ("aud", json!("another-client")),
        ("aud", json!([CLIENT, "another-client"])),
        ("azp", json!("another-client")),
        ("iss", json!("https://login.example.org")),
        ("exp", json!(now_s() - 120)),
        ("sub", Value::Null),
    ] {
        let mut claims = person(&world, &["platform"]);
        claims[claim] = value.clone();
        let refused = log_in(&world, &claims, &json!({ "app": "shop" })).await;
        assert_eq!(refused.code(), Code::BadIdentityToken, "{claim} {value}: {refused:?}");
    }
    // A job of the same issuer is no person, and a person is no job.
    let mut job = world.claims();
    job["groups"] = json!(["platform"]);
    exchanged(&world.exchange(&world.signed(&job)).await);
    assert_eq!(log_in(&world, &job, &json!({})).await.code(), Code::BadIdentityToken, "a job names its app");
    let stranger = super::issuer::SigningKey::new("EdDSA");
    let forged =
        super::issuer::token(&json!({ "alg": "EdDSA", "kid": "k1" }), &person(&world, &["platform"]), |bytes| {
            stranger.sign("EdDSA", bytes)
        });
    let forged = exchange(&world.edge, &json!({ "identity_token": forged })).await;
    assert_eq!(forged.code(), Code::BadIdentityToken, "{forged:?}");
    world.edge.stop().await;
}

#[tokio::test]
async fn an_identity_token_of_a_person_is_exchanged_once() {
    let world = world().await;
    let body = json!({ "identity_token": world.signed(&person(&world, &["web"])), "app": "shop" });
    exchanged(&exchange(&world.edge, &body).await);
    let again = exchange(&world.edge, &body).await;
    assert_eq!(again.code(), Code::BadIdentityToken);
    assert!(again.problem().detail.contains("exchanged before"), "{again:?}");
    world.edge.stop().await;
}

#[tokio::test]
async fn groups_that_map_to_nothing_give_nothing() {
    let world = world().await;
    for (groups, place) in [
        (json!([]), json!({ "app": "shop" })),
        (json!(["Web", "web "]), json!({ "app": "shop" })),
        (json!({ "web": true }), json!({ "app": "shop" })),
        (json!(["web"]), json!({ "app": "shop", "environment": "prod" })),
        (json!(["web", "release"]), json!({ "app": "blog" })),
        (json!(["web", "release"]), json!({})),
    ] {
        let mut claims = person(&world, &[]);
        claims["groups"] = groups.clone();
        let refused = log_in(&world, &claims, &place).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, Code::Forbidden), "{groups} {place}");
        assert!(refused.problem().detail.contains("oidc:ada@example.org"), "{refused:?}");
    }
    world.edge.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_down_is_reported() {
    let world = world().await;
    world.issuer.answer_discovery(Answer::Status(503));
    let down = log_in(&world, &person(&world, &["web"]), &json!({ "app": "shop" })).await;
    assert_eq!((down.status, down.code()), (StatusCode::SERVICE_UNAVAILABLE, Code::IdentityKeysUnavailable));
    world.issuer.answer_discovery(None);
    eventually("it is up again", async || {
        log_in(&world, &person(&world, &["web"]), &json!({ "app": "shop" })).await.status == StatusCode::CREATED
    })
    .await;
    world.edge.stop().await;
}

#[tokio::test]
async fn a_refusal_without_a_token_names_the_provider_and_opens_nothing() {
    let world = world().await;
    let refused = got(world.edge.client().get(format!("https://{}/v1/session", world.edge.admin()))).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::UNAUTHORIZED, Code::Unauthenticated));
    let expected = format!(
        "Bearer oidc_issuer=\"{}\", oidc_client_id=\"{CLIENT}\", oidc_scopes=\"openid profile email\"",
        world.issuer.name()
    );
    assert_eq!(refused.header("www-authenticate"), expected);
    world.edge.stop().await;
}
