//! The certificates trusted by the client: the CAs in the file of `DEVANTURE_CA`, the exact certificates in that file,
//! and the system's CAs, which are read only for a certificate that the file does not cover.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use devanture_config::pem;
use devanture_config::problem::Code;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::output::exit::Failure;

/// Upper bound of bytes of a file of certificates; the bundles of systems have a quarter of a megabyte.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The error of webpki for a CA's certificate used as a server's. The type of the error is not accessible here; after a
/// renaming the certificate would be refused, which is safe.
const CA_AS_SERVER: &str = "CaUsedAsEndEntity";

/// Returns true if a certificate was refused for being both a CA's and a server's; the client accepts such a
/// certificate from the file.
pub(crate) fn is_ca_as_server(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(why) if why.to_string() == CA_AS_SERVER)
}

/// Returns the TLS configuration, with the PEM file `path` to trust.
///
/// # Errors
/// `usage` if the file cannot be read, contains no certificate or an invalid one.
pub(crate) fn with_file(path: &Path) -> Result<ClientConfig, Failure> {
    let bad = |why: String| {
        Failure::new(Code::Usage, format!("The CA file {} cannot be taken: {why}.", path.display()))
            .hint("DEVANTURE_CA names a PEM file; a self-signed edge has it at tls/ca.pem in its data folder")
    };
    let pem = pem::blocks(&read(path).map_err(|error| bad(error.to_string()))?);
    let pem = pem.map_err(|error| bad(error.to_string()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let named = read.map_err(|error| bad(error.to_string()))?;
    if named.is_empty() {
        return Err(bad("it holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    client_config(named, provider).map_err(|error| bad(error.to_string()))
}

/// Reads the file, which may be named by a `.env`: an endless or blocking file is refused.
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
    let verifier = Arc::new(Verifier::new(named, Arc::clone(&provider))?);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts certificates that the named CAs have issued, the exact named certificates, and those that the system's
/// verifier accepts.
///
/// `openssl req -x509` marks its output as a CA's, so the single certificate is CA and server at once. webpki refuses
/// the combination; curl and browsers do not, and a person who names exactly this certificate trusts it.
#[derive(Debug)]
struct Verifier {
    by_named: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    /// The system's verifier. Loading the verifier takes as long as the rest of a short command.
    usual: OnceLock<Result<rustls_platform_verifier::Verifier, Error>>,
}

impl Verifier {
    fn new(named: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        named.iter().try_for_each(|certificate| roots.add(certificate.clone()))?;
        let by_named = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let by_named = by_named.map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { by_named, named, provider, usual: OnceLock::new() })
    }

    /// The system's verifier, with the named certificates beside the system's.
    fn usual(&self) -> Result<&rustls_platform_verifier::Verifier, Error> {
        let read = || {
            let (named, provider) = (self.named.clone(), Arc::clone(&self.provider));
            rustls_platform_verifier::Verifier::new_with_extra_roots(named, provider)
        };
        self.usual.get_or_init(read).as_ref().map_err(Clone::clone)
    }
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
        let verified = self.by_named.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let refused = match verified {
            // webpki checks the dates before the issuer, so only the name is left to check.
            Err(Error::InvalidCertificate(why)) if is_ca_as_server(&why) && self.named.contains(end_entity) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                return Ok(ServerCertVerified::assertion());
            }
            Err(refused) => refused,
            verified => return verified,
        };
        // Without certificates of the system, the result for the named ones is final.
        let Ok(usual) = self.usual() else { return Err(refused) };
        usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
        let verifier = verifier(named);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).map(drop)
    }

    fn verifier(named: &CertificateDer<'static>) -> Verifier {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Verifier::new(vec![named.clone()], provider).unwrap()
    }

    #[test]
    fn the_systems_certificates_are_read_only_where_the_named_ones_do_not_answer_for_a_server() {
        let (one, name) = (certificate(|_| {}), ServerName::try_from("localhost").unwrap());
        let verifier = verifier(&one);
        verifier.verify_server_cert(&one, &[], &name, &[], UnixTime::now()).unwrap();
        assert!(verifier.usual.get().is_none());
        verifier.verify_server_cert(&certificate(|_| {}), &[], &name, &[], UnixTime::now()).unwrap_err();
        assert!(verifier.usual.get().is_some());
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
