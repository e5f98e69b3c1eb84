//! Canaries behind an independent shared cache: nginx, if installed.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use devanture_config::api::DeployOptions;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::{call, push};
use crate::support::{Files, RunningEdge, edge};

const HEADERS: &[u8] = b"/data.json\n  Cache-Control: public, max-age=0, s-maxage=600\n";
const OLD: Files<'_> =
    &[("index.html", b"old"), ("data.json", b"{}"), ("app-1a2b3c4d.js", b"1"), ("_headers", HEADERS)];
const NEW: Files<'_> =
    &[("index.html", b"new"), ("data.json", b"[]"), ("app-5e6f7a8b.js", b"2"), ("_headers", HEADERS)];
/// Longest wait for nginx.
const PATIENCE: Duration = Duration::from_secs(30);

/// nginx with a cache in front of an edge.
struct Cache {
    folder: tempfile::TempDir,
    nginx: Child,
}

impl Cache {
    /// Starts nginx; `None` if nginx is not installed.
    #[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
    async fn start(edge: &RunningEdge) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let port = edge.https().port();
        let config = format!(
            "daemon off; pid {at}/pid; error_log stderr; worker_processes 1; user root;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/temp;\n\
             fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
             proxy_cache_path {at}/cache keys_zone=all:1m; proxy_cache all; proxy_cache_revalidate on;\n\
             server {{ listen unix:{at}/socket; location / {{ proxy_pass https://127.0.0.1:{port};\n\
             proxy_ssl_server_name on; proxy_ssl_name shop.localhost; proxy_set_header Host shop.localhost;\n\
             add_header x-cache $upstream_cache_status always; }} }} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        let nginx = command.stderr(Stdio::null()).kill_on_drop(true).spawn().ok()?;
        let since = Instant::now();
        while UnixStream::connect(folder.path().join("socket")).await.is_err() {
            assert!(since.elapsed() < PATIENCE, "nginx does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Self { folder, nginx })
    }

    async fn get(&self, path: &str, cookie: Option<&str>) -> CacheResponse {
        CacheResponse::of(&self.folder.path().join("socket"), path, cookie).await
    }

    async fn stop(mut self) {
        // The worker process ends with nginx.
        let pid = self.nginx.id().unwrap().to_string();
        Command::new("kill").arg("-TERM").arg(pid).status().await.unwrap();
        self.nginx.wait().await.unwrap();
    }
}

/// Response of the cache.
#[derive(Debug)]
struct CacheResponse {
    head: String,
    body: String,
}

impl CacheResponse {
    async fn of(socket: &Path, path: &str, cookie: Option<&str>) -> Self {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let cookie = cookie.map_or_else(String::new, |cookie| format!("cookie: {cookie}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: shop.localhost\r\naccept: text/html\r\nuser-agent: Firefox\r\n\
             {cookie}connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self { head: head.to_owned(), body: body.to_owned() }
    }

    fn field(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or_default()
    }
}

#[tokio::test]
async fn a_shared_cache_gives_no_visitor_the_version_of_another() {
    let edge = edge().with_app("shop", OLD).start().await;
    let Some(cache) = Cache::start(&edge).await else { return edge.stop().await };
    // Behavior without a canary: both responses are cached.
    for path in ["/data.json", "/app-1a2b3c4d.js"] {
        let (first, second) = (cache.get(path, None).await, cache.get(path, None).await);
        assert_eq!((first.field("x-cache"), second.field("x-cache")), ("MISS", "HIT"), "{first:?} {second:?}");
    }
    let options = DeployOptions { no_switch: true, ..DeployOptions::default() };
    let version = push(&edge, "prod", options, NEW).await.unwrap().version;
    let begun = json!({ "version": version, "share": 50 });
    let begun = call(&edge, Method::PUT, "environments/prod/canary", Some(begun)).await;
    assert_eq!(begun.status, StatusCode::OK, "{begun:?}");
    let mut sides = [None, None];
    while sides.iter().any(Option::is_none) {
        let page = cache.get("/", None).await;
        let cookie = page.field("set-cookie").split(';').next().unwrap().to_owned();
        assert_ne!(cookie, "", "{page:?}");
        sides[usize::from(page.body == "new")] = Some(cookie);
    }
    let [old, new] = sides.map(Option::unwrap);
    for turn in 0..20 {
        let (cookie, page, data) = if turn % 2 == 0 { (&new, "new", "[]") } else { (&old, "old", "{}") };
        let got = cache.get("/", Some(cookie)).await;
        assert_eq!(got.body, page, "{got:?}");
        assert_ne!(got.field("x-cache"), "HIT");
        // A URL not cached before the canary began.
        let got = cache.get("/data.json?1", Some(cookie)).await;
        assert_eq!(got.body, data, "{got:?}");
        assert_ne!(got.field("x-cache"), "HIT");
        for asset in ["/app-1a2b3c4d.js", "/app-5e6f7a8b.js"] {
            let got = cache.get(asset, Some(cookie)).await;
            assert!(turn == 0 || got.field("x-cache") == "HIT", "{asset} {got:?}");
        }
    }
    cache.stop().await;
    edge.stop().await;
}
