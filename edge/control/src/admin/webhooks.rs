//! Operations on webhooks: configuration, deliveries, messages on request.

use devanture_config::api::ConfirmedAction;
use http::StatusCode;

use super::call::{Answer, Call};
use super::state::Admin;
use super::{answer, body};

/// Default page size of deliveries …
const DELIVERIES_DEFAULT: usize = 20;
/// … and its maximum.
const DELIVERIES_MAX: usize = 1_000;

impl Admin {
    pub(super) async fn webhooks(&self, call: Call) -> Answer {
        let app = call.path.app()?;
        Ok(answer::json(StatusCode::OK, &self.publisher.webhooks().list(&app).await?))
    }

    pub(super) async fn webhook(&self, call: Call) -> Answer {
        let (app, name) = (call.path.app()?, call.path.webhook()?);
        let limit = body::limit(call.uri(), DELIVERIES_DEFAULT)?.min(DELIVERIES_MAX);
        Ok(answer::json(StatusCode::OK, &self.publisher.webhooks().show(&app, &name, limit).await?))
    }

    pub(super) async fn set_webhook(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, name, dry_run) = (path.app()?, path.webhook()?, body::dry_run(request.uri())?);
        let wanted = self.json(request).await?;
        // A new address or fewer events end the previous configuration, as a deletion does.
        let is_there = self.publisher.webhooks().list(&app).await?.webhooks.iter().any(|set| set.name == name);
        if is_there {
            self.credentials.check_confirmed(&actor, &app, Some(ConfirmedAction::Delete)).await?;
        }
        let set = self.publisher.webhooks().set(&actor, &app, &name, wanted, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &set))
    }

    pub(super) async fn remove_webhook(&self, call: Call) -> Answer {
        let Call { actor, path, request } = call;
        let (app, name, dry_run) = (path.app()?, path.webhook()?, body::dry_run(request.uri())?);
        let removed = self.publisher.webhooks().remove(&actor, &app, &name, dry_run).await?;
        Ok(answer::json(StatusCode::OK, &removed))
    }

    pub(super) async fn rotate_webhook(&self, call: Call) -> Answer {
        let (app, name) = (call.path.app()?, call.path.webhook()?);
        let at_once = body::flag(call.request.uri(), "now")?;
        let rotated = self.publisher.webhooks().rotate(&call.actor, &app, &name, at_once).await?;
        Ok(answer::json(StatusCode::OK, &rotated))
    }

    pub(super) async fn test_webhook(&self, call: Call) -> Answer {
        let (app, name) = (call.path.app()?, call.path.webhook()?);
        let tested = self.publisher.webhooks().test(&call.actor, &app, &name).await?;
        Ok(answer::json(StatusCode::OK, &tested))
    }

    pub(super) async fn redeliver(&self, call: Call) -> Answer {
        let (app, name) = (call.path.app()?, call.path.webhook()?);
        let redelivered = self.publisher.webhooks().redeliver(&call.actor, &app, &name, call.path.id()).await?;
        Ok(answer::json(StatusCode::ACCEPTED, &redelivered))
    }
}
