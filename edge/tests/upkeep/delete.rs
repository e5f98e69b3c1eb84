//! A deleted version disappears from every hostname at once; a version in use cannot be deleted.

use std::sync::Arc;

use devanture_config::api::{CollectReport, DeleteReport, History, PlaceDeleteReport, Scope};
use devanture_config::problem::Code;
use devanture_config::{Digest, VersionId};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{RunningEdge, edge, eventually, got};
use crate::upkeep::{api, preview, store, switch};

async fn delete(edge: &RunningEdge, version: &str) -> crate::support::Got {
    api(edge, Method::DELETE, &format!("versions/{version}"), Value::Null).await
}

#[tokio::test]
async fn law_10_a_deleted_version_answers_nothing_any_more() {
    let edge = edge().start().await;
    let one = edge.push("shop", &[("index.html", b"one"), ("app-4f2a91bc.js", b"one()")]).await;
    edge.push("shop", &[("index.html", b"two"), ("app-91c2aa03.js", b"two()")]).await;
    assert_eq!(edge.get("shop.localhost", "/app-4f2a91bc.js").await.text(), "one()", "it is kept");
    assert_eq!(edge.get(&preview(&one), "/").await.text(), "one");
    let report: DeleteReport = delete(&edge, &one.version.short()).await.json();
    assert_eq!(report.version, one.version);
    assert_eq!(edge.get("shop.localhost", "/app-4f2a91bc.js").await.status, 404);
    assert_eq!(edge.get("shop.localhost", "/app-91c2aa03.js").await.text(), "two()");
    // The hostname is unassigned: a new connection gets no certificate, and an open connection a 404.
    let open = edge.visit(Method::GET, &preview(&one), "/");
    assert!(open.send().await.map_or(true, |answer| answer.status() == StatusCode::NOT_FOUND));
    for answer in [switch(&edge, "prod", &one.version.to_string()).await, delete(&edge, &one.version.to_string()).await]
    {
        assert_eq!(answer.code(), Code::NotFound);
    }
    let alias = api(&edge, Method::PUT, "aliases/feature-x", json!({"version": one.version})).await;
    assert_eq!(alias.code(), Code::NotFound);
    let edge = edge.restart().await;
    assert_eq!(edge.get("shop.localhost", "/app-4f2a91bc.js").await.status, 404);
    assert_eq!(switch(&edge, "prod", &one.version.to_string()).await.code(), Code::NotFound);
    // The same bundle is stored again.
    let again = store(&edge, &[("index.html", b"one"), ("app-4f2a91bc.js", b"one()")]).await;
    assert_eq!(again.version, one.version);
    assert_eq!(edge.get(&preview(&one), "/").await.text(), "one");
    edge.stop().await;
}

#[tokio::test]
async fn what_is_live_or_aliased_is_not_deleted() {
    let edge = edge().start().await;
    let one = edge.push("shop", &[("index.html", b"one")]).await;
    let id = one.version.to_string();
    edge.push("shop", &[("index.html", b"two")]).await;
    assert_eq!(switch(&edge, "staging", &id).await.status, 200);
    api(&edge, Method::PUT, "aliases/feature-x", json!({"version": id})).await.json::<Value>();
    let problem = delete(&edge, &id).await.problem();
    assert_eq!(problem.code, Code::VersionInUse);
    assert_eq!(
        problem.detail,
        format!("{} is live in staging, and what the alias feature-x points at.", one.version.short())
    );
    assert_eq!(edge.get("staging--shop.localhost", "/").await.text(), "one");
    edge.push("shop", &[("index.html", b"three")]).await;
    let alias = api(&edge, Method::DELETE, "aliases/feature-x", Value::Null).await;
    assert_eq!(alias.status, StatusCode::NO_CONTENT);
    assert_eq!(delete(&edge, &id).await.problem().detail, format!("{} is live in staging.", one.version.short()));
    let two = api(&edge, Method::GET, "environments/prod", Value::Null).await.json::<Value>()["version"].clone();
    switch(&edge, "staging", two.as_str().unwrap()).await;
    assert_eq!(delete(&edge, &id).await.status, 200);
    edge.stop().await;
}

