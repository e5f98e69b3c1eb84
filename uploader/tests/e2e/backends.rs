//! API paths go to the app's own backend, on the same origin, and never fall back to the site (law 9).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;

use crate::support::edge::{Edge, edge};
use crate::support::websocket;

/// Starts a backend that echoes the request, with the status at the end of the path.
pub(super) fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut writer = stream;
                loop {
                    let mut head = Vec::new();
                    let mut length = 0;
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        let line = line.trim_end().to_owned();
                        if line.is_empty() {
                            break;
                        }
                        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        head.push(line);
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    let path = head[0].split(' ').nth(1).unwrap();
                    let last = path.split('?').next().unwrap().rsplit('/').next().unwrap();
                    let status: u16 = last.parse().unwrap_or(200);
                    let answer = serde_json::json!({"head": head, "body": String::from_utf8_lossy(&body)}).to_string();
                    write!(writer, "HTTP/1.1 {status} X\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
                }
            });
        }
    });
    address
}

fn site(folder: &Path, api: &str) {
    std::fs::create_dir_all(folder.join("www/api")).unwrap();
    std::fs::write(folder.join("www/index.html"), "<title>shell</title>").unwrap();
    std::fs::write(folder.join("www/api/file.html"), "a file under the route's path").unwrap();
    let toml = format!(
        "app = \"shop\"\nwww = \"www\"\nnot_found = \"single-page-application\"\n[[routes]]\npath = \"/api/*\"\nto = \"{api}\"\n"
    );
    std::fs::write(folder.join("devanture.toml"), toml).unwrap();
}

fn push(edge: &Edge, folder: &Path) -> crate::support::edge::Ran {
    crate::support::edge::Ran::of(edge.command(folder, "shop", &["push", "--json"]).output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn law_9_a_proxied_path_is_the_backends_alone() {
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    site(folder.path(), &format!("http://{}", echo()));
    let ran = push(&edge, folder.path());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for http2 in [true, false] {
        let client = edge.client(http2);
        for (method, path, status) in [
            ("GET", "/api/200", 200),
            ("GET", "/api/file", 200),
            ("GET", "/api/file.html", 200),
            ("GET", "/api", 200),
            ("GET", "/api/missing/404", 404),
            ("POST", "/api/login/401", 401),
            ("DELETE", "/api/x/406", 406),
            ("PATCH", "/api/x/503", 503),
        ] {
            let url = edge.url("shop.localhost", path) + "?q=%2F&r=a+b";
            let request = client
                .request(method.parse().unwrap(), url)
                .header("accept", "text/html")
                .header("sec-fetch-mode", "navigate")
                .header("x-forwarded-for", "6.6.6.6")
                .header("forwarded", "for=6.6.6.6")
                .body(if method == "GET" { "" } else { "body" });
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{method} {path}");
            let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
            assert_eq!(cookies, ["a=1", "b=2"]);
            assert!(!answer.headers().contains_key("cache-control") && !answer.headers().contains_key("etag"));
            let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let head: Vec<&str> =
                answer["head"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
            assert_eq!(head[0], format!("{method} {path}?q=%2F&r=a+b HTTP/1.1"));
            let has = |line: &str| head.iter().any(|l| l.eq_ignore_ascii_case(line));
            assert!(has(&format!("host: shop.localhost:{}", edge.https().port())), "{head:#?}");
            assert!(has("x-forwarded-proto: https") && has("x-forwarded-for: 127.0.0.1"), "{head:#?}");
            assert!(!head.iter().any(|line| line.contains("6.6.6.6")), "{head:#?}");
            assert_eq!(answer["body"], if method == "GET" { "" } else { "body" });
        }
        // Outside of the route, only navigations get the shell.
        let page =
            client.get(edge.url("shop.localhost", "/apix")).header("sec-fetch-mode", "navigate").send().await.unwrap();
        assert_eq!((page.status().as_u16(), page.text().await.unwrap().as_str()), (200, "<title>shell</title>"));
        let script = client.get(edge.url("shop.localhost", "/gone.js")).header("accept", "*/*").send().await.unwrap();
        assert_eq!(script.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_backend_are_distinguished() {
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site(folder.path(), &format!("http://{closed}"));
    push(&edge, folder.path());
    let get =
        async || edge.client(true).get(edge.url("shop.localhost", "/api/x")).send().await.unwrap().status().as_u16();
    assert_eq!(get().await, 502);
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = std::fs::read_to_string(folder.path().join("devanture.toml")).unwrap();
    let toml = toml.replace(&closed.to_string(), &silent.local_addr().unwrap().to_string()) + "timeout_ms = 300\n";
    std::fs::write(folder.path().join("devanture.toml"), toml).unwrap();
    push(&edge, folder.path());
    assert_eq!(get().await, 504);
    let page = edge.client(true).get(edge.url("shop.localhost", "/")).send().await.unwrap();
    assert_eq!(page.status(), 200, "the front is served whatever the backends do");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_go_live_and_back_with_their_version() {
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("www")).unwrap();
    std::fs::write(folder.path().join("www/index.html"), "front alone").unwrap();
    std::fs::write(folder.path().join("devanture.toml"), "app = \"shop\"\nwww = \"www\"\n").unwrap();
    assert_eq!(push(&edge, folder.path()).code, Some(0));
    site(folder.path(), &format!("http://{}", echo()));
    assert_eq!(push(&edge, folder.path()).code, Some(0));
    let status =
        async || edge.client(true).get(edge.url("shop.localhost", "/api/201")).send().await.unwrap().status().as_u16();
    assert_eq!(status().await, 201);
    edge.json("shop", &["rollback"]);
    assert_eq!(status().await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_to_a_private_address_needs_an_admin_or_a_word_in_edge_toml() {
    let folder = tempfile::tempdir().unwrap();
    let backend = echo();
    site(folder.path(), &format!("http://{backend}"));
    let mut closed = edge().start();
    let token = closed.new_token(&["--name", "ci", "--scope", "push"]);
    closed.token = token;
    let ran = push(&closed, folder.path());
    assert_eq!((ran.problem().as_str(), ran.code), ("upstream_forbidden", Some(1)));
    assert_eq!(ran.last_line(), "Nothing is live yet; nothing has changed.");

    let mut open = edge().with_table("[upstreams]\nallow = [\"127.0.0.0/8\"]\n").start();
    let token = open.new_token(&["--name", "ci", "--scope", "push"]);
    open.token = token;
    assert_eq!(push(&open, folder.path()).code, Some(0));
    // The edge's own listeners stay out of reach, and so do a cloud's metadata addresses.
    for to in [format!("http://{}", open.admin()), "http://169.254.169.254".to_owned()] {
        site(folder.path(), &to);
        assert_eq!(push(&open, folder.path()).problem(), "upstream_forbidden", "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_goes_through() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() || message.is_binary() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    site(folder.path(), &format!("http://{backend}"));
    assert_eq!(push(&edge, folder.path()).code, Some(0));
    let request = websocket::handshake(&edge.client(false), &edge.url("shop.localhost", "/api/socket"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let mut socket = websocket::upgraded(answer).await;
    for message in ["hello".to_owned(), "x".repeat(300_000)] {
        socket.send(message.clone().into()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), message);
    }
}
