//! Locks and unlocks environments: a single record, checked in the same commit as each move of the live pointer.

use devanture_config::api::{DeployKind, Lock, LockReport, LockRequest, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

use super::Places;
use super::marker::MarkerChange;
use crate::ledger::{Action, Actor, Condition, Error, update};
use devanture_base::clock;
use devanture_store::catalog::{Check, Revision};
use devanture_store::records::{self, LockRecord};

/// Treatment of a lock by an operation that moves the live pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockTreatment {
    /// Push: the version is stored despite the lock.
    Push,
    /// Fails on a lock.
    Stops,
    /// Passes the lock if the actor may.
    Forced,
    /// Undo of a watched change: passes later locks by any actor.
    Undo,
}

/// Decision of a lock about a move of the live pointer.
pub(crate) enum Gate {
    /// The move is allowed if the check holds at the commit.
    Open(Check),
    /// The push is stored without going live.
    Shut(Lock),
}

impl Places {
    /// Locks an environment, or changes the reason of a lock; with `dry_run`, only reports the effect.
    ///
    /// # Errors
    /// `locked` by another actor, `bad_request` for an invalid reason, `nothing_live`, `precondition_failed`.
    pub async fn lock(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        wanted: LockRequest,
        condition: &Condition,
        dry_run: bool,
    ) -> Result<LockReport, Error> {
        let reason = wanted.reason.filter(|reason| !reason.trim().is_empty());
        self.check_reason(reason.as_deref())?;
        let key = records::lock_key(app, environment);
        update(&key, || async {
            let before = self.locked(app, environment).await?;
            condition.check(before.as_ref().map(|(revision, _)| *revision))?;
            let report = |locked, changed| report((app, environment), locked, changed, dry_run);
            if let Some((_, lock)) = &before {
                actor.may_change(lock, environment)?;
                if lock.reason == reason {
                    return Ok(Some(report(Some(lock.clone()), false)));
                }
            }
            let since_ms = before.as_ref().map_or_else(clock::now_ms, |(_, lock)| lock.since_ms);
            let lock = Lock { since_ms, who: actor.name.clone(), reason: reason.clone() };
            let before_at = before.as_ref().map(|(revision, _)| *revision);
            let marker = MarkerChange::write(
                (DeployKind::Lock, Action::Lock),
                &key,
                before_at,
                &LockRecord::from(lock.clone()),
            )?;
            let marker = marker.because(reason.as_deref());
            if self.change_marker(actor, (app, environment), marker, dry_run).await? {
                let locked = if dry_run { before.map(|(_, lock)| lock) } else { Some(lock) };
                return Ok(Some(report(locked, true)));
            }
            Ok(None)
        })
        .await
    }

    /// Ends a lock; does nothing for an unlocked environment. With `dry_run`, only reports the effect.
    ///
    /// # Errors
    /// `locked` by another actor unless the actor is an admin, `not_found` for an unknown app, `precondition_failed`.
    pub async fn unlock(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        condition: &Condition,
        dry_run: bool,
    ) -> Result<LockReport, Error> {
        self.ledger.must_exist(app).await?;
        let key = records::lock_key(app, environment);
        update(&key, || async {
            let before = self.locked(app, environment).await?;
            condition.check(before.as_ref().map(|(revision, _)| *revision))?;
            let report = |locked, changed| report((app, environment), locked, changed, dry_run);
            let Some((revision, lock)) = before else { return Ok(Some(report(None, false))) };
            actor.may_change(&lock, environment)?;
            let marker = MarkerChange::remove((DeployKind::Unlock, Action::Unlock), &key, revision);
            if self.change_marker(actor, (app, environment), marker, dry_run).await? {
                return Ok(Some(report(dry_run.then_some(lock), true)));
            }
            Ok(None)
        })
        .await
    }

    /// Returns the lock of an environment with the revision of the record.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn locked(&self, app: &AppName, environment: &PlaceName) -> Result<Option<(Revision, Lock)>, Error> {
        let key = records::lock_key(app, environment);
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(None) };
        let lock = records::read::<LockRecord>(&key, &record)?;
        Ok(Some((record.revision, lock.into())))
    }

    /// Decides if a lock allows a move of the live pointer.
    ///
    /// # Errors
    /// `locked` if the operation is no push and may not pass the lock.
    pub(crate) async fn gate(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        passage: LockTreatment,
    ) -> Result<Gate, Error> {
        let key = records::lock_key(app, environment);
        let Some((revision, lock)) = self.locked(app, environment).await? else {
            return Ok(Gate::Open(Check::Absent(key)));
        };
        match passage {
            LockTreatment::Push => return Ok(Gate::Shut(lock)),
            LockTreatment::Stops => return Err(refused(&lock, environment)),
            LockTreatment::Forced => actor.may_change(&lock, environment)?,
            LockTreatment::Undo => {}
        }
        Ok(Gate::Open(Check::At(key, revision)))
    }

    fn check_reason(&self, reason: Option<&str>) -> Result<(), Error> {
        let reason = reason.unwrap_or_default();
        let (count, count_max) = (reason.chars().count(), self.ledger.limits().lock_reason_characters_max);
        if u64::try_from(count).unwrap_or(u64::MAX) > count_max {
            let detail = format!("The reason has {count} characters; {count_max} are allowed.");
            let hint = "`lock_reason_characters_max` in edge.toml is the limit";
            return Err(Problem::new(Code::BadRequest, detail).hint(hint).into());
        }
        if reason.chars().any(char::is_control) {
            let detail = "The reason holds a control character.";
            return Err(Problem::new(Code::BadRequest, detail).hint("say it in one line").into());
        }
        Ok(())
    }
}

impl Actor {
    /// Checks that the actor may change or pass a lock: allowed for the owner and for admins.
    fn may_change(&self, lock: &Lock, environment: &PlaceName) -> Result<(), Error> {
        if self.scope == Scope::Admin || self.name == lock.who {
            return Ok(());
        }
        let detail =
            format!("{}; the token `{}` did not lock it and is no admin's.", locked_by(lock, environment), self.name);
        Err(Problem::new(Code::Locked, detail).hint(format!("ask {}, or an admin", lock.who)).into())
    }
}

/// Returns a sentence without the final stop: the environment is locked.
pub(crate) fn locked_by(lock: &Lock, environment: &PlaceName) -> String {
    let reason = lock.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{environment} is locked by {}{reason}", lock.who)
}

fn refused(lock: &Lock, environment: &PlaceName) -> Error {
    Problem::new(Code::Locked, format!("{}.", locked_by(lock, environment)))
        .hint("`devanture unlock` ends the lock; its owner, or an admin, may also pass --force")
        .into()
}

fn report(
    (app, environment): (&AppName, &PlaceName),
    locked: Option<Lock>,
    changed: bool,
    dry_run: bool,
) -> LockReport {
    LockReport { dry_run, app: app.clone(), environment: environment.clone(), locked, changed }
}
