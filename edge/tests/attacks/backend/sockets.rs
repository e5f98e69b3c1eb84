//! A backend that replaces the Unix socket by another file.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, StatusCode};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::attacks::world::push;
use crate::support::edge;

const HOST: &str = "shop.localhost";
/// Requests on one connection each, as the backend closes connections.
const REQUESTS: usize = 300;

/// Answers every request on a socket, one for each connection.
fn answer_at(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4_096];
            let _read = stream.read(&mut head);
            let _written =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nbackend");
        }
    });
}

/// A process with write access to a socket's folder can swap the socket for a link at any moment, even between the
/// check of the target and the connection. The edge's own socket grants every right.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_swaps_its_socket_for_a_link_leads_no_visitor_to_the_edges_own() {
    let folder = tempfile::tempdir().unwrap();
    let edge = edge().with_toml(&format!("[upstreams]\nsockets = [{:?}]", folder.path())).start().await;
    let (socket, link) = (folder.path().join("a.sock"), folder.path().join("link"));
    answer_at(&socket);
    symlink(edge.data_dir().join("control.sock"), &link).unwrap();
    let toml = format!("[[routes]]\npath = \"/v1/*\"\nto = \"unix:{}\"\n", socket.display());
    push(&edge, "shop", &[("index.html", b"home")], &toml).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let stopped = Arc::clone(&stopped);
        move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &socket, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        }
    });
    let mut answered = 0;
    for _ in 0..REQUESTS {
        let answer = edge.visit(Method::GET, HOST, "/v1/whoami").send().await.unwrap();
        match answer.status() {
            StatusCode::OK => {
                assert_eq!(answer.text().await.unwrap(), "backend");
                answered += 1;
            }
            status => assert!(status.is_server_error(), "{status}"),
        }
    }
    stopped.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(answered > 0, "no request came to the backend");
    edge.stop().await;
}
