//! Delivery attempt of a message: claimed before, and recorded after.

use std::time::Duration;

use devanture_config::AppName;
use devanture_config::api::{WebhookData, WebhookEvent, WebhookFormat, WebhookName};
use devanture_config::problem::{Code, Problem};
use tokio::time::sleep;

use super::client::Message;
use super::message::{body, payload};
use super::outcome::{AttemptResult, MessageState, failed, is_due, next, pause_ms};
use super::queue::ClaimedDelivery;
use super::records::{secret_context, url_context};
use super::sign::signatures;
use super::target::Target;
use super::{DELIVERIES_TOTAL, Webhooks};
use crate::ledger::{Announcement, Error};
use crate::settings::Keys;
use devanture_base::clock;
use devanture_base::telemetry;
use devanture_store::catalog::{Change, Check};
use devanture_store::records::settings::Sealed;
use devanture_store::records::webhooks::{
    DeliveryAt, DeliveryRecord, StoredEnd, WAITING_PREFIX, WebhookRecord, webhook_key,
};
use devanture_store::records::{self, StoredDelivery, StoredFormat, gone};

/// Delay before retrying a message after an error of the catalog, in milliseconds.
const AGAIN_MS: u64 = 30_000;
/// Extra time beyond the longest attempt before a message of a crashed node is sent again, in milliseconds.
const CLAIM_MORE_MS: u64 = 5_000;
/// Delay before retrying to record the result of an attempt, after an error of the catalog.
const PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of attempts to record a result; an unrecorded message is sent again.
const WRITES_MAX: usize = 30;

/// Decrypted webhook data for an attempt.
pub(super) struct DecryptedWebhook {
    pub(super) target: Target,
    secrets: Vec<String>,
}

/// Account of a message in the rate limit of the app.
struct Budget {
    is_counted: bool,
    /// True once sent; a counted message that was not sent is given back.
    is_sent: bool,
}

/// Completed attempt.
struct CompletedAttempt<'a> {
    at: &'a DeliveryAt,
    /// Claimed message, and the check that the record is unchanged.
    claimed: DeliveryRecord,
    check: Check,
    /// Address at the time of sending.
    url: Sealed,
    attempted: AttemptResult,
    next: MessageState,
}

impl Webhooks {
    /// Sends a message, if due. Returns the time of the next check; `None` for a completed message.
    pub(super) async fn deliver(&self, ClaimedDelivery { at, is_counted }: &ClaimedDelivery) -> Option<u64> {
        let mut budget = Budget { is_counted: *is_counted, is_sent: false };
        let looked = self.try_deliver(at, &mut budget).await;
        if budget.is_counted && !budget.is_sent {
            self.messages.give_back(&at.app);
        }
        match looked {
            Ok(next_ms) => next_ms,
            Err(error) => {
                tracing::warn!(app = %at.app, webhook = %at.webhook, %error, "a message to a webhook is not sent for now");
                Some(clock::now_ms().saturating_add(AGAIN_MS))
            }
        }
    }

    async fn try_deliver(&self, at: &DeliveryAt, budget: &mut Budget) -> Result<Option<u64>, Error> {
        let Some((record, check)) = self.delivery_record(WAITING_PREFIX, at).await? else { return Ok(None) };
        let now_ms = clock::now_ms();
        let webhook = self.webhook_record(&at.app, &at.webhook).await?;
        let Some((_, webhook)) = webhook else {
            return self.forget(at, check).await;
        };
        if self.is_deleted(at, &record).await? {
            return self.forget(at, check).await;
        }
        if webhook.disabled.is_some() {
            let ended = DeliveryRecord { state: StoredDelivery::Failed, next_ms: 0, ..record };
            self.write_webhooks(vec![check], self.ending(at, &ended).await?).await?;
            return Ok(None);
        }
        if !is_due(record.next_ms, now_ms) && !webhook.resumes(&record) {
            return Ok(Some(record.next_ms));
        }
        if !budget.is_counted {
            if let Err(wait_ms) = self.messages.take(&at.app) {
                return Ok(Some(now_ms.saturating_add(wait_ms)));
            }
            budget.is_counted = true;
        }
        let opened = self.opened(&at.app, &at.webhook, &webhook);
        let limits = self.ledger.limits();
        let attempts = record.attempts.saturating_add(1);
        let least_ms = limits.webhook_ms_max.saturating_add(CLAIM_MORE_MS);
        let claim_ms = pause_ms(attempts, 0.0).unwrap_or(0).max(least_ms);
        let claimed = DeliveryRecord { attempts, next_ms: now_ms.saturating_add(claim_ms), ..record };
        let put = Change::Put(at.key(WAITING_PREFIX), records::write(&claimed)?);
        let Some(revision) = self.write_webhooks(vec![check], vec![put]).await? else {
            return Ok(Some(now_ms));
        };
        let check = Check::At(at.key(WAITING_PREFIX), revision);
        let time_max = Duration::from_millis(limits.webhook_ms_max);
        let attempted = match opened {
            Ok(opened) => {
                budget.is_sent = true;
                let message = message(&at.id, &claimed, webhook.format, &opened);
                self.client.send((&opened.target, webhook.trusted), message, time_max).await
            }
            // Counts as a normal attempt: the failure is listed, and retries are limited.
            Err(error) => {
                tracing::warn!(app = %at.app, webhook = %at.webhook, %error, "a message to a webhook cannot be sent");
                // Errors of attempts are clauses without a final stop.
                AttemptResult::unsent(now_ms, error.0.detail.trim_end_matches('.').to_owned())
            }
        };
        let next = next(&attempted, attempts, clock::now_ms(), rand::random());
        let made = CompletedAttempt { at, claimed, check, url: webhook.url, attempted, next };
        count(&made);
        self.conclude(&made).await
    }

