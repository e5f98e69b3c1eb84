//! Handshakes: the certificate shown for each name, and refused names.

use std::path::Path;

use devanture_config::edge_toml::{Acme, CertificateFiles, ChallengeKind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, DigitallySignedStruct, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme};

use super::*;
use crate::tls::Error;

/// Verifier that accepts any certificate, for tests that examine the certificate.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crate::tls::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = crate::tls::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crate::tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

fn trusting_anyone() -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(crate::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().dangerous();
    let mut config = builder.with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// Returns a certificate and its key in PEM, and the certificate in DER.
fn issue(names: &[&str]) -> (String, String, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().to_vec())
}

#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn pair(name: &str) -> CertificateFiles {
    CertificateFiles { certificate: format!("{name}.pem").into(), key: format!("{name}.key").into() }
}

/// Writes a certificate for `names` to the files of `pair(name)`.
fn put(folder: &Path, name: &str, names: &[&str]) -> Vec<u8> {
    let (certificate, key, der) = issue(names);
    write(&folder.join(pair(name).certificate), &certificate);
    write(&folder.join(pair(name).key), &key);
    der
}

fn open(folder: &Path, names: &[&str]) -> Result<Certificates, Error> {
    let files = Tls::Files(names.iter().map(|name| pair(name)).collect());
    Certificates::open(&files, folder, folder, Arc::new(|_| false), Arc::new(|_| None), None)
}

/// Returns the certificate for a client that asks for `name`.
async fn shown(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let stream = connect(address, config, name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn both_protocols_are_served_to_a_client_that_trusts_the_authority() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let certificates = self_signed(folder.path(), &["shop.localhost"]);
        assert!(!certificates.are_trusted_for("shop.localhost"));
        let running = Running::start(Some(certificates.server_config()), &Limits::default());
        for (protocol, version) in [("http/1.1", ::http::Version::HTTP_11), ("h2", ::http::Version::HTTP_2)] {
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(trusting(folder.path(), &[protocol]))
                .resolve("shop.localhost", running.address)
                .no_proxy()
                .build()
                .unwrap();
            let url = format!("https://shop.localhost:{}/bytes/100000", running.address.port());
            let response = client.get(url).send().await.unwrap();
            assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
            assert_eq!(response.bytes().await.unwrap().len(), 100_000);
        }
    });
}

#[test]
fn a_name_that_is_not_served_is_refused_by_its_own_alert() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let refused = connect(running.address, &config, "other.localhost").await.unwrap_err();
        let refused = refused.downcast::<rustls::Error>().unwrap();
        assert_eq!(refused, rustls::Error::AlertReceived(AlertDescription::UnrecognisedName));
        connect(running.address, &config, "shop.localhost").await.unwrap();
        connect(running.address, &config, "localhost").await.unwrap();
        running.until_empty().await;
    });
}

#[test]
fn names_that_only_a_wildcard_stands_for_share_one_certificate() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let pattern = |name: &str| {
            let (_, base) = name.split_once('.')?;
            (name != "own.example.org").then(|| format!("*.{base}"))
        };
        let certificates = Certificates::open(
            &Tls::SelfSigned,
            folder.path(),
            folder.path(),
            Arc::new(|_| true),
            Arc::new(pattern),
            None,
        );
        let running = Running::start(Some(certificates.unwrap().server_config()), &Limits::default());
        // The client checks that the certificate is valid for the name.
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let one = shown(running.address, &config, "a.example.org").await;
        assert_eq!(shown(running.address, &config, "b.example.org").await, one);
        assert_ne!(shown(running.address, &config, "own.example.org").await, one);
        // Clients reject a wildcard of a top-level domain.
        let top = shown(running.address, &config, "a.localhost").await;
        assert_ne!(shown(running.address, &config, "b.localhost").await, top);
    });
}

