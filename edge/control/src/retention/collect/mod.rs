//! Collections: delete unreferenced records and files, records first.
//!
//! One pass has the following steps in order, and may crash after any instruction:
//!
//! 1. deleted items past their restoration time end (`ending.rs`);
//! 2. unprotected versions beyond `[retention]` lose their records (`retire.rs`), each by a
//!    compare-and-swap that excludes a concurrent switch to the version;
//! 3. journals of sent blobs are deleted once as old as deletable files (`sweep.rs`);
//! 4. the oldest history entries and tombstones are removed (`retire.rs`);
//! 5. files referenced by the remaining records are marked (`mark.rs`);
//! 6. files neither marked nor leased, and older than the grace period, are deleted (`sweep.rs`). The catalog's watch
//!    reports concurrent commits, and leases protect files of coming commits (`leases.rs`): no file promised to a
//!    client is deleted.
//!
//! Deleted files wait in `collected/`, in case a restored catalog references the files again. A full disk, or a purge
//! (`purge.rs`), skips both the grace period and the wait.

mod ending;
mod mark;
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

/// Seconds between the start and the first collection, to leave the start its resources.
const FIRST_AFTER_S: u64 = 60;
/// Seconds before the next pass after a pass reached a limit.
const MORE_AFTER_S: u64 = 5;
/// Pause between two attempts to block collections on all nodes.
const DUTY_PAUSE: Duration = Duration::from_secs(1);

/// Blocks the start of collections on all nodes during its lifetime.
pub struct Paused {
    _here: tokio::sync::OwnedMutexGuard<()>,
    /// `None` on a standalone edge.
    _everywhere: Option<Duty>,
}

/// Returns the app whose record is at `key`.
fn app_of(key: &str) -> Option<AppName> {
    key.strip_prefix(records::APPS_PREFIX)?.parse().ok()
}

/// Options of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectOptions {
    /// Only report the items to be deleted.
    pub dry_run: bool,
    /// Delete files whatever the number of unreferenced files.
    pub force: bool,
    /// End deleted items that are still restorable, and delete files without waiting.
    pub purge: bool,
}

/// Running collection.
struct Pass {
    dry_run: bool,
    began_ms: u64,
    /// True if the catalog had a record of an app or push at the beginning.
    knows_files: bool,
    /// Files stored before the second may be deleted.
    before_s: u64,
    /// Items restorable until the time have expired.
    restorable_until_ms: u64,
    /// Delete files permanently instead of moving the files to `collected/`.
    is_for_good: bool,
    /// Versions left before the limit.
    versions_left: u64,
    /// Files left before the limit.
    files_left: u64,
    /// Versions deleted, or to be deleted.
    going: HashSet<(AppName, VersionId)>,
    report: CollectReport,
}

impl Pass {
    /// Returns a pass without waits and limits.
    fn for_good(began_ms: u64) -> Self {
        Self {
            dry_run: false,
            began_ms,
            knows_files: true,
            // File times have a resolution of seconds: files stored a moment ago are included, unless leased.
            before_s: u64::MAX,
            restorable_until_ms: began_ms,
            is_for_good: true,
            versions_left: u64::MAX,
            files_left: u64::MAX,
            going: HashSet::new(),
            report: CollectReport::default(),
        }
    }

    /// Records a version to be deleted.
    fn take(&mut self, app: &AppName, version: VersionId, why: WhyCollected, stored_ms: u64) {
        self.going.insert((app.clone(), version));
        self.versions_left = self.versions_left.saturating_sub(1);
        self.report.versions.push(CollectedVersion { app: app.clone(), version, why, stored_ms });
    }
}

impl Retention {
    /// Collects periodically for the lifetime of the process.
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
                // Another node collects for all nodes.
                Err(error) if error.0.code == Code::Busy => every_s,
                Err(error) => {
                    tracing::error!(%error, "a collection failed; the next one goes on");
                    every_s
                }
            };
        }
    }

    /// Waits for a running collection, and blocks new collections until the guard is dropped.
    pub async fn pause(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.collecting).lock_owned().await
    }

    /// As [`Retention::pause`], on all nodes of a cluster, including a wait for a collection of another node. A node
    /// cut off from the catalog blocks only its own collections: its copy may be the last.
    ///
    /// # Errors
    /// Errors of the catalog.
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

    /// Collects once, after any running collection. Runs to completion even if the caller is dropped, since the
    /// collection holds the gate of the leases.
    ///
    /// # Errors
    /// Errors of a store. Completed deletions stay, and no referenced file is lost.
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
        // Another edge may own the files by now.
        self.ledger.catalog.check_in_place()?;
        let began = Instant::now();
        // Idle pushes of lost clients no longer protect files.
        self.uploads.end_idle();
        let began_ms = clock::settled_ms();
        // On a full disk, restorable files would keep the edge from storing new files. A node's own disk cache is freed
        // by eviction; files in shared storage may be in use on other nodes.
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
        // Deleted before the files: no record may claim the presence of a deleted blob.
        self.end_old_sent(&pass).await?;
        self.forget_oldest(&pass).await?;
        // Subscribed before any read, so that all later commits are seen.
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

    /// Takes the cluster-wide duty of deleting files. `None` on a standalone edge.
    ///
    /// # Errors
    /// `busy` while another node has the duty.
    async fn take_duty(&self) -> Result<Option<Duty>, Error> {
        let Some(nodes) = &self.nodes else { return Ok(None) };
        let duty = nodes.take_duty("collection").await.map_err(cluster::Error::into_problem)?;
        if duty.is_none() {
            let problem = Problem::new(Code::Busy, "Another node of the cluster collects, or writes a backup.");
            return Err(problem.hint("try again when it is done").into());
        }
        // The previous node may have just committed new references.
        self.ledger.catalog.refresh().await?;
        Ok(duty)
    }

    /// Returns true if the free disk space is below the reserve.
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
