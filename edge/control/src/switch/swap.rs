//! Moves live pointers: the single compare-and-swap that changes the served version, with its history entry.

use std::time::Instant;

use devanture_config::api::{Deploy, Lock, Outcome, Step, StepState};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, HostPattern, PlaceName, VersionId};
use futures_util::{FutureExt as _, TryFutureExt as _};

use super::canary::{SECOND_MS, check_canary, moves};
use super::deploys::Steps;
use super::intent::{Intent, Move};
use super::switcher::Switcher;
use super::watch::Watching;
use crate::cluster::Prepared;
use crate::hostnames::Claims;
use crate::ledger::{Attempts, Error, other_than};
use crate::places::{Gate, check_may_be_live, locked_by};
use crate::runner::{BackendSpec, InstanceLease};
use devanture_base::clock;
use devanture_base::telemetry;
use devanture_serve::live::{Load, Preparing};
use devanture_serve::version::Version;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::gone;
use devanture_store::records::{self, LivePointer};

/// Backend of the next live version, with the lease of its instances.
pub(crate) struct Running<'r> {
    pub(crate) wanted: &'r mut Option<BackendSpec>,
    pub(crate) held: &'r mut Option<InstanceLease>,
    /// Preparation of other nodes.
    pub(crate) elsewhere: &'r mut Option<Prepared>,
}

/// Outcome of a switch.
#[derive(Default)]
pub(crate) struct SwitchOutcome {
    pub(crate) previous: Option<VersionId>,
    /// Replaced pointer, if any.
    pub(crate) before: Option<LivePointer>,
    pub(crate) deploy: Option<String>,
    pub(crate) switched: bool,
    /// Lock that held back a push.
    pub(crate) locked: Option<Lock>,
    /// Hostnames newly claimed for the environment.
    pub(crate) hostnames: Vec<HostPattern>,
}

/// Outcome of a dry run.
pub(super) struct SwitchPreview {
    pub(super) previous: Option<VersionId>,
    pub(super) switches: bool,
}

impl Switcher {
    /// Returns the hostnames of the environment listed by the version, and those available to the environment.
    pub(crate) async fn claims(&self, intent: &Intent<'_>) -> Result<Claims, Error> {
        let is_rollback = intent.movement.is_rollback();
        let place = (intent.app, intent.environment);
        self.environments.hostnames.claims(intent.actor, place, intent.version, is_rollback).await
    }

