//! Software passkey: signs challenges as an authenticator and a browser do together, with errors where a test asks for
//! them.

#![allow(dead_code, reason = "each user of it takes a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on should stop where it is")]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;

/// Flags for a present and verified user.
pub(crate) const VERIFIED: u8 = 0x05;
/// Flag for attested credential data.
pub(crate) const WITH_CREDENTIAL: u8 = 0x40;

/// Passkey, with the authenticator and client data that tests can falsify.
pub(crate) struct Authenticator {
    pub(crate) key: EcdsaKeyPair,
    pub(crate) id: Vec<u8>,
    pub(crate) rp: String,
    pub(crate) origin: String,
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    /// Algorithm of the key.
    pub(crate) algorithm: i64,
    /// Members that the browser adds to the client data.
    pub(crate) added: String,
    /// Bytes appended to the authenticator data.
    pub(crate) trailer: Vec<u8>,
}

/// Signed assertion, in base64url.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) data: Vec<u8>,
    pub(crate) client_data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

pub(crate) fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Authenticator {
    pub(crate) fn new(rp: &str, origin: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self {
            id: digest(&SHA256, key.public_key().as_ref()).as_ref().to_vec(),
            key,
            rp: rp.to_owned(),
            origin: origin.to_owned(),
            flags: VERIFIED,
            counter: 0,
            algorithm: -7,
            added: String::new(),
            trailer: Vec::new(),
        }
    }

    /// Public key as an uncompressed point.
    pub(crate) fn public_key(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }

    fn client_data(&self, kind: &str, challenge: &str) -> Vec<u8> {
        let (origin, added) = (&self.origin, &self.added);
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"{added}}}"#).into_bytes()
    }

    fn head(&self, flags: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, self.rp.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// Attestation object and client data of `navigator.credentials.create`.
    pub(crate) fn create(&self, challenge: &str) -> (Vec<u8>, Vec<u8>) {
        let point = self.key.public_key().as_ref();
        let (x, y) = (point[1..33].to_vec(), point[33..].to_vec());
        let number = |number: i64| Value::Integer(number.into());
        let key = Value::Map(vec![
            (number(1), number(2)),
            (number(3), number(self.algorithm)),
            (number(-1), number(1)),
            (number(-2), Value::Bytes(x)),
            (number(-3), Value::Bytes(y)),
        ]);
        let mut data = self.head(self.flags | WITH_CREDENTIAL);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend(&self.id);
        ciborium::into_writer(&key, &mut data).unwrap();
        data.extend(&self.trailer);
        let object = Value::Map(vec![
            (Value::Text("fmt".to_owned()), Value::Text("none".to_owned())),
            (Value::Text("attStmt".to_owned()), Value::Map(Vec::new())),
            (Value::Text("authData".to_owned()), Value::Bytes(data)),
        ]);
        let mut attestation = Vec::new();
        ciborium::into_writer(&object, &mut attestation).unwrap();
        (attestation, self.client_data("webauthn.create", challenge))
    }

    /// Assertion of `navigator.credentials.get`.
    pub(crate) fn get(&self, challenge: &str) -> Signed {
        let client_data = self.client_data("webauthn.get", challenge);
        let mut data = self.head(self.flags);
        data.extend(&self.trailer);
        let mut signed = data.clone();
        signed.extend(digest(&SHA256, &client_data).as_ref());
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec();
        Signed { data, client_data, signature }
    }
}
