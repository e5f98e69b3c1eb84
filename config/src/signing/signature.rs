//! Signatures of versions: the signed text, OpenSSH's envelope, and the check.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key::{KIND, SignerKey};
use super::wire::{Reader, put_string};
use crate::digest::VersionId;
use crate::names::AppName;
use crate::text::text_form;

/// Namespace of version signatures, which excludes signatures made for any other purpose.
pub const NAMESPACE: &str = "devanture-version@1";
/// Maximum bytes of a signature as text; a signature of an Ed25519 key has about 300.
pub const SIGNATURE_BYTES_MAX: usize = 2_048;

const MAGIC: &[u8] = b"SSHSIG";
const FORMAT: u32 = 1;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// Columns of a line, as written by `ssh-keygen`.
const COLUMNS: usize = 70;

/// Error for an invalid signature, or for a signature of something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The text is not in OpenSSH's form.
    #[error("it is not a signature as `ssh-keygen -Y sign` makes it")]
    Form,
    /// The kind of key or the hash is unsupported.
    #[error("it is not by a key of the kind ssh-ed25519 with SHA-512 or SHA-256")]
    Kind,
    /// The namespace differs.
    #[error("its namespace is not `{NAMESPACE}`")]
    Namespace,
    /// The signed text differs, or was changed.
    #[error("it is not of this version of this app")]
    OtherText,
}

/// Returns the signed text for a version: a signature is valid for one app and one content only.
#[must_use]
pub fn version_message(app: &AppName, version: &VersionId) -> String {
    format!("{NAMESPACE}\napp {app}\nversion {version}\n")
}

/// Hash of the signed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn of_name(name: &[u8]) -> Option<Self> {
        match name {
            b"sha256" => Some(Self::Sha256),
            b"sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// Signature in OpenSSH's form, unchecked until [`Signature::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    key: SignerKey,
    hash: Hash,
    bytes: [u8; 64],
}

impl Signature {
    /// Makes a signature from the signature `bytes` of a text's [`SignedData`].
    pub(super) fn new(key: &SignerKey, bytes: [u8; 64]) -> Self {
        Self { key: key.clone(), hash: Hash::Sha512, bytes }
    }

    /// Returns the key named in the signature.
    #[must_use]
    pub fn key(&self) -> &SignerKey {
        &self.key
    }

    /// Checks that the signature is of this version of this app, and by its key.
    ///
    /// # Errors
    /// [`BadSignature::OtherText`].
    pub fn check(&self, app: &AppName, version: &VersionId) -> Result<(), BadSignature> {
        let data = signed_data(self.hash, &version_message(app, version));
        let key = UnparsedPublicKey::new(&ED25519, self.key.as_bytes());
        key.verify(&data, &self.bytes).map_err(|_unspecified| BadSignature::OtherText)
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = [MAGIC, &FORMAT.to_be_bytes()].concat();
        let mut signature = Vec::with_capacity(83);
        put_string(&mut signature, KIND.as_bytes());
        put_string(&mut signature, &self.bytes);
        put_string(&mut blob, &self.key.blob());
        for field in [NAMESPACE.as_bytes(), b"", self.hash.name().as_bytes(), &signature] {
            put_string(&mut blob, field);
        }
        blob
    }

    fn of_blob(blob: &[u8]) -> Result<Self, BadSignature> {
        let mut reader = Reader(blob);
        let fields = (|| {
            let is_it = reader.take(MAGIC.len())? == MAGIC && reader.number()? == FORMAT;
            let fields = [reader.string()?, reader.string()?, reader.string()?, reader.string()?, reader.string()?];
            (is_it && reader.is_at_end()).then_some(fields)
        })();
        let [key, namespace, _reserved, hash, signature] = fields.ok_or(BadSignature::Form)?;
        if namespace != NAMESPACE.as_bytes() {
            return Err(BadSignature::Namespace);
        }
        let key = SignerKey::of_blob(key).ok_or(BadSignature::Kind)?;
        let hash = Hash::of_name(hash).ok_or(BadSignature::Kind)?;
        let mut signature = Reader(signature);
        let bytes = (|| {
            let is_kind = signature.string()? == KIND.as_bytes();
            let bytes: [u8; 64] = signature.string()?.try_into().ok()?;
            (is_kind && signature.is_at_end()).then_some(bytes)
        })();
        Ok(Self { key, hash, bytes: bytes.ok_or(BadSignature::Kind)? })
    }
}

/// Data signed by a key for a text.
#[derive(Debug)]
pub struct SignedData(pub(super) Vec<u8>);

impl SignedData {
    /// Makes the data for a text.
    #[must_use]
    pub fn of(message: &str) -> Self {
        Self(signed_data(Hash::Sha512, message))
    }
}

/// Returns the data with the hash of a text, bound to the namespace.
fn signed_data(hash: Hash, message: &str) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    put_string(&mut data, NAMESPACE.as_bytes());
    put_string(&mut data, b"");
    put_string(&mut data, hash.name().as_bytes());
    let algorithm = match hash {
        Hash::Sha256 => &SHA256,
        Hash::Sha512 => &SHA512,
    };
    put_string(&mut data, digest(algorithm, message.as_bytes()).as_ref());
    data
}

/// Returns the `signers` of a version, each once, in order.
#[must_use]
pub fn signed_by<'s>(
    signers: &'s [SignerKey],
    signatures: &[Signature],
    app: &AppName,
    version: &VersionId,
) -> Vec<&'s SignerKey> {
    let by = |signer: &SignerKey| {
        let mut own = signatures.iter().filter(|signature| signature.key == *signer);
        own.any(|signature| signature.check(app, version).is_ok())
    };
    let mut found: Vec<&SignerKey> = Vec::new();
    for signer in signers {
        if !found.contains(&signer) && by(signer) {
            found.push(signer);
        }
    }
    found
}

impl FromStr for Signature {
    type Err = BadSignature;

    fn from_str(text: &str) -> Result<Self, BadSignature> {
        if text.len() > SIGNATURE_BYTES_MAX {
            return Err(BadSignature::Form);
        }
        let inner = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let inner: String = inner.ok_or(BadSignature::Form)?.split_ascii_whitespace().collect();
        Self::of_blob(&STANDARD.decode(inner).map_err(|_not_base64| BadSignature::Form)?)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{BEGIN}")?;
        for (at, character) in STANDARD.encode(self.blob()).chars().enumerate() {
            if at > 0 && at % COLUMNS == 0 {
                f.write_str("\n")?;
            }
            write!(f, "{character}")?;
        }
        writeln!(f, "\n{END}")
    }
}

/// Signature in JSON: the text written by `ssh-keygen -Y sign`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignatureText(pub Signature);

impl FromStr for SignatureText {
    type Err = BadSignature;

    fn from_str(text: &str) -> Result<Self, BadSignature> {
        text.parse().map(Self)
    }
}

impl fmt::Display for SignatureText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_form!(SignatureText, BadSignature);
