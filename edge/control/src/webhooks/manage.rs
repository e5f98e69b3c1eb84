//! Sets, lists and removes webhooks, and rotates their secrets.

use devanture_config::api::{
    Secret, WebhookDetails, WebhookList, WebhookName, WebhookRemoved, WebhookRequest, WebhookRotated, WebhookSet,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};

use super::Webhooks;
use super::records::{listed, no_webhook, secret_context, url_context};
use super::sign::new_secret;
use super::target::Target;
use crate::ledger::{Action, Actor, AuditEvent, Error, PART_CHANGES_MAX, SystemWrite, commit_in_parts, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::settings::Sealed;
use devanture_store::records::webhooks::{
    DeliveryAt, DeliveryRecord, ENDED_PREFIX, OldSecret, WAITING_PREFIX, WebhookAdded, WebhookRecord, added_key,
    deliveries_prefix, webhook_key,
};
use devanture_store::records::{self, StoredEvent, StoredFormat};

/// Maximum number of environments per webhook.
const ENVIRONMENTS_MAX: usize = 50;
/// Maximum number of signing secrets older than the previous secret.
const OLDER_SECRETS_MAX: usize = 2;
/// Time for signing with a replaced secret, in milliseconds: a day.
const OLD_SECRET_MS: u64 = 86_400_000;

/// Validated request; a webhook keeps the values of absent fields.
struct CheckedRequest {
    target: Option<(Target, Secret)>,
    events: Option<Vec<StoredEvent>>,
    environments: Option<Vec<PlaceName>>,
    format: Option<StoredFormat>,
}

impl Webhooks {
    /// Returns the webhooks of an app.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn list(&self, app: &AppName) -> Result<WebhookList, Error> {
        self.ledger.must_exist(app).await?;
        let mut webhooks = Vec::new();
        for (name, record) in self.webhook_records(app).await? {
            webhooks.push(self.webhook_status(app, &name, &record).await?);
        }
        Ok(WebhookList { webhooks })
    }

    /// Returns a webhook with the latest messages, the newest first.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn show(&self, app: &AppName, name: &WebhookName, limit: usize) -> Result<WebhookDetails, Error> {
        let (_, record) = self.existing_webhook(app, name).await?;
        let mut deliveries = Vec::new();
        for prefix in [WAITING_PREFIX, ENDED_PREFIX] {
            let below = deliveries_prefix(prefix, app, name);
            for (key, record) in self.ledger.catalog.list(&below, None, true, limit).await? {
                let Some(at) = DeliveryAt::of(prefix, &key) else { continue };
                // The sending node has logged unreadable records.
                let Ok(record) = records::read::<DeliveryRecord>(&key, &record) else { continue };
                deliveries.push(listed(&at.id, &record));
            }
        }
        deliveries.sort_by(|one, other| other.id.cmp(&one.id));
        deliveries.truncate(limit);
        Ok(WebhookDetails { webhook: self.webhook_status(app, name, &record).await?, deliveries })
    }

    /// Returns a webhook, or fails if the webhook does not exist.
    pub(super) async fn existing_webhook(
        &self,
        app: &AppName,
        name: &WebhookName,
    ) -> Result<(Revision, WebhookRecord), Error> {
        self.ledger.must_exist(app).await?;
        self.webhook_record(app, name).await?.ok_or_else(|| no_webhook(app, name))
    }

    /// Adds a webhook, or changes the requested fields of a webhook and resumes delivery; with `dry_run`, only reports
    /// the effect.
    ///
    /// # Errors
    /// `bad_request` for an invalid address, `webhook_forbidden` for an address that the actor may not reach,
    /// `too_many`, `secrets_locked`, `not_found` for an unknown app.
    pub async fn set(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &WebhookName,
        request: WebhookRequest,
        dry_run: bool,
    ) -> Result<WebhookSet, Error> {
        self.ledger.must_exist(app).await?;
        let trusted = actor.is_admin_of_all();
        let wanted = self.checked(app, request, trusted).await?;
        let key = webhook_key(app, name);
        if !dry_run && self.webhook_record(app, name).await?.is_none() {
            // Messages of a removed webhook of the same name remain if an edge was killed right after the removal.
            self.forget_messages(app, name).await?;
        }
        update(&key, || async {
            let before = self.webhook_record(app, name).await?;
            let is_new = before.is_none();
            let added = if is_new { Some(self.room_for_webhook(app).await?) } else { None };
            let revision = before.as_ref().map(|(revision, _)| *revision);
            let before = before.map(|(_, before)| before);
            let (record, secret) = self.composed(actor, (app, name), &wanted, before, dry_run)?;
            let webhook = self.webhook_status(app, name, &record).await?;
            let set = WebhookSet { dry_run, app: app.clone(), is_new, webhook, secret };
            if dry_run {
                return Ok(Some(set));
            }
            let event = AuditEvent::of(Action::AddWebhook).app(app).what(format!("{name} {}", record.address));
            let mut checks = vec![Check::of(key.clone(), revision)];
            let mut changes = vec![Change::Put(key.clone(), records::write(&record)?)];
            if let Some((check, change)) = added {
                checks.push(check);
                changes.push(change);
            }
            let is_made = self.ledger.commit(actor, event, Commit { checks, changes }).await?;
            Ok(is_made.then_some(set))
        })
        .await
    }

    /// Validates the events, environments and address of a request.
    async fn checked(&self, app: &AppName, request: WebhookRequest, trusted: bool) -> Result<CheckedRequest, Error> {
        let WebhookRequest { url, mut events, mut environments, format } = request;
        let bad = |detail: String| Problem::new(Code::BadRequest, detail);
        if let Some(event) = events.iter().flatten().find(|event| !event.can_be_wanted()) {
            return Err(bad(format!("A webhook gets {event} without wanting it.")).hint("leave it out").into());
        }
        if let Some(events) = &mut events {
            events.sort_unstable();
            events.dedup();
        }
        if let Some(environments) = &mut environments {
            environments.sort_unstable();
            environments.dedup();
            if environments.len() > ENVIRONMENTS_MAX {
                let detail = format!("The webhook names more than {ENVIRONMENTS_MAX} environments.");
                return Err(bad(detail).hint("name none for all of them").into());
            }
        }
        let target = match url {
            None => None,
            Some(url) => {
                let target = Target::parse(url.expose()).map_err(|why| {
                    bad(format!("The address cannot be a webhook's: {why}."))
                        .hint("such as https://example.org/webhooks/devanture")
                })?;
                self.check_target(app, &target, trusted).await?;
                Some((target, url))
            }
        };
        let events = events.map(|events| events.into_iter().map(StoredEvent::from).collect());
        Ok(CheckedRequest { target, events, environments, format: format.map(StoredFormat::from) })
    }

    async fn check_target(&self, app: &AppName, target: &Target, trusted: bool) -> Result<(), Error> {
        self.client.check(app, target, trusted).await.map_err(|error| {
            let problem = Problem::new(Code::WebhookForbidden, format!("{}: {error}.", target.shown()));
            problem.hint("docs/webhooks.md says which addresses webhooks may have").into()
        })
    }

    /// Checks that an app may have an additional webhook. Returns the check and the change for the commit, so of two
    /// concurrent additions the second fails and counts again.
    async fn room_for_webhook(&self, app: &AppName) -> Result<(Check, Change), Error> {
        let key = added_key(app);
        // Read before the count: an addition after this line fails the check.
        let last = self.ledger.catalog.get(&key).await?.map(|record| record.revision);
        let (count, count_max) = (self.webhook_records(app).await?.len(), self.ledger.limits().webhooks_per_app_max);
        if u64::try_from(count).unwrap_or(u64::MAX) < count_max {
            let added = records::write(&WebhookAdded { at_ms: clock::now_ms() })?;
            return Ok((Check::of(key.clone(), last), Change::Put(key, added)));
        }
        let detail = format!("The app {app} has {count} webhooks; {count_max} are allowed.");
        Err(Problem::new(Code::TooMany, detail).hint("`webhooks_per_app_max` in edge.toml is the limit").into())
    }

    /// Returns the record of a requested webhook, and the secret of a new webhook.
    fn composed(
        &self,
        actor: &Actor,
        (app, name): (&AppName, &WebhookName),
        wanted: &CheckedRequest,
        before: Option<WebhookRecord>,
        dry_run: bool,
    ) -> Result<(WebhookRecord, Option<Secret>), Error> {
        let CheckedRequest { target, events, environments, format } = wanted;
        // A dry run neither creates nor uses a key.
        let seal = |context: &str, text: &str| match dry_run {
            true => Ok(Sealed::new(String::new(), &[])),
            false => self.keys.read_or_make()?.seal(context, text),
        };
        let place = match (target, &before) {
            (Some((target, url)), _) => {
                let trusted = actor.is_admin_of_all();
                Some((seal(&url_context(app, name), url.expose())?, target.shown(), (trusted, trusted)))
            }
            (None, Some(before)) => {
                Some((before.url.clone(), before.address.clone(), (before.trusted, before.vouched)))
            }
            (None, None) => None,
        };
        let Some((url, address, (trusted, vouched))) = place else {
            let detail = format!("The webhook {name} is new, and its address is missing.");
            return Err(Problem::new(Code::BadRequest, detail).hint("say `url`").into());
        };
        let kept = before.as_ref();
        let format = format.or(kept.map(|before| before.format)).unwrap_or_default();
        let events = events.as_ref().or_else(|| kept.map(|before| &before.events)).cloned().unwrap_or_default();
        let environments = environments.as_ref().or_else(|| kept.map(|before| &before.environments));
        let environments = environments.cloned().unwrap_or_default();
        let now_ms = clock::now_ms();
        let (created_ms, resumed_ms) = kept.map_or((now_ms, 0), |before| (before.created_ms, now_ms));
        // A new address replaces a secret lost with the keys: otherwise no message could be signed.
        let context = secret_context(app, name);
        let is_lost = match (target, kept) {
            (Some(_), Some(before)) => self.keys.read()?.open(&context, &before.secret).is_err(),
            _ => false,
        };
        let (secret, (old_secret, older_secrets), shown) = match before.filter(|_| !is_lost) {
            Some(before) => (before.secret, (before.old_secret, before.older_secrets), None),
            None => {
                let secret = new_secret();
                (seal(&context, &secret)?, (None, Vec::new()), (!dry_run).then(|| Secret::new(secret)))
            }
        };
        let record = WebhookRecord {
            url,
            address,
            format,
            events,
            environments,
            secret,
            old_secret,
            older_secrets,
            trusted,
            vouched,
            who: actor.name.clone(),
            created_ms,
            failing_since_ms: None,
            failed_ms: None,
            failures: 0,
            resumed_ms,
            disabled: None,
        };
        Ok((record, shown))
    }

    /// Removes a webhook; waiting messages are not sent.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn remove(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &WebhookName,
        dry_run: bool,
    ) -> Result<WebhookRemoved, Error> {
        let key = webhook_key(app, name);
        let removed = update(&key, || async {
            let (revision, record) = self.existing_webhook(app, name).await?;
            let dropped = self.webhook_status(app, name, &record).await?.waiting;
            let removed = WebhookRemoved { dry_run, app: app.clone(), removed: name.clone(), dropped };
            if dry_run {
                return Ok(Some(removed));
            }
            let event = AuditEvent::of(Action::RemoveWebhook).app(app).what(format!("{name} {}", record.address));
            let (checks, changes) = (vec![Check::At(key.clone(), revision)], vec![Change::Delete(key.clone())]);
            let is_made = self.ledger.commit(actor, event, Commit { checks, changes }).await?;
            Ok::<_, Error>(is_made.then_some(removed))
        })
        .await?;
        if !dry_run {
            self.forget_messages(app, name).await?;
        }
        Ok(removed)
    }

    /// Deletes the messages of a removed webhook: a new webhook of the same name must not get the messages.
    async fn forget_messages(&self, app: &AppName, name: &WebhookName) -> Result<(), Error> {
        for prefix in [WAITING_PREFIX, ENDED_PREFIX] {
            let below = deliveries_prefix(prefix, app, name);
            loop {
                let some = self.ledger.catalog.list(&below, None, false, PART_CHANGES_MAX).await?;
                if some.is_empty() {
                    break;
                }
                let changes = some.into_iter().map(|(key, _)| Change::Delete(key)).collect();
                commit_in_parts(&*self.ledger.catalog, SystemWrite::Webhook, changes).await?;
            }
        }
        Ok(())
    }

    /// Replaces the secret of a webhook. For a day, messages are also signed with the previous secret; `at_once` ends
    /// the previous secret immediately, for example after a leak.
    ///
    /// # Errors
    /// `not_found`, `secrets_locked`.
    pub async fn rotate(
        &self,
        actor: &Actor,
        app: &AppName,
        name: &WebhookName,
        at_once: bool,
    ) -> Result<WebhookRotated, Error> {
        let key = webhook_key(app, name);
        update(&key, || async {
            let (revision, record) = self.existing_webhook(app, name).await?;
            // With lost keys, a new secret repairs no webhook, and a newly created key file would hinder a restore.
            self.opened(app, name, &record)?;
            let secret = new_secret();
            let until_ms = clock::now_ms().saturating_add(if at_once { 0 } else { OLD_SECRET_MS });
            let sealed = self.keys.read_or_make()?.seal(&secret_context(app, name), &secret)?;
            // If the answer to a rotation was lost, the receiver has an older secret.
            let older = record.old_secrets(clock::now_ms()).take(OLDER_SECRETS_MAX).filter(|_| !at_once);
            let older_secrets = older.cloned().collect();
            let old_secret = (!at_once).then(|| OldSecret { secret: record.secret.clone(), until_ms });
            let record = WebhookRecord { secret: sealed, old_secret, older_secrets, ..record };
            let event = AuditEvent::of(Action::RotateWebhook).app(app).what(name);
            let checks = vec![Check::At(key.clone(), revision)];
            let changes = vec![Change::Put(key.clone(), records::write(&record)?)];
            if !self.ledger.commit(actor, event, Commit { checks, changes }).await? {
                return Ok(None);
            }
            let secret = Secret::new(secret);
            Ok(Some(WebhookRotated { app: app.clone(), name: name.clone(), secret, old_secret_until_ms: until_ms }))
        })
        .await
    }
}
