//! Announcements of events to webhooks: a message per subscribed webhook, written in the commit of the announced
//! change.
//!
//! An edge killed after the commit still has the messages to send; an edge killed before announces no change that never
//! happened. `webhooks` sends the messages.

use devanture_config::AppName;
use devanture_config::api::{Deploy, Outcome, WebhookData, WebhookEvent};

use super::{Error, Ledger, SystemWrite, commit_system};
use devanture_base::clock;
use devanture_store::catalog::{self, Catalog, Change, Check, Commit};
use devanture_store::records::webhooks::{
    DeliveryAt, DeliveryRecord, ENDED_PREFIX, WAITING_PREFIX, WebhookRecord, deliveries_prefix, webhook_of,
    webhooks_prefix,
};
use devanture_store::records::{self, StoredDelivery, gone};

/// Most messages of a webhook dropped by one commit beyond the queue limit: more than the one added, so that a lowered
/// limit is reached.
const DROPPED_AT_ONCE_MAX: usize = 2;
/// Characters per text of a message.
const TEXT_CHARACTERS_MAX: usize = 500;
/// Webhooks served per app: an etcd commit is limited to 126 changes.
const WEBHOOKS_MAX: usize = 20;

/// Event for the webhooks of its app.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Kind of the event.
    pub event: WebhookEvent,
    /// Full message body, before texts are truncated.
    pub data: WebhookData,
}

/// Returns the id of a message about an event at `at_ms`; ids increase with time.
pub(crate) fn message_id(at_ms: u64) -> String {
    format!("msg_{at_ms:012x}{:012x}", rand::random::<u64>() >> 16)
}

/// Returns the changes that queue an announcement for the webhooks of its app, except the webhook concerned.
///
/// # Errors
/// Errors of the catalog.
pub(super) async fn messages(
    catalog: &dyn Catalog,
    announcement: &Announcement,
    waiting_max: u64,
) -> Result<Vec<Change>, catalog::Error> {
    let Announcement { event, data } = announcement;
    let data = bounded(data);
    let mut changes = Vec::new();
    let mut listed = catalog.list(&webhooks_prefix(&data.app), None, false, WEBHOOKS_MAX.saturating_add(1)).await?;
    if listed.len() > WEBHOOKS_MAX {
        // Unreachable by the API; a foreign writer of the catalog may add more webhooks.
        tracing::error!(app = %data.app, "the app has more webhooks than {WEBHOOKS_MAX}: the others get no messages");
        listed.truncate(WEBHOOKS_MAX);
    }
    for (key, record) in listed {
        let (Some((app, name)), Ok(webhook)) = (webhook_of(&key), records::read::<WebhookRecord>(&key, &record)) else {
            tracing::error!(key, "the record of a webhook cannot be read: it gets no messages");
            continue;
        };
        if !webhook.wants((*event).into(), data.environment.as_ref()) || data.webhook.as_ref() == Some(&name) {
            continue;
        }
        let prefix = deliveries_prefix(WAITING_PREFIX, &app, &name);
        changes.extend(beyond_the_bound(catalog, &prefix, waiting_max).await?);
        let at_ms = clock::now_ms();
        let record = DeliveryRecord {
            event: (*event).into(),
            at_ms,
            data: data.clone().into(),
            state: StoredDelivery::Waiting,
            attempts: 0,
            next_ms: at_ms,
            last: None,
        };
        let at = DeliveryAt { app, webhook: name, id: message_id(at_ms) };
        changes.push(Change::Put(at.key(WAITING_PREFIX), records::write(&record)?));
    }
    Ok(changes)
}

/// Truncates the texts, since each webhook stores a copy.
fn bounded(data: &WebhookData) -> WebhookData {
    let cut = |text: &mut String| {
        if let Some((end, _)) = text.char_indices().nth(TEXT_CHARACTERS_MAX) {
            text.truncate(end);
            text.push('…');
        }
    };
    let mut data = data.clone();
    let WebhookData { commit, branch, message, reason, problem, .. } = &mut data;
    [commit, branch, message, reason].into_iter().flatten().for_each(cut);
    if let Some(problem) = problem {
        cut(&mut problem.detail);
    }
    data
}

