//! Records of signatures: of a version, of the required signers of an environment, and of the log of live versions.

use devanture_config::signing::{Signature, SignatureText, SignerKey, signed_by};
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::words::StoredKind;
use crate::catalog::{Catalog, Error};
use crate::records;

/// `signers/{app}/{env}`: the required signers of an environment. Without the record, versions need no signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignersRecord {
    /// The public keys.
    pub signers: Vec<SignerKey>,
    /// Number of signers that have to have signed a version.
    pub signatures_min: u64,
    /// The name of the token or account that set the signers.
    pub who: String,
    /// Time of the change, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

impl SignersRecord {
    /// Returns true if the number of signers is sufficient.
    #[must_use]
    pub fn is_enough(&self, by: usize) -> bool {
        u64::try_from(by).unwrap_or(u64::MAX) >= self.signatures_min
    }

    /// Returns true if a version has the required signatures.
    ///
    /// # Errors
    /// An error if the signatures of the version cannot be read.
    pub async fn admits(&self, catalog: &dyn Catalog, app: &AppName, version: &VersionId) -> Result<bool, Error> {
        let key = signatures_key(app, version);
        let Some(record) = catalog.get(&key).await? else { return Ok(self.is_enough(0)) };
        let stored = records::read::<SignaturesRecord>(&key, &record)?.signatures;
        let signatures: Vec<Signature> = stored.into_iter().map(|stored| stored.signature.0).collect();
        Ok(self.is_enough(signed_by(&self.signers, &signatures, app, version).len()))
    }
}

/// Returns true if a version may answer visitors of an environment beside the live version: with required signers, only
/// a version with the required signatures. An unsigned earlier version is not used any more for its assets or for
/// pinned visitors, a start does not load it, and a canary does not grow with it.
///
/// # Errors
/// An error if a record cannot be read.
pub async fn may_answer(
    catalog: &dyn Catalog,
    (app, environment): (&AppName, &PlaceName),
    version: &VersionId,
) -> Result<bool, Error> {
    let key = signers_key(app, environment);
    match catalog.get(&key).await? {
        Some(record) => records::read::<SignersRecord>(&key, &record)?.admits(catalog, app, version).await,
        None => Ok(true),
    }
}

/// `signatures/{app}/{id}`: the signatures of a stored version, removed with the version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignaturesRecord {
    /// The signatures, oldest first, one for each key.
    pub signatures: Vec<StoredSignature>,
}

/// A signature of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSignature {
    /// The signature.
    pub signature: SignatureText,
    /// The name of the token or account that sent the signature.
    pub who: String,
    /// Time of the signature, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// The prefix of the required signers of all apps.
pub const SIGNERS_PREFIX: &str = "signers/";

/// Returns the prefix of the required signers of an app's environments.
#[must_use]
pub fn signers_prefix(app: &AppName) -> String {
    format!("{SIGNERS_PREFIX}{app}/")
}

/// Returns the key of the required signers of an environment.
#[must_use]
pub fn signers_key(app: &AppName, environment: &PlaceName) -> String {
    format!("{}{environment}", signers_prefix(app))
}

/// The key of the signatures of a version.
#[must_use]
pub fn signatures_key(app: &AppName, version: &VersionId) -> String {
    format!("signatures/{app}/{version}")
}

/// `live-log/{app}/{env}/{number}`: a version and its settings went live, or an unsigned part of the environment was
/// changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveLogRecord {
    /// The number: one more than the previous entry's.
    pub number: u64,
    /// The hash of the previous entry; `None` for the first.
    pub previous: Option<Digest>,
    /// Time of the entry, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The version.
    pub version: VersionId,
    /// The revision of the environment's settings; 0 without settings.
    pub settings: u64,
    /// The deploy, or the change of settings; for [`StoredKind::Change`] the operation of the API.
    pub deploy: String,
    /// The kind.
    pub kind: StoredKind,
    /// The name of the token or account.
    pub who: String,
    /// Fingerprints of the keys that had signed the version: only keys of the environment's signers, if there are any.
    pub signed_by: Vec<String>,
    /// The hash of all members above, with the app and the environment.
    pub hash: Digest,
}

/// The prefix of the live log of an environment.
#[must_use]
pub fn live_log_prefix(app: &AppName, environment: &PlaceName) -> String {
    format!("live-log/{app}/{environment}/")
}

/// The key of an entry of a live log.
#[must_use]
pub fn live_log_key(app: &AppName, environment: &PlaceName, number: u64) -> String {
    format!("{}{number:016}", live_log_prefix(app, environment))
}
