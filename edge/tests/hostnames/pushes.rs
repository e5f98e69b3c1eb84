//! Hostnames in a push: the same permissions apply, and live sites never break.

use devanture_config::api::Scope;
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::json;

use super::{SITE, add, edge, got, list, name_with, names, push, push_with, remove};
use crate::hostnames::dns::Dns;
use crate::support::{RunningEdge, archives};

const WWW: &str = "[env.prod]\nhostnames = [\"www.example.org\"]\n";

async fn switch(edge: &RunningEdge, token: &str, place: &str, version: impl ToString) -> Option<Code> {
    let path = format!("/v1/apps/shop/environments/{place}/switch");
    let answer = got(edge.ask(Method::POST, &path, token).json(&json!({"version": version.to_string()}))).await;
    (answer.status != StatusCode::OK).then(|| answer.code())
}

/// Creates the record of a hint.
async fn prove(dns: &Dns, hint: Option<&str>) {
    let (_, rest) = hint.unwrap().split_once("create the record ").unwrap();
    let (name, rest) = rest.split_once(" TXT \"").unwrap();
    dns.txt(name, rest.split_once('"').unwrap().0).await;
}

#[tokio::test]
async fn law_3_a_push_of_a_name_that_nothing_proves_leaves_all_as_it_is() {
    let dns = Dns::start().await;
    let edge = edge().with_toml(&dns.toml()).start().await;
    push(&edge, "shop", SITE, "").await;
    let token = edge.token_for(Scope::Push, Some("shop"), None).await;
    let next: &[(&str, &[u8])] = &[("index.html", b"next")];
    let refused = push_with(&edge, &token, ("shop", "prod"), next, WWW).await.unwrap_err();
    assert_eq!(refused.code, Code::HostnameUnproven);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "home");
    assert!(names(&edge, "shop").await.is_empty());
    // An archive needs the proof, too.
    let zip = archives::archive("zip", &[("index.html", b"next"), ("devanture.toml", WWW.as_bytes())]);
    let path = "/v1/apps/shop/environments/prod/deploys";
    let answer = got(edge.ask(Method::POST, path, &token).header("content-type", "application/zip").body(zip)).await;
    assert_eq!(answer.code(), Code::HostnameUnproven);
    // A stored version takes no name; a live version would.
    let zip = archives::archive("zip", &[("index.html", b"next"), ("devanture.toml", WWW.as_bytes())]);
    let stored = format!("{path}?no_switch");
    let answer = got(edge.ask(Method::POST, &stored, &token).header("content-type", "application/zip").body(zip)).await;
    let report: devanture_config::api::DeployReport = answer.json();
    assert_eq!(switch(&edge, &token, "prod", report.version).await, Some(Code::HostnameUnproven));
    // An admin takes no name unawares, either.
    let admin = edge.admin_token().to_owned();
    assert_eq!(switch(&edge, &admin, "prod", report.version).await, Some(Code::HostnameUnproven));

    prove(&dns, refused.hint.as_deref()).await;
    push_with(&edge, &token, ("shop", "prod"), next, WWW).await.unwrap();
    assert_eq!(edge.get("www.example.org", "/").await.text(), "next");
    // Names of the environment are not checked again.
    let before = dns.questions();
    push_with(&edge, &token, ("shop", "prod"), &[("index.html", b"after")], WWW).await.unwrap();
    assert_eq!((dns.questions(), edge.get("www.example.org", "/").await.text()), (before, "after".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn a_name_of_another_environment_is_asked_about_when_it_goes_there() {
    let dns = Dns::start().await;
    let edge = edge().with_toml(&dns.toml()).start().await;
    push(&edge, "shop", SITE, "").await;
    let token = edge.token_for(Scope::Promote, Some("shop"), None).await;
    let version = push_with(&edge, &token, ("shop", "staging"), &[("index.html", b"next")], WWW).await.unwrap().version;
    let promote = async |token: &str| {
        let path = "/v1/apps/shop/environments/prod/promote";
        let answer = got(edge.ask(Method::POST, path, token).json(&json!({"from": "staging"}))).await;
        (answer.status != StatusCode::OK).then(|| answer.problem())
    };
    let problem = promote(&token).await.unwrap();
    assert_eq!(problem.code, Code::HostnameUnproven);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "home");
    prove(&dns, problem.hint.as_deref()).await;
    assert_eq!(promote(&token).await, None);
    assert_eq!(edge.live("shop").await, Some(version));
    assert_eq!(edge.get("www.example.org", "/").await.text(), "next");
    edge.stop().await;
}

/// Law 11: a stranger stores a bundle, and an admin switches to the bundle; the name would be taken unawares.
#[tokio::test]
async fn names_that_an_admin_gives_are_refused_in_every_table() {
    let dns = Dns::start().await;
    let edge = edge().with_toml(&dns.toml()).start().await;
    push(&edge, "shop", SITE, "").await;
    let token = edge.token_for(Scope::Push, Some("shop"), None).await;
    let admin = edge.token_for(Scope::Admin, Some("shop"), None).await;
    for (host, token, expected) in [
        ("victim.localhost", &token, Some(Code::Forbidden)),
        ("victim.localhost", &admin, Some(Code::Forbidden)),
        ("*.example.org", &token, Some(Code::Forbidden)),
        ("*.example.org", &admin, None),
    ] {
        let toml = format!("[env.staging]\nhostnames = [\"{host}\"]\n");
        let pushed = push_with(&edge, token, ("shop", "prod"), &[("index.html", host.as_bytes())], &toml).await;
        assert_eq!(pushed.err().map(|problem| problem.code), expected, "{host}");
    }
    assert_eq!(dns.questions(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn what_an_admin_pushed_takes_its_names_with_any_switch() {
    let dns = Dns::start().await;
    let edge = edge().with_toml(&dns.toml()).start().await;
    push(&edge, "shop", SITE, "").await;
    let admin = edge.token_for(Scope::Admin, Some("shop"), None).await;
    let toml = "[env.staging]\nhostnames = [\"www.example.org\", \"*.example.org\"]\n";
    let version = push_with(&edge, &admin, ("shop", "prod"), &[("index.html", b"next")], toml).await.unwrap().version;
    let token = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    assert_eq!(switch(&edge, &token, "staging", version).await, None);
    assert_eq!(list(&edge, "shop", "staging").await.hostnames.len(), 2);
    assert_eq!((dns.questions(), edge.get("www.example.org", "/").await.text()), (0, "next".to_owned()));
    edge.stop().await;
}

/// The admin of one app has no rights in other apps, and an admin of all apps cannot see the consequences of a switch.
#[tokio::test]
async fn a_name_beside_another_apps_is_taken_by_the_word_of_an_admin_of_all_alone() {
    let dns = Dns::start().await;
    let edge = edge().with_toml(&dns.toml()).start().await;
    push(&edge, "shop", SITE, "").await;
    push(&edge, "other", SITE, "[env.prod]\nhostnames = [\"taken.example\"]\n").await;
    let (all, owner) = (edge.admin_token().to_owned(), edge.token_for(Scope::Admin, Some("shop"), None).await);
    let toml = "[env.staging]\nhostnames = [\"www.taken.example\"]\n";
    let stored = async |token: &str, page: &[u8]| {
        push_with(&edge, token, ("shop", "prod"), &[("index.html", page)], toml).await.unwrap().version
    };
    let of_owner = stored(&owner, b"of its owner").await;
    for token in [&owner, &all] {
        assert_eq!(switch(&edge, token, "staging", of_owner).await, Some(Code::HostnameUnproven));
    }
    let of_all = stored(&all, b"of the operator").await;
    assert_eq!(switch(&edge, &owner, "staging", of_all).await, None);
    assert_eq!(edge.get("www.taken.example", "/").await.text(), "of the operator");
    edge.stop().await;
}

#[tokio::test]
async fn names_stay_until_they_are_taken_away() {
    let edge = edge().start().await;
    push(&edge, "shop", SITE, WWW).await;
    add(&edge, "shop", "by-hand.example").await;
    push(&edge, "shop", &[("index.html", b"next")], "[env.prod]\nhostnames = [\"new.example\"]\n").await;
    assert_eq!(names(&edge, "shop").await, [">by-hand.example", "=new.example", ">www.example.org"]);
    let list = list(&edge, "shop", "prod").await;
    let listed: Vec<&str> = list.hostnames.iter().filter(|host| host.listed).map(|host| host.name.as_str()).collect();
    assert_eq!(listed, ["new.example"]);
    push(&edge, "shop", &[("index.html", b"last")], "").await;
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "last");
    assert_eq!(names(&edge, "shop").await.len(), 3);
    edge.stop().await;
}

#[tokio::test]
async fn a_push_does_not_move_a_name_from_another() {
    let edge = edge().start().await;
    push(&edge, "shop", SITE, "").await;
    push(&edge, "other", &[("index.html", b"other")], WWW).await;
    let admin = edge.admin_token().to_owned();
    let next: &[(&str, &[u8])] = &[("index.html", b"next")];
    let refused = push_with(&edge, &admin, ("shop", "prod"), next, WWW).await.unwrap_err();
    assert_eq!(refused.code, Code::HostnameTaken);
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "home");
    assert_eq!(edge.get("www.example.org", "/").await.text(), "other");
    // Another environment of the same app counts as different, too.
    push(&edge, "shop", next, "[env.prod]\nhostnames = [\"own.example\"]\n").await;
    let toml = "[env.staging]\nhostnames = [\"own.example\"]\n";
    let refused = push_with(&edge, &admin, ("shop", "staging"), SITE, toml).await.unwrap_err();
    assert_eq!(refused.code, Code::HostnameTaken);
    assert!(refused.hint.unwrap().contains("hostnames add own.example"));
    edge.stop().await;
}

#[tokio::test]
async fn going_back_is_never_held_up_by_the_number_of_names() {
    let edge = edge().with_limit("hostnames_max", 2).start().await;
    push(&edge, "shop", SITE, "[env.prod]\nhostnames = [\"a.example\", \"b.example\"]\n").await;
    push(&edge, "shop", &[("index.html", b"broken")], "").await;
    remove(&edge, "shop", "a.example").await;
    remove(&edge, "shop", "b.example").await;
    add(&edge, "shop", "by-hand.example").await;
    let back = got(edge.api(Method::POST, "/v1/apps/shop/environments/prod/rollback")).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text());
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "home");
    // As many names as the limit permits.
    assert_eq!(names(&edge, "shop").await, ["=a.example", ">by-hand.example"]);
    edge.stop().await;
}

