//! Signatures of versions, whose signatures an environment wants, and the chained log of what was live in it.

use serde::{Deserialize, Serialize};

use super::history::DeployKind;
use crate::digest::{Digest, VersionId};
use crate::names::{AppName, PlaceName};
use crate::signing::{SignatureText, SignerKey};

/// Context of the hashes of a live log: no other BLAKE3 is one of these.
const LIVE_LOG_CONTEXT: &str = "devanture 2026-11-27 entry of a live log";

/// `POST /v1/apps/{app}/versions/{id}/signatures`: a signature of a stored version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// The signature, as `ssh-keygen -Y sign` writes it.
    pub signature: SignatureText,
}

/// One signature of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSignature {
    /// The key that it is by.
    pub key: SignerKey,
    /// The key's fingerprint, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The name of the token or account that sent it.
    pub who: String,
    /// When it came, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The signature, as `ssh-keygen -Y sign` writes it.
    pub signature: SignatureText,
}

/// `GET /v1/apps/{app}/versions/{id}/signatures`: the signatures of a version, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSignatures {
    /// The app.
    pub app: AppName,
    /// The version.
    pub version: VersionId,
    /// Its signatures.
    pub signatures: Vec<VersionSignature>,
}

/// `PUT /v1/apps/{app}/environments/{env}/signers`: whose signatures an environment wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignersRequest {
    /// The public keys; with none, versions need no signature.
    pub signers: Vec<SignerKey>,
    /// How many of them have to have signed a version; by default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signatures_min: Option<u64>,
}

/// `GET /v1/apps/{app}/environments/{env}/signers`: whose signatures an environment wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signers {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The public keys; with none, versions need no signature.
    pub signers: Vec<SignerKey>,
    /// How many of them have to have signed a version.
    pub signatures_min: u64,
    /// The name of the token or account that set them, where anybody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// When they were set, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// Whether the live version has the signatures, where signatures are wanted and something is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Signed>,
}

/// The answer to a change of signers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignersReport {
    /// Whether the change was only predicted.
    pub dry_run: bool,
    /// Whether anything changed, or would.
    pub changed: bool,
    /// The signers as they are now, or would be.
    #[serde(flatten)]
    pub signers: Signers,
}

/// Whether a version has the signatures that an environment wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Whether enough signers have signed it.
    pub is_enough: bool,
    /// The signers who have signed it: comments and fingerprints.
    pub signed_by: Vec<String>,
    /// How many of them have to.
    pub signatures_min: u64,
}

/// One entry of a live log: a version, and the settings that held with it, went live, or something that nobody signs
/// was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveLogEntry {
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
    /// The deploy, or the change of settings; of [`DeployKind::Change`] the operation of the API.
    pub deploy: String,
    /// Its kind.
    pub kind: DeployKind,
    /// The name of the token or account.
    pub who: String,
    /// Fingerprints of the keys that had signed the version: of the environment's signers, where it has any.
    pub signed_by: Vec<String>,
    /// The hash of all that, with the app and the environment.
    pub hash: Digest,
}

/// What went live, before it has its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WentLive {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The version.
    pub version: VersionId,
    /// The revision of the environment's settings.
    pub settings: u64,
    /// The deploy, or the change of settings; of [`DeployKind::Change`] the operation of the API.
    pub deploy: String,
    /// Its kind.
    pub kind: DeployKind,
    /// The name of the token or account.
    pub who: String,
    /// Fingerprints of the keys that had signed the version.
    pub signed_by: Vec<String>,
}

impl LiveLogEntry {
    /// The entry behind `previous`, which is a number and a hash.
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

    /// The hash of what the entry says: BLAKE3, in its mode for keys with a context, of a JSON array.
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

/// `GET /v1/apps/{app}/environments/{env}/live-log`: what was live when, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveLog {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The entries.
    pub entries: Vec<LiveLogEntry>,
    /// The `after` of the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Says where a chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenLog {
    /// An entry is not as it was written.
    #[error("the entry {0} was changed: its hash is another one")]
    Changed(u64),
    /// An entry does not follow the one before it.
    #[error("the entry {0} does not follow the one before it: entries were removed, added or exchanged")]
    Order(u64),
}

/// Checks that each entry is as it was written, and follows the one before.
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
            // What was before the first that is kept is not known.
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
        // A log of another environment is not this one's.
        let (app, staging) = ("shop".parse().unwrap(), "staging".parse().unwrap());
        assert_eq!(check_live_log((&app, &staging), None, &entries), Err(BrokenLog::Changed(1)));
        // One that was written again from the second entry on does not follow what somebody kept.
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
