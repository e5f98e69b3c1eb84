//! Requests to backends that never answer, next to requests to other backends.

use std::sync::Arc;

use http::Method;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::attacks::world::{Backend, push};
use crate::support::{edge, eventually};

/// Limit of the edge's sockets to backends.
const SOCKETS: u64 = 8;
/// Sockets available to one app.
const OF_ONE: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_11_backends_that_never_answer_leave_sockets_to_other_apps() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = silent.local_addr().unwrap();
    let accepted = Arc::new(Semaphore::new(0));
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            open.push(stream);
            counted.add_permits(1);
        }
    });
    let backend = Backend::start("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    let edge = edge().with_limit("upstream_sockets_max", SOCKETS).start().await;
    let route = |to: &str| format!("[[routes]]\npath = \"/api/*\"\nto = \"{to}\"");
    push(&edge, "greedy", &[("index.html", b"hi")], &route(&format!("http://{to}"))).await;
    push(&edge, "modest", &[("index.html", b"hi")], &route(&backend.url())).await;
    let mut waiting = Vec::new();
    for _ in 0..OF_ONE {
        let request = edge.visit(Method::GET, "greedy.localhost", "/api/slow");
        waiting.push(tokio::spawn(async move { request.send().await.map(|answer| answer.status()) }));
    }
    // The backend never accepts more sockets.
    accepted.acquire_many(OF_ONE).await.unwrap().forget();
    let refused = edge.visit(Method::GET, "greedy.localhost", "/api/one-more").send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"), "{:?}", refused.headers());
    assert_eq!(accepted.available_permits(), 0);
    for _ in 0..10 {
        let answer = edge.visit(Method::GET, "modest.localhost", "/api/x").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "ok"));
    }
    // Visitors who disconnect release their sockets.
    waiting.into_iter().for_each(|request| request.abort());
    eventually("a socket is free again", async || {
        let request = edge.visit(Method::GET, "greedy.localhost", "/api/again");
        let request = tokio::spawn(async move { request.send().await.map(drop) });
        let was_accepted = tokio::time::timeout(std::time::Duration::from_millis(500), accepted.acquire()).await;
        request.abort();
        was_accepted.is_ok()
    })
    .await;
    edge.stop().await;
}
