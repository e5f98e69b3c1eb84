//! Switches of stored versions on request: switch, rollback, promotion. `swap.rs` moves the pointer.

use std::sync::Arc;
use std::time::Instant;

use devanture_base::clock;
use devanture_config::api::{
    CanaryEnd, Deploy, DeployEvent, DeployProblem, Outcome, Pause, PromoteRequest, RollbackRequest, SettingsDifference,
    Source, SwitchReport, SwitchRequest, WebhookData, WebhookEvent,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};
use devanture_store::records::{self, CanaryRecord, VersionRecord, settings};
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use super::canary::{Running, running, share_text};
use super::checks::{check_if_live, check_reason, check_typed};
use super::deploys::{EventSink, Steps};
use super::intent::{CanaryMove, Intent, Move, Passes, Preconditions};
use super::swap::{SwitchOutcome, SwitchPreview, check_expected};
use super::switcher::Switcher;
use super::watch::Caution;
use crate::ledger::{Actor, Announcement, Condition, Earlier, Error};

/// Options of a switch other than a push, besides its version.
struct Moving {
    movement: Move,
    if_live: Option<String>,
    condition: Condition,
    passes: Passes,
    caution: Caution,
    settings: Option<u64>,
    /// For a rollback: changes of the settings since the version was live.
    difference: Option<SettingsDifference>,
    /// Reason, for the history.
    reason: Option<String>,
    /// Dry run.
    dry_run: bool,
    /// Canary to be finished.
    canary: CanaryMove,
}

/// Running switch, which runs to completion even if the caller is dropped.
pub type Switching = JoinHandle<Result<SwitchReport, Error>>;

impl Switcher {
    /// Starts a switch to a stored version. A live version stays unchanged, and so does a dry run, which reports the
    /// refusals that precede preparation. The last event on `sink` is the report or the problem.
    ///
    /// # Errors
    /// `not_found`, `ambiguous_id`, `bad_request`; then `live_moved`, `locked`, `precondition_failed`,
    /// `fingerprint_reused`, `not_ready`, `smoke_failed`, `watch_failed`.
    pub(crate) async fn switch(
        self: &Arc<Self>,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        wanted: &SwitchRequest,
        (condition, dry_run): (&Condition, bool),
        sink: Option<EventSink>,
    ) -> Result<Switching, Error> {
        self.check_watch(wanted.watch_s)?;
        check_reason(wanted.reason.as_deref())?;
        wanted.if_live.as_deref().map_or(Ok(()), check_if_live)?;
        let version = self.ledger.resolve_version(app, &wanted.version).await?;
        let moving = Moving {
            movement: Move::Switch,
            if_live: wanted.if_live.clone(),
            condition: condition.clone(),
            passes: Passes {
                newer_pushes: true,
                fingerprints: wanted.allow_refingerprint,
                lock: wanted.force,
                smoke: wanted.no_smoke,
            },
            caution: Caution { watch_s: wanted.watch_s, rollout: wanted.rollout },
            settings: None,
            difference: None,
            reason: wanted.reason.clone(),
            dry_run,
            canary: CanaryMove::None,
        };
        Ok(self.begin_move(actor, app, environment, version, moving, sink))
    }

    /// Starts a rollback to the previous live version, or to a requested version; a version never live here passes the
    /// checks of a switch. The settings stay, and the report lists their differences from the settings of the version's
    /// time; `with_settings` restores the earlier settings too.
    ///
    /// A request with both the version and the live version repeats a predicted rollback. If the version equals the
    /// target of a rollback without a version, the request is that rollback: with the same settings, and the next
    /// rollback goes further back, also for a version that occurs twice in the history.
    ///
    /// # Errors
    /// `no_previous` without an earlier version, `live_moved` after a concurrent switch, `not_found` for settings no
    /// longer kept, and errors of [`Switcher::switch`].
    pub(crate) async fn rollback(
        self: &Arc<Self>,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        request: &RollbackRequest,
        (condition, dry_run): (&Condition, bool),
        sink: Option<EventSink>,
    ) -> Result<Switching, Error> {
        self.check_watch(request.watch_s)?;
        check_reason(request.reason.as_deref())?;
        request.if_live.as_deref().map_or(Ok(()), check_if_live)?;
        let with_settings = request.with_settings;
        let (earlier, if_live) = self.going_back(app, environment, request).await?;
        let Earlier { version, position, from, settings: was, .. } = earlier;
        if with_settings && was.is_none() {
            let id = version.short();
            return Err(match version == from {
                true => Problem::new(
                    Code::NoPrevious,
                    format!("{id} is live in {environment}, and was not before: there are no other settings of it."),
                )
                .hint("`devanture env set` changes settings"),
                false => Problem::new(
                    Code::NoPrevious,
                    format!("{id} was never live in {environment}: there are no settings of it."),
                )
                .hint("roll back without its settings"),
            }
            .into());
        }
        let held = settings::held(&*self.ledger.catalog, app, environment).await?;
        let difference = match was {
            Some(was) => self.environments.settings.settings_difference(app, environment, was, &held).await?,
            None => None,
        };
        // A version that was live here returns with the contents of its names; any other version is checked as in a
        // switch.
        let was_live = position.is_some();
        let moving = Moving {
            movement: Move::Rollback { position },
            if_live,
            condition: condition.clone(),
            passes: Passes { newer_pushes: true, fingerprints: was_live, lock: request.force, smoke: request.no_smoke },
            caution: Caution { watch_s: request.watch_s, rollout: request.rollout },
            settings: was.filter(|_| with_settings),
            difference,
            reason: request.reason.clone(),
            dry_run,
            canary: CanaryMove::None,
        };
        Ok(self.begin_move(actor, app, environment, version, moving, sink))
    }

