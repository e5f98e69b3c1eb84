//! Visitors with a forged client address: towards a backend, the access log and the login limits.

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attacks::world::{Backend, fields, push};
use crate::support::{RunningEdge, Setup, edge, eventually, got};
use crate::wire::{HOST, PATIENCE, Protocol, ask, connect, protocols, read_answers, write};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// Site with a route, and the backend.
async fn routed(setup: Setup) -> (RunningEdge, Backend) {
    let backend = Backend::start(OK).await;
    let edge = setup.with_log("[access_log]\nto = \"access.log\"\n").start().await;
    let toml = format!("[[routes]]\npath = \"/api/*\"\nto = \"{}\"\n", backend.url());
    push(&edge, "shop", &[("index.html", b"home")], &toml).await;
    (edge, backend)
}

/// Sends header lines; returns the `X-Forwarded-For` received by the backend.
async fn forwarded(edge: &RunningEdge, backend: &Backend, lines: &str) -> String {
    let mut stream = connect(edge, HOST, "http/1.1").await;
    write(&mut stream, format!("GET /api/x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n").as_bytes()).await;
    let (answers, _) = read_answers(&mut stream, &[false]).await;
    assert_eq!(answers[0].status, 200, "{lines}");
    let head = backend.take();
    assert!(!head.contains("6.6.6.6"), "{head}");
    let of =
        |name: &str| fields(&head).into_iter().filter(|(found, _)| *found == name).map(|(_, v)| v).collect::<Vec<_>>();
    let (list, elements) = (of("x-forwarded-for"), of("forwarded"));
    assert_eq!((list.len(), elements.len()), (1, 1), "{head}");
    let client = list[0].split(", ").next().unwrap();
    let first = elements[0].split([',', ';']).next().unwrap().replace(['"', '[', ']'], "");
    assert_eq!(first, format!("for={client}"), "both fields name one client: {head}");
    list[0].to_owned()
}

