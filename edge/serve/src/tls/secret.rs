//! A secret for the derivation of keys outside of TLS, which have to be equal wherever the session tickets are.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, rand};

use super::Error;

/// Length of the secret, and of each key.
pub(crate) const SECRET_BYTES: usize = 32;
/// The salt of the key derivation (RFC 5869 §2.2).
const SALT: &[u8] = b"devanture 2026 keys beside those of TLS";

/// The secret.
pub(crate) struct Secret(hkdf::Prk);

impl Secret {
    /// Creates a secret that is private to the process.
    pub(crate) fn random() -> Result<Self, Error> {
        let mut bytes = [0; SECRET_BYTES];
        let filled = rand::fill(&mut bytes);
        filled.map_err(|Unspecified| rustls::Error::FailedToGetRandomBytes)?;
        Ok(Self::of(&bytes))
    }

    /// Creates a secret that is equal wherever `key` is known.
    pub(crate) fn of(key: &[u8]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(key))
    }

    /// Derives a key that is only for `purpose`.
    pub(crate) fn key_for(&self, purpose: &str) -> [u8; SECRET_BYTES] {
        let mut key = [0; SECRET_BYTES];
        let info = [purpose.as_bytes()];
        let filled = self.0.expand(&info, hkdf::HKDF_SHA256).and_then(|material| material.fill(&mut key));
        // One hash of output never exceeds the limit (RFC 5869 §2.3).
        debug_assert!(filled.is_ok());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_its_secret_and_its_purpose() {
        let of = |key: &[u8], purpose: &str| Secret::of(key).key_for(purpose);
        assert_eq!(of(b"one", "resets"), of(b"one", "resets"));
        assert_ne!(of(b"one", "resets"), of(b"two", "resets"));
        assert_ne!(of(b"one", "resets"), of(b"one", "tokens"));
        assert_ne!(Secret::random().unwrap().key_for("resets"), Secret::random().unwrap().key_for("resets"));
    }
}
