//! The TLS configuration of the edge, and the handshake of one connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devanture_config::edge_toml::TlsProfile;
use metrics::counter;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{Acceptor, ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::Error;
use super::secret::{SECRET_BYTES, Secret};
use super::source::{IssuedCertificates, name_to_prove};
use super::tickets::Tickets;

/// The ALPN name of HTTP/2.
pub(crate) const H2: &[u8] = b"h2";
/// The ALPN name of HTTP/3.
const H3: &[u8] = b"h3";
/// The ALPN name of HTTP/1.1.
const HTTP_1_1: &[u8] = b"http/1.1";
/// The ALPN name of HTTP/1.0: without the name, a client that offers only HTTP/1.0 would be refused (RFC 7301 §3.2).
const HTTP_1_0: &[u8] = b"http/1.0";
/// A fatal alert `unrecognized_name` (RFC 6066 §3) as a plaintext record; rustls would send `access_denied`, which is
/// meaningless to a person.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Plaintext encrypted and written at once: three full records (RFC 8446 §5.1). Less costs system calls; the four
/// records of 64 KiB exceed the 65,483 bytes that loopback accepts as one packet, and slow down bodies of 38 KB and 1
/// MB by a third to a half.
pub(crate) const WRITE_BYTES: usize = 48 * 1024;

/// The TLS configuration of a listener. Cheap to clone, and shared by all threads, including the tickets.
#[derive(Clone)]
pub struct ServerTls {
    /// TLS 1.2 and 1.3.
    intermediate: Arc<ServerConfig>,
    /// TLS 1.3 only.
    modern: Arc<ServerConfig>,
    /// Selects one of the two configurations; shared by clones.
    is_modern: Arc<AtomicBool>,
    serves: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    covers: Arc<Covers>,
    issued: Option<Arc<dyn IssuedCertificates>>,
    /// The secret for derived keys outside of TLS.
    secret: Arc<Secret>,
}

/// Predicate: the certificate of the first host is valid for the second; both hosts are in lower case.
pub(crate) type Covers = dyn Fn(&str, &str) -> bool + Send + Sync;

impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServerTls").field("config", self.config()).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Creates a configuration with the certificates of `resolver`; a name for which `serves` returns false is refused
    /// with the alert `unrecognized_name`.
    pub(crate) fn new(
        resolver: Arc<dyn ResolvesServerCert>,
        serves: Arc<dyn Fn(&str) -> bool + Send + Sync>,
        covers: Arc<Covers>,
    ) -> Result<Self, Error> {
        let with_versions = |versions: &[&'static SupportedProtocolVersion]| {
            let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
            Ok::<_, Error>(builder.with_no_client_auth().with_cert_resolver(Arc::clone(&resolver)))
        };
        let mut intermediate = with_versions(&[&version::TLS13, &version::TLS12])?;
        let mut modern = with_versions(&[&version::TLS13])?;
        // Stateless, so that a session of one thread can be resumed on another thread, and no state is kept. The keys
        // are private to the process, random, and rotated every six hours; a ticket is valid for up to twelve hours.
        let tickets = aws_lc_rs::Ticketer::new()?;
        let secret = Secret::random()?;
        for config in [&mut intermediate, &mut modern] {
            config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec(), HTTP_1_0.to_vec()];
            config.ignore_client_order = true;
            // One ticket instead of two: browsers use one, and each ticket costs an encryption and bytes of every
            // handshake.
            config.send_tls13_tickets = 1;
            // No early data, rustls' default: recorded early data could be replayed (RFC 8446 §8).
            config.ticketer = Arc::clone(&tickets);
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        }
        let (intermediate, modern, is_modern) = (Arc::new(intermediate), Arc::new(modern), Arc::default());
        Ok(Self { intermediate, modern, is_modern, serves, covers, issued: None, secret: Arc::new(secret) })
    }

    /// Sets the profile of new handshakes, for all clones.
    pub(crate) fn set_profile(&self, profile: TlsProfile) {
        self.is_modern.store(profile == TlsProfile::Modern, Ordering::Relaxed);
    }

    /// Replaces the process's private ticket keys by `tickets`.
    pub(crate) fn with_tickets(self, tickets: Tickets) -> Self {
        let secret = tickets.secret().map_or(self.secret, Arc::new);
        let tickets: Arc<dyn ProducesTickets> = Arc::new(tickets);
        let with_tickets = |config: Arc<ServerConfig>| {
            let mut config = Arc::unwrap_or_clone(config);
            config.ticketer = Arc::clone(&tickets);
            Arc::new(config)
        };
        let (intermediate, modern) = (with_tickets(self.intermediate), with_tickets(self.modern));
        Self { intermediate, modern, secret, ..self }
    }

    /// Replaces the process's private secret by `secret`.
    pub(crate) fn with_secret(self, secret: Secret) -> Self {
        Self { secret: Arc::new(secret), ..self }
    }

    /// Enables ACME proofs: an authority that asks gets the proof of control over a name.
    pub(crate) fn with_proofs(self, issued: Arc<dyn IssuedCertificates>) -> Self {
        Self { issued: Some(issued), ..self }
    }

    /// Returns true if a connection for the host `sni` may carry requests for `host` (RFC 9110 §7.4): the hosts are
    /// equal, or the certificate covers both. A client without SNI has chosen the connection by address alone, and does
    /// not use the connection for another site.
    #[must_use]
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        sni.is_none_or(|sni| sni == host || (self.covers)(sni, host))
    }

    /// Returns the settings for the TLS library, for callers that drive the handshake.
    #[must_use]
    pub fn config(&self) -> &Arc<ServerConfig> {
        if self.is_modern.load(Ordering::Relaxed) { &self.modern } else { &self.intermediate }
    }

    /// Returns the settings for QUIC (RFC 9001) with HTTP/3 as the only protocol, and with the certificates, tickets
    /// and names of TCP.
    pub(crate) fn for_quic(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.modern);
        config.alpn_protocols = vec![H3.to_vec()];
        let (resolver, serves) = (Arc::clone(&config.cert_resolver), Arc::clone(&self.serves));
        config.cert_resolver = Arc::new(OfServed { resolver, serves });
        Arc::new(config)
    }

    /// Returns a key for `purpose`, which is stable across restarts, and equal on all nodes with the same ticket keys.
    pub(crate) fn key_for(&self, purpose: &str) -> [u8; SECRET_BYTES] {
        self.secret.key_for(purpose)
    }

    /// Performs the handshake on `io`; the caller limits the time. Returns `None` if an authority only requested a
    /// proof.
    pub(crate) async fn accept<T>(&self, io: T) -> Result<Option<TlsStream<T>>, Failed>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(Failed::Io)?;
        let hello = start.client_hello();
        if let Some(issued) = &self.issued
            && let Some(name) = name_to_prove(&hello)
            && let Some(config) = issued.tls_proof(&name).await
        {
            let mut stream = start.into_stream(config).await.map_err(Failed::Io)?;
            // RFC 8737 §3: the proof ends with the handshake. The authority may have disconnected already.
            drop(stream.shutdown().await);
            return Ok(None);
        }
        if let Some(name) = hello.server_name()
            && !(self.serves)(name)
        {
            let name = name.to_owned();
            // The peer may have disconnected already; the connection ends in any case.
            drop(start.io.write_all(&UNRECOGNIZED_NAME).await);
            drop(start.io.shutdown().await);
            return Err(Failed::Name(name));
        }
        let mut stream = start.into_stream(Arc::clone(self.config())).await.map_err(Failed::Io)?;
        stream.get_mut().1.set_buffer_limit(Some(WRITE_BYTES));
        Ok(Some(stream))
    }
}

