//! Deleted apps, environments and versions stop serving, can be restored for a time, and are then removed.

use devanture_config::api::{
    CollectReport, DeletedThing, History, PlaceDeleteReport, Scope, UndeleteReport, WhyCollected,
};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::deploying::keep::{age, api, collect, keeping};
use crate::support::{Files, RunningEdge, edge, got, manifest};

/// Returns true if a visitor of the host is refused: no certificate, or a 404 on an open connection.
async fn is_gone(edge: &RunningEdge, host: &str) -> bool {
    let answer = edge.visit(Method::GET, host, "/").send().await;
    answer.map_or(true, |answer| matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::MISDIRECTED_REQUEST))
}

async fn delete(edge: &RunningEdge, path: &str) -> crate::support::Got {
    api(edge, Method::DELETE, path, Value::Null).await
}

async fn push_to(edge: &RunningEdge, app: &str, environment: &str, files: Files<'_>) -> Result<(), Code> {
    let begin = devanture_config::api::BeginDeploy {
        manifest: manifest(files),
        source: Default::default(),
        options: Default::default(),
    };
    edge.try_push(app, environment, begin, files).await.map(drop).map_err(|problem| problem.code)
}

#[tokio::test]
async fn what_comes_back_names_the_hostnames_that_went_elsewhere_meanwhile() {
    let edge = edge().with_app("other", &[("index.html", b"other")]).start().await;
    edge.push("shop", &[("index.html", b"shop")]).await;
    push_to(&edge, "shop", "staging", &[("index.html", b"next")]).await.unwrap();
    let name = |app: &str, environment: &str, host: &str| format!("{app}/environments/{environment}/hostnames/{host}");
    for (environment, host) in [("prod", "a.example.org"), ("prod", "b.example.org"), ("staging", "c.example.org")] {
        api(&edge, Method::PUT, &name("shop", environment, host), Value::Null).await.json::<Value>();
    }
    delete(&edge, "shop/environments/staging").await.json::<PlaceDeleteReport>();
    delete(&edge, "shop").await.json::<PlaceDeleteReport>();
    api(&edge, Method::PUT, &name("other", "prod", "b.example.org"), Value::Null).await.json::<Value>();
    let back: UndeleteReport = api(&edge, Method::POST, "shop/undelete", Value::Null).await.json();
    assert_eq!(back.lost_hostnames, ["b.example.org".parse().unwrap()]);
    assert_eq!(edge.get("a.example.org", "/").await.text(), "shop");
    assert_eq!(edge.get("b.example.org", "/").await.text(), "other");

    api(&edge, Method::PUT, &name("other", "prod", "c.example.org"), Value::Null).await.json::<Value>();
    let wanted = json!({ "environment": "staging" });
    let back: UndeleteReport = api(&edge, Method::POST, "shop/undelete", wanted).await.json();
    assert_eq!(back.lost_hostnames, ["c.example.org".parse().unwrap()]);
    edge.stop().await;
}

#[tokio::test]
async fn an_app_that_is_deleted_answers_nothing_and_comes_back_whole() {
    let edge = edge().with_app("other", &[("index.html", b"other")]).start().await;
    let one = edge.push("shop", &[("index.html", b"one")]).await;
    edge.push("shop", &[("index.html", b"two")]).await;
    push_to(&edge, "shop", "staging", &[("index.html", b"next")]).await.unwrap();
    api(&edge, Method::PUT, "shop/environments/prod/hostnames/www.example.org", Value::Null).await.json::<Value>();
    api(&edge, Method::PUT, "shop/aliases/old", json!({ "version": one.version })).await.json::<Value>();
    let preview = format!("{}--shop.localhost", one.version.short());
    let hosts = ["shop.localhost", "staging--shop.localhost", "old--shop.localhost", "www.example.org", &preview];
    let texts = ["two", "next", "one", "two", "one"];
    let own = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let dry: PlaceDeleteReport = delete(&edge, "shop?dry_run=true").await.json();
    assert!(dry.dry_run && dry.environments.len() == 2 && dry.versions == 3);
    assert_eq!(dry.hostnames, ["www.example.org"]);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "two");
    let report: PlaceDeleteReport = got(edge.ask(Method::DELETE, "/v1/apps/shop", &own)).await.json();
    assert!(!report.dry_run && report.until_ms >= dry.until_ms);
    let edge = check_gone(edge, &hosts, &own).await;
    // The state is as before the deletion.
    let back: UndeleteReport = got(edge.ask(Method::POST, "/v1/apps/shop/undelete", &own)).await.json();
    assert_eq!((back.app.as_str(), back.environment, back.version), ("shop", None, None));
    assert_eq!(back.lost_hostnames, []);
    for (host, text) in hosts.iter().zip(texts) {
        assert_eq!(edge.get(host, "/").await.text(), text, "{host}");
    }
    assert_eq!(got(edge.ask(Method::GET, "/v1/apps/shop/environments/prod", &own)).await.status, 200);
    assert_eq!(got(edge.ask(Method::POST, "/v1/apps/shop/undelete", &own)).await.code(), Code::NotFound);
    edge.stop().await;
}

