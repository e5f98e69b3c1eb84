//! Aliases: a push moves an alias and leaves the live version, aliases expire, and tokens may set permitted aliases.

use devanture_config::api::{AliasList, DeployOptions, Outcome, PlaceStatus, Scope};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::{call, call_as, finish, history, push, push_alias, ready, status};
use crate::support::{RunningEdge, edge, eventually, try_got};

const HOST: &str = "feature-x--shop.localhost";

async fn alias(edge: &RunningEdge, name: &str) -> PlaceStatus {
    call(edge, Method::GET, &format!("aliases/{name}"), None).await.json()
}

#[tokio::test]
async fn a_push_to_an_alias_moves_it_and_leaves_what_is_live() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let one = push_alias(&edge, "feature-x", "one").await;
    assert!(!one.switched && one.previous.is_none());
    assert_eq!(one.urls.alias.as_deref(), Some(one.alias.as_ref().unwrap().url.as_str()));
    assert!(one.urls.alias.as_ref().unwrap().starts_with(&format!("https://{HOST}")), "{one:?}");
    assert!(one.steps.iter().any(|step| step.name == "alias" && step.detail.starts_with("feature-x: nothing → ")));
    assert_eq!(edge.get(HOST, "/").await.text(), "one");
    let two = push_alias(&edge, "feature-x", "two").await;
    assert_eq!(two.previous, Some(one.version));
    assert_eq!(edge.get(HOST, "/").await.text(), "two");
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "live");
    assert_eq!(alias(&edge, "feature-x").await.version, two.version);
    // A push of the same content changes nothing and adds no history entry.
    let same = push_alias(&edge, "feature-x", "two").await;
    assert_eq!(same.previous, Some(two.version));
    let entries = history(&edge, "preview").await.deploys;
    let reported: Vec<_> = entries.iter().map(|d| (d.version, d.outcome, d.alias.as_ref().unwrap().as_str())).collect();
    assert_eq!(reported, [(two.version, Outcome::Stored, "feature-x"), (one.version, Outcome::Stored, "feature-x")]);
    assert!(entries[0].steps.iter().any(|step| step.name == "alias"), "{entries:?}");
    // No environment is created.
    assert!(status(&edge, "preview").await.version.is_none());
    edge.stop().await;
}

#[tokio::test]
async fn an_archive_can_be_pushed_to_an_alias() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let tar = crate::support::archives::archive("tar", &[("index.html", b"archived")]);
    let path =
        "/v1/apps/shop/environments/preview/deploys?alias=feature-x&alias_expires=1h&branch=feature%2Fx&ci=github";
    let request = edge.api(Method::POST, path).header("content-type", "application/x-tar").body(tar);
    let report: devanture_config::api::DeployReport = crate::support::got(request).await.json();
    assert!(report.urls.alias.is_some() && report.alias.unwrap().expires_ms.is_some());
    assert_eq!(edge.get(HOST, "/").await.text(), "archived");
    let source = history(&edge, "preview").await.deploys.remove(0).source;
    assert_eq!((source.branch.as_deref(), source.ci.as_deref()), (Some("feature/x"), Some("github")));
    edge.stop().await;
}

#[tokio::test]
async fn an_older_push_does_not_take_an_alias_back() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let to = |force| DeployOptions { alias: Some("feature-x".parse().unwrap()), force, ..DeployOptions::default() };
    let older = ready(&edge, "preview", to(false), "older").await;
    let forced = ready(&edge, "preview", to(true), "forced").await;
    let newer = ready(&edge, "preview", to(false), "newer").await;
    finish(&edge, &newer.deploy).await.unwrap();
    let problem = finish(&edge, &older.deploy).await.unwrap_err();
    assert_eq!(problem.code, Code::Superseded);
    assert_eq!(edge.get(HOST, "/").await.text(), "newer");
    let entry = history(&edge, "preview").await.deploys.remove(0);
    assert_eq!((entry.outcome, entry.problem.unwrap().code), (Outcome::Superseded, Code::Superseded));
    finish(&edge, &forced.deploy).await.unwrap();
    assert_eq!(edge.get(HOST, "/").await.text(), "forced");
    // After a manual change, a push started before the newest push still cannot move the alias.
    let set = json!({ "version": newer.version });
    assert_eq!(call(&edge, Method::PUT, "aliases/feature-x", Some(set)).await.status, StatusCode::OK);
    let late = ready(&edge, "preview", to(false), "late").await;
    finish(&edge, &late.deploy).await.unwrap();
    assert_eq!(edge.get(HOST, "/").await.text(), "late");
    let stale = DeployOptions { if_live: Some(newer.version.to_string()), ..to(false) };
    let problem = push(&edge, "preview", stale, &[("index.html", b"exact")]).await.unwrap_err();
    assert_eq!(problem.code, Code::LiveMoved);
    edge.stop().await;
}