#[test]
fn a_client_that_names_no_host_gets_the_certificate_of_localhost() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let certificates = self_signed(folder.path(), &[]);
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let visitors = Running::start(Some(certificates.server_config()), &Limits::default());
        connect(visitors.address, &config, "127.0.0.1").await.unwrap();
        connect(visitors.address, &config, "::1").await.unwrap();
        let admin = Running::start(Some(certificates.admin_server_config()), &Limits::default());
        connect(admin.address, &config, "127.0.0.1").await.unwrap();
        connect(admin.address, &config, "localhost").await.unwrap();
        let elsewhere = connect(admin.address, &config, "edge.example").await.unwrap_err();
        assert!(elsewhere.to_string().contains("not valid for name"), "{elsewhere}");
    });
}

#[test]
fn a_handshake_is_modern_and_the_second_is_resumed() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["h2", "http/1.1"]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = connect(running.address, &config, "shop.localhost").await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.handshake_kind(), Some(expected));
            assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
            assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
            let suite = session.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
            assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
            // The ticket arrives after the handshake, with the first response.
            http2_over(stream).await.send_request(get2("/")).await.unwrap();
        }

        let builder = ClientConfig::builder_with_provider(crate::tls::provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
        let old = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
        let stream = connect(running.address, &Arc::new(old), "shop.localhost").await.unwrap();
        assert_eq!(text(http1_over(stream).await.send_request(get("/")).await.unwrap()).await, "hello");
        let peers = running.peers.borrow();
        assert_eq!(peers.last().unwrap().tls_version, Some(ProtocolVersion::TLSv1_2));
    });
}

#[test]
fn a_certificate_is_chosen_by_name_then_by_wildcard_and_else_is_the_first() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let first = put(folder.path(), "first", &["first.example"]);
        let wild = put(folder.path(), "wild", &["*.example.app", "example.app"]);
        let exact = put(folder.path(), "exact", &["Exact.example.app"]);
        let certificates = open(folder.path(), &["first", "wild", "exact"]).unwrap();
        assert!(certificates.are_trusted_for("elsewhere.example"));
        let running = Running::start(Some(certificates.server_config()), &Limits::default());
        let config = trusting_anyone();
        for (name, expected) in [
            ("first.example", &first),
            ("shop.example.app", &wild),
            ("example.app", &wild),
            ("exact.example.app", &exact),
            ("a.b.example.app", &first),
            ("elsewhere.example", &first),
            ("127.0.0.1", &first),
        ] {
            assert!(shown(running.address, &config, name).await == *expected, "{name}");
        }
    });
}

/// No authority is contacted: none exists at the address.
#[test]
fn with_acme_files_come_first_and_the_local_authority_last() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let wild = put(folder.path(), "wild", &["*.example.app"]);
        let authority = Acme {
            ca: None,
            challenges: vec![ChallengeKind::TlsAlpn],
            contact: Vec::new(),
            directory: "https://127.0.0.1:9/dir".to_owned(),
            external_account: None,
        };
        let tls = |name: &str| Tls::Acme { authority: authority.clone(), files: vec![pair(name)] };
        let knows = Arc::new(|name: &str| matches!(name, "shop.example.app" | "www.customer.example"));
        let certificates =
            Certificates::open(&tls("wild"), folder.path(), folder.path(), knows, Arc::new(|_| None), None).unwrap();
        let settings = certificates.server_config();
        let (shop, customer) = (Some("shop.example.app"), Some("www.customer.example"));
        // RFC 9110 §7.4: a client that got the wildcard may ask for covered names, and no other client may.
        assert!(settings.covers(shop, "docs.example.app") && settings.covers(customer, "www.customer.example"));
        assert!(!settings.covers(customer, "shop.example.app") && !settings.covers(shop, "www.customer.example"));
        assert!(certificates.are_trusted_for("shop.example.app"));
        assert!(!certificates.are_trusted_for("www.customer.example"));

        let config = trusting_anyone();
        let running = Running::start(Some(settings), &Limits::default());
        for name in ["shop.example.app", "other.example.app"] {
            assert!(shown(running.address, &config, name).await == wild, "{name}");
        }
        let local = shown(running.address, &config, "www.customer.example").await;
        assert!(local != wild);
        assert!(shown(running.address, &config, "127.0.0.1").await != wild, "a client that names no host");
        assert!(connect(running.address, &config, "elsewhere.example").await.is_err());

        let missing = Certificates::check(&tls("missing"), folder.path()).unwrap_err();
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let [certificate, key] = &missing[..] else { panic!("{missing:?}") };
        assert!(certificate.contains("missing.pem cannot be read") && key.contains("missing.key cannot be read"));
    });
}

