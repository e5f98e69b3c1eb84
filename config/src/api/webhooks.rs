//! Webhooks: addresses that are notified of the events of an app, and the outcomes of the messages to them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::access::Secret;
use super::history::{DeployKind, DeployProblem};
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};
use crate::text::text_form;

/// Longest name of a webhook, in characters.
pub const WEBHOOK_NAME_CHARACTERS_MAX: usize = 32;

/// The name of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookName(String);

/// Says why a text is not the name of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a webhook: 1 to {WEBHOOK_NAME_CHARACTERS_MAX} lower-case letters, digits, - and _, beginning with a letter"
)]
pub struct BadWebhookName(pub String);

impl WebhookName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebhookName {
    type Err = BadWebhookName;

    fn from_str(text: &str) -> Result<Self, BadWebhookName> {
        let is_fine = (1..=WEBHOOK_NAME_CHARACTERS_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if is_fine { Ok(Self(text.to_owned())) } else { Err(BadWebhookName(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for WebhookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(WebhookName, BadWebhookName);

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// An event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum WebhookEvent {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl WebhookEvent {
            /// Every event, in the order of the documents.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The event as it stands in a message.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// When it happens, as a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

events! {
    /// A push, a switch, a rollback or a promotion has begun.
    DeployStarted = "deploy.started",
    /// A push was stored and did not go live: its preview is there.
    DeployReady = "deploy.ready",
    /// A version went live by a push, a switch or a promotion.
    DeployLive = "deploy.live",
    /// A push, a switch, a rollback or a promotion failed; what was live stayed.
    DeployFailed = "deploy.failed",
    /// The edge took a switch back by itself: the version before is live again.
    DeployUndone = "deploy.undone",
    /// A version went live by a rollback.
    DeployRollback = "deploy.rollback",
    /// A canary began, got another share of the visitors, or was aborted.
    CanaryStep = "canary.step",
    /// An environment was locked, or the reason of its lock changed.
    EnvironmentLocked = "environment.locked",
    /// The lock of an environment ended.
    EnvironmentUnlocked = "environment.unlocked",
    /// A certificate of a hostname could not be obtained or renewed.
    CertificateFailed = "certificate.failed",
    /// Another webhook of the app was disabled, since its receiver failed for too long.
    WebhookDisabled = "webhook.disabled",
    /// Somebody tests the webhook.
    WebhookTest = "webhook.test",
}

/// A text that is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no event of webhooks; they are {all}", all = all_events())]
pub struct UnknownWebhookEvent(pub String);

/// The events that a webhook can want, with commas.
fn all_events() -> String {
    let wanted = WebhookEvent::ALL.iter().filter(|event| event.can_be_wanted());
    wanted.map(|event| event.as_str()).collect::<Vec<_>>().join(", ")
}

impl WebhookEvent {
    /// Whether a webhook says that it wants it: every webhook gets its own tests.
    #[must_use]
    pub fn can_be_wanted(self) -> bool {
        self != Self::WebhookTest
    }
}

impl FromStr for WebhookEvent {
    type Err = UnknownWebhookEvent;

    fn from_str(text: &str) -> Result<Self, UnknownWebhookEvent> {
        let found = Self::ALL.iter().find(|event| event.as_str() == text && event.can_be_wanted());
        found.copied().ok_or_else(|| UnknownWebhookEvent(text.chars().take(80).collect()))
    }
}

impl fmt::Display for WebhookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The form of the messages to a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// JSON, signed as Standard Webhooks says.
    #[default]
    Standard,
    /// A line of text for an incoming webhook of Slack.
    Slack,
    /// A line of text for a webhook of Discord.
    Discord,
}

impl WebhookFormat {
    /// Every form, by its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("standard", Self::Standard), ("slack", Self::Slack), ("discord", Self::Discord)];
}

impl fmt::Display for WebhookFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(_, format)| format == self);
        f.write_str(found.map_or("standard", |(name, _)| name))
    }
}

/// A text that is no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format of webhooks; they are standard, slack and discord")]
pub struct UnknownWebhookFormat(pub String);

impl FromStr for WebhookFormat {
    type Err = UnknownWebhookFormat;

    fn from_str(text: &str) -> Result<Self, UnknownWebhookFormat> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, format)| *format).ok_or_else(|| UnknownWebhookFormat(text.chars().take(80).collect()))
    }
}

/// What a message of the form `standard` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookPayload {
    /// The event.
    #[serde(rename = "type")]
    pub event: WebhookEvent,
    /// When it happened, as RFC 3339 writes it.
    pub timestamp: String,
    /// What happened.
    pub data: WebhookData,
}

/// What happened; of each event, those members are there that make sense for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookData {
    /// The app.
    pub app: AppName,
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// The name of the token or account that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What the deploy is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DeployKind>,
    /// The id of the deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<String>,
    /// The version that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// The version that was live before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<VersionId>,
    /// Where the environment is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where the version has its preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// The commit that the bundle is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Its branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The message of the person who pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why, as the actor or the edge says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<DeployProblem>,
    /// The hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// When its certificate ends, as RFC 3339 writes it; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookName>,
}

