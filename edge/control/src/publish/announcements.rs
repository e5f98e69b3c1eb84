//! Webhook announcements of pushes; `switch` announces live versions.

use devanture_config::api::{DeployKind, WebhookData, WebhookEvent};

use super::publisher::Publisher;
use super::pushes::Push;
use crate::ledger::Announcement;
use crate::switch::with_source;

impl Publisher {
    /// Notifies webhooks of the start of a push's steps.
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
