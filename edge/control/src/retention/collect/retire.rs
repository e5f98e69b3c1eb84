//! Deletes the records of unprotected versions beyond `[retention]`.

use std::collections::{HashMap, HashSet};

use devanture_config::api::WhyCollected;
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName, VersionId};
use devanture_store::blobs::Key;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Catalog, Change, Check, Commit, Record, Revision};
use devanture_store::records::gone::{DeletedEnvironment, GoneVersion};
use devanture_store::records::signing::signatures_key;
use devanture_store::records::{self, AliasRecord, LivePointer, VersionRecord, gone, history, pointer};

use super::{Pass, app_of};
use crate::ledger::{Error, PART_CHANGES_MAX, SystemWrite, commit_system, unless_conflict};
use crate::retention::Retention;

/// Changes per deleted version record.
const VERSION_CHANGES: usize = 4;
/// Versions per commit.
const COMMIT_VERSIONS: usize = PART_CHANGES_MAX / VERSION_CHANGES;
/// Attempts per app while records change concurrently.
const TRIES: usize = 3;

/// Candidate for deletion.
struct Candidate {
    id: VersionId,
    revision: Revision,
    stored_ms: u64,
    /// Last time stored or live; the present for a live version.
    used_ms: u64,
}

impl Retention {
    /// Retires versions in every app.
    pub(super) async fn retire(&self, pass: &mut Pass) -> Result<(), Error> {
        if !self.policy().is_bounded() {
            return Ok(());
        }
        let mut apps = Scan::new(&*self.ledger.catalog, records::APPS_PREFIX);
        while let Some((key, _)) = apps.next().await? {
            let Some(app) = app_of(&key) else { continue };
            match self.retire_in(&app, pass).await {
                // A damaged record, or more changes than a commit allows, skips the retention of the app.
                Err(error) if matches!(error.0.code, Code::Internal | Code::TooMany) => {
                    tracing::error!(app = %app, %error, "versions beyond what is kept stay");
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn retire_in(&self, app: &AppName, pass: &mut Pass) -> Result<(), Error> {
        // Deleted apps are restored unchanged.
        if pass.report.apps.contains(app) || self.ledger.catalog.get(&gone::deleted_app_key(app)).await?.is_some() {
            return Ok(());
        }
        for _ in 0..TRIES {
            let mut candidates = self.beyond(app, pass.began_ms).await?;
            if candidates.is_empty() {
                return Ok(());
            }
            let held = self.held(app).await?;
            candidates
                .retain(|candidate| !held.ids.contains(&candidate.id) && !self.ledger.live.is_held(app, &candidate.id));
            let most = usize::try_from(pass.versions_left).unwrap_or(usize::MAX);
            if candidates.len() > most {
                candidates.truncate(most);
                pass.report.more = true;
            }
            if pass.dry_run {
                let keys: Vec<Key> = candidates.iter().map(|one| Key::Manifest(one.id)).collect();
                let closed = self.close_gates(&keys).await?;
                candidates.retain(|candidate| !closed.holds(Key::Manifest(candidate.id)));
                drop(closed);
                for Candidate { id, stored_ms, .. } in candidates {
                    pass.take(app, id, WhyCollected::Retention, stored_ms);
                }
                return Ok(());
            }
            let mut is_done = true;
            for chunk in candidates.chunks(COMMIT_VERSIONS) {
                is_done &= self.retire_chunk(app, chunk, &held.checks, pass).await?;
            }
            if is_done {
                return Ok(());
            }
        }
        // Records keep changing: left to the next pass.
        pass.report.more = true;
        Ok(())
    }

    /// Deletes the records of some versions, except leased versions. Returns false if an examined record changed
    /// concurrently.
    async fn retire_chunk(
        &self,
        app: &AppName,
        chunk: &[Candidate],
        checks: &[Check],
        pass: &mut Pass,
    ) -> Result<bool, Error> {
        let keys: Vec<Key> = chunk.iter().map(|one| Key::Manifest(one.id)).collect();
        let closed = self.close_gates(&keys).await?;
        let mut commit = Commit { checks: checks.to_vec(), changes: Vec::new() };
        let free: Vec<&Candidate> = chunk.iter().filter(|one| !closed.holds(Key::Manifest(one.id))).collect();
        for Candidate { id, revision, stored_ms, .. } in &free {
            let key = records::version_key(app, id);
            let gone = GoneVersion {
                at_ms: pass.began_ms,
                collected: true,
                until_ms: 0,
                who: String::new(),
                stored_ms: *stored_ms,
                record: None,
            };
            commit.checks.push(Check::At(key.clone(), *revision));
            let changes: [Change; VERSION_CHANGES] = [
                Change::Delete(key),
                Change::Delete(records::dictionaries_key(app, id)),
                Change::Delete(signatures_key(app, id)),
                Change::Put(gone::gone_key(app, id), records::write(&gone)?),
            ];
            commit.changes.extend(changes);
        }
        if free.is_empty() {
            return Ok(true);
        }
        let committed = commit_system(&*self.ledger.catalog, SystemWrite::Collection, commit).await;
        let Some(revision) = unless_conflict(committed)? else { return Ok(false) };
        drop(closed);
        self.ledger.live.wait_for(revision).await;
        for Candidate { id, stored_ms, .. } in free {
            pass.take(app, *id, WhyCollected::Retention, *stored_ms);
            tracing::info!(app = %app, version = %id.short(), "collected: beyond what is kept, and held by nothing");
        }
        Ok(true)
    }

    /// Returns the versions of an app beyond retention, neither stored nor live within the grace period.
    async fn beyond(&self, app: &AppName, now_ms: u64) -> Result<Vec<Candidate>, Error> {
        let grace_ms = self.ledger.limits().grace_ms_max;
        let days_ms = self.policy().keep_days.saturating_mul(86_400_000);
        let used = self.last_live(app, now_ms.saturating_sub(days_ms.max(grace_ms)), now_ms).await?;
        let mut versions = Vec::new();
        let prefix = records::versions_prefix(app);
        let mut stored = Scan::new(&*self.ledger.catalog, prefix.as_str());
        while let Some((key, record)) = stored.next().await? {
            let Some(id) = key.strip_prefix(&prefix).and_then(|id| id.parse().ok()) else { continue };
            let stored: VersionRecord = records::read(&key, &record)?;
            let used_ms = used.get(&id).copied().unwrap_or(0).max(stored.stored_last_ms());
            versions.push(Candidate { id, revision: record.revision, stored_ms: stored.stored_ms, used_ms });
        }
        versions.sort_by_key(|version| (std::cmp::Reverse(version.used_ms), version.id));
        let ranked = (0_u64..).zip(versions).filter(|(rank, version)| {
            let age_ms = now_ms.saturating_sub(version.used_ms);
            age_ms >= grace_ms && self.policy().is_beyond(*rank, age_ms)
        });
        // Oldest first: the limit of a pass leaves younger versions.
        let mut beyond: Vec<Candidate> = ranked.map(|(_, version)| version).collect();
        beyond.reverse();
        Ok(beyond)
    }

    /// Returns the last live time of an app's versions live since `since_ms`. For live versions the time is the
    /// present, also in restorable deleted environments.
    async fn last_live(&self, app: &AppName, since_ms: u64, now_ms: u64) -> Result<HashMap<VersionId, u64>, Error> {
        let mut last: HashMap<VersionId, u64> = HashMap::new();
        let mut pointers = Vec::new();
        for (key, record) in self.ledger.catalog.list(&records::live_prefix(app), None, false, usize::MAX).await? {
            let Some(name) = key.rsplit('/').next().and_then(|name| name.parse().ok()) else { continue };
            let version = pointer::pointer_of(&*self.ledger.catalog, app, &name, &record).await?.version;
            pointers.push((key, version));
        }
        let deleted = gone::deleted_environments_prefix(app);
        for (key, record) in self.ledger.catalog.list(&deleted, None, false, usize::MAX).await? {
            let version = records::read::<DeletedEnvironment>(&key, &record)?.pointer.version;
            pointers.push((key, version));
        }
        for (key, version) in pointers {
            last.insert(version, now_ms);
            let Some(environment) = key.rsplit('/').next().and_then(|name| name.parse().ok()) else { continue };
            let prefix = records::history_prefix(app, &environment);
            for switch in history::switches(&*self.ledger.catalog, &prefix, since_ms, usize::MAX).await? {
                if let Some(previous) = switch.previous {
                    let at_ms = last.entry(previous).or_default();
                    *at_ms = switch.at_ms.max(*at_ms);
                }
            }
        }
        Ok(last)
    }
}

// Versions protected from retention, whatever their age.

/// Protected versions of an app, and checks that no further protection has appeared.
#[derive(Default)]
pub(super) struct ProtectedVersions {
    pub(super) ids: HashSet<VersionId>,
    pub(super) checks: Vec<Check>,
}

impl Retention {
    /// Returns all versions of an app protected from retention. New code that protects a version adds the version here,
    /// with a check that the protecting record is unchanged. If such a record can reappear, its writer also writes
    /// `apps/{app}`, as `hold_version` does for pointers.
    ///
    /// Further versions stay: versions stored or live within the grace period (law 10), versions loaded on the local
    /// node, and versions leased by a running push or switch; `retire.rs` checks these.
    pub(super) async fn held(&self, app: &AppName) -> Result<ProtectedVersions, Error> {
        let mut held = ProtectedVersions::default();
        // Read first, so that the check detects all later changes.
        let app_key = records::app_key(app);
        if let Some(record) = self.ledger.catalog.get(&app_key).await? {
            held.checks.push(Check::At(app_key, record.revision));
        }
        held.checks.push(Check::Absent(gone::deleted_app_key(app)));
        // Live versions.
        let mut pointers: Vec<(PlaceName, LivePointer)> = Vec::new();
        for (key, record) in all(&*self.ledger.catalog, &records::live_prefix(app)).await? {
            let Some(name) = key.rsplit('/').next().and_then(|name| name.parse().ok()) else { continue };
            let pointer = pointer::pointer_of(&*self.ledger.catalog, app, &name, &record).await?;
            held.ids.extend(pointer.versions());
            pointers.push((name, pointer));
            held.checks.push(Check::At(key, record.revision));
        }
        // Versions of aliases.
        for (key, record) in all(&*self.ledger.catalog, &records::alias_prefix(app)).await? {
            held.ids.insert(records::read::<AliasRecord>(&key, &record)?.version);
            held.checks.push(Check::At(key, record.revision));
        }
        // Versions live again after the restoration of an environment.
        for (key, record) in all(&*self.ledger.catalog, &gone::deleted_environments_prefix(app)).await? {
            let DeletedEnvironment { pointer, .. } = records::read(&key, &record)?;
            held.ids.insert(pointer.version);
            pointers.extend(key.rsplit('/').next().and_then(|name| name.parse().ok()).map(|name| (name, pointer)));
            held.checks.push(Check::At(key, record.revision));
        }
        // Rollback targets, also of deleted environments.
        for (environment, pointer) in &pointers {
            match self.ledger.earlier_of(app, environment, pointer, None).await {
                Ok(earlier) => drop(held.ids.insert(earlier.version)),
                Err(Error(problem)) if problem.code == Code::NoPrevious => {}
                Err(error) => return Err(error),
            }
        }
        Ok(held)
    }
}

async fn all(catalog: &dyn Catalog, prefix: &str) -> Result<Vec<(String, Record)>, Error> {
    Ok(catalog.list(prefix, None, false, usize::MAX).await?)
}

// Removes the oldest history entries and the oldest tombstones beyond the limits.
//
// Both grow with every deploy, pause and deletion; without limits, a token could fill the disk.

/// Records deleted per commit.
const COMMIT_RECORDS: usize = 100;

impl Retention {
    /// Removes records beyond the limits in every app.
    pub(super) async fn forget_oldest(&self, pass: &Pass) -> Result<(), Error> {
        if pass.dry_run {
            return Ok(());
        }
        let mut apps = Scan::new(&*self.ledger.catalog, records::APPS_PREFIX);
        while let Some((key, _)) = apps.next().await? {
            let Some(app) = app_of(&key) else { continue };
            for environment in self.environments.places.names_of(&app, usize::MAX).await? {
                let Ok(environment) = environment.parse() else { continue };
                self.ledger.forget_history(&app, &environment).await?;
            }
            self.forget_gone(&app).await?;
        }
        Ok(())
    }

    /// Deletes the oldest tombstones of an app's unrestorable versions. Tombstones that keep paths withdrawn go last,
    /// so that pushes and deletions of others cannot undo a withdrawal.
    async fn forget_gone(&self, app: &AppName) -> Result<(), Error> {
        let prefix = gone::gone_prefix(app);
        let max = usize::try_from(self.ledger.limits().history_entries_max).unwrap_or(usize::MAX);
        let last_withdrawal_ms = self.last_withdrawal_ms(app).await?;
        let mut ended: Vec<(bool, u64, String)> = Vec::new();
        let mut versions = Scan::new(&*self.ledger.catalog, prefix);
        while let Some((key, record)) = versions.next().await? {
            let (is_needed, at_ms) = match records::read::<GoneVersion>(&key, &record) {
                Ok(gone) if gone.record.is_some() => continue,
                Ok(gone) => (last_withdrawal_ms.is_some_and(|last_ms| gone.stored_ms <= last_ms), gone.at_ms),
                Err(_damaged) => (false, 0),
            };
            ended.push((is_needed, at_ms, key));
        }
        let beyond = ended.len().saturating_sub(max);
        if beyond == 0 {
            return Ok(());
        }
        ended.sort_unstable();
        ended.truncate(beyond);
        for some in ended.chunks(COMMIT_RECORDS) {
            let changes = some.iter().map(|(.., key)| Change::Delete(key.clone())).collect();
            self.collected(Commit { checks: Vec::new(), changes }).await?;
        }
        Ok(())
    }
}
