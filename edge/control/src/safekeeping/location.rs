//! Location of backups: a folder, or `s3://BUCKET/PREFIX`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;

use super::layout::bad;
use crate::ledger::Error;
use devanture_serve::proxy;
use devanture_store::s3::{self, Bucket, Variables};

/// Location of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Local folder.
    Folder(PathBuf),
    /// Text that begins with `s3://`, a prefix of a bucket.
    S3(String),
}

impl Location {
    /// Parses a location.
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

/// Opens the bucket at `address`, with the variables of a request, or else of the process.
pub(super) fn bucket(address: &str, variables: &Variables) -> Result<(s3::Address, Bucket), Error> {
    let own = if variables.is_empty() { s3::own_variables() } else { Variables::new() };
    let variables = if variables.is_empty() { &own } else { variables };
    let address: s3::Address =
        address.parse().map_err(|error| bad(format!("{error}."), "write it as s3://BUCKET/PREFIX"))?;
    let bucket = Bucket::new(&address, variables, trust(variables)?)?;
    Ok((address, bucket))
}

/// Trusts the platform's roots, and the authorities in the file named by `AWS_CA_BUNDLE`.
///
/// # Errors
/// The file cannot be read, or has no certificates.
pub fn trust(variables: &Variables) -> Result<Arc<ClientConfig>, Error> {
    let settings = |reason| Error::from(s3::Error::Settings { reason });
    match variables.get("AWS_CA_BUNDLE") {
        Some(file) => proxy::tls::platform_and(Path::new(file.expose()))
            .map_err(|reason| settings(format!("AWS_CA_BUNDLE: {reason}"))),
        None => proxy::tls::platform().map_err(|error| settings(error.to_string())),
    }
}
