//! The audit log: each change by an actor is committed together with its entry.

mod event;
mod kept;
mod pages;
mod parts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use devanture_config::limits::Limits;
use devanture_config::{AppName, PlaceName};
use tokio::sync::OnceCell;

use super::Actor;
use super::announce::messages;
use super::update::Attempts;
use super::write_pause::{paused, unless_paused};
use devanture_base::clock;
use devanture_base::fair::RateLimit;
use devanture_store::catalog::{self, Catalog, Change, Check, Commit, Record, Revision};
use devanture_store::records::identities::AuditRecord;
use devanture_store::records::nodes::node_key;
use devanture_store::records::{self, StoredVia, identities};
use kept::{EntryIndex, EntryPlace, REMOVED_MAX};

pub use event::Action;
pub(crate) use event::AuditEvent;

/// Window of the rate limit on changes.
const WRITES_WINDOW_MS: u64 = 60_000;
/// Credentials with counted changes.
const WRITERS_MAX: usize = 10_000;

/// Audit log.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    catalog: Arc<dyn Catalog>,
    entries_max: u64,
    days_max: u64,
    /// Most queued messages per webhook.
    webhook_waiting_max: u64,
    /// Node of a cluster that writes the log; `None` on a standalone edge.
    node: Option<String>,
    /// Index of entries, read at first use.
    kept: OnceCell<EntryIndex>,
    /// Rate limit of changes by credential, so that no credential fills the history and the disk.
    writes: RateLimit<String>,
}