/// Resolver without a certificate for names that are not served.
struct OfServed {
    resolver: Arc<dyn ResolvesServerCert>,
    serves: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl fmt::Debug for OfServed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("OfServed").field(&self.resolver).finish()
    }
}

impl ResolvesServerCert for OfServed {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_served = hello.server_name().is_none_or(|name| (self.serves)(name));
        if is_served { self.resolver.resolve(hello) } else { None }
    }
}

/// Returns the library's provider with AES-128-GCM first: half the cost of the alternatives, and strong enough.
pub fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::{cipher_suite as suite, kx_group};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    })
}

/// Reason of a failed handshake.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Displaced by another handshake while waiting for the client.
    Displaced,
    Io(io::Error),
    Name(String),
    Timeout,
}

impl Failed {
    /// Counts and logs the failure.
    pub(crate) fn record(&self) {
        let (reason, what) = match self {
            Self::Io(error) if error.kind() == io::ErrorKind::InvalidData => ("tls", error.to_string()),
            Self::Io(error) => ("closed", error.to_string()),
            Self::Name(name) => ("unrecognized_name", name.clone()),
            Self::Displaced => ("displaced", String::new()),
            Self::Timeout => ("timeout", String::new()),
        };
        tracing::debug!(reason, what, "a handshake failed");
        counter!("devanture_handshakes_failed_total", "reason" => reason).increment(1);
    }
}
