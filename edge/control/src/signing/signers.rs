//! Signatures of versions, the required signers of environments, and the signature check of every switch.

use devanture_config::api::{Signed, Signers, SignersReport, SignersRequest, VersionSignature, VersionSignatures};
use devanture_config::problem::{Code, Problem};
use devanture_config::signing::{Signature, SignatureText, SignerKey, signed_by};
use devanture_config::text::counted;
use devanture_config::{AppName, PlaceName, VersionId};

use super::Signing;
use crate::ledger::{Action, Actor, AuditEvent, Error, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::gone;
use devanture_store::records::signing::{
    SignaturesRecord, SignersRecord, StoredSignature, signatures_key, signers_key, signers_prefix,
};
use devanture_store::records::{self, LivePointer, PinsRecord};

/// Result of checking the signatures of a version in an environment.
pub(crate) struct SignedThere {
    /// Checks that the required signers are unchanged at the commit. Signatures of signers are only deleted with the
    /// version, and the commit holds the version. Signatures of strangers may arrive at any time and delay no switch.
    pub(crate) checks: Vec<Check>,
    /// Fingerprints of the keys with a valid signature; only signers of the environment, if the environment has
    /// signers.
    pub(crate) by: Vec<String>,
}

impl Signing {
    /// Checks that a version has the signatures required by an environment. A version that `is_live` stays live without
    /// signatures: an environment with new requirements continues to serve, also after a restart.
    ///
    /// # Errors
    /// `not_signed`. With an unreadable record, no version goes live.
    pub(crate) async fn signed(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: &VersionId,
        is_live: bool,
    ) -> Result<SignedThere, Error> {
        let (wanted_at, wanted) = self.signers_record(app, environment).await?.unzip();
        let (_, signatures) = self.signatures_record(app, version).await?;
        let checks = vec![Check::of(signers_key(app, environment), wanted_at)];
        let signatures: Vec<Signature> = signatures.into_iter().map(|stored| stored.signature.0).collect();
        let Some(wanted) = wanted else {
            let valid = signatures.iter().filter(|signature| signature.check(app, version).is_ok());
            return Ok(SignedThere { checks, by: valid.map(|signature| signature.key().fingerprint()).collect() });
        };
        let by = signed_by(&wanted.signers, &signatures, app, version);
        if !is_live {
            check_enough(environment, version, &wanted, &by).map_err(|Error(mut problem)| {
                // The version is stored, and signers look at the preview before signing.
                let preview = self.places.urls(app, environment, version).preview;
                problem.detail.push_str(&format!(" Its preview: {preview}"));
                Error(problem)
            })?;
        }
        Ok(SignedThere { checks, by: by.into_iter().map(SignerKey::fingerprint).collect() })
    }

    /// Checks that a version to be pushed with these signatures satisfies an environment.
    ///
    /// # Errors
    /// `not_signed`.
    pub(crate) async fn predict_signed(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: &VersionId,
        given: &[SignatureText],
    ) -> Result<(), Error> {
        let Some((_, wanted)) = self.signers_record(app, environment).await? else { return Ok(()) };
        let (_, stored) = self.signatures_record(app, version).await?;
        let stored = stored.into_iter().map(|stored| stored.signature.0);
        let signatures: Vec<Signature> = stored.chain(given.iter().map(|given| given.0.clone())).collect();
        let by = signed_by(&wanted.signers, &signatures, app, version);
        check_enough(environment, version, &wanted, &by)
    }

    /// Returns the signing state of the live version of an environment; `None` if no signatures are required.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn signed_live(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: &VersionId,
    ) -> Result<Option<Signed>, Error> {
        let Some((_, wanted)) = self.signers_record(app, environment).await? else { return Ok(None) };
        Ok(Some(self.signed_of(app, version, &wanted).await?))
    }

    async fn signed_of(&self, app: &AppName, version: &VersionId, wanted: &SignersRecord) -> Result<Signed, Error> {
        let (_, signatures) = self.signatures_record(app, version).await?;
        let signatures: Vec<Signature> = signatures.into_iter().map(|stored| stored.signature.0).collect();
        let by = signed_by(&wanted.signers, &signatures, app, version);
        Ok(Signed {
            is_enough: wanted.is_enough(by.len()),
            signed_by: by.into_iter().map(SignerKey::named).collect(),
            signatures_min: wanted.signatures_min,
        })
    }

    /// Returns the required signers of an environment.
    ///
    /// # Errors
    /// `not_found` for an unknown app.
    pub async fn signers(&self, app: &AppName, environment: &PlaceName) -> Result<Signers, Error> {
        self.ledger.must_exist(app).await?;
        let record = self.signers_record(app, environment).await?.map(|(_, record)| record);
        self.signers_of((app, environment), record).await
    }

    async fn signers_of(
        &self,
        (app, environment): (&AppName, &PlaceName),
        record: Option<SignersRecord>,
    ) -> Result<Signers, Error> {
        let live = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
        let live = match (live.filter(LivePointer::is_known), &record) {
            (Some(pointer), Some(wanted)) => Some(self.signed_of(app, &pointer.version, wanted).await?),
            (_, _) => None,
        };
        let (app, environment) = (app.clone(), environment.clone());
        Ok(match record {
            Some(SignersRecord { signers, signatures_min, who, at_ms }) => {
                Signers { app, environment, signers, signatures_min, who: Some(who), at_ms: Some(at_ms), live }
            }
            None => Signers { app, environment, signers: Vec::new(), signatures_min: 0, who: None, at_ms: None, live },
        })
    }

    /// Sets the required signers of an environment; an empty list ends the requirement. The live version stays live.
    /// With `dry_run`, only reports the effect.
    ///
    /// # Errors
    /// `bad_request`, `not_found` for an unknown app, `too_many`.
    pub async fn set_signers(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        wanted: &SignersRequest,
        dry_run: bool,
    ) -> Result<SignersReport, Error> {
        let signatures_min = self.check_signers(wanted)?;
        let key = signers_key(app, environment);
        update(&key, || async {
            self.ledger.must_exist(app).await?;
            let (at, before) = self.signers_record(app, environment).await?.unzip();
            let record = (!wanted.signers.is_empty()).then(|| SignersRecord {
                signers: wanted.signers.clone(),
                signatures_min,
                who: actor.name.clone(),
                at_ms: clock::now_ms(),
            });
            let texts = |record: &SignersRecord| record.signers.iter().map(ToString::to_string).collect::<Vec<_>>();
            let said = |record: &Option<SignersRecord>| record.as_ref().map(|r| (r.signatures_min, texts(r)));
            let changed = said(&before) != said(&record);
            if dry_run || !changed {
                let shown = if changed { record } else { before };
                let signers = self.signers_of((app, environment), shown).await?;
                return Ok(Some(SignersReport { dry_run, changed, signers }));
            }
            let mut commit = Commit {
                checks: vec![
                    Check::of(key.clone(), at),
                    Check::Absent(records::alias_key(app, environment)),
                    Check::Absent(gone::deleted_app_key(app)),
                ],
                changes: Vec::new(),
            };
            let (what, _making) = match &record {
                Some(record) => {
                    commit.changes.push(Change::Put(key.clone(), records::write(record)?));
                    self.release_unsigned((app, environment), record, &mut commit).await?;
                    let making = self.places.make_environment(app, environment, at.is_some()).await?;
                    (wants(record), making)
                }
                None => {
                    commit.changes.push(Change::Delete(key.clone()));
                    ("versions need no signature".to_owned(), None)
                }
            };
            let event = AuditEvent::of(Action::SetSigners).place(app, environment).what(&what);
            if !self.ledger.commit(actor, event, commit).await? {
                return Ok(None);
            }
            tracing::info!(%app, %environment, who = actor.name, what, "signers were set");
            // From here on, no unsigned version serves requests, neither for assets nor for pinned visitors.
            if let Some((revision, _)) = self.signers_record(app, environment).await? {
                self.ledger.live.wait_for(revision).await;
            }
            let signers = self.signers_of((app, environment), record).await?;
            Ok(Some(SignersReport { dry_run, changed, signers }))
        })
        .await
    }

    /// Unpins visitors from earlier versions without the newly required signatures. A concurrent switch fails on its
    /// check of the signers.
    async fn release_unsigned(
        &self,
        (app, environment): (&AppName, &PlaceName),
        wanted: &SignersRecord,
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let Some((revision, pointer)) = self.ledger.live_pointer(app, environment).await? else { return Ok(()) };
        let Some(pins) = &pointer.pins else { return Ok(()) };
        let mut signed = Vec::new();
        for version in &pins.earlier {
            let is_enough = wanted.admits(&*self.ledger.catalog, app, version).await.unwrap_or(false);
            signed.extend(is_enough.then_some(*version));
        }
        if signed.len() == pins.earlier.len() {
            return Ok(());
        }
        let (key, pins) = (records::live_key(app, environment), PinsRecord::after(Some(pins), signed));
        commit.checks.push(Check::At(key.clone(), revision));
        commit.changes.push(Change::Put(key, records::write(&LivePointer { pins: Some(pins), ..pointer })?));
        Ok(())
    }

    /// Checks a request on its own. Returns the number of signatures required per version.
    fn check_signers(&self, wanted: &SignersRequest) -> Result<u64, Error> {
        let (signers, max) = (&wanted.signers, self.ledger.limits().signers_per_environment_max);
        if count(signers.len()) > max {
            let detail = format!("{} are too many; {max} are allowed.", counted(signers.len(), "signer"));
            let hint = "`signers_per_environment_max` in edge.toml is the limit";
            return Err(Problem::new(Code::TooMany, detail).hint(hint).into());
        }
        let twice = signers.iter().enumerate().find(|(at, key)| signers.iter().take(*at).any(|other| other == *key));
        if let Some((_, key)) = twice {
            let detail = format!("The key {} stands twice among the signers.", key.fingerprint());
            return Err(Problem::new(Code::BadRequest, detail).hint("a signer counts once").into());
        }
        let signatures_min = wanted.signatures_min.unwrap_or(1);
        if !signers.is_empty() && !(1..=count(signers.len())).contains(&signatures_min) {
            let detail = format!("Of {}, {signatures_min} cannot sign a version.", counted(signers.len(), "signer"));
            return Err(Problem::new(Code::BadRequest, detail)
                .hint("`signatures_min` is 1 at least, and the number of signers at most")
                .into());
        }
        Ok(signatures_min)
    }

    /// Returns the signatures of a stored version.
    ///
    /// # Errors
    /// `not_found`, `version_collected`.
    pub async fn signatures(&self, app: &AppName, version: &VersionId) -> Result<VersionSignatures, Error> {
        self.ledger.must_be_stored(app, version).await?;
        let (_, stored) = self.signatures_record(app, version).await?;
        let signatures = stored.into_iter().map(|StoredSignature { signature, who, at_ms }| VersionSignature {
            key: signature.0.key().clone(),
            fingerprint: signature.0.key().fingerprint(),
            who,
            at_ms,
            signature,
        });
        Ok(VersionSignatures { app: app.clone(), version: *version, signatures: signatures.collect() })
    }

    /// Adds signatures to a stored version; a further signature of the same key replaces the first.
    ///
    /// # Errors
    /// `bad_signature`, `not_found`, `version_collected`, `too_many`.
    pub(crate) async fn add_signatures(
        &self,
        actor: &Actor,
        app: &AppName,
        version: &VersionId,
        signatures: &[SignatureText],
    ) -> Result<(), Error> {
        self.check_signatures(app, version, signatures)?;
        let key = signatures_key(app, version);
        update(&key, || async {
            let (at, mut stored) = self.signatures_record(app, version).await?;
            let is_there = |signature: &SignatureText| stored.iter().any(|one| one.signature == *signature);
            let new: Vec<&SignatureText> = signatures.iter().filter(|signature| !is_there(signature)).collect();
            if new.is_empty() {
                return Ok(Some(()));
            }
            let mut commit = Commit::default();
            // Prevents adding a signature to a version deleted meanwhile.
            self.ledger.hold_version(&mut commit, app, version, false).await?;
            for signature in &new {
                stored.retain(|one| one.signature.0.key() != signature.0.key());
                let (signature, who) = ((*signature).clone(), actor.name.clone());
                stored.push(StoredSignature { signature, who, at_ms: clock::now_ms() });
            }
            self.make_room(app, &mut stored).await?;
            let names: Vec<String> = new.iter().map(|signature| signature.0.key().fingerprint()).collect();
            commit.checks.push(Check::of(key.clone(), at));
            let record = SignaturesRecord { signatures: stored };
            commit.changes.push(Change::Put(key.clone(), records::write(&record)?));
            let what = format!("{} by {}", version.short(), names.join(", "));
            let event = AuditEvent::of(Action::SignVersion).app(app).what(what);
            Ok::<_, Error>(self.ledger.commit(actor, event, commit).await?.then_some(()))
        })
        .await
    }

    /// Checks that signatures belong to this version of this app, and that the number is within the limit.
    ///
    /// # Errors
    /// `bad_signature`, `too_many`.
    pub(crate) fn check_signatures(
        &self,
        app: &AppName,
        version: &VersionId,
        signatures: &[SignatureText],
    ) -> Result<(), Error> {
        let max = self.ledger.limits().signatures_per_version_max;
        if count(signatures.len()) > max {
            return Err(too_many_signatures(max));
        }
        let bad = signatures.iter().find_map(|one| Some((one.0.key(), one.0.check(app, version).err()?)));
        let Some((key, why)) = bad else { return Ok(()) };
        let id = version.short();
        let detail = format!("The signature by {} cannot be taken for {id}: {why}.", key.fingerprint());
        let hint = format!("`devanture sign {id} --key KEY` signs the version");
        Err(Problem::new(Code::BadSignature, detail).hint(hint).into())
    }

    /// Drops the oldest signatures of keys that no environment requires. Otherwise any actor with the right to push
    /// could fill the list with signatures of unknown keys and lock out a signer.
    async fn make_room(&self, app: &AppName, stored: &mut Vec<StoredSignature>) -> Result<(), Error> {
        let max = usize::try_from(self.ledger.limits().signatures_per_version_max).unwrap_or(usize::MAX);
        if stored.len() <= max {
            return Ok(());
        }
        let mut wanted: Vec<SignerKey> = Vec::new();
        for (key, record) in self.ledger.catalog.list(&signers_prefix(app), None, false, usize::MAX).await? {
            wanted.extend(records::read::<SignersRecord>(&key, &record)?.signers);
        }
        while stored.len() > max {
            let useless = stored.iter().position(|one| !wanted.contains(one.signature.0.key()));
            let Some(at) = useless else {
                return Err(too_many_signatures(count(max)));
            };
            stored.remove(at);
        }
        Ok(())
    }

    async fn signers_record(
        &self,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<Option<(Revision, SignersRecord)>, Error> {
        let key = signers_key(app, environment);
        let record = self.ledger.catalog.get(&key).await?;
        Ok(record.map(|record| records::read(&key, &record).map(|read| (record.revision, read))).transpose()?)
    }

    async fn signatures_record(
        &self,
        app: &AppName,
        version: &VersionId,
    ) -> Result<(Option<Revision>, Vec<StoredSignature>), Error> {
        let key = signatures_key(app, version);
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok((None, Vec::new())) };
        let read: SignaturesRecord = records::read(&key, &record)?;
        Ok((Some(record.revision), read.signatures))
    }
}

