//! Private keys in the format of `ssh-keygen -t ed25519`.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::{KIND, SignerKey};
use super::signature::{Signature, SignedData};
use super::wire::Reader;

/// Maximum bytes of a file with a private key.
pub const PRIVATE_KEY_BYTES_MAX: usize = 16_384;

const MAGIC: &[u8] = b"openssh-key-v1\0";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// Error for an unusable private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPrivateKey {
    /// The key is sealed with a passphrase; the public key is readable.
    #[error("it is encrypted with a passphrase")]
    Encrypted(SignerKey),
    /// The text is not in OpenSSH's form, or was changed.
    #[error("it is not a private key as `ssh-keygen -t ed25519` makes it")]
    Form,
    /// The kind of key is unsupported.
    #[error("it is not of the kind ssh-ed25519")]
    Kind,
}

/// Ed25519 private key.
pub struct PrivateKey {
    pair: Ed25519KeyPair,
    public: SignerKey,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.public.fingerprint()).finish()
    }
}

impl PrivateKey {
    /// Parses the text of a key file.
    ///
    /// # Errors
    /// [`BadPrivateKey`].
    pub fn parse(text: &str) -> Result<Self, BadPrivateKey> {
        if text.len() > PRIVATE_KEY_BYTES_MAX {
            return Err(BadPrivateKey::Form);
        }
        let inner = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let inner: String = inner.ok_or(BadPrivateKey::Form)?.split_ascii_whitespace().collect();
        let blob = STANDARD.decode(inner).map_err(|_not_base64| BadPrivateKey::Form)?;
        Self::of_blob(&blob)
    }

    fn of_blob(blob: &[u8]) -> Result<Self, BadPrivateKey> {
        let mut reader = Reader(blob);
        let outer = (|| {
            let is_it = reader.take(MAGIC.len())? == MAGIC;
            let (cipher, _kdf, _options) = (reader.string()?, reader.string()?, reader.string()?);
            let is_one = reader.number()? == 1;
            (is_it && is_one).then_some((cipher, reader.string()?, reader.string()?))
        })();
        let (cipher, public, private) = outer.ok_or(BadPrivateKey::Form)?;
        let public = SignerKey::of_blob(public).ok_or(BadPrivateKey::Kind)?;
        if cipher != b"none" {
            return Err(BadPrivateKey::Encrypted(public));
        }
        let mut reader = Reader(private);
        let inner = (|| {
            let is_whole = reader.number()? == reader.number()?;
            let is_kind = reader.string()? == KIND.as_bytes();
            let (own, pair, comment) = (reader.string()?, reader.string()?, reader.string()?);
            (is_whole && is_kind && own == public.as_bytes()).then_some((pair, comment))
        })();
        let (pair, comment) = inner.ok_or(BadPrivateKey::Form)?;
        let seed = pair.get(..32).ok_or(BadPrivateKey::Form)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public.as_bytes());
        let pair = pair.map_err(|_rejected| BadPrivateKey::Form)?;
        let comment =
            String::from_utf8_lossy(comment).chars().filter(|c| !c.is_control()).take(100).collect::<String>();
        debug_assert_eq!(pair.public_key().as_ref(), public.as_bytes());
        Ok(Self { pair, public: SignerKey::new(*public.as_bytes(), comment) })
    }

    /// Returns the public key, with the comment of the file.
    #[must_use]
    pub fn public(&self) -> &SignerKey {
        &self.public
    }

    /// Signs a text.
    #[must_use]
    pub fn sign(&self, message: &str) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(&SignedData::of(message).0).as_ref());
        Signature::new(&self.public, bytes)
    }
}
