//! The records of signatures: those of a version, whose an environment wants, and the log of what was live.

use devanture_config::signing::{Signature, SignatureText, SignerKey, signed_by};
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::words::StoredKind;
use crate::catalog::{Catalog, Error};
use crate::records;

/// `signers/{app}/{env}`: whose signatures an environment wants. Without it, versions need none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignersRecord {
    /// The public keys.
    pub signers: Vec<SignerKey>,
    /// How many of them have to have signed a version.
    pub signatures_min: u64,
    /// The name of the token or account that set them.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

impl SignersRecord {
    /// Whether as many signers are enough.
    #[must_use]
    pub fn is_enough(&self, by: usize) -> bool {
        u64::try_from(by).unwrap_or(u64::MAX) >= self.signatures_min
    }

    /// Whether a version has the signatures that are wanted.
    ///
    /// # Errors
    /// Where its signatures cannot be read.
    pub async fn admits(&self, catalog: &dyn Catalog, app: &AppName, version: &VersionId) -> Result<bool, Error> {
        let key = signatures_key(app, version);
        let Some(record) = catalog.get(&key).await? else { return Ok(self.is_enough(0)) };
        let stored = records::read::<SignaturesRecord>(&key, &record)?.signatures;
        let signatures: Vec<Signature> = stored.into_iter().map(|stored| stored.signature.0).collect();
        Ok(self.is_enough(signed_by(&self.signers, &signatures, app, version).len()))
    }
}

/// Whether a version may answer visitors of an environment beside what is live there: where it wants signatures, one
/// that has them alone. What was live stays no longer for its assets or for visitors who are held on it, a start loads
/// it no more, and no canary grows with it.
///
/// # Errors
/// Where a record cannot be read.
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

/// `signatures/{app}/{id}`: the signatures of a stored version. It goes with the version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignaturesRecord {
    /// The signatures, the oldest first, one for each key.
    pub signatures: Vec<StoredSignature>,
}

/// One signature of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSignature {
    /// The signature.
    pub signature: SignatureText,
    /// The name of the token or account that sent it.
    pub who: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// The prefix of what environments want, of all apps.
pub const SIGNERS_PREFIX: &str = "signers/";

/// The prefix of what the environments of an app want.
#[must_use]
pub fn signers_prefix(app: &AppName) -> String {
    format!("{SIGNERS_PREFIX}{app}/")
}

/// The key of whose signatures an environment wants.
#[must_use]
pub fn signers_key(app: &AppName, environment: &PlaceName) -> String {
    format!("{}{environment}", signers_prefix(app))
}

/// The key of the signatures of a version.
#[must_use]
pub fn signatures_key(app: &AppName, version: &VersionId) -> String {
    format!("signatures/{app}/{version}")
}

/// `live-log/{app}/{env}/{number}`: a version, and the settings that held with it, went live, or something that nobody
/// signs was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveLogRecord {
    /// Its number: one more than that of the entry before.
    pub number: u64,
    /// The hash of the entry before; `None` of the first one.
    pub previous: Option<Digest>,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The version.
    pub version: VersionId,
    /// The revision of the environment's settings; 0 where nothing was set.
    pub settings: u64,
    /// The deploy, or the change of settings; of [`StoredKind::Change`] the operation of the API.
    pub deploy: String,
    /// Its kind.
    pub kind: StoredKind,
    /// The name of the token or account.
    pub who: String,
    /// Fingerprints of the keys that had signed the version: of the environment's signers, where it has any.
    pub signed_by: Vec<String>,
    /// The hash of all that, with the app and the environment.
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
