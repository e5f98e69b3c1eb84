//! A TXT record in DNS proves a name for one edge, one app and one name, found by a real server.

use std::time::{Duration, Instant};

use devanture_config::api::Scope;
use devanture_config::problem::{Code, Problem};
use http::StatusCode;
use tokio::net::UdpSocket;

use super::{SITE, add, edge, name_with, push, push_with, remove};
use crate::hostnames::dns::Dns;
use crate::support::{RunningEdge, Setup};

async fn started(setup: Setup) -> (RunningEdge, String) {
    let edge = setup.start().await;
    push(&edge, "shop", SITE, "").await;
    push(&edge, "other", SITE, "").await;
    let token = edge.token_for(Scope::Push, Some("shop"), None).await;
    (edge, token)
}

/// Record in a problem's hint.
fn record(problem: &Problem) -> (String, String) {
    assert_eq!(problem.code, Code::HostnameUnproven, "{problem:?}");
    let hint = problem.hint.as_deref().unwrap();
    let (_, rest) = hint.split_once("create the record ").unwrap();
    let (name, rest) = rest.split_once(" TXT \"").unwrap();
    let (value, _) = rest.split_once('"').unwrap();
    (name.to_owned(), value.to_owned())
}

/// Refusal of a name for `shop` with a token; `None` if the name is added.
async fn refused(edge: &RunningEdge, token: &str, host: &str) -> Option<Problem> {
    let answer = name_with(edge, token, ("PUT", "shop", "prod", host), "").await;
    (answer.status != StatusCode::OK).then(|| answer.problem())
}

#[tokio::test]
async fn a_name_is_had_with_the_record_that_the_hint_says_and_with_no_other() {
    let dns = Dns::start().await;
    let (edge, token) = started(edge().with_toml(&dns.toml())).await;
    let host = "www.example.org";
    let problem = refused(&edge, &token, host).await.unwrap();
    let (name, value) = record(&problem);
    assert_eq!(name, "_devanture.www.example.org.");
    assert!(value.starts_with("devanture-app=") && value.len() == "devanture-app=".len() + 64, "{value}");
    assert!(problem.detail.contains("there is no such record"), "{}", problem.detail);
    // The record is stable, also across a restart.
    let edge = edge.restart().await;
    assert_eq!(record(&refused(&edge, &token, "WWW.example.org.").await.unwrap()), (name.clone(), value.clone()));

    // Invalid records: of another app, another name, another edge; truncated; at another place.
    let others = edge.token_for(Scope::Push, Some("other"), None).await;
    let answer = name_with(&edge, &others, ("PUT", "other", "prod", host), "").await;
    let of_other_app = record(&answer.problem()).1;
    let of_other_name = record(&refused(&edge, &token, "example.org").await.unwrap()).1;
    let (elsewhere, elsewhere_token) = started(crate::hostnames::edge().with_toml(&dns.toml())).await;
    let of_other_edge = record(&refused(&elsewhere, &elsewhere_token, host).await.unwrap()).1;
    elsewhere.stop().await;
    for wrong in
        [&of_other_app, &of_other_name, &of_other_edge, &value[..value.len() - 1], &value.to_uppercase(), "v=spf1 -all"]
    {
        assert_ne!(wrong, value);
        dns.txt(&name, wrong).await;
    }
    for wrong in ["www.example.org.", "_devanture.example.org.", "_devanture._devanture.www.example.org."] {
        dns.txt(wrong, &value).await;
    }
    let problem = refused(&edge, &token, host).await.unwrap();
    assert!(problem.detail.contains("another value"), "{}", problem.detail);

    // The right record counts beside wrong records, and only for the right app.
    dns.txt(&name, &value).await;
    assert!(refused(&edge, &token, host).await.is_none());
    assert_eq!(edge.get(host, "/").await.text(), "home");
    assert!(refused(&edge, &token, "example.org").await.is_some());
    // Another app's name is taken, whatever DNS contains: `other` has a separate proof here.
    let answer = name_with(&edge, &others, ("PUT", "other", "prod", host), "").await;
    assert_eq!(answer.code(), Code::HostnameTaken);

    // A name in use needs no further proof; a released name does.
    dns.forget(&name).await;
    let before = dns.questions();
    assert!(refused(&edge, &token, host).await.is_none());
    assert_eq!(dns.questions(), before);
    remove(&edge, "shop", host).await;
    assert!(refused(&edge, &token, host).await.is_some());
    edge.stop().await;
}

