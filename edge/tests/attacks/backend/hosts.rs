//! `Host` sent to backends: a visitor's host would lead a shared server elsewhere to another customer's site, or to
//! none.

use crate::attacks::world::{Backend, push};
use crate::support::edge;

const HOST: &str = "shop.localhost";

/// Backend that answers with the `Host` of the request.
async fn host_teller() -> Backend {
    Backend::answering(|head| {
        let host = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
        let host = host.unwrap_or_default();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{host}", host.len()).into_bytes()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_sends_the_host_that_it_says_whatever_its_upstream_says() {
    let backend = host_teller().await;
    let edge = edge().start().await;
    let (url, own) = (backend.url(), format!("127.0.0.1:{}", backend.port));
    let visitors = format!("{HOST}:{}", edge.https().port());
    let rewrite = |from: &str, host: &str| format!("[[rewrites]]\nfrom = \"{from}\"\nto = \"{url}/a\"\n{host}\n");
    let toml = [
        rewrite("/keep", "host = \"keep\""),
        rewrite("/target", "host = \"target\""),
        rewrite("/named", "host = \"api.example.org\""),
        rewrite("/other", ""),
        format!("[upstreams.x]\nto = \"{url}\"\nhost = \"upstream.example.org\"\n"),
    ];
    push(&edge, "shop", &[("index.html", b"home")], &toml.concat()).await;
    for (path, expected) in [
        ("/keep", visitors.as_str()),
        ("/target", &own),
        ("/named", "api.example.org"),
        ("/other", "upstream.example.org"),
        ("/keep", &visitors),
    ] {
        assert_eq!(edge.get(HOST, path).await.text(), expected, "{path}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_to_another_origin_sends_the_host_of_its_target() {
    let backend = host_teller().await;
    let edge = edge().start().await;
    let (url, own) = (backend.url(), format!("127.0.0.1:{}", backend.port));
    let visitors = format!("{HOST}:{}", edge.https().port());
    for (setting, hosts) in [
        ("", [&own, &visitors]),
        ("host = \"keep\"", [&visitors, &visitors]),
        ("host = \"target\"", [&own, &own]),
        ("host = \"api.example.org\"", [&"api.example.org".to_owned(), &"api.example.org".to_owned()]),
    ] {
        let toml = format!(
            "[[rewrites]]\nfrom = \"/rewritten\"\nto = \"{url}/a\"\n[[routes]]\npath = \"/routed\"\nto = \"x\"\n\
             [upstreams.x]\nto = \"{url}\"\n{setting}"
        );
        push(&edge, "shop", &[("index.html", b"home")], &toml).await;
        for (path, expected) in ["/rewritten", "/routed"].into_iter().zip(hosts) {
            assert_eq!(edge.get(HOST, path).await.text(), *expected, "{setting} {path}");
        }
    }
    edge.stop().await;
}
