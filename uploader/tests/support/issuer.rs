//! An issuer of identity tokens on loopback, with a key made at run time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519, PublicKeyData as _,
    SigningKey as _,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// The audience of the trusting edges.
pub(crate) const AUDIENCE: &str = "https://edge.example.org:8444";
/// The bearer token of the address that makes identity tokens.
pub(crate) const OPENS: &str = "opens-this-address";

/// An issuer that also makes identity tokens as GitHub Actions does. The thread ends with the process.
#[derive(Clone)]
pub(crate) struct Issuer {
    address: SocketAddr,
    key: Arc<KeyPair>,
    /// The claims about a job of GitHub Actions.
    claims: Arc<Mutex<Value>>,
    /// The TLS configuration, if any.
    tls: Option<Arc<ServerConfig>>,
}

/// Returns a number unique among identity tokens.
fn number() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub(crate) fn start() -> Self {
        Self::with(json!({ "repository": "acme/shop", "ref": "refs/heads/main" }))
    }

    /// Starts an issuer over TLS, with a certificate of a new authority, returned in PEM.
    pub(crate) fn start_with_authority() -> (Self, String) {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (key, params) =
            (KeyPair::generate().unwrap(), CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap());
        let leaf = params.signed_by(&key, &own).unwrap();
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], secret);
        (Self::started(json!({}), Some(Arc::new(config.unwrap()))), own.pem())
    }

    /// Starts an issuer with the given claims about a job of GitHub Actions.
    pub(crate) fn with(claims: Value) -> Self {
        Self::started(claims, None)
    }

    fn started(claims: Value, tls: Option<Arc<ServerConfig>>) -> Self {
        let key = Arc::new(KeyPair::generate_for(&PKCS_ED25519).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = Self { address: listener.local_addr().unwrap(), key, claims: Arc::new(Mutex::new(claims)), tls };
        let serving = issuer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                match &serving.tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                        let mut stream = StreamOwned::new(connection, stream);
                        serving.answer(&mut stream);
                        stream.conn.send_close_notify();
                        stream.flush().ok();
                    }
                    None => serving.answer(stream),
                }
            }
        });
        issuer
    }

    /// Sets the claims of identity tokens requested from now on.
    pub(crate) fn set_claims(&self, claims: Value) {
        *self.claims.lock().unwrap() = claims;
    }

    pub(crate) fn name(&self) -> String {
        format!("http{}://{}", if self.tls.is_some() { "s" } else { "" }, self.address)
    }

    fn answer(&self, mut stream: impl Read + Write) {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            match stream.read(&mut piece) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
                _ => return,
            }
        }
        let head = String::from_utf8(bytes).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let body = match path.split('?').next().unwrap() {
            "/.well-known/openid-configuration" => {
                Some(json!({ "issuer": self.name(), "jwks_uri": format!("{}/keys", self.name()) }))
            }
            "/keys" => Some(json!({ "keys": [
                { "kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "x": text(self.key.der_bytes()) }
            ] })),
            "/request" if head.to_ascii_lowercase().contains(&format!("authorization: bearer {OPENS}")) => {
                let audience = path.split("audience=").nth(1).unwrap().replace("%3A", ":").replace("%2F", "/");
                Some(json!({ "value": self.identity_token(&audience, &self.claims.lock().unwrap()) }))
            }
            _ => None,
        };
        let (status, body) = match body {
            Some(body) => ("200 OK", body.to_string()),
            None => ("403 Forbidden", String::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        // A client may close after reading enough.
        stream.write_all(format!("{head}{body}").as_bytes()).ok();
    }

    /// Returns an identity token of a job with these claims.
    pub(crate) fn identity_token(&self, audience: &str, more: &Value) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.name(), "aud": audience, "sub": format!("repo:acme/shop:ref:{}", more["ref"]),
            "jti": format!("id-{}", number()), "iat": now_s, "exp": now_s + 300,
        });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": "JWT" });
        let signed = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        format!("{signed}.{}", text(self.key.sign(signed.as_bytes()).unwrap()))
    }
}
