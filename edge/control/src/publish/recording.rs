//! Catalog records of a push: version record and history entry.

use devanture_config::api::{Deploy, DeployKind, DeployProblem, Outcome};
use devanture_config::problem::Code;

use super::finish::count;
use super::joined::Rights;
use super::publisher::Publisher;
use super::pushes::Push;
use crate::encode;
use crate::ledger::{Action, AuditEvent, Error, SameApp};
use crate::switch::Steps;
use devanture_base::clock;
use devanture_store::blobs::Key;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::gone::{self, GoneVersion};
use devanture_store::records::{self, Reach, VersionRecord};

/// Outcome of storing a version.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredVersion {
    /// True for a new version.
    pub(super) is_new: bool,
    /// True if the version was stored, but its manifest was lost.
    pub(super) restored_manifest: bool,
}

impl Publisher {
    /// Stores the manifest, then the version's record and, for a new app, the app's record.
    pub(super) async fn store_version(&self, push: &Push, given: encode::Given) -> Result<StoredVersion, Error> {
        let (blobs, manifest) = (self.blobs_of(&push.app), Key::Manifest(push.version));
        let key = records::version_key(&push.app, &push.version);
        // Order matters: a concurrent push writes its record after its manifest.
        let is_stored = self.ledger.catalog.get(&key).await?.is_some();
        let restored_manifest = is_stored && blobs.size(manifest).await?.is_none();
        blobs.put(manifest, push.manifest.canonical().into()).await?;
        let Rights { trusted, trusted_in, edge_admin, vouched } = push.rights();
        loop {
            self.ledger.check_there(&push.app, None).await?;
            let key = key.clone();
            let mut commit = Commit { checks: self.same_app(push).await?.into_iter().collect(), ..Commit::default() };
            // Until the commit nobody else makes an app, where this one is new.
            let _making = self.environments.places.make_app(&push.app).await?;
            let found = self.ledger.catalog.get(&key).await?;
            let is_new = found.is_none();
            match found {
                Some(record) => {
                    let mut stored: VersionRecord = records::read(&key, &record)?;
                    let is_edge_admins = stored.is_of_edge_admin();
                    let rights = (stored.trusted || trusted, is_edge_admins || edge_admin);
                    let is_same = stored.decoded == given.decoded && stored.integrity == given.integrity;
                    let is_trusted =
                        rights == (stored.trusted, is_edge_admins) && trusted_in.is_subset(&stored.trusted_in);
                    if is_same && is_trusted && (stored.is_vouched() || !vouched) {
                        return Ok(StoredVersion { is_new: false, restored_manifest });
                    }
                    // Stored by an edge that did not decode files.
                    (stored.given, stored.decoded) = (given.forms.clone(), given.decoded.clone());
                    stored.integrity.clone_from(&given.integrity);
                    // Computed before trust grows, which would extend the reach of an earlier version.
                    stored.reach = Some(stored.reach_stored_again(vouched));
                    (stored.trusted, stored.edge_admin) = (rights.0, Some(rights.1));
                    stored.trusted_in.extend(trusted_in.iter().cloned());
                    commit.checks.push(Check::At(key.clone(), record.revision));
                    commit.changes.push(Change::Put(key, records::write(&stored)?));
                }
                None => {
                    self.environments.places.check_version_count(&push.app).await?;
                    let now_ms = clock::now_ms();
                    let (stored_ms, check) = self.counts_as_stored(push, now_ms).await?;
                    let record = VersionRecord {
                        stored_ms,
                        again_ms: Some(now_ms).filter(|now_ms| *now_ms > stored_ms),
                        who: push.actor.name.clone(),
                        trusted,
                        edge_admin: Some(edge_admin),
                        trusted_in: trusted_in.clone(),
                        reach: Some(Reach::of(vouched)),
                        source: push.source.clone().into(),
                        files: count(push.manifest.files_count()),
                        bytes: push.manifest.total_bytes(),
                        given: given.forms.clone(),
                        decoded: given.decoded.clone(),
                        integrity: given.integrity.clone(),
                        quick: given.is_quick,
                    };
                    commit.checks.extend([check, Check::Absent(key.clone())]);
                    commit.changes.push(Change::Put(key, records::write(&record)?));
                    // Storing the version again ends its tombstone.
                    commit.changes.push(Change::Delete(gone::gone_key(&push.app, &push.version)));
                    self.environments.places.add_app(&push.app, &push.actor, now_ms, &mut commit).await?;
                }
            }
            let event = AuditEvent::of(Action::StoreVersion).app(&push.app).what(push.version.short());
            // Another push of the same content, or the app's first push, won the race: check again.
            if self.ledger.commit(&push.actor, event, commit).await? {
                return Ok(StoredVersion { is_new, restored_manifest });
            }
        }
    }

