//! Lookup of certificates issued by an authority, for handshakes: a trait, because the control plane writes the records
//! of orders.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::ServerConfig;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;

/// The only protocol that an authority offers in the handshake of a proof (RFC 8737 §4).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Issued certificates, and the proofs that an authority requests. All methods except the proofs are called in
/// handshakes and requests, and never wait.
#[async_trait]
pub trait IssuedCertificates: fmt::Debug + Send + Sync {
    /// Returns the certificate for a name, even if expired: an expired certificate tells a visitor more than another
    /// name's certificate.
    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>>;

    /// Returns the expiry of each certificate, in seconds since 1970 UTC, with the name.
    fn ends(&self) -> Vec<(String, i64)>;

    /// Returns the expiry of the certificate for a name, in milliseconds since 1970 UTC.
    fn expires_ms(&self, name: &str) -> Option<u64>;

    /// Returns the body for an authority that requests `path` of `host` over plain HTTP (RFC 8555 §8.3); `None` unless
    /// a challenge is pending, in a cluster on any node.
    async fn http_proof(&self, host: &str, path: &str) -> Option<String>;

    /// Returns the settings for a handshake in which an authority requests a proof of `name` (RFC 8737 §3); `None` if
    /// no proof is pending.
    async fn tls_proof(&self, name: &str) -> Option<Arc<ServerConfig>>;
}

/// Returns the name to prove if the handshake is an authority's request of a proof; `None` otherwise.
pub(super) fn name_to_prove(hello: &ClientHello<'_>) -> Option<String> {
    let mut protocols = hello.alpn()?;
    let asks = protocols.next() == Some(ACME_TLS) && protocols.next().is_none();
    if asks { hello.server_name().map(str::to_owned) } else { None }
}
