//! Common write path of locks and pauses: a record beside the live pointer, and a history entry.

use devanture_config::api::{DeployKind, WebhookData, WebhookEvent};
use devanture_config::{AppName, PlaceName, VersionId};
use serde::Serialize;

use super::Places;
use crate::ledger::{Action, Actor, Announcement, AuditEvent, Error, nothing_live};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records;

/// Change of a lock or a pause.
pub(crate) struct MarkerChange {
    kind: DeployKind,
    action: Action,
    key: String,
    /// Revision of the replaced or removed record.
    before: Option<Revision>,
    change: Change,
    /// Reason, if given.
    message: Option<String>,
}

impl MarkerChange {
    /// Writes the record, in place of the record at `before`.
    pub(crate) fn write<T: Serialize>(
        (kind, action): (DeployKind, Action),
        key: &str,
        before: Option<Revision>,
        record: &T,
    ) -> Result<Self, Error> {
        let change = Change::Put(key.to_owned(), records::write(record)?);
        Ok(Self { kind, action, key: key.to_owned(), before, change, message: None })
    }

    /// Removes the record at `before`.
    pub(crate) fn remove((kind, action): (DeployKind, Action), key: &str, before: Revision) -> Self {
        let change = Change::Delete(key.to_owned());
        Self { kind, action, key: key.to_owned(), before: Some(before), change, message: None }
    }

    /// Adds a reason for the history and the audit log.
    pub(crate) fn because(self, message: Option<&str>) -> Self {
        Self { message: message.map(str::to_owned), ..self }
    }
}

impl Places {
    /// Commits a change of a lock or a pause; a dry run ends before the commit. Returns false if another commit won the
    /// race.
    ///
    /// # Errors
    /// `not_found` for an unknown app, `nothing_live` without a live version.
    pub(crate) async fn change_marker(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        marker: MarkerChange,
        dry_run: bool,
    ) -> Result<bool, Error> {
        let MarkerChange { kind, action, key, before, change, message } = marker;
        self.ledger.must_exist(app).await?;
        let live = self.ledger.live_pointer(app, environment).await?;
        let (_, pointer) = live.ok_or_else(|| nothing_live(app, environment))?;
        if dry_run {
            return Ok(true);
        }
        let at_ms = clock::now_ms();
        let what = message.clone().unwrap_or_default();
        let (entry_key, entry) = self.ledger.note(actor, (app, environment), kind, &pointer, at_ms, message).await?;
        let commit = Commit {
            checks: vec![Check::of(&key, before), Check::Absent(entry_key.clone())],
            changes: vec![change, Change::Put(entry_key, records::write(&entry)?)],
        };
        let announcement = announcement(action, actor, (app, environment), pointer.version, &what);
        let event = AuditEvent::of(action).place(app, environment).what(what).announcing(announcement);
        let is_made = self.ledger.commit(actor, event, commit).await?;
        if is_made {
            tracing::info!(app = %app, environment = %environment, who = actor.name, ?kind, "marker changed");
        }
        Ok(is_made)
    }
}

/// Returns the announcement of a lock or an unlock for webhooks.
fn announcement(
    action: Action,
    actor: &Actor,
    (app, environment): (&AppName, &PlaceName),
    version: VersionId,
    reason: &str,
) -> Option<Announcement> {
    let event = match action {
        Action::Lock => WebhookEvent::EnvironmentLocked,
        Action::Unlock => WebhookEvent::EnvironmentUnlocked,
        _ => return None,
    };
    let data = WebhookData {
        environment: Some(environment.clone()),
        actor: Some(actor.name.clone()),
        version: Some(version),
        reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        ..WebhookData::of(app)
    };
    Some(Announcement { event, data })
}
