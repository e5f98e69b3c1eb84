//! Issuer of identity tokens on loopback, with keys generated at runtime and responses chosen by a test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::authenticator::text;

/// Key that signs identity tokens.
pub(crate) enum SigningKey {
    Edwards(Ed25519KeyPair),
    Nist(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    /// Generates a key for an algorithm.
    pub(crate) fn new(algorithm: &str) -> Self {
        match algorithm {
            "EdDSA" => Self::Edwards(Ed25519KeyPair::generate().unwrap()),
            "ES256" => Self::Nist(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "PS256" | "RS256" => Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
            other => panic!("no key signs by {other}"),
        }
    }

    /// Public key in the issuer's JWK format.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Edwards(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": id, "x": text(pair.public_key().as_ref()) })
            }
            Self::Nist(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": text(x), "y": text(y) })
            }
            Self::Rsa(pair) => {
                let (n, e) = numbers(pair.public_key().as_ref());
                json!({ "kty": "RSA", "use": "sig", "kid": id, "n": text(n), "e": text(e) })
            }
        }
    }

    /// Public key in the form that a careless verifier would use as a shared secret.
    pub(crate) fn public(&self) -> Vec<u8> {
        match self {
            Self::Edwards(pair) => pair.public_key().as_ref().to_vec(),
            Self::Nist(pair) => pair.public_key().as_ref().to_vec(),
            Self::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    pub(crate) fn sign(&self, algorithm: &str, bytes: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Edwards(pair) => pair.sign(bytes).as_ref().to_vec(),
            Self::Nist(pair) => pair.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                match algorithm {
                    "PS256" => pair.sign(&RSA_PSS_SHA256, &random, bytes, &mut signature).unwrap(),
                    _ => pair.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).unwrap(),
                }
                signature
            }
        }
    }
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 §A.1.1).
fn numbers(der: &[u8]) -> (&[u8], &[u8]) {
    let (_, sequence, _) = element(der);
    let (_, modulus, rest) = element(sequence);
    let (_, exponent, _) = element(rest);
    (modulus, exponent)
}

/// Tag and content of a DER element, and the remaining bytes.
fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (length, head) = match der[1] {
        short if short < 0x80 => (usize::from(short), 2),
        long => {
            let count = usize::from(long & 0x7f);
            (der[2..2 + count].iter().fold(0, |length, byte| length * 256 + usize::from(*byte)), 2 + count)
        }
    };
    (der[0], &der[head..head + length], &der[head + length..])
}

/// Token with the header and claims, signed by `sign`.
pub(crate) fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()));
    let signature = text(&sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Response for a path in place of the issuer's normal response.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Body(String),
    Redirect(String),
    Silence,
    Status(u16),
}

#[derive(Default)]
struct State {
    keys: Vec<Value>,
    discovery: Option<Answer>,
    list: Option<Answer>,
    lists: usize,
}

/// Issuer, ended on drop.
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    /// Starts an issuer that publishes the keys.
    pub(crate) async fn start(keys: &[(&str, &SigningKey)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(State::default())));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, address, Arc::clone(&shared)));
            }
        });
        let issuer = Self { address, state, task };
        issuer.publish(keys);
        issuer
    }

    /// Claim `iss` of the issuer's tokens.
    pub(crate) fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes other keys from now on.
    pub(crate) fn publish(&self, keys: &[(&str, &SigningKey)]) {
        self.state.lock().unwrap().keys = keys.iter().map(|(id, key)| key.jwk(id)).collect();
    }

    /// Sets the response to discovery requests.
    pub(crate) fn answer_discovery(&self, answer: impl Into<Option<Answer>>) {
        self.state.lock().unwrap().discovery = answer.into();
    }

    /// Sets the response to requests for the keys.
    pub(crate) fn answer_list(&self, answer: impl Into<Option<Answer>>) {
        self.state.lock().unwrap().list = answer.into();
    }

    /// Number of requests for the keys.
    pub(crate) fn lists(&self) -> usize {
        self.state.lock().unwrap().lists
    }
}

async fn serve(mut stream: TcpStream, address: SocketAddr, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            continue;
        }
        return;
    }
    let head = String::from_utf8(bytes).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let answer = {
        let mut state = state.lock().unwrap();
        match path {
            "/.well-known/openid-configuration" => state.discovery.clone().unwrap_or_else(|| {
                let issuer = format!("http://{address}");
                Answer::Body(json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") }).to_string())
            }),
            "/keys" => {
                state.lists += 1;
                state.list.clone().unwrap_or_else(|| Answer::Body(json!({ "keys": state.keys }).to_string()))
            }
            "/elsewhere" => Answer::Body(json!({ "keys": state.keys }).to_string()),
            _ => Answer::Status(404),
        }
    };
    let answer = match answer {
        Answer::Body(body) => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
        Answer::Redirect(to) => {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        Answer::Status(status) => {
            format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        Answer::Silence => {
            // Blocks until the peer ends the connection.
            stream.read_u8().await.ok();
            return;
        }
    };
    // A client that has read enough may have disconnected.
    stream.write_all(answer.as_bytes()).await.ok();
}
