//! Intake of a bundle in one request: bytes are received, files stored, and a manifest built; further steps are common
//! to all pushes.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use devanture_config::api::{DeployOptions, DeployReport, Source};
use devanture_config::limits::Limits;
use devanture_config::manifest::halves::Half;
use devanture_config::manifest::{FILES_MEMORY_FACTOR, SETTINGS_MEMORY_FACTOR};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest, PlaceName};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::admission::check_options;
use super::owned::StagedArchive;
use super::publisher::Publisher;
use super::pushes::{Began, Push, Received};
use super::refused::count_refused;
use crate::archive::{
    self, Feed, Files, HEAD_BYTES, Kind, Refusal, Sink, SpoolError, archive_bytes_max, bad, broken_off, damaged, feed,
    spool, too_large, unpack_into, untar, unzip,
};
use crate::ledger::{Actor, Error, Lease, lost};
use crate::switch::{EventSink, Origin, Steps, Watched};
use devanture_base::clock;
use devanture_base::durable::Draft;
use devanture_base::fair::Share;

/// Incoming archive. Dropping an unfinished archive removes its temporary file.
pub struct ArchiveIntake {
    publisher: Arc<Publisher>,
    target: Target,
    stage: Stage,
    bytes: u64,
    bytes_max: u64,
}

/// Completely received archive, made live by [`Publisher::finish_archive`].
pub struct ReceivedArchive {
    target: Target,
    content: Content,
}

/// Destination and start of an archive.
struct Target {
    id: String,
    actor: Actor,
    app: AppName,
    environment: PlaceName,
    /// The sent half, if only one half is sent.
    half: Option<Half>,
    began: Began,
    since: Instant,
    /// Permit of a concurrent archive.
    _share: Share,
    /// Protects all files stored during the intake.
    arriving: Lease,
}

enum Stage {
    /// Too few bytes to detect the format.
    Head(BytesMut),
    /// A blocking thread unpacks the bytes.
    Fed(Feed, Work),
}

enum Work {
    Spooling(JoinHandle<Result<Draft, Error>>),
    Unpacking(JoinHandle<Result<(Files, StagedArchive), Error>>),
}

enum Content {
    Spooled(Draft),
    Unpacked((Files, StagedArchive)),
}

impl Target {
    /// Returns the limits of the archive's app.
    fn limits(&self, publisher: &Publisher) -> Limits {
        publisher.ledger.limits().for_app(&self.app).into_owned()
    }
}

impl ArchiveIntake {
    /// Adds bytes.
    ///
    /// # Errors
    /// `bundle_too_large`, `bad_archive`, `disk_full`, as soon as detected.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        check_length(self.bytes, self.bytes_max, &self.publisher)?;
        let fed = match &mut self.stage {
            Stage::Head(head) => {
                head.extend_from_slice(&bytes);
                if head.len() < HEAD_BYTES {
                    return Ok(());
                }
                let head = std::mem::take(head).freeze();
                self.start(head).await
            }
            Stage::Fed(feed, _) => feed.send(Some(bytes)).await.is_ok(),
        };
        if fed { Ok(()) } else { Err(self.failure().await) }
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// As [`ArchiveIntake::write`].
    pub async fn end(mut self) -> Result<ReceivedArchive, Error> {
        if let Stage::Head(head) = &mut self.stage {
            let head = std::mem::take(head).freeze();
            self.start(head).await;
        }
        let Stage::Fed(feed, work) = self.stage else { return Err(unknown_kind().into()) };
        // A closed channel means a failed worker, whose error is reported below.
        feed.send(None).await.ok();
        let content = match work {
            Work::Spooling(work) => Content::Spooled(work.await.map_err(|error| lost(&error))??),
            Work::Unpacking(work) => Content::Unpacked(work.await.map_err(|error| lost(&error))??),
        };
        Ok(ReceivedArchive { target: self.target, content })
    }