#[tokio::test]
async fn a_proof_may_be_long_in_parts_or_behind_another_name() {
    let dns = Dns::start().await;
    let (edge, token) = started(edge().with_toml(&dns.toml())).await;
    // An answer too long for a datagram is requested again over TCP (RFC 7766 §5).
    let (name, value) = record(&refused(&edge, &token, "long.example").await.unwrap());
    for number in 0..40 {
        dns.txt(&name, &format!("{number} {}", "x".repeat(240))).await;
    }
    dns.txt(&name, &value).await;
    assert_eq!(refused(&edge, &token, "long.example").await, None);
    // The owner of another DNS zone points there once, by a CNAME.
    let (name, value) = record(&refused(&edge, &token, "alias.example").await.unwrap());
    dns.cname(&name, "proofs.example.net.").await;
    dns.txt("proofs.example.net.", &format!(" {value} ")).await;
    assert_eq!(refused(&edge, &token, "alias.example").await, None);
    // Unicode names work like ASCII names.
    let (name, value) = record(&refused(&edge, &token, "b%C3%BCcher.example").await.unwrap());
    assert_eq!(name, "_devanture.xn--bcher-kva.example.");
    dns.txt(&name, &value).await;
    assert_eq!(refused(&edge, &token, "b%C3%BCcher.example").await, None);
    // A name may be too long for the additional label of the record.
    let long = format!("{}.example", vec!["a".repeat(60); 4].join("."));
    let problem = refused(&edge, &token, &long).await.unwrap();
    assert!(problem.detail.contains("too long"), "{}", problem.detail);
    edge.stop().await;
}

#[tokio::test]
async fn another_apps_wildcard_gives_way_to_a_proof() {
    let dns = Dns::start().await;
    let (edge, token) = started(edge().with_toml(&dns.toml())).await;
    add(&edge, "other", "*.example.org").await;
    let (name, value) = record(&refused(&edge, &token, "www.example.org").await.unwrap());
    dns.txt(&name, &value).await;
    assert_eq!(refused(&edge, &token, "www.example.org").await, None);
    edge.stop().await;
}

#[tokio::test]
async fn law_7_dns_that_does_not_answer_is_not_waited_for() {
    // Bound, so that no question is refused, and never read.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let toml = format!("[dns]\nservers = [\"{}\"]", silent.local_addr().unwrap());
    let limits = edge().with_limit("dns_time_ms_max", 400).with_limit("dns_lookups_max", 2);
    let (edge, token) = started(limits.with_toml(&toml)).await;
    let began = Instant::now();
    let problem = refused(&edge, &token, "www.example.org").await.unwrap();
    assert!(problem.detail.contains("DNS did not answer within 400 ms"), "{}", problem.detail);
    // Many names of a push take no longer than one name, and the response reports all.
    let hosts: Vec<String> = (0..50).map(|number| format!("\"n{number}.example\"")).collect();
    let toml = format!("[env.prod]\nhostnames = [{}]\n", hosts.join(", "));
    let problem = push_with(&edge, &token, ("shop", "prod"), &[("index.html", b"x")], &toml).await.unwrap_err();
    assert!(problem.detail.contains("n0.example") && problem.detail.contains("40 more"), "{}", problem.detail);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // A name without the need of a proof is added without a wait.
    assert_eq!(add(&edge, "shop", "www.example.org").await.hostname.name.as_str(), "www.example.org");
    edge.stop().await;
}

#[tokio::test]
async fn a_proof_is_found_by_the_second_server_where_the_first_one_says_nothing() {
    let (silent, dns) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), Dns::start().await);
    let toml = dns.toml().replace("= [", &format!("= [\"{}\", ", silent.local_addr().unwrap()));
    let (edge, token) = started(edge().with_limit("dns_time_ms_max", 2_000).with_toml(&toml)).await;
    let problem = refused(&edge, &token, "www.example.org").await.unwrap();
    assert!(problem.detail.contains("there is no such record"), "{}", problem.detail);
    let (name, value) = record(&problem);
    dns.txt(&name, &value).await;
    assert_eq!(refused(&edge, &token, "www.example.org").await, None);
    edge.stop().await;
}

#[tokio::test]
async fn dns_that_is_not_there_proves_nothing() {
    // A recently free port.
    let address = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let toml = format!("[dns]\nservers = [\"{address}\"]");
    let (edge, token) = started(edge().with_limit("dns_time_ms_max", 1_000).with_toml(&toml)).await;
    let problem = refused(&edge, &token, "www.example.org").await.unwrap();
    assert_eq!(problem.code, Code::HostnameUnproven);
    record(&problem);
    edge.stop().await;
}
