//! Proofs in flight: what an authority finds when it looks whether a name is the edge's.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::tls::Error;
use crate::tls::server_tls::provider;

/// The protocol that an authority names in its handshake, and no other beside it (RFC 8737 §4).
const ACME_TLS: &[u8] = b"acme-tls/1";
/// The path that an authority asks for, before the token (RFC 8555 §8.3).
const HTTP_PREFIX: &str = "/.well-known/acme-challenge/";

/// The proofs in flight. No lock is taken to look at them.
pub(crate) struct Challenges {
    proofs: Arc<Proofs>,
    config: Arc<ServerConfig>,
}

#[derive(Default)]
struct Proofs(ArcSwap<HashMap<Box<str>, Arc<Proof>>>);

/// The proof for one name.
enum Proof {
    Http { token: String, key_authorization: String },
    TlsAlpn(Arc<CertifiedKey>),
}

impl fmt::Debug for Challenges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Challenges").field("in_flight", &self.proofs.0.load().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Proofs").finish_non_exhaustive()
    }
}

/// Shows a proof until it is dropped.
pub(crate) struct Shown {
    proofs: Arc<Proofs>,
    name: Box<str>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.proofs.change(|proofs| drop(proofs.remove(&self.name)));
    }
}

impl Proofs {
    fn change(&self, change: impl Fn(&mut HashMap<Box<str>, Arc<Proof>>)) {
        self.0.rcu(|proofs| {
            let mut proofs = HashMap::clone(proofs);
            change(&mut proofs);
            proofs
        });
    }

    fn show(self: &Arc<Self>, name: &str, proof: Proof) -> Shown {
        let proof = Arc::new(proof);
        self.change(|proofs| drop(proofs.insert(name.into(), Arc::clone(&proof))));
        Shown { proofs: Arc::clone(self), name: name.into() }
    }
}

impl ResolvesServerCert for Proofs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &**self.0.load().get(hello.server_name()?)? {
            Proof::TlsAlpn(key) => Some(Arc::clone(key)),
            Proof::Http { .. } => None,
        }
    }
}

impl Challenges {
    pub(crate) fn new() -> Result<Self, Error> {
        let proofs = Arc::<Proofs>::default();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Proofs>::clone(&proofs));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        // Nobody comes back to such a session.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Self { proofs, config: Arc::new(config) })
    }

    /// Answers `token` for `name` over HTTP until the value is dropped.
    pub(crate) fn show_http(&self, name: &str, token: &str, key_authorization: &str) -> Shown {
        let proof = Proof::Http { token: token.to_owned(), key_authorization: key_authorization.to_owned() };
        self.proofs.show(name, proof)
    }

    /// Shows the digest of a key authorization in handshakes for `name` until the value is dropped (RFC 8737 §3).
    pub(crate) fn show_tls_alpn(&self, name: &str, digest: &[u8]) -> Result<Shown, Error> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Not checked against each other: the library does not read a certificate with an extension that is critical
        // and unknown to it, and this one must have it (RFC 8737 §3).
        let key = CertifiedKey::new(vec![certificate.into()], provider().key_provider.load_private_key(key)?);
        Ok(self.proofs.show(name, Proof::TlsAlpn(Arc::new(key))))
    }

    /// The answer to an authority that requests `path` of `host` over plain HTTP; `None` unless there is such a
    /// challenge.
    pub(crate) fn http_answer(&self, host: &str, path: &str) -> Option<String> {
        let requested = path.strip_prefix(HTTP_PREFIX)?;
        match &**self.proofs.0.load().get(host)? {
            Proof::Http { token, key_authorization } if token == requested => Some(key_authorization.clone()),
            Proof::Http { .. } | Proof::TlsAlpn(_) => None,
        }
    }

    /// The settings for a handshake in which an authority looks for a proof that is in flight.
    pub(crate) fn config_for(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut protocols = hello.alpn()?;
        let asks = protocols.next() == Some(ACME_TLS) && protocols.next().is_none();
        let proofs = asks.then(|| self.proofs.0.load())?;
        let is_shown = matches!(**proofs.get(hello.server_name()?)?, Proof::TlsAlpn(_));
        is_shown.then(|| Arc::clone(&self.config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_answered_for_its_host_alone_and_while_it_is_in_flight() {
        let challenges = Challenges::new().unwrap();
        let shown = challenges.show_http("a.example", "token", "token.thumb");
        let other = challenges.show_tls_alpn("b.example", &[7; 32]).unwrap();
        let answer = |host: &str, path: &str| challenges.http_answer(host, path);
        assert_eq!(answer("a.example", "/.well-known/acme-challenge/token").as_deref(), Some("token.thumb"));
        for (host, path) in [
            ("b.example", "/.well-known/acme-challenge/token"),
            ("c.example", "/.well-known/acme-challenge/token"),
            ("a.example", "/.well-known/acme-challenge/"),
            ("a.example", "/.well-known/acme-challenge/token/"),
            ("a.example", "/.well-known/acme-challenge/token.thumb"),
            ("a.example", "//.well-known/acme-challenge/token"),
            ("a.example", "/token"),
        ] {
            assert_eq!(answer(host, path), None, "{host} {path}");
        }
        drop(shown);
        assert_eq!(answer("a.example", "/.well-known/acme-challenge/token"), None);
        assert_eq!(challenges.proofs.0.load().len(), 1);
        drop(other);
        assert_eq!(challenges.proofs.0.load().len(), 0);
    }
}
