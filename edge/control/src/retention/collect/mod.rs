//! Collections: what nothing refers to any more goes, records first and bytes after.
//!
//! One pass does this, in this order, and may die after any instruction:
//!
//! 1. what was deleted and can no longer be restored ends (`ending.rs`);
//! 2. versions that are beyond `[retention]` and that nothing holds (`held.rs`) lose their records (`retire.rs`), each
//!    by a compare-and-swap that a switch to it cannot pass by;
//! 3. what pushes wrote down that they have sent is forgotten once it is as old as the files that may go
//!    (`old_sent.rs`);
//! 4. the oldest entries of histories, and the oldest versions that are gone, are forgotten (`forget.rs`);
//! 5. what the records that are left refer to is marked (`mark.rs`);
//! 6. files that are neither marked nor leased, and older than the grace period, are deleted (`sweep.rs`). What is
//!    committed while this goes on is heard of by the catalog's watch, and what is about to be committed is leased
//!    (`leases.rs`): so no file goes that a client was promised.
//!
//! Files wait in `collected/` for their end, in case a restored catalog refers to them again. On a disk without room,
//! and in a purge (`purge.rs`), neither the grace period nor that time is waited for.

mod ending;
mod forget;
mod gates;
mod held;
mod mark;
mod old_sent;
mod proportion;
mod purge;
mod retire;
mod sweep;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::api::{CollectReport, CollectedVersion, WhyCollected};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, VersionId};
use metrics::counter;

use super::Retention;
use crate::cluster;
use crate::ledger::{Duty, Error, Task, lost, task_done};
use devanture_base::clock;
use devanture_store::blobs;
use devanture_store::records;

/// Seconds after a start before the first collection: a start has enough to do.
const FIRST_AFTER_S: u64 = 60;
/// Seconds before the next pass where one of them reached a limit.
const MORE_AFTER_S: u64 = 5;
/// Pause between two attempts to keep all nodes from collecting.
const DUTY_PAUSE: Duration = Duration::from_secs(1);

/// No collection begins on any node while this lives.
pub struct Paused {
    _here: tokio::sync::OwnedMutexGuard<()>,
    /// `None` of an edge that is alone.
    _everywhere: Option<Duty>,
}

/// The app whose record is at `key`.
fn app_of(key: &str) -> Option<AppName> {
    key.strip_prefix(records::APPS_PREFIX)?.parse().ok()
}

/// How a collection is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectOptions {
    /// Only report what would go.
    pub dry_run: bool,
    /// Take files however many are unreferenced.
    pub force: bool,
    /// End what was deleted although it could still be restored, and remove files without waiting.
    pub purge: bool,
}

/// One collection.
struct Pass {
    dry_run: bool,
    began_ms: u64,
    /// Whether the catalog knew of an app or a push when it began.
    knows_files: bool,
    /// What was put before this second may go.
    before_s: u64,
    /// What could be restored until this moment has ended.
    restorable_until_ms: u64,
    /// Remove files for good and not into `collected/`.
    is_for_good: bool,
    /// Versions that it may still take.
    versions_left: u64,
    /// Files that it may still take.
    files_left: u64,
    /// Versions that are gone, or would be.
    going: HashSet<(AppName, VersionId)>,
    report: CollectReport,
}

impl Pass {
    /// A pass that waits for nothing, without limits of its own.
    fn for_good(began_ms: u64) -> Self {
        Self {
            dry_run: false,
            began_ms,
            knows_files: true,
            // The clock of the files has seconds: what was put a moment ago goes too, unless somebody holds it.
            before_s: u64::MAX,
            restorable_until_ms: began_ms,
            is_for_good: true,
            versions_left: u64::MAX,
            files_left: u64::MAX,
            going: HashSet::new(),
            report: CollectReport::default(),
        }
    }

