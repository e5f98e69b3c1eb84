//! The records behind every change: who acts, what is there, and the only commits to the catalog.
//!
//! Changes by an actor are committed by [`Ledger::commit`] together with an entry of the audit log ([`Audit`]); what
//! the edge writes for itself, by [`commit_system`], and [`SystemWrite`] lists all of it. A change reads its records,
//! decides, and commits with checks that they are still what it read; [`update`] begins it again where another one was
//! quicker. A test holds that nothing above this room commits in another way.

mod acme_records;
mod actor;
mod announce;
mod audit;
mod clock;
mod condition;
mod confirmations;
mod copied;
mod deploys;
mod error;
mod gone;
mod history;
mod history_entry;
mod leases;
mod live_log;
mod manifests;
mod members;
mod page;
mod places;
mod rights;
mod rollback;
mod same_app;
mod shared_secret;
mod system_write;
mod tasks;
#[cfg(test)]
mod tests;
mod update;
mod versions;
mod write_pause;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use devanture_config::limits::Limits;

use devanture_serve::live::Live;
use devanture_serve::version;
use devanture_store::blobs::ManifestTurns;
use devanture_store::catalog::{self, Catalog, Commit, Revision};
use devanture_store::records::identities::AUDIT_PREFIX;

pub use acme_records::{ACME_PREFIX, AcmeRecords, PROOFS};
pub use actor::{Actor, Credential, SessionOf};
pub(crate) use actor::{PERSON_PREFIX, TRUST_PREFIX, from_text, is_exchanged};
pub use announce::Announcement;
pub(crate) use announce::message_id;
pub(crate) use audit::AuditEvent;
pub use audit::{Action, Audit};
pub(crate) use condition::other_than;
pub use condition::{Condition, Expected};
pub(crate) use confirmations::{check_confirmed, confirmation_required, confirmations};
pub use copied::{NotCopied, begin_copy, check_finished, finish_copy, take_copied};
pub(crate) use copied::{is_copied, write_copied};
pub use error::{Error, lost};
pub(crate) use gone::ambiguous;
pub(crate) use history_entry::MORE_LINES;
pub(crate) use leases::{Closed, Lease, Leases};
pub(crate) use live_log::Moves;
pub use manifests::stored_manifest;
pub(crate) use manifests::{HeldManifest, ManifestTurn};
pub use members::{Duty, Member, Members};
pub(crate) use page::none_wanted;
pub use page::{PAGE_MAX, Page};
pub(crate) use places::{check_there, nothing_live};
pub(crate) use rollback::Earlier;
pub(crate) use same_app::SameApp;
pub(crate) use shared_secret::shared_secret;
pub(crate) use system_write::{PART_CHANGES_MAX, SystemWrite, commit_in_parts, commit_system, unless_conflict};
pub use tasks::{Task, show_task, show_tasks, task_done};
pub(crate) use update::{Attempts, update};
pub use write_pause::{PAUSE_KEY, WritePause, is_write_pause, pause_changes, resume_changes, write_pause};

/// Limits that [`Ledger::set_limits`] changes: nothing was made by them that is kept.
pub const LIMITS_APPLIED: &[&str] = &[
    "admin_body_bytes_max",
    "admin_body_idle_ms_max",
    "admin_body_ms_max",
    "aliases_max",
    "apps_max",
    "archive_ratio_max",
    "blob_batch_blobs_max",
    "blob_batch_bytes_max",
    "bundle_bytes_max",
    "bundle_files_max",
    "collect_files_max",
    "collect_unreferenced_files_max",
    "collect_unreferenced_percent_max",
    "collect_versions_max",
    "delta_ms_max",
    "environments_max",
    "file_bytes_max",
    "history_bytes_max",
    "history_entries_max",
    "history_entry_bytes_max",
    "hostnames_max",
    "hostnames_per_app_max",
    "instance_trial_ms",
    "live_log_entries_max",
    "lock_reason_characters_max",
    "manifest_bytes_max",
    "manifest_ms_max",
    "manifest_settings_bytes_max",
    "pause_message_characters_max",
    "pause_paths_max",
    "purge_wait_ms_max",
    "pushes_per_hour_per_app_max",
    "segment_bytes_max",
    "setting_name_bytes_max",
    "setting_value_bytes_max",
    "settings_bytes_max",
    "settings_max",
    "settings_revisions_max",
    "signatures_per_version_max",
    "signers_per_environment_max",
    "smoke_body_bytes_max",
    "smoke_checks_max",
    "smoke_ms_max",
    "stored_bytes_per_app_max",
    "upstream_members_max",
    "upstream_members_per_version_max",
    "upstreams_max",
    "versions_max",
    "watch_s_max",
    "webhook_deliveries_kept",
    "webhook_failing_ms_max",
    "webhook_ms_max",
    "webhooks_per_app_max",
    "withdrawn_paths_max",
];

