//! Public keys in the format of `authorized_keys`: `ssh-ed25519 AAAA… comment`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use super::wire::{Reader, put_string};
use crate::text::text_form;

/// Only supported kind of keys.
pub(super) const KIND: &str = "ssh-ed25519";
/// Maximum number of characters of a key with its comment.
pub const SIGNER_CHARACTERS_MAX: usize = 300;
/// Maximum bytes of a key before base64; every Ed25519 key has 51.
const BLOB_BYTES_MAX: usize = 128;

/// Points of small order of Curve25519's Edwards form, without the sign bit, in all encodings: 0 and 1, the two points
/// of order 8, and p − 1, p and p + 1. For such a key, a valid signature can be made without the secret.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    encoded(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    encoded(0xec, 0xff, 0x7f),
    encoded(0xed, 0xff, 0x7f),
    encoded(0xee, 0xff, 0x7f),
];

/// Encodes a number from its first byte in little-endian order, the bytes in the middle, and the last byte.
const fn encoded(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

fn is_of_small_order(mut bytes: [u8; 32]) -> bool {
    bytes[31] &= 0x7f;
    SMALL_ORDER.contains(&bytes)
}

/// Error for an invalid signer's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the public key of a signer, such as `ssh-ed25519 AAAA… name`: {why}")]
pub struct BadSignerKey {
    /// Beginning of the text.
    pub text: String,
    /// Reason.
    pub why: &'static str,
}

/// Ed25519 public key with a comment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignerKey {
    bytes: [u8; 32],
    comment: String,
}

/// Keys compare without comments.
impl PartialEq for SignerKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for SignerKey {}

impl SignerKey {
    pub(super) fn new(bytes: [u8; 32], comment: impl Into<String>) -> Self {
        Self { bytes, comment: comment.into() }
    }

    /// Parses OpenSSH's binary form.
    pub(super) fn of_blob(blob: &[u8]) -> Option<Self> {
        let mut reader = Reader(blob);
        let is_kind = reader.string()? == KIND.as_bytes();
        let bytes: [u8; 32] = reader.string()?.try_into().ok()?;
        (is_kind && reader.is_at_end() && !is_of_small_order(bytes)).then(|| Self::new(bytes, ""))
    }

    /// Returns OpenSSH's binary form.
    #[must_use]
    pub fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::with_capacity(51);
        put_string(&mut blob, KIND.as_bytes());
        put_string(&mut blob, &self.bytes);
        blob
    }

    /// Returns the 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Returns the comment, possibly empty.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Returns the fingerprint, as printed by `ssh-keygen -l`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &self.blob())))
    }

    /// Returns the fingerprint, followed by the comment if present.
    #[must_use]
    pub fn named(&self) -> String {
        match self.comment.as_str() {
            "" => self.fingerprint(),
            comment => format!("{comment} ({})", self.fingerprint()),
        }
    }
}

impl FromStr for SignerKey {
    type Err = BadSignerKey;

    fn from_str(text: &str) -> Result<Self, BadSignerKey> {
        let bad = |why| BadSignerKey { text: text.chars().take(40).collect(), why };
        if text.chars().any(char::is_control) {
            return Err(bad("it is not one line"));
        }
        let mut words = text.trim().splitn(3, ' ');
        // Checked before the length, since keys of other kinds are longer and the kind is the better error.
        if words.next() != Some(KIND) {
            return Err(bad("only keys of the kind ssh-ed25519 sign versions, as `ssh-keygen -t ed25519` makes them"));
        }
        if text.chars().count() > SIGNER_CHARACTERS_MAX {
            return Err(bad("it is too long"));
        }
        let blob = STANDARD.decode(words.next().unwrap_or_default()).ok();
        let blob = blob.filter(|blob| blob.len() <= BLOB_BYTES_MAX);
        let key = blob.and_then(|blob| Self::of_blob(&blob)).ok_or_else(|| bad("its second word is no such key"))?;
        Ok(Self { comment: words.next().unwrap_or_default().trim().to_owned(), ..key })
    }
}

impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KIND} {}", STANDARD.encode(self.blob()))?;
        if self.comment.is_empty() { Ok(()) } else { write!(f, " {}", self.comment) }
    }
}

text_form!(SignerKey, BadSignerKey);
