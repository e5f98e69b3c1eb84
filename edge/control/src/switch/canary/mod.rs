//! Canaries: a share of the visitors gets a version before it is live for all. A canary is a part of the live pointer,
//! so that each of its steps is one compare-and-swap. What runs beside it is in `live`, what it does by itself in
//! `steps.rs`.

mod steps;

use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{
    Canary, CanaryCounts, CanaryEnd, CanaryRequest, CanaryStatus, CanaryStep, Deploy, DeployKind, DeployProblem,
    Outcome, Percent, Source, Step,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::Kind;
use devanture_config::{AppName, PlaceName, VersionId};
use futures_util::FutureExt as _;

use super::deploys::Steps;
use crate::ledger::{self, Action, Actor, AuditEvent, Condition, Error, update};
use crate::places::{Gate, LockTreatment};
use crate::switch::checks::{check_if_live, check_reason};
use crate::switch::intent::{CanaryMove, Intent, Move, Passes, Preconditions};
use crate::switch::switcher::Switcher;
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::{
    self, BegunWith, CanaryRecord, HistoryEntry, LivePointer, PinsRecord, StoredDeploy, StoredOutcome, StoredPlan,
};

#[cfg(test)]
pub(crate) use steps::Windows;

/// What `Last-Modified` tells apart: who changes sides gets a later one than what they have.
pub(super) const SECOND_MS: u64 = 1_000;

/// Deploy of a canary to be changed, and its expected share.
pub(super) type Running<'r> = (&'r str, Percent);

impl Switcher {
    /// Returns the canary of an environment.
    ///
    /// # Errors
    /// `nothing_live`.
    pub(crate) async fn canary(&self, app: &AppName, environment: &PlaceName) -> Result<CanaryStatus, Error> {
        let (_, pointer) = self.canary_pointer(app, environment).await?;
        let canary = pointer.canary.map(|record| self.canary_state(app, environment, record));
        Ok(CanaryStatus { app: app.clone(), environment: environment.clone(), live: pointer.version, canary })
    }

    fn canary_state(&self, app: &AppName, environment: &PlaceName, record: CanaryRecord) -> Canary {
        let current = self.ledger.live.place(app, environment).and_then(|place| place.pointed());
        let counts = current.and_then(|current| {
            let canary = current.canary.as_ref().filter(|canary| canary.record.deploy == record.deploy)?;
            let canary = canary.next.side.as_ref()?.counts();
            Some(CanaryCounts { live: current.side.as_ref()?.counts(), canary })
        });
        let percent = record.plan.as_ref().and_then(|plan| plan.after(record.share));
        let next = percent.zip(record.next_ms).map(|(percent, at_ms)| CanaryStep { percent, at_ms });
        Canary {
            version: record.version,
            share: record.share,
            since_ms: record.since_ms,
            who: record.who,
            cookie: record.cookie,
            next,
            urls: self.environments.places.urls(app, environment, &record.version),
            counts: counts.unwrap_or_default(),
        }
    }

    /// Returns the live pointer of an environment, required to exist.
    pub(super) async fn canary_pointer(
        &self,
        app: &AppName,
        environment: &PlaceName,
    ) -> Result<(Revision, LivePointer), Error> {
        let live = self.ledger.live_pointer(app, environment).await?;
        live.filter(|(_, pointer)| pointer.is_known()).ok_or_else(|| nothing_live(app, environment))
    }

    /// Begins a canary if the request names a version; otherwise changes share or plan of the running canary.
    ///
    /// # Errors
    /// `nothing_live`, `bad_request`, `not_found`, `canary_running`, `no_canary`, and errors of [`Switcher::switch`].
    pub(crate) async fn set_canary(
        self: &Arc<Self>,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        request: CanaryRequest,
    ) -> Result<CanaryStatus, Error> {
        check_reason(request.reason.as_deref())?;
        request.if_live.as_deref().map_or(Ok(()), check_if_live)?;
        let share = request.share.or_else(|| request.plan.as_ref().and_then(|plan| plan.first()));
        let Some(share) = share else {
            return Err(Problem::new(Code::BadRequest, "A canary has a `share` or a `plan`.").into());
        };
        match &request.version {
            Some(typed) => {
                let version = self.ledger.resolve_version(app, typed).await?;
                self.begin_canary(actor, (app, environment), version, share, request).await?;
            }
            None => self.change_canary(actor, (app, environment), None, share, &request).await?,
        }
        self.canary(app, environment).await
    }