    /// Starts the worker with the first bytes. Returns false if the worker has already stopped.
    async fn start(&mut self, head: Bytes) -> bool {
        let Some(kind) = Kind::of(head.get(..HEAD_BYTES).unwrap_or(&head)) else { return false };
        let (feed, reader) = feed();
        let work = match kind {
            Kind::Zip => {
                let (folder, store) =
                    (self.publisher.uploads.scratch.clone(), self.publisher.blobs_of(&self.target.app));
                Work::Spooling(tokio::spawn(async move {
                    let spooled = tokio::task::spawn_blocking(move || spool(reader, &folder, &*store)).await;
                    match spooled.map_err(|error| lost(&error))? {
                        Ok(draft) => Ok(draft),
                        Err(SpoolError::Blobs(error)) => Err(error.into()),
                        Err(SpoolError::Refusal(Refusal::Problem(problem))) => Err(Error(problem)),
                        Err(SpoolError::Refusal(Refusal::BrokenOff)) => Err(broken_off()),
                    }
                }))
            }
            Kind::Tar | Kind::TarGz | Kind::TarZst => {
                let (store, limits) = (self.publisher.blobs_of(&self.target.app), self.target.limits(&self.publisher));
                let (bytes_max, half) = (limits.stored_bytes_per_app_max, self.target.half);
                let unpack = move |sink: &mut dyn Sink| untar(kind, reader, (&limits, half), sink);
                let (publisher, app) = (Arc::clone(&self.publisher), self.target.app.clone());
                Work::Unpacking(tokio::spawn(async move {
                    let uploads = &publisher.uploads;
                    let of = (&uploads.owned, &uploads.leftovers);
                    let brought = StagedArchive::begin(of, &app, bytes_max).await?;
                    unpack_into(store, (bytes_max, brought), unpack).await
                }))
            }
        };
        let fed = feed.send(Some(head)).await.is_ok();
        self.stage = Stage::Fed(feed, work);
        fed
    }

    /// Returns the error of the stopped worker.
    async fn failure(&mut self) -> Error {
        let ended = match &mut self.stage {
            Stage::Head(_) => return unknown_kind().into(),
            Stage::Fed(_, Work::Spooling(work)) => work.await.map(|ended| ended.err()),
            Stage::Fed(_, Work::Unpacking(work)) => work.await.map(|ended| ended.err()),
        };
        match ended {
            Ok(Some(error)) => error,
            Ok(None) => damaged("Something follows the end of the archive.").into(),
            Err(error) => lost(&error),
        }
    }
}

impl ReceivedArchive {
    /// Returns the deploy id.
    #[must_use]
    pub fn deploy(&self) -> &str {
        &self.target.id
    }
}

impl Publisher {
    /// Starts the intake of an archive for an environment. `announced` is its length, if known; `half` is its half, if
    /// the archive holds one half alone.
    ///
    /// # Errors
    /// `busy` beyond the limit of concurrent archives; `alias_taken`; `bundle_too_large` by the announced length;
    /// `too_many_pushes`.
    pub async fn begin_archive(
        self: &Arc<Self>,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        (announced, half): (Option<u64>, Option<Half>),
    ) -> Result<ArchiveIntake, Error> {
        let Some(share) = self.uploads.archives.take_in(app, environment.as_str()) else {
            return Err(Problem::new(Code::Busy, format!("The edge takes no more archives of the app {app} now."))
                .hint(
                    "try again in a moment; `pushes_max` in edge.toml is the limit, and half of it for one environment",
                )
                .into());
        };
        let bytes_max = archive_bytes_max(&self.ledger.limits().for_app(app));
        check_length(announced.unwrap_or(0), bytes_max, self)?;
        self.ledger.check_place(app, environment).await?;
        // What it is to do is looked at once it is there.
        self.environments.places.check_may_make(app, environment, true).await?;
        self.must_have_room().await?;
        self.ledger.catch_up(app, environment).await?;
        self.count_push(app)?;
        let app_made_ms = self.ledger.made_ms_of(app).await?;
        let (number, id) = self.new_deploy();
        let target = Target {
            id,
            actor: actor.clone(),
            app: app.clone(),
            environment: environment.clone(),
            half,
            began: Began { number, revision: self.revision(), app_made_ms },
            since: Instant::now(),
            _share: share,
            arriving: self.ledger.leases.arriving(clock::now_ms() / 1_000).await,
        };
        Ok(ArchiveIntake {
            publisher: Arc::clone(self),
            target,
            stage: Stage::Head(BytesMut::new()),
            bytes: 0,
            bytes_max,
        })
    }

    /// Makes a received archive live in a detached task, which runs to completion even if the caller is dropped.
    ///
    /// # Errors
    /// The task returns the first failed step; the live version stays live.
    pub fn finish_archive(
        self: &Arc<Self>,
        archive: ReceivedArchive,
        source: Source,
        options: DeployOptions,
        sink: Option<EventSink>,
    ) -> JoinHandle<Result<DeployReport, Error>> {
        let this = Arc::clone(self);
        let target = &archive.target;
        let by = Origin::of(&target.actor, &source, options.reason.as_deref());
        let watched = self.deploys.open(&target.id, &target.app, &target.environment, (None, by), self.revision());
        self.tasks.spawn(async move { this.run_archive(archive, source, options, sink, watched).await })
    }

