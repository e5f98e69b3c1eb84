//! Audit log: every change with account and source address, in the same commit as the change.

use std::sync::Arc;

use devanture_config::api::{AuditEntry, AuditLog, By, Scope, TokenMade, TokenRequest};
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use devanture_control::access::Credentials;
use devanture_control::ledger::{Actor, Audit};
use devanture_store::catalog::{self, Change, Commit};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{account, login, quick};
use crate::support::archives::archive;
use crate::support::{RunningEdge, edge, got};

async fn log(edge: &RunningEdge, query: &str) -> AuditLog {
    got(edge.api(Method::GET, &format!("/v1/audit{query}"))).await.json()
}

async fn done(edge: &RunningEdge, method: Method, path: &str, body: Option<Value>) {
    let request = edge.api(method.clone(), path);
    let request = match &body {
        Some(body) => request.json(body),
        None => request,
    };
    let got = got(request).await;
    assert!(got.status.is_success(), "{method} {path}: {}", got.text());
}

#[tokio::test]
async fn every_change_is_in_the_log_with_who_made_it_and_from_where() {
    let edge = quick().start().await;
    edge.push("shop", &[("index.html", b"one")]).await;
    let one = edge.live("shop").await.unwrap().to_string();
    edge.push("shop", &[("index.html", b"two")]).await;
    let two = edge.live("shop").await.unwrap().to_string();
    let at = "/v1/apps/shop/environments/prod";
    done(&edge, Method::POST, &format!("{at}/switch"), Some(json!({ "version": one }))).await;
    done(&edge, Method::POST, &format!("{at}/rollback"), None).await;
    let promote = "/v1/apps/shop/environments/staging/promote";
    done(&edge, Method::POST, promote, Some(json!({ "from": "prod" }))).await;
    done(&edge, Method::PUT, "/v1/apps/shop/aliases/feature", Some(json!({ "version": one }))).await;
    done(&edge, Method::DELETE, "/v1/apps/shop/aliases/feature", None).await;
    done(&edge, Method::PUT, &format!("{at}/hostnames/www.example.org"), None).await;
    done(&edge, Method::DELETE, &format!("{at}/hostnames/www.example.org"), None).await;
    done(&edge, Method::POST, &format!("{at}/pause"), None).await;
    done(&edge, Method::POST, &format!("{at}/resume"), None).await;
    done(&edge, Method::POST, "/v1/apps/shop/withdrawn", Some(json!({ "path": "/x" }))).await;
    done(&edge, Method::DELETE, "/v1/apps/shop/withdrawn?path=/x", None).await;
    done(&edge, Method::DELETE, &format!("/v1/apps/shop/versions/{one}"), None).await;
    done(&edge, Method::POST, "/v1/tokens", Some(json!({ "name": "ci", "app": "shop", "scope": "read" }))).await;
    account(&edge, "ada", "read").await;
    login(&edge, "ada").await;

    let log = log(&edge, "?limit=100").await;
    let actions: Vec<&str> = log.entries.iter().rev().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "create_token",
            "store_version",
            "push",
            "store_version",
            "push",
            "switch",
            "rollback",
            "promote",
            "set_alias",
            "delete_alias",
            "add_hostname",
            "remove_hostname",
            "pause",
            "resume",
            "withdraw",
            "restore",
            "delete_version",
            "create_token",
            "create_account",
            "login",
        ]
    );
    let numbers: Vec<u64> = log.entries.iter().map(|entry| entry.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a > b), "newest first: {numbers:?}");
    let of = |action: &str| log.entries.iter().find(|entry| entry.action == action).unwrap();
    let by_token = |entry: &AuditEntry| (entry.who.clone(), entry.by, entry.from.clone());
    for entry in &log.entries {
        let expected = match entry.action.as_str() {
            "create_token" if entry.app.is_none() => ("local".to_owned(), By::Local, "local".to_owned()),
            "login" => ("ada".to_owned(), By::Account, "127.0.0.1".to_owned()),
            _ => ("test".to_owned(), By::Token, "127.0.0.1".to_owned()),
        };
        assert_eq!(by_token(entry), expected, "{entry:?}");
        assert_eq!(entry.credential.is_some(), entry.by != By::Local);
        assert!(entry.at_ms > 0);
    }
    let switch = of("switch");
    assert_eq!(switch.app.as_ref().unwrap().as_str(), "shop");
    assert_eq!(switch.environment.as_ref().unwrap().as_str(), "prod");
    assert_eq!(switch.what, format!("prod: {} → {}", &two[..12], &one[..12]));
    assert_eq!(of("add_hostname").what, "www.example.org");
    edge.stop().await;
}