    /// Notes a version that goes.
    fn take(&mut self, app: &AppName, version: VersionId, why: WhyCollected, stored_ms: u64) {
        self.going.insert((app.clone(), version));
        self.versions_left = self.versions_left.saturating_sub(1);
        self.report.versions.push(CollectedVersion { app: app.clone(), version, why, stored_ms });
    }
}

impl Retention {
    /// Collects from time to time, for as long as the process lives.
    pub async fn keep_collecting(self: Arc<Self>) {
        let every_s = self.policy().collect_every_s;
        if every_s == 0 {
            return;
        }
        let mut pause_s = every_s.min(FIRST_AFTER_S);
        loop {
            tokio::time::sleep(Duration::from_secs(pause_s)).await;
            pause_s = match self.collect(CollectOptions::default()).await {
                Ok(report) if report.more => every_s.min(MORE_AFTER_S),
                Ok(_) => every_s,
                // Another node collects for all of them.
                Err(error) if error.0.code == Code::Busy => every_s,
                Err(error) => {
                    tracing::error!(%error, "a collection failed; the next one goes on");
                    every_s
                }
            };
        }
    }

    /// Waits for a collection that is under way; none begins while the guard lives.
    pub async fn pause(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.collecting).lock_owned().await
    }

    /// As [`Retention::pause`], on all nodes of a cluster: a collection of another one is waited for, too. A node that
    /// is cut off from the catalog pauses its own alone: its copy may be the last that there is.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn pause_everywhere(&self) -> Result<Paused, Error> {
        let here = self.pause().await;
        let everywhere = loop {
            match self.take_duty().await {
                Ok(duty) => break duty,
                Err(error) if error.0.code == Code::Busy => tokio::time::sleep(DUTY_PAUSE).await,
                Err(error) if error.0.code == Code::CatalogUnavailable => {
                    tracing::warn!(%error, "other nodes are not kept from collecting");
                    break None;
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Paused { _here: here, _everywhere: everywhere })
    }

    /// Collects once, after a collection that is under way. Once begun it runs to its end even if the caller is
    /// dropped, since it holds the gate of the leases in between.
    ///
    /// # Errors
    /// Where a store fails. What was done until then stays done, and nothing that is referred to is gone.
    pub async fn collect(self: &Arc<Self>, options: CollectOptions) -> Result<CollectReport, Error> {
        let this = Arc::clone(self);
        let pass = tokio::spawn(async move { this.run_collection(options).await });
        let result = pass.await.map_err(|error| lost(&error)).flatten();
        if !options.dry_run {
            let outcome = match &result {
                Ok(report) if report.stopped.is_some() => "stopped",
                Ok(_) => "done",
                Err(_) => "failed",
            };
            counter!("devanture_collections_total", "outcome" => outcome).increment(1);
            if outcome == "done" {
                task_done(&*self.ledger.catalog, Task::Collection).await;
            }
        }
        result
    }

    async fn run_collection(&self, options: CollectOptions) -> Result<CollectReport, Error> {
        let dry_run = options.dry_run;
        let _one = self.collecting.lock().await;
        let _duty = self.take_duty().await?;
        // Another edge may have the files by now.
        self.ledger.catalog.check_in_place()?;
        let began = Instant::now();
        // What a client left that is gone holds nothing any more.
        self.uploads.end_idle();
        let began_ms = clock::settled_ms();
        // On a full disk, what is kept for the case that somebody wants it back keeps the edge from storing anything.
        // That of one node is made free by eviction; what nodes share may be somebody's on another one.
        let is_for_good = options.purge || (!self.blobs.is_shared() && self.is_disk_short().await?);
        let before_s = began_ms.saturating_sub(self.ledger.limits().grace_ms_max) / 1_000;
        let mut pass = Pass {
            dry_run,
            knows_files: self.knows_files().await?,
            before_s: if is_for_good { u64::MAX } else { before_s },
            restorable_until_ms: if options.purge { u64::MAX } else { began_ms },
            is_for_good,
            versions_left: self.ledger.limits().collect_versions_max,
            files_left: self.ledger.limits().collect_files_max,
            report: CollectReport { dry_run, ..CollectReport::default() },
            ..Pass::for_good(began_ms)
        };
        self.end_deleted(&mut pass).await?;
        self.retire(&mut pass).await?;
        // Before the bytes: nothing on the disk says of a blob that is gone that an app need not send it.
        self.end_old_sent(&pass).await?;
        self.forget_oldest(&pass).await?;
        // Before anything is read: what is committed from here on is heard of.
        let watch = self.ledger.catalog.watch();
        let marked = self.mark(&pass).await?;
        pass.report.stopped = match options.force {
            true => None,
            false => self.out_of_proportion(&pass, &marked).await?,
        };
        if pass.report.stopped.is_none() {
            self.sweep(&mut pass, marked, watch).await?;
            let collected_before_s = self.policy().collected_before_s(began_ms / 1_000);
            let collected_before_s = if is_for_good { u64::MAX } else { collected_before_s };
            let removed = self.blobs.remove_leftovers(pass.before_s, collected_before_s, dry_run).await?;
            (pass.report.removed_files, pass.report.removed_bytes) = removed;
        }
        let Pass { mut report, going, .. } = pass;
        report.ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if !dry_run {
            let lost: HashSet<AppName> = going.into_iter().map(|(app, _)| app).collect();
            let grace_ms = if is_for_good { 0 } else { self.ledger.limits().grace_ms_max };
            self.uploads.refresh(&lost, began_ms.saturating_sub(grace_ms)).await?;
            record(&report);
        }
        Ok(report)
    }

    /// Takes on what one node of a cluster does at a time: what takes files. `None` of an edge that is alone.
    ///
    /// # Errors
    /// `busy` while another node does it.
    async fn take_duty(&self) -> Result<Option<Duty>, Error> {
        let Some(nodes) = &self.nodes else { return Ok(None) };
        let duty = nodes.take_duty("collection").await.map_err(cluster::Error::into_problem)?;
        if duty.is_none() {
            let problem = Problem::new(Code::Busy, "Another node of the cluster collects, or writes a backup.");
            return Err(problem.hint("try again when it is done").into());
        }
        // It may have committed a moment ago what is not to be taken.
        self.ledger.catalog.refresh().await?;
        Ok(duty)
    }

    /// Whether less is free on the disk than is to stay free.
    async fn is_disk_short(&self) -> Result<bool, Error> {
        let blobs = Arc::clone(&self.blobs);
        let checked = tokio::task::spawn_blocking(move || blobs.check_free_space()).await;
        match checked.map_err(|error| lost(&error))? {
            Ok(()) => Ok(false),
            Err(blobs::Error::OutOfFiles { .. } | blobs::Error::Short { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn record(report: &CollectReport) {
    let versions = u64::try_from(report.versions.len()).unwrap_or(u64::MAX);
    counter!("devanture_collected_versions_total").increment(versions);
    counter!("devanture_collected_files_total").increment(report.files);
    counter!("devanture_collected_bytes_total").increment(report.bytes);
    if let Some(stopped) = report.stopped {
        tracing::error!(
            referenced = stopped.referenced,
            unreferenced = stopped.unreferenced,
            "a collection took no file: more are unreferenced than a catalog in order explains. If the catalog is an old \
             or a new one, restore the right one; if not, `devanture gc --force` takes them"
        );
    }
    if versions > 0 || report.files > 0 || !report.apps.is_empty() || !report.environments.is_empty() {
        tracing::info!(
            versions,
            files = report.files,
            bytes = report.bytes,
            apps = report.apps.len(),
            environments = report.environments.len(),
            more = report.more,
            ms = report.ms,
            "collected"
        );
    }
    for version in &report.unreadable {
        tracing::error!(%version, "a manifest cannot be read, so no blob is collected: push its bundle again, or delete the version");
    }
}
