//! Restarts invisible to clients of HTTP/3.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::edge::{Edge, edge};

/// Bytes of a file whose download continues while unread.
const LARGE_BYTES: usize = 24 * 1024 * 1024;

type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// Creates a client; the caller holds all parts, so that none is dropped before the test ends.
async fn connect(edge: &Edge) -> (SendRequest<OpenStreams, Bytes>, quinn::Connection, quinn::Endpoint) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(edge.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let mut client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    let connection = client.connect(edge.https(), "shop.localhost").unwrap().await.unwrap();
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await.unwrap();
    tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
    (requests, connection, client)
}

async fn ask(edge: &Edge, requests: &mut SendRequest<OpenStreams, Bytes>, path: &str) -> Stream {
    let request = http::Request::get(edge.url("shop.localhost", path)).body(()).unwrap();
    let mut stream = requests.send_request(request).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(stream.recv_response().await.unwrap().status(), 200);
    stream
}

async fn rest(stream: &mut Stream) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(mut piece) = stream.recv_data().await.unwrap() {
        read.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_over_http3_goes_on_while_the_next_edge_has_its_socket() {
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..LARGE_BYTES / 4)
        .flat_map(|index| (index.wrapping_mul(2_654_435_761)).to_le_bytes()[..4].to_vec())
        .collect();
    std::fs::write(folder.path().join("index.html"), "page").unwrap();
    std::fs::write(folder.path().join("large.bin"), &large).unwrap();
    edge.push("shop", folder.path());
    let (mut requests, connection, _client) = connect(&edge).await;
    let mut download = ask(&edge, &mut requests, "/large.bin").await;
    let mut first = download.recv_data().await.unwrap().unwrap();
    let mut read = first.copy_to_bytes(first.remaining()).to_vec();

    let mut second = edge.beside(&["--config", "edge.toml"]);
    while !edge.log().contains("\"draining\"") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // New connections reach the new edge, independent of packets of older connections.
    for _ in 0..4 {
        let (mut requests, _connection, _client) = connect(&edge).await;
        assert_eq!(rest(&mut ask(&edge, &mut requests, "/").await).await, b"page");
    }
    assert!(connection.close_reason().is_none(), "{:?}", connection.close_reason());
    read.extend_from_slice(&rest(&mut download).await);
    assert!(read == large, "{} bytes", read.len());
    // With GOAWAY, and then in order.
    let quinn::ConnectionError::ApplicationClosed(close) = connection.closed().await else { panic!("another end") };
    assert_eq!(close.error_code, quinn::VarInt::from_u32(0x100));
    second.kill().unwrap();
    second.wait().unwrap();
}

/// The middle edge has no connection of its own, and forwards the packets of the first edge's connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_over_http3_goes_on_over_two_takeovers() {
    let mut edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "page").unwrap();
    std::fs::write(folder.path().join("large.txt"), "0123456789abcdef".repeat(LARGE_BYTES / 16)).unwrap();
    edge.push("shop", folder.path());
    let (mut requests, _connection, _client) = connect(&edge).await;
    let mut download = ask(&edge, &mut requests, "/large.txt").await;
    let mut first = download.recv_data().await.unwrap().unwrap();
    let read = first.copy_to_bytes(first.remaining()).len();
    let first = edge.take_over_and_leave_draining();
    let second = edge.take_over_and_leave_draining();
    let (mut others, _other, _another) = connect(&edge).await;
    assert_eq!(rest(&mut ask(&edge, &mut others, "/").await).await, b"page");
    assert_eq!(read + rest(&mut download).await.len(), LARGE_BYTES);
    assert!(first.ended().success() && second.ended().success());
}