#[tokio::test]
async fn the_order_of_pushes_to_an_alias_outlives_a_restart() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    push_alias(&edge, "feature-x", "one").await;
    let edge = edge.restart().await;
    push_alias(&edge, "feature-x", "two").await;
    assert_eq!(edge.get(HOST, "/").await.text(), "two");
    edge.stop().await;
}

#[tokio::test]
async fn an_alias_that_has_ended_is_as_unknown_as_one_that_never_was() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let version = edge.live("shop").await.unwrap();
    let set = |expires: &str| Some(json!({ "version": version, "expires": expires }));
    for bad in ["1970-01-01T00:00:00Z", "soon", "0d"] {
        assert_eq!(call(&edge, Method::PUT, "aliases/feature-x", set(bad)).await.code(), Code::BadRequest, "{bad}");
    }
    let long: PlaceStatus = call(&edge, Method::PUT, "aliases/feature-x", set("14d")).await.json();
    assert!(long.expires_ms.unwrap() > long.since_ms + 13 * 86_400_000);
    // Without a value, the expiry stays; `never` removes the expiry.
    let kept: PlaceStatus =
        call(&edge, Method::PUT, "aliases/feature-x", Some(json!({ "version": version }))).await.json();
    assert_eq!(kept.expires_ms, long.expires_ms);
    let lasting: PlaceStatus = call(&edge, Method::PUT, "aliases/feature-x", set("never")).await.json();
    assert_eq!(lasting.expires_ms, None);
    call(&edge, Method::PUT, "aliases/feature-x", set("1s")).await.json::<PlaceStatus>();
    eventually("the alias ends", async || edge.get(HOST, "/").await.status == StatusCode::NOT_FOUND).await;
    assert_eq!(call(&edge, Method::GET, "aliases/feature-x", None).await.code(), Code::NotFound);
    assert_eq!(call(&edge, Method::DELETE, "aliases/feature-x", None).await.code(), Code::NotFound);
    let list: AliasList = call(&edge, Method::GET, "aliases", None).await.json();
    assert!(list.aliases.is_empty() && status(&edge, "prod").await.places.iter().all(|place| !place.alias));
    // A restart restores no expired alias, and a push creates the alias again without an expiry.
    let edge = edge.restart().await;
    for host in [HOST, "never-was--shop.localhost"] {
        assert!(try_got(edge.visit(Method::GET, host, "/")).await.is_err(), "{host} gets no certificate");
    }
    let report = push_alias(&edge, "feature-x", "again").await;
    assert_eq!((report.previous, report.alias.unwrap().expires_ms), (None, None));
    assert_eq!(edge.get(HOST, "/").await.text(), "again");
    edge.stop().await;
}

