//! Digests as names: BLAKE3 for blobs and versions, SHA-256 for dictionaries.

mod sha256;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_form;

pub use sha256::{BadSha256, Sha256};

/// Number of hex characters of a version in hostnames and in the `devanture-version` header.
pub const SHORT_CHARACTERS: usize = 12;
/// Minimum number of hex characters of an abbreviated id.
pub const PREFIX_CHARACTERS_MIN: usize = 6;

/// Error for a text other than 64 lower-case hex characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a BLAKE3 digest of 64 hex characters in lower case")]
pub struct BadDigest(pub String);

/// BLAKE3 of a blob's bytes, used as the blob's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Returns the 32 bytes of the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns true if the hex form begins with `prefix`, in lower case.
    #[must_use]
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.to_string().starts_with(prefix)
    }

    /// Returns true if `short` equals [`Digest::short`], without an allocation.
    #[must_use]
    pub fn is_short(&self, short: &[u8]) -> bool {
        let mut bytes = [0; SHORT_CHARACTERS / 2];
        let is_hex = !short.iter().any(u8::is_ascii_uppercase) && hex::decode_to_slice(short, &mut bytes).is_ok();
        is_hex && self.0.starts_with(&bytes)
    }

    /// Returns the first 12 hex characters.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hex = self.to_string();
        hex.truncate(SHORT_CHARACTERS);
        hex
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let bad = || BadDigest(text.chars().take(80).collect());
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        // The decoder's reason (odd length, bad character) adds no information to the error.
        hex::decode_to_slice(text, &mut bytes).map_err(|_reason| bad())?;
        Ok(Self(bytes))
    }
}

text_form!(Digest, BadDigest);

/// Id of a version: the BLAKE3 of the canonical manifest.
pub type VersionId = Digest;

/// Abbreviated version id: 6 to 64 hex characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix(String);

/// Error for an invalid abbreviated id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version id: 6 to 64 hex characters are wanted")]
pub struct BadIdPrefix(pub String);

impl IdPrefix {
    /// Returns the prefix in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if `id` begins with this prefix.
    #[must_use]
    pub fn matches(&self, id: &VersionId) -> bool {
        id.starts_with(&self.0)
    }
}

impl FromStr for IdPrefix {
    type Err = BadIdPrefix;

    fn from_str(text: &str) -> Result<Self, BadIdPrefix> {
        let length_ok = (PREFIX_CHARACTERS_MIN..=64).contains(&text.len());
        if length_ok && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(BadIdPrefix(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_digest_is_lower_case_hex_of_full_length() {
        let hex = Digest::of(b"").to_string();
        assert_eq!(hex, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(hex.parse::<Digest>(), Ok(Digest::of(b"")));
        assert!(hex.to_uppercase().parse::<Digest>().is_err());
        assert!("af13".parse::<Digest>().is_err());
    }

    #[test]
    fn a_prefix_has_six_characters_or_more() {
        assert!("af134".parse::<IdPrefix>().is_err());
        assert!("AF1349".parse::<IdPrefix>().is_ok_and(|p| p.matches(&Digest::of(b""))));
        assert!("zzzzzz".parse::<IdPrefix>().is_err());
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let digest = Digest::of(&bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        }
    }
}
