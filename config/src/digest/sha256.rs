//! SHA-256 digests as names of compression dictionaries, as sent by browsers (RFC 9842 §2.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_form;

/// Error for a text other than 64 lower-case hex characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 of 64 hex characters in lower case")]
pub struct BadSha256(pub String);

/// SHA-256 of a dictionary's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Returns the 32 bytes of the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = BadSha256;

    fn from_str(text: &str) -> Result<Self, BadSha256> {
        let bad = || BadSha256(text.chars().take(80).collect());
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        // As for a BLAKE3, the decoder's reason adds no information to the error.
        hex::decode_to_slice(text, &mut bytes).map_err(|_reason| bad())?;
        Ok(Self(bytes))
    }
}

text_form!(Sha256, BadSha256);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_digest_is_refused() {
        let good = "0123456789abcdef".repeat(4);
        assert!(good.parse::<Sha256>().is_ok());
        for bad in ["", &good[1..], &good.to_uppercase(), &good.replace('a', "g"), &format!("{good}0")] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(bytes in any::<[u8; 32]>()) {
            let digest = Sha256::from(bytes);
            prop_assert_eq!(digest.to_string().parse::<Sha256>().unwrap(), digest);
        }
    }
}
