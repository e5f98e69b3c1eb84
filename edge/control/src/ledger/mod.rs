//! Records behind every change: actors, state, and the only commits to the catalog.
//!
//! [`Ledger::commit`] commits changes by an actor together with an entry of the audit log ([`Audit`]).
//! [`commit_system`] commits writes of the edge itself, all listed in [`SystemWrite`]. A change reads its records,
//! decides, and commits with checks that the records are unchanged; [`update`] repeats the change after a lost race. A
//! test ensures that no module above commits in another way.

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
pub use write_pause::{PAUSE_KEY, WritePause, pause_changes, resume_changes, write_pause};

/// Limits changed by [`Ledger::set_limits`]: no stored state depends on these.
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

/// Catalog as seen by changes.
pub struct Ledger {
    /// Records.
    pub catalog: Arc<dyn Catalog>,
    /// Live versions, which follow the commits.
    pub live: Live,
    limits: ArcSwap<Limits>,
    audit: Audit,
    /// Leases of running pushes and switches.
    pub(crate) leases: Arc<Leases>,
    /// Permits of requests that read long manifests, at most two each.
    manifests: ManifestTurns,
    clock: clock::Clock,
    /// True during the takeover by a new edge.
    refuses: AtomicBool,
    /// True while changes are paused.
    is_paused: AtomicBool,
}

impl Ledger {
    /// Opens a ledger over `catalog`; requests see its commits through `live`.
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

    /// Returns the limits in force.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// Changes the limits of [`LIMITS_APPLIED`], read at each comparison; the visitors' limits, reported here; and the
    /// limits of single apps, which are all of the first kind. All other limits stay.
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

    /// Returns the audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Commits a change by `actor`, and waits until requests see the change; false if another commit won the race.
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

    /// Records an action of `actor` beforehand: an unrecorded action must not happen.
    ///
    /// # Errors
    /// `conflict` if the entry was not written; as [`Ledger::commit_unseen`].
    pub(crate) async fn record(&self, actor: &Actor, event: AuditEvent) -> Result<(), Error> {
        match self.commit(actor, event, Commit::default()).await? {
            true => Ok(()),
            false => Err(catalog::Error::Conflict { key: AUDIT_PREFIX.to_owned() }.into()),
        }
    }

    /// Commits a change by `actor` without waiting for requests; `None` if another commit won the race.
    ///
    /// # Errors
    /// `deleted` for an app or environment deleted meanwhile; errors of the catalog.
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

    /// Commits a write of the edge itself, and waits until requests see the write; `None` if another commit won the
    /// race.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn commit_system(&self, why: SystemWrite, commit: Commit) -> Result<Option<Revision>, Error> {
        let revision = unless_conflict(commit_system(&*self.catalog, why, commit).await)?;
        if let Some(revision) = revision {
            self.live.wait_for(revision).await;
        }
        Ok(revision)
    }
}
