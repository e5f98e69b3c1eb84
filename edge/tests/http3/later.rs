//! HTTP/3 served later than the other protocols, since another program held the port.

use std::net::{SocketAddr, UdpSocket};

use http::Method;

use crate::etcd::ports::chosen;
use crate::http3_client::Client;
use crate::support::{RunningEdge, edge, eventually, got};
use crate::wire::HOST;

const PAGE: &[u8] = b"<p>home";

/// Port that is free for TCP and taken for UDP.
fn taken_over_udp() -> (SocketAddr, UdpSocket) {
    let mut addresses = std::iter::repeat_with(|| chosen(1)).flatten();
    addresses.find_map(|address| UdpSocket::bind(address).ok().map(|socket| (address, socket))).unwrap()
}

async fn readiness(edge: &RunningEdge) -> String {
    got(edge.api(Method::GET, "/health/ready")).await.text()
}

async fn missing(edge: &RunningEdge) -> String {
    let metrics = got(edge.api(Method::GET, "/metrics")).await.text();
    metrics.lines().find_map(|line| line.strip_prefix("devanture_http3_missing ")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_udp_port_that_is_taken_at_the_start_is_listened_on_once_it_is_free() {
    let (address, other) = taken_over_udp();
    let (folder, mut file) = edge().written();
    file.listen.https = address;
    let edge = RunningEdge::over(folder, file).await;
    edge.push("shop", &[("index.html", PAGE)]).await;
    assert_eq!(edge.http3(), None);
    assert!(readiness(&edge).await.contains("http3: its UDP port cannot be listened on"), "{}", readiness(&edge).await);
    assert_eq!(missing(&edge).await, "1");
    drop(other);
    eventually("nothing is missing", async || readiness(&edge).await == "ready\n").await;
    assert_eq!(missing(&edge).await, "0");
    let mut client = Client::try_connect(&edge, HOST, address).await.unwrap();
    let answer = client.get(HOST, "/").await;
    assert_eq!((answer.status, &*answer.body), (200, PAGE));
    client.close().await;
    edge.stop().await;
}
