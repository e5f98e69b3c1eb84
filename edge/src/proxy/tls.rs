//! Whom `https` upstreams are trusted by.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// The platform's roots, in which a company's own authority is where its machines already trust it; a list built into
/// the edge could not be added to. Where the platform has none, no `https` upstream is trusted, and a warning says so.
///
/// # Errors
/// What rustls has against them.
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

/// Exactly the authorities given; those that cannot be read are left out.
///
/// # Errors
/// What rustls has against them.
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
