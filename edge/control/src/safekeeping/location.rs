//! Where backups are to lie, as it is written: a folder, or `s3://BUCKET/PREFIX`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;

use super::layout::bad;
use crate::ledger::Error;
use devanture_serve::proxy;
use devanture_store::s3::{self, Bucket, Variables};

/// A place for backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A text that begins with `s3://`, a prefix of a bucket.
    S3(String),
}

impl Location {
    /// The place that a text names.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if s3::Address::is_meant(text) { Self::S3(text.to_owned()) } else { Self::Folder(PathBuf::from(text)) }
    }
}

impl From<&str> for Location {
    fn from(text: &str) -> Self {
        Self::of(text)
    }
}

impl From<&Path> for Location {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::S3(address) => f.write_str(address),
        }
    }
}

/// Access to the bucket at `address`, by the variables of a request, or by those of this process where it has none.
pub(super) fn bucket(address: &str, variables: &Variables) -> Result<(s3::Address, Bucket), Error> {
    let own = if variables.is_empty() { s3::own_variables() } else { Variables::new() };
    let variables = if variables.is_empty() { &own } else { variables };
    let address: s3::Address =
        address.parse().map_err(|error| bad(format!("{error}."), "write it as s3://BUCKET/PREFIX"))?;
    let bucket = Bucket::new(&address, variables, trust(variables)?)?;
    Ok((address, bucket))
}

/// Trusts the platform's roots, and the authorities in the file that `AWS_CA_BUNDLE` names.
///
/// # Errors
/// Where that file cannot be read, or has no certificates.
pub fn trust(variables: &Variables) -> Result<Arc<ClientConfig>, Error> {
    let settings = |reason| Error::from(s3::Error::Settings { reason });
    match variables.get("AWS_CA_BUNDLE") {
        Some(file) => proxy::tls::platform_and(Path::new(file.expose()))
            .map_err(|reason| settings(format!("AWS_CA_BUNDLE: {reason}"))),
        None => proxy::tls::platform().map_err(|error| settings(error.to_string())),
    }
}
