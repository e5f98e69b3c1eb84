//! Switches and takeovers under HTTP/3 load: no request fails, and no response mixes two versions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use devanture_config::api::SwitchReport;
use h3::error::{Code, StreamError};
use http::Method;
use quinn::TransportConfig;
use serde_json::json;
use tokio::task::JoinSet;

use crate::http3_client::{Client, answer, endpoint, get, shake};
use crate::support::{RunningEdge, edge, got};
use crate::wire::{Answer, HOST};

/// Switches of one run. `benches/switches` does a thousand.
const SWITCHES: usize = 100;
const TAKEOVERS: usize = 5;
/// Bytes of a page: several packets, so that a faulty response could mix two versions.
const PAGE_BYTES: usize = 20_000;
/// Concurrent requests on one connection.
const AT_ONCE: usize = 8;
const PAGES: [&str; 3] = ["/", "/assets/a.js", "/other"];

/// Counts of the visitors' requests.
#[derive(Default)]
struct Seen {
    answers: AtomicUsize,
    /// Requests refused by the edge and repeated on another connection.
    made_again: AtomicUsize,
    stop: AtomicBool,
}

/// Client that sends requests until stopped, on a persistent connection or on one connection per request.
#[derive(Clone)]
struct Visitor {
    ca: PathBuf,
    address: SocketAddr,
    stays: bool,
    seen: Arc<Seen>,
}

impl Visitor {
    async fn connect(&self) -> Client {
        let endpoint = endpoint(&self.ca, TransportConfig::default());
        let connection = shake(&endpoint, self.address, HOST).await;
        Client::over(endpoint, connection.unwrap_or_else(|error| panic!("refused: {error}"))).await
    }

    /// Sends requests until stopped; each response must be of one version.
    async fn visit(self) {
        let mut client = self.connect().await;
        let mut left = 0;
        while !self.seen.stop.load(Ordering::Relaxed) {
            let each = PAGES.iter().cycle().skip(left).take(AT_ONCE);
            left = (left + 1) % PAGES.len();
            let each = each.map(|path| {
                let mut requests = client.requests.clone();
                async move {
                    let mut stream = requests.send_request(get(HOST, path)).await?;
                    drop(stream.finish().await);
                    answer(&mut stream).await
                }
            });
            let mut is_over = !self.stays;
            for answer in futures_util::future::join_all(each).await {
                match answer {
                    Ok(answer) => self.check(&answer),
                    Err(error) => {
                        assert!(was_not_taken(&error), "{error:?}");
                        self.seen.made_again.fetch_add(1, Ordering::Relaxed);
                        is_over = true;
                    }
                }
            }
            if is_over {
                client.close().await;
                client = self.connect().await;
            }
        }
        client.close().await;
    }

    fn check(&self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let letter = answer.body[0];
        assert_eq!(answer.body.len(), PAGE_BYTES);
        assert!(answer.body.iter().all(|byte| *byte == letter), "of two versions");
        self.seen.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns true if a request may be repeated, as the edge drains (RFC 9114 §5.2): the request was refused, or the
/// connection ended without an error.
fn was_not_taken(error: &StreamError) -> bool {
    match error {
        StreamError::RemoteClosing { .. } => true,
        StreamError::RemoteTerminate { code, .. } => *code == Code::H3_REQUEST_REJECTED,
        error => error.is_h3_no_error(),
    }
}

/// Starts visitors of each kind.
fn visitors(edge: &RunningEdge) -> (JoinSet<()>, Arc<Seen>) {
    let (mut visitors, seen) = (JoinSet::new(), Arc::<Seen>::default());
    for stays in [true, true, false] {
        let visitor = Visitor { ca: edge.ca(), address: edge.http3().unwrap(), stays, seen: Arc::clone(&seen) };
        visitors.spawn(visitor.visit());
    }
    (visitors, seen)
}

async fn end(mut visitors: JoinSet<()>, seen: &Seen) {
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(visitor) = visitors.join_next().await {
        visitor.unwrap();
    }
    let (answers, again) = (seen.answers.load(Ordering::Relaxed), seen.made_again.load(Ordering::Relaxed));
    eprintln!("{answers} answers, {again} requests that were made again");
    assert!(answers > 0);
}

/// Pushes a version whose bytes all are the given letter.
async fn push(edge: &RunningEdge, letter: u8) -> String {
    let body = vec![letter; PAGE_BYTES];
    let files: &[(&str, &[u8])] = &[("index.html", &body), ("assets/a.js", &body), ("other.html", &body)];
    edge.push("shop", files).await.version.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switches_under_load_fail_no_request_and_mix_no_versions() {
    let edge = edge().with_threads(2).with_limit("writes_per_minute_max", 100_000).start().await;
    let versions = [push(&edge, b'a').await, push(&edge, b'b').await];
    let (visitors, seen) = visitors(&edge);
    let mut client = Client::connect(&edge, HOST).await;
    for number in 0..SWITCHES {
        let body = json!({ "version": versions[number % 2] });
        let request = edge.api(Method::POST, "/v1/apps/shop/environments/prod/switch").json(&body);
        assert!(got(request).await.json::<SwitchReport>().switched);
        // Requests after the switch get the new version.
        let answer = client.get(HOST, "/").await;
        assert_eq!((answer.status, answer.body[0]), (200, b"ab"[number % 2]));
        assert_eq!(answer.header("devanture-version"), versions[number % 2][..12]);
    }
    end(visitors, &seen).await;
    client.close().await;
    assert_eq!(seen.made_again.load(Ordering::Relaxed), 0, "a switch is nothing to a connection");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_takes_over_without_a_request_of_http3_that_fails() {
    let edge = edge().with_threads(2).in_a_process().start().await;
    push(&edge, b'a').await;
    let (address, (visitors, seen)) = (edge.http3(), visitors(&edge));
    let mut edge = edge;
    for _ in 0..TAKEOVERS {
        let answers = seen.answers.load(Ordering::Relaxed);
        edge = edge.taken_over().await;
        assert_eq!(edge.http3(), address);
        // The successor is under load before the next takeover, too.
        crate::support::eventually("visitors are answered", async || {
            seen.answers.load(Ordering::Relaxed) > answers + 50
        })
        .await;
    }
    end(visitors, &seen).await;
    edge.stop().await;
}