impl WebhookData {
    /// Of an app, with nothing else said.
    #[must_use]
    pub fn of(app: &AppName) -> Self {
        Self {
            app: app.clone(),
            environment: None,
            actor: None,
            kind: None,
            deploy: None,
            version: None,
            previous: None,
            url: None,
            preview: None,
            commit: None,
            branch: None,
            message: None,
            reason: None,
            problem: None,
            hostname: None,
            expires: None,
            webhook: None,
        }
    }
}

/// Body of `PUT /v1/apps/{app}/webhooks/{name}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where messages go, which is never shown again; by default it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// The events that are wanted, all where there are none; by default they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEvent>>,
    /// The environments whose events are wanted, all where there are none; by default they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<PlaceName>>,
    /// The form of the messages; by default it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<WebhookFormat>,
}

/// Whether messages are sent to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookState {
    /// They are.
    Active,
    /// They are; the last one failed.
    Failing,
    /// They are not, until the webhook is set again.
    Disabled,
}

/// A webhook that is sent nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEnd {
    /// Since when, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Why, as a sentence.
    pub reason: String,
}

/// One webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookStatus {
    /// Its name.
    pub name: WebhookName,
    /// The scheme and the host of its address: the rest of one often is a secret.
    pub address: String,
    /// The form of its messages.
    pub format: WebhookFormat,
    /// The events that are wanted; all where there are none.
    pub events: Vec<WebhookEvent>,
    /// The environments whose events are wanted; all where there are none.
    pub environments: Vec<PlaceName>,
    /// The name of the token or account that set it.
    pub who: String,
    /// When it was added, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// Whether messages are sent to it.
    pub state: WebhookState,
    /// Since when no message was taken, in milliseconds since 1970 UTC.
    pub failing_since_ms: Option<u64>,
    /// When and why it was disabled.
    pub disabled: Option<WebhookEnd>,
    /// End of the time in which messages are signed with the secret before, too, in milliseconds since 1970 UTC.
    pub old_secret_until_ms: Option<u64>,
    /// Messages that are to be sent.
    pub waiting: u64,
}

/// The webhooks of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookList {
    /// By name.
    pub webhooks: Vec<WebhookStatus>,
}

/// Answer of `PUT /v1/apps/{app}/webhooks/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSet {
    /// Whether it was only asked what would change.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// Whether there was none of that name.
    pub is_new: bool,
    /// The webhook as it is now.
    pub webhook: WebhookStatus,
    /// The secret that messages are signed with, of a new one, or where the one before was lost with the keys; it is
    /// not shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// Answer of `DELETE /v1/apps/{app}/webhooks/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRemoved {
    /// Whether it was only asked what would change.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The webhook.
    pub removed: WebhookName,
    /// Messages that were to be sent, and are not.
    pub dropped: u64,
}

/// Answer of `POST /v1/apps/{app}/webhooks/{name}/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRotated {
    /// The app.
    pub app: AppName,
    /// The webhook.
    pub name: WebhookName,
    /// The new secret, which is not shown again.
    pub secret: Secret,
    /// End of the time in which messages are signed with the one before, too, in milliseconds since 1970 UTC.
    pub old_secret_until_ms: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It is to be sent, for the first time or again.
    Waiting,
    /// The receiver has taken it.
    Delivered,
    /// The receiver has not taken it, and it is not sent again.
    Failed,
    /// More messages waited than the edge keeps, and this one was the oldest.
    Dropped,
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        })
    }
}

/// One attempt to send a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookAttempt {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The status of the answer, where one came.
    pub status: Option<u16>,
    /// Why the message counts as not taken.
    pub error: Option<String>,
    /// The beginning of the answer's body.
    pub answer: String,
}

/// A message to a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    /// Its id, which the header `webhook-id` has: the same in every attempt.
    pub id: String,
    /// What became of it.
    pub state: DeliveryState,
    /// Attempts that were made.
    pub attempts: u64,
    /// When the next attempt is due, in milliseconds since 1970 UTC.
    pub next_ms: Option<u64>,
    /// The last attempt.
    pub last: Option<WebhookAttempt>,
    /// What it says.
    pub payload: WebhookPayload,
}

/// Answer of `GET /v1/apps/{app}/webhooks/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDetails {
    /// The webhook.
    pub webhook: WebhookStatus,
    /// Its last messages, the newest first.
    pub deliveries: Vec<WebhookDelivery>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_is_written_and_a_test_is_none_to_want() {
        for event in WebhookEvent::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
            assert_eq!(event.as_str().parse::<WebhookEvent>().is_ok(), event.can_be_wanted(), "{event}");
            assert!(event.meaning().ends_with('.'), "{event}");
        }
        let unknown = "deploy".parse::<WebhookEvent>().unwrap_err().to_string();
        assert!(unknown.contains("deploy.started, deploy.ready") && !unknown.contains("webhook.test"), "{unknown}");
        for (name, format) in WebhookFormat::ALL {
            assert_eq!((format.to_string().as_str(), name.parse()), (name, Ok(format)));
        }
    }

    #[test]
    fn names_of_webhooks_are_short_and_plain() {
        for fine in ["chat", "a", "team-2_x"] {
            assert_eq!(fine.parse::<WebhookName>().unwrap().as_str(), fine);
        }
        for bad in ["", "Chat", "2", "-a", "a/b", "a.b", &"a".repeat(33)] {
            assert!(bad.parse::<WebhookName>().is_err(), "{bad}");
        }
    }
}