    /// Returns the storage time of an absent version, and a check for the commit that no tombstone has appeared.
    /// Withdrawn paths stay withdrawn, including those shared with other versions, however the version ended.
    async fn counts_as_stored(&self, push: &Push, now_ms: u64) -> Result<(u64, Check), Error> {
        let key = gone::gone_key(&push.app, &push.version);
        let gone = self.ledger.catalog.get(&key).await?;
        // An unreadable tombstone dates the version before all withdrawals.
        let before_ms =
            gone.as_ref().map(|gone| records::read::<GoneVersion>(&key, gone).map_or(0, |gone| gone.stored_since_ms()));
        let stored_ms = self.retention.counts_as_stored_ms(&push.app, before_ms, now_ms).await?;
        let stored_ms = push.stored_ms().map_or(stored_ms, |other_ms| other_ms.min(stored_ms));
        Ok((stored_ms, Check::of(key, gone.map(|gone| gone.revision))))
    }

    /// Returns a check that the app is the same as at the push's beginning; `None` if the push creates the app.
    ///
    /// # Errors
    /// `deleted`: an app of the same name now has another owner.
    async fn same_app(&self, push: &Push) -> Result<Option<Check>, Error> {
        let Some(made_ms) = push.began.app_made_ms else { return Ok(None) };
        SameApp::made_at(&push.app, made_ms).check(&*self.ledger.catalog).await.map(Some)
    }

    /// Records a deploy without a move of the live pointer in the history.
    pub(crate) async fn record_stored(
        &self,
        push: &Push,
        steps: &Steps,
        outcome: Outcome,
        problem: Option<DeployProblem>,
    ) -> Result<(), Error> {
        let live = self.ledger.live_pointer(&push.app, &push.environment).await?.map(|(_, pointer)| pointer);
        let deploy = Deploy {
            id: push.id.clone(),
            kind: DeployKind::Push,
            environment: push.environment.clone(),
            version: push.version,
            previous: live.as_ref().filter(|pointer| pointer.is_known()).map(|pointer| pointer.version),
            who: push.actor.name.clone(),
            at_ms: clock::now_ms(),
            source: push.source.clone(),
            steps: steps.list().to_vec(),
            outcome,
            alias: push.options.alias.clone(),
            problem,
            log: steps.lines().to_vec(),
            settings: live.map_or(0, |pointer| pointer.settings),
            went_back: None,
            reason: push.options.reason.clone(),
            halves: push.halves(),
            with: push.with(),
        };
        let _making = self.environments.places.make_history(&push.app, &deploy.environment).await?;
        self.ledger.append_history(&push.app, deploy).await
    }

    pub(super) async fn record_failure(&self, push: &Push, steps: &mut Steps, error: &Error) {
        if self.same_app(push).await.is_err() {
            // The history was deleted.
            return;
        }
        let problem = &error.0;
        steps.log(&format!("error: {}  [{}]", problem.detail, problem.code.as_str()));
        problem.mistakes.iter().for_each(|mistake| steps.log(&mistake.to_string()));
        if let Some(hint) = &problem.hint {
            steps.log(&format!("hint: {hint}"));
        }
        let problem = DeployProblem { code: problem.code, detail: problem.detail.clone() };
        let outcome = if error.0.code == Code::Superseded { Outcome::Superseded } else { Outcome::Failed };
        // A full disk may refuse the record too; the push reports its error in any case.
        if let Err(error) = self.record_stored(push, steps, outcome, Some(problem)).await {
            tracing::warn!(%error, "a failed push could not be recorded");
        }
    }
}