#[tokio::test]
async fn a_rollback_passes_over_what_was_deleted() {
    let edge = edge().start().await;
    for text in [&b"one"[..], b"two", b"three"] {
        edge.push("shop", &[("index.html", text)]).await;
    }
    let history = || api(&edge, Method::GET, "environments/prod/history", Value::Null);
    let before: History = history().await.json();
    assert_eq!(before.deleted, []);
    let two = before.deploys[1].version;
    assert_eq!(delete(&edge, &two.to_string()).await.status, 200);
    let after: History = history().await.json();
    assert_eq!((after.deploys, after.deleted), (before.deploys, vec![two]));
    assert_eq!(api(&edge, Method::POST, "environments/prod/rollback", Value::Null).await.status, 200);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    let named = api(&edge, Method::POST, "environments/prod/rollback", json!({"version": two})).await;
    assert_eq!(named.code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test]
async fn only_who_may_push_to_the_whole_app_deletes() {
    let edge = edge().with_app("other", &[("index.html", b"other")]).start().await;
    let one = edge.push("shop", &[("index.html", b"one")]).await.version;
    edge.push("shop", &[("index.html", b"two")]).await;
    let path = format!("/v1/apps/shop/versions/{one}");
    for (token, code) in [
        (edge.token(Scope::Read).await, Code::Forbidden),
        (edge.token_for(Scope::Push, Some("shop"), Some("prod")).await, Code::Forbidden),
        (edge.token_for(Scope::Admin, Some("other"), None).await, Code::NotFound),
    ] {
        assert_eq!(got(edge.ask(Method::DELETE, &path, &token)).await.code(), code);
        let withdraw = edge.ask(Method::POST, "/v1/apps/shop/withdrawn", &token).json(&json!({"path": "/"}));
        assert_eq!(got(withdraw).await.code(), code);
    }
    // Another app's version is reported as missing.
    let elsewhere = got(edge.api(Method::DELETE, &format!("/v1/apps/other/versions/{one}"))).await;
    assert_eq!(elsewhere.code(), Code::NotFound);
    let token = edge.token_for(Scope::Push, Some("shop"), None).await;
    assert_eq!(got(edge.ask(Method::DELETE, &path, &token)).await.status, 200);
    edge.stop().await;
}

/// The second operation fails: no pointer ever names a deleted version.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_and_a_deletion_at_once_never_both_succeed() {
    let edge = Arc::new(edge().start().await);
    edge.push("shop", &[("index.html", b"live")]).await;
    let mut deleted = 0;
    for round in 0..20 {
        let text = format!("round {round}");
        let id = store(&edge, &[("index.html", text.as_bytes())]).await.version.to_string();
        // An existing pointer, a new pointer, and an alias.
        let environment = if round % 2 == 0 { "prod".to_owned() } else { format!("new-{round}") };
        let others = {
            let (edge, id) = (Arc::clone(&edge), id.clone());
            tokio::spawn(async move {
                match round % 3 {
                    0 => api(&edge, Method::PUT, &format!("aliases/x-{round}"), json!({"version": id})).await,
                    _ => switch(&edge, &environment, &id).await,
                }
            })
        };
        let gone = delete(&edge, &id).await;
        let pointed = others.await.unwrap();
        match (gone.status.is_success(), pointed.status.is_success()) {
            (true, false) => assert!(matches!(pointed.code(), Code::NotFound | Code::Conflict), "{pointed:?}"),
            (false, true) => assert_eq!(gone.code(), Code::VersionInUse),
            (false, false) => assert_eq!(pointed.code(), Code::Conflict, "{gone:?}"),
            (true, true) => panic!("both in round {round}"),
        }
        deleted += usize::from(gone.status.is_success());
    }
    eprintln!("{deleted} of 20 were deleted");
    eventually("everything that is live answers", async || {
        let status = api(&edge, Method::GET, "environments/prod", Value::Null).await.json::<Value>();
        let places = status["places"].as_array().unwrap().clone();
        for place in places {
            let name = place["name"].as_str().unwrap();
            let host = if name == "prod" { "shop.localhost".to_owned() } else { format!("{name}--shop.localhost") };
            if edge.get(&host, "/").await.status != 200 {
                return false;
            }
        }
        true
    })
    .await;
    Arc::into_inner(edge).unwrap().stop().await;
}

async fn purge(edge: &RunningEdge, path: &str) -> crate::support::Got {
    got(edge.api(Method::DELETE, &format!("/v1/apps/{path}?purge=true"))).await
}

fn is_stored(edge: &RunningEdge, bytes: &[u8]) -> bool {
    let name = Digest::of(bytes).to_string();
    ["blobs", "collected/blobs"].iter().any(|kind| edge.data_dir().join(kind).join(&name[..2]).join(&name).exists())
}

