//! Limits on the number of objects that a token can create: each list of an app is bounded, and deletion makes room.

use devanture_config::api::{AppUsage, BeginDeploy, DeployOptions, Scope, Source};
use devanture_config::problem::{Code, Problem};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Files, Got, RunningEdge, edge, eventually, got, manifest};

async fn call(edge: &RunningEdge, method: Method, path: &str, body: Value) -> Got {
    let request = edge.api(method, &format!("/v1/{path}"));
    got(if body.is_null() { request } else { request.json(&body) }).await
}

async fn push(edge: &RunningEdge, app: &str, environment: &str, text: &str) -> Result<(), Box<Problem>> {
    let files: Files<'_> = &[("index.html", text.as_bytes())];
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options: DeployOptions::default() };
    edge.try_push(app, environment, begin, files).await.map(drop)
}

#[tokio::test]
async fn an_app_has_no_more_environments_than_the_limit() {
    let edge = edge().with_limit("environments_max", 3).with_app("shop", &[("index.html", b"hi")]).start().await;
    push(&edge, "shop", "staging", "hi").await.unwrap();
    // An environment created by a hostname or a setting counts, too.
    let host = "apps/shop/environments/names/hostnames/www.example.org";
    assert_eq!(call(&edge, Method::PUT, host, Value::Null).await.status, StatusCode::OK);
    let set = json!({ "set": { "A": { "value": "1" } } });
    let refused = push(&edge, "shop", "other", "hi").await.unwrap_err();
    assert_eq!(refused.code, Code::TooMany, "{refused:?}");
    assert!(refused.hint.is_some_and(|hint| hint.contains("environments_max")));
    let tar = crate::support::archives::archive("tar", &[("index.html", b"hi")]);
    let archive =
        edge.api(Method::POST, "/v1/apps/shop/environments/other/deploys").header("content-type", "application/x-tar");
    assert_eq!(got(archive.body(tar)).await.code(), Code::TooMany);
    for (method, path, body) in [
        (Method::PUT, "hostnames/a.example.org", Value::Null),
        (Method::PATCH, "settings", set.clone()),
        (Method::POST, "promote", json!({ "from": "prod" })),
    ] {
        let answer = call(&edge, method, &format!("apps/shop/environments/other/{path}"), body).await;
        assert_eq!(answer.code(), Code::TooMany, "{path}");
    }
    // Existing environments remain usable.
    push(&edge, "shop", "staging", "again").await.unwrap();
    let own = call(&edge, Method::PATCH, "apps/shop/environments/names/settings", set.clone()).await;
    assert_eq!(own.status, StatusCode::OK);
    // An environment without a live version is deleted with its contents; a restorable environment still counts.
    let delete =
        async |name: &str| call(&edge, Method::DELETE, &format!("apps/shop/environments/{name}"), Value::Null).await;
    assert_eq!(delete("staging").await.status, StatusCode::OK);
    assert_eq!(push(&edge, "shop", "other", "hi").await.unwrap_err().code, Code::TooMany);
    assert_eq!(delete("names").await.status, StatusCode::OK);
    assert_eq!(delete("names").await.code(), Code::NothingLive);
    push(&edge, "shop", "other", "hi").await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn many_at_once_make_no_more_environments_and_aliases_than_the_limit() {
    let edge = edge().with_limit("environments_max", 4).with_limit("aliases_max", 3);
    let edge = edge.with_app("shop", &[("index.html", b"hi")]).start().await;
    let version = edge.live("shop").await.unwrap();
    let set = json!({ "set": { "A": { "value": "1" } } });
    let environments = (0..12).map(|number| format!("apps/shop/environments/place-{number}/settings"));
    let all = environments.map(|path| {
        let (edge, set) = (&edge, set.clone());
        async move { call(edge, Method::PATCH, &path, set).await.status }
    });
    let made = futures_util::future::join_all(all).await;
    assert_eq!(made.iter().filter(|status| status.is_success()).count(), 3, "{made:?}");
    let all = (0..12).map(|number| {
        let (edge, body) = (&edge, json!({ "version": version }));
        async move { call(edge, Method::PUT, &format!("apps/shop/aliases/alias-{number}"), body).await.status }
    });
    let made = futures_util::future::join_all(all).await;
    assert_eq!(made.iter().filter(|status| status.is_success()).count(), 3, "{made:?}");
    edge.stop().await;
}

/// Pushes a version of one page to an alias, recorded in the history of `preview`.
async fn push_alias(edge: &RunningEdge, alias: &str) -> Result<(), Box<Problem>> {
    let files: Files<'_> = &[("index.html", alias.as_bytes())];
    let options = DeployOptions { alias: Some(alias.parse().unwrap()), ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: manifest(files), source: Source::default(), options };
    edge.try_push("shop", "preview", begin, files).await.map(drop)
}

#[tokio::test]
async fn pushes_to_aliases_make_no_environment_that_counts() {
    let edge = edge().with_limit("environments_max", 2).with_app("shop", &[("index.html", b"hi")]).start().await;
    let used = async || {
        let usage: AppUsage = got(edge.api(Method::GET, "/v1/apps/shop/usage")).await.json();
        usage.limits.iter().find(|limit| limit.name == "environments_max").and_then(|limit| limit.used)
    };
    push_alias(&edge, "one").await.unwrap();
    assert_eq!(used().await, Some(1));
    push(&edge, "shop", "staging", "hi").await.unwrap();
    assert_eq!(used().await, Some(2));
    // Neither the next nor the first version needs room, as a manifest or as an archive.
    push_alias(&edge, "two").await.unwrap();
    let delete = async || call(&edge, Method::DELETE, "apps/shop/environments/preview", Value::Null).await;
    assert_eq!(delete().await.status, StatusCode::OK);
    assert_eq!(delete().await.code(), Code::NothingLive);
    let tar = crate::support::archives::archive("tar", &[("index.html", b"three")]);
    let archive = edge.api(Method::POST, "/v1/apps/shop/environments/preview/deploys?alias=three");
    let answer = got(archive.header("content-type", "application/x-tar").body(tar)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    push_alias(&edge, "four").await.unwrap();
    assert_eq!(used().await, Some(2));
    // Additional entries count.
    let set = json!({ "set": { "A": { "value": "1" } } });
    let answer = call(&edge, Method::PATCH, "apps/shop/environments/preview/settings", set).await;
    assert_eq!(answer.code(), Code::TooMany);
    assert_eq!(push(&edge, "shop", "preview", "hi").await.unwrap_err().code, Code::TooMany);
    edge.stop().await;
}

#[tokio::test]
async fn there_are_no_more_apps_and_versions_than_the_limits() {
    let edge = edge().with_limit("apps_max", 2).with_limit("versions_max", 2).start().await;
    push(&edge, "shop", "prod", "one").await.unwrap();
    push(&edge, "blog", "prod", "one").await.unwrap();
    assert_eq!(push(&edge, "third", "prod", "one").await.unwrap_err().code, Code::TooMany);
    push(&edge, "shop", "prod", "two").await.unwrap();
    let refused = push(&edge, "shop", "prod", "three").await.unwrap_err();
    assert!(refused.code == Code::TooMany && refused.hint.is_some_and(|hint| hint.contains("versions_max")));
    // A stored version can be pushed again, and the other app has a separate limit.
    push(&edge, "shop", "prod", "one").await.unwrap();
    push(&edge, "blog", "prod", "two").await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn one_app_leaves_hostnames_and_tokens_to_others() {
    let edge = edge().with_limit("hostnames_per_app_max", 2).with_limit("tokens_per_app_max", 2);
    let edge = edge.with_app("shop", &[("index.html", b"hi")]).with_app("blog", &[("index.html", b"hi")]).start().await;
    let host = async |app: &str, environment: &str, name: &str| {
        let path = format!("apps/{app}/environments/{environment}/hostnames/{name}.example.org");
        call(&edge, Method::PUT, &path, Value::Null).await
    };
    for (environment, name) in [("prod", "a"), ("staging", "b")] {
        assert_eq!(host("shop", environment, name).await.status, StatusCode::OK);
    }
    assert_eq!(host("shop", "other", "c").await.code(), Code::HostnamesFull);
    // A hostname can move within the app, and another app has a separate limit.
    assert_eq!(host("shop", "prod", "b").await.status, StatusCode::OK);
    assert_eq!(host("blog", "prod", "c").await.status, StatusCode::OK);
    let admin = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let make = async |token: &str, app: &str| {
        let wanted = json!({ "name": "ci", "app": app, "scope": "read", "expires_in_s": 3600 });
        got(edge.ask(Method::POST, "/v1/tokens", token).json(&wanted)).await
    };
    assert_eq!(make(&admin, "shop").await.status, StatusCode::CREATED);
    assert_eq!(make(&admin, "shop").await.code(), Code::TooMany);
    assert_eq!(make(edge.admin_token(), "blog").await.status, StatusCode::CREATED);
    edge.stop().await;
}

#[tokio::test]
async fn tokens_that_end_soon_do_not_fill_the_list_of_all() {
    let edge = edge().with_limit("tokens_max", 6).with_limit("tokens_per_app_max", 3);
    let edge = edge.with_app("shop", &[("index.html", b"hi")]).start().await;
    let make = async |app: Option<&str>, expires_in_s: Option<u64>| {
        let wanted = json!({ "name": "ci", "app": app, "scope": "read", "expires_in_s": expires_in_s });
        got(edge.api(Method::POST, "/v1/tokens").json(&wanted)).await
    };
    let all =
        async || got(edge.api(Method::GET, "/v1/tokens")).await.json::<Value>()["tokens"].as_array().unwrap().len();
    let before = all().await;
    // Expired tokens make room for other tokens of the app, and never exceed the limit.
    for _ in 0..5 {
        eventually("a token ends", async || make(Some("shop"), Some(1)).await.status == StatusCode::CREATED).await;
        assert!(all().await <= before + 3);
    }
    // In the list of all tokens, too.
    for _ in 0..6 - before - 3 {
        assert_eq!(make(None, None).await.status, StatusCode::CREATED);
    }
    eventually("a token ends", async || make(None, None).await.status == StatusCode::CREATED).await;
    assert!(all().await <= 6);
    edge.stop().await;
}

/// An entry is no file of the app, so that no other limit applies.
#[tokio::test]
async fn pushes_that_say_very_much_take_no_more_of_the_disk_than_a_history_may() {
    let edge = edge().with_limit("history_entry_bytes_max", 16_384).with_limit("history_bytes_max", 65_536);
    let edge = edge.start().await;
    push(&edge, "shop", "prod", "one").await.unwrap();
    let files: Files<'_> = &[("index.html", b"two")];
    let say = async |characters: usize| {
        let long = Some("x".repeat(characters));
        let source = Source { message: long.clone(), url: long, ..Source::default() };
        let options = DeployOptions { if_live: Some("000000".to_owned()), ..DeployOptions::default() };
        let begin = BeginDeploy { manifest: manifest(files), source, options };
        edge.try_push("shop", "prod", begin, files).await.unwrap_err()
    };
    let refused = say(4_096).await;
    assert_eq!(refused.code, Code::BadRequest);
    assert!(refused.hint.is_some_and(|hint| hint.contains("history_entry_bytes_max")));
    let newest = async |limit: usize| {
        let path = format!("apps/shop/environments/prod/history?limit={limit}");
        let history = call(&edge, Method::GET, &path, Value::Null).await;
        history.json::<Value>()["deploys"].as_array().unwrap().clone()
    };
    let mut all = newest(1).await;
    for _ in 0..12 {
        assert_eq!(say(4_000).await.code, Code::LiveMoved);
        // Read immediately, since the oldest entry may be removed before the collection below: by the edge's own
        // collection a minute after the start, or by every 512th entry, which checks the bound.
        let entry = newest(1).await.remove(0);
        assert!(entry != all[0], "each push has an entry");
        all.insert(0, entry);
    }
    assert!(all.iter().all(|deploy| deploy.to_string().len() <= 16_384));
    assert!(call(&edge, Method::POST, "gc", json!({})).await.status.is_success());
    let kept = newest(500).await;
    // Entries of live versions count separately.
    assert!(kept.len() == 8 && kept.last() == all.last(), "{}", kept.len());
    assert_eq!(kept[..7], all[..7]);
    edge.stop().await;
}

#[tokio::test]
async fn pauses_do_not_fill_the_history_nor_take_the_switches_from_it() {
    let edge = edge().with_limit("history_entries_max", 100).start().await;
    push(&edge, "shop", "prod", "one").await.unwrap();
    push(&edge, "shop", "prod", "two").await.unwrap();
    for _ in 0..60 {
        for what in ["pause", "resume"] {
            let path = format!("apps/shop/environments/prod/{what}");
            let answer = call(&edge, Method::POST, &path, json!({})).await;
            assert!(answer.status.is_success(), "{}", answer.text());
        }
    }
    let entries = async || {
        let history = call(&edge, Method::GET, "apps/shop/environments/prod/history?limit=500", Value::Null).await;
        history.json::<Value>()["deploys"].as_array().unwrap().clone()
    };
    assert!(entries().await.len() > 100);
    assert!(call(&edge, Method::POST, "gc", json!({})).await.status.is_success());
    let kept = entries().await;
    assert_eq!(kept.len(), 102);
    assert_eq!(kept.iter().filter(|deploy| deploy["kind"] == "push").count(), 2);
    // A rollback finds the previous live version.
    assert!(call(&edge, Method::POST, "apps/shop/environments/prod/rollback", json!({})).await.status.is_success());
    edge.stop().await;
}
