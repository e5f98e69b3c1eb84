//! Certificates that an authority issues, as handshakes look them up: a trait, since the records of orders are written
//! by the control plane.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::ServerConfig;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;

/// The protocol that an authority names in its handshake, and no other beside it (RFC 8737 §4).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Issued certificates and the proofs that an authority looks for. All but proofs are asked in handshakes and requests,
/// and wait for nothing.
#[async_trait]
pub trait IssuedCertificates: fmt::Debug + Send + Sync {
    /// Returns the certificate for a name, also one that has expired: it says more to a visitor than another name's.
    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>>;

    /// Returns the end of each certificate, in seconds since 1970 UTC, with its name.
    fn ends(&self) -> Vec<(String, i64)>;

    /// Returns the end of the certificate for a name, in milliseconds since 1970 UTC.
    fn expires_ms(&self, name: &str) -> Option<u64>;

    /// Returns the body for an authority that requests `path` of `host` over plain HTTP (RFC 8555 §8.3); `None` unless
    /// there is such a challenge, in a cluster on any node.
    async fn http_proof(&self, host: &str, path: &str) -> Option<String>;

    /// Returns the settings for a handshake in which an authority looks for a proof of `name` (RFC 8737 §3); `None`
    /// where none is in flight.
    async fn tls_proof(&self, name: &str) -> Option<Arc<ServerConfig>>;
}

/// Returns the name whose proof an authority looks for by this handshake; `None` for all others.
pub(super) fn name_to_prove(hello: &ClientHello<'_>) -> Option<String> {
    let mut protocols = hello.alpn()?;
    let asks = protocols.next() == Some(ACME_TLS) && protocols.next().is_none();
    if asks { hello.server_name().map(str::to_owned) } else { None }
}
