//! Records of webhooks: the receivers, the waiting messages, and the results of the last messages.

use devanture_config::api::WebhookName;
use devanture_config::{AppName, PlaceName, VersionId};
use serde::{Deserialize, Serialize};

use super::deploys::StoredProblem;
use super::settings::Sealed;
use super::words::{StoredDelivery, StoredEvent, StoredFormat, StoredKind};

/// The prefix of webhooks.
pub const WEBHOOKS_PREFIX: &str = "webhooks/";
/// The prefix of the records of added webhooks.
const ADDED_PREFIX: &str = "webhooks-added/";
/// The prefix of waiting messages.
pub const WAITING_PREFIX: &str = "webhook-waiting/";
/// The prefix of messages that are not sent any more.
pub const ENDED_PREFIX: &str = "webhook-ended/";

/// `webhooks/{app}/{name}`: a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRecord {
    /// The address, sealed: knowing the address of a chat is enough to write there.
    pub url: Sealed,
    /// The scheme and the host of the address.
    pub address: String,
    /// The form of the messages.
    #[serde(default)]
    pub format: StoredFormat,
    /// The selected events; empty for all.
    #[serde(default)]
    pub events: Vec<StoredEvent>,
    /// The environments of the selected events; empty for all.
    #[serde(default)]
    pub environments: Vec<PlaceName>,
    /// The secret that signs messages.
    pub secret: Sealed,
    /// The previous secret, for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret: Option<OldSecret>,
    /// Earlier secrets, for a receiver without the later ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older_secrets: Vec<OldSecret>,
    /// Set if an admin of every app gave the address, which may then be loopback or private. In records of earlier
    /// releases also for an admin of the app.
    pub trusted: bool,
    /// Set if that was certainly an admin of every app; unset in records of earlier releases.
    #[serde(default)]
    pub vouched: bool,
    /// The name of the token or account that set the webhook.
    pub who: String,
    /// Time of the addition, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Since when no message was taken, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since_ms: Option<u64>,
    /// Time of the last failed attempt since then, in milliseconds since 1970 UTC, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_ms: Option<u64>,
    /// … and how many did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u64,
    /// Time at which the webhook was set again, or its receiver took a message after failures, in milliseconds since
    /// 1970 UTC: messages last tried before that are due at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed_ms: u64,
    /// The time and the reason of the deactivation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<StoredEnd>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A replaced secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    /// The secret.
    pub secret: Sealed,
    /// End of the time in which the secret signs messages, too, in milliseconds since 1970 UTC.
    pub until_ms: u64,
}

impl WebhookRecord {
    /// Returns the webhook after its receiver has taken a message.
    #[must_use]
    pub fn taken(&self, now_ms: u64) -> Self {
        let resumed_ms = if self.failing_since_ms.is_some() { now_ms } else { self.resumed_ms };
        Self { failing_since_ms: None, failed_ms: None, failures: 0, resumed_ms, ..self.clone() }
    }

    /// Returns the earlier secrets that still sign messages, latest first.
    pub fn old_secrets(&self, now_ms: u64) -> impl Iterator<Item = &OldSecret> {
        self.old_secret.iter().chain(&self.older_secrets).filter(move |old| old.until_ms > now_ms)
    }

    /// Returns true if a message is due before its time, since the receiver may take it now.
    #[must_use]
    pub fn resumes(&self, message: &DeliveryRecord) -> bool {
        message.last.as_ref().is_some_and(|last| last.at_ms < self.resumed_ms)
    }

    /// Returns true if a webhook selects an event of an environment.
    #[must_use]
    pub fn wants(&self, event: StoredEvent, environment: Option<&PlaceName>) -> bool {
        let is_wanted = self.events.is_empty() || self.events.contains(&event);
        // An event of no environment concerns all of them.
        let is_here = self.environments.is_empty() || environment.is_none_or(|one| self.environments.contains(one));
        self.disabled.is_none() && is_wanted && is_here
    }
}

/// `webhook-waiting/{app}/{name}/{id}` and `webhook-ended/{app}/{name}/{id}`: a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// The event.
    pub event: StoredEvent,
    /// Time of the event, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The content.
    pub data: StoredData,
    /// The state of the delivery.
    pub state: StoredDelivery,
    /// Number of attempts.
    #[serde(default)]
    pub attempts: u64,
    /// Time of the next attempt, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub next_ms: u64,
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<StoredAttempt>,
}

/// The time and the reason since which a webhook gets no messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEnd {
    /// The time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The reason, as a sentence.
    pub reason: String,
}

/// An attempt to send a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAttempt {
    /// Time of the attempt, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Duration in milliseconds.
    pub ms: u64,
    /// The status of the answer, if any.
    pub status: Option<u16>,
    /// The reason of a failed attempt.
    pub error: Option<String>,
    /// The beginning of the answer's body.
    pub answer: String,
}