    /// Loads the version, then swaps the pointer; with `first`, the local node serves the version for a while
    /// before the swap. The previous version stays live until the swap, and after any failure.
    pub(crate) async fn make_live(
        &self,
        intent: &Intent<'_>,
        first: Option<&Watching>,
        steps: &mut Steps,
    ) -> Result<SwitchOutcome, Error> {
        if let Some(held) = self.held_back(intent, steps).await? {
            return Ok(held);
        }
        // From here on, the version is protected from collection.
        let _lease = self.ledger.leases.version(intent.version).await;
        // Read before the check: any version that goes live afterwards must be checked too.
        let checked_at = self.live_revision(intent).await?;
        self.check_stored(intent).await?;
        let mut backend = self.backend_of((intent.app, intent.environment), intent.version, intent.settings).await?;
        // Refusals before this point are not announced; later failures are steps of an announced switch.
        self.announce_begun(intent).await;
        if let Some(wanted) = &backend {
            self.release(intent, wanted, steps).await?;
        }
        let reporter = steps.reporter("prepare");
        let prepare = async {
            // DNS lookups may be slow, so hostnames are resolved before instances are held ready.
            let claims = self.claims(intent).await?;
            let report = |line: &str| reporter.report(line);
            let here = async {
                let (prepared, detail) = self.prepare((intent.app, intent.environment), intent.version).await?;
                let instances = self.prepare_instances(backend.as_ref(), &report).await?;
                Ok::<_, Error>((prepared, instances, detail))
            }
            .map_err(|error| self.named_failure(error));
            let ((prepared, instances, detail), elsewhere) =
                tokio::try_join!(here, self.prepare_elsewhere(intent, &report))?;
            let detail = self.named_by_node(detail, elsewhere.as_ref());
            Ok(((prepared, claims, instances, elsewhere), detail))
        };
        let (prepared, claims, mut instances, mut elsewhere) = steps.run("prepare", prepare).await?;
        // The version was not loaded before, so its assets stop being served if the switch is abandoned.
        if let Some(preparing) = &prepared {
            self.smoke(intent, preparing.version(), steps).boxed().await?;
        }
        let served_first = match (first, &prepared) {
            (Some(watching), Some(preparing)) => {
                let others = elsewhere.as_ref().map_or(0, Prepared::count);
                self.serve_first(intent, preparing.version(), (watching, others), steps).boxed().await?
            }
            _ => None,
        };
        if served_first.is_some() {
            // Nodes may have joined or returned during the watch.
            elsewhere = self.prepare_again(intent, elsewhere).await?;
        }
        let before = steps.list().to_vec();
        let running = Running { wanted: &mut backend, held: &mut instances, elsewhere: &mut elsewhere };
        let moved = steps.run("switch", self.swap(intent, &claims, running, before, checked_at)).await?;
        if let Some(first) = served_first.filter(|_| moved.switched) {
            first.keep();
        }
        // Any earlier failure would have stopped the instances; from now on the pointer holds the instances.
        drop(instances);
        if let Some(elsewhere) = elsewhere.filter(|_| moved.switched) {
            self.await_others(intent, elsewhere, steps).await;
        }
        // Also after a push of the live version: missing variants are made again.
        if moved.switched || moved.previous == Some(intent.version) {
            self.background.enqueue(intent.app, intent.environment, intent.version);
        }
        Ok(moved)
    }

    /// Dry run of [`Switcher::make_live`]: returns its refusal or its outcome without any change, start or trial.
    /// `prepare` only checks hostnames; neither `release` nor `smoke` runs.
    pub(super) async fn foresee(&self, intent: &Intent<'_>) -> Result<SwitchPreview, Error> {
        // A lock holds back only a push without a refusal.
        self.held_back(intent, &mut Steps::new(None)).await?;
        let _lease = self.ledger.leases.version(intent.version).await;
        self.check_stored(intent).await?;
        if self.environments.instances.managed_in((intent.app, intent.environment), intent.version).await?.is_some() {
            self.environments.instances.check_backend(intent.app, &intent.version).await?;
        }
        let claims = self.claims(intent).await?;
        let (live, is_same) = self.replaced(intent).await?;
        let previous = live.filter(|(_, pointer)| pointer.is_known()).map(|(_, pointer)| pointer.version);
        if !is_same {
            let place = (intent.app, intent.environment);
            drop(self.environments.places.make_environment(intent.app, intent.environment, previous.is_some()).await?);
            let mut never_made = Commit::default();
            if let Some(revision) = intent.settings {
                self.environments
                    .settings
                    .hold_settings(intent.app, intent.environment, revision, &mut never_made)
                    .await?;
            }
            self.environments.hostnames.claim_hostnames(intent.actor, place, &claims, &mut never_made).await?;
        }
        Ok(SwitchPreview { previous, switches: !is_same })
    }

    /// Runs the checks of the stored version that the switch does not skip.
    async fn check_stored(&self, intent: &Intent<'_>) -> Result<(), Error> {
        self.ledger.must_be_stored(intent.app, &intent.version).await?;
        self.check_signed(intent).await?;
        if !intent.passes.fingerprints {
            self.check_fingerprints(intent).await?;
        }
        if intent.movement.has_unchecked_rules() {
            self.check_stored_rules((intent.app, intent.environment), intent.version).await?;
            self.check_stored_reach(intent.app, intent.version, intent.environment, Some(intent.actor)).await?;
        }
        Ok(())
    }

