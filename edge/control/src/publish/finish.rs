//! Second half of a push: verify, compress, prepare, switch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use devanture_base::{clock, telemetry};
use devanture_config::api::{
    ByteCounts, Deploy, DeployKind, DeployProblem, DeployReport, FileCounts, Outcome, PlaceStatus, Scope, WebhookData,
    WebhookEvent,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, PlaceName};
use devanture_store::blobs::Key;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::gone::GoneVersion;
use devanture_store::records::{self, Reach, VersionRecord, gone};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::admission::check_cases;
use super::integrity;
use super::joined::{JOINS_MAX, Rights};
use super::publisher::Publisher;
use super::pushes::Push;
use crate::encode;
use crate::ledger::{Action, Actor, Announcement, AuditEvent, Condition, Error, Lease, SameApp};
use crate::places::{PREVIEW, locked_by};
use crate::switch::{
    CanaryMove, Caution, EventSink, Intent, Move, Origin, Passes, Preconditions, StepReporter, Steps, SwitchOutcome,
    Tolerance, with_source,
};

/// Most named files with compressed forms that decode to too many bytes.
const BEYOND_NAMED_MAX: usize = 10;

/// Push with all blobs present, claimed for finishing.
pub struct ClaimedPush(Arc<Push>);

/// Result of the step `compress`.
struct Compressed {
    /// Encodings included in the bundle.
    given: encode::Given,
    /// Files used as dictionaries.
    passed: Option<encode::Passed>,
    /// Protect files outside the manifest until the version's record refers to them.
    leases: (Lease, Option<Lease>),
}

impl Publisher {
    /// Claims a running push for finishing; only one caller succeeds.
    ///
    /// # Errors
    /// `not_found` for an unknown push; `forbidden` for a push to another environment than the token's, or begun with
    /// another token.
    pub fn take(&self, actor: &Actor, app: &AppName, deploy: &str) -> Result<ClaimedPush, Error> {
        let push = self.uploads.pushes.find(app, deploy)?;
        actor.may(Scope::Push, app, Some(&push.environment))?;
        push.check_owner(actor)?;
        Ok(ClaimedPush(self.uploads.pushes.take(app, deploy)?))
    }