/// The content of a message, with the members that apply to the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredData {
    /// The app.
    pub app: AppName,
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// The name of the acting token or account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The kind of the deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StoredKind>,
    /// The id of the deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<String>,
    /// The version of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// The previously live version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<VersionId>,
    /// The address of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The address of the version's preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// The commit of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The message of the push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The reason, as given by the actor or the edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<StoredProblem>,
    /// The hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The end of the certificate, in the form of RFC 3339; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookName>,
}

/// The prefix of the webhooks of an app.
#[must_use]
pub fn webhooks_prefix(app: &AppName) -> String {
    format!("{WEBHOOKS_PREFIX}{app}/")
}

/// The key of a webhook.
#[must_use]
pub fn webhook_key(app: &AppName, name: &WebhookName) -> String {
    format!("{}{name}", webhooks_prefix(app))
}

/// `webhooks-added/{app}`: the last addition of a webhook. Each addition checks that no further addition was made since
/// the count of webhooks: two at once would exceed the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookAdded {
    /// Time of the addition, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// The key of the last addition to an app.
#[must_use]
pub fn added_key(app: &AppName) -> String {
    format!("{ADDED_PREFIX}{app}")
}

/// The prefix of the messages of a webhook, below [`WAITING_PREFIX`] or [`ENDED_PREFIX`].
#[must_use]
pub fn deliveries_prefix(prefix: &str, app: &AppName, name: &WebhookName) -> String {
    format!("{prefix}{app}/{name}/")
}

/// Returns the app and the name of a webhook in its key.
#[must_use]
pub fn webhook_of(key: &str) -> Option<(AppName, WebhookName)> {
    let (app, name) = key.strip_prefix(WEBHOOKS_PREFIX)?.split_once('/')?;
    Some((app.parse().ok()?, name.parse().ok()?))
}

/// A message, by its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryAt {
    /// The app.
    pub app: AppName,
    /// The webhook.
    pub webhook: WebhookName,
    /// The id of the message.
    pub id: String,
}

impl DeliveryAt {
    /// Returns the message of a key below `prefix`.
    #[must_use]
    pub fn of(prefix: &str, key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(prefix)?.split('/');
        let (app, webhook) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let id = parts.next()?.to_owned();
        parts.next().is_none().then_some(Self { app, webhook, id })
    }

    /// The key of the message below [`WAITING_PREFIX`] or [`ENDED_PREFIX`].
    #[must_use]
    pub fn key(&self, prefix: &str) -> String {
        format!("{}{}", deliveries_prefix(prefix, &self.app, &self.webhook), self.id)
    }
}

#[cfg(any(test, feature = "testing"))]
impl WebhookRecord {
    /// A webhook for all events, for tests.
    #[must_use]
    pub fn sample() -> Self {
        let sealed = Sealed::new("key".to_owned(), b"");
        Self {
            url: sealed.clone(),
            address: "https://example.org".to_owned(),
            format: StoredFormat::Standard,
            events: Vec::new(),
            environments: Vec::new(),
            secret: sealed,
            old_secret: None,
            older_secrets: Vec::new(),
            trusted: false,
            vouched: false,
            who: "ada".to_owned(),
            created_ms: 0,
            failing_since_ms: None,
            failed_ms: None,
            failures: 0,
            resumed_ms: 0,
            disabled: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_again_by_its_key() {
        let at = DeliveryAt { app: "shop".parse().unwrap(), webhook: "chat".parse().unwrap(), id: "1a".to_owned() };
        let key = at.key(WAITING_PREFIX);
        assert_eq!(key, "webhook-waiting/shop/chat/1a");
        assert_eq!(DeliveryAt::of(WAITING_PREFIX, &key), Some(at));
        for other in ["webhook-ended/shop/chat/1a", "webhook-waiting/shop/chat", "webhook-waiting/shop/chat/1/2"] {
            assert_eq!(DeliveryAt::of(WAITING_PREFIX, other), None, "{other}");
        }
        assert!(webhook_of("webhooks/shop/chat").is_some() && webhook_of("webhooks/shop").is_none());
    }

    #[test]
    fn a_webhook_wants_what_it_names() {
        let all = WebhookRecord::sample();
        let (prod, staging) = (PlaceName::prod(), "staging".parse().unwrap());
        assert!(all.wants(StoredEvent::DeployLive, Some(&prod)));
        let some =
            WebhookRecord { events: vec![StoredEvent::DeployLive], environments: vec![prod.clone()], ..all.clone() };
        assert!(some.wants(StoredEvent::DeployLive, Some(&prod)) && some.wants(StoredEvent::DeployLive, None));
        assert!(!some.wants(StoredEvent::DeployLive, Some(&staging)));
        assert!(!some.wants(StoredEvent::DeployFailed, Some(&prod)));
        let disabled = Some(StoredEnd { at_ms: 1, reason: String::new() });
        assert!(!WebhookRecord { disabled, ..all }.wants(StoredEvent::DeployLive, None));
    }
}