/// Drops the oldest messages below `prefix` if the queue is full.
async fn beyond_the_bound(
    catalog: &dyn Catalog,
    prefix: &str,
    waiting_max: u64,
) -> Result<Vec<Change>, catalog::Error> {
    let waiting_max = usize::try_from(waiting_max).unwrap_or(usize::MAX);
    let limit = waiting_max.saturating_add(DROPPED_AT_ONCE_MAX);
    let waiting = catalog.list(prefix, None, false, limit).await?;
    let surplus = waiting.len().saturating_add(1).saturating_sub(waiting_max).min(DROPPED_AT_ONCE_MAX);
    let mut changes = Vec::new();
    for (key, record) in waiting.iter().take(surplus) {
        changes.push(Change::Delete(key.clone()));
        if let (Some(at), Ok(record)) = (DeliveryAt::of(WAITING_PREFIX, key), records::read(key, record)) {
            let dropped = DeliveryRecord { state: StoredDelivery::Dropped, next_ms: 0, ..record };
            changes.push(Change::Put(at.key(ENDED_PREFIX), records::write(&dropped)?));
        }
    }
    Ok(changes)
}

impl Announcement {
    /// Returns the announcement of a history entry without a move of the live pointer.
    pub(super) fn of_unmoved(app: &AppName, deploy: &Deploy, preview: String) -> Option<Self> {
        let event = match deploy.outcome {
            Outcome::Stored => WebhookEvent::DeployReady,
            Outcome::Failed | Outcome::Superseded => WebhookEvent::DeployFailed,
            Outcome::Live | Outcome::Done => return None,
        };
        let is_stored = deploy.outcome != Outcome::Failed;
        let data = WebhookData {
            environment: Some(deploy.environment.clone()),
            actor: Some(deploy.who.clone()),
            kind: Some(deploy.kind),
            deploy: Some(deploy.id.clone()),
            version: Some(deploy.version),
            previous: deploy.previous,
            preview: is_stored.then_some(preview),
            commit: deploy.source.commit.clone(),
            branch: deploy.source.branch.clone(),
            message: deploy.source.message.clone(),
            reason: deploy.reason.clone(),
            problem: deploy.problem.clone(),
            ..WebhookData::of(app)
        };
        Some(Self { event, data })
    }
}

impl Ledger {
    /// Returns the changes that announce an event, for a commit of the caller.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub(crate) async fn messages(&self, announcement: &Announcement) -> Result<Vec<Change>, catalog::Error> {
        messages(&*self.catalog, announcement, self.limits().webhook_waiting_max).await
    }

    /// Announces an event that is no change of the catalog. An edge killed at the same moment may lose the message.
    pub async fn announce(&self, announcement: &Announcement) {
        let app: &AppName = &announcement.data.app;
        let written = async {
            let changes = self.messages(announcement).await?;
            if changes.is_empty() {
                return Ok(());
            }
            let checks = vec![Check::Absent(gone::deleted_app_key(app))];
            commit_system(&*self.catalog, SystemWrite::Webhook, Commit { checks, changes }).await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = written.await {
            tracing::warn!(%app, event = announcement.event.as_str(), %error, "webhooks are not notified of an event");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_message_are_of_a_bounded_length() {
        let app: AppName = "shop".parse().unwrap();
        let long = Some("ü".repeat(TEXT_CHARACTERS_MAX + 1));
        let data = bounded(&WebhookData { message: long, reason: Some("short".to_owned()), ..WebhookData::of(&app) });
        assert_eq!(data.message.unwrap().chars().count(), TEXT_CHARACTERS_MAX + 1);
        assert_eq!(data.reason.as_deref(), Some("short"));
        let data = bounded(&WebhookData { branch: Some("x".repeat(10_000)), ..WebhookData::of(&app) });
        assert!(data.branch.unwrap().ends_with("x…"));
    }

    #[test]
    fn ids_of_later_messages_are_greater() {
        assert!(message_id(1) < message_id(2) && message_id(255) < message_id(256));
        assert_eq!(message_id(u64::from(u32::MAX)).len(), "msg_".len() + 24);
    }
}
