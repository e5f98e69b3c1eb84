//! Location of backups: a folder, or `s3://BUCKET/PREFIX`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use devanture_base::durable;
use devanture_config::Digest;
use devanture_config::problem::{Code, Problem};
use devanture_serve::proxy;
use devanture_store::blobs::Key;
use devanture_store::s3::{Bucket, Variables};
use devanture_store::{blobs, s3};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::ledger::{Error, lost};

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

// Layout of a backup location, a folder or a prefix of a bucket: a store of blobs and manifests, shared by all
// backups, and one folder per backup below `snapshots/`:
//
// * `catalog.redb`: records of one moment;
// * `tls/`: local authority, and ACME files;
// * `secrets.key`: keys that encrypt secrets, only if requested;
// * `snapshot.json`: description of the backup, written last: a backup without a description is incomplete. A backup
//   with an unreadable description still counts as a backup, and is never ignored.

/// Folder of the backups.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// Within a backup: records …
pub(super) const CATALOG: &str = "catalog.redb";
/// … keys …
pub(super) const KEYS: &str = "secrets.key";
/// … certificates …
pub(super) const TLS: &str = "tls";
/// … and description.
pub(super) const DESCRIPTION: &str = "snapshot.json";
/// Lock of the process that writes a backup.
pub(super) const LOCK: &str = "backup.lock";
/// Layout version.
const FORMAT: u32 = 1;
/// Owner only: hashes of tokens, and keys.
pub(super) const FILE_MODE: u32 = 0o600;
/// Largest small file, in bytes: a certificate, a key, a description.
pub(super) const SMALL_FILE_BYTES_MAX: u64 = 16 * 1_024 * 1_024;
/// Bytes per read.
const PIECE_BYTES: usize = 1_024 * 1_024;

/// Returns the path of a file of a backup.
pub(super) fn in_snapshot(name: &str, file: &str) -> String {
    format!("{SNAPSHOTS}/{name}/{file}")
}

/// `snapshot.json`: description of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackupDescription {
    /// Layout version.
    pub(super) format: u32,
    /// Start, in milliseconds since 1970 UTC.
    pub(super) at_ms: u64,
    /// Program that wrote the backup.
    pub(super) program: String,
    /// Revision of the catalog.
    pub(super) revision: u64,
    /// Versions.
    pub(super) versions: u64,
    /// Files of the versions.
    pub(super) files: u64,
    /// BLAKE3 of every other file in the backup's folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) hashes: BTreeMap<String, Digest>,
    /// True if the records were copied from a catalog with a damaged page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) catalog_damaged: bool,
}

impl BackupDescription {
    pub(super) fn new(at_ms: u64, revision: u64, versions: u64, files: u64, hashes: BTreeMap<String, Digest>) -> Self {
        let program = concat!("devanture-edge ", env!("CARGO_PKG_VERSION")).to_owned();
        Self { format: FORMAT, at_ms, program, revision, versions, files, hashes, catalog_damaged: false }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec_pretty(self).unwrap_or_default().into()
    }

    /// Parses the description of the backup `name`.
    pub(super) fn parse(name: &str, text: &[u8]) -> Result<Self, Error> {
        let description: Self = serde_json::from_slice(text).map_err(|error| {
            let detail = format!("The backup {name} cannot be read, as its {DESCRIPTION} is damaged: {error}.");
            bad(detail, "put a whole copy of that file in its place, or take another backup")
        })?;
        if description.format != FORMAT {
            let detail =
                format!("The backup {name} has the layout {}, and this program knows {FORMAT}.", description.format);
            return Err(bad(detail, "use a newer release, or take another backup"));
        }
        Ok(description)
    }

    /// Returns true if `copy` has the bytes of a file of the backup. Earlier releases recorded no hashes.
    pub(super) async fn is_of(&self, file: &str, copy: &Path) -> Result<bool, Error> {
        let Some(expected) = self.hashes.get(file) else { return Ok(true) };
        Ok(hash_of(copy).await? == *expected)
    }

    /// Checks a file of the backup `name` copied to `copy`.
    pub(super) async fn check(&self, name: &str, file: &str, copy: &Path) -> Result<(), Error> {
        if self.is_of(file, copy).await? {
            return Ok(());
        }
        Err(bad(format!("{file} of the backup {name} is damaged."), "take another backup: `--at` names one"))
    }
}

/// Returns the BLAKE3 of a file.
pub(super) async fn hash_of(path: &Path) -> Result<Digest, Error> {
    let path = path.to_owned();
    let hash = move || -> Result<Digest, Error> {
        let mut file = durable::open_file(&path).map_err(durable::failed("opening", &path)).map_err(not_read)?;
        let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; PIECE_BYTES]);
        loop {
            let read = file.read(&mut piece).map_err(durable::failed("reading", &path))?;
            if read == 0 {
                return Ok(Digest::from(hasher.finalize()));
            }
            hasher.update(piece.get(..read).unwrap_or_default());
        }
    };
    tokio::task::spawn_blocking(hash).await.map_err(|error| lost(&error))?
}

/// Problem with a backup location.
pub(super) fn bad(detail: impl Into<String>, hint: &str) -> Error {
    Problem::new(Code::BadRequest, detail).hint(hint).into()
}

/// Names an unreadable file and the reason, for example a link put into a folder by another user.
pub fn not_read(error: impl Into<blobs::Error>) -> Error {
    match error.into() {
        blobs::Error::Disk(ref error @ durable::Error::Io { ref source, .. })
            if source.kind() == std::io::ErrorKind::Other =>
        {
            bad(format!("{error}."), "look who put it there: only a file of the folder's owner may be there")
        }
        error => error.into(),
    }
}

/// Returns true for manifests.
pub(super) const fn is_manifest(key: Key) -> bool {
    matches!(key, Key::Manifest(_))
}
