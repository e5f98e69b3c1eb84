//! Dry runs of pushes, deletions, withdrawals, aliases and tokens: refused like the change, and without an effect.

use devanture_config::api::{
    AliasPrediction, AuditLog, DeleteReport, DeployBegun, DeployPrediction, RestoreReport, Scope, TokenMade,
    TokenPrediction, UndeleteReport, WithdrawReport,
};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Got, RunningEdge, edge, got};

/// Change: method, path, body.
type Change = (Method, String, Value);

async fn answer(edge: &RunningEdge, token: &str, (method, path, body): &Change, query: &str) -> Got {
    let request = edge.ask(method.clone(), &format!("/v1/{path}{query}"), token);
    got(if body.is_null() { request } else { request.json(body) }).await
}

/// Query parameter for a dry run, appended to the query of `path`.
fn dry(path: &str) -> &'static str {
    if path.contains('?') { "&dry_run=true" } else { "?dry_run=true" }
}

/// App with the versions `stored` and `live`, an alias, a withdrawn path, and the id of a token for the app.
async fn world() -> (RunningEdge, String, String) {
    let edge = edge().start().await;
    let stored = edge.push("shop", &[("index.html", b"one"), ("a.txt", b"a")]).await.version.to_string();
    edge.push("shop", &[("index.html", b"two"), ("a.txt", b"a")]).await;
    let live = edge.live("shop").await.unwrap().to_string();
    let alias = edge.api(Method::PUT, "/v1/apps/shop/aliases/feature").json(&json!({ "version": live }));
    assert_eq!(got(alias).await.status, StatusCode::OK);
    let withdraw = edge.api(Method::POST, "/v1/apps/shop/withdrawn").json(&json!({ "path": "/a.txt" }));
    assert_eq!(got(withdraw).await.status, StatusCode::OK);
    let wanted = json!({ "name": "ci", "app": "shop", "scope": "push" });
    let made: TokenMade = got(edge.api(Method::POST, "/v1/tokens").json(&wanted)).await.json();
    (edge, stored, made.id)
}

fn changes(stored: &str, token_id: &str) -> Vec<Change> {
    let new_token = |scope: &str| json!({ "name": "q", "app": "shop", "scope": scope });
    vec![
        (Method::PUT, "apps/shop/aliases/zz".to_owned(), json!({ "version": stored })),
        (Method::PUT, "apps/shop/aliases/feature".to_owned(), json!({ "version": stored })),
        (Method::DELETE, "apps/shop/aliases/feature".to_owned(), Value::Null),
        (Method::POST, "apps/shop/withdrawn".to_owned(), json!({ "path": "/index.html" })),
        (Method::DELETE, "apps/shop/withdrawn?path=/a.txt".to_owned(), Value::Null),
        (Method::POST, "tokens".to_owned(), new_token("read")),
        (Method::POST, "tokens".to_owned(), new_token("admin")),
        (Method::DELETE, format!("tokens/{token_id}"), Value::Null),
        (Method::DELETE, "tokens/000000000000".to_owned(), Value::Null),
        (Method::DELETE, format!("apps/shop/versions/{stored}"), Value::Null),
        (Method::DELETE, format!("apps/shop/versions/{stored}?purge=true"), Value::Null),
    ]
}

/// State that the changes could affect.
async fn state(edge: &RunningEdge, stored: &str) -> Vec<String> {
    let mut all = Vec::new();
    let history = "apps/shop/environments/prod/history";
    for path in ["apps/shop/aliases", "apps/shop/withdrawn", "apps/shop/deleted", history] {
        all.push(got(edge.api(Method::GET, &format!("/v1/{path}"))).await.text());
    }
    // The last use of a token changes with each request.
    let tokens: Value = got(edge.api(Method::GET, "/v1/tokens")).await.json();
    let tokens = tokens["tokens"].as_array().unwrap().iter().map(|token| token["id"].to_string());
    all.extend(tokens);
    all.push(edge.get(&format!("{}--shop.localhost", &stored[..12]), "/").await.text());
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit")).await.json();
    all.push(log.entries[0].number.to_string());
    all
}

