//! TLS sessions started with one edge and resumed with another.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::{HandshakeKind, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::support::{RunningEdge, edge};
use crate::wire::PATIENCE;

const PAGE: &[(&str, &[u8])] = &[("index.html", b"hello")];

/// Running edge with the ticket keys in `file`, or with private ticket keys.
async fn node(file: Option<&std::path::Path>) -> RunningEdge {
    let line = file.map(|file| format!("ticket_keys = {:?}\n", file.to_str().unwrap())).unwrap_or_default();
    edge().with_tls(&format!("mode = \"self-signed\"\n{line}")).with_app("shop", PAGE).start().await
}

/// Sends one request of a client with a session cache; returns the handshake kind.
async fn visit(edge: &RunningEdge, client: &Arc<ClientConfig>) -> HandshakeKind {
    let talk = async {
        let socket = TcpStream::connect(edge.https()).await.unwrap();
        let name = ServerName::try_from("shop.localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, socket).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"hello"));
        stream.get_ref().1.handshake_kind().unwrap()
    };
    timeout(PATIENCE, talk).await.unwrap()
}

/// Handshake kind of a session started with the first edge and resumed at the second.
async fn first_then(first: &RunningEdge, second: &RunningEdge) -> HandshakeKind {
    let mut roots = RootCertStore::empty();
    for edge in [first, second] {
        roots.add(CertificateDer::from_pem_file(edge.ca()).unwrap()).unwrap();
    }
    let client = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    assert_eq!(visit(first, &client).await, HandshakeKind::Full);
    visit(second, &client).await
}

#[expect(clippy::disallowed_methods, reason = "the file of an operator, not of the edge")]
#[tokio::test]
async fn nodes_with_one_file_of_keys_resume_each_others_sessions_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("tickets.key");
    std::fs::write(&keys, format!("# of this test\n{}\n", "5a".repeat(32))).unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (one, two, alone) = (node(Some(&keys)).await, node(Some(&keys)).await, node(None).await);
    assert_eq!(first_then(&one, &two).await, HandshakeKind::Resumed);
    assert_eq!(first_then(&two, &one).await, HandshakeKind::Resumed);
    assert_eq!(first_then(&one, &alone).await, HandshakeKind::Full);
    assert_eq!(first_then(&alone, &one).await, HandshakeKind::Full);
    assert_eq!(first_then(&alone, &alone).await, HandshakeKind::Resumed);
    for edge in [one, two, alone] {
        edge.stop().await;
    }
}
