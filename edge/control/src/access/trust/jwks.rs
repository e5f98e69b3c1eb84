//! Keys of an issuer: a JWK Set (RFC 7517), and verification of identity tokens.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::jwt::{Algorithm, Jwt};

/// Bytes of a P-256 coordinate, and of an Ed25519 key.
const POINT_BYTES: usize = 32;
/// Most bytes of an RSA modulus, 8,192 bits.
const MODULUS_BYTES_MAX: usize = 1_024;
/// Most bytes of an RSA exponent.
const EXPONENT_BYTES_MAX: usize = 8;

/// Reason for refusing a list of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// Not a JWK Set.
    #[error("it is no JWK Set")]
    Json,
    /// Too many keys.
    #[error("it has more than {0} keys")]
    TooMany(usize),
}

/// Result of a signature check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Signed by a key of the list.
    Good,
    /// The list lacks the key, for example after the issuer's key rotation.
    UnknownKey,
    /// The named key exists, but did not sign.
    Wrong,
}

/// Signing keys of an issuer.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// Only permitted algorithm, if restricted.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Ed25519(Vec<u8>),
    P256(Vec<u8>),
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

#[derive(Deserialize)]
struct List {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Parses a JWK Set. Keys of other types or uses are skipped (RFC 7517 §5).
    ///
    /// # Errors
    /// The reason for a refusal.
    pub fn parse(bytes: &[u8], count_max: usize) -> Result<Self, BadKeys> {
        let list: List = serde_json::from_slice(bytes).map_err(|_error| BadKeys::Json)?;
        if list.keys.len() > count_max {
            return Err(BadKeys::TooMany(count_max));
        }
        Ok(Self(list.keys.into_iter().filter_map(key).collect()))
    }

    /// Returns the number of keys with a supported algorithm.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Checks the signature of an identity token. The named key must match the token's algorithm; a token without a key
    /// id is checked with the only matching key.
    #[must_use]
    pub fn check(&self, jwt: &Jwt<'_>) -> Verdict {
        let mut named = self.0.iter().filter(|key| jwt.key_id.is_none() || key.id == jwt.key_id).peekable();
        if named.peek().is_none() {
            return Verdict::UnknownKey;
        }
        let mut fitting = named.filter(|key| key.is_for(jwt.algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) if key.made(jwt) => Verdict::Good,
            // Two keys with the same id, or without an id, are ambiguous.
            _ => Verdict::Wrong,
        }
    }
}

impl Key {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match (&self.material, algorithm) {
            (Material::Ed25519(_), Algorithm::EdDsa)
            | (Material::P256(_), Algorithm::Es256)
            | (Material::Rsa { .. }, Algorithm::Ps256 | Algorithm::Rs256) => true,
            (Material::Ed25519(_) | Material::P256(_) | Material::Rsa { .. }, _) => false,
        };
        fits && self.algorithm.as_ref().is_none_or(|name| Algorithm::of(name) == Some(algorithm))
    }

    fn made(&self, jwt: &Jwt<'_>) -> bool {
        let (signed, signature) = (jwt.signed, jwt.signature.as_slice());
        match &self.material {
            Material::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature).is_ok(),
            Material::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(signed, signature).is_ok()
            }
            Material::Rsa { modulus, exponent } => {
                let parameters = match jwt.algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Es256 | Algorithm::EdDsa => return false,
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, signed, signature).is_ok()
            }
        }
    }
}

/// Returns a key for signature checks; `None` for other keys.
fn key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let is_for_signatures = jwk.usage.as_ref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|one| one == "verify"));
    if !is_for_signatures {
        return None;
    }
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (modulus, exponent) = (number(jwk.n.as_deref()?)?, number(jwk.e.as_deref()?)?);
            if modulus.len() > MODULUS_BYTES_MAX || exponent.len() > EXPONENT_BYTES_MAX {
                return None;
            }
            Material::Rsa { modulus, exponent }
        }
        ("EC", Some("P-256")) => {
            // Uncompressed form (SEC 1 §2.3.3).
            Material::P256([vec![4], point(jwk.x.as_deref()?)?, point(jwk.y.as_deref()?)?].concat())
        }
        ("OKP", Some("Ed25519")) => Material::Ed25519(point(jwk.x.as_deref()?)?),
        _ => return None,
    };
    Some(Key { id: jwk.kid, algorithm: jwk.alg, material })
}

