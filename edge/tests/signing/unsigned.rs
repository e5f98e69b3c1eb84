//! Unsigned state under required signatures: changed by admins alone, and recorded in the live log.

use devanture_config::api::{BeginDeploy, DeployKind, LiveLogEntry, Scope, check_live_log};
use devanture_config::problem::Code;
use devanture_control::admin::OPERATIONS;
use http::{Method, StatusCode};
use serde_json::json;

use super::world::{APP, ONE, TWO, key, live_log, post, push_to, served, sign, signature, want};
use crate::support::backends::Backend;
use crate::support::{edge, got, manifest};

/// Iterates over the table of operations: a new operation is refused, or is listed as harmless to visitors.
#[tokio::test]
async fn what_nobody_signs_takes_an_admin_where_signatures_are_wanted() {
    let edge = edge().with_app(APP, ONE).start().await;
    want(&edge, &[&key("ada")], 1).await;
    let mut asked = 0;
    for scope in Scope::ALL.into_iter().filter(|scope| *scope != Scope::Admin) {
        let token = edge.token_for(scope, Some(APP), None).await;
        for operation in OPERATIONS.iter().filter(|row| row.changes().is_some_and(|(needs, _)| needs == "`admin`")) {
            let path = operation.path.replace("{app}", APP).replace("{env}", "prod");
            let path = path.replace("{host}", "www.example.org").replace("{snapshot}", "x");
            let answer = got(edge.ask(operation.method.clone(), &path, &token).json(&json!({}))).await;
            assert_eq!(answer.code(), Code::Forbidden, "{} with {scope}: {}", operation.id, answer.text());
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked} requests");
    // Request bodies: earlier settings, and a link.
    let token = edge.token_for(Scope::Promote, Some(APP), None).await;
    for (path, body) in [
        (format!("/v1/apps/{APP}/environments/prod/rollback"), json!({ "with_settings": true })),
        (format!("/v1/apps/{APP}/shares"), json!({ "target": "prod" })),
    ] {
        let answer = got(edge.ask(Method::POST, &path, &token).json(&body)).await;
        assert_eq!(answer.code(), Code::Forbidden, "{path}: {}", answer.text());
    }
    // Environments without required signatures, and operations that show visitors no unsigned content.
    push_to(&edge, "staging", ONE, &[], Default::default()).await.unwrap();
    let set = json!({ "set": { "A": { "value": "b" } } });
    let staging = format!("/v1/apps/{APP}/environments/staging/settings");
    assert_eq!(got(edge.ask(Method::PATCH, &staging, &token).json(&set)).await.status, StatusCode::OK);
    for operation in ["pause", "resume"] {
        let path = format!("/v1/apps/{APP}/environments/prod/{operation}");
        let answer = got(edge.ask(Method::POST, &path, &token).json(&json!({}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{operation}: {}", answer.text());
    }
    assert_eq!(served(&edge).await, "one");
    edge.stop().await;
}

/// A replaced version still has visitors, and a name below a wildcard belongs to the wildcard until assigned.
#[tokio::test]
async fn versions_and_names_that_visitors_have_from_before_take_an_admin_too() {
    let edge = edge().with_app(APP, ONE).start().await;
    want(&edge, &[&key("ada")], 1).await;
    let version = live_log(&edge, "").await.entries[0].version;
    let token = edge.token_for(Scope::Promote, Some(APP), None).await;
    let deleted = got(edge.ask(Method::DELETE, &format!("/v1/apps/{APP}/versions/{version}"), &token)).await;
    assert_eq!(deleted.code(), Code::Forbidden, "{}", deleted.text());
    let host = |environment: &str, name: &str| format!("/v1/apps/{APP}/environments/{environment}/hostnames/{name}");
    let wide = got(edge.api(Method::PUT, &host("prod", "*.example.org")).json(&json!({}))).await;
    assert_eq!(wide.status, StatusCode::OK, "{}", wide.text());
    let token = edge.token_for(Scope::Admin, Some(APP), Some("staging")).await;
    let taken = got(edge.ask(Method::PUT, &host("staging", "www.example.org"), &token).json(&json!({}))).await;
    assert_eq!(taken.code(), Code::HostnameTaken, "{}", taken.text());
    let mut listing = manifest(ONE);
    listing.base.hostnames = Some(vec!["www.example.org".parse().unwrap()]);
    let begin = json!({ "manifest": listing });
    let path = format!("/v1/apps/{APP}/environments/staging/deploys");
    let refused = got(edge.ask(Method::POST, &path, &token).json(&begin)).await;
    assert_eq!(refused.code(), Code::HostnameTaken, "{}", refused.text());
    // Another app is refused, too, whatever DNS proves.
    let stranger = edge.token_for(Scope::Admin, Some("blog"), None).await;
    let refused = got(edge.ask(Method::POST, "/v1/apps/blog/environments/prod/deploys", &stranger).json(&begin)).await;
    assert_eq!(refused.code(), Code::HostnameTaken, "{}", refused.text());
    // Other names remain free.
    let other = got(edge.ask(Method::PUT, &host("staging", "www.example.com"), &token).json(&json!({}))).await;
    assert_eq!(other.status, StatusCode::OK, "{}", other.text());
    edge.stop().await;
}

/// A default address takes precedence over the wildcard that brought the visitors before.
#[tokio::test]
async fn a_new_app_environment_or_alias_below_a_wildcard_takes_an_admin_of_the_wildcards_environment() {
    let edge = edge().with_app(APP, ONE).with_app("blog", ONE).start().await;
    want(&edge, &[&key("ada")], 1).await;
    let wide = format!("/v1/apps/{APP}/environments/prod/hostnames/*.localhost");
    let wide = got(edge.api(Method::PUT, &wide).json(&json!({}))).await;
    assert_eq!(wide.status, StatusCode::OK, "{}", wide.text());
    let version = json!({ "version": edge.live("blog").await.unwrap() });
    let pushed = json!({ "manifest": manifest(TWO) });
    let ways = [
        (Method::POST, "blog", "environments/staging/deploys", &pushed),
        (Method::POST, "blog", "environments/staging/switch", &version),
        (Method::PUT, "blog", "aliases/feature", &version),
        (Method::POST, "news", "environments/prod/deploys", &pushed),
    ];
    for (method, app, way, body) in &ways {
        let token = edge.token_for(Scope::Admin, Some(*app), None).await;
        let path = format!("/v1/apps/{app}/{way}");
        let refused = got(edge.ask(method.clone(), &path, &token).json(body)).await;
        assert_eq!(refused.code(), Code::HostnameTaken, "{path}: {}", refused.text());
    }
    // An address assigned before the wildcard continues.
    let token = edge.token_for(Scope::Admin, Some("blog"), None).await;
    let again = got(edge.ask(Method::POST, "/v1/apps/blog/environments/prod/deploys", &token).json(&pushed)).await;
    assert!(again.status.is_success(), "{}", again.text());
    // An admin of the environment may release the names, each with an entry in the live log.
    for (method, app, way, body) in &ways[1..3] {
        let taken = got(edge.api(method.clone(), &format!("/v1/apps/{app}/{way}")).json(body)).await;
        assert!(taken.status.is_success(), "{way}: {}", taken.text());
    }
    let log = live_log(&edge, "").await;
    let changes: Vec<&str> = log
        .entries
        .iter()
        .filter(|entry| entry.kind == DeployKind::Change)
        .map(|entry| entry.deploy.as_str())
        .collect();
    assert_eq!(changes, ["addHostname"; 3]);
    edge.stop().await;
}

/// A push needs no permission for the address of the version, which no wildcard covers.
#[tokio::test]
async fn no_push_takes_the_address_of_its_version_from_a_wildcard() {
    let edge = edge().with_app(APP, ONE).with_app("blog", TWO).start().await;
    want(&edge, &[&key("ada")], 1).await;
    let wide = format!("/v1/apps/{APP}/environments/prod/hostnames/*.localhost");
    let wide = got(edge.api(Method::PUT, &wide).json(&json!({}))).await;
    assert_eq!(wide.status, StatusCode::OK, "{}", wide.text());
    assert_eq!(edge.get("any.localhost", "/").await.status, StatusCode::OK);
    // The same files have the same id in each app.
    let address = format!("{}--blog.localhost", edge.live(APP).await.unwrap().short());
    let status = async || edge.visit(Method::GET, &address, "/").send().await.map_or(404, |got| got.status().as_u16());
    assert_eq!(status().await, 404);
    edge.push("blog", ONE).await;
    assert_eq!(status().await, 200);
    edge.stop().await;
}

#[tokio::test]
async fn the_live_log_names_what_nobody_signs_and_who_did_it() {
    let edge = edge().with_app(APP, ONE).start().await;
    let withdrawn = format!("/v1/apps/{APP}/withdrawn");
    let withdraw = async |query: &str| {
        let path = format!("{withdrawn}{query}");
        let answer = got(edge.api(Method::POST, &path).json(&json!({ "path": "/old" }))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    };
    withdraw("").await;
    want(&edge, &[&key("ada")], 1).await;
    withdraw("?dry_run=true").await;
    withdraw("").await;
    // An environment that requires none of the signatures cannot take a hostname.
    let host = |environment: &str| format!("/v1/apps/{APP}/environments/{environment}/hostnames/www.example.org");
    assert_eq!(got(edge.api(Method::PUT, &host("prod")).json(&json!({}))).await.status, StatusCode::OK);
    let token = edge.token_for(Scope::Promote, Some(APP), None).await;
    let moved = got(edge.ask(Method::PUT, &host("staging"), &token).json(&json!({}))).await;
    assert_eq!(moved.code(), Code::HostnameTaken, "{}", moved.text());
    let log = live_log(&edge, "").await;
    let entries: Vec<_> = log.entries.iter().map(|entry| (entry.kind, entry.deploy.as_str())).collect();
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert_eq!(entries[1..], [(DeployKind::Change, "withdraw"), (DeployKind::Change, "addHostname")]);
    assert!(log.entries.iter().all(|entry| entry.version == log.entries[0].version && !entry.who.is_empty()));
    assert_eq!(check_live_log((&log.app, &log.environment), None, &log.entries), Ok(()));
    edge.stop().await;
}

/// Another environment or app gets the name, by the API or by a version's list.
#[tokio::test]
async fn the_live_log_names_what_takes_visitors_away_and_brings_them_back() {
    let edge = edge().with_app(APP, ONE).with_app("blog", ONE).start().await;
    want(&edge, &[&key("ada")], 1).await;
    let ask = async |method: Method, path: &str, body: serde_json::Value| {
        let request = edge.api(method, &format!("/v1/apps/{path}"));
        let answer = got(if body.is_null() { request } else { request.json(&body) }).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    };
    let prod = format!("{APP}/environments/prod");
    for host in ["www.example.org", "*.example.net"] {
        ask(Method::PUT, &format!("{prod}/hostnames/{host}"), json!({})).await;
    }
    ask(Method::PUT, &format!("{APP}/environments/staging/hostnames/www.example.org?dry_run"), json!({})).await;
    ask(Method::PUT, &format!("{APP}/environments/staging/hostnames/www.example.org"), json!({})).await;
    ask(Method::PUT, "blog/environments/prod/hostnames/a.example.net", json!({})).await;
    let mut listing = manifest(TWO);
    listing.base.hostnames = Some(["b.example.net", "c.example.net"].map(|host| host.parse().unwrap()).into());
    let begin = BeginDeploy { manifest: listing, source: Default::default(), options: Default::default() };
    edge.try_push("blog", "prod", begin, TWO).await.unwrap();
    ask(Method::DELETE, &prod, json!(null)).await;
    ask(Method::POST, &format!("{APP}/undelete"), json!({ "environment": "prod" })).await;
    ask(Method::DELETE, APP, json!(null)).await;
    ask(Method::POST, &format!("{APP}/undelete"), json!({})).await;
    let log = live_log(&edge, "").await;
    let said = |entry: &LiveLogEntry| match entry.kind {
        DeployKind::Change => entry.deploy.clone(),
        kind => format!("{kind:?}"),
    };
    let mut expected = vec!["Push"];
    // Two names added, and one or two names removed three times.
    expected.extend(["addHostname"; 5]);
    expected.extend(["Delete", "Undelete", "deleteApp", "undelete"]);
    assert_eq!(log.entries.iter().map(said).collect::<Vec<_>>(), expected);
    assert_eq!(check_live_log((&log.app, &log.environment), None, &log.entries), Ok(()));
    edge.stop().await;
}

#[tokio::test]
async fn the_message_of_a_pause_takes_an_admin_where_signatures_are_wanted() {
    let edge = edge().with_app(APP, ONE).start().await;
    push_to(&edge, "staging", ONE, &[], Default::default()).await.unwrap();
    want(&edge, &[&key("ada")], 1).await;
    let token = edge.token_for(Scope::Promote, Some(APP), None).await;
    let pause = async |environment: &str, token: &str, body: serde_json::Value| {
        let path = format!("/v1/apps/{APP}/environments/{environment}/pause");
        let answer = got(edge.ask(Method::POST, &path, token).json(&body)).await;
        if answer.status == StatusCode::OK { None } else { Some(answer.code()) }
    };
    let message = json!({ "message": "Pay here instead." });
    assert_eq!(pause("prod", &token, message.clone()).await, Some(Code::Forbidden));
    assert_eq!(pause("staging", &token, message.clone()).await, None);
    for body in [json!({}), json!({ "message": " " })] {
        assert_eq!(pause("prod", &token, body).await, None, "what the edge says by itself");
    }
    assert_eq!(pause("prod", edge.admin_token(), message.clone()).await, None);
    // A value set by an admin may stay.
    assert_eq!(pause("prod", &token, json!({ "message": "Pay here instead.", "retry_after_s": 9 })).await, None);
    let log = live_log(&edge, "").await;
    let changes: Vec<_> = log.entries.iter().filter(|entry| entry.kind == DeployKind::Change).collect();
    assert_eq!(changes.iter().map(|entry| entry.deploy.as_str()).collect::<Vec<_>>(), ["pause"]);
    edge.stop().await;
}

/// `release` is the first code that would run.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_signed_runs_no_code_in_its_environment() {
    let edge = edge().with_runner().start().await;
    let (place, host) = ((APP, "prod"), "shop.localhost");
    edge.push_backend(edge.admin_token(), place, &Backend::new("one")).await.unwrap();
    let ada = key("ada");
    want(&edge, &[&ada], 1).await;
    let next = Backend::new("two").with("release", json!(["sh", "-c", "touch \"$DEVANTURE_DATA/ran\""]));
    let refused = edge.push_backend(edge.admin_token(), place, &next).await.unwrap_err();
    assert_eq!(refused.code, Code::NotSigned, "{refused:?}");
    let two = edge.push_preview(edge.admin_token(), place, &next).await.unwrap().version;
    assert_eq!(post(&edge, "switch", json!({ "version": two })).await.code(), Code::NotSigned);
    let has_run = "fs.existsSync(process.env.DEVANTURE_DATA + '/ran')";
    assert_eq!(edge.evaluate(host, has_run).await, json!(false));
    assert_eq!(sign(&edge, two, &signature(&ada, two)).await.status, StatusCode::OK);
    assert_eq!(post(&edge, "switch", json!({ "version": two })).await.status, StatusCode::OK);
    assert_eq!(edge.evaluate(host, has_run).await, json!(true));
    edge.stop().await;
}
