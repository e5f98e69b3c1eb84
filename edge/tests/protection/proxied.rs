//! Backends of protected sites: strangers' requests never arrive, nor do the edge's own credentials.

use std::sync::{Arc, Mutex};

use devanture_config::api::{BeginDeploy, DeployOptions, Scope};
use devanture_config::site_toml::SiteFile;
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::world::{PASSWORD, cookie_of, enter, form, preview_of, protect_by_password, quick};
use crate::support::{Files, manifest};
use crate::wire::{Protocol, ask, protocols};

/// Backend that answers every request with a publicly cacheable response, and records the heads.
async fn backend() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.windows(4).any(|four| four == b"\r\n\r\n") {
                    let mut some = [0; 4_096];
                    match stream.read(&mut some).await {
                        Ok(count @ 1..) => read.extend_from_slice(&some[..count]),
                        _ => return,
                    }
                }
                kept.lock().unwrap().push(String::from_utf8(read).unwrap());
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: public, max-age=600\r\n\
                              x-accel-expires: 600\r\ncdn-cache-control: max-age=600\r\nconnection: close\r\n\r\ndata";
                stream.write_all(answer.as_bytes()).await.ok();
            });
        }
    });
    (url, heads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_hears_of_no_stranger_and_of_no_credential_of_the_edge() {
    let edge = quick().start().await;
    let (url, heads) = backend().await;
    let site = SiteFile::parse("devanture.toml", &format!("[[routes]]\npath = \"/api/*\"\nto = \"{url}\"\n")).unwrap();
    let files: Files<'_> = &[("index.html", b"home")];
    let mut manifest = manifest(files);
    (manifest.base, manifest.env) = (site.base, site.env);
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest, source: Default::default(), options };
    edge.try_push("shop", "prod", begin, files).await.unwrap();
    let host = preview_of(&edge, "shop").await;
    protect_by_password(&edge, "preview").await;
    let upgrade: &[&str] = &[
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for protocol in protocols(&edge) {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let answer = ask("/api/x").method(method).host(&host).send(&edge, protocol).await;
            assert_eq!(answer.status, 401, "{protocol:?} {method}");
        }
    }
    let socket = ask("/api/socket").host(&host).with_lines(upgrade);
    assert_eq!(socket.send(&edge, Protocol::Http1).await.status, 401);
    assert!(heads.lock().unwrap().is_empty());
    let cookie = cookie_of(&enter(&edge, &host, &form(PASSWORD)).await);
    let token = edge.token_for(Scope::Read, Some("shop"), None).await;
    for protocol in protocols(&edge) {
        let of_site = "Authorization: Bearer of-the-site";
        let with_cookie = format!("Cookie: a=1; {cookie}; b=2");
        let with_token = format!("Authorization: Bearer {token}");
        for lines in [
            &[with_cookie.as_str(), of_site][..],
            &[with_token.as_str(), "Cookie: a=1; b=2"],
            // The cookie alone admits the visitor.
            &[with_cookie.as_str(), &with_token],
        ] {
            let answer = ask("/api/x").host(&host).with_lines(lines).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "data"), "{protocol:?} {lines:?}");
            assert_eq!(answer.header("cache-control"), "private, no-cache", "{protocol:?}");
            for name in ["x-accel-expires", "cdn-cache-control"] {
                assert_eq!(answer.header(name), "", "{protocol:?} {name}");
            }
            let head = heads.lock().unwrap().pop().unwrap();
            assert!(!head.contains("devanture-visitor") && !head.contains(&token), "{head}");
            assert!(head.contains("a=1;") && head.contains("b=2"), "{head}");
            assert_eq!(head.contains("of-the-site"), lines.contains(&of_site), "{head}");
        }
    }
    let wanted = json!({});
    assert_eq!(super::world::protect(&edge, "preview", wanted).await.status, StatusCode::OK);
    // Without protection, the cookie and the token are still removed.
    let lines = [format!("Cookie: {cookie}"), format!("Authorization: Bearer {token}")];
    let answer = ask("/api/x").host(&host).with_lines(&lines.each_ref().map(String::as_str));
    assert_eq!(answer.send(&edge, Protocol::Http1).await.status, 200);
    let head = heads.lock().unwrap().pop().unwrap();
    assert!(!head.contains("devanture-visitor") && !head.contains("authorization"), "{head}");
    edge.stop().await;
}
