//! Request logs: streamed live, for authorized tokens, and within limits.

use std::time::Duration;

use devanture_config::api::{LogLine, Scope, TokenMade};
use devanture_config::problem::Code;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Files, Got, RunningEdge, edge, eventually, got};
use crate::wire::{HOST, Protocol, ask, connect, protocols, read_answers, write};

const SITE: Files<'_> = &[("index.html", b"hi"), ("a.html", b"a")];
const PATIENCE: Duration = Duration::from_secs(30);

fn path(query: &str) -> String {
    format!("/v1/apps/shop/environments/prod/logs?{query}")
}

/// Stream of JSON lines.
struct Tail {
    response: reqwest::Response,
    text: String,
}

impl Tail {
    async fn open(edge: &RunningEdge, query: &str) -> Self {
        let response = edge.api(Method::GET, &path(query)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self { response, text: String::new() }
    }

    /// Next non-empty line; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.text = rest;
                if line.is_empty() {
                    continue;
                }
                return Some(serde_json::from_str(&line).unwrap());
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("nothing comes").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

async fn remembered(edge: &RunningEdge, query: &str) -> Vec<LogLine> {
    let answer: Got = got(edge.api(Method::GET, &path(query))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn requests_are_shown_as_they_are_answered_and_filtered() {
    let edge = edge().with_app("shop", SITE).with_app("other", SITE).start().await;
    let mut all = Tail::open(&edge, "tail").await;
    let mut some = Tail::open(&edge, "tail&status=400-499&path=/x/*&method=GET").await;
    for target in ["/", "/x/y?z=1", "/x"] {
        edge.get("other.localhost", target).await;
        edge.get("shop.localhost", target).await;
    }
    edge.client().post(format!("https://shop.localhost:{}/x", edge.https().port())).send().await.unwrap();
    for (target, status) in [("/", 200), ("/x/y?z=1", 404), ("/x", 404), ("/x", 405)] {
        let line = all.next().await.unwrap();
        assert_eq!((line["target"].as_str().unwrap(), line["status"].as_u64().unwrap()), (target, status), "{line}");
        assert_eq!((line["app"].as_str(), line["environment"].as_str()), (Some("shop"), Some("prod")));
        assert_eq!(line["client"], "127.0.0.1");
    }
    assert_eq!(some.next().await.unwrap()["target"], "/x/y?z=1");
    assert_eq!(some.next().await.unwrap()["target"], "/x");
    // An open log stream delays no shutdown.
    edge.stop().await;
    assert_eq!(all.next().await, None);
}

#[tokio::test]
async fn events_are_sent_to_clients_that_take_them() {
    let edge = edge().with_log("[access_log]\nto = \"access.log\"\n").with_app("shop", SITE).start().await;
    edge.get("shop.localhost", "/a").await;
    // A line is written after the response.
    eventually("the line is there", async || remembered(&edge, "").await.len() == 1).await;
    let answer = got(edge.api(Method::GET, &path("lines=5")).header("accept", "text/event-stream")).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert!(answer.text().starts_with("event: line\ndata: {\"at_ms\":"), "{}", answer.text());
    edge.stop().await;
}

#[tokio::test]
async fn the_last_lines_are_remembered_where_requests_are_logged() {
    let log = "[access_log]\nto = \"access.log\"\naddresses = \"short\"\nqueries = \"cut\"\n";
    let edge = edge().with_log(log).with_app("shop", SITE).start().await;
    for number in 0..5 {
        edge.get("shop.localhost", &format!("/{number}?token=secret")).await;
    }
    eventually("the lines are there", async || remembered(&edge, "lines=9").await.len() == 5).await;
    let lines = remembered(&edge, "lines=3&status=404").await;
    let targets: Vec<&str> = lines.iter().map(|line| line.target.as_str()).collect();
    assert_eq!(targets, ["/2", "/3", "/4"]);
    assert_eq!(lines[0].client.unwrap().to_string(), "127.0.0.0");
    // A stream starts with the last lines, each once.
    let mut tail = Tail::open(&edge, "tail&lines=1").await;
    edge.get("shop.localhost", "/5").await;
    assert_eq!(tail.next().await.unwrap()["target"], "/4");
    assert_eq!(tail.next().await.unwrap()["target"], "/5");
    let file = std::fs::read_to_string(edge.data_dir().parent().unwrap().join("access.log")).unwrap();
    assert!(!file.contains("secret") && !file.contains("127.0.0.1"), "{file}");
    edge.stop().await;
}

#[tokio::test]
async fn the_next_owner_of_a_name_reads_nothing_of_the_one_before() {
    let setup = edge().with_log("[access_log]\nto = \"access.log\"\n").with_limit("grace_ms_max", 0);
    let setup = setup.with_toml("[retention]\nundelete_hours = 0\ncollect_every_s = 0");
    let edge = setup.start().await;
    edge.push("shop", SITE).await;
    edge.get("shop.localhost", "/?token=secret").await;
    let mut tail = Tail::open(&edge, "tail&lines=1").await;
    assert_eq!(tail.next().await.unwrap()["target"], "/?token=secret");
    assert_eq!(got(edge.api(Method::DELETE, "/v1/apps/shop")).await.status, StatusCode::OK);
    assert_eq!(got(edge.api(Method::POST, "/v1/gc")).await.status, StatusCode::OK);
    assert_eq!(tail.next().await, None);
    edge.push("shop", SITE).await;
    assert!(remembered(&edge, "lines=100").await.is_empty());
    edge.get("shop.localhost", "/new").await;
    eventually("the new line is there", async || remembered(&edge, "lines=100").await.len() == 1).await;
    edge.stop().await;
}

#[tokio::test]
async fn nothing_is_remembered_of_requests_that_are_not_logged() {
    let edge = edge().with_app("shop", SITE).start().await;
    edge.get("shop.localhost", "/").await;
    assert!(remembered(&edge, "").await.is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_reader_learns_how_many_lines_it_lost() {
    const REQUESTS: usize = 3_000;
    let edge = edge().with_limit("log_reader_lines_max", 4).with_app("shop", SITE).start().await;
    let ca = reqwest::Certificate::from_pem(&std::fs::read(edge.ca()).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).http1_only().no_proxy().build().unwrap();
    let url = format!("https://localhost:{}{}", edge.admin().port(), path("tail"));
    let response = client.get(url).bearer_auth(edge.admin_token()).send().await.unwrap();
    // More than the buffers of both sockets, before the first byte is read.
    let target = format!("/?{}", "x".repeat(7_000));
    let visits = (0..REQUESTS).map(|_| edge.get("shop.localhost", &target));
    use futures_util::StreamExt as _;
    let answered = futures_util::stream::iter(visits).buffer_unordered(16).count().await;
    assert_eq!(answered, REQUESTS);
    let mut tail = Tail { response, text: String::new() };
    let (mut lines, mut lost) = (0, 0);
    while lines + lost < REQUESTS as u64 {
        let reported = tail.next().await.unwrap();
        match reported["lost"].as_u64() {
            Some(more) => lost += more,
            None => lines += 1,
        }
    }
    assert!(lines > 0 && lost > 0, "{lines} {lost}");
    assert_eq!(lines + lost, REQUESTS as u64);
    drop(tail);
    edge.stop().await;
}

#[tokio::test]
async fn readers_are_bounded_and_room_is_made_when_one_goes() {
    let edge = edge().with_limit("log_readers_per_app_max", 1).with_app("shop", SITE).start().await;
    let first = Tail::open(&edge, "tail").await;
    let refused = got(edge.api(Method::GET, &path("tail"))).await;
    assert_eq!(refused.code(), Code::TooMany);
    assert!(refused.problem().hint.unwrap().contains("log_readers_per_app_max"));
    drop(first);
    let since = std::time::Instant::now();
    while edge.api(Method::GET, &path("tail")).send().await.unwrap().status() != StatusCode::OK {
        assert!(since.elapsed() < PATIENCE, "the reader that went is still counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn only_who_may_see_an_app_reads_its_logs() {
    let edge = edge().with_app("shop", SITE).with_app("other", SITE).start().await;
    let ask = async |token: &str, path: &str| got(edge.ask(Method::GET, path, token)).await;
    let other = edge.token_for(Scope::Admin, Some("other"), None).await;
    assert_eq!(ask(&other, &path("tail")).await.code(), Code::NotFound);
    let staging = edge.token_for(Scope::Read, Some("shop"), Some("staging")).await;
    assert_eq!(ask(&staging, &path("tail")).await.code(), Code::Forbidden);
    let read = edge.token_for(Scope::Read, Some("shop"), None).await;
    assert_eq!(ask(&read, &path("")).await.status, StatusCode::OK);
    assert_eq!(ask(&read, &path("tial")).await.code(), Code::BadRequest);
    let unknown = got(edge.api(Method::GET, "/v1/apps/nobody/environments/prod/logs")).await;
    assert_eq!(unknown.code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test]
async fn the_combined_format_is_one_that_every_program_reads() {
    let log = "[access_log]\nformat = \"combined\"\nto = \"access.log\"\n";
    let edge = edge().with_log(log).with_app("shop", SITE).start().await;
    let request = edge.visit(Method::GET, "shop.localhost", "/a?b").header("user-agent", "a \"b\" \\ c");
    got(request.header("referer", "https://example.org/?q")).await;
    let file = edge.data_dir().parent().unwrap().join("access.log");
    let since = std::time::Instant::now();
    let text = loop {
        let text = std::fs::read_to_string(&file).unwrap();
        if text.ends_with('\n') {
            break text;
        }
        assert!(since.elapsed() < PATIENCE, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (begin, end) = text.split_once(" +0000] ").unwrap();
    assert!(begin.starts_with("127.0.0.1 - - ["), "{text}");
    let expected = "\"GET /a?b HTTP/2.0\" 200 1 \"https://example.org/?q\" \"a \\x22b\\x22 \\x5C c\"\n";
    assert_eq!(end, expected);
    edge.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_loses_lines_and_no_request() {
    let edge = edge().with_log("[access_log]\nto = \"/dev/full\"\n").with_app("shop", SITE).start().await;
    let since = std::time::Instant::now();
    loop {
        assert_eq!(edge.get("shop.localhost", "/").await.status, StatusCode::OK);
        let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
        if metrics.lines().any(|line| line.starts_with("devanture_access_log_dropped_total ")) {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "no lost line is counted");
    }
    // Lines that could not be written to the file remain readable.
    assert!(!remembered(&edge, "").await.is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let edge = edge().with_app("shop", SITE).start().await;
    let made = json!({"name": "reader", "app": "shop", "scope": "read"});
    let made: TokenMade = got(edge.api(Method::POST, "/v1/tokens").json(&made)).await.json();
    let response = edge.ask(Method::GET, &path("tail"), &made.token).send().await.unwrap();
    let mut tail = Tail { response, text: String::new() };
    edge.get("shop.localhost", "/").await;
    assert!(tail.next().await.is_some());
    assert!(got(edge.api(Method::DELETE, &format!("/v1/tokens/{}", made.id))).await.status.is_success());
    edge.get("shop.localhost", "/").await;
    assert_eq!(tail.next().await, None, "what comes after the revocation is not told");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_head_is_refused_has_a_line_with_its_status_and_address() {
    let setup = edge().with_log("[access_log]\nto = \"access.log\"\n").with_app("shop", SITE);
    let edge = setup.start().await;
    let mut expected = Vec::new();
    for protocol in protocols(&edge) {
        let many = (0..500).fold(ask("/"), |ask, _| ask.with("x-many", "1"));
        assert_eq!(many.send(&edge, protocol).await.status, 431, "{protocol:?}");
        let name = match protocol {
            Protocol::Http1 => "http/1.1",
            Protocol::Http2 => "h2",
            Protocol::Http3 => "h3",
        };
        expected.push((name.to_owned(), 431));
    }
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    write(&mut stream, b"GET / HTTP/1.1\r\nhost: shop.localhost\r\nno field\r\n\r\n").await;
    let (answers, _) = read_answers(&mut stream, &[false]).await;
    assert_eq!(answers[0].status, 400);
    expected.push(("http/1.1".to_owned(), 400));
    let file = edge.data_dir().parent().unwrap().join("access.log");
    let lines = || -> Vec<LogLine> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    eventually("all are logged", async || lines().len() >= expected.len()).await;
    let lines = lines();
    let mut found: Vec<_> = lines.iter().map(|line| (line.protocol.clone(), line.status)).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "each once");
    for line in lines {
        assert_eq!(line.client.map(|client| client.to_string()).as_deref(), Some("127.0.0.1"), "{line:?}");
        assert!(line.target.is_empty() && line.method.is_empty() && line.app.is_none(), "{line:?}");
    }
    edge.stop().await;
}
