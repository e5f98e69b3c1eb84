//! Locks and pauses are written alike: one record beside the live pointer, and an entry of the history.

use devanture_config::api::DeployKind;
use devanture_config::{AppName, PlaceName};

use super::Environments;
use crate::catalog::{Change, Check, Commit, Revision, records};
use crate::ledger::{Action, Actor, AuditEvent, Error, nothing_live};
use crate::telemetry;

/// A change of a lock or a pause.
pub(super) struct MarkerChange<'c> {
    pub(super) kind: DeployKind,
    pub(super) action: Action,
    /// The key of its record.
    pub(super) key: &'c str,
    /// The revision of the record that it replaces or removes.
    pub(super) before: Option<Revision>,
    pub(super) change: Change,
    /// The reason, where there is one.
    pub(super) message: Option<&'c str>,
    /// Whether it is only checked that it can be made.
    pub(super) dry_run: bool,
}

impl Environments {
    /// Commits a change of a lock or a pause; a dry run ends before that. Returns false if another commit won the race.
    ///
    /// # Errors
    /// `not_found` for an app that is not there, `nothing_live` where nothing is live.
    pub(super) async fn change_marker(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        marker: MarkerChange<'_>,
    ) -> Result<bool, Error> {
        let MarkerChange { kind, action, key, before, change, message, dry_run } = marker;
        self.ledger.must_exist(app).await?;
        let live = self.ledger.live_pointer(app, environment).await?;
        let (_, pointer) = live.ok_or_else(|| nothing_live(app, environment))?;
        if dry_run {
            return Ok(true);
        }
        let at_ms = telemetry::now_ms();
        let note = message.map(str::to_owned);
        let (entry_key, entry) = self.ledger.note(actor, (app, environment), kind, &pointer, at_ms, note).await?;
        let commit = Commit {
            checks: vec![Check::of(key, before), Check::Absent(entry_key.clone())],
            changes: vec![change, Change::Put(entry_key, records::write(&entry)?)],
        };
        let event = AuditEvent::of(action).place(app, environment).what(message.unwrap_or_default());
        let is_made = self.ledger.commit(actor, event, commit).await?;
        if is_made {
            tracing::info!(app = %app, environment = %environment, who = actor.name, ?kind, "marker changed");
        }
        Ok(is_made)
    }
}