    async fn forget(&self, at: &DeliveryAt, check: Check) -> Result<Option<u64>, Error> {
        self.write_webhooks(vec![check], vec![Change::Delete(at.key(WAITING_PREFIX))]).await?;
        Ok(None)
    }

    async fn is_deleted(&self, at: &DeliveryAt, record: &DeliveryRecord) -> Result<bool, Error> {
        let mut keys = vec![gone::deleted_app_key(&at.app)];
        keys.extend(record.data.environment.as_ref().map(|one| gone::deleted_environment_key(&at.app, one)));
        Ok(self.ledger.catalog.get_all(&keys).await?.iter().any(Option::is_some))
    }

    /// Returns the decrypted address and secrets of a webhook.
    pub(super) fn opened(
        &self,
        app: &AppName,
        name: &WebhookName,
        webhook: &WebhookRecord,
    ) -> Result<DecryptedWebhook, Error> {
        let keys = self.keys.read()?;
        let url = open(&keys, &url_context(app, name), &webhook.url)?;
        let target = Target::parse(&url).map_err(|why| {
            Problem::new(Code::Internal, format!("The address of the webhook {name} cannot be used: {why}."))
        })?;
        let context = secret_context(app, name);
        let mut secrets = vec![open(&keys, &context, &webhook.secret)?];
        let now_ms = clock::now_ms();
        let old = webhook.old_secrets(now_ms);
        // An old secret that cannot be opened signs no more; the receiver has a newer secret by now, or rejects the
        // message.
        secrets.extend(old.filter_map(|old| open(&keys, &context, &old.secret).ok()));
        Ok(DecryptedWebhook { target, secrets })
    }

    /// Records the result of an attempt. Returns the time of the next check.
    async fn conclude(&self, made: &CompletedAttempt<'_>) -> Result<Option<u64>, Error> {
        let mut failures = 0;
        loop {
            match self.try_conclude(made).await {
                Ok(true) => break,
                Ok(false) => match self.delivery_record(WAITING_PREFIX, made.at).await? {
                    // A concurrent attempt to the same webhook was recorded first.
                    Some((_, check)) if check == made.check => {}
                    // A resend was requested during the attempt: the time of the request counts.
                    Some((requested, _)) => return Ok(Some(requested.next_ms)),
                    None => return Ok(None),
                },
                Err(error) if failures == WRITES_MAX => return Err(error),
                Err(error) => {
                    tracing::debug!(app = %made.at.app, webhook = %made.at.webhook, %error, "what came of a message cannot be written");
                    failures = failures.saturating_add(1);
                    sleep(PAUSE).await;
                }
            }
        }
        let MessageState::Again(next_ms) = made.next else { return Ok(None) };
        let webhook = self.webhook_record(&made.at.app, &made.at.webhook).await?;
        // If this attempt disabled the webhook, the next check drops the message.
        let is_over = webhook.is_none_or(|(_, webhook)| webhook.disabled.is_some());
        Ok(if is_over { None } else { Some(next_ms) })
    }

