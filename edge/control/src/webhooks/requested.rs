//! Messages on request: webhook tests, and resends.

use std::time::Duration;

use devanture_config::AppName;
use devanture_config::api::{WebhookData, WebhookDelivery, WebhookName};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;

use super::Webhooks;
use super::deliver::message;
use super::records::listed;
use crate::ledger::{Action, Actor, AuditEvent, Error, message_id, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit};
use devanture_store::records::webhooks::{DeliveryAt, DeliveryRecord, ENDED_PREFIX, WAITING_PREFIX, webhook_key};
use devanture_store::records::{self, StoredDelivery, StoredEvent};

impl Webhooks {
    /// Sends a test message now, once, from this node, even to a disabled webhook. Returns the result.
    ///
    /// # Errors
    /// `not_found`; `busy` if the number of running tests is at the limit; `too_many_tests`; `secrets_locked`.
    pub async fn test(&self, actor: &Actor, app: &AppName, name: &WebhookName) -> Result<WebhookDelivery, Error> {
        let (revision, webhook) = self.existing_webhook(app, name).await?;
        let Some(_place) = self.tests.take(app) else {
            let detail = "As many webhooks are tested as may.";
            return Err(Problem::new(Code::Busy, detail).hint("`webhook_sends_max` in edge.toml is the limit").into());
        };
        let at_ms = clock::now_ms();
        let at = DeliveryAt { app: app.clone(), webhook: name.clone(), id: message_id(at_ms) };
        let opened = self.opened(app, name, &webhook)?;
        let count_max = self.ledger.limits().webhook_tests_per_minute_per_app_max;
        self.tested.take(app).map_err(|wait_ms| too_many_tests(app, count_max, wait_ms))?;
        let event = AuditEvent::of(Action::TestWebhook).app(app).what(format!("{name} {}", webhook.address));
        let recorded = self.ledger.record(actor, event).await;
        recorded.inspect_err(|_reason| self.tested.give_back(app))?;
        let (actor, webhook_name) = (Some(actor.name.clone()), Some(name.clone()));
        let data = WebhookData { actor, webhook: webhook_name, ..WebhookData::of(app) };
        let (event, data) = (StoredEvent::WebhookTest, data.into());
        let record =
            DeliveryRecord { event, at_ms, data, state: StoredDelivery::Waiting, attempts: 1, next_ms: 0, last: None };
        let message = message(&at.id, &record, webhook.format, &opened);
        let time_max = Duration::from_millis(self.ledger.limits().webhook_ms_max);
        let sent = self.client.send((&opened.target, webhook.trusted), message, time_max).await;
        let state = if sent.attempt.error.is_none() { StoredDelivery::Delivered } else { StoredDelivery::Failed };
        let record = DeliveryRecord { state, last: Some(sent.attempt.into()), ..record };
        // The check excludes a webhook removed meanwhile. A lost write only affects the list, or is made up by the next
        // message.
        let key = webhook_key(app, name);
        let after = if state == StoredDelivery::Delivered { webhook.taken(clock::now_ms()) } else { webhook.clone() };
        let written = async {
            let mut changes = self.ending(&at, &record).await?;
            if after != webhook {
                changes.push(Change::Put(key.clone(), records::write(&after)?));
            }
            self.write_webhooks(vec![Check::At(key, revision)], changes).await
        };
        if let Err(error) = written.await {
            tracing::debug!(%app, webhook = %name, %error, "a test of a webhook is not listed");
        }
        Ok(listed(&at.id, &record))
    }

    /// Sends a completed message again, or a waiting message now, with the same id. Returns the waiting message.
    ///
    /// # Errors
    /// `not_found` for a message outside the list; `conflict` for a disabled webhook.
    pub async fn redeliver(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &WebhookName,
        id: &str,
    ) -> Result<WebhookDelivery, Error> {
        let at = DeliveryAt { app: app.clone(), webhook: name.clone(), id: id.to_owned() };
        update(id, || async {
            let (_, webhook) = self.existing_webhook(app, name).await?;
            if webhook.disabled.is_some() {
                let detail = format!("The webhook {name} is disabled.");
                let hint = "`devanture webhooks add` with its name enables it again";
                return Err(Problem::new(Code::Conflict, detail).hint(hint).into());
            }
            let is_id = id.starts_with("msg_") && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let (ended, waiting) = (at.key(ENDED_PREFIX), at.key(WAITING_PREFIX));
            let (mut checks, mut changes) = (Vec::new(), Vec::new());
            let mut found = if is_id { self.delivery_record(WAITING_PREFIX, &at).await? } else { None };
            if found.is_none() && is_id {
                found = self.delivery_record(ENDED_PREFIX, &at).await?;
                checks.push(Check::Absent(waiting.clone()));
                changes.push(Change::Delete(ended));
            }
            let Some((record, check)) = found else {
                let detail = format!("No message of the webhook {name} has this id.");
                let problem = Problem::new(Code::NotFound, detail);
                return Err(problem.hint(format!("`devanture webhooks show {name}` lists the last ones")).into());
            };
            // A waiting message keeps the number of attempts, so retries stay limited.
            let attempts = if record.state == StoredDelivery::Waiting { record.attempts } else { 0 };
            let next_ms = clock::now_ms();
            let record = DeliveryRecord { state: StoredDelivery::Waiting, attempts, next_ms, ..record };
            checks.push(check);
            changes.push(Change::Put(waiting, records::write(&record)?));
            let event = AuditEvent::of(Action::Redeliver).app(app).what(format!("{name} {id}"));
            let is_made = self.ledger.commit(actor, event, Commit { checks, changes }).await?;
            Ok::<_, Error>(is_made.then(|| listed(id, &record)))
        })
        .await
    }
}

fn too_many_tests(app: &AppName, count_max: u64, wait_ms: u64) -> Problem {
    let wait_s = wait_ms.div_ceil(1_000).max(1);
    let times = counted(count_max, "time");
    let detail = format!("Webhooks of the app {app} were tested {times} within a minute, which is what is allowed.");
    Problem::new(Code::TooManyTests, detail)
        .hint(format!("try again in {}", counted(wait_s, "second")))
        .limit("webhook_tests_per_minute_per_app_max", count_max, count_max)
        .retry_after(wait_s)
}