    /// Runs to completion even if the caller is dropped.
    async fn begin_canary(
        self: &Arc<Self>,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        version: VersionId,
        share: Percent,
        request: CanaryRequest,
    ) -> Result<(), Error> {
        let (_, pointer) = self.canary_pointer(app, environment).await?;
        if pointer.version == version {
            let detail = format!("{} is live in {environment} for all visitors.", version.short());
            return Err(Problem::new(Code::BadRequest, detail).hint("push another version").into());
        }
        self.check_workers((app, environment), pointer.version, version).await?;
        a_second_after(pointer.last_modified_ms()).await;
        let (this, actor) = (Arc::clone(self), actor.clone());
        let (app, environment) = (app.clone(), environment.clone());
        let begun = self.ledger.tick();
        let record = CanaryRecord {
            version,
            share,
            deploy: format!("{begun:x}"),
            // Set by the commit.
            since_ms: 0,
            stepped_ms: None,
            who: actor.name.clone(),
            begun_with: Some(begun_with(&actor)),
            cookie: request.cookie.clone(),
            next_ms: None,
            plan: request.plan.clone().map(StoredPlan::from),
        };
        let task = async move {
            let (deploy, source) = (record.deploy.clone(), this.source_of(&app, &version).await?);
            let intent = Intent {
                app: &app,
                environment: &environment,
                version,
                movement: Move::Switch,
                deploy: &deploy,
                begun,
                actor: &actor,
                source: &source,
                log: &[],
                expected: Preconditions {
                    version: request.if_live.as_deref(),
                    condition: &Condition::default(),
                    undone: None,
                },
                passes: Passes {
                    newer_pushes: true,
                    fingerprints: request.allow_refingerprint,
                    lock: request.force,
                    smoke: request.no_smoke,
                },
                settings: None,
                half: None,
                brought: (None, None),
                reason: request.reason.as_deref(),
                canary: CanaryMove::Begins(Box::new(record)),
            };
            let mut steps = Steps::new(None);
            let begun = this.make_live(&intent, None, &mut steps).boxed().await;
            if let Err(error) = &begun
                && !steps.list().is_empty()
            {
                this.announce_failed(&intent, error).await;
            }
            begun.map(drop)
        };
        match self.tasks.spawn(task.boxed()).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "the beginning of a canary ended without a result");
                Err(Problem::new(Code::Internal, "The canary did not begin.").into())
            }
        }
    }

    /// Refuses a backend with processes without traffic, which would do the same work twice.
    async fn check_workers(
        &self,
        place: (&AppName, &PlaceName),
        live: VersionId,
        canary: VersionId,
    ) -> Result<(), Error> {
        let (before, after) = (
            self.environments.instances.managed_in(place, live).await?,
            self.environments.instances.managed_in(place, canary).await?,
        );
        let Some(after) = after else { return Ok(()) };
        let is_same = before.is_some_and(|before| before.digest == after.digest);
        match after.server.processes.iter().find(|process| process.kind != Kind::Web).filter(|_| !is_same) {
            None => Ok(()),
            Some(process) => {
                let detail = format!(
                    "The process `{}` gets no traffic that could be shared, and would run in both versions at once.",
                    process.name
                );
                let hint = "make the version live for all visitors, or give the canary the backend of the live version";
                Err(Problem::new(Code::BadRequest, detail).hint(hint).into())
            }
        }
    }

    /// Builds the commit that begins a canary: pointer and history entry.
    pub(super) async fn compose_canary(
        &self,
        intent: &Intent<'_>,
        canary: &CanaryRecord,
        live: Option<(Revision, LivePointer)>,
        steps: Vec<Step>,
    ) -> Result<Commit, Error> {
        let (revision, pointer) = &live.ok_or_else(|| nothing_live(intent.app, intent.environment))?;
        let at_ms = clock::now_ms().max(pointer.switched_ms.saturating_add(SECOND_MS));
        let canary = CanaryRecord { since_ms: at_ms, next_ms: next_ms(canary), ..canary.clone() };
        let (entry_key, entry) =
            self.note_canary(intent.actor, (intent.app, intent.environment), pointer, &canary).await?;
        let entry = self.ledger.entry_of(begun(intent, steps, entry.deploy), entry.position);
        let key = records::live_key(intent.app, intent.environment);
        let mut commit = Commit::default();
        commit.checks.extend([Check::At(key.clone(), *revision), Check::Absent(entry_key.clone())]);
        self.ledger.hold_version(&mut commit, intent.app, &intent.version, false).await?;
        let place = (intent.app, intent.environment);
        commit.checks.extend(self.environments.signing.signed(place, &intent.version, false).await?.checks);
        let pins = pins_changed(pointer);
        let next = LivePointer { canary: Some(canary), pins, ..pointer.clone() };
        commit.changes.push(Change::Put(entry_key, records::write(&entry)?));
        commit.changes.push(Change::Put(key, records::write(&next)?));
        Ok(commit)
    }

    /// Returns a history entry about a canary, without effect on rollback targets.
    async fn note_canary(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
        pointer: &LivePointer,
        canary: &CanaryRecord,
    ) -> Result<(String, HistoryEntry), Error> {
        let of_canary = LivePointer { version: canary.version, ..pointer.clone() };
        let message = format!("canary: {} of the visitors", canary.share);
        let at_ms = clock::now_ms();
        self.ledger.note(actor, place, DeployKind::Switch, &of_canary, at_ms, Some(message)).await
    }

    /// Changes share or plan of the running canary; with `expected`, only of that canary.
    ///
    /// # Errors
    /// `no_canary`, `locked`, `not_signed` for a larger share.
    pub(crate) async fn change_canary(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        expected: Option<Running<'_>>,
        share: Percent,
        request: &CanaryRequest,
    ) -> Result<(), Error> {
        let passage = if request.force { LockTreatment::Forced } else { LockTreatment::Stops };
        let key = records::live_key(app, environment);
        let revision = update(&key, || async {
            let (revision, pointer) = self.canary_pointer(app, environment).await?;
            let running = running(environment, &pointer, expected)?;
            let Gate::Open(gate) = self.environments.places.gate(actor, (app, environment), passage).await? else {
                return Err(no_canary(environment));
            };
            a_second_after(running.last_modified_ms()).await;
            let at_ms = clock::now_ms().max(running.last_modified_ms().saturating_add(SECOND_MS));
            let plan = request.plan.clone().map(StoredPlan::from).or_else(|| running.plan.clone());
            let raises = share > running.share;
            let next = CanaryRecord { share, plan, stepped_ms: Some(at_ms), ..running.clone() };
            let next = CanaryRecord { next_ms: next_ms(&next), ..next };
            let (entry_key, mut entry) = self.note_canary(actor, (app, environment), &pointer, &next).await?;
            entry.deploy.reason.clone_from(&request.reason);
            let what = format!("{environment}: {} gets {share} of the visitors", next.version.short());
            let place = (app, environment);
            let announcement = self.canary_stepped(actor, place, (pointer.version, &next), share_text(share));
            // As what begins one: more visitors get only what enough signers have signed, whenever they were set.
            let signed = if raises {
                self.environments.signing.signed(place, &next.version, false).await?.checks
            } else {
                Vec::new()
            };
            let pins = pins_changed(&pointer);
            let next = LivePointer { canary: Some(next), pins, ..pointer };
            let mut commit = changed((&key, revision), gate, (entry_key, &entry), &next)?;
            commit.checks.extend(signed);
            let event = AuditEvent::of(Action::Canary).place(app, environment).what(what);
            let event = event.announcing(Some(announcement));
            Ok::<_, Error>(self.ledger.commit(actor, event, commit).await?.then_some(()))
        })
        .await;
        revision?;
        self.seen_here(app, environment).await
    }

    /// Ends the running canary, so that all visitors get the live version.
    ///
    /// # Errors
    /// `no_canary`.
    pub(crate) async fn abort_canary(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        request: &CanaryEnd,
    ) -> Result<CanaryStatus, Error> {
        check_reason(request.reason.as_deref())?;
        self.end_canary(actor, (app, environment), None, (None, request.reason.clone())).await?;
        self.canary(app, environment).await
    }

    /// As `abort_canary`, for an `expected` canary and with the problem that ends it. A lock does not prevent the end.
    pub(super) async fn end_canary(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        expected: Option<Running<'_>>,
        (problem, reason): (Option<DeployProblem>, Option<String>),
    ) -> Result<(), Error> {
        let key = records::live_key(app, environment);
        update(&key, || async {
            let (revision, pointer) = self.canary_pointer(app, environment).await?;
            let running = running(environment, &pointer, expected)?;
            let Gate::Open(gate) =
                self.environments.places.gate(actor, (app, environment), LockTreatment::Undo).await?
            else {
                return Err(no_canary(environment));
            };
            let (entry_key, mut entry) = self.note_canary(actor, (app, environment), &pointer, running).await?;
            entry.deploy.source.message = Some(format!("canary aborted at {} of the visitors", running.share));
            entry.deploy.reason.clone_from(&reason);
            if let Some(problem) = &problem {
                // Earlier releases know no other outcome.
                (entry.deploy.outcome, entry.deploy.problem) = (StoredOutcome::Failed, Some(problem.clone().into()));
            }
            let why = problem.as_ref().map_or_else(String::new, |problem| format!(": {}", problem.detail));
            let what = format!("{environment}: {} gets no visitors any more{why}", running.version.short());
            // Responses from here on have a later time than those of the canary.
            a_second_after(running.last_modified_ms()).await;
            let switched_ms = clock::now_ms().max(running.last_modified_ms().saturating_add(SECOND_MS));
            let pins = pins_changed(&pointer);
            let next = LivePointer { canary: None, switched_ms, pins, ..pointer.clone() };
            let place = (app, environment);
            let announcement =
                self.canary_stepped(actor, place, (pointer.version, running), format!("it was aborted{why}"));
            let commit = changed((&key, revision), gate, (entry_key, &entry), &next)?;
            let event = AuditEvent::of(Action::AbortCanary).place(app, environment).what(what);
            let event = event.announcing(Some(announcement));
            Ok::<_, Error>(self.ledger.commit(actor, event, commit).await?.then_some(()))
        })
        .await?;
        self.seen_here(app, environment).await
    }

    /// Waits until local requests see the pointer.
    async fn seen_here(&self, app: &AppName, environment: &PlaceName) -> Result<(), Error> {
        let (revision, _) = self.canary_pointer(app, environment).await?;
        self.ledger.live.wait_for(revision).await;
        Ok(())
    }
}