    /// Returns the target of a rollback, and the version required to be live.
    async fn going_back(
        &self,
        app: &AppName,
        environment: &PlaceName,
        request: &RollbackRequest,
    ) -> Result<(Earlier, Option<String>), Error> {
        let wanted = match request.version.as_deref() {
            Some(typed) => Some(self.ledger.resolve_version(app, typed).await?),
            None => None,
        };
        if let Some(expected) = &request.if_live {
            let live = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer.version);
            check_expected(expected, environment, live)?;
        }
        let next = match (wanted, &request.if_live) {
            (Some(_), None) => None,
            (None, _) => Some(self.ledger.earlier(app, environment, None).await?),
            // The requested version may still be found if the history lacks the previous version.
            (Some(version), Some(_)) => {
                self.ledger.earlier(app, environment, None).await.ok().filter(|next| next.version == version)
            }
        };
        Ok(match next {
            // The predecessor of the live version is not the predecessor of another version.
            Some(next) => {
                let from = next.from.to_string();
                (next, Some(from))
            }
            None => (self.ledger.earlier(app, environment, wanted).await?, request.if_live.clone()),
        })
    }

    /// Starts a switch of all visitors to the canary's version, which was checked when the canary began.
    ///
    /// # Errors
    /// `no_canary`, and errors of [`Switcher::switch`].
    pub(crate) async fn finish_canary(
        self: &Arc<Self>,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        expected: Option<Running<'_>>,
        request: &CanaryEnd,
        sink: Option<EventSink>,
    ) -> Result<Switching, Error> {
        check_reason(request.reason.as_deref())?;
        let (_, pointer) = self.canary_pointer(app, environment).await?;
        let running = running(environment, &pointer, expected)?.clone();
        let moving = Moving {
            movement: Move::Switch,
            if_live: None,
            condition: Condition::default(),
            passes: Passes { newer_pushes: true, fingerprints: true, lock: request.force, smoke: true },
            caution: Caution::default(),
            settings: None,
            difference: None,
            reason: request.reason.clone(),
            dry_run: false,
            canary: CanaryMove::Finishes(running.deploy),
        };
        Ok(self.begin_move(actor, app, environment, running.version, moving, sink))
    }

    /// Starts a switch to the live version of another environment.
    ///
    /// # Errors
    /// `nothing_live` without a live version there, `live_moved` for a version other than requested, and errors of
    /// [`Switcher::switch`].
    pub(crate) async fn promote(
        self: &Arc<Self>,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        wanted: &PromoteRequest,
        (condition, dry_run): (&Condition, bool),
        sink: Option<EventSink>,
    ) -> Result<Switching, Error> {
        self.check_watch(wanted.watch_s)?;
        check_reason(wanted.reason.as_deref())?;
        wanted.version.as_deref().map_or(Ok(()), |typed| check_typed("version", typed))?;
        wanted.if_live.as_deref().map_or(Ok(()), check_if_live)?;
        let from = &wanted.from;
        let Some((_, pointer)) = self.ledger.live_pointer(app, from).await? else {
            let detail = format!("Nothing is live in {from} of the app {app}.");
            return Err(Problem::new(Code::NothingLive, detail).hint(format!("push to {from} first")).into());
        };
        if let Some(expected) = &wanted.version {
            check_expected(expected, from, Some(pointer.version))?;
        }
        let moving = Moving {
            movement: Move::Promote,
            if_live: wanted.if_live.clone(),
            condition: condition.clone(),
            passes: Passes {
                newer_pushes: true,
                fingerprints: wanted.allow_refingerprint,
                lock: wanted.force,
                smoke: wanted.no_smoke,
            },
            caution: Caution { watch_s: wanted.watch_s, rollout: wanted.rollout },
            settings: None,
            difference: None,
            reason: wanted.reason.clone(),
            dry_run,
            canary: CanaryMove::None,
        };
        Ok(self.begin_move(actor, app, environment, pointer.version, moving, sink))
    }

    fn begin_move(
        self: &Arc<Self>,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        version: VersionId,
        moving: Moving,
        sink: Option<EventSink>,
    ) -> Switching {
        let (this, actor, app, environment) = (Arc::clone(self), actor.clone(), app.clone(), environment.clone());
        self.tasks.spawn(
            async move {
                let mut steps = Steps::new(sink);
                let is_rollback = moving.movement.is_rollback();
                let moved = this.move_to(&actor, &app, &environment, version, moving, &mut steps).await;
                let moved = moved.map_err(|Error(problem)| match problem.code {
                    // A rollback lacks the flag named in the hint.
                    Code::FingerprintReused if is_rollback => problem
                        .hint(format!(
                            "`devanture switch {} --allow-refingerprint` makes it live all the same",
                            version.short()
                        ))
                        .into(),
                    _ => Error(problem),
                });
                steps.last(match &moved {
                    Ok(report) => DeployEvent::Switched(Box::new(report.clone())),
                    Err(error) => DeployEvent::Problem(error.0.clone()),
                });
                moved
            }
            .boxed(),
        )
    }

    async fn move_to(
        self: &Arc<Self>,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        version: VersionId,
        moving: Moving,
        steps: &mut Steps,
    ) -> Result<SwitchReport, Error> {
        let began = Instant::now();
        let begun = self.ledger.tick();
        let deploy = format!("{begun:x}");
        let source = self.source_of(app, &version).await?;
        let intent = Intent {
            app,
            environment,
            version,
            movement: moving.movement,
            deploy: &deploy,
            begun,
            actor,
            source: &source,
            log: &[],
            expected: Preconditions { version: moving.if_live.as_deref(), condition: &moving.condition, undone: None },
            passes: moving.passes,
            settings: moving.settings,
            half: None,
            brought: (None, None),
            reason: moving.reason.as_deref(),
            canary: moving.canary,
        };
        let moved = match moving.dry_run {
            true => {
                let SwitchPreview { previous, switches } = self.foresee(&intent).await?;
                SwitchOutcome { previous, switched: switches, ..SwitchOutcome::default() }
            }
            false => match self.make_live_watched(&intent, moving.caution, steps).await {
                Ok(moved) => moved,
                Err(error) => {
                    if steps.were_refused() {
                        self.record_refusal(&intent, steps, &error).await;
                    } else if !steps.list().is_empty() && !steps.have_switched() {
                        self.announce_failed(&intent, &error).await;
                    }
                    return Err(error);
                }
            },
        };
        let paused = self.pause_of(app, environment, &moved).await;
        Ok(SwitchReport {
            dry_run: moving.dry_run,
            paused,
            app: app.clone(),
            environment: environment.clone(),
            version,
            previous: moved.previous,
            switched: moved.switched,
            urls: self.environments.places.urls(app, environment, &version),
            deploy: moved.deploy,
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            steps: steps.list().to_vec(),
            settings: moving.difference.map(|difference| SettingsDifference {
                restored: moving.settings.is_some() && moved.switched,
                ..difference
            }),
        })
    }

    /// Records in the history that a switch of a stored version was refused, with the reason, for other users.
    async fn record_refusal(&self, intent: &Intent<'_>, steps: &Steps, error: &Error) {
        let (app, environment, problem) = (intent.app, intent.environment, &error.0);
        let record = async {
            let live = self.ledger.live_pointer(app, environment).await?.map(|(_, pointer)| pointer);
            let deploy = Deploy {
                id: intent.deploy.to_owned(),
                kind: intent.movement.kind(),
                environment: environment.clone(),
                version: intent.version,
                previous: live.as_ref().filter(|pointer| pointer.is_known()).map(|pointer| pointer.version),
                who: intent.actor.name.clone(),
                at_ms: clock::now_ms(),
                source: intent.source.clone(),
                steps: steps.list().to_vec(),
                // As for a push: earlier releases know no other outcome.
                outcome: Outcome::Failed,
                alias: None,
                problem: Some(DeployProblem { code: problem.code, detail: problem.detail.clone() }),
                log: Vec::new(),
                settings: live.map_or(0, |pointer| pointer.settings),
                went_back: None,
                reason: intent.reason.map(str::to_owned),
                halves: None,
                with: None,
            };
            let _making = self.environments.places.make_history(app, environment).await?;
            self.ledger.append_history(app, deploy).await
        };
        // The switch is refused with its reason in any case.
        if let Err(error) = record.await {
            tracing::warn!(%app, %environment, %error, "a refused switch could not be recorded");
        }
    }

    /// Returns the pause that hides the new live version. An unreadable catalog does not fail the switch.
    pub(crate) async fn pause_of(
        &self,
        app: &AppName,
        environment: &PlaceName,
        moved: &SwitchOutcome,
    ) -> Option<Pause> {
        if moved.locked.is_some() {
            return None;
        }
        self.environments.pauses.paused(app, environment).await.ok().flatten().map(|(_, pause)| pause)
    }

    /// Returns the source of a stored version's bundle.
    pub(super) async fn source_of(&self, app: &AppName, version: &VersionId) -> Result<Source, Error> {
        let key = records::version_key(app, version);
        let record = self.ledger.catalog.get(&key).await?;
        let record = record.map(|record| records::read::<VersionRecord>(&key, &record)).transpose()?;
        Ok(record.map(|record| record.source.into()).unwrap_or_default())
    }
}