/// Client address in the last line of the access log, once `count` lines exist.
async fn logged(edge: &RunningEdge, count: usize) -> String {
    let mut client = String::new();
    eventually("the line is logged", async || {
        let log = got(edge.api(Method::GET, "/v1/apps/shop/environments/prod/logs?lines=1000")).await.text();
        let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.last().map_or("", |line| line["client"].as_str().unwrap()).clone_into(&mut client);
        lines.len() >= count
    })
    .await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_a_trusted_proxy_says_who_asks() {
    let (edge, backend) = routed(edge().with_listen("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]")).await;
    for lines in [
        "",
        "X-Forwarded-For: 6.6.6.6\r\n",
        "X-Forwarded-For: 6.6.6.6, 10.0.0.1\r\n",
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 127.0.0.1\r\n",
        "Forwarded: for=6.6.6.6;proto=http;host=evil\r\n",
        "Forwarded: for=6.6.6.6, for=10.0.0.1\r\nX-Forwarded-For: 6.6.6.6, 10.0.0.1\r\n",
        "X-Real-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\nX-Client-IP: 6.6.6.6\r\nX-Cluster-Client-IP: 6.6.6.6\r\n",
        "Client-IP: 6.6.6.6\r\nCF-Connecting-IP: 6.6.6.6\r\nX-Original-URL: /6.6.6.6\r\nX-Rewrite-URL: /6.6.6.6\r\n",
        "X-Original-Host: 6.6.6.6\r\nX-Scheme: 6.6.6.6\r\nFront-End-Https: 6.6.6.6\r\nSCRIPT_NAME: /6.6.6.6\r\n",
        "X_Forwarded_For: 6.6.6.6\r\nx-forwarded_for: 6.6.6.6\r\n",
        "Connection: x-forwarded-for\r\nX-Forwarded-For: 6.6.6.6\r\n",
    ] {
        assert_eq!(forwarded(&edge, &backend, lines).await, "127.0.0.1", "{lines}");
    }
    assert_eq!(logged(&edge, 11).await, "127.0.0.1");
    edge.stop().await;
}

/// RFC 7239 §8.1: entries to the left of the first untrusted address are claims of the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_is_believed_as_far_as_its_own_word_goes() {
    let trusted = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"]";
    let (edge, backend) = routed(edge().with_listen(trusted)).await;
    let cases = [
        ("X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9, 127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n", "203.0.113.9, 127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9, 127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1\r\n", "203.0.113.9, 10.1.1.1, 127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 203.0.113.9, ::ffff:10.1.1.1\r\n", "203.0.113.9, 10.1.1.1, 127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 203.0.113.9, [fd00::1]:80\r\n", "203.0.113.9, fd00::1, 127.0.0.1"),
        ("X-Forwarded-For: 203.0.113.9:1234\r\n", "203.0.113.9, 127.0.0.1"),
        ("X-Forwarded-For: [2001:db8::9]:1234\r\n", "2001:db8::9, 127.0.0.1"),
        ("X-Forwarded-For: 2001:db8::9\r\n", "2001:db8::9, 127.0.0.1"),
        ("X-Forwarded-For: , 203.0.113.9 ,, \r\n", "203.0.113.9, 127.0.0.1"),
        ("Forwarded: for=6.6.6.6, for=\"203.0.113.9:99\";proto=https\r\n", "203.0.113.9, 127.0.0.1"),
        ("Forwarded: for=\"[2001:db8::9]\"\r\n", "2001:db8::9, 127.0.0.1"),
        // Every hop is trusted: the farthest hop is the client.
        ("X-Forwarded-For: 10.1.1.1\r\n", "10.1.1.1, 127.0.0.1"),
        // Unparsable entries are ignored, which leaves the peer of the connection.
        ("X-Forwarded-For: 6.6.6.6, unknown\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 10.1.1\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 010.1.1.1\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 0x0a010101\r\n", "127.0.0.1"),
        ("X-Forwarded-For: fe80::1%eth0\r\n", "127.0.0.1"),
        ("X-Forwarded-For: [fe80::1%25eth0]:80\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6 10.1.1.1\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 10.1.1.1:99999999\r\n", "127.0.0.1"),
        ("Forwarded: for=\"6.6.6.6\r\n", "127.0.0.1"),
        ("Forwarded: for=6.6.6.6, for=_hidden\r\n", "127.0.0.1"),
        ("Forwarded: for=6.6.6.6;for=10.1.1.1\r\n", "127.0.0.1"),
        ("Forwarded: for=\"[fe80::1%25eth0]\"\r\n", "127.0.0.1"),
        // A proxy writes one of the two fields and forwards the other as received.
        ("X-Forwarded-For: 203.0.113.9\r\nForwarded: for=6.6.6.6\r\n", "127.0.0.1"),
    ];
    for (lines, expected) in &cases {
        assert_eq!(forwarded(&edge, &backend, lines).await, *expected, "{lines}");
    }
    // More proxies than any real chain.
    let many = format!("X-Forwarded-For: 6.6.6.6{}\r\n", ", 10.1.1.1".repeat(40));
    assert_eq!(forwarded(&edge, &backend, &many).await, "127.0.0.1");
    // Other fields of the proxy pass: the proxy is responsible for their value.
    let answer = ask("/api/x").with("cf-connecting-ip", "203.0.113.9").send(&edge, Protocol::Http1).await;
    assert_eq!(answer.status, 200);
    assert!(backend.take().contains("cf-connecting-ip: 203.0.113.9"));
    forwarded(&edge, &backend, "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n").await;
    assert_eq!(logged(&edge, cases.len() + 3).await, "203.0.113.9");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_in_a_host_is_no_port_that_the_edge_tells_a_backend() {
    for (said, expected) in [("", None), ("public_port = 443", Some("443"))] {
        let (edge, backend) = routed(edge().with_listen(said)).await;
        for protocol in protocols(&edge) {
            for host in [HOST.to_owned(), format!("{HOST}:1"), format!("{HOST}:65535")] {
                let answer = ask("/api/x").host(&host).with("x-forwarded-port", "2").send(&edge, protocol).await;
                assert_eq!(answer.status, 200, "{protocol:?} {host}");
                let head = backend.take();
                let port = fields(&head).into_iter().find(|(name, _)| *name == "x-forwarded-port");
                assert_eq!(port.map(|(_, port)| port), expected, "{protocol:?} {host}: {head}");
            }
        }
        edge.stop().await;
    }
}

/// Tries a wrong password with the given `X-Forwarded-For`.
async fn try_login(edge: &RunningEdge, forwarded: &str) -> StatusCode {
    let url = format!("https://localhost:{}/v1/login", edge.admin().port());
    let request = edge.client().post(url).header("x-forwarded-for", forwarded);
    got(request.json(&json!({ "login": "nobody", "password": "not this one" }))).await.status
}

#[tokio::test]
async fn a_forged_address_neither_evades_the_limit_of_logins_nor_uses_up_that_of_others() {
    let setup = || {
        let setup = edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1);
        setup.with_limit("login_attempts_per_address_max", 2)
    };
    // The peer of the connection is the client.
    let edge = setup().start().await;
    let mut statuses = Vec::new();
    for number in 1..=4 {
        statuses.push(try_login(&edge, &format!("203.0.113.{number}")).await.as_u16());
    }
    assert_eq!(statuses, [401, 401, 429, 429]);
    edge.stop().await;
    // Behind a proxy, each client counts separately, whatever the list starts with.
    let edge = setup().with_listen("trusted_proxies = [\"127.0.0.1\"]").start().await;
    let mut statuses = Vec::new();
    for list in ["6.6.6.1, 203.0.113.1", "6.6.6.2, 203.0.113.1", "6.6.6.3, 203.0.113.1", "203.0.113.1, 203.0.113.2"] {
        statuses.push(try_login(&edge, list).await.as_u16());
    }
    assert_eq!(statuses, [401, 401, 429, 401]);
    // One customer of an IPv6 provider is one client.
    let mut statuses = Vec::new();
    for list in ["2001:db8::1", "2001:db8::2", "2001:db8::3:4:5:6", "2001:db8:0:1::1"] {
        statuses.push(try_login(&edge, list).await.as_u16());
    }
    assert_eq!(statuses, [401, 401, 429, 401]);
    edge.stop().await;
}

/// The edge accepts no PROXY protocol header from any peer, since the header is not authenticated.
#[tokio::test]
async fn a_line_of_the_proxy_protocol_is_no_beginning_of_a_connection() {
    let edge = edge().with_plain_http().with_listen("trusted_proxies = [\"127.0.0.1\"]").start().await;
    push(&edge, "shop", &[("index.html", b"home")], "").await;
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06\x7f\0\0\x01\x01\xbb\x01\xbb".to_vec();
    for line in [b"PROXY TCP4 6.6.6.6 127.0.0.1 443 443\r\n".to_vec(), version_2] {
        for address in [edge.https(), edge.http().unwrap()] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
            stream.write_all(&[&line[..], request].concat()).await.unwrap();
            let mut read = Vec::new();
            drop(timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the connection ends"));
            let read = String::from_utf8_lossy(&read);
            assert!(!read.contains("HTTP/1.1 2") && !read.contains("HTTP/1.1 3"), "{read}");
        }
    }
    edge.stop().await;
}