fn too_many_signatures(max: u64) -> Error {
    let detail = format!("A version may have {max} signatures, and these would be more.");
    Problem::new(Code::TooMany, detail).hint("`signatures_per_version_max` in edge.toml is the limit").into()
}

/// Returns a sentence without the final stop about the requirements of an environment.
fn wants(record: &SignersRecord) -> String {
    let names: Vec<String> = record.signers.iter().map(SignerKey::fingerprint).collect();
    format!("versions are signed by {} of {}", record.signatures_min, names.join(", "))
}

/// Rejects a version with too few signatures of the signers.
fn check_enough(
    environment: &PlaceName,
    version: &VersionId,
    wanted: &SignersRecord,
    by: &[&SignerKey],
) -> Result<(), Error> {
    if wanted.is_enough(by.len()) { Ok(()) } else { Err(not_signed(environment, version, wanted, by)) }
}

fn not_signed(environment: &PlaceName, version: &VersionId, wanted: &SignersRecord, by: &[&SignerKey]) -> Error {
    let missing: Vec<String> =
        wanted.signers.iter().filter(|signer| !by.contains(signer)).map(SignerKey::named).collect();
    let has = match by {
        [] => "none of its signers has signed it".to_owned(),
        _ => format!("only {} signed it", by.iter().map(|key| key.named()).collect::<Vec<_>>().join(", ")),
    };
    let id = version.short();
    let detail = format!("{id} does not go live in {environment}: it wants {}, and {has}.", needs(wanted));
    Problem::new(Code::NotSigned, detail)
        .hint(format!(
            "`devanture sign {id} --key KEY` signs it, then `devanture switch {id}`; missing: {}",
            missing.join(", ")
        ))
        .into()
}

fn needs(wanted: &SignersRecord) -> String {
    let signatures = counted(usize::try_from(wanted.signatures_min).unwrap_or(usize::MAX), "signature");
    format!("{signatures} of {}", counted(wanted.signers.len(), "signer"))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
