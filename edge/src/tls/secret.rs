//! A secret from which keys are derived that are no business of TLS, but are to be the same wherever its tickets are.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, rand};

use super::Error;

/// Bytes of the secret, and of each key.
pub(crate) const SECRET_BYTES: usize = 32;
/// The salt of the key derivation (RFC 5869 §2.2).
const SALT: &[u8] = b"devanture 2026 keys beside those of TLS";

/// The secret.
pub(crate) struct Secret(hkdf::Prk);

impl Secret {
    /// One of this process alone.
    pub(crate) fn random() -> Result<Self, Error> {
        let mut bytes = [0; SECRET_BYTES];
        let filled = rand::fill(&mut bytes);
        filled.map_err(|Unspecified| rustls::Error::FailedToGetRandomBytes)?;
        Ok(Self::from(&bytes))
    }

    /// A key that is for `purpose` alone.
    pub(crate) fn key_for(&self, purpose: &str) -> [u8; SECRET_BYTES] {
        let mut key = [0; SECRET_BYTES];
        let info = [purpose.as_bytes()];
        let filled = self.0.expand(&info, hkdf::HKDF_SHA256).and_then(|material| material.fill(&mut key));
        // One hash of output is never too much (RFC 5869 §2.3).
        debug_assert!(filled.is_ok());
        key
    }
}

impl From<&[u8; SECRET_BYTES]> for Secret {
    fn from(bytes: &[u8; SECRET_BYTES]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(bytes))
    }
}
