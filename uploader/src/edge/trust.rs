//! Whom the client trusts: the system's CAs, those of the file that `DEVANTURE_CA` names, and its certificates as they
//! are.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use devanture_config::problem::Code;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::output::exit::Failure;

/// Most bytes of a file of certificates; the bundles of systems have a quarter of a megabyte.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The error of webpki for a CA's certificate that a server shows as its own. Its type is not within reach from here;
/// under another name the certificate would be refused, which is safe.
const CA_AS_SERVER: &str = "CaUsedAsEndEntity";

/// Whether a certificate was refused because it is a CA's and a server's in one; it is taken where it is named.
pub(crate) fn is_ca_as_server(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(why) if why.to_string() == CA_AS_SERVER)
}

/// The TLS configuration, with the PEM file `path` to trust.
///
/// # Errors
/// `usage` where the file cannot be read, holds no certificate or holds one that cannot be taken.
pub(crate) fn with_file(path: &Path) -> Result<ClientConfig, Failure> {
    let bad = |why: String| {
        Failure::new(Code::Usage, format!("The CA file {} cannot be taken: {why}.", path.display()))
            .hint("DEVANTURE_CA names a PEM file; a self-signed edge has it at tls/ca.pem in its data folder")
    };
    let pem = read(path).map_err(|error| bad(error.to_string()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let named = read.map_err(|error| bad(error.to_string()))?;
    if named.is_empty() {
        return Err(bad("it holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    client_config(named, provider).map_err(|error| bad(error.to_string()))
}

/// The bytes of the file, which may be one that a `.env` names: it is neither endless nor waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut pem = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut pem)?;
    match pem.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"))),
        false => Ok(pem),
    }
}

fn client_config(named: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<ClientConfig, Error> {
    let usual = rustls_platform_verifier::Verifier::new_with_extra_roots(named.clone(), Arc::clone(&provider))?;
    let verifier = Arc::new(Verifier { usual, named });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The system's verifier, which also takes a certificate that is named as it is.
///
/// `openssl req -x509` marks what it makes as a CA's, so the one certificate is CA and server at once. webpki refuses
/// that; curl and browsers do not, and a person who names exactly this certificate has said whom they trust.
#[derive(Debug)]
struct Verifier {
    usual: rustls_platform_verifier::Verifier,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // webpki looks at the dates before it looks at whose certificate it is, so only the name is left to check.
            Err(Error::InvalidCertificate(why)) if is_ca_as_server(&why) && self.named.contains(end_entity) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn certificate(edit: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        edit(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verify(named: &CertificateDer<'static>, shown: &CertificateDer<'static>, name: &str) -> Result<(), Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let named = vec![named.clone()];
        let usual = rustls_platform_verifier::Verifier::new_with_extra_roots(named.clone(), provider)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Verifier { usual, named }.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn a_certificate_that_is_named_is_trusted_also_where_it_is_a_cas() {
        let one = certificate(|_| {});
        assert_eq!(verify(&one, &one, "localhost"), Ok(()));
    }

    #[test]
    fn another_name_another_certificate_and_an_expired_one_are_refused() {
        let one = certificate(|_| {});
        assert!(verify(&one, &one, "example.org").is_err());
        assert!(verify(&one, &certificate(|_| {}), "localhost").is_err());
        let expired = certificate(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
        let why = verify(&expired, &expired, "localhost").unwrap_err().to_string();
        assert!(why.contains("xpired"), "{why}");
        let future = certificate(|params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
        assert!(verify(&future, &future, "localhost").is_err());
    }
}
