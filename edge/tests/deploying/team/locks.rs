//! Locks: pushes are stored and get previews; every other change of the live version is refused.

use devanture_config::api::{DeployKind, DeployOptions, Lock, LockReport, Outcome, Scope, SwitchReport};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::{call, call_as, finish, history, push, ready, status};
use crate::support::{RunningEdge, edge};

const LOCK: &str = "environments/prod/lock";

async fn lock(edge: &RunningEdge, reason: &str) -> LockReport {
    call(edge, Method::PUT, LOCK, Some(json!({ "reason": reason }))).await.json()
}

#[tokio::test]
async fn a_push_to_a_locked_environment_is_stored_and_goes_live_when_it_is_switched_to() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    assert_eq!(call(&edge, Method::GET, LOCK, None).await.code(), Code::NotFound);
    let locked = lock(&edge, "Sale until Monday").await;
    assert!(locked.changed && locked.locked.as_ref().unwrap().who == "test", "{locked:?}");
    assert!(!lock(&edge, "Sale until Monday").await.changed);
    let report = push(&edge, "prod", DeployOptions::default(), &[("index.html", b"next")]).await.unwrap();
    assert!(!report.switched && report.locked.as_ref().unwrap().reason.as_deref() == Some("Sale until Monday"));
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "live");
    assert_eq!(edge.get(&format!("{}--shop.localhost", report.version.short()), "/").await.text(), "next");
    // `force` permits an older push, but no push despite a lock.
    let forced = DeployOptions { force: true, ..DeployOptions::default() };
    assert!(push(&edge, "prod", forced, &[("index.html", b"forced")]).await.unwrap().locked.is_some());
    // A push of the live version is no change, and so not blocked.
    let same = push(&edge, "prod", DeployOptions::default(), &[("index.html", b"live")]).await.unwrap();
    assert!(same.locked.is_none() && !same.switched);
    let reported = status(&edge, "prod").await;
    assert_eq!(reported.locked.unwrap().reason.as_deref(), Some("Sale until Monday"));
    let unlocked: LockReport = call(&edge, Method::DELETE, LOCK, None).await.json();
    assert!(unlocked.changed && unlocked.locked.is_none());
    assert!(!call(&edge, Method::DELETE, LOCK, None).await.json::<LockReport>().changed);
    let body = json!({ "version": report.version });
    assert!(call(&edge, Method::POST, "environments/prod/switch", Some(body)).await.json::<SwitchReport>().switched);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "next");
    let kinds: Vec<_> = history(&edge, "prod").await.deploys.iter().map(|d| (d.kind, d.outcome)).collect();
    let push = DeployKind::Push;
    assert_eq!(
        kinds,
        [
            (DeployKind::Switch, Outcome::Live),
            (DeployKind::Unlock, Outcome::Done),
            (push, Outcome::Stored),
            (push, Outcome::Stored),
            (DeployKind::Lock, Outcome::Done),
            (push, Outcome::Live),
        ]
    );
    let stored = history(&edge, "prod").await.deploys.remove(3);
    assert!(stored.log.iter().any(|line| line.contains("locked by test (Sale until Monday)")), "{stored:?}");
    edge.stop().await;
}