/// Checks, now and after a restart: hosts stop serving, the app's token gets the reason, and the name stays reserved.
async fn check_gone(mut edge: RunningEdge, hosts: &[&str], own: &str) -> RunningEdge {
    for round in 0..2 {
        for host in hosts {
            assert!(is_gone(&edge, host).await, "{host} in round {round}");
        }
        assert_eq!(edge.get("other.localhost", "/").await.text(), "other");
        for (method, path) in [
            (Method::GET, "environments/prod"),
            (Method::GET, "environments/prod/history"),
            (Method::GET, "aliases"),
            (Method::POST, "environments/prod/rollback"),
            (Method::DELETE, "environments/staging"),
            (Method::DELETE, ""),
        ] {
            let path = format!("/v1/apps/shop/{path}");
            let answer = got(edge.ask(method.clone(), path.trim_end_matches('/'), own)).await;
            assert_eq!(answer.code(), Code::Deleted, "{method} {path}");
        }
        // A token without access learns nothing.
        let stranger = edge.token_for(Scope::Admin, Some("other"), None).await;
        assert_eq!(got(edge.ask(Method::GET, "/v1/apps/shop/aliases", &stranger)).await.code(), Code::NotFound);
        assert_eq!(push_to(&edge, "shop", "prod", &[("index.html", b"new")]).await, Err(Code::Deleted));
        let things: Vec<DeletedThing> = got(edge.ask(Method::GET, "/v1/apps/shop/deleted", own)).await.json();
        assert!(things.len() == 1 && things[0].environment.is_none() && things[0].version.is_none());
        // No file is collected while a restore is possible.
        age(&edge);
        assert_eq!(collect(&edge, "").await.files, 0);
        edge = edge.restart().await;
    }
    edge
}

#[tokio::test]
async fn an_app_whose_time_is_over_is_gone_with_all_that_it_had() {
    let setup = edge().with_limit("grace_ms_max", 0);
    let edge = setup.with_toml("[retention]\nundelete_hours = 0\ncollect_every_s = 0").start().await;
    edge.push("shop", &[("index.html", b"shop"), ("shared.txt", b"shared")]).await;
    edge.push("other", &[("shared.txt", b"shared")]).await;
    api(&edge, Method::PUT, "shop/environments/prod/hostnames/www.example.org", Value::Null).await.json::<Value>();
    let own = edge.token_for(Scope::Admin, Some("shop"), None).await;
    assert_eq!(delete(&edge, "shop").await.status, 200);
    assert_eq!(got(edge.ask(Method::POST, "/v1/apps/shop/undelete", &own)).await.code(), Code::NotFound);
    assert_eq!(push_to(&edge, "shop", "prod", &[("index.html", b"new")]).await, Err(Code::Deleted));
    age(&edge);
    let foreseen: CollectReport = collect(&edge, "?dry_run=true").await;
    let report: CollectReport = collect(&edge, "").await;
    assert_eq!((&foreseen.apps, &foreseen.versions, foreseen.files), (&report.apps, &report.versions, report.files));
    assert_eq!(report.apps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["shop"]);
    assert!(report.versions.len() == 1 && report.versions[0].why == WhyCollected::AppDeleted);
    // The page and the manifest are removed; files of another app stay.
    assert_eq!(report.files, 2);
    assert_eq!(edge.get("other.localhost", "/shared.txt").await.text(), "shared");
    assert_eq!(got(edge.ask(Method::GET, "/v1/apps/shop/aliases", &own)).await.code(), Code::BadToken);
    let edge = edge.restart().await;
    assert_eq!(api(&edge, Method::GET, "shop/environments/prod", Value::Null).await.code(), Code::NotFound);
    // The name is free, and the old history is invisible.
    push_to(&edge, "shop", "prod", &[("index.html", b"new")]).await.unwrap();
    let history: History = api(&edge, Method::GET, "shop/environments/prod/history", Value::Null).await.json();
    assert_eq!(history.deploys.len(), 1);
    let moved = api(&edge, Method::PUT, "other/environments/prod/hostnames/www.example.org", Value::Null).await;
    assert_eq!(moved.json::<Value>()["moved_from"], Value::Null);
    edge.stop().await;
}

