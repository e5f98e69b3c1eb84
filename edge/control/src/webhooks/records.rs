//! Reads and writes the records of webhooks and messages.

use devanture_config::AppName;
use devanture_config::api::{
    WebhookAttempt, WebhookDelivery, WebhookEnd, WebhookEvent, WebhookName, WebhookState, WebhookStatus,
};
use devanture_config::problem::{Code, Problem};

use super::Webhooks;
use super::message::payload;
use crate::ledger::{Error, SystemWrite, commit_system, unless_conflict};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::webhooks::{
    DeliveryAt, DeliveryRecord, ENDED_PREFIX, WAITING_PREFIX, WebhookRecord, deliveries_prefix, webhook_key,
    webhook_of, webhooks_prefix,
};
use devanture_store::records::{self, StoredDelivery};

/// Maximum number of webhooks to list per app: the limit, and webhooks from a higher earlier limit.
const WEBHOOKS_MAX: usize = 100;
/// Maximum number of old messages to delete with each completed message: more than a single message, so the list
/// shrinks to a lowered limit.
const FORGOTTEN_AT_ONCE_MAX: usize = 3;

/// Returns the sealing context of an address.
pub(super) fn url_context(app: &AppName, name: &WebhookName) -> String {
    format!("webhook {app} {name} url")
}

/// Returns the sealing context of a secret.
pub(super) fn secret_context(app: &AppName, name: &WebhookName) -> String {
    format!("webhook {app} {name} secret")
}

impl Webhooks {
    /// Returns a webhook with the revision of the record.
    pub(super) async fn webhook_record(
        &self,
        app: &AppName,
        name: &WebhookName,
    ) -> Result<Option<(Revision, WebhookRecord)>, Error> {
        let key = webhook_key(app, name);
        let record = self.ledger.catalog.get(&key).await?;
        Ok(record.map(|record| records::read(&key, &record).map(|read| (record.revision, read))).transpose()?)
    }

    /// Returns all webhooks of an app, by name.
    pub(super) async fn webhook_records(&self, app: &AppName) -> Result<Vec<(WebhookName, WebhookRecord)>, Error> {
        let listed = self.ledger.catalog.list(&webhooks_prefix(app), None, false, WEBHOOKS_MAX).await?;
        let read =
            listed.iter().filter_map(|(key, record)| Some((webhook_of(key)?.1, records::read(key, record).ok()?)));
        Ok(read.collect())
    }

    /// Returns a message below a prefix, and the check that the record is unchanged.
    pub(super) async fn delivery_record(
        &self,
        prefix: &str,
        at: &DeliveryAt,
    ) -> Result<Option<(DeliveryRecord, Check)>, Error> {
        let key = at.key(prefix);
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(None) };
        Ok(Some((records::read(&key, &record)?, Check::At(key, record.revision))))
    }

    /// Returns the status of a webhook.
    pub(super) async fn webhook_status(
        &self,
        app: &AppName,
        name: &WebhookName,
        record: &WebhookRecord,
    ) -> Result<WebhookStatus, Error> {
        let waiting_max = usize::try_from(self.ledger.limits().webhook_waiting_max).unwrap_or(usize::MAX);
        let prefix = deliveries_prefix(WAITING_PREFIX, app, name);
        let waiting = self.ledger.catalog.list(&prefix, None, false, waiting_max.saturating_add(1)).await?.len();
        let state = match (&record.disabled, record.failing_since_ms) {
            (Some(_), _) => WebhookState::Disabled,
            (None, Some(_)) => WebhookState::Failing,
            (None, None) => WebhookState::Active,
        };
        let now_ms = clock::now_ms();
        Ok(WebhookStatus {
            name: name.clone(),
            address: record.address.clone(),
            format: record.format.into(),
            events: record.events.iter().copied().map(WebhookEvent::from).collect(),
            environments: record.environments.clone(),
            who: record.who.clone(),
            created_ms: record.created_ms,
            state,
            failing_since_ms: record.failing_since_ms,
            disabled: record.disabled.clone().map(WebhookEnd::from),
            old_secret_until_ms: record.old_secret.as_ref().map(|old| old.until_ms).filter(|until| *until > now_ms),
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
        })
    }

    /// Returns the changes that complete a message, and delete the oldest completed messages.
    pub(super) async fn ending(&self, at: &DeliveryAt, record: &DeliveryRecord) -> Result<Vec<Change>, Error> {
        let kept_max = usize::try_from(self.ledger.limits().webhook_deliveries_kept).unwrap_or(usize::MAX);
        let prefix = deliveries_prefix(ENDED_PREFIX, &at.app, &at.webhook);
        let listed =
            self.ledger.catalog.list(&prefix, None, false, kept_max.saturating_add(FORGOTTEN_AT_ONCE_MAX)).await?;
        let own = at.key(ENDED_PREFIX);
        let surplus = listed.len().saturating_add(1).saturating_sub(kept_max).min(FORGOTTEN_AT_ONCE_MAX);
        let mut changes = vec![Change::Delete(at.key(WAITING_PREFIX))];
        if kept_max > 0 {
            changes.push(Change::Put(own.clone(), records::write(record)?));
        }
        changes
            .extend(listed.into_iter().map(|(key, _)| key).filter(|key| *key != own).take(surplus).map(Change::Delete));
        Ok(changes)
    }

    /// Writes changes of messages and webhooks; `None` if another commit won the race.
    pub(super) async fn write_webhooks(
        &self,
        checks: Vec<Check>,
        changes: Vec<Change>,
    ) -> Result<Option<Revision>, Error> {
        let commit = Commit { checks, changes };
        let committed = commit_system(&*self.ledger.catalog, SystemWrite::Webhook, commit).await;
        Ok(unless_conflict(committed)?)
    }
}

/// Returns a message in the form of the list.
pub(super) fn listed(id: &str, record: &DeliveryRecord) -> WebhookDelivery {
    WebhookDelivery {
        id: id.to_owned(),
        state: record.state.into(),
        attempts: record.attempts,
        next_ms: (record.state == StoredDelivery::Waiting).then_some(record.next_ms),
        last: record.last.clone().map(WebhookAttempt::from),
        payload: payload(record.event.into(), record.at_ms, &record.data.clone().into()),
    }
}

/// Returns the error for an unknown webhook.
pub(super) fn no_webhook(app: &AppName, name: &WebhookName) -> Error {
    Problem::new(Code::NotFound, format!("The app {app} has no webhook `{name}`."))
        .hint("`devanture webhooks` lists them")
        .into()
}