    /// Finishes a push: stores its version and makes the version live, unless disabled by the push. The last event on
    /// `sink` is the report or the problem.
    ///
    /// Runs to completion even if the caller is dropped.
    ///
    /// # Errors
    /// The first failed step; the live version stays live.
    pub async fn finish(self: &Arc<Self>, taken: ClaimedPush, sink: Option<EventSink>) -> Result<DeployReport, Error> {
        let ClaimedPush(push) = taken;
        let by = Origin::of(&push.actor, &push.source, push.options.reason.as_deref());
        let of = (Some(push.version), by);
        let watched = self.deploys.open(&push.id, &push.app, &push.environment, of, push.began.revision);
        let steps = Steps::watched(sink, watched);
        let this = Arc::clone(self);
        let task = self.tasks.spawn(async move { this.finish_push(push, steps).await });
        match task.await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "a deploy ended without a result");
                Err(Problem::new(Code::Internal, "The deploy ended without a result.").into())
            }
        }
    }

    pub(crate) async fn finish_push(
        self: &Arc<Self>,
        mut push: Arc<Push>,
        mut steps: Steps,
    ) -> Result<DeployReport, Error> {
        self.announce_push(&push).await;
        let result = self.run_joined(&mut push, &mut steps).boxed().await;
        let place = (push.app.as_str(), push.environment.as_str());
        telemetry::count_in_place("devanture_pushes_total", place, &[("outcome", outcome_of(&result))], 1);
        if let Err(error) = &result {
            tracing::warn!(app = %push.app, environment = %push.environment, version = %push.version, code = error.0.code.as_str(), %error, "a push failed");
            if error.0.code == Code::BlobMissing {
                self.uploads.put_back(&push);
            } else if !steps.have_switched() {
                // A version that went live has its own entry, and so has a rollback.
                self.record_failure(&push, &mut steps, error).await;
            }
        }
        steps.ended(&result);
        result
    }

    /// Runs the steps. A push of one half is joined and run again as long as other pushes go live meanwhile.
    async fn run_joined(self: &Arc<Self>, push: &mut Arc<Push>, steps: &mut Steps) -> Result<DeployReport, Error> {
        let mut joins = 1;
        loop {
            if let Some(again) = self.joined_again(push).await? {
                *push = again;
                steps.version_is(push.version);
            }
            let result = self.run_steps(push, steps).await;
            let may_join_again = push.following().is_some() && push.options.if_live.is_none() && joins < JOINS_MAX;
            match result {
                Err(error) if error.0.code == Code::LiveMoved && may_join_again => {
                    joins += 1;
                    steps.log(&format!("joined again: {}", error.0.detail));
                }
                result => return result,
            }
        }
    }

    async fn run_steps(self: &Arc<Self>, push: &Push, steps: &mut Steps) -> Result<DeployReport, Error> {
        if let Some(joined) = &push.joined {
            steps.run("join", async { Ok(((), joined.text())) }).await?;
        }
        steps.run("verify", self.verify(push)).await?;
        let tolerance = if push.options.allow_warnings { Tolerance::Doubts } else { Tolerance::Nothing };
        check_cases(&push.manifest, &push.options)?;
        if let Some(rules) = push.manifest.guessed_rules {
            steps.log(&format!("the files of rules are taken as {rules:?}'s, which was guessed"));
        }
        let place = (&push.app, &push.environment);
        for doubt in self.switcher.check_rules(place, Arc::clone(&push.manifest), tolerance).await? {
            steps.log(&format!("let pass: {doubt}"));
        }
        let reporter = steps.reporter("compress");
        let Compressed { given, passed, leases } = steps.run("compress", self.compress(push, &reporter)).await?;
        let StoredVersion { is_new, restored_manifest } = self.store_version(push, given).await?;
        let signing = &self.environments.signing;
        signing.add_signatures(&push.actor, &push.app, &push.version, &push.options.signatures).await?;
        if let (Some(dictionaries), Some(passed)) = (&self.dictionaries, passed) {
            dictionaries.stored(&push.app, &push.version, &passed).await;
        }
        drop(leases);
        if !is_new {
            // The push may have replaced damaged files: versions that failed to load are loaded again.
            self.ledger.live.look_again();
        }
        self.uploads.owned.stored(&push.app, push.version, &push.manifest).await?;
        if push.manifest.has_backend() {
            // Its previews may be asked for from now on.
            self.environments.instances.give_uid(&push.app, PREVIEW).await?;
        }
        self.uploads.end_sent(push).await;
        let withdrawn = self.retention.withdrawn_of(&push.app, &push.version, &push.manifest).await?;
        for path in &withdrawn {
            steps.log(&format!("{path} stays withdrawn: this version was stored before"));
        }
        if let Some(alias) = &push.options.alias {
            let report = self.finish_alias(push, steps, alias, withdrawn, is_new).await?;
            return Ok(DeployReport { restored_manifest, ..report });
        }
        if push.options.no_switch {
            steps.skip("prepare", "not wanted");
            steps.skip("switch", "not wanted");
            // A push without changes leaves no history entry.
            if is_new {
                self.record_stored(push, steps, Outcome::Stored, None).await?;
            }
            let previous = self.ledger.live_version_id(&push.app, &push.environment).await?;
            let deploy = Some(push.id.clone());
            let moved = SwitchOutcome { previous, deploy, ..SwitchOutcome::default() };
            return Ok(DeployReport { restored_manifest, ..self.report(push, steps, moved, withdrawn, None) });
        }
        let log = steps.lines().to_vec();
        let intent = Intent {
            app: &push.app,
            environment: &push.environment,
            version: push.version,
            movement: Move::Push,
            deploy: &push.id,
            begun: push.began.number,
            actor: &push.actor,
            source: &push.source,
            log: &log,
            expected: Preconditions {
                version: push.options.if_live.as_deref(),
                condition: &Condition::default(),
                undone: None,
            },
            passes: Passes {
                newer_pushes: push.options.force,
                fingerprints: push.options.allow_refingerprint,
                lock: false,
                smoke: push.options.no_smoke,
            },
            settings: None,
            half: push.following().map(|joined| (joined.half, joined.with)),
            brought: (push.halves(), push.with()),
            reason: push.options.reason.as_deref(),
            canary: CanaryMove::None,
        };
        let caution = Caution { watch_s: push.options.watch_s, rollout: push.options.rollout };
        let moved = self.switcher.make_live_watched(&intent, caution, steps).await?;
        if let Some(lock) = &moved.locked {
            steps.log(&format!("{}: stored, with its preview", locked_by(lock, &push.environment)));
            self.record_stored(push, steps, Outcome::Stored, None).await?;
        }
        let returning =
            self.returning(&push.app, &push.environment, &moved, (&push.version, &push.manifest)).boxed().await;
        let paused = self.switcher.pause_of(&push.app, &push.environment, &moved).await;
        let report = self.report(push, steps, moved, withdrawn, None);
        Ok(DeployReport { returning, paused, restored_manifest, ..report })
    }

    /// Completes a push to an alias; the live version stays.
    async fn finish_alias(
        &self,
        push: &Push,
        steps: &mut Steps,
        alias: &PlaceName,
        withdrawn: Vec<String>,
        is_new: bool,
    ) -> Result<DeployReport, Error> {
        let aliased = self.push_alias(push, alias, steps).await?;
        let previous = aliased.previous;
        // A push without changes leaves no history entry.
        if is_new || previous != Some(push.version) {
            self.record_stored(push, steps, Outcome::Stored, None).await?;
        }
        let deploy = Some(push.id.clone());
        let moved = SwitchOutcome { previous, deploy, ..SwitchOutcome::default() };
        Ok(self.report(push, steps, moved, withdrawn, Some(aliased.status)))
    }

    fn report(
        &self,
        push: &Push,
        steps: &Steps,
        moved: SwitchOutcome,
        withdrawn: Vec<String>,
        alias: Option<PlaceStatus>,
    ) -> DeployReport {
        let mut urls = self.environments.places.urls(&push.app, &push.environment, &push.version);
        urls.alias = alias.as_ref().map(|alias| alias.url.clone());
        // The preview environment has no live version, so the alias is shown instead.
        if let Some(url) = urls.alias.as_ref().filter(|_| push.environment.is_preview()) {
            urls.live.clone_from(url);
        }
        let prod = PlaceName::prod();
        let place = if alias.is_some() { &prod } else { &push.environment };
        let may_switch = !place.is_preview() && push.actor.may(Scope::Push, &push.app, Some(place)).is_ok();
        let received = push.received.lock();
        let new = push.manifest.blobs().filter(|(digest, _)| push.missing.contains_key(digest)).count();
        DeployReport {
            app: push.app.clone(),
            environment: push.environment.clone(),
            version: push.version,
            previous: moved.previous,
            urls,
            files: FileCounts { total: count(push.manifest.files_count()), new: count(new) },
            bytes: ByteCounts { total: push.manifest.total_bytes(), sent: received.bytes },
            deploy: moved.deploy,
            switched: moved.switched,
            steps: steps.list().to_vec(),
            withdrawn,
            alias,
            locked: moved.locked,
            returning: None,
            paused: None,
            hostnames: moved.hostnames,
            only: push.joined.as_ref().map(|joined| joined.half),
            with: push.with(),
            restored_manifest: false,
            may_not_switch: !may_switch,
        }
    }

    /// Step 1: checks presence and length of all blobs, and reads received blobs back (law 2).
    async fn verify(&self, push: &Push) -> Result<((), String), Error> {
        let received = {
            let received = push.received.lock();
            received.blobs.clone()
        };
        if let Some(absent) = push.missing.keys().find(|digest| !received.contains(digest)) {
            let absent_count = push.missing.keys().filter(|digest| !received.contains(digest)).count();
            let were = if absent_count == 1 { "was" } else { "were" };
            let blobs = counted(absent_count, "blob");
            let detail = format!("{blobs} of the manifest {were} not sent, such as {absent}.");
            return Err(Problem::new(Code::BlobMissing, detail).hint("send them, then finish the push again").into());
        }
        let wanted: BTreeMap<Digest, u64> = push.manifest.blobs().collect();
        let blobs = self.blobs_of(&push.app);
        let stored = blobs.sizes(wanted.keys().copied().collect()).await?;
        let is_sent =
            |digest: Digest| push.joined.as_ref().is_none_or(|joined| joined.own.blobs().any(|(own, _)| own == digest));
        let mut sizes = wanted.iter().zip(stored);
        sizes.try_for_each(|((digest, size), stored)| check_size(*digest, *size, stored, is_sent))?;
        // Blobs of batches were read back on storing.
        blobs.check_all(wanted.into_keys().filter(|digest| received.contains(digest)).collect()).await?;
        Ok(((), "ok".to_owned()))
    }

    /// Step 2: makes quick variants for files without variants, accepts encodings included in the bundle, and makes
    /// deltas for visitors of recent live versions.
    async fn compress(&self, push: &Push, reporter: &StepReporter) -> Result<(Compressed, String), Error> {
        let fresh = self.uploads.owned.fresh(&push.app, &push.manifest).await?;
        let (file_bytes_max, pool) = (self.ledger.limits().compress_file_bytes_max, &self.quick.of(&push.app));
        let work = encode::Work {
            blobs: &*self.blobs_of(&push.app),
            manifest: &push.manifest,
            fresh: &fresh,
            pool,
            file_bytes_max,
            decoded_file_bytes_max: self.ledger.limits().file_bytes_max,
            decoded_bytes_max: self.ledger.limits().bundle_bytes_max,
            decoded_ratio_max: self.ledger.limits().archive_ratio_max,
        };
        let arriving = self.ledger.leases.arriving(clock::now_ms() / 1_000).await;
        let (mut given, made) = encode::quick(&work).await?;
        let rule_reader = self.switcher.loader.rule_memory().reader(&push.app, push.environment.as_str());
        let of = (&*self.ledger, &push.app, &push.version);
        let hashed = integrity::add((&work, reporter), &mut given, of, &rule_reader).await?;
        let passed = match &self.dictionaries {
            None => None,
            Some(dictionaries) => {
                let pass = encode::Pass {
                    app: &push.app,
                    environment: &push.environment,
                    version: push.version,
                    manifest: &push.manifest,
                    given: &given,
                    pool,
                    is_before_switch: true,
                    deadline: Some(Instant::now() + Duration::from_millis(self.ledger.limits().delta_ms_max)),
                };
                Some(dictionaries.before_switch(&pass).boxed().await)
            }
        };
        let deltas = passed.as_ref().map_or(0, |passed| passed.deltas);
        let detail = match (made.files, given.forms.len(), deltas) {
            (0, 0, 0) => "nothing to do".to_owned(),
            (files, _, 0) => format!("{}, {}", counted(files, "file"), counted(made.variants, "variant")),
            (files, _, deltas) => {
                let (files, variants) = (counted(files, "file"), counted(made.variants, "variant"));
                format!("{files}, {variants}, {}", counted(deltas, "delta"))
            }
        };
        let detail = match given.forms.len() {
            0 => detail,
            came => format!("{detail}; {came} came compressed"),
        };
        let detail = match made.later {
            0 => detail,
            files => format!("{detail}; {} of one packet follow behind the switch", counted(files, "file")),
        };
        let detail = match made.too_large {
            0 => detail,
            files => {
                format!("{detail}; {files} above {file_bytes_max} bytes (compress_file_bytes_max) left as they are")
            }
        };
        let detail = given.beyond.iter().take(BEYOND_NAMED_MAX).fold(detail, |detail, (path, limit)| {
            format!("{detail}; {path} has its own name alone, as it decodes to more than {limit} allows")
        });
        let detail = match given.beyond.len().saturating_sub(BEYOND_NAMED_MAX) {
            0 => detail,
            more => format!("{detail}; so have {more} more"),
        };
        let integrity::AddedPages { report, lease } = hashed;
        let detail = report.into_iter().fold(detail, |detail, hashed| format!("{detail}; {hashed}"));
        Ok((Compressed { given, passed, leases: (arriving, lease) }, detail))
    }
}

