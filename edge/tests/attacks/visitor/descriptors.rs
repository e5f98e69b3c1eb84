//! Visitor connections and other users of file descriptors.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use http::Method;

use crate::support::{edge, eventually, got};

/// File descriptors of the edge, and the part for visitor connections.
const DESCRIPTORS: u64 = 512;
const OF_VISITORS: usize = 256;
/// Connections that a visitor opens and keeps open.
const OPENED: usize = 600;

#[tokio::test]
async fn connections_without_end_leave_descriptors_for_files_and_the_api() {
    let site: &[(&str, &[u8])] = &[("index.html", b"hi")];
    let edge = edge()
        .with_descriptors_max(DESCRIPTORS)
        .with_plain_http()
        .with_limit("header_ms_max", 600_000)
        .with_app("shop", site)
        .start()
        .await;
    let open = |_| TcpStream::connect(edge.http().unwrap()).unwrap();
    let connections: Vec<TcpStream> = (0..OPENED).map(open).collect();
    let metrics = async || got(edge.api(Method::GET, "/metrics")).await.text();
    eventually("as many are open as may be", async || {
        let open = format!("devanture_connections_open{{listener=\"http\"}} {OF_VISITORS}");
        let (text, refused) = (metrics().await, OPENED - OF_VISITORS);
        let refused = format!("devanture_connections_refused_total{{listener=\"http\",reason=\"total\"}} {refused}");
        text.lines().any(|line| line == open) && text.lines().any(|line| line == refused)
    })
    .await;
    let max = format!("devanture_connections_max{{listener=\"visitors\"}} {OF_VISITORS}");
    assert!(metrics().await.lines().any(|line| line == max), "{}", metrics().await);
    // Uploads, storage, loading and switching need file descriptors, too.
    edge.push("shop", &[("index.html", b"hi again"), ("a.txt", b"a")]).await;
    let log = std::fs::read_to_string(edge.data_dir().parent().unwrap().join("edge.log")).unwrap();
    assert!(log.contains("LimitNOFILE") && log.contains("\"connections\":256"), "{log}");
    let mut last = connections.last().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(last.read(&mut [0]).unwrap(), 0, "one beyond the limit is closed at once");
    drop(connections);
    eventually("visitors are served again", async || {
        edge.visit(Method::GET, "shop.localhost", "/").send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    edge.stop().await;
}