// Webhook announcements of switches, rollbacks, promotions and canaries.

/// Adds the source of the bundle to an event.
pub(crate) fn with_source(data: WebhookData, source: &Source) -> WebhookData {
    let Source { commit, branch, message, .. } = source.clone();
    WebhookData { commit, branch, message, ..data }
}

fn of_intent(intent: &Intent<'_>) -> WebhookData {
    let data = WebhookData {
        environment: Some(intent.environment.clone()),
        actor: Some(intent.actor.name.clone()),
        kind: Some(intent.movement.kind()),
        deploy: Some(intent.deploy.to_owned()),
        version: Some(intent.version),
        reason: intent.reason.map(str::to_owned),
        ..WebhookData::of(intent.app)
    };
    with_source(data, intent.source)
}

impl Switcher {
    /// Announces a live version, in the commit that moves the pointer.
    fn went_live(&self, intent: &Intent<'_>, previous: Option<VersionId>) -> Announcement {
        let urls = self.environments.places.urls(intent.app, intent.environment, &intent.version);
        let mut data = WebhookData { previous, url: Some(urls.live), preview: Some(urls.preview), ..of_intent(intent) };
        let event = match (&intent.movement, intent.expected.undone) {
            (_, Some(undone)) => {
                // `message` repeats the reason as a sentence for the history.
                (data.reason, data.message) = (Some(undone.why.to_owned()), None);
                WebhookEvent::DeployUndone
            }
            (Move::Rollback { .. }, None) => WebhookEvent::DeployRollback,
            (Move::Push | Move::Switch | Move::Promote, None) => WebhookEvent::DeployLive,
        };
        Announcement { event, data }
    }

