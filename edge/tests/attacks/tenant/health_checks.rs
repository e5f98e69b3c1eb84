//! An app with health checks of many backends, none of which answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::attacks::world::push;
use crate::support::{Files, edge, eventually};

const SITE: Files<'static> = &[("index.html", b"hi")];
/// File descriptors of the edge, fewer than pool members.
const DESCRIPTORS: u64 = 512;
const UPSTREAMS: usize = 4;
const MEMBERS: usize = 150;
/// Limits of concurrent health checks: for all apps, and for one app.
const CHECKS: u64 = 64;
const OF_ONE: usize = 8;

/// Connections to a server that accepts every connection and never answers.
#[derive(Default)]
struct Connections {
    open: AtomicUsize,
    opened: AtomicUsize,
    most: AtomicUsize,
}

impl Connections {
    /// Starts a server on every address of this machine; returns the port and the connections.
    async fn start() -> (u16, Arc<Self>) {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<Self>::default();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let connections = Arc::clone(&counted);
                connections.opened.fetch_add(1, Ordering::SeqCst);
                let open = connections.open.fetch_add(1, Ordering::SeqCst) + 1;
                connections.most.fetch_max(open, Ordering::SeqCst);
                tokio::spawn(async move {
                    while stream.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0) {}
                    connections.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        (port, connections)
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Upstreams with many members at `port`, checked as often and with as long a timeout as a file can configure.
fn upstreams(port: u16) -> String {
    let members = |upstream: usize| {
        let to = (1..=MEMBERS).map(|member| format!("\"http://127.0.{upstream}.{member}:{port}\""));
        to.collect::<Vec<_>>().join(", ")
    };
    let upstream = |number: usize| {
        let health = "health = { path = \"/\", interval_ms = 100, timeout_ms = 86_400_000 }";
        format!("[upstreams.u{number}]\nto = [{}]\n{health}\n", members(number))
    };
    (0..UPSTREAMS).map(upstream).collect()
}

#[tokio::test]
async fn law_11_health_checks_of_one_app_leave_descriptors_to_others_and_end_with_its_version() {
    let (port, connections) = Connections::start().await;
    let edge = edge()
        .with_descriptors_max(DESCRIPTORS)
        .with_limit("upstream_checks_max", CHECKS)
        .with_limit("upstream_check_ms_max", 86_400_000)
        .with_app("blog", SITE)
        .start()
        .await;
    push(&edge, "greedy", SITE, &upstreams(port)).await;
    eventually("as many are asked as may be", async || connections.open() == OF_ONE).await;
    // Pushes and visitors of another app get all required descriptors, and so does the next push of the same app.
    edge.push("blog", &[("index.html", b"hi again"), ("a.txt", b"a")]).await;
    assert_eq!(edge.get("blog.localhost", "/").await.text(), "hi again");
    assert_eq!((connections.open(), connections.most.load(Ordering::SeqCst)), (OF_ONE, OF_ONE));

    // The version stays loaded for assets, and the health checks end.
    push(&edge, "greedy", &[("index.html", b"without backends")], "").await;
    eventually("no check is under way", async || connections.open() == 0).await;
    assert_eq!(connections.opened.load(Ordering::SeqCst), OF_ONE, "those that waited were not asked");

    // Health checks resume once the version is live again.
    push(&edge, "greedy", SITE, &upstreams(port)).await;
    eventually("as many are asked again", async || connections.open() == OF_ONE).await;
    edge.stop().await;
}