fn point(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == POINT_BYTES)
}

/// Decodes a number without leading zeros.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(first..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::super::jwt;
    use super::*;

    fn text(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn signed(header: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let part = format!("{}.{}", text(header.to_string().as_bytes()), text(b"{}"));
        let signature = text(&sign(part.as_bytes()));
        format!("{part}.{signature}")
    }

    fn keys(list: Value) -> Keys {
        Keys::parse(json!({ "keys": list }).to_string().as_bytes(), 100).unwrap()
    }

    fn of_edwards(pair: &Ed25519KeyPair, id: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": text(pair.public_key().as_ref()) })
    }

    #[test]
    fn a_signature_is_checked_by_the_key_that_is_named_and_of_its_algorithm() {
        let edwards = Ed25519KeyPair::generate().unwrap();
        let nist = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = nist.public_key().as_ref()[1..].split_at(POINT_BYTES);
        let of_nist = json!({ "kty": "EC", "crv": "P-256", "kid": "n", "alg": "ES256", "x": text(x), "y": text(y) });
        let both = keys(json!([of_edwards(&edwards, "e"), of_nist, { "kty": "oct", "k": "AAAA" }, { "kty": "EC" }, 7]));
        let by_edwards = |bytes: &[u8]| edwards.sign(bytes).as_ref().to_vec();
        let by_nist = |bytes: &[u8]| nist.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec();
        let check = |token: &str| both.check(&jwt::parse(token).unwrap());
        assert_eq!(check(&signed(&json!({ "alg": "EdDSA", "kid": "e" }), by_edwards)), Verdict::Good);
        assert_eq!(check(&signed(&json!({ "alg": "ES256", "kid": "n" }), by_nist)), Verdict::Good);
        assert_eq!(check(&signed(&json!({ "alg": "ES256" }), by_nist)), Verdict::Good, "the only one that fits");
        assert_eq!(check(&signed(&json!({ "alg": "EdDSA", "kid": "n" }), by_edwards)), Verdict::Wrong);
        assert_eq!(check(&signed(&json!({ "alg": "RS256", "kid": "e" }), by_edwards)), Verdict::Wrong);
        assert_eq!(check(&signed(&json!({ "alg": "EdDSA", "kid": "x" }), by_edwards)), Verdict::UnknownKey);
        assert_eq!(check(&signed(&json!({ "alg": "EdDSA", "kid": "e" }), by_nist)), Verdict::Wrong);
        let token = signed(&json!({ "alg": "EdDSA", "kid": "e" }), by_edwards);
        let other = token.replace(&text(b"{}"), &text(b"{ }"));
        assert_eq!(check(&other), Verdict::Wrong);
    }

    #[test]
    fn keys_for_other_uses_and_lists_that_are_too_long_are_not_taken() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let token = signed(&json!({ "alg": "EdDSA" }), |bytes| pair.sign(bytes).as_ref().to_vec());
        let check = |list: Value| keys(list).check(&jwt::parse(&token).unwrap());
        let mut key = of_edwards(&pair, "a");
        assert_eq!(check(json!([key])), Verdict::Good);
        assert_eq!(check(json!([key, key])), Verdict::Wrong, "two fit");
        for (member, value) in
            [("use", json!("enc")), ("key_ops", json!(["sign"])), ("x", json!("AAAA")), ("crv", json!("X25519"))]
        {
            let before = key[member].clone();
            key[member] = value;
            assert_eq!(check(json!([key])), Verdict::UnknownKey, "{member}");
            key[member] = before;
        }
        key["alg"] = json!("ES256");
        assert_eq!(check(json!([key])), Verdict::Wrong, "it is for another algorithm");
        let list = json!({ "keys": [1, 2, 3] }).to_string();
        assert_eq!(Keys::parse(list.as_bytes(), 2).unwrap_err(), BadKeys::TooMany(2));
        assert_eq!(Keys::parse(b"[]", 2).unwrap_err(), BadKeys::Json);
    }
}