/// Returns the deploy of a beginning canary, with more details than the `noted` entry of a change.
fn begun(intent: &Intent<'_>, steps: Vec<Step>, noted: StoredDeploy) -> Deploy {
    let noted = Deploy::from(noted);
    Deploy {
        id: intent.deploy.to_owned(),
        steps,
        source: Source { message: noted.source.message, ..intent.source.clone() },
        reason: intent.reason.map(str::to_owned),
        outcome: Outcome::Stored,
        ..noted
    }
}

/// Returns new pins, once other versions are served besides the live version: nodes that lag can tell by these.
fn pins_changed(pointer: &LivePointer) -> Option<PinsRecord> {
    pointer.pins.as_ref().map(PinsRecord::changed)
}

/// Builds the commit of a pointer with a changed canary.
fn changed(
    (key, revision): (&str, Revision),
    gate: Check,
    (entry_key, entry): (String, &HistoryEntry),
    next: &LivePointer,
) -> Result<Commit, Error> {
    Ok(Commit {
        checks: vec![Check::At(key.to_owned(), revision), Check::Absent(entry_key.clone()), gate],
        changes: vec![
            Change::Put(entry_key, records::write(entry)?),
            Change::Put(key.to_owned(), records::write(next)?),
        ],
    })
}

/// Returns the canary of a pointer, if expected.
pub(super) fn running<'p>(
    environment: &PlaceName,
    pointer: &'p LivePointer,
    expected: Option<Running<'_>>,
) -> Result<&'p CanaryRecord, Error> {
    let is_expected =
        |canary: &&CanaryRecord| expected.is_none_or(|expected| expected == (canary.deploy.as_str(), canary.share));
    pointer.canary.as_ref().filter(is_expected).ok_or_else(|| no_canary(environment))
}