    /// Returns the replaceable live pointer, and true if the version is already live as requested.
    pub(super) async fn replaced(&self, intent: &Intent<'_>) -> Result<(Option<(Revision, LivePointer)>, bool), Error> {
        self.ledger.check_place(intent.app, intent.environment).await?;
        let live = self.ledger.live_pointer(intent.app, intent.environment).await?;
        intent.expected.condition.check(live.as_ref().map(|(revision, _)| *revision))?;
        self.may_replace(intent, live.as_ref().map(|(_, pointer)| pointer))?;
        let is_same = live.as_ref().is_some_and(|(_, pointer)| {
            intent.begun_canary().is_none()
                && pointer.version == intent.version
                && intent.settings.is_none_or(|settings| settings == pointer.settings)
        });
        Ok((live, is_same))
    }

    /// Returns the outcome of a push to a locked environment; `None` without a lock.
    ///
    /// # Errors
    /// As [`Switcher::gate`], `name_reserved`, and `live_moved`: other kinds of switches are refused early.
    async fn held_back(&self, intent: &Intent<'_>, steps: &mut Steps) -> Result<Option<SwitchOutcome>, Error> {
        check_may_be_live(intent.environment)?;
        let live = self.ledger.live_pointer(intent.app, intent.environment).await?;
        let previous = live.as_ref().filter(|(_, pointer)| pointer.is_known()).map(|(_, pointer)| pointer.version);
        // Checked before preparation and release; the swap checks again.
        if let Some(expected) = intent.expected.version {
            check_expected(expected, intent.environment, live.as_ref().map(|(_, pointer)| pointer.version))?;
        }
        if previous == Some(intent.version) {
            return Ok(None);
        }
        check_canary(intent, live.as_ref().map(|(_, pointer)| pointer))?;
        let Gate::Shut(lock) =
            self.environments.places.gate(intent.actor, (intent.app, intent.environment), intent.passage()).await?
        else {
            return Ok(None);
        };
        self.may_replace(intent, live.as_ref().map(|(_, pointer)| pointer))?;
        steps.skip("prepare", "not wanted");
        steps.skip("switch", &locked_by(&lock, intent.environment));
        let deploy = Some(intent.deploy.to_owned());
        Ok(Some(SwitchOutcome { previous, deploy, locked: Some(lock), ..SwitchOutcome::default() }))
    }

    /// Loads the version locally, so that the swap is instantaneous; its assets are served from now on (law 10).
    pub(crate) async fn prepare(
        &self,
        (app, environment): (&AppName, &PlaceName),
        id: VersionId,
    ) -> Result<(Option<Preparing>, String), Error> {
        let place = self.ledger.live.place(app, environment);
        if let Some(current) = place.as_ref().and_then(|place| place.pointed())
            && current.version.id == id
            && current.version.is_whole()
        {
            return Ok((None, "already live".to_owned()));
        }
        let at_hand = place.as_ref().and_then(|place| place.loaded(&id));
        // A damaged version is loaded again, and refused if still damaged.
        let at_hand = at_hand.filter(|version| version.is_whole());
        let version = match at_hand {
            Some(version) => version,
            None => self.loader.load(Load::live(app, &id, environment)).await?,
        };
        Ok((Some(self.ledger.live.begin_preparing(&version)), "ready".to_owned()))
    }

    pub(crate) async fn check_fingerprints(&self, intent: &Intent<'_>) -> Result<(), Error> {
        let stores = (&*self.blobs, &*self.ledger);
        self.fingerprints.check(stores, intent.app, intent.environment, intent.version).await
    }

    /// Returns the revision of the live pointer; `None` without a live version.
    async fn live_revision(&self, intent: &Intent<'_>) -> Result<Option<Revision>, Error> {
        Ok(self.ledger.live_pointer(intent.app, intent.environment).await?.map(|(revision, _)| revision))
    }