#[tokio::test]
async fn a_dry_run_needs_the_rights_of_the_change() {
    let (edge, stored, token_id) = world().await;
    for token in [
        edge.token(Scope::Read).await,
        edge.token_for(Scope::Push, Some("shop"), Some("prod")).await,
        edge.token_for(Scope::Admin, Some("other"), None).await,
    ] {
        for change in changes(&stored, &token_id) {
            let foreseen = answer(&edge, &token, &change, dry(&change.1)).await.problem();
            let done = answer(&edge, &token, &change, "").await.problem();
            assert!(matches!(done.code, Code::Forbidden | Code::NotFound), "{change:?}: {done:?}");
            assert_eq!((foreseen.code, &foreseen.detail), (done.code, &done.detail), "{change:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_dry_run_of_a_push_begins_none() {
    let edge = edge().with_limit("pushes_max", 1).start().await;
    let at = "/v1/apps/shop/environments/prod/deploys";
    let file = json!({ "hash": "dc5a4edb8240b018124052c330270696f96771a63b45250a5c17d3000e823355", "size": 6 });
    let begin = json!({ "manifest": { "format": 1, "files": { "index.html": file } } });
    let push = |query: &str| got(edge.api(Method::POST, &format!("{at}{query}")).json(&begin));
    let mut versions = Vec::new();
    // More than the limit of concurrent pushes.
    for _ in 0..3 {
        let answer = push("?dry_run=true").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let foreseen: DeployPrediction = answer.json();
        assert_eq!((foreseen.dry_run, foreseen.missing.len(), foreseen.live), (true, 1, None));
        versions.push(foreseen.version);
    }
    let begun: DeployBegun = push("").await.json();
    assert_eq!((begun.version, begun.missing.len()), (versions[0], 1));
    let archive = edge.api(Method::POST, &format!("{at}?dry_run=true")).header("content-type", "application/zip");
    assert_eq!(got(archive.body("PK")).await.code(), Code::BadRequest);
    edge.stop().await;
}

#[tokio::test]
async fn a_dry_run_meets_the_conditions_and_limits_of_the_change() {
    let (edge, ..) = world().await;
    let live = edge.live("shop").await.unwrap().to_string();
    let token = edge.token(Scope::Admin).await;
    let change = |method: Method, path: &str, body: Value| (method, path.to_owned(), body);
    for (change, code) in [
        (change(Method::PUT, "apps/shop/aliases/prod", json!({ "version": live })), Code::AliasTaken),
        (change(Method::PUT, "apps/shop/aliases/zz", json!({ "version": "abcdef" })), Code::NotFound),
        (
            change(Method::PUT, "apps/shop/aliases/zz", json!({ "version": live, "expires": "2020-01-01T00:00:00Z" })),
            Code::BadRequest,
        ),
        (change(Method::DELETE, "apps/shop/aliases/zz", Value::Null), Code::NotFound),
        (change(Method::POST, "apps/shop/withdrawn", json!({ "path": "a.txt" })), Code::BadRequest),
        (change(Method::DELETE, "apps/shop/withdrawn?path=/x", Value::Null), Code::NotFound),
        (change(Method::POST, "tokens", json!({ "name": " ", "scope": "read" })), Code::BadRequest),
        (change(Method::DELETE, "tokens/000000000000", Value::Null), Code::NotFound),
        (change(Method::DELETE, &format!("apps/shop/versions/{live}"), Value::Null), Code::VersionInUse),
        (change(Method::DELETE, &format!("apps/shop/versions/{live}?purge=true"), Value::Null), Code::VersionInUse),
    ] {
        let foreseen = answer(&edge, &token, &change, dry(&change.1)).await.problem();
        let done = answer(&edge, &token, &change, "").await.problem();
        assert_eq!((foreseen.code, &foreseen.detail), (code, &done.detail), "{change:?}");
    }
    for method in [Method::PUT, Method::DELETE] {
        let request = edge.api(method.clone(), "/v1/apps/shop/aliases/feature?dry_run=true");
        let request = request.header("if-match", "\"1\"").json(&json!({ "version": live }));
        assert_eq!(got(request).await.code(), Code::PreconditionFailed, "{method}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_dry_run_reports_the_change_and_makes_none() {
    let (edge, stored, token_id) = world().await;
    let live = edge.live("shop").await.unwrap();
    let token = edge.token(Scope::Admin).await;
    let before = state(&edge, &stored).await;
    let mut foreseen = Vec::new();
    for change in changes(&stored, &token_id).into_iter().filter(|(_, path, _)| !path.contains("000000000000")) {
        let got = answer(&edge, &token, &change, dry(&change.1)).await;
        assert_eq!(got.status, StatusCode::OK, "{change:?}: {got:?}");
        assert_eq!(got.json::<Value>()["dry_run"], true, "{change:?}");
        assert_eq!(state(&edge, &stored).await, before, "{change:?}");
        foreseen.push(got);
    }
    let [new, moved, deleted, withdrawn, restored, read, admin, revoked, version, purged] = &foreseen[..] else {
        panic!("{foreseen:?}")
    };
    let alias = |got: &Got| got.json::<AliasPrediction>();
    let ids = |got: &Got| (alias(got).previous, alias(got).version.map(|id| id.to_string()), alias(got).changed);
    assert_eq!(ids(new), (None, Some(stored.clone()), true));
    assert_eq!(ids(moved), (Some(live), Some(stored.clone()), true));
    assert_eq!(ids(deleted), (Some(live), None, true));
    let withdrawn: WithdrawReport = withdrawn.json();
    assert_eq!((withdrawn.answered, withdrawn.was_withdrawn), (true, false));
    assert!(restored.json::<RestoreReport>().answers);
    for (got, scope) in [(read, Scope::Read), (admin, Scope::Admin)] {
        let made: TokenPrediction = got.json();
        assert_eq!((made.id, made.name.as_str(), made.scope), (None, "q", scope));
        assert!(!got.text().contains("dvt_"));
    }
    let revoked: TokenPrediction = revoked.json();
    assert_eq!((revoked.id, revoked.name.as_str()), (Some(token_id.clone()), "ci"));
    for got in [version, purged] {
        let report: DeleteReport = got.json();
        assert_eq!((report.version.to_string(), report.purged), (stored.clone(), None));
    }
    // An alias that already points to the version.
    let same = (Method::PUT, "apps/shop/aliases/feature".to_owned(), json!({ "version": live }));
    assert!(!answer(&edge, &token, &same, "?dry_run").await.json::<AliasPrediction>().changed);
    // No change is refused after a successful dry run.
    for change in changes(&stored, &token_id).into_iter().filter(|(_, path, _)| !path.contains("000000000000")) {
        // The new alias would still hold the version at the deletion; the moved alias is deleted before.
        if change.1.ends_with("/zz") {
            continue;
        }
        let got = answer(&edge, &token, &change, "").await;
        assert!(got.status.is_success(), "{change:?}: {got:?}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_dry_run_of_a_restoration_is_answered_as_it_is() {
    let (edge, stored, _) = world().await;
    let deletion = edge.api(Method::DELETE, &format!("/v1/apps/shop/versions/{stored}"));
    assert_eq!(got(deletion).await.status, StatusCode::OK);
    let version = (Method::POST, "apps/shop/undelete".to_owned(), json!({ "version": &stored[..12] }));
    let environment = (Method::POST, "apps/shop/undelete".to_owned(), json!({ "environment": "staging" }));
    let staging = edge.token_for(Scope::Admin, Some("shop"), Some("staging")).await;
    for token in [edge.token(Scope::Read).await, staging] {
        for change in [&version, &environment] {
            let foreseen = answer(&edge, &token, change, "?dry_run=true").await.problem();
            let done = answer(&edge, &token, change, "").await.problem();
            assert_eq!((foreseen.code, &foreseen.detail), (Code::Forbidden, &done.detail), "{change:?}");
        }
    }
    let own = edge.token_for(Scope::Admin, Some("shop"), None).await;
    assert_eq!(answer(&edge, &own, &environment, "?dry_run=true").await.code(), Code::NotFound);
    let foreseen: UndeleteReport = answer(&edge, &own, &version, "?dry_run=true").await.json();
    assert_eq!((foreseen.dry_run, foreseen.version.map(|id| id.to_string())), (true, Some(stored)));
    // The dry run left the version deleted.
    let done: UndeleteReport = answer(&edge, &own, &version, "").await.json();
    assert_eq!((done.dry_run, done.version), (false, foreseen.version));
    assert_eq!(answer(&edge, &own, &version, "?dry_run=true").await.code(), Code::NotFound);

    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/shop")).await.status, StatusCode::OK);
    let new_token = (Method::POST, "tokens".to_owned(), json!({ "name": "q", "app": "shop", "scope": "read" }));
    for (change, code) in [(&version, Code::Deleted), (&new_token, Code::Deleted)] {
        for query in ["?dry_run=true", ""] {
            assert_eq!(answer(&edge, &own, change, query).await.code(), code, "{change:?}{query}");
        }
    }
    let app = (Method::POST, "apps/shop/undelete".to_owned(), json!({}));
    assert_eq!(answer(&edge, &own, &app, "?dry_run=true").await.status, StatusCode::OK);
    assert_eq!(answer(&edge, &own, &new_token, "").await.code(), Code::Deleted, "a dry run restores nothing");
    assert_eq!(answer(&edge, &own, &app, "").await.status, StatusCode::OK);
    assert_eq!(answer(&edge, &own, &new_token, "").await.status, StatusCode::CREATED);
    edge.stop().await;
}
