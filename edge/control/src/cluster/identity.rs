//! Certificate of the node, and mutual authentication of nodes: both ends of a connection present a certificate of the
//! cluster's CA. Changed files are read again; open connections stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::{CA_FILE, CERTIFICATE_FILE, KEY_FILE};
use super::error::Error;
use super::tunnel;
use devanture_serve::proxy::tls::{certificates, private_key};

/// Protocol between nodes in ALPN: HTTP/2.
const ALPN: &[u8] = b"h2";

/// Certificate and trust anchors of the node. Clones share the state, also after the files were read again.
#[derive(Clone)]
pub struct Identity {
    /// Name of the node.
    pub node: String,
    folder: Arc<Path>,
    current: Arc<ArcSwap<Current>>,
    /// Fault of the present files, while an earlier state is in use.
    fault: Arc<ArcSwapOption<String>>,
}

/// Contents of the files.
struct Current {
    /// Hash of all bytes.
    bytes: blake3::Hash,
    ends_s: i64,
    client: Arc<ClientConfig>,
    tunnels: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// Reason why other nodes refuse the certificate, if so.
    refused: Option<String>,
}

impl Identity {
    /// Reads the files written by [`super::join`] into `folder` for the node `node`. `ca.pem` may hold several trusted
    /// CAs, to replace one CA by another.
    ///
    /// # Errors
    /// [`Error::File`], also for the certificate of another node; [`Error::Read`].
    pub fn read(folder: &Path, node: &str) -> Result<Self, Error> {
        let current = Current::read(folder, node)?;
        Ok(Self {
            node: node.to_owned(),
            folder: folder.into(),
            current: Arc::new(ArcSwap::from_pointee(current)),
            fault: Arc::default(),
        })
    }

    /// Returns the paths of the files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        [CA_FILE, CERTIFICATE_FILE, KEY_FILE].iter().map(|name| self.folder.join(name)).collect()
    }

    /// Reads the files again, for future connections. Files that are invalid, or refused by other nodes, leave the
    /// earlier state in use.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Read`].
    pub fn read_again(&self) -> Result<(), Error> {
        let read = Current::read(&self.folder, &self.node).and_then(|read| match &read.refused {
            Some(reason) => Err(Error::file(&self.folder.join(CERTIFICATE_FILE), reason)),
            None => Ok(read),
        });
        self.fault.store(read.as_ref().err().map(|error| Arc::new(error.to_string())));
        let read = read?;
        if read.bytes != self.current.load().bytes {
            tracing::info!(ends_s = read.ends_s, "the certificate of this node was read again");
            self.current.store(Arc::new(read));
        }
        Ok(())
    }

    /// Returns the fault of the present files, while the earlier state is in use.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<String>> {
        self.fault.load_full()
    }

    /// Returns the reason why other nodes refuse the certificate: an expired certificate, or a CA missing from
    /// `ca.pem`.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        self.current.load().refused.clone()
    }

    /// Returns the expiry of the certificate, in seconds since 1970 UTC.
    #[must_use]
    pub fn ends_s(&self) -> i64 {
        self.current.load().ends_s
    }

    /// Returns the present client configuration.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.load().client)
    }

    /// Returns the present client configuration for tunnels.
    pub(super) fn tunnels_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.load().tunnels)
    }

    /// Returns the present server configuration.
    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }
}

impl Current {
    fn read(folder: &Path, node: &str) -> Result<Self, Error> {
        let (ca, certificate, key) = (folder.join(CA_FILE), folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        let [ca_pem, certificate_pem, key_pem] = [read(&ca)?, read(&certificate)?, read(&key)?];
        let mut hasher = blake3::Hasher::new();
        for bytes in [&ca_pem, &certificate_pem, &key_pem] {
            hasher.update(blake3::hash(bytes).as_bytes());
        }
        let mut roots = RootCertStore::empty();
        for authority in certificates(&ca_pem).map_err(|reason| Error::file(&ca, reason))? {
            roots.add(authority).map_err(|error| Error::file(&ca, error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&certificate_pem).map_err(|reason| Error::file(&certificate, reason))?;
        let private = private_key(&key_pem).map_err(|reason| Error::file(&key, reason))?;
        let ends_s = check(&certificate, &chain, node)?;
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let refused = refused(&chain, node, (&roots, &provider)).err();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| Error::file(&ca, error))?;
        let of_key = |error: rustls::Error| Error::file(&key, error);
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(of_key)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private.clone_key())
            .map_err(of_key)?;
        server.alpn_protocols = vec![ALPN.to_vec(), tunnel::ALPN.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(of_key)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private)
            .map_err(of_key)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        let mut tunnels = client.clone();
        tunnels.alpn_protocols = vec![tunnel::ALPN.to_vec()];
        let (client, tunnels, server) = (Arc::new(client), Arc::new(tunnels), Arc::new(server));
        Ok(Self { bytes: hasher.finalize(), ends_s, client, tunnels, server, refused })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::file(path, "it is missing; `devanture-edge cluster join --ca DIR` makes it")
        }
        _ => Error::Read { path: path.to_owned(), source },
    })
}

/// Checks that a certificate is for `node`; returns its expiry in seconds since 1970.
fn check(path: &Path, chain: &[CertificateDer<'_>], node: &str) -> Result<i64, Error> {
    let certificate = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| Error::file(path, error))?;
    let named = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).any(|name| name == node);
    if !named {
        let reason = format!("it is not the certificate of {node}; `devanture-edge cluster join` makes one");
        return Err(Error::file(path, reason));
    }
    Ok(parsed.validity().not_after.timestamp())
}

/// Verifies a certificate as other nodes with the same CAs do; returns the reason of a refusal.
fn refused(
    chain: &[CertificateDer<'static>],
    node: &str,
    (roots, provider): (&Arc<RootCertStore>, &Arc<CryptoProvider>),
) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| format!("other nodes refuse it ({error})");
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| said(&error))?;
    let name = ServerName::try_from(node).map_err(|error| said(&error))?;
    let Some((own, between)) = chain.split_first() else { return Ok(()) };
    let verified = verifier.verify_server_cert(own, between, &name, &[], UnixTime::now());
    verified.map(drop).map_err(|error| said(&error))
}
