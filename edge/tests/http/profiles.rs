//! TLS profiles: accepted versions on every listener, and a change of the profile at runtime.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CipherSuite, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{RunningEdge, edge, eventually};
use crate::wire::PATIENCE;

const PAGE: &[(&str, &[u8])] = &[("index.html", b"hello")];
const HOST: &str = "shop.localhost";

/// Edge in a separate process; the last line of `[tls]` is `profile`.
async fn with_profile(profile: &str) -> RunningEdge {
    let tls = format!("mode = \"self-signed\"\nprofile = \"{profile}\"\n");
    edge().in_a_process().with_tls(&tls).with_app("shop", PAGE).start().await
}

/// Connects a client with a single TLS version.
async fn connect(
    edge: &RunningEdge,
    address: SocketAddr,
    version: &'static SupportedProtocolVersion,
) -> Result<TlsStream<TcpStream>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(edge.ca()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(&[version]);
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = if address == edge.admin() { "localhost" } else { HOST };
    let connected = async {
        let socket = TcpStream::connect(address).await?;
        TlsConnector::from(config).connect(ServerName::try_from(name).unwrap(), socket).await
    };
    timeout(PATIENCE, connected).await.unwrap()
}

/// Returns true if a TLS 1.2 client is refused, which must be by the alert protocol_version (RFC 8446 section 4.2.1,
/// RFC 5246 E.1).
async fn refuses_tls12(edge: &RunningEdge, address: SocketAddr) -> bool {
    match connect(edge, address, &TLS12).await {
        Ok(stream) => {
            assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            let alert = rustls::Error::AlertReceived(AlertDescription::ProtocolVersion);
            assert_eq!(error.downcast::<rustls::Error>().unwrap(), alert);
            true
        }
    }
}

/// Requests the page on an open connection.
async fn visit(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    while !answer.ends_with(b"hello") {
        let count = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "the connection was closed");
        answer.extend_from_slice(&buffer[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

/// Replaces text in `edge.toml` and reloads the edge.
#[expect(clippy::disallowed_methods, reason = "the file of an operator, not of the edge")]
fn reload(edge: &RunningEdge, from: &str, to: &str) {
    let path = edge.data_dir().with_file_name("edge.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(from).count(), 1);
    std::fs::write(path, text.replace(from, to)).unwrap();
    edge.process().reload();
}

#[tokio::test]
async fn modern_refuses_what_is_older_than_tls_1_3_on_every_listener() {
    let (modern, intermediate) = (with_profile("modern").await, with_profile("intermediate").await);
    for (edge, expected) in [(&modern, true), (&intermediate, false)] {
        for address in [edge.https(), edge.admin()] {
            assert_eq!(refuses_tls12(edge, address).await, expected);
            let stream = connect(edge, address, &TLS13).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
            let suite = session.negotiated_cipher_suite().unwrap().suite();
            assert!(matches!(
                suite,
                CipherSuite::TLS13_AES_128_GCM_SHA256
                    | CipherSuite::TLS13_AES_256_GCM_SHA384
                    | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            ));
        }
        visit(&mut connect(edge, edge.https(), &TLS13).await.unwrap()).await;
    }
    modern.stop().await;
    intermediate.stop().await;
}

#[tokio::test]
async fn a_reload_switches_the_profile_for_new_handshakes_and_open_connections_stay() {
    let edge = with_profile("intermediate").await;
    let mut open = connect(&edge, edge.https(), &TLS12).await.unwrap();
    visit(&mut open).await;
    reload(&edge, "profile = \"intermediate\"", "profile = \"modern\"");
    for address in [edge.https(), edge.admin()] {
        eventually("TLS 1.2 is refused", async || refuses_tls12(&edge, address).await).await;
    }
    visit(&mut open).await;

    // An error anywhere in the file leaves the profile unchanged.
    reload(&edge, "profile = \"modern\"", "profile = \"old\"");
    let log = edge.data_dir().with_file_name("edge.log");
    let is_reported = async || std::fs::read_to_string(&log).unwrap().contains("cannot be \\\"old\\\"");
    eventually("the mistake is reported", is_reported).await;
    assert!(refuses_tls12(&edge, edge.https()).await);

    // Without the line, the default applies.
    reload(&edge, "profile = \"old\"\n", "");
    for address in [edge.https(), edge.admin()] {
        eventually("TLS 1.2 is accepted", async || !refuses_tls12(&edge, address).await).await;
    }
    visit(&mut open).await;
    drop(open);
    edge.stop().await;
}
