//! Webhooks: addresses notified of an app's events, and the outcomes of the messages.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::access::Secret;
use super::history::{DeployKind, DeployProblem};
use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};
use crate::text::text_form;

/// Maximum number of characters of a webhook's name.
pub const WEBHOOK_NAME_CHARACTERS_MAX: usize = 32;

/// Name of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookName(String);

/// Error for an invalid webhook name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a webhook: 1 to {WEBHOOK_NAME_CHARACTERS_MAX} lower-case letters, digits, - and _, beginning with a letter"
)]
pub struct BadWebhookName(pub String);

impl WebhookName {
    /// Returns the name.
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
        /// Event of an app.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum WebhookEvent {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl WebhookEvent {
            /// Every event, in the order of the documents.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the event's text in messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Returns the meaning, as a sentence.
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
    /// A push was stored with a preview and did not go live.
    DeployReady = "deploy.ready",
    /// A version went live by a push, a switch or a promotion.
    DeployLive = "deploy.live",
    /// A push, a switch, a rollback or a promotion failed; the live version is unchanged.
    DeployFailed = "deploy.failed",
    /// The edge undid a switch automatically: the previous version is live again.
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
    /// A different webhook of the app was disabled because its receiver failed for too long.
    WebhookDisabled = "webhook.disabled",
    /// A test of the webhook was requested.
    WebhookTest = "webhook.test",
}

/// Error for an unknown event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no event of webhooks; they are {all}", all = all_events())]
pub struct UnknownWebhookEvent(pub String);

/// Returns the selectable events, separated by commas.
fn all_events() -> String {
    let wanted = WebhookEvent::ALL.iter().filter(|event| event.can_be_wanted());
    wanted.map(|event| event.as_str()).collect::<Vec<_>>().join(", ")
}

impl WebhookEvent {
    /// Returns true if a webhook can select the event. Tests are always delivered, to the tested webhook.
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

/// Format of the messages to a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// JSON, signed according to Standard Webhooks.
    #[default]
    Standard,
    /// A line of text for an incoming webhook of Slack.
    Slack,
    /// A line of text for a webhook of Discord.
    Discord,
}

impl WebhookFormat {
    /// Every format, by name.
    pub const ALL: [(&'static str, Self); 3] =
        [("standard", Self::Standard), ("slack", Self::Slack), ("discord", Self::Discord)];
}

impl fmt::Display for WebhookFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(_, format)| format == self);
        f.write_str(found.map_or("standard", |(name, _)| name))
    }
}

/// Error for an unknown format.
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

/// Content of a message in the format `standard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookPayload {
    /// The event.
    #[serde(rename = "type")]
    pub event: WebhookEvent,
    /// Time of the event, in the format of RFC 3339.
    pub timestamp: String,
    /// Details.
    pub data: WebhookData,
}

/// Details of an event; members without meaning for the event are absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookData {
    /// The app.
    pub app: AppName,
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<PlaceName>,
    /// Name of the token or account behind the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Kind of the deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DeployKind>,
    /// The id of the deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<String>,
    /// Subject version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Previous live version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<VersionId>,
    /// URL of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// URL of the version's preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// Commit of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Branch of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Message of the pusher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Reason, given by the actor or the edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<DeployProblem>,
    /// The hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Expiry of the hostname's certificate, in the format of RFC 3339; absent without a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookName>,
}

impl WebhookData {
    /// Makes the details of an app, with all other members absent.
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
    /// Target URL of messages, never shown again; unchanged by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// Selected events, all if empty; unchanged by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<WebhookEvent>>,
    /// Environments of the selected events, all if empty; unchanged by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<PlaceName>>,
    /// Format of the messages; unchanged by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<WebhookFormat>,
}

/// State of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookState {
    /// Messages are sent.
    Active,
    /// Messages are sent; the last message failed.
    Failing,
    /// Messages are not sent until the webhook is set again.
    Disabled,
}

/// End of a disabled webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEnd {
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Reason, as a sentence.
    pub reason: String,
}

/// Status of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookStatus {
    /// Name.
    pub name: WebhookName,
    /// Scheme and host of the URL; the rest of a URL often is a secret.
    pub address: String,
    /// Format of the messages.
    pub format: WebhookFormat,
    /// Selected events; all if empty.
    pub events: Vec<WebhookEvent>,
    /// Environments of the selected events; all if empty.
    pub environments: Vec<PlaceName>,
    /// Name of the token or account behind the last change.
    pub who: String,
    /// Creation time, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// State.
    pub state: WebhookState,
    /// Time since which every message failed, in milliseconds since 1970 UTC.
    pub failing_since_ms: Option<u64>,
    /// Time and reason of the end, for a disabled webhook.
    pub disabled: Option<WebhookEnd>,
    /// Time until which messages are signed with the previous secret, too, in milliseconds since 1970 UTC.
    pub old_secret_until_ms: Option<u64>,
    /// Number of unsent messages.
    pub waiting: u64,
}

/// The webhooks of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookList {
    /// Webhooks, by name.
    pub webhooks: Vec<WebhookStatus>,
}

/// Response to `PUT /v1/apps/{app}/webhooks/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSet {
    /// True for a dry run.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// True for a new name.
    pub is_new: bool,
    /// Webhook after the change.
    pub webhook: WebhookStatus,
    /// Secret for the signatures of messages; only for a new webhook, or if the previous secret was lost with the keys.
    /// Shown only here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// Response to `DELETE /v1/apps/{app}/webhooks/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRemoved {
    /// True for a dry run.
    pub dry_run: bool,
    /// The app.
    pub app: AppName,
    /// The webhook.
    pub removed: WebhookName,
    /// Number of unsent messages dropped.
    pub dropped: u64,
}

/// Response to `POST /v1/apps/{app}/webhooks/{name}/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRotated {
    /// The app.
    pub app: AppName,
    /// The webhook.
    pub name: WebhookName,
    /// New secret, shown only here.
    pub secret: Secret,
    /// Time until which messages are signed with the previous secret, too, in milliseconds since 1970 UTC.
    pub old_secret_until_ms: u64,
}

/// State of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// The message is still to be sent, for the first time or again.
    Waiting,
    /// The receiver accepted the message.
    Delivered,
    /// The receiver did not accept the message, and no attempt follows.
    Failed,
    /// The message was the oldest of more waiting messages than the edge stores.
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

/// Attempt to send a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookAttempt {
    /// Time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Duration in milliseconds.
    pub ms: u64,
    /// Status of the response, if any.
    pub status: Option<u16>,
    /// Reason of the failure.
    pub error: Option<String>,
    /// Beginning of the response's body.
    pub answer: String,
}

/// Message to a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    /// Id in the header `webhook-id`: the same in every attempt.
    pub id: String,
    /// State.
    pub state: DeliveryState,
    /// Number of attempts.
    pub attempts: u64,
    /// Time of the next attempt, in milliseconds since 1970 UTC.
    pub next_ms: Option<u64>,
    /// Last attempt.
    pub last: Option<WebhookAttempt>,
    /// Content.
    pub payload: WebhookPayload,
}

/// Response to `GET /v1/apps/{app}/webhooks/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDetails {
    /// The webhook.
    pub webhook: WebhookStatus,
    /// Last messages, the newest first.
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