/// Error codes that show the rights of an account: with the token of a login, and at a new login.
async fn says_of(edge: &RunningEdge, access_token: &str, name: &str) -> (Code, Code) {
    let by_token = got(edge.ask(Method::GET, "/v1/apps/shop/environments/staging", access_token)).await;
    let url = format!("https://localhost:{}/v1/login", edge.admin().port());
    let request = json!({ "login": name, "password": "correct horse battery" });
    (by_token.code(), got(edge.client().post(url).json(&request)).await.code())
}

#[tokio::test]
async fn the_accounts_of_an_app_or_an_environment_end_with_it() {
    let setup = edge().with_limit("grace_ms_max", 0).with_limit("argon2_memory_kib", 7_168);
    let setup = setup.with_limit("argon2_passes", 1);
    let edge = setup.with_toml("[retention]\nundelete_hours = 0\ncollect_every_s = 0").start().await;
    let mut tokens = Vec::new();
    for (name, app, environment) in
        [("ada", "shop", None), ("bob", "shop", Some("staging")), ("carol", "other", Some("staging"))]
    {
        let wanted = json!({ "name": name, "password": "correct horse battery", "scope": "admin", "app": app,
            "environment": environment });
        let made = got(edge.api(Method::POST, "/v1/accounts").json(&wanted)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let url = format!("https://localhost:{}/v1/login", edge.admin().port());
        let request = json!({ "login": name, "password": "correct horse battery" });
        let login: Value = got(edge.client().post(url).json(&request)).await.json();
        tokens.push(login["access_token"].as_str().unwrap().to_owned());
    }
    for environment in ["prod", "staging"] {
        push_to(&edge, "shop", environment, &[("index.html", b"old")]).await.unwrap();
    }
    let accounts = async || -> Vec<String> {
        let list: Value = got(edge.api(Method::GET, "/v1/accounts")).await.json();
        let accounts = list["accounts"].as_array().unwrap().iter();
        accounts.map(|account| account["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(delete(&edge, "shop/environments/staging").await.status, 200);
    collect(&edge, "").await;
    assert_eq!(accounts().await, ["ada", "carol"]);
    assert_eq!(says_of(&edge, &tokens[1], "bob").await, (Code::BadToken, Code::BadLogin));
    assert_eq!(delete(&edge, "shop").await.status, 200);
    collect(&edge, "").await;
    // Another owner has the name now.
    push_to(&edge, "shop", "staging", &[("index.html", b"new")]).await.unwrap();
    assert_eq!(accounts().await, ["carol"]);
    // The new owner learns nothing of earlier environments.
    let owner = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let reported: Value = got(edge.ask(Method::GET, "/v1/audit?limit=1000", &owner)).await.json();
    let actions: Vec<&str> =
        reported["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"push") && !actions.contains(&"delete_app"), "{reported}");
    assert_eq!(says_of(&edge, &tokens[0], "ada").await, (Code::BadToken, Code::BadLogin));
    assert_eq!(got(edge.ask(Method::GET, "/v1/apps/other/aliases", &tokens[2])).await.code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test]
async fn an_environment_that_is_deleted_keeps_its_names_and_comes_back_as_it_was() {
    let edge = keeping(1).start().await;
    let live = edge.push("shop", &[("index.html", b"prod")]).await;
    push_to(&edge, "shop", "staging", &[("index.html", b"staging")]).await.unwrap();
    api(&edge, Method::PUT, "shop/environments/staging/hostnames/www.example.org", Value::Null).await.json::<Value>();
    api(&edge, Method::POST, "shop/environments/staging/pause", json!({ "message": "Back at ten." }))
        .await
        .json::<Value>();
    let limited = edge.token_for(Scope::Admin, Some("shop"), Some("staging")).await;
    let path = "/v1/apps/shop/environments/staging";
    assert_eq!(got(edge.ask(Method::DELETE, path, &limited)).await.code(), Code::Forbidden);
    let report: PlaceDeleteReport = delete(&edge, "shop/environments/staging").await.json();
    assert_eq!(report.hostnames, ["www.example.org"]);
    // After many further versions, the environment's live version still exists.
    for text in [&b"a"[..], b"b", b"c"] {
        edge.push("shop", &[("index.html", text)]).await;
    }
    age(&edge);
    assert_eq!(collect(&edge, "").await.versions.iter().map(|one| one.version).max(), Some(live.version).max(None));
    let edge = edge.restart().await;
    assert!(is_gone(&edge, "staging--shop.localhost").await && is_gone(&edge, "www.example.org").await);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "c");
    for (method, path, body) in [
        (Method::GET, "shop/environments/staging", Value::Null),
        (Method::POST, "shop/environments/staging/promote", json!({ "from": "prod" })),
        (Method::POST, "shop/environments/staging/resume", Value::Null),
        (Method::PUT, "shop/aliases/staging", json!({ "version": live.version })),
        (Method::DELETE, "shop/environments/staging", Value::Null),
    ] {
        assert_eq!(api(&edge, method, path, body).await.code(), Code::Deleted, "{path}");
    }
    assert_eq!(push_to(&edge, "shop", "staging", &[("index.html", b"new")]).await, Err(Code::Deleted));
    let stolen = edge.token_for(Scope::Admin, Some("other"), None).await;
    push_to(&edge, "other", "prod", &[("index.html", b"other")]).await.unwrap();
    let take = edge.ask(Method::PUT, "/v1/apps/other/environments/prod/hostnames/www.example.org", &stolen);
    assert_eq!(got(take).await.code(), Code::HostnameTaken);
    let back: UndeleteReport =
        api(&edge, Method::POST, "shop/undelete", json!({ "environment": "staging" })).await.json();
    assert_eq!(back.environment.unwrap().as_str(), "staging");
    // Still paused.
    for host in ["staging--shop.localhost", "www.example.org"] {
        assert_eq!(edge.get(host, "/").await.status, 503, "{host}");
    }
    api(&edge, Method::POST, "shop/environments/staging/resume", Value::Null).await.json::<Value>();
    assert_eq!(edge.get("www.example.org", "/").await.text(), "staging");
    let history: History = api(&edge, Method::GET, "shop/environments/staging/history", Value::Null).await.json();
    let kinds: Vec<String> = history.deploys.iter().map(|one| format!("{:?}", one.kind)).collect();
    assert_eq!(kinds, ["Resume", "Undelete", "Delete", "Pause", "Push"]);
    assert!(history.deploys.iter().all(|one| one.who == "test"));
    edge.stop().await;
}

#[tokio::test]
async fn what_a_deleted_environment_would_go_back_to_is_kept_with_it() {
    // Both by age, or one by age and the other as the rollback target.
    for keep_versions in [1, 2] {
        would_go_back(keep_versions).await;
    }
}

async fn would_go_back(keep_versions: u64) {
    let edge = keeping(keep_versions).start().await;
    push_to(&edge, "shop", "staging", &[("index.html", b"one")]).await.unwrap();
    let options = devanture_config::api::DeployOptions { no_switch: true, ..Default::default() };
    let files: Files<'_> = &[("index.html", b"never live")];
    let begin = devanture_config::api::BeginDeploy { manifest: manifest(files), source: Default::default(), options };
    let idle = edge.try_push("shop", "staging", begin, files).await.unwrap().version;
    push_to(&edge, "shop", "staging", &[("index.html", b"two")]).await.unwrap();
    assert_eq!(delete(&edge, "shop/environments/staging").await.status, 200);
    age(&edge);
    // The first version was live after this version was stored, and is the rollback target.
    let taken: Vec<_> = collect(&edge, "").await.versions.iter().map(|one| one.version).collect();
    assert_eq!(taken, [idle]);
    let wanted = json!({ "environment": "staging" });
    assert_eq!(api(&edge, Method::POST, "shop/undelete", wanted).await.status, 200);
    assert_eq!(api(&edge, Method::POST, "shop/environments/staging/rollback", json!({})).await.status, 200);
    assert_eq!(edge.get("staging--shop.localhost", "/").await.text(), "one");
    edge.stop().await;
}

#[tokio::test]
async fn law_10_an_environment_that_is_had_back_answers_for_what_it_replaced() {
    let retention = "[retention]\nkeep_versions = 1\nkeep_days = 0\ncollect_every_s = 0";
    let edge = edge().with_toml(retention).start().await;
    edge.push("shop", &[("index.html", b"prod")]).await;
    for (name, text) in [("a-4f2a91b1.js", "one"), ("a-4f2a91b2.js", "two"), ("a-4f2a91b3.js", "three")] {
        push_to(&edge, "shop", "staging", &[(name, text.as_bytes())]).await.unwrap();
    }
    assert_eq!(delete(&edge, "shop/environments/staging").await.status, 200);
    // The grace period continues during the deletion.
    age(&edge);
    assert_eq!(collect(&edge, "").await.versions, []);
    let wanted = json!({ "environment": "staging" });
    assert_eq!(api(&edge, Method::POST, "shop/undelete", wanted).await.status, 200);
    for (name, text) in [("a-4f2a91b1.js", "one"), ("a-4f2a91b2.js", "two"), ("a-4f2a91b3.js", "three")] {
        assert_eq!(edge.get("staging--shop.localhost", &format!("/{name}")).await.text(), text);
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_name_and_the_version_of_a_deleted_environment_are_not_free() {
    let edge = edge().with_app("shop", &[("index.html", b"prod")]).start().await;
    push_to(&edge, "shop", "staging", &[("index.html", b"one")]).await.unwrap();
    let history: History = api(&edge, Method::GET, "shop/environments/staging/history", Value::Null).await.json();
    let version = history.deploys[0].version;
    assert_eq!(delete(&edge, "shop/environments/staging").await.status, 200);
    let refused = delete(&edge, &format!("shop/versions/{version}")).await.problem();
    assert_eq!(refused.code, Code::VersionInUse);
    assert!(refused.detail.contains("the deleted environment staging"), "{}", refused.detail);
    // Refused before the upload.
    let options =
        devanture_config::api::DeployOptions { alias: Some("staging".parse().unwrap()), ..Default::default() };
    let files: Files<'_> = &[("index.html", b"never sent")];
    let begin = devanture_config::api::BeginDeploy { manifest: manifest(files), source: Default::default(), options };
    let begun = edge.api(Method::POST, "/v1/apps/shop/environments/prod/deploys").json(&begin);
    assert_eq!(got(begun).await.code(), Code::Deleted);
    let wanted = json!({ "environment": "staging" });
    assert_eq!(api(&edge, Method::POST, "shop/undelete", wanted).await.status, 200);
    assert_eq!(edge.get("staging--shop.localhost", "/").await.text(), "one");
    edge.stop().await;
}

#[tokio::test]
async fn an_environment_whose_time_is_over_leaves_its_names_and_the_rest_of_the_app() {
    let setup = edge().with_limit("grace_ms_max", 0);
    let edge = setup.with_toml("[retention]\nundelete_hours = 0\ncollect_every_s = 0").start().await;
    edge.push("shop", &[("index.html", b"prod")]).await;
    push_to(&edge, "shop", "staging", &[("index.html", b"staging")]).await.unwrap();
    api(&edge, Method::PUT, "shop/environments/staging/hostnames/www.example.org", Value::Null).await.json::<Value>();
    let own = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    assert_eq!(delete(&edge, "shop/environments/staging").await.status, 200);
    let report = collect(&edge, "").await;
    assert!(report.environments.len() == 1 && report.apps.is_empty() && report.versions.is_empty());
    assert_eq!(got(edge.ask(Method::GET, "/v1/apps/shop/environments/staging", &own)).await.code(), Code::BadToken);
    let put = api(&edge, Method::PUT, "shop/environments/prod/hostnames/www.example.org", Value::Null).await;
    assert_eq!(put.json::<Value>()["moved_from"], Value::Null);
    let history: History = api(&edge, Method::GET, "shop/environments/staging/history", Value::Null).await.json();
    assert_eq!(history.deploys, []);
    push_to(&edge, "shop", "staging", &[("index.html", b"again")]).await.unwrap();
    assert_eq!(edge.get("www.example.org", "/").await.text(), "prod");
    edge.stop().await;
}

#[tokio::test]
async fn a_version_that_was_deleted_comes_back_or_goes_for_good() {
    let edge = keeping(0).start().await;
    let one = edge.push("shop", &[("index.html", b"one")]).await.version;
    let two = edge.push("shop", &[("index.html", b"two")]).await.version;
    let host = format!("{}--shop.localhost", one.short());
    let path = format!("shop/versions/{one}");
    let gone: Value = delete(&edge, &path).await.json();
    assert!(gone["until_ms"].as_u64().unwrap() > 0);
    assert!(is_gone(&edge, &host).await);
    age(&edge);
    assert_eq!(collect(&edge, "").await.files, 0, "it can be restored");
    let wanted = json!({ "version": one.short() });
    let undelete = || api(&edge, Method::POST, "shop/undelete", wanted.clone());
    assert_eq!(undelete().await.json::<UndeleteReport>().version, Some(one));
    assert_eq!(edge.get(&host, "/").await.text(), "one");
    assert_eq!(undelete().await.code(), Code::NotFound);
    let both = json!({ "version": one, "environment": "prod" });
    assert_eq!(api(&edge, Method::POST, "shop/undelete", both).await.code(), Code::BadRequest);
    let unknown = json!({ "versions": [one] });
    assert_eq!(api(&edge, Method::POST, "shop/undelete", unknown).await.code(), Code::BadRequest);
    // A path withdrawn meanwhile stays withdrawn.
    assert_eq!(delete(&edge, &path).await.status, 200);
    api(&edge, Method::POST, "shop/withdrawn", json!({ "path": "/index.html" })).await.json::<Value>();
    assert_eq!(delete(&edge, &format!("shop/versions/{two}")).await.code(), Code::VersionInUse);
    assert_eq!(undelete().await.status, 200);
    assert_eq!(edge.get(&host, "/").await.status, 404);
    // A push of the same bundle replaces the deleted version.
    assert_eq!(delete(&edge, &path).await.status, 200);
    edge.push("shop", &[("index.html", b"one")]).await;
    assert_eq!(undelete().await.code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test]
async fn a_rollback_to_a_deleted_version_names_it() {
    let edge = edge().start().await;
    let one = edge.push("shop", &[("index.html", b"one")]).await.version.short();
    edge.push("shop", &[("index.html", b"two")]).await;
    assert_eq!(delete(&edge, &format!("shop/versions/{one}")).await.status, 200);
    let path = "shop/environments/prod/rollback";
    let refused = api(&edge, Method::POST, path, Value::Null).await;
    assert_eq!(refused.code(), Code::NoPrevious);
    let text = refused.text();
    assert!(text.contains(&format!("the last one was {one}")) && text.contains("undelete version"), "{text}");
    assert_eq!(api(&edge, Method::POST, "shop/undelete", json!({ "version": one })).await.status, 200);
    assert_eq!(api(&edge, Method::POST, path, Value::Null).await.status, 200);
    edge.stop().await;
}