    /// Announces a switch: a new live version, or a canary.
    pub(super) fn moved(&self, intent: &Intent<'_>, previous: Option<VersionId>) -> Announcement {
        match (intent.begun_canary(), previous) {
            (Some(canary), Some(live)) => {
                let place = (intent.app, intent.environment);
                self.canary_stepped(intent.actor, place, (live, canary), share_text(canary.share))
            }
            _ => self.went_live(intent, previous),
        }
    }

    /// Announces a canary's new share of visitors or end, with the reason.
    pub(super) fn canary_stepped(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        (live, canary): (VersionId, &CanaryRecord),
        what: String,
    ) -> Announcement {
        let urls = self.environments.places.urls(app, environment, &canary.version);
        let data = WebhookData {
            environment: Some(environment.clone()),
            actor: Some(actor.name.clone()),
            deploy: Some(canary.deploy.clone()),
            version: Some(canary.version),
            previous: Some(live),
            url: Some(urls.live),
            preview: Some(urls.preview),
            reason: Some(what),
            ..WebhookData::of(app)
        };
        Announcement { event: WebhookEvent::CanaryStep, data }
    }

    /// Notifies webhooks of the start of a switch of a stored version; `publish` announces pushes.
    pub(super) async fn announce_begun(&self, intent: &Intent<'_>) {
        if !intent.movement.is_push() && intent.expected.undone.is_none() && intent.begun_canary().is_none() {
            let announcement = Announcement { event: WebhookEvent::DeployStarted, data: of_intent(intent) };
            self.ledger.announce(&announcement).await;
        }
    }

    /// Notifies webhooks of a failed switch without a history entry.
    pub(super) async fn announce_failed(&self, intent: &Intent<'_>, error: &Error) {
        let problem = DeployProblem { code: error.0.code, detail: error.0.detail.clone() };
        let data = WebhookData { problem: Some(problem), ..of_intent(intent) };
        self.ledger.announce(&Announcement { event: WebhookEvent::DeployFailed, data }).await;
    }
}