    /// Moves the pointer. Fingerprinted names were checked at its revision `checked_at`.
    pub(crate) async fn swap(
        &self,
        intent: &Intent<'_>,
        claims: &Claims,
        running: Running<'_>,
        before: Vec<Step>,
        mut checked_at: Option<Revision>,
    ) -> Result<(SwitchOutcome, String), Error> {
        let began = Instant::now();
        let key = records::live_key(intent.app, intent.environment);
        let mut attempts = Attempts::default();
        loop {
            attempts.begin(&key)?;
            let (live, is_same) = self.replaced(intent).await?;
            if let Some((revision, pointer)) = live.as_ref().filter(|_| is_same) {
                let Some(hostnames) = self.stay_live(intent, claims, &key, *revision, pointer).await? else {
                    continue;
                };
                let detail = already_live(&intent.version, &hostnames);
                let (previous, deploy) = (Some(pointer.version), Some(pointer.deploy.clone()));
                return Ok((SwitchOutcome { previous, deploy, hostnames, ..SwitchOutcome::default() }, detail));
            }
            let revision = live.as_ref().map(|(revision, _)| *revision);
            if !intent.passes.fingerprints && revision != checked_at {
                // Another version went live meanwhile, with names of its own.
                self.check_fingerprints(intent).await?;
                checked_at = revision;
            }
            // Instances must have started with the settings that will be in force.
            if let Some(wanted) = running.wanted.as_mut()
                && let (None, Some(settings)) = (intent.settings, live.as_ref().map(|(_, pointer)| pointer.settings))
                && wanted.settings != settings
            {
                wanted.settings = settings;
                let here = self.prepare_instances(Some(wanted), &|_line| {});
                // Other nodes read the pointer for the preparation; if the pointer moves meanwhile, the loop repeats.
                let (held, elsewhere) = tokio::try_join!(here, self.prepare_elsewhere(intent, &|_line| {}))?;
                (*running.held, *running.elsewhere) = (held, elsewhere);
                continue;
            }
            let before_pointer = live.as_ref().map(|(_, pointer)| pointer.clone()).filter(LivePointer::is_known);
            let previous = before_pointer.as_ref().map(|pointer| pointer.version);
            let gate = match self
                .environments
                .places
                .gate(intent.actor, (intent.app, intent.environment), intent.passage())
                .await?
            {
                Gate::Open(check) => check,
                // It was locked since the push looked.
                Gate::Shut(lock) => {
                    let detail = locked_by(&lock, intent.environment);
                    let deploy = Some(intent.deploy.to_owned());
                    return Ok((
                        SwitchOutcome { previous, deploy, locked: Some(lock), ..SwitchOutcome::default() },
                        detail,
                    ));
                }
            };
            let detail = moves(intent, previous);
            let mut steps = before.clone();
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            steps.push(Step { name: "switch".to_owned(), state: StepState::Done, detail: detail.clone(), ms });
            let _making =
                self.environments.places.make_environment(intent.app, intent.environment, previous.is_some()).await?;
            let (mut commit, hostnames) = match intent.begun_canary() {
                Some(canary) => (self.compose_canary(intent, canary, live, steps).await?, Vec::new()),
                None => self.compose(intent, claims, &key, live, steps).await?,
            };
            commit.checks.push(gate);
            let event = intent.event().what(&detail).announcing(Some(self.moved(intent, previous)));
            if self.ledger.commit(intent.actor, event, commit).await? {
                let place = (intent.app.as_str(), intent.environment.as_str());
                telemetry::count_in_place("devanture_switches_total", place, &[], 1);
                let deploy = Some(intent.deploy.to_owned());
                let moved =
                    SwitchOutcome { previous, before: before_pointer, deploy, switched: true, hostnames, locked: None };
                return Ok((moved, detail));
            }
        }
    }