#[tokio::test]
async fn a_token_of_previews_sets_aliases_and_makes_nothing_live() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let version = edge.live("shop").await.unwrap();
    let body = || Some(json!({ "version": version }));
    let of = async |environment: &str| edge.token_for(Scope::Push, Some("shop"), Some(environment)).await;
    let (preview, own, staging) = (of("preview").await, of("feature-x").await, of("staging").await);
    for (token, name, code) in [
        (&preview, "feature-x", None),
        (&preview, "feature-y", None),
        (&own, "feature-x", None),
        (&own, "feature-y", Some(Code::Forbidden)),
        (&staging, "feature-x", Some(Code::Forbidden)),
    ] {
        let path = format!("aliases/{name}");
        let answer = call_as(&edge, token, Method::PUT, &path, body()).await;
        assert_eq!((!answer.status.is_success()).then(|| answer.code()), code, "{name}");
    }
    let begin = |alias: Option<&str>| {
        Some(json!({
            "manifest": crate::support::manifest(&[("index.html", b"live")]),
            "options": { "alias": alias },
        }))
    };
    for (token, environment, alias, allowed) in [
        (&preview, "preview", Some("feature-y"), true),
        (&preview, "prod", Some("feature-y"), false),
        (&preview, "prod", None, false),
        (&own, "feature-x", Some("feature-x"), true),
        (&own, "feature-x", Some("feature-y"), false),
        (&staging, "staging", Some("feature-x"), false),
        (&staging, "staging", None, true),
    ] {
        let path = format!("environments/{environment}/deploys");
        let answer = call_as(&edge, token, Method::POST, &path, begin(alias)).await;
        assert_eq!(answer.status.is_success(), allowed, "{environment} {alias:?}: {answer:?}");
    }
    assert_eq!(
        call_as(&edge, &preview, Method::POST, "environments/prod/switch", body()).await.code(),
        Code::Forbidden
    );
    assert!(call_as(&edge, &preview, Method::DELETE, "aliases/feature-y", None).await.status.is_success());
    edge.stop().await;
}

#[tokio::test]
async fn no_version_is_live_in_preview_and_the_hint_for_a_developer_is_an_alias() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let files: crate::support::Files<'_> = &[("index.html", b"x")];
    let pushed = push(&edge, "preview", DeployOptions::default(), files).await.unwrap_err();
    assert_eq!(pushed.code, Code::NameReserved);
    assert!(pushed.hint.unwrap().contains("`devanture push --alias NAME`"));
    let live = status(&edge, "prod").await.version.unwrap();
    for (path, body) in [
        ("environments/preview/switch", json!({ "version": live })),
        ("environments/preview/promote", json!({ "from": "prod" })),
        ("environments/preview/switch?dry_run=true", json!({ "version": live })),
    ] {
        let refused = call(&edge, Method::POST, path, Some(body)).await;
        assert_eq!(refused.code(), Code::NameReserved, "{path}: {}", refused.text());
    }
    assert!(status(&edge, "preview").await.version.is_none());
    // Settings of previews apply nevertheless, and stay after the deletion of the alias.
    assert!(!push_alias(&edge, "feature-w", "zero").await.may_not_switch);
    push_alias(&edge, "feature-x", "one").await;
    call(&edge, Method::DELETE, "environments/preview", None).await;
    push_alias(&edge, "feature-x", "two").await;
    push(&edge, "preview", DeployOptions { no_switch: true, ..DeployOptions::default() }, files).await.unwrap();
    let developer = edge.token_for(Scope::Push, Some("shop"), Some("preview")).await;
    let body = Some(json!({ "version": live }));
    let refused = call_as(&edge, &developer, Method::POST, "environments/prod/switch", body).await;
    assert!(refused.problem().hint.unwrap().contains("`devanture push --alias NAME` makes one"), "{}", refused.text());
    edge.stop().await;
}

#[tokio::test]
async fn an_alias_is_no_environment_and_there_are_no_more_than_the_limit() {
    let edge = edge().with_limit("aliases_max", 2).with_app("shop", &[("index.html", b"live")]).start().await;
    let to = |name: &str| DeployOptions { alias: Some(name.parse().unwrap()), ..DeployOptions::default() };
    let files: crate::support::Files<'_> = &[("index.html", b"x")];
    for name in ["prod", "preview"] {
        assert_eq!(push(&edge, "preview", to(name), files).await.unwrap_err().code, Code::AliasTaken, "{name}");
    }
    push_alias(&edge, "one", "x").await;
    push_alias(&edge, "two", "x").await;
    assert_eq!(push(&edge, "preview", to("three"), files).await.unwrap_err().code, Code::TooMany);
    push_alias(&edge, "two", "y").await;
    // An alias is no valid environment for a push.
    assert_eq!(push(&edge, "two", DeployOptions::default(), files).await.unwrap_err().code, Code::AliasTaken);
    let gone = call(&edge, Method::DELETE, "aliases/one", None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    push_alias(&edge, "three", "x").await;
    edge.stop().await;
}
