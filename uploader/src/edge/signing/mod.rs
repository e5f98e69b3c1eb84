//! Keys that sign versions: private keys in files, and keys in `ssh-agent`.

mod agent;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use devanture_config::problem::Code;
use devanture_config::signing::{BadPrivateKey, PrivateKey, Signature, SignatureText, SignerKey, version_message};
use devanture_config::{AppName, VersionId};

use crate::output::exit::Failure;
use crate::signals::blocking;

/// Most bytes of a file with a key, or with a list of public keys.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The possible names of a key.
const FORMS: &str = "a file as `ssh-keygen -t ed25519` makes it, or one with its public key, for ssh-agent";

/// A signing key.
#[derive(Debug)]
pub(crate) enum SigningKey {
    /// A private key.
    Private(Box<PrivateKey>),
    /// A key in `ssh-agent`, with the file of the private key if that is encrypted.
    Agent(SignerKey, Option<String>),
}

impl SigningKey {
    /// Reads the named keys: files, or public keys themselves.
    ///
    /// # Errors
    /// `usage`.
    pub(crate) async fn read_all(named: &[String]) -> Result<Arc<[Self]>, Failure> {
        let named = named.to_vec();
        blocking(move || named.iter().map(|key| Self::read(key)).collect()).await
    }

    fn read(named: &str) -> Result<Self, Failure> {
        if named.starts_with("ssh-") {
            return Ok(Self::Agent(public_key(named, named)?, None));
        }
        let text = read_text(named)?;
        if let Some(line) = text.lines().map(str::trim).find(|line| line.starts_with("ssh-")) {
            return Ok(Self::Agent(public_key(line, named)?, None));
        }
        match PrivateKey::parse(&text) {
            Ok(key) => Ok(Self::Private(Box::new(key))),
            Err(BadPrivateKey::Encrypted(key)) => Ok(Self::Agent(key, Some(named.to_owned()))),
            Err(error) => {
                let message = format!("The key {named} cannot be used: {error}.");
                Err(Failure::new(Code::Usage, message).hint(FORMS))
            }
        }
    }

    /// Returns the public key.
    pub(crate) fn public(&self) -> &SignerKey {
        match self {
            Self::Private(key) => key.public(),
            Self::Agent(key, _) => key,
        }
    }

    /// Signs a version. A key in `ssh-agent` may wait for a person.
    ///
    /// # Errors
    /// `usage` if `ssh-agent` does not sign.
    pub(crate) fn sign(&self, app: &AppName, version: &VersionId) -> Result<SignatureText, Failure> {
        let message = version_message(app, version);
        let signature = match self {
            Self::Private(key) => key.sign(&message),
            Self::Agent(key, file) => {
                agent::sign(key, &message).map_err(|why| not_by_agent(key, file.as_deref(), &why))?
            }
        };
        Ok(SignatureText(checked(signature, app, version)?))
    }
}

/// Checks a signature, since an agent may answer with any bytes.
fn checked(signature: Signature, app: &AppName, version: &VersionId) -> Result<Signature, Failure> {
    match signature.check(app, version) {
        Ok(()) => Ok(signature),
        Err(_) => Err(Failure::new(Code::Usage, "ssh-agent answered with a signature that does not hold.")),
    }
}

fn not_by_agent(key: &SignerKey, file: Option<&str>, why: &str) -> Failure {
    let message = match file {
        Some(file) => {
            format!("The key {file} is encrypted with a passphrase, and ssh-agent does not sign with it: {why}.")
        }
        None => format!("ssh-agent does not sign with the key {}: {why}.", key.named()),
    };
    Failure::new(Code::Usage, message).hint(format!("`ssh-add {}` gives the key to ssh-agent", file.unwrap_or("FILE")))
}

/// Signs a version with each of these keys, off the network threads.
///
/// # Errors
/// Like [`SigningKey::sign`].
pub(crate) async fn sign_all(
    keys: Arc<[SigningKey]>,
    app: AppName,
    version: VersionId,
) -> Result<Vec<SignatureText>, Failure> {
    let signed = tokio::task::spawn_blocking(move || keys.iter().map(|key| key.sign(&app, &version)).collect());
    signed.await.map_err(|error| Failure::new(Code::Internal, format!("Signing failed: {error}.")))?
}

/// Reads the named public keys: files with a key on each line, or the keys themselves.
///
/// # Errors
/// `usage`.
pub(crate) async fn public_keys(named: &[String]) -> Result<Vec<SignerKey>, Failure> {
    let named = named.to_vec();
    blocking(move || read_public_keys(&named)).await
}

fn read_public_keys(named: &[String]) -> Result<Vec<SignerKey>, Failure> {
    let mut keys = Vec::new();
    for one in named {
        if one.starts_with("ssh-") {
            keys.push(public_key(one, one)?);
            continue;
        }
        let text = read_text(one)?;
        let before = keys.len();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            keys.push(public_key(line, one)?);
        }
        if keys.len() == before {
            return Err(Failure::new(Code::Usage, format!("The file {one} holds no public key.")));
        }
    }
    Ok(keys)
}

fn public_key(text: &str, named: &str) -> Result<SignerKey, Failure> {
    text.parse().map_err(|error| {
        let place = if text == named { String::new() } else { format!("{named}: ") };
        Failure::new(Code::Usage, format!("{place}{error}.")).hint("`ssh-keygen -t ed25519` makes a pair of keys")
    })
}

/// Reads a text once, even from a file that is not plain, such as the pipe of `<(…)`.
fn read_text(named: &str) -> Result<String, Failure> {
    let bad = |why: String| Failure::new(Code::Usage, format!("The key {named} cannot be read: {why}.")).hint(FORMS);
    let file = File::open(Path::new(named)).map_err(|error| bad(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(bad(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}
