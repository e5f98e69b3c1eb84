//! Backends in trouble behind a real edge: routes that switch under load, floods bounded in memory, and a front served
//! regardless of its backends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;

use crate::support::edge::{Edge, Ran, edge};
use crate::support::{VISITOR_PAUSE, rounds, websocket};

/// Switches of a route's backend.
const SWITCHES: usize = 1_000;

/// Starts a backend of bare sockets.
async fn backend<H, F>(handler: H) -> SocketAddr
where
    H: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handler(stream));
        }
    });
    address
}

/// Reads a request whose body has a length: the first line, and the body.
async fn receive(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let line = String::from_utf8_lossy(&bytes).lines().next().unwrap().to_owned();
    Some((line, bytes.split_off(end)))
}

/// Starts a backend that answers with its name, the method and the body; `/api/socket` is a WebSocket with the same
/// answers.
async fn named(name: &'static str) -> SocketAddr {
    backend(move |mut stream| async move {
        let mut first = [0; 15];
        while stream.peek(&mut first).await.is_ok_and(|read| read > 0 && read < first.len()) {}
        if first == *b"GET /api/socket" {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() {
                    socket.send(format!("{name}: {message}").into()).await.unwrap();
                }
            }
            return;
        }
        while let Some((line, body)) = receive(&mut stream).await {
            let text = format!("{name} {} {}", line.split(' ').next().unwrap(), String::from_utf8_lossy(&body));
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// Writes a site whose API is at `to`, with the further configuration `more`.
fn site(folder: &Path, to: SocketAddr, more: &str) {
    std::fs::create_dir_all(folder.join("www")).unwrap();
    std::fs::write(folder.join("www/index.html"), "<title>the front</title>").unwrap();
    let toml = format!(
        "app = \"shop\"\nwww = \"www\"\n[[routes]]\npath = \"/api/*\"\nto = \"pool\"\n{more}\n[upstreams.pool]\nto = [\"http://{to}\"]\n"
    );
    std::fs::write(folder.join("devanture.toml"), toml).unwrap();
}

fn push(edge: &Edge, folder: &Path) -> serde_json::Value {
    let ran = Ran::of(edge.command(folder, "shop", &["push", "--json"]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran.json()
}

async fn open_socket(edge: &Edge) -> WebSocketStream<reqwest::Upgraded> {
    websocket::open(&edge.client(false), &edge.url("shop.localhost", "/api/socket")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_during_a_thousand_switches_of_a_route_is_the_backends_of_the_version_that_it_names() {
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    let mut versions = Vec::new();
    for name in ["blue", "green"] {
        site(folder.path(), named(name).await, "");
        versions.push(push(&edge, folder.path())["version"].as_str().unwrap().to_owned());
    }
    assert_ne!(versions[0], versions[1]);
    let mut socket = open_socket(&edge).await;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut clients = Vec::new();
    for number in 0..6 {
        let (client, url) = (edge.client(number % 2 == 0), edge.url("shop.localhost", "/api/x"));
        let (stop, seen, versions) = (Arc::clone(&stop), Arc::clone(&seen), versions.clone());
        clients.push(tokio::spawn(async move {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let body = format!("order {number}.{turn}");
                let (request, expected) = match turn % 3 {
                    0 => (client.get(&url), "GET ".to_owned()),
                    1 => (client.post(&url).body(body.clone()), format!("POST {body}")),
                    _ => (client.put(&url).body(body.clone()), format!("PUT {body}")),
                };
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 200);
                let version = answer.headers()["devanture-version"].to_str().unwrap().to_owned();
                let which = usize::from(versions[1].starts_with(&version));
                assert!(versions[which].starts_with(&version), "{version}");
                assert_eq!(answer.text().await.unwrap(), format!("{} {expected}", ["blue", "green"][which]));
                seen[which].fetch_add(1, Ordering::Relaxed);
                if turn % 3 == 2 {
                    sleep(VISITOR_PAUSE).await;
                }
            }
        }));
    }
    let client = edge.client(true);
    let url = format!("https://{}/v1/apps/shop/environments/prod/switch", edge.admin());
    for number in 0..rounds(SWITCHES) {
        let body = json!({"version": versions[number % 2]});
        let answer = client.post(&url).bearer_auth(&edge.token).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        if number % 50 == 0 {
            // A connection from before the first switch stays with its backend.
            socket.send(number.to_string().into()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), format!("green: {number}"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let seen = [seen[0].load(Ordering::Relaxed), seen[1].load(Ordering::Relaxed)];
    assert!(seen[0] > 50 && seen[1] > 50, "{seen:?}");
}

/// Starts a backend that writes `begin` and then repeats `again` while possible, up to 100 MiB.
async fn flooding(begin: &'static str, again: String) -> SocketAddr {
    let again = Arc::new(again);
    backend(move |mut stream| {
        let again = Arc::clone(&again);
        async move {
            if receive(&mut stream).await.is_none() || stream.write_all(begin.as_bytes()).await.is_err() {
                return;
            }
            for _ in 0..(100 << 20) / again.len() {
                if stream.write_all(again.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// Memory limit for sixteen concurrent floods, with the buffers of their connections.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_a_backend_do_not_fill_the_edges_memory_and_the_front_is_served() {
    let line = || format!("x-one: {}\r\n", "x".repeat(1_000)).repeat(64);
    let long = || "x".repeat(64 * 1024);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (trailer, extension): (&'static str, &'static str) =
        (Box::leak(format!("{chunked}0\r\n").into_boxed_str()), Box::leak(format!("{chunked}1;x=").into_boxed_str()));
    let edge = edge().start();
    let client = edge.client(true);
    let front = async || {
        let answer = client.get(edge.url("shop.localhost", "/")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    for (what, begin, again) in [
        ("fields", "HTTP/1.1 200 OK\r\n", line()),
        ("a field without an end", "HTTP/1.1 200 OK\r\nx: ", long()),
        ("interim answers", "", "HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000)),
        ("a status without an end", "HTTP/1.1 200 ", long()),
        ("trailers", trailer, line()),
        ("an extension", extension, long()),
    ] {
        site(folder.path(), flooding(begin, again).await, "first_byte_timeout_ms = 2000\nidle_timeout_ms = 2000");
        push(&edge, folder.path());
        assert_eq!(front().await.0, 200);
        let before = edge.resident_bytes();
        let floods = (0..16).map(|_| async {
            let Ok(answer) = client.get(edge.url("shop.localhost", "/api/x")).send().await else { return };
            let status = answer.status().as_u16();
            assert!(matches!(status, 502 | 504) || answer.text().await.is_err(), "{what}: {status}");
        });
        let others = async {
            for _ in 0..20 {
                assert_eq!(front().await, (200, "<title>the front</title>".to_owned()), "{what}");
            }
        };
        tokio::join!(futures_util::future::join_all(floods), others);
        let grown = edge.resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "{what}: {grown} bytes more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_full_says_when_to_come_again_and_serves_as_soon_as_it_can() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (held, arrived) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&arrived);
    let slow = backend(move |mut stream| {
        let (gate, arrived) = (Arc::clone(&held), Arc::clone(&counted));
        async move {
            while receive(&mut stream).await.is_some() {
                arrived.fetch_add(1, Ordering::SeqCst);
                drop(gate.acquire().await);
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await);
            }
        }
    })
    .await;
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    site(folder.path(), slow, "");
    let toml = folder.path().join("devanture.toml");
    let text = std::fs::read_to_string(&toml).unwrap() + "connections_max = 2\nqueue_max = 0\n";
    std::fs::write(&toml, text).unwrap();
    push(&edge, folder.path());
    let (client, url) = (edge.client(true), edge.url("shop.localhost", "/api/x"));
    let under_way: Vec<_> = (0..2).map(|_| tokio::spawn(client.get(&url).send())).collect();
    while arrived.load(Ordering::SeqCst) < 2 {
        sleep(std::time::Duration::from_millis(5)).await;
    }
    let refused = client.get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().is_ok());
    let page = client.get(edge.url("shop.localhost", "/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    gate.add_permits(1_000);
    for one in under_way {
        assert_eq!(one.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
}
