//! Requests during member changes: distribution of the requests, without failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, StatusCode};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{RunningEdge, edge, eventually, got};
use crate::upstreams::backend::Backend;
use crate::upstreams::{SITE, api, listed, listed_members, names, push, put, remove, requests, who};
use crate::wire;

type Socket = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

/// WebSocket through the edge.
async fn socket(edge: &RunningEdge) -> Socket {
    let stream = wire::connect(edge, wire::HOST, "http/1.1").await;
    let url = format!("wss://{}/api/socket", wire::HOST);
    client_async(url, stream).await.unwrap().0
}

async fn echoes(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
}

#[tokio::test]
async fn a_member_that_is_added_gets_requests_when_the_answer_has_come() {
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[], ""), SITE).await;
    assert_eq!(edge.get(wire::HOST, "/api/who").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    for round in 0..5 {
        let report = put(&edge, &one.url(), "in").await;
        assert_eq!(listed_members(&report), [(one.url(), vec!["up".to_owned()], "in".into())], "round {round}");
        assert_eq!(edge.get(wire::HOST, "/api/who").await.text(), "one");
        remove(&edge, &one.url()).await;
        assert_eq!(edge.get(wire::HOST, "/api/who").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    put(&edge, &one.url(), "in").await;
    put(&edge, &two.url(), "in").await;
    assert_eq!(who(&edge).await, names(&["one", "two"]));
    edge.stop().await;
}

#[tokio::test]
async fn a_member_that_drains_gets_nothing_new_and_ends_what_is_under_way() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[&one], ""), SITE).await;
    put(&edge, &one.url(), "in").await;
    let slow = edge.visit(Method::GET, wire::HOST, "/api/slow").send().await.unwrap();
    let mut open = socket(&edge).await;
    echoes(&mut open, "before").await;
    put(&edge, &two.url(), "in").await;
    let report = put(&edge, &one.url(), "drain").await;
    assert_eq!((listed_members(&report)[0].1[0].as_str(), requests(&report, &one.url())), ("draining", 2));
    assert_eq!(who(&edge).await, names(&["two"]));
    // A version with other settings of the upstream has another pool; requests in flight are reported nevertheless.
    push(&edge, "prod", &api(&[&one], "retries = 1\n"), SITE).await;
    assert_eq!(who(&edge).await, names(&["two"]));
    assert_eq!(requests(&listed(&edge, "prod").await, &one.url()), 2);
    echoes(&mut open, "while it drains").await;
    one.goes_on();
    assert_eq!(slow.text().await.unwrap(), "oneone");
    open.close(None).await.unwrap();
    while open.next().await.is_some() {}
    drop(open);
    eventually("nothing is under way to it", async || requests(&listed(&edge, "prod").await, &one.url()) == 0).await;
    // The member returns by the same operation.
    put(&edge, &one.url(), "in").await;
    assert_eq!(who(&edge).await, names(&["one", "two"]));
    edge.stop().await;
}

#[tokio::test]
async fn what_is_under_way_to_a_member_that_is_removed_ends_well() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[], ""), SITE).await;
    put(&edge, &one.url(), "in").await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        slow.push(edge.visit(Method::GET, wire::HOST, "/api/slow").send().await.unwrap());
    }
    let mut open = socket(&edge).await;
    put(&edge, &two.url(), "in").await;
    let report = remove(&edge, &one.url()).await;
    assert_eq!(listed_members(&report), [(two.url(), vec!["up".to_owned()], "in".into())]);
    assert_eq!(who(&edge).await, names(&["two"]));
    echoes(&mut open, "still there").await;
    one.goes_on();
    for answer in slow {
        assert_eq!(answer.text().await.unwrap(), "oneone");
    }
    open.close(None).await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn members_that_come_and_go_all_the_time_cost_no_request() {
    let (one, two, three) = (Backend::start("one").await, Backend::start("two").await, Backend::start("three").await);
    let edge = Arc::new(edge().start().await);
    push(&edge, "prod", &api(&[&one], ""), SITE).await;
    let (is_over, request) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (edge, is_over, request) = (Arc::clone(&edge), Arc::clone(&is_over), Arc::clone(&request));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = edge.get(wire::HOST, "/api/who").await;
                    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
                    request.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..50 {
        put(&edge, &two.url(), "in").await;
        // A declared member can be removed and restored, too, while another member exists.
        remove(&edge, &one.url()).await;
        put(&edge, &three.url(), "in").await;
        put(&edge, &one.url(), "in").await;
        put(&edge, &two.url(), if round % 2 == 0 { "drain" } else { "in" }).await;
        remove(&edge, &two.url()).await;
        remove(&edge, &three.url()).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(request.load(Ordering::Relaxed) > 0);
    assert_eq!(
        listed_members(&listed(&edge, "prod").await),
        [(one.url(), vec!["up".to_owned()], serde_json::Value::Null)]
    );
    Arc::into_inner(edge).unwrap().stop().await;
}

#[tokio::test]
async fn the_metrics_list_pools_that_are_there_and_no_other() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[&one], ""), SITE).await;
    put(&edge, &one.url(), "in").await;
    let slow = edge.visit(Method::GET, wire::HOST, "/api/slow").send().await.unwrap();
    put(&edge, &two.url(), "in").await;
    put(&edge, &two.url(), "drain").await;
    let metrics = async || -> Vec<String> {
        let text = got(edge.api(Method::GET, "/metrics")).await.text();
        let of_pools =
            text.lines().filter(|line| line.starts_with("devanture_upstream_") && !line.contains("_errors_"));
        of_pools.map(str::to_owned).collect()
    };
    push(&edge, "staging", &api(&[&two], ""), SITE).await;
    let of_staging = async || metrics().await.iter().filter(|line| line.contains("environment=\"staging\"")).count();
    // Pools follow the live version.
    eventually("the pool of staging is told of", async || of_staging().await == 6).await;
    let lines = metrics().await;
    let labels = "app=\"shop\",environment=\"prod\",upstream=\"api\"";
    for expected in [
        format!("devanture_upstream_members{{{labels},state=\"up\"}} 1"),
        format!("devanture_upstream_members{{{labels},state=\"draining\"}} 1"),
        format!("devanture_upstream_members{{{labels},state=\"unwell\"}} 0"),
        format!("devanture_upstream_requests{{{labels}}} 1"),
        format!("devanture_upstream_waiting{{{labels}}} 0"),
    ] {
        assert!(lines.contains(&expected), "{expected}: {lines:#?}");
    }
    one.goes_on();
    assert_eq!(slow.text().await.unwrap(), "oneone");
    got(edge.api(Method::DELETE, "/v1/apps/shop/environments/staging")).await.json::<serde_json::Value>();
    eventually("nothing is told of it", async || of_staging().await == 0).await;
    assert!(!metrics().await.is_empty());
    edge.stop().await;
}
