//! Certificate chains longer than a TLS record and a congestion window, and chains that clients reject.

use std::path::Path;

use devanture_config::edge_toml::CertificateFiles;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::tls::Error;

/// Maximum size of a TLS record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16_384;

/// Returns parameters of an authority whose certificate has about `bytes` bytes.
fn authority(name: &str, bytes: usize) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    // A private extension that is not critical: an OCTET STRING.
    let length = u16::try_from(bytes).unwrap().to_be_bytes();
    let content = [&[0x04, 0x82, length[0], length[1]][..], &vec![b'x'; bytes]].concat();
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32_473, 1], content));
    params
}

/// Returns a root, and key and chain in PEM for `shop.localhost` below three intermediates of about `bytes` bytes each.
fn issue(bytes: usize) -> (CertificateDer<'static>, String, String) {
    let (params, key) = (authority("root", 1_000), KeyPair::generate().unwrap());
    let root = params.self_signed(&key).unwrap().der().clone();
    let mut issuer = Issuer::new(params, key);
    let mut chain = String::new();
    for name in ["first", "second", "third"] {
        let (params, key) = (authority(name, bytes), KeyPair::generate().unwrap());
        chain.insert_str(0, &params.signed_by(&key, &issuer).unwrap().pem());
        issuer = Issuer::new(params, key);
    }
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["shop.localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (root, key.serialize_pem(), leaf.pem() + &chain)
}

#[expect(clippy::disallowed_methods, reason = "the files of an operator, not of the edge")]
fn open(folder: &Path, key: &str, chain: &str) -> Result<Certificates, Error> {
    std::fs::write(folder.join("a.key"), key).unwrap();
    std::fs::write(folder.join("a.pem"), chain).unwrap();
    let files = Tls::Files(vec![CertificateFiles { certificate: "a.pem".into(), key: "a.key".into() }]);
    Certificates::open(&files, folder, folder, Arc::new(|_| false), Arc::new(|_| None), None)
}

/// Returns a client of one version of TLS that trusts `root`.
fn client(root: &CertificateDer<'static>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(crate::tls::provider());
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn a_chain_of_several_records_reaches_clients_of_both_versions() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [RECORD_BYTES_MAX / 3, 18_000] {
            let (root, key, chain) = issue(bytes);
            let running =
                Running::start(Some(open(folder.path(), &key, &chain).unwrap().server_config()), &Limits::default());
            for version in [&TLS12, &TLS13] {
                let stream = connect(running.address, &client(&root, version), "shop.localhost").await.unwrap();
                let sent: usize = stream.get_ref().1.peer_certificates().unwrap().iter().map(|one| one.len()).sum();
                assert!(sent > RECORD_BYTES_MAX && sent > 3 * bytes, "{sent}");
                let mut visitor = http1_over(stream).await;
                assert_eq!(text(visitor.send_request(get("/")).await.unwrap()).await, "hello");
            }
        }
    });
}

#[test]
fn a_chain_that_clients_would_not_take_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (_, key, chain) = issue(25_000);
    let error = open(folder.path(), &key, &chain).unwrap_err().to_string();
    assert!(error.contains("a.pem") && error.contains("clients take no more than 61440"), "{error}");
    let (_, key, chain) = issue(1_000);
    let garbled = "-----BEGIN CERTIFICATE-----\nMAUCAwECAw==\n-----END CERTIFICATE-----\n";
    let error = open(folder.path(), &key, &(chain + garbled)).unwrap_err().to_string();
    assert!(error.contains("a.pem") && error.contains("certificate 5 of its chain cannot be parsed"), "{error}");
}
