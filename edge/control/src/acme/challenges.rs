//! Pending proofs of control over names, as requested by an authority.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::lookup::Lookup;
use super::store::Proof;
use devanture_serve::tls::{ACME_TLS, Error, provider};

/// Length of a key authorization's digest: SHA-256.
const DIGEST_BYTES: usize = 32;
/// Longest token; a token is base64url of 128 bits or more (RFC 8555 §8.3).
const TOKEN_CHARACTERS_MAX: usize = 512;
/// Requested path, before the token (RFC 8555 §8.3).
const HTTP_PREFIX: &str = "/.well-known/acme-challenge/";

/// Pending proofs. Looking up local proofs takes no lock.
pub(crate) struct Challenges {
    proofs: Arc<Proofs>,
    config: Arc<ServerConfig>,
    /// Proofs of other nodes, in a cluster.
    elsewhere: OnceLock<Lookup>,
}

#[derive(Default)]
struct Proofs(ArcSwap<HashMap<Box<str>, Arc<Ready>>>);

/// Proof of a name, ready for presentation.
enum Ready {
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

/// Presents a proof until dropped.
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
    fn change(&self, change: impl Fn(&mut HashMap<Box<str>, Arc<Ready>>)) {
        self.0.rcu(|proofs| {
            let mut proofs = HashMap::clone(proofs);
            change(&mut proofs);
            proofs
        });
    }

    fn show(self: &Arc<Self>, name: &str, proof: Ready) -> Shown {
        let proof = Arc::new(proof);
        self.change(|proofs| drop(proofs.insert(name.into(), Arc::clone(&proof))));
        Shown { proofs: Arc::clone(self), name: name.into() }
    }
}

impl ResolvesServerCert for Proofs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &**self.0.load().get(hello.server_name()?)? {
            Ready::TlsAlpn(key) => Some(Arc::clone(key)),
            Ready::Http { .. } => None,
        }
    }
}

impl Challenges {
    pub(crate) fn new() -> Result<Self, Error> {
        let proofs = Arc::<Proofs>::default();
        let config = config(Arc::<Proofs>::clone(&proofs))?;
        Ok(Self { proofs, config: Arc::new(config), elsewhere: OnceLock::new() })
    }

    /// Also presents the proofs of other nodes.
    pub(crate) fn look_elsewhere(&self, lookup: Lookup) {
        // Called once; later calls have no effect.
        self.elsewhere.set(lookup).ok();
    }

    /// Presents `proof` for `name` until the result is dropped.
    pub(crate) fn show(&self, name: &str, proof: &Proof) -> Result<Shown, Error> {
        let ready = match proof {
            Proof::Http { token, key_authorization } => {
                Ready::Http { token: token.clone(), key_authorization: key_authorization.clone() }
            }
            Proof::TlsAlpn { digest } => Ready::TlsAlpn(Arc::new(challenge_key(name, digest)?)),
        };
        Ok(self.proofs.show(name, ready))
    }

    /// Answers a plain HTTP request of an authority for `path` of `host`; `None` without a matching challenge.
    pub(crate) async fn http_answer(&self, host: &str, path: &str) -> Option<String> {
        let requested = path.strip_prefix(HTTP_PREFIX)?;
        if let Some(own) = self.own_http_answer(host, requested) {
            return Some(own);
        }
        let elsewhere = self.elsewhere.get().filter(|_| is_token(requested))?;
        let is_requested = |proof: &Proof| matches!(proof, Proof::Http { token, .. } if token == requested);
        match elsewhere.find(host, is_requested).await? {
            Proof::Http { key_authorization, .. } => Some(key_authorization),
            Proof::TlsAlpn { .. } => None,
        }
    }

    fn own_http_answer(&self, host: &str, requested: &str) -> Option<String> {
        match &**self.proofs.0.load().get(host)? {
            Ready::Http { token, key_authorization } if token == requested => Some(key_authorization.clone()),
            Ready::Http { .. } | Ready::TlsAlpn(_) => None,
        }
    }

    /// Returns the TLS configuration for a handshake that requests a pending proof of `name`.
    pub(crate) async fn config_for(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let is_own = |proof: &Arc<Ready>| matches!(**proof, Ready::TlsAlpn(_));
        if self.proofs.0.load().get(name).is_some_and(is_own) {
            return Some(Arc::clone(&self.config));
        }
        let found = self.elsewhere.get()?.find(name, |proof| matches!(proof, Proof::TlsAlpn { .. })).await?;
        let Proof::TlsAlpn { digest } = found else { return None };
        let made = challenge_key(name, &digest).and_then(|key| config(Arc::new(SingleCertAndKey::from(key))));
        made.inspect_err(|error| tracing::warn!(name, %error, "a proof of another node cannot be shown"))
            .ok()
            .map(Arc::new)
    }
}

/// Returns true for base64url without padding, which is a single path segment.
pub(crate) fn is_token(text: &str) -> bool {
    let is_of_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=TOKEN_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(is_of_alphabet)
}

fn config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    // Such sessions are never resumed.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// Returns the certificate with the digest of a key authorization for handshakes of `name` (RFC 8737 §3), and its key.
fn challenge_key(name: &str, digest: &[u8]) -> Result<CertifiedKey, Error> {
    if digest.len() != DIGEST_BYTES {
        // The library would panic.
        let reason = format!("a digest has {DIGEST_BYTES} bytes, not {}", digest.len());
        return Err(Error::Certificate { path: name.into(), reason });
    }
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // The match of key and certificate is not verified: the library refuses certificates with an unknown critical
    // extension, required here (RFC 8737 §3).
    Ok(CertifiedKey::new(vec![certificate.into()], provider().key_provider.load_private_key(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_segment_of_a_path() {
        assert!(is_token("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"));
        for text in
            ["", "..", "../../etc/passwd", "a/b", "a%2fb", "<script>", "a b", "a\r\nb: c", "é", &"a".repeat(513)]
        {
            assert!(!is_token(text), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_token_is_answered_for_its_host_alone_and_while_it_is_in_flight() {
        let challenges = Challenges::new().unwrap();
        let proof = Proof::Http { token: "token".to_owned(), key_authorization: "token.thumb".to_owned() };
        let shown = challenges.show("a.example", &proof).unwrap();
        let other = challenges.show("b.example", &Proof::TlsAlpn { digest: vec![7; 32] }).unwrap();
        assert!(challenges.show("b.example", &Proof::TlsAlpn { digest: vec![7; 31] }).is_err());
        let answer = async |host: &str, path: &str| challenges.http_answer(host, path).await;
        assert_eq!(answer("a.example", "/.well-known/acme-challenge/token").await.as_deref(), Some("token.thumb"));
        for (host, path) in [
            ("b.example", "/.well-known/acme-challenge/token"),
            ("c.example", "/.well-known/acme-challenge/token"),
            ("a.example", "/.well-known/acme-challenge/"),
            ("a.example", "/.well-known/acme-challenge/token/"),
            ("a.example", "/.well-known/acme-challenge/token.thumb"),
            ("a.example", "//.well-known/acme-challenge/token"),
            ("a.example", "/token"),
        ] {
            assert_eq!(answer(host, path).await, None, "{host} {path}");
        }
        drop(shown);
        assert_eq!(answer("a.example", "/.well-known/acme-challenge/token").await, None);
        assert_eq!(challenges.proofs.0.load().len(), 1);
        drop(other);
        assert_eq!(challenges.proofs.0.load().len(), 0);
    }
}