/// Waits until a change now has a later second than already sent to browsers, or one second if the clock was set back.
///
/// Advancing the time instead would accumulate, change by change, in the history and in the live log.
async fn a_second_after(last_modified_ms: u64) {
    let left_ms = last_modified_ms.saturating_add(SECOND_MS).saturating_sub(clock::now_ms());
    tokio::time::sleep(Duration::from_millis(left_ms.min(SECOND_MS))).await;
}

/// Returns the time of the next step of a canary that begins or steps now, if planned.
fn next_ms(canary: &CanaryRecord) -> Option<u64> {
    let plan = canary.plan.as_ref()?;
    plan.after(canary.share)?;
    Some(clock::now_ms().saturating_add(plan.every_s.saturating_mul(1_000)))
}

/// Describes the share of a canary.
pub(super) fn share_text(share: Percent) -> String {
    format!("it gets {share} of the visitors")
}

/// Describes a switch for its step, for a beginning canary with its share.
pub(super) fn moves(intent: &Intent<'_>, previous: Option<VersionId>) -> String {
    let (environment, to) = (intent.environment, intent.version.short());
    let from = previous.map_or_else(|| "nothing".to_owned(), |id| id.short());
    match intent.begun_canary() {
        Some(canary) => format!("{environment}: {} of the visitors get {to} instead of {from}", canary.share),
        None => format!("{environment}: {from} → {to}"),
    }
}

