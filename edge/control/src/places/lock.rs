//! Locks an environment and ends a lock: one record, checked by whatever moves the live pointer in the same commit.

use devanture_config::api::{DeployKind, Lock, LockReport, LockRequest, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

use super::Places;
use super::marker::MarkerChange;
use crate::ledger::{Action, Actor, Condition, Error, update};
use devanture_base::clock;
use devanture_store::catalog::{Check, Revision};
use devanture_store::records::{self, LockRecord};

/// How what moves a live pointer treats a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// A push: its version is stored all the same.
    Push,
    /// It stops.
    Stops,
    /// It goes on, where the actor may.
    Forced,
    /// It takes back what was watched, and passes locks of anyone since.
    Undo,
}

/// Whether a live pointer may be moved as far as locks go.
pub(crate) enum Gate {
    /// It may, if this still holds.
    Open(Check),
    /// It is a push, whose version is stored all the same.
    Shut(Lock),
}

impl Places {
    /// Locks an environment, or changes why it is locked; with `dry_run` it only reports whether that would change
    /// anything.
    ///
    /// # Errors
    /// `locked` where somebody else did, `bad_request` for a reason that is none, `nothing_live`,
    /// `precondition_failed`.
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

    /// Ends a lock; where there is none, nothing is changed. With `dry_run` it only reports whether that would change
    /// anything.
    ///
    /// # Errors
    /// `locked` where somebody else locked it and the actor is no admin, `not_found` for an app that is not there,
    /// `precondition_failed`.
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

    /// How an environment is locked, where it is, with the revision of the record.
    ///
    /// # Errors
    /// Where the catalog fails.
    pub async fn locked(&self, app: &AppName, environment: &PlaceName) -> Result<Option<(Revision, Lock)>, Error> {
        let key = records::lock_key(app, environment);
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(None) };
        let lock = records::read::<LockRecord>(&key, &record)?;
        Ok(Some((record.revision, lock.into())))
    }

    /// Whether the live pointer of an environment may be moved.
    ///
    /// # Errors
    /// `locked` where it is no push, and may not pass.
    pub(crate) async fn gate(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        passage: Passage,
    ) -> Result<Gate, Error> {
        let key = records::lock_key(app, environment);
        let Some((revision, lock)) = self.locked(app, environment).await? else {
            return Ok(Gate::Open(Check::Absent(key)));
        };
        match passage {
            Passage::Push => return Ok(Gate::Shut(lock)),
            Passage::Stops => return Err(refused(&lock, environment)),
            Passage::Forced => actor.may_change(&lock, environment)?,
            Passage::Undo => {}
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
    /// Whether this actor may change or pass a lock: its owner may, and an admin.
    fn may_change(&self, lock: &Lock, environment: &PlaceName) -> Result<(), Error> {
        if self.scope == Scope::Admin || self.name == lock.who {
            return Ok(());
        }
        let detail =
            format!("{}; the token `{}` did not lock it and is no admin's.", locked_by(lock, environment), self.name);
        Err(Problem::new(Code::Locked, detail).hint(format!("ask {}, or an admin", lock.who)).into())
    }
}

/// That an environment is locked, as a sentence without its end.
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
