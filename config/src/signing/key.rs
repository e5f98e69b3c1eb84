//! Public keys as `authorized_keys` has them: `ssh-ed25519 AAAA… comment`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use super::wire::{Reader, put_string};
use crate::text::text_form;

/// The one kind of keys.
pub(super) const KIND: &str = "ssh-ed25519";
/// Most characters of a key with its comment.
pub const SIGNER_CHARACTERS_MAX: usize = 300;
/// Most bytes of a key before base64; every Ed25519 key has 51.
const BLOB_BYTES_MAX: usize = 128;

/// Says why a text is not the key of a signer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the public key of a signer, such as `ssh-ed25519 AAAA… name`: {why}")]
pub struct BadSignerKey {
    /// The beginning of the text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// An Ed25519 public key, with the comment behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignerKey {
    bytes: [u8; 32],
    comment: String,
}

/// Keys are the same whatever their comments say.
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

    /// The key from OpenSSH's binary form.
    pub(super) fn of_blob(blob: &[u8]) -> Option<Self> {
        let mut reader = Reader(blob);
        let is_kind = reader.string()? == KIND.as_bytes();
        let bytes: [u8; 32] = reader.string()?.try_into().ok()?;
        (is_kind && reader.is_at_end()).then(|| Self::new(bytes, ""))
    }

    /// OpenSSH's binary form.
    #[must_use]
    pub fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::with_capacity(51);
        put_string(&mut blob, KIND.as_bytes());
        put_string(&mut blob, &self.bytes);
        blob
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The comment; empty where there is none.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The fingerprint, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &self.blob())))
    }

    /// The fingerprint, and the comment where there is one.
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
        if text.chars().count() > SIGNER_CHARACTERS_MAX {
            return Err(bad("it is too long"));
        }
        if text.chars().any(char::is_control) {
            return Err(bad("it is not one line"));
        }
        let mut words = text.trim().splitn(3, ' ');
        if words.next() != Some(KIND) {
            return Err(bad("only keys of the kind ssh-ed25519 sign versions, as `ssh-keygen -t ed25519` makes them"));
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
