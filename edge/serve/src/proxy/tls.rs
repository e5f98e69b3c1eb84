//! TLS trust for `https` upstreams.

use std::path::Path;
use std::sync::Arc;

use devanture_config::pem;
use devanture_config::site_toml::{Protocol, Upstream};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Trusts the platform's roots, which include a company's own authority if the company's machines trust the authority;
/// a built-in list could not be extended. Without platform roots, no `https` upstream is trusted, and a warning is
/// logged.
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

/// Trusts the platform's roots and the authorities of a PEM file.
///
/// # Errors
/// The reason why the file cannot be used, as a sentence.
pub fn platform_and(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let shown = file.display();
    let pem = std::fs::read(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let found = certificates(&pem).map_err(|reason| format!("{shown} cannot be used: {reason}"))?;
    let all = rustls_native_certs::load_native_certs().certs.into_iter().chain(found);
    trusting(all).map_err(|error| format!("{shown} cannot be used: {error}"))
}

/// Parses the certificates of a PEM file, at least one.
///
/// # Errors
/// The reason without a certificate, as a sentence about the file.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let blocks = pem::blocks(pem).map_err(|error| format!("it is not PEM ({error})"))?;
    let found = CertificateDer::pem_slice_iter(blocks.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| format!("it is not PEM ({error})"))?;
    if found.is_empty() { Err("it has no `BEGIN CERTIFICATE` section".to_owned()) } else { Ok(found) }
}

/// Parses the private key of a PEM file.
///
/// # Errors
/// The reason without a usable key, as a sentence about the file.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let blocks = pem::blocks(pem).map_err(|error| format!("it is not PEM ({error})"))?;
    PrivateKeyDer::from_pem_slice(blocks.as_bytes()).map_err(|error| match pem::has_encrypted_key(pem) {
        true => "its key is encrypted, and nobody is there to type the password: write it without one, with \
                 `openssl pkey -in FILE -out PLAIN`"
            .to_owned(),
        false => format!("it holds no key in PEM ({error})"),
    })
}

/// Trusts exactly the given authorities; unparsable authorities are left out.
///
/// # Errors
/// Errors of rustls.
pub fn trusting(
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // Platforms have old certificates that rustls rejects; the remaining certificates are usable.
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
    /// For HTTP/1.1, and so for upgrades.
    pub(crate) http1: Arc<ClientConfig>,
    /// For the pool's protocol.
    pub(crate) usual: Arc<ClientConfig>,
}

/// Returns the TLS configuration of a pool's `https` members: `platform`, or the pool's own.
///
/// # Errors
/// The reason why the pool's certificates cannot be used, as a sentence.
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

/// Checks the TLS trust settings of a pool at publish.
///
/// # Errors
/// The reason why the certificates cannot be used, as a sentence.
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
