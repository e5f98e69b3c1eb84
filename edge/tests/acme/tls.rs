//! TLS handshakes that return the server certificate without verifying the issuer.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Presented certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PresentedCertificate {
    pub(crate) issuer: String,
    pub(crate) serial: String,
    pub(crate) names: Vec<String>,
    /// Number of further certificates in the chain.
    pub(crate) others: usize,
    pub(crate) not_after_s: i64,
}

impl PresentedCertificate {
    /// Returns true if the local authority is the issuer.
    pub(crate) fn is_local(&self) -> bool {
        self.issuer.contains("Devanture local authority")
    }

    /// Returns true if `pebble` is the issuer.
    pub(crate) fn is_issued(&self) -> bool {
        self.issuer.contains("Pebble Intermediate CA")
    }
}

/// Performs a handshake for `name`, offering `protocols`.
pub(crate) async fn shake(
    address: SocketAddr,
    name: &str,
    protocols: &[&str],
) -> std::io::Result<PresentedCertificate> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap().dangerous();
    let mut config = builder.with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    Ok(PresentedCertificate {
        issuer: leaf.issuer().to_string(),
        serial: leaf.raw_serial_as_string(),
        names: names.value.general_names.iter().map(ToString::to_string).collect(),
        others: chain.len() - 1,
        not_after_s: leaf.validity().not_after.timestamp(),
    })
}

/// Certificate that a visitor gets for `name`.
pub(crate) async fn shown(address: SocketAddr, name: &str) -> PresentedCertificate {
    shake(address, name, &["h2", "http/1.1"]).await.unwrap()
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

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
        let algorithms = self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