#[tokio::test]
async fn only_who_locked_it_and_an_admin_pass_a_lock_or_end_it() {
    let edge = edge().with_app("shop", &[("index.html", b"one")]).start().await;
    let one = edge.live("shop").await.unwrap();
    edge.push("shop", &[("index.html", b"two")]).await;
    push(&edge, "staging", DeployOptions::default(), &[("index.html", b"three")]).await.unwrap();
    // Tokens of the tests are named after their scope.
    let (locker, other) = (edge.token(Scope::Promote).await, edge.token(Scope::Push).await);
    let locked: LockReport = call_as(&edge, &locker, Method::PUT, LOCK, None).await.json();
    assert_eq!(locked.locked.unwrap().who, "promote");
    let switch = |force: bool| json!({ "version": one, "force": force });
    for (path, body) in
        [("environments/prod/rollback", json!({})), ("environments/prod/promote", json!({ "from": "staging" }))]
    {
        assert_eq!(call_as(&edge, &locker, Method::POST, path, Some(body)).await.code(), Code::Locked, "{path}");
    }
    let path = "environments/prod/switch";
    assert_eq!(
        call(&edge, Method::POST, path, Some(switch(false))).await.code(),
        Code::Locked,
        "an admin is asked, too"
    );
    assert_eq!(call_as(&edge, &other, Method::POST, path, Some(switch(true))).await.code(), Code::Locked);
    assert_eq!(call_as(&edge, &other, Method::DELETE, LOCK, None).await.code(), Code::Locked);
    assert_eq!(call_as(&edge, &other, Method::PUT, LOCK, None).await.code(), Code::Locked);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "two");
    // The owner of the lock rolls back in an incident …
    let back =
        call_as(&edge, &locker, Method::POST, "environments/prod/rollback", Some(json!({ "force": true }))).await;
    assert!(back.json::<SwitchReport>().switched);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "one");
    // … an admin may, too, and the lock stays.
    let promoted =
        call(&edge, Method::POST, "environments/prod/promote", Some(json!({ "from": "staging", "force": true })));
    assert!(promoted.await.json::<SwitchReport>().switched);
    assert!(status(&edge, "prod").await.locked.is_some());
    assert!(call(&edge, Method::DELETE, LOCK, None).await.json::<LockReport>().changed);
    edge.stop().await;
}

#[tokio::test]
async fn a_lock_that_came_first_wins_however_far_a_push_was() {
    let edge = edge().with_app("shop", &[("index.html", b"live")]).start().await;
    let begun = ready(&edge, "prod", DeployOptions::default(), "next").await;
    lock(&edge, "").await;
    let report = finish(&edge, &begun.deploy).await.unwrap();
    assert!(report.locked.is_some() && !report.switched);
    // Concurrent locks and switches: after the response to a lock, the live version never changed.
    for round in 0..10 {
        call(&edge, Method::DELETE, LOCK, None).await;
        let text = format!("round {round}");
        let begun = ready(&edge, "prod", DeployOptions::default(), &text).await;
        let (report, locked) = tokio::join!(finish(&edge, &begun.deploy), lock(&edge, "now"));
        let (report, locked) = (report.unwrap(), locked);
        assert!(locked.changed);
        let kinds: Vec<_> = history(&edge, "prod").await.deploys.iter().take(2).map(|d| d.kind).collect();
        assert_eq!(report.switched, report.locked.is_none(), "{report:?}");
        let live = edge.get("shop.localhost", "/").await.text();
        assert_eq!(live == text, report.switched);
        // The entries are in commit order.
        if report.switched {
            assert_eq!(kinds, [DeployKind::Lock, DeployKind::Push]);
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_lock_needs_something_that_is_live_and_a_reason_that_is_one() {
    let edge =
        edge().with_limit("lock_reason_characters_max", 5).with_app("shop", &[("index.html", b"x")]).start().await;
    let put = async |path: &str, reason: &str| call(&edge, Method::PUT, path, Some(json!({ "reason": reason }))).await;
    assert_eq!(put("environments/staging/lock", "").await.code(), Code::NothingLive);
    for bad in ["123456", "a\nb", "\u{1b}[1m"] {
        assert_eq!(put(LOCK, bad).await.code(), Code::BadRequest, "{bad:?}");
    }
    assert_eq!(put(LOCK, "äöüßé").await.status, StatusCode::OK);
    let reported = call(&edge, Method::GET, LOCK, None).await;
    assert_eq!(reported.json::<Lock>().reason.as_deref(), Some("äöüßé"));
    let edge = edge.restart().await;
    assert_eq!(status(&edge, "prod").await.locked.unwrap().reason.as_deref(), Some("äöüßé"));
    let reader = edge.token(Scope::Read).await;
    assert_eq!(call_as(&edge, &reader, Method::DELETE, LOCK, None).await.code(), Code::Forbidden);
    edge.stop().await;
}