    async fn run_archive(
        self: &Arc<Self>,
        archive: ReceivedArchive,
        source: Source,
        options: DeployOptions,
        sink: Option<EventSink>,
        watched: Watched,
    ) -> Result<DeployReport, Error> {
        let mut steps = Steps::watched(sink, watched);
        let since = archive.target.since;
        let place = (archive.target.app.clone(), archive.target.environment.clone());
        let push = steps.run_since("upload", since, self.archive_push(archive, source, options).boxed()).await;
        match push {
            Ok(push) => {
                steps.version_is(push.version);
                self.finish_push(push, steps).boxed().await
            }
            Err(error) => {
                // Without a manifest, the history has no version to record.
                tracing::warn!(code = error.0.code.as_str(), %error, "an archive could not be taken");
                steps.ended(&Err(Error(error.0.clone())));
                count_refused((&place.0, &place.1), &error);
                Err(error)
            }
        }
    }

    /// Converts the archive to a push with all blobs received.
    async fn archive_push(
        &self,
        archive: ReceivedArchive,
        source: Source,
        options: DeployOptions,
    ) -> Result<(Arc<Push>, String), Error> {
        let ReceivedArchive { target, content } = archive;
        let (files, brought) = match content {
            Content::Unpacked(unpacked) => unpacked,
            Content::Spooled(draft) => {
                let limits = target.limits(self);
                let (bytes_max, half) = (limits.stored_bytes_per_app_max, target.half);
                let unpack = move |sink: &mut dyn Sink| {
                    let file = draft.reader().map_err(|error| Refusal::Problem(Error::from(error).0))?;
                    // The draft, and thus its file, lives until the end of `unzip`.
                    unzip(file, (&limits, half), sink)
                };
                let of = (&self.uploads.owned, &self.uploads.leftovers);
                let brought = StagedArchive::begin(of, &target.app, bytes_max).await?;
                unpack_into(self.blobs_of(&target.app), (bytes_max, brought), unpack).await?
            }
        };
        let mut memory = self.uploads.manifest_memory.hold(&target.app, &target.environment);
        self.grow(&mut memory, files.manifest_bytes().saturating_mul(FILES_MEMORY_FACTOR))?;
        let settings_bytes_max = self.ledger.limits().manifest_settings_bytes_max;
        let mut reserve = |bytes: u64| self.grow(&mut memory, bytes.saturating_mul(SETTINGS_MEMORY_FACTOR));
        let mut manifest = archive::manifest(
            &*self.blobs_of(&target.app),
            (&target.app, target.half),
            files,
            settings_bytes_max,
            &mut reserve,
        )
        .await?;
        self.switcher.check_watch(options.watch_s)?;
        check_options(&options)?;
        let place = (&target.app, &target.environment);
        self.fix_image(&target.app, &mut manifest).await?;
        let own = Arc::new(match options.only {
            Some(half) => half.of(&manifest),
            None => manifest,
        });
        let (joined, manifest) = match self.join(&target.actor, place, &own, &options, &mut memory).await? {
            Some((joined, manifest)) => (Some(joined), Arc::new(manifest)),
            None => {
                self.check_manifest(&target.app, &own)?;
                (None, Arc::clone(&own))
            }
        };
        self.check_bundle(&target.actor, place, (&manifest, &own), &options).await?;
        let version = manifest.id();
        // From here on, a lease by name protects the blobs, rather than their age.
        let lease = self.ledger.leases.bundle(version, &manifest).await;
        drop(target.arriving);
        let (wanted, missing) = self.missing_of(&target.app, &own).await?;
        self.check_stored_bytes(&target.app, &missing).await?;
        self.uploads.owned.add(&target.app, missing.iter().map(|(digest, bytes)| (*digest, *bytes))).await?;
        brought.taken();
        let bytes = wanted.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
        let files = own.files_count();
        let detail = format!("{}, {}", counted(files, "file"), counted(own.total_bytes(), "byte"));
        let blobs: HashSet<Digest> = wanted.into_keys().collect();
        let push = Push {
            id: target.id,
            app: target.app,
            environment: target.environment,
            version,
            manifest,
            joined,
            source,
            options,
            actor: target.actor,
            began: target.began,
            missing,
            named: OnceLock::new(),
            received: Mutex::new(Received { blobs, bytes, is_refused: false }),
            memory,
            _lease: lease,
        };
        Ok((Arc::new(push), detail))
    }
}

fn check_length(bytes: u64, bytes_max: u64, publisher: &Publisher) -> Result<(), Error> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let detail =
        format!("The archive has more bytes than a bundle of {} needs.", publisher.ledger.limits().bundle_bytes_max);
    Err(too_large(detail, "bundle_bytes_max").into())
}

fn unknown_kind() -> Problem {
    bad("The bundle is neither a zip nor a tar, tar.gz or tar.zst.").hint("send one of these, whole")
}