#[test]
fn certificates_change_under_running_handshakes_without_one_that_fails() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let old = put(folder.path(), "a", &["shop.example"]);
        let certificates = open(folder.path(), &["a"]).unwrap();
        let running = Running::start(Some(certificates.server_config()), &Limits::default());
        let (config, address) = (trusting_anyone(), running.address);
        let handshakes: Vec<_> = (0..200)
            .map(|_| {
                let config = Arc::clone(&config);
                spawn_local(async move { shown(address, &config, "shop.example").await })
            })
            .collect();
        eventually(|| handshakes.iter().filter(|handshake| handshake.is_finished()).count() > 20).await;
        let new = put(folder.path(), "a", &["shop.example"]);
        certificates.reload().unwrap();
        let mut counts = (0, 0);
        for handshake in handshakes {
            let shown = handshake.await.unwrap();
            assert!(shown == old || shown == new);
            counts = (counts.0 + usize::from(shown == old), counts.1 + usize::from(shown == new));
        }
        assert!(counts.0 > 20, "{counts:?}");
        assert!(shown(address, &config, "shop.example").await == new);
    });
}

#[test]
fn files_that_do_not_fit_leave_the_earlier_certificate_and_are_taken_once_they_do() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let old = put(folder.path(), "a", &["shop.example"]);
        let certificates = open(folder.path(), &["a"]).unwrap();
        let watch = spawn_local(certificates.clone().watch_files());
        let running = Running::start(Some(certificates.server_config()), &Limits::default());
        let config = trusting_anyone();
        let (certificate, key, new) = issue(&["shop.example"]);
        let certificate_file = folder.path().join("a.pem");

        write(&certificate_file, &certificate);
        assert!(matches!(certificates.reload().unwrap_err(), Error::Mismatch { .. }));
        write(&certificate_file, &certificate[..certificate.len() / 2]);
        assert!(matches!(certificates.reload().unwrap_err(), Error::Certificate { .. }));
        write(&certificate_file, "");
        assert!(matches!(certificates.reload().unwrap_err(), Error::Certificate { .. }));
        std::fs::remove_file(&certificate_file).unwrap();
        assert!(matches!(certificates.reload().unwrap_err(), Error::Read { .. }));
        assert!(shown(running.address, &config, "shop.example").await == old);

        write(&certificate_file, &certificate);
        write(&folder.path().join("a.key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        assert!(matches!(certificates.reload().unwrap_err(), Error::Key { .. }));
        assert!(shown(running.address, &config, "shop.example").await == old);

        write(&folder.path().join("a.key"), &key);
        let end = Instant::now() + PATIENCE;
        while shown(running.address, &config, "shop.example").await != new {
            assert!(Instant::now() < end, "the change was not noticed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        watch.abort();
    });
}

#[test]
fn files_that_are_bad_at_the_start_say_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = open(folder.path(), &["a"]).unwrap_err().to_string();
    assert!(missing.contains("a.pem cannot be read"), "{missing}");
    put(folder.path(), "a", &["shop.example"]);
    put(folder.path(), "b", &["shop.example"]);
    std::fs::copy(folder.path().join("b.key"), folder.path().join("a.key")).unwrap();
    let mismatch = open(folder.path(), &["b", "a"]).unwrap_err().to_string();
    assert!(mismatch.contains("a.key does not belong to the certificate"), "{mismatch}");
}