impl Audit {
    /// Opens the log in `catalog`, within the limits.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, limits: &Limits) -> Self {
        Self::on_node(catalog, limits, None)
    }

    /// As [`Audit::new`], with the name of the cluster node in each entry. Commits fail once the record of the node is
    /// gone, since other nodes no longer count on the node.
    #[must_use]
    pub fn on_node(catalog: Arc<dyn Catalog>, limits: &Limits, node: Option<String>) -> Self {
        let (entries_max, days_max) = (limits.audit_entries_max, limits.audit_days_max);
        let writes_max = usize::try_from(limits.writes_per_minute_max).unwrap_or(usize::MAX);
        let writes = RateLimit::new(writes_max, WRITERS_MAX, WRITES_WINDOW_MS);
        let webhook_waiting_max = limits.webhook_waiting_max;
        let kept = OnceCell::new();
        Self(Arc::new(Inner { catalog, entries_max, days_max, webhook_waiting_max, node, kept, writes }))
    }

    /// Commits a change by `actor` together with its log entry, and removes surplus entries.
    ///
    /// # Errors
    /// As [`Catalog::commit`], and [`catalog::Error::TooOften`]; nothing was changed.
    pub(crate) async fn commit(
        &self,
        actor: &Actor,
        event: AuditEvent,
        commit: Commit,
    ) -> Result<Revision, catalog::Error> {
        let writer = actor.owner().filter(|_| !event.action.is_always_let());
        if let Some(writer) = &writer {
            self.0.writes.take(writer).map_err(|wait_ms| catalog::Error::TooOften { wait_ms })?;
        }
        let done = self.commit_entry(actor, event, commit).await;
        if let (Err(_), Some(writer)) = (&done, &writer) {
            self.0.writes.give_back(writer);
        }
        done
    }

    async fn commit_entry(&self, actor: &Actor, event: AuditEvent, commit: Commit) -> Result<Revision, catalog::Error> {
        let kept = self.kept().await?;
        let mut attempts = Attempts::default();
        loop {
            let old = self.too_old().await?;
            let own_node = self.own_node().await?;
            let mut entry = event.entry(actor, 0, self.0.node.as_deref());
            let begun = kept.begin(EntryPlace::of(&entry));
            entry.number = begun.number;
            let key = identities::audit_key(begun.number);
            let mut with_entry = commit.clone();
            // Added after the caller's checks, so that the caller's failed check is reported first.
            with_entry.checks.extend(event.checks());
            with_entry.checks.push(Check::Absent(key.clone()));
            with_entry.checks.extend(own_node.iter().map(|(key, own)| Check::At(key.clone(), own.revision)));
            let surplus = begun.surplus.iter().map(|(_, number)| identities::audit_key(*number));
            let gone = surplus.chain(old.iter().map(|(key, _)| key.clone()));
            with_entry.changes.extend(gone.map(Change::Delete));
            if let Some(announcement) = &event.announcement {
                with_entry
                    .changes
                    .extend(Box::pin(messages(&*self.0.catalog, announcement, self.0.webhook_waiting_max)).await?);
            }
            with_entry.changes.push(Change::Put(key.clone(), records::write(&entry)?));
            let with_entry = unless_paused(with_entry);
            let committed = match event.action.may_use_reserve() {
                true => self.0.catalog.commit_reserved(with_entry).await,
                false => self.0.catalog.commit(with_entry).await,
            };
            match committed {
                Ok(revision) => {
                    begun.done();
                    kept.forget(&old);
                    log(&entry);
                    return Ok(revision);
                }
                // Another node writes to the same catalog: continue after its last entry.
                Err(catalog::Error::Conflict { key: taken }) if taken == key => {
                    begun.failed();
                    kept.read_on(&*self.0.catalog).await?;
                }
                Err(error) => {
                    begun.failed();
                    // The record of the node: its state is certain once all commits are read.
                    let own =
                        own_node.filter(|(own, _)| matches!(&error, catalog::Error::Conflict { key } if key == own));
                    let Some((key, own)) = own else { return Err(paused(error)) };
                    attempts.begin(&key)?;
                    self.0.catalog.refresh().await?;
                    if was_gone(&own, self.0.catalog.get(&key).await?.as_ref()) {
                        return Err(catalog::Error::LeaseLost);
                    }
                }
            }
        }
    }

    /// Returns the locally known record of the node, checked by each commit: a node with an expired lease changes
    /// nothing, even if unaware of the expiry. `None` without a record, before joining and after leaving.
    async fn own_node(&self) -> Result<Option<(String, Record)>, catalog::Error> {
        let Some(node) = &self.0.node else { return Ok(None) };
        let key = node_key(node);
        let own = self.0.catalog.get(&key).await?;
        Ok(own.map(|record| (key, record)))
    }

    async fn kept(&self) -> Result<&EntryIndex, catalog::Error> {
        self.0.kept.get_or_try_init(|| EntryIndex::read(&*self.0.catalog, self.0.entries_max)).await
    }

    /// Returns the oldest entries beyond the maximum age.
    async fn too_old(&self) -> Result<Vec<(String, Record)>, catalog::Error> {
        let mut oldest = self.0.catalog.list(identities::AUDIT_PREFIX, None, false, REMOVED_MAX).await?;
        let since_ms = self.since_ms();
        oldest.retain(|(key, record)| {
            records::read::<AuditRecord>(key, record).is_ok_and(|entry| entry.at_ms < since_ms)
        });
        Ok(oldest)
    }

    /// Older entries are neither kept nor shown.
    fn since_ms(&self) -> u64 {
        clock::settled_ms().saturating_sub(self.0.days_max.saturating_mul(86_400_000))
    }
}

/// Returns true if a node was gone between the records `own` and `now`. A process rewrites its record only after its
/// lease has expired; the record of a successor has a different start time.
fn was_gone(own: &Record, now: Option<&Record>) -> bool {
    now.is_none_or(|now| now.value == own.value && now.revision != own.revision)
}

fn number_of(key: &str) -> Option<u64> {
    key.strip_prefix(identities::AUDIT_PREFIX)?.parse().ok()
}

/// Writes the entry to the edge's own log, so that the audit log can also be stored elsewhere.
fn log(entry: &AuditRecord) {
    let (app, environment) =
        (entry.app.as_ref().map(AppName::as_str), entry.environment.as_ref().map(PlaceName::as_str));
    tracing::info!(
        target: "audit",
        number = entry.number,
        action = entry.action,
        who = entry.who,
        by = ?entry.by,
        credential = entry.credential,
        root = entry.root,
        via = entry.via.map(|StoredVia::Session| "session"),
        from = entry.from,
        node = entry.node,
        app,
        environment,
        what = entry.what,
        "done"
    );
}
