//! Whom `https` upstreams are trusted by.

use std::path::Path;
use std::sync::Arc;

use devanture_config::pem;
use devanture_config::site_toml::{Protocol, Upstream};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

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
    let blocks = pem::blocks(pem).map_err(|error| format!("it is not PEM ({error})"))?;
    let found = CertificateDer::pem_slice_iter(blocks.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| format!("it is not PEM ({error})"))?;
    if found.is_empty() { Err("it has no `BEGIN CERTIFICATE` section".to_owned()) } else { Ok(found) }
}

/// The private key of a file in PEM.
///
/// # Errors
/// Why there is none that can be used, as a sentence about the file.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let blocks = pem::blocks(pem).map_err(|error| format!("it is not PEM ({error})"))?;
    PrivateKeyDer::from_pem_slice(blocks.as_bytes()).map_err(|error| match pem::has_encrypted_key(pem) {
        true => "its key is encrypted, and nobody is there to type the password: write it without one, with \
                 `openssl pkey -in FILE -out PLAIN`"
            .to_owned(),
        false => format!("it holds no key in PEM ({error})"),
    })
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
    let certificates = certificates(pem.as_bytes()).map_err(|error| format!("`ca` cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| format!("`ca` holds a certificate that is none: {error}"))?;
    }
    trusting(certificates).map_err(|error| format!("`ca` cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> String {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn every_certificate_of_a_file_counts_or_its_line_is_named() {
        let (one, two) = (root("one.test"), root("two.test"));
        for both in [
            format!("{one}{two}"),
            format!("\u{feff}{one}{two}"),
            format!("{one} {two}"),
            format!("{one}\t\u{feff}{two}"),
            format!("{}{two}", one.trim_end()),
            format!("{one}{two}").replace('\n', "\n  "),
        ] {
            let found = certificates(both.as_bytes()).unwrap();
            assert_eq!(found, certificates(format!("{one}{two}").as_bytes()).unwrap(), "{both:?}");
            assert_eq!(found.len(), 2);
            let declared = Upstream { ca: Some(both), ..Upstream::default() };
            check(&declared).unwrap();
        }
        let bad = format!("{one}ca: {two}");
        let line = one.lines().count() + 1;
        assert!(certificates(bad.as_bytes()).unwrap_err().contains(&format!("line {line} ")));
        let declared = Upstream { ca: Some(bad), ..Upstream::default() };
        assert!(check(&declared).unwrap_err().contains(&format!("line {line} ")));
    }

    #[test]
    fn a_key_is_read_whatever_stands_before_it_and_an_encrypted_one_is_called_so() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for good in [key.clone(), format!("\u{feff}{key}"), format!("  {key}"), format!("{}{key}", root("a.test"))] {
            private_key(good.as_bytes()).unwrap();
        }
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let legacy = key.replace("PRIVATE KEY", "EC PRIVATE KEY").replacen(
            "KEY-----\n",
            "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
            1,
        );
        for bad in [encrypted, legacy] {
            let error = private_key(bad.as_bytes()).unwrap_err();
            assert!(error.starts_with("its key is encrypted"), "{error}");
        }
        assert!(private_key(root("a.test").as_bytes()).unwrap_err().contains("no key in PEM"));
    }
}
