//! Signatures of versions, signers required by an environment, and the chained log of an environment's live versions.

use serde::{Deserialize, Serialize};

use super::history::DeployKind;
use crate::digest::{Digest, VersionId};
use crate::names::{AppName, PlaceName};
use crate::signing::{SignatureText, SignerKey};

/// Context of the hashes of a live log, which separates the hashes from other BLAKE3 hashes.
const LIVE_LOG_CONTEXT: &str = "devanture 2026-11-27 entry of a live log";

/// `POST /v1/apps/{app}/versions/{id}/signatures`: a signature of a stored version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// Signature, in the format of `ssh-keygen -Y sign`.
    pub signature: SignatureText,
}

/// Signature of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSignature {
    /// Signing key.
    pub key: SignerKey,
    /// Fingerprint of the key, as printed by `ssh-keygen -l`.
    pub fingerprint: String,
    /// Name of the token or account behind the upload.
    pub who: String,
    /// Arrival time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Signature, in the format of `ssh-keygen -Y sign`.
    pub signature: SignatureText,
}

/// `GET /v1/apps/{app}/versions/{id}/signatures`: the signatures of a version, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSignatures {
    /// The app.
    pub app: AppName,
    /// The version.
    pub version: VersionId,
    /// Signatures.
    pub signatures: Vec<VersionSignature>,
}

/// `PUT /v1/apps/{app}/environments/{env}/signers`: sets the signers required by an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignersRequest {
    /// Public keys; if empty, versions need no signature.
    pub signers: Vec<SignerKey>,
    /// Number of signers required for a version; by default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signatures_min: Option<u64>,
}

/// `GET /v1/apps/{app}/environments/{env}/signers`: the signers required by an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signers {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Public keys; if empty, versions need no signature.
    pub signers: Vec<SignerKey>,
    /// Number of signers required for a version.
    pub signatures_min: u64,
    /// Name of the token or account behind the last change, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Time of the last change, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// State of the live version's signatures, if signatures are required and a version is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Signed>,
}

/// Response to a change of signers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignersReport {
    /// True for a dry run.
    pub dry_run: bool,
    /// True if the request changed the signers, or would in a dry run.
    pub changed: bool,
    /// Signers after the change.
    #[serde(flatten)]
    pub signers: Signers,
}

/// State of a version's signatures, compared with the signers of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// True if enough signers signed the version.
    pub is_enough: bool,
    /// Signers of the version: comments and fingerprints.
    pub signed_by: Vec<String>,
    /// Number of signers required for a version.
    pub signatures_min: u64,
}

/// Entry of a live log: a version went live with the settings of the time, or an unsigned change was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveLogEntry {
    /// Number: one more than the number of the previous entry.
    pub number: u64,
    /// Hash of the previous entry; `None` for the first entry.
    pub previous: Option<Digest>,
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The version.
    pub version: VersionId,
    /// Revision of the environment's settings; 0 without settings.
    pub settings: u64,
    /// Deploy, or change of settings; for [`DeployKind::Change`] the operation of the API.
    pub deploy: String,
    /// Kind.
    pub kind: DeployKind,
    /// Name of the token or account.
    pub who: String,
    /// Fingerprints of the version's signing keys; only keys of the environment's signers, if the environment has
    /// signers.
    pub signed_by: Vec<String>,
    /// Hash of all other fields, with the app and the environment.
    pub hash: Digest,
}

/// Change of the live version, before its place in the log is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WentLive {
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The version.
    pub version: VersionId,
    /// Revision of the environment's settings.
    pub settings: u64,
    /// Deploy, or change of settings; for [`DeployKind::Change`] the operation of the API.
    pub deploy: String,
    /// Kind.
    pub kind: DeployKind,
    /// Name of the token or account.
    pub who: String,
    /// Fingerprints of the version's signing keys.
    pub signed_by: Vec<String>,
}

impl LiveLogEntry {
    /// Makes the entry after `previous`, a number and a hash.
    #[must_use]
    pub fn after(
        (app, environment): (&AppName, &PlaceName),
        previous: Option<(u64, Option<Digest>)>,
        what: WentLive,
    ) -> Self {
        let WentLive { at_ms, version, settings, deploy, kind, who, signed_by } = what;
        let (number, previous) = previous.map_or((1, None), |(number, hash)| (number.saturating_add(1), hash));
        let hash = Digest::of(b"");
        let entry = Self { number, previous, at_ms, version, settings, deploy, kind, who, signed_by, hash };
        Self { hash: entry.hashed(app, environment), ..entry }
    }