    /// Writes the pointer of a version that is already live, if needed. A push without changes still becomes the newest
    /// push, so that older pushes cannot supersede it, and a version that failed to load, for example after damage to a
    /// stored file, is served again. A push also reclaims its listed hostnames that were taken from the environment,
    /// and returns those; `None` if another commit won the race.
    async fn stay_live(
        &self,
        intent: &Intent<'_>,
        claims: &Claims,
        key: &str,
        revision: u64,
        pointer: &LivePointer,
    ) -> Result<Option<Vec<HostPattern>>, Error> {
        let served = self.ledger.live.place(intent.app, intent.environment).and_then(|place| place.pointed());
        let is_whole = |version: &Version| version.id == pointer.version && version.is_whole();
        let is_served = served.is_some_and(|current| is_whole(&current.version));
        let is_newer = intent.movement.is_push() && intent.begun > intent.taken_over(pointer);
        if is_served && !is_newer {
            return Ok(Some(Vec::new()));
        }
        let halves = if is_newer { intent.halves_begun(Some(pointer)) } else { pointer.halves() };
        let (begun, halves_begun) = halves.recorded();
        let stays = LivePointer { begun, halves_begun, ..pointer.clone() };
        let mut commit = Commit {
            checks: vec![Check::At(key.to_owned(), revision)],
            changes: vec![Change::Put(key.to_owned(), records::write(&stays)?)],
        };
        let mut hostnames = Vec::new();
        // The hostnames of a locked environment stay unchanged.
        if intent.movement.is_push()
            && let Gate::Open(check) =
                self.environments.places.gate(intent.actor, (intent.app, intent.environment), intent.passage()).await?
        {
            commit.checks.push(check);
            hostnames = self
                .environments
                .hostnames
                .claim_hostnames(intent.actor, (intent.app, intent.environment), claims, &mut commit)
                .await?;
        }
        let event = intent.event().what(already_live(&intent.version, &hostnames));
        Ok(self.ledger.commit(intent.actor, event, commit).await?.then_some(hostnames))
    }

    /// Checks that the intent may replace the live version.
    pub(super) fn may_replace(&self, intent: &Intent<'_>, live: Option<&LivePointer>) -> Result<(), Error> {
        if let Some(expected) = intent.expected.version {
            check_expected(expected, intent.environment, live.map(|pointer| pointer.version))?;
        }
        if live.is_none_or(|live| live.version != intent.version) {
            check_canary(intent, live)?;
        }
        if let Some(replaces) = intent.expected.undone
            && live.is_none_or(|pointer| pointer.deploy != replaces.deploy)
        {
            return Err(Problem::new(Code::LiveMoved, "Another deploy went live meanwhile.").into());
        }
        if let Some(live) = live
            && live.version != intent.version
            && intent.movement.is_push()
            && !intent.passes.newer_pushes
            && intent.begun < intent.taken_over(live)
        {
            let detail = format!("{} went live from a push that began after this one.", live.version.short());
            return Err(Problem::new(Code::Superseded, detail)
                .hint("the version is stored and has its preview; --force makes it live all the same")
                .into());
        }
        match (intent.half, live.filter(|live| live.is_known()).map(|live| live.version)) {
            (Some((_, with)), now) if now != with && now != Some(intent.version) => {
                let is =
                    now.map_or_else(|| "Nothing is live any more".to_owned(), |id| format!("{} went live", id.short()));
                let detail = format!("{is}, and this push takes its other half from what is live.");
                Err(Problem::new(Code::LiveMoved, detail).hint("push again").into())
            }
            _ => Ok(()),
        }
    }