#[tokio::test]
async fn a_purge_removes_what_nothing_else_refers_to_and_nothing_else() {
    let edge = edge().start().await;
    let one = edge.push("shop", &[("index.html", b"one"), ("a.txt", b"shared"), ("b.txt", b"old")]).await;
    edge.push("shop", &[("index.html", b"two"), ("a.txt", b"shared")]).await;
    edge.push("blog", &[("index.html", b"blog"), ("b.txt", b"blogs"), ("c.txt", b"old")]).await;
    let only = edge.push("gone", &[("index.html", b"gone"), ("c.txt", b"shared")]).await;
    edge.push("gone", &[("index.html", b"newer")]).await;

    let report: DeleteReport = purge(&edge, &format!("shop/versions/{}", one.version)).await.json();
    let purged = report.purged.unwrap();
    assert_eq!(purged.files, 2, "what the app itself has no longer; its manifest stays for the names in it");
    assert_eq!(purged.removed.unwrap().files, 1, "its page; the other file is another app's, too");
    let audit: Value = got(edge.api(Method::GET, "/v1/audit?app=shop&limit=2")).await.json();
    let actions: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["purge_version", "delete_version"], "one entry for each of the two");
    assert!(!is_stored(&edge, b"one"));
    for held in [&b"shared"[..], b"old", b"two"] {
        assert!(is_stored(&edge, held), "{held:?}");
    }
    assert_eq!(api(&edge, Method::POST, "undelete", json!({"version": one.version})).await.code(), Code::NotFound);

    // After a restorable deletion, too.
    let deleted = got(edge.api(Method::DELETE, &format!("/v1/apps/gone/versions/{}", only.version))).await;
    assert_eq!(deleted.status, 200);
    assert!(is_stored(&edge, b"gone"));
    let report: DeleteReport = purge(&edge, &format!("gone/versions/{}", only.version)).await.json();
    assert_eq!(report.version, only.version);
    assert!(!is_stored(&edge, b"gone") && is_stored(&edge, b"shared"));

    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/gone")).await.status, 200);
    let report: PlaceDeleteReport = purge(&edge, "gone").await.json();
    assert!(report.purged.unwrap().files > 0);
    assert!(!is_stored(&edge, b"newer"));
    // The name is free.
    edge.push("gone", &[("index.html", b"again")]).await;
    assert_eq!(edge.get("gone.localhost", "/").await.text(), "again");
    assert_eq!(edge.get("shop.localhost", "/a.txt").await.text(), "shared");
    assert_eq!(edge.get("blog.localhost", "/c.txt").await.text(), "old");
    edge.stop().await;
}

/// The removed files reveal the files of other apps: the report is for an admin of all apps.
#[tokio::test]
async fn law_11_the_answer_to_a_purge_does_not_say_whether_another_app_has_a_file() {
    let edge = edge().start().await;
    let (first, second) = ([b'1'; 5_000], [b'2'; 5_000]);
    edge.push("other", &[("index.html", b"other"), ("a.bin", &first), ("b.bin", &second)]).await;
    // The first app shares files with another app, the second does not.
    let apps = [("shared", [first, second]), ("single", [[b'3'; 5_000], [b'4'; 5_000]])];
    let (mut by_owner, mut by_admin) = (Vec::new(), Vec::new());
    for (app, [first, second]) in &apps {
        let app = *app;
        let page = |number: u8| format!("{app} {number}").into_bytes();
        let one = edge.push(app, &[("index.html", &page(1)), ("f.bin", first)]).await.version;
        let two = edge.push(app, &[("index.html", &page(2)), ("f.bin", second)]).await.version;
        edge.push(app, &[("index.html", &page(3))]).await;
        let token = edge.token_for(Scope::Admin, Some(app), None).await;
        let path = |version: VersionId| format!("/v1/apps/{app}/versions/{version}?purge=true");
        let answer: Value = got(edge.ask(Method::DELETE, &path(one), &token)).await.json();
        by_owner.push(answer["purged"].clone());
        let report: DeleteReport = got(edge.api(Method::DELETE, &path(two))).await.json();
        by_admin.push(report.purged.unwrap());
    }
    assert_eq!(by_owner[0], by_owner[1]);
    assert_eq!(by_owner[0], json!({"files": 2, "bytes": 5_008}));
    let held: Vec<_> = by_admin.iter().map(|purged| (purged.files, purged.bytes)).collect();
    assert_eq!(held, [(2, 5_008), (2, 5_008)]);
    let removed: Vec<_> = by_admin.iter().map(|purged| purged.removed.unwrap().files).collect();
    assert_eq!(removed, [1, 2]);
    assert!(is_stored(&edge, &first) && is_stored(&edge, &second));
    edge.stop().await;
}

#[tokio::test]
async fn a_purging_collection_ends_what_could_be_restored() {
    let edge = edge().start().await;
    let one = edge.push("shop", &[("index.html", b"one")]).await;
    edge.push("shop", &[("index.html", b"two")]).await;
    assert_eq!(delete(&edge, &one.version.to_string()).await.status, 200);
    let plain: CollectReport = got(edge.api(Method::POST, "/v1/gc")).await.json();
    assert!((plain.versions.len(), plain.files) == (0, 0) && is_stored(&edge, b"one"), "{plain:?}");
    let foreseen: CollectReport = got(edge.api(Method::POST, "/v1/gc?purge=true&dry_run=true")).await.json();
    let report: CollectReport = got(edge.api(Method::POST, "/v1/gc?purge=true")).await.json();
    assert_eq!((foreseen.versions.len(), foreseen.files), (report.versions.len(), report.files));
    assert_eq!(report.versions.len(), 1);
    assert!(!is_stored(&edge, b"one") && is_stored(&edge, b"two"));
    edge.stop().await;
}