    /// Returns the hash of the entry: keyed BLAKE3 with a context, of a JSON array.
    #[must_use]
    pub fn hashed(&self, app: &AppName, environment: &PlaceName) -> Digest {
        let Self { number, previous, at_ms, version, settings, deploy, kind, who, signed_by, hash: _ } = self;
        let array = serde_json::json!([
            app,
            environment,
            number,
            previous,
            at_ms,
            version,
            settings,
            deploy,
            kind,
            who,
            signed_by
        ]);
        Digest::from(blake3::derive_key(LIVE_LOG_CONTEXT, array.to_string().as_bytes()))
    }
}

/// `GET /v1/apps/{app}/environments/{env}/live-log`: the history of live versions, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveLog {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The entries.
    pub entries: Vec<LiveLogEntry>,
    /// `after` of the next page, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Position of a break in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenLog {
    /// An entry differs from the written content.
    #[error("the entry {0} was changed: its hash is another one")]
    Changed(u64),
    /// An entry does not follow the previous entry.
    #[error("the entry {0} does not follow the one before it: entries were removed, added or exchanged")]
    Order(u64),
}

/// Checks the hash of each entry, and the link to the previous entry.
///
/// # Errors
/// [`BrokenLog`].
pub fn check_live_log(
    (app, environment): (&AppName, &PlaceName),
    before: Option<&LiveLogEntry>,
    entries: &[LiveLogEntry],
) -> Result<(), BrokenLog> {
    let mut before = before;
    for entry in entries {
        if entry.hashed(app, environment) != entry.hash {
            return Err(BrokenLog::Changed(entry.number));
        }
        let follows = match before {
            Some(before) => entry.number == before.number.saturating_add(1) && entry.previous == Some(before.hash),
            // The entry before the first stored entry is unknown.
            None => (entry.number == 1) == entry.previous.is_none(),
        };
        if !follows {
            return Err(BrokenLog::Order(entry.number));
        }
        before = Some(entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: u64) -> Vec<LiveLogEntry> {
        let mut entries: Vec<LiveLogEntry> = Vec::new();
        for number in 0..count {
            let what = WentLive {
                at_ms: number,
                version: VersionId::of(&number.to_be_bytes()),
                settings: 0,
                deploy: format!("d{number}"),
                kind: DeployKind::Push,
                who: "ci".to_owned(),
                signed_by: vec!["SHA256:x".to_owned()],
            };
            let last = entries.last().map(|last| (last.number, Some(last.hash)));
            entries.push(LiveLogEntry::after((&"shop".parse().unwrap(), &PlaceName::prod()), last, what));
        }
        entries
    }

    fn check(entries: &[LiveLogEntry]) -> Result<(), BrokenLog> {
        check_live_log((&"shop".parse().unwrap(), &PlaceName::prod()), None, entries)
    }

    #[test]
    fn a_log_is_whole_from_any_entry_on() {
        let entries = log(4);
        for from in 0..4 {
            assert_eq!(check(&entries[from..]), Ok(()));
        }
        let shop: AppName = "shop".parse().unwrap();
        assert_eq!(check_live_log((&shop, &PlaceName::prod()), Some(&entries[1]), &entries[2..]), Ok(()));
    }

    #[test]
    fn what_was_changed_removed_or_exchanged_is_found() {
        let entries = log(4);
        let mut changed = entries.clone();
        changed[2].who = "eve".to_owned();
        assert_eq!(check(&changed), Err(BrokenLog::Changed(3)));
        let mut removed = entries.clone();
        removed.remove(1);
        assert_eq!(check(&removed), Err(BrokenLog::Order(3)));
        let mut exchanged = entries.clone();
        exchanged.swap(1, 2);
        assert_eq!(check(&exchanged), Err(BrokenLog::Order(3)));
        // A log of another environment fails the check.
        let (app, staging) = ("shop".parse().unwrap(), "staging".parse().unwrap());
        assert_eq!(check_live_log((&app, &staging), None, &entries), Err(BrokenLog::Changed(1)));
        // A log rewritten from the second entry on does not continue a copy of the original.
        let mut forged = log(3);
        forged[0].at_ms = 9;
        forged[0].hash = forged[0].hashed(&app, &PlaceName::prod());
        assert_eq!(check_live_log((&app, &PlaceName::prod()), Some(&entries[2]), &entries[3..]), Ok(()));
        assert_eq!(
            check_live_log((&app, &PlaceName::prod()), Some(&forged[0]), &entries[1..]),
            Err(BrokenLog::Order(2))
        );
    }
}