/// Returns the outcome of a push as named in metrics.
pub(super) fn outcome_of(result: &Result<DeployReport, Error>) -> &'static str {
    match result {
        Ok(report) if report.switched => "live",
        Ok(_) => "stored",
        Err(error) if error.0.code == Code::WatchFailed => "undone",
        Err(_) => "failed",
    }
}

/// Checks the length of a stored blob; `is_sent` is true for blobs sent by the push itself.
fn check_size(
    digest: Digest,
    size: u64,
    stored: Option<u64>,
    is_sent: impl FnOnce(Digest) -> bool,
) -> Result<(), Error> {
    match stored {
        Some(stored) if stored == size => Ok(()),
        Some(_) => {
            let detail = format!("The manifest says that {digest} has {size} bytes, which is not its length.");
            Err(Problem::new(Code::BadManifest, detail).into())
        }
        // The blob was present when the push began, and was since set aside as damaged.
        None => {
            let detail = format!("The blob {digest} is no longer stored.");
            let hint = match is_sent(digest) {
                true => "push again: it is then uploaded",
                false => "push both halves, or the other half again: it is then uploaded",
            };
            Err(Problem::new(Code::BlobMissing, detail).hint(hint).into())
        }
    }
}

pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

// Webhook announcements of pushes; `switch` announces live versions.

impl Publisher {
    /// Notifies webhooks of the start of a push's steps.
    pub(super) async fn announce_push(&self, push: &Push) {
        let data = WebhookData {
            environment: Some(push.environment.clone()),
            actor: Some(push.actor.name.clone()),
            kind: Some(DeployKind::Push),
            deploy: Some(push.id.clone()),
            version: Some(push.version),
            reason: push.options.reason.clone(),
            ..WebhookData::of(&push.app)
        };
        let data = with_source(data, &push.source);
        self.ledger.announce(&Announcement { event: WebhookEvent::DeployStarted, data }).await;
    }
}

// Catalog records of a push: version record and history entry.

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