#[tokio::test]
async fn going_back_is_never_held_up_by_a_name() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let toml = format!("[dns]\nservers = [\"{}\"]", silent.local_addr().unwrap());
    let edge = edge().with_toml(&toml).start().await;
    push(&edge, "other", &[("index.html", b"other")], "").await;
    add(&edge, "other", "held.example").await;
    remove(&edge, "other", "held.example").await;
    let names_of_first = "[env.prod]\nhostnames = [\"www.example.org\", \"moved.example\", \"gone.localhost\"]\n";
    push(&edge, "shop", SITE, names_of_first).await;
    push(&edge, "shop", &[("index.html", b"broken")], "").await;
    add(&edge, "other", "moved.example").await;
    remove(&edge, "shop", "www.example.org").await;
    remove(&edge, "shop", "gone.localhost").await;
    let token = edge.token_for(Scope::Push, Some("shop"), None).await;
    let back = got(edge.ask(Method::POST, "/v1/apps/shop/environments/prod/rollback", &token)).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text());
    assert_eq!(edge.get("shop.localhost", "/").await.text(), "home");
    // An admin pushed the rollback's target, so that only the target's name returns.
    assert_eq!(names(&edge, "shop").await, ["=www.example.org"]);
    assert_eq!(edge.get("moved.example", "/").await.text(), "other");
    let admin = edge.admin_token().to_owned();
    let gone = name_with(&edge, &admin, ("DELETE", "shop", "prod", "gone.localhost"), "").await;
    assert_eq!(gone.code(), Code::NotFound);
    edge.stop().await;
}
