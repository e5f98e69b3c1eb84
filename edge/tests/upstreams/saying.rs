//! API responses to member changes: refusals, dry runs, the audit log, and concurrent scripts.

use std::collections::BTreeSet;

use devanture_config::api::{AuditLog, Scope, UpstreamReport};
use devanture_config::problem::Code;
use futures_util::future::join_all;
use http::Method;

use crate::support::{RunningEdge, edge, got};
use crate::upstreams::backend::Backend;
use crate::upstreams::{SITE, api, listed, listed_members, member, push, put, put_with, remove, remove_with};

/// Audit entries about members, oldest first: operation, object, account.
async fn audit(edge: &RunningEdge) -> Vec<(String, String, String)> {
    let log: AuditLog = got(edge.api(Method::GET, "/v1/audit?app=shop&limit=1000")).await.json();
    let entries = log.entries.into_iter().rev().filter(|entry| entry.action.ends_with("_member"));
    entries.map(|entry| (entry.action, entry.what, entry.who)).collect()
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_code_of_its_own() {
    let one = Backend::start("one").await;
    let edge = edge().with_limit("upstream_members_max", 2).start().await;
    let token = edge.admin_token();
    let (a, b, c) = ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3");
    assert_eq!(put_with(&edge, token, a, "in").await.code(), Code::NotFound, "there is no app");
    let bare = format!("[[routes]]\npath = \"/bare/*\"\nto = \"{}\"\n", one.url());
    push(&edge, "prod", &(bare + &api(&[&one], "")), SITE).await;
    let ask = async |name: &str, address: &str| got(edge.api(Method::PUT, &member(name, address))).await.code();
    assert_eq!(ask("web", a).await, Code::UpstreamUnknown);
    assert_eq!(ask(&one.url(), a).await, Code::UpstreamUnknown, "a route's address is no name");
    for bad in ["127.0.0.1:3000", "http://h/a", "http://h?q", "ftp://h", "fastcgi://127.0.0.1:9"] {
        assert_eq!(ask("api", bad).await, Code::BadRequest, "{bad}");
    }
    let elsewhere = member("api", a).replace("/prod/", "/staging/");
    assert_eq!(got(edge.api(Method::PUT, &elsewhere)).await.code(), Code::NothingLive);
    assert_eq!(put_with(&edge, token, a, "out").await.code(), Code::BadRequest);
    assert_eq!(put_with(&edge, token, a, "perhaps").await.code(), Code::BadRequest);
    assert_eq!(put_with(&edge, token, a, "drain").await.code(), Code::NotFound);
    put(&edge, a, "in").await;
    put(&edge, &one.url(), "drain").await;
    assert_eq!(put_with(&edge, token, c, "in").await.code(), Code::TooMany);
    // An existing change may be modified, and its removal makes room.
    put(&edge, a, "drain").await;
    remove(&edge, a).await;
    put(&edge, b, "in").await;
    assert_eq!(audit(&edge).await.len(), 5);
    edge.stop().await;
}

#[tokio::test]
async fn all_upstreams_of_an_environment_have_so_many_members_together() {
    let one = Backend::start("one").await;
    let edge = edge().with_limit("upstream_members_per_version_max", 3).start().await;
    let (a, b) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
    let other = "[upstreams.other]\nto = [\"http://127.0.0.1:3\"]\n";
    push(&edge, "prod", &(api(&[&one], "") + other), SITE).await;
    put(&edge, a, "in").await;
    let refused = put_with(&edge, edge.admin_token(), b, "in").await;
    assert_eq!(refused.code(), Code::TooMany);
    let hint = refused.problem().hint.unwrap();
    assert!(hint.contains("upstream_members_per_version_max"), "{hint}");
    // An existing member may be modified, and its removal makes room.
    put(&edge, a, "drain").await;
    remove(&edge, &one.url()).await;
    put(&edge, b, "in").await;
    assert_eq!(put_with(&edge, edge.admin_token(), &one.url(), "in").await.code(), Code::TooMany);
    edge.stop().await;
}

#[tokio::test]
async fn each_change_is_in_the_audit_log_and_what_changes_nothing_is_not() {
    let one = Backend::start("one").await;
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[&one], ""), SITE).await;
    let added = "http://127.0.0.1:1";
    let is_same = |one: &UpstreamReport, other: &UpstreamReport| listed_members(one) == listed_members(other);
    let before = listed(&edge, "prod").await;
    let dry = |method: Method| edge.api(method, &format!("{}?dry_run=true", member("api", added)));
    let foreseen: UpstreamReport = got(dry(Method::PUT)).await.json();
    assert_eq!((foreseen.members.len(), foreseen.members[1].backends.len()), (2, 0));
    assert!(is_same(&before, &listed(&edge, "prod").await) && audit(&edge).await.is_empty());
    // Without a body, the requested state is `in`.
    let put_bare: UpstreamReport = got(edge.api(Method::PUT, &member("api", added))).await.json();
    assert_eq!(put_bare.members[1].who.as_deref(), Some("test"));
    for _ in 0..2 {
        put(&edge, added, "in").await;
        put(&edge, &one.url(), "in").await;
    }
    for _ in 0..2 {
        put(&edge, added, "drain").await;
    }
    let foreseen: UpstreamReport = got(dry(Method::DELETE)).await.json();
    assert!(is_same(&foreseen, &before));
    for address in [added, &one.url()] {
        for _ in 0..2 {
            remove(&edge, address).await;
        }
    }
    for _ in 0..2 {
        put(&edge, &one.url(), "in").await;
    }
    assert!(is_same(&before, &listed(&edge, "prod").await));
    let entry = |action: &str, address: &str| (action.to_owned(), format!("api {address}"), "test".to_owned());
    let expected = [
        entry("add_member", added),
        entry("drain_member", added),
        entry("remove_member", added),
        entry("remove_member", &one.url()),
        entry("add_member", &one.url()),
    ];
    assert_eq!(audit(&edge).await, expected);
    edge.stop().await;
}

#[tokio::test]
async fn scripts_at_the_same_time_lose_nothing() {
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[], ""), SITE).await;
    let scripts = [edge.token(Scope::Admin).await, edge.token(Scope::Admin).await];
    let address = |number: usize| format!("http://127.0.0.1:{}", number + 1);
    let mut all = Vec::new();
    for number in 0..60 {
        let (edge, token, address) = (&edge, &scripts[number % 2], address(number));
        all.push(async move {
            let answer = put_with(edge, token, &address, "in").await;
            // The response includes the own change, whatever the concurrent changes.
            let report: UpstreamReport = answer.json();
            assert!(report.members.iter().any(|member| member.address.to_string() == address));
            if number % 3 == 0 {
                remove_with(edge, token, &address).await.json::<UpstreamReport>();
            }
        });
    }
    join_all(all).await;
    let left: BTreeSet<String> =
        listed(&edge, "prod").await.members.iter().map(|member| member.address.to_string()).collect();
    let expected: BTreeSet<String> = (0..60).filter(|number| number % 3 != 0).map(address).collect();
    assert_eq!(left, expected);
    assert_eq!(audit(&edge).await.len(), 80);
    edge.stop().await;
}