    async fn try_conclude(&self, made: &CompletedAttempt<'_>) -> Result<bool, Error> {
        let at = made.at;
        let last = Some(made.attempted.attempt.clone().into());
        let (state, next_ms) = match made.next {
            MessageState::Delivered => (StoredDelivery::Delivered, 0),
            MessageState::Again(next_ms) => (StoredDelivery::Waiting, next_ms),
            MessageState::GivenUp | MessageState::Gone => (StoredDelivery::Failed, 0),
        };
        let record = DeliveryRecord { state, next_ms, last, ..made.claimed.clone() };
        let mut changes = match state {
            StoredDelivery::Waiting => vec![Change::Put(at.key(WAITING_PREFIX), records::write(&record)?)],
            _ => self.ending(at, &record).await?,
        };
        let mut checks = vec![made.check.clone()];
        let webhook = self.webhook_record(&at.app, &at.webhook).await?;
        // The result has no meaning for a webhook with a changed address.
        if let Some((revision, webhook)) = webhook.filter(|(_, webhook)| webhook.url == made.url) {
            let after = self.after(&webhook, made);
            if after != webhook {
                let key = webhook_key(&at.app, &at.webhook);
                checks.push(Check::At(key.clone(), revision));
                changes.push(Change::Put(key, records::write(&after)?));
            }
            if let (None, Some(end)) = (&webhook.disabled, &after.disabled) {
                changes.extend(self.ledger.messages(&disabled(at, end)).await?);
                if self.write_webhooks(checks, changes).await?.is_none() {
                    return Ok(false);
                }
                tracing::warn!(app = %at.app, webhook = %at.webhook, reason = end.reason, "a webhook was disabled");
                telemetry::count_in_app("devanture_webhooks_disabled_total", at.app.as_str(), &[], 1);
                return Ok(true);
            }
        }
        Ok(self.write_webhooks(checks, changes).await?.is_some())
    }

    /// Returns a webhook record after an attempt.
    fn after(&self, webhook: &WebhookRecord, made: &CompletedAttempt<'_>) -> WebhookRecord {
        if made.attempted.attempt.error.is_none() {
            return webhook.taken(clock::now_ms());
        }
        let (after, reason) = failed(webhook, &made.attempted, self.ledger.limits().webhook_failing_ms_max);
        let end = reason.map(|reason| StoredEnd { at_ms: clock::now_ms(), reason });
        WebhookRecord { disabled: webhook.disabled.clone().or(end), ..after }
    }
}

fn count(made: &CompletedAttempt<'_>) {
    let outcome = match made.next {
        MessageState::Delivered => "delivered",
        MessageState::Again(_) => "retried",
        MessageState::GivenUp | MessageState::Gone => "failed",
    };
    telemetry::count_in_app(DELIVERIES_TOTAL, made.at.app.as_str(), &[("outcome", outcome)], 1);
}

/// Returns the announcement of a disabled webhook for the other webhooks of the app.
fn disabled(at: &DeliveryAt, end: &StoredEnd) -> Announcement {
    let (webhook, reason) = (Some(at.webhook.clone()), Some(end.reason.clone()));
    let data = WebhookData { webhook, reason, ..WebhookData::of(&at.app) };
    Announcement { event: WebhookEvent::WebhookDisabled, data }
}

fn open(keys: &Keys, context: &str, sealed: &Sealed) -> Result<String, Error> {
    keys.open(context, sealed).map_err(|why| {
        tracing::debug!(context, ?why, "what is sealed for a webhook does not open");
        let detail = "What was stored for the webhook does not open by the keys of secrets.";
        Problem::new(Code::SecretsLocked, detail)
            .hint("restore the file of keys, or set the webhook's address again")
            .into()
    })
}

/// Returns the message to send.
pub(super) fn message(id: &str, record: &DeliveryRecord, format: StoredFormat, opened: &DecryptedWebhook) -> Message {
    let format = WebhookFormat::from(format);
    let body = body(format, &payload(record.event.into(), record.at_ms, &record.data.clone().into()));
    let fields = match format {
        WebhookFormat::Standard => {
            let timestamp_s = clock::now_ms() / 1_000;
            vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", timestamp_s.to_string()),
                ("webhook-signature", signatures(&opened.secrets, id, timestamp_s, &body)),
            ]
        }
        WebhookFormat::Slack | WebhookFormat::Discord => Vec::new(),
    };
    Message { fields, body }
}
