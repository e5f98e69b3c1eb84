//! This node's certificate, and how it and the others make sure of each other: both sides of a connection show a
//! certificate of the cluster's CA.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::{CA_FILE, CERTIFICATE_FILE, KEY_FILE};
use super::error::Error;
use super::tunnel;

/// The name of the protocol between nodes in ALPN: HTTP/2.
const ALPN: &[u8] = b"h2";

/// What this node shows to others, and knows them by.
#[derive(Clone)]
pub struct Identity {
    /// The node's name.
    pub node: String,
    /// When its certificate ends, in seconds since 1970 UTC.
    pub ends_s: i64,
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl Identity {
    /// How this node connects to others.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Reads the files that [`super::join`] wrote into `folder` for the node `node`.
    ///
    /// # Errors
    /// [`Error::File`], also where the certificate is another node's.
    pub fn read(folder: &Path, node: &str) -> Result<Self, Error> {
        let (ca, certificate, key) = (folder.join(CA_FILE), folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        let unread = |path: &Path, error: rustls_pki_types::pem::Error| match error {
            rustls_pki_types::pem::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Error::file(path, "it is missing; `devanture-edge cluster join --ca DIR` makes it")
            }
            error => Error::file(path, error),
        };
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(&ca).map_err(|error| unread(&ca, error))?;
        roots.add(authority).map_err(|error| Error::file(&ca, error))?;
        let roots = Arc::new(roots);
        let own = CertificateDer::from_pem_file(&certificate).map_err(|error| unread(&certificate, error))?;
        let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| unread(&key, error))?;
        let ends_s = check(&certificate, &own, node)?;
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| Error::file(&ca, error))?;
        let of_key = |error: rustls::Error| Error::file(&key, error);
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(of_key)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![own.clone()], private.clone_key())
            .map_err(of_key)?;
        server.alpn_protocols = vec![ALPN.to_vec(), tunnel::ALPN.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(of_key)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![own], private)
            .map_err(of_key)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { node: node.to_owned(), ends_s, client: Arc::new(client), server: Arc::new(server) })
    }
}

/// Checks that a certificate is for `node`; gives the second since 1970 at which it ends.
fn check(path: &Path, certificate: &CertificateDer<'_>, node: &str) -> Result<i64, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| Error::file(path, error))?;
    let named = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).any(|name| name == node);
    if !named {
        let reason = format!("it is not the certificate of {node}; `devanture-edge cluster join` makes one");
        return Err(Error::file(path, reason));
    }
    Ok(parsed.validity().not_after.timestamp())
}
