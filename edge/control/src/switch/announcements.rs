//! Webhook announcements of switches, rollbacks, promotions and canaries.

use devanture_config::api::{DeployProblem, Source, WebhookData, WebhookEvent};
use devanture_config::{AppName, PlaceName, VersionId};

use super::canary::share_text;
use super::intent::{Intent, Move};
use super::switcher::Switcher;
use crate::ledger::{Actor, Announcement, Error};
use devanture_store::records::CanaryRecord;

/// Adds the source of the bundle to an event.
pub(crate) fn with_source(data: WebhookData, source: &Source) -> WebhookData {
    let Source { commit, branch, message, .. } = source.clone();
    WebhookData { commit, branch, message, ..data }
}

fn of_intent(intent: &Intent<'_>) -> WebhookData {
    let data = WebhookData {
        environment: Some(intent.environment.clone()),
        actor: Some(intent.actor.name.clone()),
        kind: Some(intent.movement.kind()),
        deploy: Some(intent.deploy.to_owned()),
        version: Some(intent.version),
        reason: intent.reason.map(str::to_owned),
        ..WebhookData::of(intent.app)
    };
    with_source(data, intent.source)
}

impl Switcher {
    /// Announces a live version, in the commit that moves the pointer.
    fn went_live(&self, intent: &Intent<'_>, previous: Option<VersionId>) -> Announcement {
        let urls = self.environments.places.urls(intent.app, intent.environment, &intent.version);
        let mut data = WebhookData { previous, url: Some(urls.live), preview: Some(urls.preview), ..of_intent(intent) };
        let event = match (&intent.movement, intent.expected.undone) {
            (_, Some(undone)) => {
                // `message` repeats the reason as a sentence for the history.
                (data.reason, data.message) = (Some(undone.why.to_owned()), None);
                WebhookEvent::DeployUndone
            }
            (Move::Rollback { .. }, None) => WebhookEvent::DeployRollback,
            (Move::Push | Move::Switch | Move::Promote, None) => WebhookEvent::DeployLive,
        };
        Announcement { event, data }
    }

    /// Announces a switch: a new live version, or a canary.
    pub(super) fn moved(&self, intent: &Intent<'_>, previous: Option<VersionId>) -> Announcement {
        match (intent.begun_canary(), previous) {
            (Some(canary), Some(live)) => {
                let place = (intent.app, intent.environment);
                self.canary_stepped(intent.actor, place, (live, canary), share_text(canary.share))
            }
            _ => self.went_live(intent, previous),
        }
    }

    /// Announces a canary's new share of visitors or end, with the reason.
    pub(super) fn canary_stepped(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        (live, canary): (VersionId, &CanaryRecord),
        what: String,
    ) -> Announcement {
        let urls = self.environments.places.urls(app, environment, &canary.version);
        let data = WebhookData {
            environment: Some(environment.clone()),
            actor: Some(actor.name.clone()),
            deploy: Some(canary.deploy.clone()),
            version: Some(canary.version),
            previous: Some(live),
            url: Some(urls.live),
            preview: Some(urls.preview),
            reason: Some(what),
            ..WebhookData::of(app)
        };
        Announcement { event: WebhookEvent::CanaryStep, data }
    }

    /// Notifies webhooks of the start of a switch of a stored version; `publish` announces pushes.
    pub(super) async fn announce_begun(&self, intent: &Intent<'_>) {
        if !intent.movement.is_push() && intent.expected.undone.is_none() && intent.begun_canary().is_none() {
            let announcement = Announcement { event: WebhookEvent::DeployStarted, data: of_intent(intent) };
            self.ledger.announce(&announcement).await;
        }
    }

    /// Notifies webhooks of a failed switch without a history entry.
    pub(super) async fn announce_failed(&self, intent: &Intent<'_>, error: &Error) {
        let problem = DeployProblem { code: error.0.code, detail: error.0.detail.clone() };
        let data = WebhookData { problem: Some(problem), ..of_intent(intent) };
        self.ledger.announce(&Announcement { event: WebhookEvent::DeployFailed, data }).await;
    }
}