/// Refuses a switch that would end a canary implicitly, and the completion of an ended canary: a canary aborted during
/// its preparation for all visitors must not go live.
///
/// # Errors
/// `canary_running`, `no_canary`.
pub(super) fn check_canary(intent: &Intent<'_>, live: Option<&LivePointer>) -> Result<(), Error> {
    match (&intent.canary, live.and_then(|live| live.canary.as_ref())) {
        (CanaryMove::Finishes(deploy), Some(running)) if *deploy == running.deploy => Ok(()),
        (CanaryMove::Finishes(_), _) => Err(no_canary(intent.environment)),
        (_, Some(running)) if intent.expected.undone.is_none() => Err(canary_running(intent.environment, running)),
        _ => Ok(()),
    }
}

/// Refuses a push that would go live during a canary.
///
/// # Errors
/// `canary_running`.
pub(crate) fn check_no_canary(environment: &PlaceName, live: Option<&LivePointer>) -> Result<(), Error> {
    let running = live.and_then(|live| live.canary.as_ref());
    running.map_or(Ok(()), |running| Err(canary_running(environment, running)))
}

fn nothing_live(app: &AppName, environment: &PlaceName) -> Error {
    ledger::nothing_live(app, environment).hint("push a first version without --canary").into()
}

pub(super) fn no_canary(environment: &PlaceName) -> Error {
    Problem::new(Code::NoCanary, format!("No canary runs in {environment}."))
        .hint("`devanture push --canary 10` begins one")
        .into()
}

fn canary_running(environment: &PlaceName, running: &CanaryRecord) -> Error {
    let detail = format!(
        "{} of the visitors of {environment} get {}, by a canary that {} began.",
        running.share,
        running.version.short(),
        running.who
    );
    Problem::new(Code::CanaryRunning, detail)
        .hint("`devanture canary finish` or `devanture canary abort` ends it")
        .into()
}

/// Rights at the beginning of a canary.
fn begun_with(actor: &Actor) -> BegunWith {
    BegunWith {
        app: actor.app.clone(),
        environment: actor.environment.clone(),
        scope: actor.scope.into(),
        unconfirmed: actor.unconfirmed,
    }
}
