//! Whom `https` upstreams are trusted by.

use std::path::Path;
use std::sync::Arc;

use devanture_config::site_toml::{Protocol, Upstream};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The platform's roots, in which a company's own authority is where its machines already trust it; a list built into
/// the edge could not be added to. Where the platform has none, no `https` upstream is trusted, and a warning says so.
///
/// # Errors
/// Errors of rustls.
pub fn platform() -> Result<Arc<ClientConfig>, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the platform's certificates cannot be read");
    }
    if found.certs.is_empty() {
        tracing::warn!("the platform has no root certificates: no https upstream will be trusted");
    }
    trusting(found.certs)
}

/// The platform's roots and the authorities of a PEM file.
///
/// # Errors
/// Why the file cannot be used, as a sentence.
pub fn platform_and(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let shown = file.display();
    let pem = std::fs::read(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let found = certificates(&pem).map_err(|reason| format!("{shown} cannot be used: {reason}"))?;
    let all = rustls_native_certs::load_native_certs().certs.into_iter().chain(found);
    trusting(all).map_err(|error| format!("{shown} cannot be used: {error}"))
}

/// The certificates of a file in PEM, one at least.
///
/// # Errors
/// Why there are none, as a sentence about the file.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| format!("it is not PEM ({error})"))?;
    if found.is_empty() { Err("it has no `BEGIN CERTIFICATE` section".to_owned()) } else { Ok(found) }
}

/// Exactly the authorities given; those that cannot be read are left out.
///
/// # Errors
/// Errors of rustls.
pub fn trusting(
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // Platforms hold old certificates that rustls does not take; the others are none the worse for it.
    roots.add_parsable_certificates(authorities);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The TLS configuration of the `https` members of a pool.
#[derive(Debug, Clone)]
pub struct PoolTls {
    /// For HTTP/1.1, and so for whatever is upgraded from it.
    pub(crate) http1: Arc<ClientConfig>,
    /// For what the pool speaks.
    pub(crate) usual: Arc<ClientConfig>,
}

/// The TLS configuration of a pool's `https` members: `platform`, or the pool's own.
///
/// # Errors
/// Why its own certificates cannot be used, as a sentence.
pub fn of_pool(declared: &Upstream, platform: &Arc<ClientConfig>) -> Result<PoolTls, String> {
    let http1 = match &declared.ca {
        Some(pem) => own(pem)?,
        None => Arc::clone(platform),
    };
    let usual = match declared.protocol.unwrap_or_default() {
        Protocol::Http1 => Arc::clone(&http1),
        Protocol::Http2 => {
            let mut config = ClientConfig::clone(&http1);
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        }
    };
    Ok(PoolTls { http1, usual })
}

/// Checks at publish what a pool says about trust.
///
/// # Errors
/// Why its certificates cannot be used, as a sentence.
pub fn check(declared: &Upstream) -> Result<(), String> {
    declared.ca.as_deref().map_or(Ok(()), |pem| own(pem).map(drop))
}

fn own(pem: &str) -> Result<Arc<ClientConfig>, String> {
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = read.map_err(|error| format!("`ca` cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| format!("`ca` holds a certificate that is none: {error}"))?;
    }
    if roots.is_empty() {
        return Err("`ca` holds no certificate".to_owned());
    }
    trusting(certificates).map_err(|error| format!("`ca` cannot be used: {error}"))
}