#[tokio::test]
async fn what_was_refused_or_changes_nothing_is_not_in_the_log() {
    let edge = edge().with_app("shop", &[("index.html", b"hi")]).start().await;
    let before = log(&edge, "").await.entries[0].number;
    let live = edge.live("shop").await.unwrap().to_string();
    let switch = edge.api(Method::POST, "/v1/apps/shop/environments/prod/switch").json(&json!({ "version": live }));
    assert_eq!(got(switch).await.status, StatusCode::OK);
    assert_eq!(got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/rollback")).await.code(), Code::NoPrevious);
    let add = "/v1/apps/shop/environments/prod/hostnames/www.example.org?dry_run=true";
    assert_eq!(got(edge.api(Method::PUT, add)).await.status, StatusCode::OK);
    let read = edge.token(Scope::Read).await;
    let forbidden = edge.ask(Method::POST, "/v1/apps/shop/environments/prod/pause", &read);
    assert_eq!(got(forbidden).await.code(), Code::Forbidden);
    let entries = log(&edge, "").await.entries;
    let since: Vec<&str> =
        entries.iter().filter(|entry| entry.number > before).map(|entry| entry.action.as_str()).collect();
    assert_eq!(since, ["create_token"]);
    edge.stop().await;
}

/// Law 11.
#[tokio::test]
async fn an_admin_of_one_app_sees_what_was_done_to_that_app_alone() {
    let edge =
        edge().with_app("shop", &[("index.html", b"hi")]).with_app("blog", &[("index.html", b"ho")]).start().await;
    let shop = edge.token_for(Scope::Admin, Some("shop"), None).await;
    for query in ["", "?app=shop"] {
        let log: AuditLog = got(edge.ask(Method::GET, &format!("/v1/audit{query}"), &shop)).await.json();
        assert!(log.entries.len() >= 3, "{log:?}");
        assert!(
            log.entries.iter().all(|entry| entry.app.as_ref().is_some_and(|app| app.as_str() == "shop")),
            "{log:?}"
        );
    }
    assert_eq!(got(edge.ask(Method::GET, "/v1/audit?app=blog", &shop)).await.code(), Code::NotFound);
    let push = edge.token_for(Scope::Push, Some("shop"), None).await;
    assert_eq!(got(edge.ask(Method::GET, "/v1/audit", &push)).await.code(), Code::Forbidden);
    let staging = edge.token_for(Scope::Admin, Some("shop"), Some("staging")).await;
    let own: AuditLog = got(edge.ask(Method::GET, "/v1/audit", &staging)).await.json();
    assert!(own.entries.iter().all(|entry| entry.environment.as_ref().is_some_and(|env| env.as_str() == "staging")));
    edge.stop().await;
}

#[tokio::test]
async fn the_log_has_pages_and_an_end() {
    let edge = edge().with_limit("audit_entries_max", 100).with_app("shop", &[("index.html", b"hi")]).start().await;
    for _ in 0..60 {
        done(&edge, Method::POST, "/v1/apps/shop/environments/prod/pause", None).await;
        done(&edge, Method::POST, "/v1/apps/shop/environments/prod/resume", None).await;
    }
    let (mut numbers, mut before) = (Vec::new(), String::new());
    loop {
        let page = log(&edge, &format!("?app=shop&limit=30{before}")).await;
        numbers.extend(page.entries.iter().map(|entry| entry.number));
        let Some(next) = page.next else { break };
        before = format!("&before={next}");
    }
    assert!((95..=100).contains(&numbers.len()), "{}", numbers.len());
    // Newest first. Of frequent operations the oldest entries are gone; rare operations are all kept.
    assert!(numbers.windows(2).all(|pair| pair[0] > pair[1]), "{numbers:?}");
    let oldest = log(&edge, &format!("?app=shop&before={}", numbers[numbers.len() - 2])).await.entries;
    assert_eq!(oldest[0].action, "store_version", "{oldest:?}");
    for bad in ["", "x", "-1", "123456789012345678901"] {
        let refused = got(edge.api(Method::GET, &format!("/v1/audit?before={bad}"))).await;
        assert_eq!(refused.code(), Code::BadRequest, "{bad}");
    }
    assert_eq!(log(&edge, "?before=99999999999999999999&limit=1").await.entries[0].number, numbers[0]);
    // The numbers continue after a restart.
    let newest = numbers[0];
    let edge = edge.restart().await;
    done(&edge, Method::POST, "/v1/apps/shop/environments/prod/pause", None).await;
    assert!(log(&edge, "").await.entries[0].number > newest);
    edge.stop().await;
}

fn token(name: &str) -> TokenRequest {
    TokenRequest { name: name.to_owned(), app: None, environment: None, scope: Scope::Read, expires_in_s: None }
}

#[tokio::test]
async fn many_changes_of_one_app_push_out_no_entry_of_another() {
    let site: crate::support::Files<'_> = &[("index.html", b"hi")];
    let setup = edge().with_limit("audit_entries_max", 100).with_app("other", site).with_app("shop", site);
    let mut edge = setup.start().await;
    let before = log(&edge, "?app=other").await.entries;
    assert!(!before.is_empty());
    let toggle = async |edge: &RunningEdge, times: usize| {
        for _ in 0..times {
            done(edge, Method::POST, "/v1/apps/shop/environments/prod/pause", None).await;
            done(edge, Method::POST, "/v1/apps/shop/environments/prod/resume", None).await;
        }
    };
    for _ in 0..2 {
        toggle(&edge, 60).await;
        assert_eq!(log(&edge, "?app=other").await.entries, before);
        assert_eq!(log(&edge, "?limit=1000").await.entries.len(), 100);
        // The count per account survives a restart.
        edge = edge.restart().await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_token_that_makes_many_apps_pushes_out_no_entry_of_others() {
    let site: crate::support::Files<'_> = &[("index.html", b"hi")];
    let setup = edge().with_limit("audit_entries_max", 100).with_app("other", site).with_app("shop", site);
    let edge = setup.start().await;
    for _ in 0..5 {
        done(&edge, Method::POST, "/v1/apps/shop/environments/prod/pause", None).await;
        done(&edge, Method::POST, "/v1/apps/shop/environments/prod/resume", None).await;
    }
    let leaked = edge.token(Scope::Push).await;
    let of_app = async |app: &str| log(&edge, &format!("?limit=1000&app={app}")).await.entries;
    let before = [of_app("other").await, of_app("shop").await];
    assert!(before.iter().all(|entries| !entries.is_empty()), "{before:?}");
    let tar = archive("tar", site);
    for number in 0..60 {
        let request = edge.ask(Method::POST, &format!("/v1/apps/made-{number}/environments/prod/deploys"), &leaked);
        let pushed = got(request.header("content-type", "application/x-tar").body(tar.clone())).await;
        assert!(pushed.status.is_success(), "{}", pushed.text());
    }
    assert_eq!([of_app("other").await, of_app("shop").await], before);
    assert_eq!(log(&edge, "?limit=1000").await.entries.len(), 100);
    edge.stop().await;
}

#[tokio::test]
async fn a_chain_of_tokens_pushes_out_no_trace_of_the_owner() {
    let edge = edge().with_limit("audit_entries_max", 100).with_app("shop", &[("index.html", b"hi")]).start().await;
    let owner = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let leaked = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let id_of = |token: &str| token.split('_').nth(1).unwrap().to_owned();
    let next_of = async |maker: &str| {
        let wanted = json!({ "name": "next", "app": "shop", "scope": "admin" });
        let made: TokenMade = got(edge.ask(Method::POST, "/v1/tokens", maker).json(&wanted)).await.json();
        made.token
    };
    for _ in 0..5 {
        next_of(&owner).await;
    }
    let entries_of = async |credential: String| {
        let mut entries = log(&edge, "?app=shop&limit=1000").await.entries;
        entries.retain(|entry| entry.credential.as_ref() == Some(&credential));
        entries
    };
    let traces = entries_of(id_of(&owner)).await;
    assert_eq!(traces.len(), 5);
    let (mut maker, mut made_by) = (leaked.clone(), String::new());
    for _ in 0..120 {
        let next = next_of(&maker).await;
        made_by = std::mem::replace(&mut maker, next);
    }
    assert_eq!(entries_of(id_of(&owner)).await, traces);
    assert_eq!(log(&edge, "?limit=1000").await.entries.len(), 100);
    // The last entry names the beginning of the delegation chain.
    let last = entries_of(id_of(&made_by)).await;
    assert_eq!(last[0].root, Some(id_of(&leaked)), "{last:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_token_makes_no_more_changes_in_a_minute_than_the_limit() {
    let setup = edge().with_limit("writes_per_minute_max", 5).with_app("shop", &[("index.html", b"hi")]);
    let edge = setup.start().await;
    let (first, second) = (edge.token(Scope::Push).await, edge.token(Scope::Push).await);
    let lock = async |token: &str| {
        let request = edge.ask(Method::PUT, "/v1/apps/shop/environments/prod/lock", token);
        got(request.json(&json!({ "reason": "x" }))).await
    };
    let mut refused = None;
    for number in 0..10 {
        let unlock = edge.ask(Method::DELETE, "/v1/apps/shop/environments/prod/lock", &first);
        for got in [lock(&first).await, got(unlock).await] {
            if !got.status.is_success() {
                refused = refused.or(Some((number, got)));
            }
        }
    }
    let (number, answer) = refused.expect("it is refused at some time");
    assert_eq!((number, answer.code(), answer.status), (2, Code::TooManyAttempts, StatusCode::TOO_MANY_REQUESTS));
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((50..=60).contains(&seconds), "{seconds}");
    // The refused request is in no log; neither other requests nor the revocation of the token are delayed.
    let entries = log(&edge, "?app=shop").await.entries;
    assert_eq!(entries.iter().filter(|entry| ["lock", "unlock"].contains(&entry.action.as_str())).count(), 5);
    let unlock = edge.ask(Method::DELETE, "/v1/apps/shop/environments/prod/lock", edge.admin_token());
    assert!(got(unlock).await.status.is_success());
    assert!(lock(&second).await.status.is_success());
    let id = first.split('_').nth(1).unwrap();
    assert!(got(edge.ask(Method::DELETE, &format!("/v1/tokens/{id}"), &first)).await.status.is_success());
    edge.stop().await;
}

#[tokio::test]
async fn two_who_write_to_one_catalog_lose_no_entry() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
    let limits = Limits::default();
    let credentials = || Credentials::new(Arc::clone(&catalog), Audit::new(Arc::clone(&catalog), &limits), &limits);
    let (one, other, actor) = (credentials(), credentials(), Actor::local());
    for number in 0..20 {
        let (first, second) = tokio::join!(
            one.create(&actor, token(&format!("one-{number}"))),
            other.create(&actor, token(&format!("other-{number}")))
        );
        first.unwrap();
        second.unwrap();
    }
    let log = Audit::new(Arc::clone(&catalog), &limits).page(&Actor::local(), None, 1_000, None).await.unwrap();
    assert_eq!((log.entries.len(), catalog.list("tokens/", None, false, 100).await.unwrap().len()), (40, 40));
}

#[tokio::test]
async fn an_entry_that_is_too_old_is_not_shown_and_goes_with_the_next_change() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
    let limits = Limits::default();
    let old = |number: u64| {
        let entry =
            json!({ "number": number, "at_ms": 1, "action": "push", "who": "x", "by": "token", "from": "local" });
        Change::Put(format!("audit/{number:016}"), entry.to_string().into_bytes().into())
    };
    catalog.commit(Commit { checks: Vec::new(), changes: (1..=10).map(old).collect() }).await.unwrap();
    let audit = Audit::new(Arc::clone(&catalog), &limits);
    assert!(audit.page(&Actor::local(), None, 100, None).await.unwrap().entries.is_empty());
    let credentials = Credentials::new(Arc::clone(&catalog), audit, &limits);
    credentials.create(&Actor::local(), token("a")).await.unwrap();
    credentials.create(&Actor::local(), token("b")).await.unwrap();
    let left = catalog.list("audit/", None, false, 100).await.unwrap();
    let keys: Vec<&str> = left.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["audit/0000000000000011", "audit/0000000000000012"]);
}
