//! Words of records that are also words of the API: each has a separate enum here, with its spelling on the disk.
//!
//! A new or renamed word of the API is a compile error here, and the fix decides the spelling on the disk. A word of a
//! record stays as long as a release reads records with the word.

use devanture_config::api::{
    By, ConfirmedAction, DeliveryState, DeployKind, DesiredState, Outcome, Protection, RunOutcome, Scope, SkipReason,
    StepState, Via, WebhookEvent, WebhookFormat,
};
use serde::{Deserialize, Serialize};

/// Defines enums of words, with conversions to and from the enums of the API.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident of $api:ident { $($(#[$on:meta])* $word:ident = $text:literal,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$on])* #[doc = concat!("`", $text, "`.")] #[serde(rename = $text)] $word,)+
        }

        impl From<$api> for $name {
            fn from(word: $api) -> Self {
                match word { $($api::$word => Self::$word,)+ }
            }
        }

        impl From<$name> for $api {
            fn from(word: $name) -> Self {
                match word { $($name::$word => Self::$word,)+ }
            }
        }

        impl PartialEq<$api> for $name {
            fn eq(&self, other: &$api) -> bool {
                *self == Self::from(*other)
            }
        }
    )+};
}

words! {
    /// The kind of credential in an entry of the audit log.
    StoredBy of By {
        Account = "account",
        Local = "local",
        Token = "token",
    }

    /// A kind of change that a session confirms.
    #[derive(PartialOrd, Ord)]
    StoredAction of ConfirmedAction {
        Promote = "promote",
        Token = "token",
        Delete = "delete",
    }

    /// The state of a message to a webhook.
    StoredDelivery of DeliveryState {
        Waiting = "waiting",
        Delivered = "delivered",
        Failed = "failed",
        Dropped = "dropped",
    }

    /// The kind of an entry of a history or a live log.
    StoredKind of DeployKind {
        Push = "push",
        Switch = "switch",
        Rollback = "rollback",
        Promote = "promote",
        Pause = "pause",
        Resume = "resume",
        Lock = "lock",
        Unlock = "unlock",
        Delete = "delete",
        Undelete = "undelete",
        Settings = "settings",
        Run = "run",
        Change = "change",
    }

    /// The configured state of a member of a pool.
    StoredDesired of DesiredState {
        In = "in",
        Drain = "drain",
        Out = "out",
    }

    /// The outcome of a deploy.
    StoredOutcome of Outcome {
        Live = "live",
        Stored = "stored",
        Superseded = "superseded",
        Failed = "failed",
        Done = "done",
    }

    /// The allowed visitors of an environment or of the previews of an app.
    StoredProtection of Protection {
        Public = "public",
        Password = "password",
        Accounts = "accounts",
        Oidc = "oidc",
        Token = "token",
        Off = "off",
    }

    /// The end of a run of a schedule.
    StoredRunOutcome of RunOutcome {
        Succeeded = "succeeded",
        Failed = "failed",
        TimedOut = "timed-out",
        Interrupted = "interrupted",
    }

    /// The rights of a token, an account or the beginner of a canary.
    StoredScope of Scope {
        Read = "read",
        Push = "push",
        Promote = "promote",
        Run = "run",
        Admin = "admin",
    }

    /// The reason of a skipped time of a schedule.
    StoredSkipReason of SkipReason {
        Running = "running",
        Missed = "missed",
    }

    /// The outcome of a step of a deploy.
    StoredStepState of StepState {
        Started = "started",
        Done = "done",
        Skipped = "skipped",
        Failed = "failed",
    }

    /// The means by which a client presented a credential.
    StoredVia of Via {
        Session = "session",
    }

    /// An event for webhooks.
    StoredEvent of WebhookEvent {
        DeployStarted = "deploy.started",
        DeployReady = "deploy.ready",
        DeployLive = "deploy.live",
        DeployFailed = "deploy.failed",
        DeployUndone = "deploy.undone",
        DeployRollback = "deploy.rollback",
        CanaryStep = "canary.step",
        EnvironmentLocked = "environment.locked",
        EnvironmentUnlocked = "environment.unlocked",
        CertificateFailed = "certificate.failed",
        WebhookDisabled = "webhook.disabled",
        WebhookTest = "webhook.test",
    }

    /// The form of the messages to a webhook.
    #[derive(Default)]
    StoredFormat of WebhookFormat {
        #[default]
        Standard = "standard",
        Slack = "slack",
        Discord = "discord",
    }
}