    /// Builds the commit: pointer, history entry, and claimed hostnames of the environment. Also returns the newly
    /// claimed hostnames.
    async fn compose(
        &self,
        intent: &Intent<'_>,
        claims: &Claims,
        key: &str,
        live: Option<(u64, LivePointer)>,
        steps: Vec<Step>,
    ) -> Result<(Commit, Vec<HostPattern>), Error> {
        let entry_key = self.ledger.next_entry(intent.app, intent.environment).await?;
        let position = match &intent.movement {
            Move::Rollback { position: Some(position) } => position.clone(),
            Move::Push | Move::Switch | Move::Rollback { position: None } | Move::Promote => entry_key.clone(),
        };
        // The machine's clock may have been set back; `Last-Modified` as sent to browsers must not (design, section 6).
        let before_ms = live.as_ref().map_or(0, |(_, pointer)| pointer.last_modified_ms());
        let now_ms = match clock::now_ms() {
            now_ms if now_ms < before_ms => before_ms.saturating_add(SECOND_MS),
            now_ms => now_ms,
        };
        let (begun, halves_begun) = intent.halves_begun(live.as_ref().map(|(_, pointer)| pointer)).recorded();
        let mut commit = Commit::default();
        let settings = match (intent.settings, &live) {
            (Some(revision), _) => {
                self.environments.settings.hold_settings(intent.app, intent.environment, revision, &mut commit).await?;
                revision
            }
            (None, Some((_, pointer))) => pointer.settings,
            // What was set before anything was live; a promotion brings no other environment's.
            (None, None) => {
                self.environments.settings.newest_settings(intent.app, intent.environment, &mut commit).await?
            }
        };
        let mut pointer = LivePointer {
            version: intent.version,
            settings,
            switched_ms: now_ms,
            deploy: intent.deploy.to_owned(),
            begun,
            position: position.clone(),
            halves_begun,
            canary: None,
            pins: None,
        };
        let deploy = Deploy {
            id: intent.deploy.to_owned(),
            kind: intent.movement.kind(),
            environment: intent.environment.clone(),
            version: intent.version,
            previous: live.as_ref().filter(|(_, pointer)| pointer.is_known()).map(|(_, pointer)| pointer.version),
            who: intent.actor.name.clone(),
            at_ms: now_ms,
            source: intent.source.clone(),
            steps,
            outcome: Outcome::Live,
            alias: None,
            problem: None,
            log: intent.log.to_vec(),
            settings,
            went_back: intent.expected.undone.map(|replaces| replaces.why.to_owned()),
            reason: intent.reason.map(str::to_owned),
            halves: intent.brought.0,
            with: intent.brought.1,
        };
        let check = Check::of(key.to_owned(), live.as_ref().map(|(revision, _)| *revision));
        // An alias of the same name may have been created since the push began.
        let no_alias = Check::Absent(records::alias_key(intent.app, intent.environment));
        let not_deleted = Check::Absent(gone::deleted_environment_key(intent.app, intent.environment));
        commit.checks.extend([check, no_alias, not_deleted, Check::Absent(entry_key.clone())]);
        self.ledger.hold_version(&mut commit, intent.app, &intent.version, live.is_none()).await?;
        let place = (intent.app, intent.environment);
        self.hold_signed(intent, (&pointer, &deploy), &mut commit).await?;
        // After the check of the signers: signers set from here on are not covered by the check.
        pointer.pins = self.pins(intent, live.as_ref().map(|(_, pointer)| pointer)).await?;
        let hostnames = self.environments.hostnames.claim_hostnames(intent.actor, place, claims, &mut commit).await?;
        commit.changes.push(Change::Put(entry_key, records::write(&self.ledger.entry_of(deploy, position))?));
        commit.changes.push(Change::Put(key.to_owned(), records::write(&pointer)?));
        Ok((commit, hostnames))
    }
}

/// Checks that the version expected by a deploy is live.
///
/// # Errors
/// `live_moved`.
pub(crate) fn check_expected(expected: &str, environment: &PlaceName, live: Option<VersionId>) -> Result<(), Error> {
    let Some(is) = other_than(expected, live) else { return Ok(()) };
    let detail = format!("{expected} was expected to be live in {environment}, but {is} is.");
    Err(Problem::new(Code::LiveMoved, detail)
        .hint("look at `devanture status`, then decide")
        .live(environment, live)
        .into())
}

/// Formats the outcome of a push of the live version.
fn already_live(version: &VersionId, hostnames: &[HostPattern]) -> String {
    let taken: Vec<String> = hostnames.iter().map(ToString::to_string).collect();
    let taken = if taken.is_empty() { String::new() } else { format!("; new hostnames: {}", taken.join(", ")) };
    format!("{} is live already{taken}", version.short())
}