/// The catalog as changes see it.
pub struct Ledger {
    /// The records.
    pub catalog: Arc<dyn Catalog>,
    /// The live versions, which follow what is committed.
    pub live: Live,
    limits: ArcSwap<Limits>,
    audit: Audit,
    /// Leases of pushes and switches in progress.
    pub(crate) leases: Arc<Leases>,
    /// Turns of requests that look at long manifests, two at most each.
    manifests: ManifestTurns,
    clock: clock::Clock,
    /// While a new edge takes over from this one.
    refuses: AtomicBool,
    /// While changes are paused.
    is_paused: AtomicBool,
}

impl Ledger {
    /// Keeps its records in `catalog`; requests see them by `live`.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, live: Live, limits: &Limits) -> Self {
        Self::on_node(catalog, live, limits, None)
    }

    /// As [`Ledger::new`], on a node of a cluster: see [`Audit::on_node`].
    #[must_use]
    pub fn on_node(catalog: Arc<dyn Catalog>, live: Live, limits: &Limits, node: Option<String>) -> Self {
        Self {
            audit: Audit::on_node(Arc::clone(&catalog), limits, node),
            catalog,
            leases: Arc::default(),
            live,
            manifests: ManifestTurns::new(),
            clock: clock::Clock::default(),
            refuses: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
            limits: ArcSwap::from_pointee(limits.clone()),
        }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// Changes those of [`LIMITS_APPLIED`], which are read where they are compared with something, those of visitors,
    /// which are reported here, and those of single apps, which are all of that kind; the others stay.
    pub fn set_limits(&self, new: &Limits) {
        let (mut limits, mut new) = ((*self.limits()).clone(), new.clone());
        for name in LIMITS_APPLIED.iter().chain(version::LIMITS_APPLIED) {
            if let (Some(limit), Some(new)) = (limits.by_name(name), new.by_name(name)) {
                *limit = *new;
            }
        }
        limits.apps = new.apps;
        self.limits.store(Arc::new(limits));
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Makes a commit that `actor` causes and waits until requests see it; false where another change was quicker.
    ///
    /// # Errors
    /// As [`Ledger::commit_unseen`].
    pub(crate) async fn commit(&self, actor: &Actor, event: AuditEvent, commit: Commit) -> Result<bool, Error> {
        let revision = self.commit_unseen(actor, event, commit).await?;
        if let Some(revision) = revision {
            self.live.wait_for(revision).await;
        }
        Ok(revision.is_some())
    }

    /// Records what `actor` is about to do, before it is done: what cannot be recorded is not done.
    ///
    /// # Errors
    /// `conflict` where the entry was not made; as [`Ledger::commit_unseen`].
    pub(crate) async fn record(&self, actor: &Actor, event: AuditEvent) -> Result<(), Error> {
        match self.commit(actor, event, Commit::default()).await? {
            true => Ok(()),
            false => Err(catalog::Error::Conflict { key: AUDIT_PREFIX.to_owned() }.into()),
        }
    }

    /// Makes a commit that `actor` causes, and does not wait for requests; `None` if another commit won the race.
    ///
    /// # Errors
    /// `deleted` where the app or the environment was deleted meanwhile; those of the catalog.
    pub(crate) async fn commit_unseen(
        &self,
        actor: &Actor,
        event: AuditEvent,
        commit: Commit,
    ) -> Result<Option<Revision>, Error> {
        let (app, environment) = (event.needed_app().cloned(), event.needed_environment().cloned());
        let revision = unless_conflict(self.audit.commit(actor, event, commit).await)?;
        if let (None, Some(app)) = (revision, &app) {
            self.check_there(app, environment.as_ref()).await?;
        }
        Ok(revision)
    }

    /// Makes a commit of the edge's own and waits until requests see it; `None` if another commit won the race.
    ///
    /// # Errors
    /// Those of the catalog.
    pub(crate) async fn commit_system(&self, why: SystemWrite, commit: Commit) -> Result<Option<Revision>, Error> {
        let revision = unless_conflict(commit_system(&*self.catalog, why, commit).await)?;
        if let Some(revision) = revision {
            self.live.wait_for(revision).await;
        }
        Ok(revision)
    }
}
