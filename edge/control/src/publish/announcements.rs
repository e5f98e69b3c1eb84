//! Announcements of pushes to webhooks; of what they make live, `switch` announces it.

use devanture_config::api::{DeployKind, WebhookData, WebhookEvent};

use super::publisher::Publisher;
use super::pushes::Push;
use crate::ledger::Announcement;
use crate::switch::with_source;

impl Publisher {
    /// Notifies webhooks that the steps of a push begin.
    pub(super) async fn announce_push(&self, push: &Push) {
        let data = WebhookData {
            environment: Some(push.environment.clone()),
            actor: Some(push.actor.name.clone()),
            kind: Some(DeployKind::Push),
            deploy: Some(push.id.clone()),
            version: Some(push.version),
            reason: push.options.reason.clone(),
            ..WebhookData::of(&push.app)
        };
        let data = with_source(data, &push.source);
        self.ledger.announce(&Announcement { event: WebhookEvent::DeployStarted, data }).await;
    }
}
