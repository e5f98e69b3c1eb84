//! Real cache in front of the edge: nginx caches public responses, and shows no visitor the response of another.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::StatusCode;

use super::world::{PASSWORD, cookie_of, enter, form, preview_of, protect_by_password, quick};
use crate::support::{RunningEdge, eventually};

/// nginx process, ended with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts nginx with a cache in front of the edge; `None` if nginx is not installed.
#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
fn nginx(folder: &Path, edge: &RunningEdge) -> Option<(Nginx, SocketAddr)> {
    // The port is free only until another process takes it: nginx never reports a port chosen by the system.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\nevents {{ }}\nhttp {{\n\
         access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;\n\
         uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;\n\
         proxy_cache_path {0}/cache keys_zone=all:1m;\nserver {{\nlisten {address};\nlocation / {{\n\
         proxy_pass https://{1}; proxy_ssl_name $http_host; proxy_ssl_server_name on;\n\
         proxy_set_header Host $http_host;\n\
         proxy_http_version 1.1; proxy_cache all; proxy_cache_key $http_host$request_uri;\n\
         add_header x-cache $upstream_cache_status always;\n}}\n}}\n}}\n",
        folder.display(),
        edge.https()
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    drop(free);
    let mut command = Command::new("nginx");
    command.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Some((Nginx(command.spawn().ok()?), address))
}

/// Head and body of a response of nginx.
fn get(address: SocketAddr, host: &str, path: &str, cookie: Option<&str>) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let cookie = cookie.map_or_else(String::new, |cookie| format!("Cookie: {cookie}\r\n"));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}Connection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[tokio::test]
async fn a_cache_in_front_shows_one_visitor_nothing_of_another() {
    let edge = quick().in_a_process().start().await;
    edge.push("shop", &[("index.html", b"<p>the shop</p>"), ("assets/app-BvXk9Qz3.js", b"let secret = 1;")]).await;
    let host = preview_of(&edge, "shop").await;
    let folder = tempfile::tempdir().unwrap();
    let Some((_nginx, address)) = nginx(folder.path(), &edge) else {
        println!("nginx is not installed: nothing is checked");
        return;
    };
    let asset = "/assets/app-BvXk9Qz3.js";
    let ask = |path: &str, cookie: Option<&str>| get(address, &host, path, cookie).unwrap_or_default();
    eventually("nginx answers", async || ask("/none", None).starts_with("HTTP/1.1 404")).await;
    // Public responses are cached, which proves that the cache works.
    let _first = ask(asset, None);
    let second = ask(asset, None);
    assert!(second.contains("x-cache: HIT"), "{second}");
    let _ends = edge.push("shop", &[("index.html", b"two"), ("assets/app-Cw1kRt82.js", b"let secret = 2;")]).await;
    let host = preview_of(&edge, "shop").await;
    let asset = "/assets/app-Cw1kRt82.js";
    let ask = |path: &str, cookie: Option<&str>| get(address, &host, path, cookie).unwrap_or_default();
    protect_by_password(&edge, "preview").await;
    let entered = enter(&edge, &host, &form(PASSWORD)).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    let cookie = cookie_of(&entered);
    for path in ["/", asset, "/missing", "/.well-known/devanture/release.json"] {
        for _ in 0..2 {
            let own = ask(path, Some(&cookie));
            assert!(!own.starts_with("HTTP/1.1 401") && !own.contains("x-cache: HIT"), "{path}: {own}");
            let stranger = ask(path, None);
            assert!(stranger.starts_with("HTTP/1.1 401") && !stranger.contains("x-cache: HIT"), "{path}: {stranger}");
        }
    }
    edge.stop().await;
}
